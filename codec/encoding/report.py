"""What an encode says of itself at its end: settings, sizes, quality and seconds, made from the results of segments."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bitstream import FileReader, Header, Quality
from codec.encoding.segment import SegmentResult
from codec.quality import Measured, split_mean
from codec.settings import Settings
from codec.versions import installed


def measured_together(results: Sequence[SegmentResult]) -> Measured:
    """The quality of all frames, segment after segment."""

    def joined(name: str) -> NDArray[np.float64] | None:
        found = [getattr(result.measured, name) for result in results]
        return None if any(values is None for values in found) else np.concatenate(found)

    psnr = joined("psnr")
    assert psnr is not None
    return Measured(psnr, joined("ms_ssim"), joined("clip_sim"))


def quality_of(measured: Measured, header: Header, segment: int) -> Quality:
    """The figures that a file holds, for segments of `segment` frames."""

    def mean(values: NDArray[np.float64] | None, part: str) -> float | None:
        return split_mean(values, header.split, part, segment)

    return Quality(
        psnr=mean(measured.psnr, "all"),
        ms_ssim=mean(measured.ms_ssim, "all"),
        clip_sim=mean(measured.clip_sim, "all"),
        train_psnr=mean(measured.psnr, "train"),
        val_psnr=mean(measured.psnr, "val"),
        train_clip_sim=mean(measured.clip_sim, "train"),
        val_clip_sim=mean(measured.clip_sim, "val"),
    )


def report_of(
    source: str,
    file: FileReader,
    results: Sequence[SegmentResult],
    settings: Settings,
    seconds: dict[str, float],
    device: str,
) -> dict[str, Any]:
    """What `--report` writes. source: its name; seconds: by phase, those of the results aside."""
    header, quality = file.header, file.quality
    assert quality is not None
    for result in results:
        seconds = {k: seconds.get(k, 0.0) + result.seconds.get(k, 0.0) for k in seconds | result.seconds}
    training = sum(result.training_seconds for result in results)
    return {
        "source": source,
        "frames": header.frames,
        "height": header.height,
        "width": header.width,
        "fps": float(header.fps),
        "bytes": file.size,
        "bpp": 8 * file.size / (header.frames * header.height * header.width),
        **asdict(quality),
        "psnr_per_frame": [round(v, 4) for v in measured_together(results).psnr.tolist()],
        "bytes_by_part": file.contents().bytes_by_part,
        "details": [result.details for result in results if result.details],  # of the coder, by segment
        **_coded_bytes(results),
        "seconds": {k: round(v, 3) for k, v in seconds.items()},
        "segments": len(results),
        "parameters": sum(result.parameters for result in results),
        "epochs": max(result.epochs for result in results),
        "train_fps": round(sum(result.frames_trained for result in results) / max(training, 1e-9), 2),
        "decode_fps": round(header.frames / max(seconds["decode"], 1e-9), 2),
        "grid": list(header.grid),
        "architecture": asdict(header.architecture),
        "teacher": asdict(header.teacher) if header.teacher else None,
        "device": device,
        "settings": settings.spelled(),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "nvcodec": installed("nvcodec"),
        },
    }


def _coded_bytes(results: Sequence[SegmentResult]) -> dict[str, dict[str, int]]:
    """What the coders tell of their bytes, over all segments: by kind of symbol and by level of a frame, if at all."""
    found: dict[str, dict[str, int]] = {}

    def add(name: str, key: str, size: int) -> None:
        sizes = found.setdefault(name, {})
        sizes[key] = sizes.get(key, 0) + size

    for result in results:
        for symbol, size in result.details.get("bytes_by_part", {}).items():
            add("bytes_by_symbol", symbol, size)
        for level in result.details.get("levels", []):
            add("bytes_by_level", str(level["level"]), level["bytes"])
    return found
