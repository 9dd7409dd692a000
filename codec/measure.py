"""Quality of decoded frames against their source, frame by frame, in batches as they come."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from codec import metrics


@dataclass(frozen=True)
class Measured:
    """Per frame, each [T]; None where it is not defined."""

    psnr: NDArray[np.float64]  # dB
    ms_ssim: NDArray[np.float64] | None
    clip_sim: NDArray[np.float64] | None = None


def measure(
    decoded: Iterable[NDArray[np.uint8]],
    source: Iterator[NDArray[np.uint8]],
    device: torch.device | str = "cpu",
    with_ms_ssim: bool = True,
) -> Measured:
    """decoded: batches uint8 [n, H, W, 3]; source: single frames uint8 [H, W, 3], as many.

    Raises ValueError where sizes or counts differ.
    """
    psnr: list[NDArray[np.float64]] = []
    similarity: list[NDArray[np.float64]] = []
    for batch in decoded:
        wanted = [frame for _, frame in zip(batch, source, strict=False)]
        if len(wanted) < len(batch):
            raise ValueError("the source has fewer frames than the file")
        frames = np.stack(wanted)
        psnr.append(metrics.psnr(batch, frames))
        values = metrics.ms_ssim(batch, frames, device) if with_ms_ssim else None
        if values is not None:
            similarity.append(values)
    return Measured(np.concatenate(psnr), np.concatenate(similarity) if similarity else None)


def split_mean(
    values: NDArray[np.float64] | None, split: tuple[int, int, int], part: str, segment: int
) -> float | None:
    """Mean over the frames of `part` ("train", "val" or "all") of a data split a, b, c; None for no frames.

    segment: frames per network; the split counts from the first frame of each.
    """
    if values is None:
        return None
    place = np.arange(len(values)) % segment % split[2]
    chosen = values[{"train": place < split[0], "val": place >= split[1], "all": place >= 0}[part]]
    return float(chosen.mean()) if len(chosen) else None
