"""The block transform that analysis and synthesis begin as: a DCT of 8x8 pixels in three orthonormal colours.

With it the untrained network is a codec of JPEG's kind, and training only improves it; from random weights the same
network takes hours to learn what a picture is.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

BLOCK = 8  # pixels; also the stride of the latents
DETAIL = 2  # pixels; the stride of the layers that see single pixels
DETAILS = BLOCK // DETAIL  # sites of those along each side of a block
LUMA, CHROMA = 64, 15  # coefficients kept, lowest frequencies first
LATENTS = LUMA + 2 * CHROMA  # channels
DC = (0, LUMA, LUMA + CHROMA)  # channels of the block means

LEVEL = 128  # of grey: what a key frame is predicted by
PIXEL = 64.0  # of what layers see as 1

# Rows: luminance and two colour differences. Orthonormal, so that an error costs the same in every channel.
_COLORS = ((1, 1, 1), (1, 0, -1), (1, -2, 1))  # x R, G, B, each divided by its length


def to_layers(pixels: Tensor) -> Tensor:
    """Of 0..255, what layers see: 0 is grey."""
    return (pixels - LEVEL) / PIXEL


def from_layers(values: Tensor) -> Tensor:
    """Inverse of `to_layers`."""
    return (values * PIXEL).add_(LEVEL)


def to_detail(pixels: Tensor) -> Tensor:
    """[B, 3, H, W] -> [B, 12, H/2, W/2]."""
    return F.pixel_unshuffle(pixels, DETAIL)


def from_detail(sites: Tensor) -> Tensor:
    """Inverse of `to_detail`."""
    return F.pixel_shuffle(sites, DETAIL)


def pictures(sites: Tensor) -> Tensor:
    """`from_detail` of bytes: uint8 [B, 12, H/2, W/2], best in channels_last -> [B, H, W, 3]. On those it is faster."""
    b, _, h, w = sites.shape
    order = torch.arange(3 * DETAIL**2, device=sites.device).view(3, -1).T.flatten()
    rows = sites.permute(0, 2, 3, 1).index_select(3, order).view(b, h, w, DETAIL, -1).transpose(2, 3)
    return rows.reshape(b, h * DETAIL, w * DETAIL, 3)


def to_blocks(sites: Tensor) -> Tensor:
    """[B, C, H/2, W/2] -> [B, 16 C, H/8, W/8]."""
    return F.pixel_unshuffle(sites, DETAILS)


def from_blocks(blocks: Tensor) -> Tensor:
    """Inverse of `to_blocks`."""
    return F.pixel_shuffle(blocks, DETAILS)


def cosine_rows(size: int) -> Tensor:
    """float64 [size, size]: rows of the orthonormal DCT-II."""
    k = torch.arange(size, dtype=torch.float64)
    rows = torch.cos(math.pi / size * (k[None] + 0.5) * k[:, None]) * math.sqrt(2 / size)
    rows[0] /= math.sqrt(2)
    return rows


def _by_frequency(count: int) -> list[tuple[int, int]]:
    """The `count` lowest (vertical, horizontal) frequencies, by their sum, then by the larger of the two."""
    cells = [(v, h) for v in range(BLOCK) for h in range(BLOCK)]
    return sorted(cells, key=lambda f: (f[0] + f[1], max(f), f))[:count]


def plane_basis(count: int) -> Tensor:
    """Of one colour, orthonormal: float64 [count, 8, 8], lowest frequencies first."""
    cosines = cosine_rows(BLOCK)
    return torch.stack([torch.outer(cosines[v], cosines[h]) for v, h in _by_frequency(count)])


def block_basis() -> Tensor:
    """Orthonormal rows, float32 [LATENTS, 3 * 64], in the order of `to_blocks(to_detail(pixels))`."""
    rows = []
    for color, count in zip(_COLORS, (LUMA, CHROMA, CHROMA), strict=True):
        weights = torch.tensor(color, dtype=torch.float64)
        weights /= weights.norm()
        rows.append(plane_basis(count)[:, None] * weights[:, None, None])
    return to_blocks(to_detail(torch.cat(rows))).flatten(1).float()
