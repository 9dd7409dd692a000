"""Rate of CLIP features against clip_sim: each way of `feature_codes` on clips, as a table and a plot.

The rate is a share of the clip itself: of the bytes that `fast` takes for the same frames, without any features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from benchmarks import plots
from benchmarks.feature_codes import METHODS, Point, Sample, front, widened
from benchmarks.machine import commit
from codec import video
from codec.encoding.predictive.coder import plan
from codec.encoding.segment import encode_segment
from codec.features.teacher import CLIPManager
from codec.settings import PRESETS
from codec.specs import Geometry
from codec.training.task import SegmentTask

GRID = (2, 4)
LARGEST = 0.25  # share of the clip's bytes past which no point is kept
SHARES = (0.01, 0.02, 0.05)  # that are summed up


@dataclass(frozen=True)
class FeatureRow:
    """One kept point."""

    clip: str
    frames: int
    teacher: str
    dim: int  # of a feature
    clip_bytes: int  # of the frames at that quality, without features
    quality: float
    method: str
    settings: str
    bytes: int
    clip_sim: float
    commit: str

    @property
    def share(self) -> float:
        return self.bytes / self.clip_bytes


def run(
    sources: Sequence[Path],
    teacher: CLIPManager,
    out: Path,
    frames: int,
    dims: Sequence[int],
    quality: float,
    console: Console,
) -> list[FeatureRow]:
    """Measure the first `frames` frames of sources; write features.tsv and plots/features.* under `out`.

    dims: further widths of a feature, above the teacher's (`feature_codes.widened`).
    """
    rows: list[FeatureRow] = []
    label, at = f"{teacher.identity.model} {teacher.identity.pretrained}", commit()
    for source in sources:
        name = source.stem
        pictures = np.stack(list(islice(video.frames(source), frames)))
        features = teacher.features(pictures, GRID)
        console.print(f"{name}: encoding {len(pictures)} frames", highlight=False)
        size = encoded_bytes(pictures, quality)
        for dim in (features.shape[-1], *dims):
            sample = Sample(widened(features.astype(np.float64), dim))
            for method in METHODS:
                points = front(p for p in method(sample) if p.bytes <= LARGEST * size)
                facts = (name, len(pictures), label, dim, size, quality)
                rows += [FeatureRow(*facts, *_values(p), at) for p in points]
                console.print(f"{name}, {dim} values: {_summary(points, size)}", highlight=False, soft_wrap=True)
    out.mkdir(parents=True, exist_ok=True)
    _write(rows, out / "features.tsv")
    draw(rows, out / "plots" / "features")
    return rows


def draw(rows: Sequence[FeatureRow], stem: Path) -> Path:
    """The plot of rows; returns the SVG."""
    curves: dict[tuple[str, int], dict[str, list[tuple[float, float]]]] = {}
    for row in rows:
        curve = curves.setdefault((row.clip, row.dim), {}).setdefault(row.method, [])
        curve.append((100 * row.share, row.clip_sim))
    return plots.features(curves, stem)


def encoded_bytes(frames: NDArray[np.uint8], quality: float) -> int:
    """Bytes of frames uint8 [T, H, W, 3] as a segment of `fast`, without features."""
    settings = PRESETS["fast"].override(quality=quality)
    count, height, width, _ = frames.shape
    geometry = Geometry(count, height, width, GRID)
    spec = plan(settings, geometry, 0, None, lambda message: None)
    return len(encode_segment(SegmentTask(0, geometry, spec, frames, None, settings)).payload)


def _values(point: Point) -> tuple[str, str, int, float]:
    return point.method, point.settings, point.bytes, round(point.clip_sim, 5)


def _summary(points: Sequence[Point], size: int) -> str:
    """The best of one method within each of SHARES."""
    words = []
    for share in SHARES:
        fitting = [p.clip_sim for p in points if p.bytes <= share * size]
        words.append(f"{max(fitting):.4f}" if fitting else "-")
    name = points[0].method if points else "nothing"
    return f"{name}: {', '.join(words)} within {', '.join(f'{100 * s:g}' for s in SHARES)} % of {size:,} bytes"


def _write(rows: Sequence[FeatureRow], path: Path) -> None:
    names = [field.name for field in fields(FeatureRow)]
    lines = ["\t".join(names), *("\t".join(map(str, asdict(row).values())) for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
