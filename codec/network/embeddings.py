"""Embeddings: what the shared decoder starts from, behind one interface.

    pe_BASE_LEVELS        positional encoding of (t, x, y); nothing stored; answers at any real coordinate
    grid_C.S.T_C.S.T...   learned feature grids, one level per C.S.T: C channels, a cell per S x S pixels,
                          a plane every T frames; the tile is the whole frame, so that patches share borders
    hnerv_DIM             a stored latent of DIM channels per patch (HNeRV, Chen et al., CVPR 2023)

Each embedding says what a *tile* is (one patch, or one whole frame) and maps coordinates
[N, 3] = (t, y, x), each in [0, 1], to feature maps [N, channels, h, w], one for each tile.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codec.network.blocks import Span

Window = tuple[Span, Span]  # rows, columns of a map


@dataclass(frozen=True)
class PositionalSpec:
    """`pe_1.25_80`: frequencies base ** k * pi for k in range(levels) (NeRV, Chen et al., 2021, eq. 2)."""

    base: float
    levels: int

    def __str__(self) -> str:
        return f"pe_{self.base:g}_{self.levels}"


@dataclass(frozen=True)
class GridLevel:
    """One resolution of a feature grid."""

    channels: int
    space: int  # pixels per cell, each way
    time: int  # frames from one plane to the next; at least the segment's length = one plane for all

    def planes(self, frames: int) -> int:
        return 1 if self.time >= frames else math.ceil((frames - 1) / self.time) + 1


@dataclass(frozen=True)
class GridSpec:
    """`grid_2.32.1_4.8.16`: multi-resolution grids, from coarse to fine."""

    levels: tuple[GridLevel, ...]

    def __str__(self) -> str:
        return "grid_" + "_".join(f"{v.channels}.{v.space}.{v.time}" for v in self.levels)


@dataclass(frozen=True)
class LatentSpec:
    """`hnerv_16`: a content-adaptive latent of `channels` per cell of the decoder's first map."""

    channels: int

    def __str__(self) -> str:
        return f"hnerv_{self.channels}"


EmbeddingSpec = PositionalSpec | GridSpec | LatentSpec


def parse_embed(text: str) -> EmbeddingSpec:
    """The inverse of str(spec). ValueError for anything that is not one of the three forms above."""
    kind, *fields = text.split("_")
    try:
        if kind == "pe":
            base, levels = fields
            pe = PositionalSpec(float(base), int(levels))
            spec: EmbeddingSpec = pe
            ok = 1 <= pe.levels <= 1024 and 1 <= pe.base <= 16 and pe.levels * math.log2(pe.base) < 64
        elif kind == "grid":
            grid = GridSpec(tuple(GridLevel(*map(int, f.split("."))) for f in fields))
            spec = grid
            ok = bool(grid.levels) and all(min(v.channels, v.space, v.time) >= 1 for v in grid.levels)
        elif kind == "hnerv":
            latent = LatentSpec(int(fields[0]) if fields else 16)
            spec = latent
            ok = latent.channels >= 1 and len(fields) <= 1
        else:
            ok = False
    except (ValueError, TypeError):
        ok = False
    if not ok:
        raise ValueError(
            f"embedding '{text}' is none of pe_BASE_LEVELS (pe_1.25_80), grid_C.S.T_... (grid_2.32.1_4.8.16), hnerv_DIM"
        )
    return spec


class PositionalEmbedding(nn.Module):
    """Sine and cosine of each of t, y, x on its own: [N, 3] -> [N, 6 * levels, 1, 1]."""

    def __init__(self, spec: PositionalSpec) -> None:
        super().__init__()
        self.spec = spec
        self.channels = 6 * spec.levels

    def forward(self, coords: Tensor) -> Tensor:
        # float64, on the processor where the device has none: the highest frequencies (1.25 ** 79 ~ 4.5e7) would
        # lose their phase in float32
        exact = coords.cpu().double() if coords.device.type == "mps" else coords.double()
        frequencies = (
            self.spec.base ** torch.arange(self.spec.levels, dtype=torch.float64, device=exact.device) * math.pi
        )
        angles = exact[:, :, None] * frequencies
        waves = torch.cat([angles.sin(), angles.cos()], dim=-1)
        return waves.flatten(1).float().to(coords.device)[:, :, None, None]


class GridEmbedding(nn.Module):
    """Feature grids sampled over one frame: coords [N, 3] -> [N, sum of channels, h, w]; only t matters.

    Linear between planes in time, bilinear in space (HiNeRV's grids, Kwan et al., NeurIPS 2023, section 3.2).
    """

    def __init__(self, spec: GridSpec, frames: int, cell: int, height: int, width: int) -> None:
        super().__init__()
        self.channels = sum(level.channels for level in spec.levels)
        self.frames = frames
        self.size = (math.ceil(height / cell), math.ceil(width / cell))
        sides = [(math.ceil(height / v.space), math.ceil(width / v.space)) for v in spec.levels]
        self.grids = nn.ParameterList(
            torch.empty(v.channels, v.planes(frames), h, w) for v, (h, w) in zip(spec.levels, sides, strict=True)
        )
        for grid in self.grids:
            if not grid.is_meta:  # nothing to fill there, and torch would import its compiler to do it: seconds
                nn.init.normal_(grid, std=0.01)

    def forward(self, coords: Tensor, window: Window | None = None) -> Tensor:
        """window: only these rows and columns of the map; their values are those of the whole map."""
        rows, columns = window or ((0, self.size[0]), (0, self.size[1]))
        return torch.cat([self._sample(grid, coords[:, 0], rows, columns) for grid in self.grids], dim=1)

    def _sample(self, grid: Tensor, t: Tensor, rows: Span, columns: Span) -> Tensor:
        planes = grid.shape[1]
        if planes == 1:
            maps = grid.transpose(0, 1).expand(len(t), -1, -1, -1)
        else:
            position = t * (planes - 1)
            before = position.floor().long().clamp(0, planes - 2)
            weight = (position - before)[None, :, None, None].to(grid.dtype)
            maps = torch.lerp(grid[:, before], grid[:, before + 1], weight).transpose(0, 1)  # [N, C, h, w]
        if maps.shape[-2:] == self.size:
            return maps[..., slice(*rows), slice(*columns)]
        down = bilinear_weights(maps.shape[-2], self.size[0]).to(maps)[slice(*rows)]
        across = bilinear_weights(maps.shape[-1], self.size[1]).to(maps)[slice(*columns)]
        return down @ (maps @ across.mT)


@lru_cache(64)
def bilinear_weights(inputs: int, outputs: int) -> Tensor:
    """What each of `outputs` cells takes of `inputs` cells along one axis: float32 [outputs, inputs], rows sum to 1.

    Half-pixel centres, edges repeated: bilinear interpolation with align_corners=False, as a matrix, so that a part of
    the outputs can be had alone.
    """
    place = ((torch.arange(outputs, dtype=torch.float64) + 0.5) * inputs / outputs - 0.5).clamp(0, inputs - 1)
    lower = place.floor().long()
    upper = (lower + 1).clamp(max=inputs - 1)
    weight = (place - lower)[:, None]
    return (F.one_hot(lower, inputs) * (1 - weight) + F.one_hot(upper, inputs) * weight).float()


class LatentEmbedding(nn.Module):
    """Stored latents: coords [N, 3] of patches -> [N, channels, h, w]; coordinates are rounded to a patch."""

    def __init__(self, spec: LatentSpec, frames: int, grid: tuple[int, int], size: tuple[int, int]) -> None:
        super().__init__()
        self.channels = spec.channels
        self.shape = (frames, *grid)
        self.latents = nn.Parameter(torch.zeros(spec.channels, frames * grid[0] * grid[1], *size))

    def forward(self, coords: Tensor) -> Tensor:
        return self.latents[:, self.index(coords)].transpose(0, 1)

    def index(self, coords: Tensor) -> Tensor:
        """coords [N, 3] -> int64 [N], the number of the patch: frame by frame, row by row."""
        last = torch.tensor([n - 1 for n in self.shape], device=coords.device)
        t, row, column = (coords * last).round().long().unbind(1)
        return (t * self.shape[1] + row) * self.shape[2] + column
