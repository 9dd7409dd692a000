"""The block transform that analysis and synthesis begin as: a DCT of 8x8 pixels in three orthonormal colours.

With it the untrained network is a codec of JPEG's kind, and training only improves it; from random weights the same
network takes hours to learn what a picture is.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

BLOCK = 8  # pixels; also the stride of the latents
LUMA, CHROMA = 64, 15  # coefficients kept, lowest frequencies first
LATENTS = LUMA + 2 * CHROMA  # channels
DC = (0, LUMA, LUMA + CHROMA)  # channels of the block means

# Rows: luminance and two colour differences. Orthonormal, so that an error costs the same in every channel.
_COLORS = ((1, 1, 1), (1, 0, -1), (1, -2, 1))  # x R, G, B, each divided by its length


def _cosines() -> Tensor:
    """float64 [8, 8]: rows of the orthonormal DCT-II."""
    k = torch.arange(BLOCK, dtype=torch.float64)
    rows = torch.cos(math.pi / BLOCK * (k[None] + 0.5) * k[:, None]) * math.sqrt(2 / BLOCK)
    rows[0] /= math.sqrt(2)
    return rows


def _by_frequency(count: int) -> list[tuple[int, int]]:
    """The `count` lowest (vertical, horizontal) frequencies, by their sum, then by the larger of the two."""
    cells = [(v, h) for v in range(BLOCK) for h in range(BLOCK)]
    return sorted(cells, key=lambda f: (f[0] + f[1], max(f), f))[:count]


def block_basis() -> Tensor:
    """Orthonormal rows, float32 [LATENTS, 3 * 64], in the order of `torch.nn.functional.pixel_unshuffle` (c, y, x)."""
    cosines = _cosines()
    rows = []
    for color, count in zip(_COLORS, (LUMA, CHROMA, CHROMA), strict=True):
        weights = torch.tensor(color, dtype=torch.float64)
        weights /= weights.norm()
        for v, h in _by_frequency(count):
            rows.append((weights[:, None, None] * torch.outer(cosines[v], cosines[h])).flatten())
    return torch.stack(rows).float()
