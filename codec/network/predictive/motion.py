"""Motion: a vector for each block of a frame -> what its reference shows there.

Blocks move as they are and do not overlap: edges of things that move differently stay sharp, which vectors that are
interpolated between blocks smear. What seams that leaves lie where the layers after it expect them.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

CELL = 8  # pixels, the sides of a block
UNITS = 4  # of a displacement, to the pixel
TAPS = (
    (0, 0, 0, 64, 0, 0, 0, 0),
    (-1, 4, -10, 58, 17, -5, 1, 0),
    (-1, 4, -11, 40, 40, -11, 4, -1),
    (0, 1, -5, 17, 58, -10, 4, -1),
)  # of 64, by quarter pixels, for the pixels from BEFORE before: the filters of HEVC (Ugur et al., 2013)
BEFORE, AFTER = 3, 4  # pixels that a filter reads on either side
PATCH = CELL + BEFORE + AFTER
BORDER = CELL + BEFORE + AFTER - 1  # pixels beyond the edges of a frame after which nothing new comes


def motion_size(height: int, width: int) -> tuple[int, int]:
    """Rows and columns of the motion grid of a frame."""
    return math.ceil(height / CELL), math.ceil(width / CELL)


@lru_cache(1)
def _filters() -> Tensor:
    """Pixels of a block from those of a patch, by quarter pixels: float32 [UNITS, CELL, PATCH]."""
    with torch.inference_mode(False):
        out = torch.zeros(UNITS, CELL, PATCH)
        for row in range(CELL):
            out[:, row, row : row + len(TAPS[0])] = torch.tensor(TAPS) / 64
        return out


def _places(motion: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """One axis of motion [..., cells], quarter pixels -> (first pixel of each patch in the bordered frame, phase)."""
    whole = torch.div(motion, UNITS, rounding_mode="floor").long()
    first = torch.arange(motion.shape[-1], device=motion.device) * CELL + whole
    return first.clamp(1 - CELL - AFTER, size - 1 + BEFORE) - BEFORE + BORDER, (motion - whole * UNITS).long()


def compensate(references: Tensor, motion: Tensor, sides: Tensor) -> tuple[Tensor, Tensor]:
    """The two pictures that a frame is predicted from: what its one or two references show where motion points.

    references: [B, R, C, H, W]; motion: [B, R, 2, h, w]; sides: [B, R - 1, h, w], see `Symbols`: where one side alone
    shows a block, both pictures do as it does. -> float32 [B, C, H, W] each.
    """
    moved = warp(references.flatten(0, 1), motion.flatten(0, 1)).unflatten(0, motion.shape[:2])
    first, second = moved[:, 0], moved[:, -1]
    if not sides.any():
        return first, second
    side = sides.repeat_interleave(CELL, 2).repeat_interleave(CELL, 3)[..., : first.shape[2], : first.shape[3]]
    return torch.where(side < 0, second, first), torch.where(side > 0, first, second)


def warp(reference: Tensor, motion: Tensor) -> Tensor:
    """What a reference shows where the motion points: [B, C, H, W], motion [B, 2, h, w] -> float32 [B, C, H, W].

    motion: whole quarter pixels (y, x). Beyond its edges a reference repeats them.
    """
    count, channels, height, width = reference.shape
    rows, columns = motion.shape[2:]
    y, phase_y = _places(motion[:, 0].mT, height)  # [B, columns, rows]
    x, phase_x = _places(motion[:, 1], width)
    y, phase_y = y.mT, phase_y.mT
    bordered = F.pad(reference.float(), (BORDER,) * 4, mode="replicate").permute(0, 2, 3, 1)
    across = bordered.shape[2]
    frame = torch.arange(count, device=motion.device)[:, None, None] * (bordered.shape[1] * across)
    rows_of_patches = (frame + y * across + x)[..., None] + torch.arange(PATCH, device=motion.device) * across
    flat = bordered.reshape(-1)
    windows = flat.as_strided((flat.numel() // channels - PATCH + 1, PATCH * channels), (channels, 1))
    patches = windows.index_select(0, rows_of_patches.flatten()).view(-1, PATCH, PATCH * channels)
    filters = _filters().to(motion.device)
    down = torch.bmm(filters[phase_y.flatten()], patches)
    down = down.view(-1, CELL, PATCH, channels).transpose(1, 2).reshape(-1, PATCH, CELL * channels)
    blocks = torch.bmm(filters[phase_x.flatten()], down).view(count, rows, columns, CELL, CELL, channels)
    shown = blocks.permute(0, 5, 1, 4, 2, 3).reshape(count, channels, rows * CELL, columns * CELL)
    return shown[..., :height, :width]
