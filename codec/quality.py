"""Quality of decoded frames, as the field reports it: PSNR and MS-SSIM of 8-bit RGB, and cosine similarity.

`psnr`, `ms_ssim` and `cosine` return one number a frame; the mean over frames is the reported figure (HNeRV's
definition, Chen et al., CVPR 2023, section 4.1: per frame first, then the mean).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from pytorch_msssim import ms_ssim as _ms_ssim

PSNR_OF_IDENTICAL = 100.0  # dB; stands for infinity, so that a mean over frames stays finite
MS_SSIM_MIN_SIDE = 161  # pixels: five scales of an 11-tap window need (11 - 1) * 2**4 + 1


def psnr(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """PSNR in dB of each frame. a, b: uint8 [T, H, W, 3] -> float64 [T], at most 100."""
    _check_pair(a, b)
    error = a.astype(np.int16) - b.astype(np.int16)
    mse = np.square(error, dtype=np.int32).reshape(len(a), -1).mean(axis=1, dtype=np.float64)
    with np.errstate(divide="ignore"):
        return np.minimum(10 * np.log10(255.0**2 / mse), PSNR_OF_IDENTICAL)


def ms_ssim(a: np.ndarray, b: np.ndarray, device: str | torch.device = "cpu") -> np.ndarray | None:
    """MS-SSIM of each frame (Wang et al., 2003). a, b: uint8 [T, H, W, 3] -> float64 [T] in [0, 1].

    None where a side is under 161 pixels: five scales are not defined there.
    """
    _check_pair(a, b)
    if min(a.shape[1:3]) < MS_SSIM_MIN_SIDE:
        return None
    values = []
    with torch.no_grad():
        for x, y in zip(a, b, strict=True):
            # [1, 3, H, W] in channels_last, as the frames lie: half the time of a contiguous copy
            pair = [torch.tensor(f, device=device)[None].permute(0, 3, 1, 2).float() for f in (x, y)]
            values.append(_ms_ssim(*pair, data_range=255.0, size_average=True).item())
    return np.array(values)


def cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Cosine similarity of features. a, b: float [T, patches, D] -> float64 [T], mean over patches."""
    if a.shape != b.shape:
        raise ValueError(f"features differ in shape: {a.shape} and {b.shape}")
    a, b = a.astype(np.float64), b.astype(np.float64)
    norms = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    return ((a * b).sum(-1) / np.maximum(norms, 1e-12)).mean(axis=-1)


def best_constant(features: np.ndarray) -> float:
    """Mean cosine of features of unit length, [T, patches, D], with the one vector that comes nearest: their mean."""
    return float(np.linalg.norm(features.reshape(-1, features.shape[-1]).mean(axis=0, dtype=np.float64)))


def _check_pair(a: np.ndarray, b: np.ndarray) -> None:
    if a.shape != b.shape or a.dtype != np.uint8 or b.dtype != np.uint8 or a.ndim != 4:
        raise ValueError(
            f"need two uint8 arrays [T, H, W, 3] of one shape, got {a.dtype} {a.shape} and {b.dtype} {b.shape}"
        )


@dataclass(frozen=True)
class Measured:
    """Per frame, each [T]; None where it is not defined."""

    psnr: NDArray[np.float64]  # dB
    ms_ssim: NDArray[np.float64] | None
    clip_sim: NDArray[np.float64] | None = None


def compare(
    decoded: Iterable[NDArray[np.uint8]],
    source: Iterator[NDArray[np.uint8]],
    device: torch.device | str = "cpu",
) -> Measured:
    """decoded: batches uint8 [n, H, W, 3]; source: single frames uint8 [H, W, 3], as many.

    Raises ValueError where sizes or counts differ.
    """
    errors: list[NDArray[np.float64]] = []
    similarity: list[NDArray[np.float64]] = []
    for batch in decoded:
        wanted = [frame for _, frame in zip(batch, source, strict=False)]
        if len(wanted) < len(batch):
            raise ValueError("the source has fewer frames than the file")
        frames = np.stack(wanted)
        errors.append(psnr(batch, frames))
        values = ms_ssim(batch, frames, device)
        if values is not None:
            similarity.append(values)
    return Measured(np.concatenate(errors), np.concatenate(similarity) if similarity else None)


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
