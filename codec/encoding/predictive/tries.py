"""A segment encoded once, and what is said of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from bitstream import write_frames
from codec.encoding.predictive.features import CodedFeatures
from codec.encoding.predictive.frame import Encoded
from codec.encoding.predictive.gop import GopSettings

LEAST_ERROR = 1e-4  # so that a perfect frame has a PSNR


@dataclass(frozen=True, eq=False)
class Try:
    """A segment encoded at one quality."""

    quality: float
    structure: GopSettings
    frames: list[Encoded]  # in coding order
    levels: dict[int, int]  # by frame number: 0 key frames, 1 anchors, 2.. between them
    features: CodedFeatures | None = None

    def payload(self, start: int) -> bytes:
        """The segment, its first frame `start` of the file."""
        return write_frames(start, [e.coded for e in self.frames], self.features.payload if self.features else b"")

    @property
    def record_bytes(self) -> int:
        """Bytes of its frames."""
        return sum(len(e.coded.record) for e in self.frames)

    @cached_property
    def size(self) -> int:
        """Bytes of the segment."""
        return len(self.payload(0))

    @property
    def psnr(self) -> float:
        return mean_psnr(self.frames)


def mean_psnr(frames: Sequence[Encoded]) -> float:
    """Mean over frames, dB."""
    return float(np.mean([10 * math.log10(255**2 / max(e.error, LEAST_ERROR)) for e in frames]))


def details(best: Try) -> dict[str, Any]:
    """Bytes by part and by level of the frames, from ideal code lengths; what is rounded up counts to no part."""
    parts: dict[str, float] = {}
    levels: dict[int, dict[str, float]] = {}
    for e in best.frames:
        for part, bits in e.bits.items():
            parts[part] = parts.get(part, 0.0) + bits / 8
        level = levels.setdefault(best.levels[e.coded.number], {"frames": 0, "bytes": 0, "error": 0.0})
        level["frames"] += 1
        level["bytes"] += len(e.coded.record)
        level["error"] += e.error
    return {
        "quality": best.quality,
        "anchor": best.structure.anchor,
        "level_drop": best.structure.drop,
        "temporal_filter": best.structure.temporal_filter,
        "bytes_per_frame": [len(c.record) for c in sorted((e.coded for e in best.frames), key=lambda c: c.number)],
        "bytes_by_part": {part: round(size) for part, size in parts.items()},
        "levels": [
            {"level": n, "frames": v["frames"], "bytes": v["bytes"], "mse": round(v["error"] / v["frames"], 3)}
            for n, v in sorted(levels.items())
        ],
    }
