"""What the luma of a cell is coded as: coefficients of 8x8 pixels, coefficients of 4x4 pixels, or pixels.

The latents are coefficients of 8x8 pixels, and all networks see them so. But a point of light takes all 64 of these,
and few of 4x4 pixels, or one pixel alone; the edges of letters are alike. So a cell may hold its residual otherwise:
what it holds is turned into latents before anything is made of them. (HEVC chooses likewise: residual quadtree and
transform skip; Sze, Budagavi and Sullivan, High Efficiency Video Coding, 2014, chapter 6.)

The 64 values of such a cell lie where the residuals of its luma latents would, as 8x8, row by row: of SKIP its pixels;
of DCT4 a quarter each for the quarters of its pixels, in it the vertical and horizontal frequencies 0..3.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from codec.network.predictive.quality import matched_steps
from codec.network.predictive.scales import LARGEST_SYMBOL
from codec.network.predictive.transform import BLOCK, LUMA, cosine_rows, plane_basis

DCT8, DCT4, SKIP = 0, 1, 2
VALUES = BLOCK**2  # of a cell; as many as luma latents
UNIT = 256  # of what is computed in integers
COARSER = 1.15  # than steps that suit high rates (0.8, 1.0, 1.25 took more: docs/log.md)


def value_steps(quality: Tensor) -> Tensor:
    """Steps of DCT4 and SKIP in units of a pixel, at quality indices [B]: float32 [B]."""
    return COARSER * matched_steps(quality)


@lru_cache(4)
def basis(transform: int, device: torch.device) -> Tensor:
    """Orthonormal, float32 [VALUES, LUMA]: a cell's values in a transform -> its luma latents, both in pixel units."""
    with torch.inference_mode(False):
        pixels = torch.eye(VALUES, dtype=torch.float64)  # that each value alone stands for, [VALUES, 64]
        if transform == DCT4:
            one = torch.block_diag(*[cosine_rows(BLOCK // 2)] * 2)
            pixels = torch.kron(one, one)
        return (pixels @ plane_basis(LUMA).flatten(1).T).float().to(device)


@lru_cache(4)
def _integers(transform: int, device: torch.device) -> Tensor:
    """`basis` between steps of values and of latents, in units of 1 / UNIT, rounded: float32 [VALUES, LUMA]."""
    with torch.inference_mode(False):
        return torch.floor(UNIT * COARSER * basis(transform, torch.device("cpu")).double() + 0.5).float().to(device)


def as_latents_seen(values: Tensor, transforms: Tensor) -> Tensor:
    """What scale networks see in place of the luma latents of cells with others: integers float32 [n, LUMA].

    values: integers float32 [n, VALUES]. transforms: [n], none DCT8. Near what the latents are in steps of theirs, but
    in integers, whose sums float32 holds in any order: the parse of a file depends on them.
    """
    out = torch.empty_like(values)
    for transform in (DCT4, SKIP):
        here = transforms == transform
        sums = values[here] @ _integers(transform, values.device)
        out[here] = torch.floor(sums / UNIT + 0.5).clamp(-LARGEST_SYMBOL, LARGEST_SYMBOL)
    return out


def to_latents(residuals: Tensor, transforms: Tensor, steps: Tensor, quality: Tensor) -> Tensor:
    """Residuals as a file holds them, float32 [B, LATENTS, h, w] -> those of the latents, in steps of these.

    transforms: integers [B, h, w]. steps: of the latents, [B, LATENTS, 1, 1]. quality: indices [B] or [1].
    """
    if not transforms.any():
        return residuals
    out, sizes = residuals.clone(), value_steps(quality).expand(len(residuals))
    steps = steps.expand(len(residuals), -1, -1, -1)
    for transform in (DCT4, SKIP):
        b, y, x = (transforms == transform).nonzero(as_tuple=True)
        latents = residuals[b, :LUMA, y, x] @ basis(transform, residuals.device)
        out[b, :LUMA, y, x] = latents * sizes[b, None] / steps[b, :LUMA, 0, 0]
    return out
