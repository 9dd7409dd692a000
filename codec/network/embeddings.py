"""Embeddings: what the shared decoder starts from, behind one interface. Their specs are in codec/specs.py.

    pe_BASE_LEVELS        positional encoding of (t, x, y); nothing stored; answers at any real coordinate
    grid_C.S.T_C.S.T...   learned feature grids, one level per C.S.T: C channels, a cell per S x S pixels,
                          a plane every T frames; the tile is the whole frame, so that patches share borders
    hnerv_DIM             a stored latent of DIM channels per patch (HNeRV, Chen et al., CVPR 2023)

Each maps the coordinates [N, 3] = (t, y, x) of tiles, each in [0, 1], to feature maps [N, channels, h, w].
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from codec.specs import EmbeddingSpec, Geometry, GridSpec, LatentSpec, PositionalSpec, Size, Span

Window = tuple[Span, Span]  # rows, columns of a map


class Embedding(nn.Module):
    """What every embedding can do."""

    channels: int

    def forward(self, coords: Tensor, window: Window | None = None) -> Tensor:
        """coords float32 [N, 3] -> float32 [N, channels, h, w]; window: these rows and columns of the map alone."""
        raise NotImplementedError

    def store(self, index: Tensor, values: Tensor) -> None:
        """Set what tiles int64 [n] start from to [n, channels, h, w]: where the spec says `from_pixels`."""
        raise NotImplementedError


def build_embedding(spec: EmbeddingSpec, geometry: Geometry, size: Size) -> Embedding:
    """The embedding of a spec whose tiles have a first map of `size`."""
    return EMBEDDINGS[type(spec)](spec, geometry, size)


class PositionalEmbedding(Embedding):
    """Sine and cosine of each of t, y, x on its own: [N, 3] -> [N, 6 * levels, 1, 1]."""

    def __init__(self, spec: PositionalSpec, geometry: Geometry, size: Size) -> None:
        super().__init__()
        self.spec = spec
        self.channels = spec.width

    def forward(self, coords: Tensor, window: Window | None = None) -> Tensor:
        # float64, on the processor where the device has none: the highest frequencies (1.25 ** 79 ~ 4.5e7) would
        # lose their phase in float32
        exact = coords.cpu().double() if coords.device.type == "mps" else coords.double()
        frequencies = (
            self.spec.base ** torch.arange(self.spec.levels, dtype=torch.float64, device=exact.device) * math.pi
        )
        angles = exact[:, :, None] * frequencies
        waves = torch.cat([angles.sin(), angles.cos()], dim=-1)
        return waves.flatten(1).float().to(coords.device)[:, :, None, None]


class GridEmbedding(Embedding):
    """Feature grids sampled over one frame: coords [N, 3] -> [N, sum of channels, h, w]; only t matters.

    Linear between planes in time, bilinear in space (HiNeRV's grids, Kwan et al., NeurIPS 2023, section 3.2).
    """

    def __init__(self, spec: GridSpec, geometry: Geometry, size: Size) -> None:
        super().__init__()
        self.channels = spec.width
        self.size = size
        self.grids = nn.ParameterList(
            torch.empty(v.channels, v.planes(geometry.frames), *v.cells(geometry)) for v in spec.levels
        )
        for grid in self.grids:
            if not grid.is_meta:  # nothing to fill there, and torch would import its compiler to do it: seconds
                nn.init.normal_(grid, std=0.01)

    def forward(self, coords: Tensor, window: Window | None = None) -> Tensor:
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
        down = torch.from_numpy(bilinear_weights(maps.shape[-2], self.size[0])).to(maps)[slice(*rows)]
        across = torch.from_numpy(bilinear_weights(maps.shape[-1], self.size[1])).to(maps)[slice(*columns)]
        return down @ (maps @ across.mT)


@lru_cache(64)
def bilinear_weights(inputs: int, outputs: int) -> NDArray[np.float32]:
    """What each of `outputs` cells takes of `inputs` cells along one axis: [outputs, inputs], rows sum to 1.

    Half-pixel centres, edges repeated: bilinear interpolation with align_corners=False, as a matrix, so that a part of
    the outputs can be had alone. An array: a tensor made under inference mode must not be kept for a training.
    """
    place = ((np.arange(outputs) + 0.5) * inputs / outputs - 0.5).clip(0, inputs - 1)
    lower = np.floor(place).astype(np.int64)
    upper = (lower + 1).clip(max=inputs - 1)
    weight = place - lower
    weights = np.zeros((outputs, inputs), np.float32)
    np.add.at(weights, (np.arange(outputs), lower), 1 - weight)
    np.add.at(weights, (np.arange(outputs), upper), weight)
    return weights


class LatentEmbedding(Embedding):
    """Stored latents: coords [N, 3] of patches -> [N, channels, h, w]; coordinates are rounded to a patch."""

    def __init__(self, spec: LatentSpec, geometry: Geometry, size: Size) -> None:
        super().__init__()
        self.channels = spec.width
        self.shape = (geometry.frames, *geometry.grid)
        self.latents = nn.Parameter(torch.zeros(spec.channels, geometry.frames * geometry.patches, *size))

    def forward(self, coords: Tensor, window: Window | None = None) -> Tensor:
        return self.latents[:, self.index(coords)].transpose(0, 1)

    def store(self, index: Tensor, values: Tensor) -> None:
        self.latents.data[:, index] = values.transpose(0, 1)

    def index(self, coords: Tensor) -> Tensor:
        """coords [N, 3] -> int64 [N], the number of the patch: frame by frame, row by row."""
        last = torch.tensor([n - 1 for n in self.shape], device=coords.device)
        t, row, column = (coords * last).round().long().unbind(1)
        return (t * self.shape[1] + row) * self.shape[2] + column


EMBEDDINGS: dict[type, Callable[[Any, Geometry, Size], Embedding]] = {
    PositionalSpec: PositionalEmbedding,
    GridSpec: GridEmbedding,
    LatentSpec: LatentEmbedding,
}
