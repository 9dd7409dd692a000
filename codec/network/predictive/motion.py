"""Motion: integers on a coarse grid -> displacement of every pixel -> a reference moved to where the frame needs it."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

CELL = 8  # pixels from one motion vector to the next
UNITS = 4  # of a displacement, to the pixel


def motion_size(height: int, width: int) -> tuple[int, int]:
    """Rows and columns of the motion grid of a frame."""
    return math.ceil(height / CELL), math.ceil(width / CELL)


@lru_cache(16)
def interpolation(cells: int, pixels: int) -> Tensor:
    """Bilinear weights from cell centres to pixel centres, edges repeated: float32 [pixels, cells]."""
    with torch.inference_mode(False):
        place = ((torch.arange(pixels, dtype=torch.float32) + 0.5) / CELL - 0.5).clamp(0, cells - 1)
        return (1 - (place[:, None] - torch.arange(cells)).abs()).clamp_min(0)


def displacement(motion: Tensor, height: int, width: int) -> Tensor:
    """Motion [B, 2, rows, columns] in quarter pixels, (y, x) -> pixels, float32 [B, 2, height, width]."""
    vertical = interpolation(motion.shape[2], height).to(motion.device)
    horizontal = interpolation(motion.shape[3], width).to(motion.device)
    return vertical @ (motion.float() / UNITS) @ horizontal.mT


@lru_cache(4)
def _pixels(height: int, width: int) -> Tensor:
    """Coordinates (x, y) of every pixel: float32 [height, width, 2]."""
    with torch.inference_mode(False):
        y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        return torch.stack((x, y), dim=-1).float()


def warp(reference: Tensor, motion: Tensor) -> Tensor:
    """What a reference shows where the motion points: float [B, C, H, W], motion [B, 2, h, w] -> float [B, C, H, W].

    Bicubic interpolation; beyond its edges a reference repeats them.
    """
    height, width = reference.shape[-2:]
    flow = displacement(motion, height, width)
    place = _pixels(height, width).to(reference.device) + flow.flip(1).permute(0, 2, 3, 1)
    scale = torch.tensor([2 / max(width, 1), 2 / max(height, 1)], device=reference.device)
    return F.grid_sample(
        reference, (place + 0.5) * scale - 1, mode="bicubic", padding_mode="border", align_corners=False
    )
