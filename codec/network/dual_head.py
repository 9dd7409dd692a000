"""DualHeadHNeRV: (t, y, x) -> embedding -> stem -> NeRV blocks -> RGB head and CLIP head.

    coords [N, 3] --embedding--> [N, C0, h, w] --stem, stages (the trunk)--> [N, C, h', w']
        --RGB head: 3x3 convolution--> [N, 3, tile height, tile width]
        --CLIP head: mean over the patch, MLP--> [N, patches of the tile, D], L2-normalised

A *tile* is what one coordinate decodes to: one patch for `pe` and `hnerv`, the whole frame for `grid`,
whose convolutions run across patch borders. The network is rebuilt from the file's header alone.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bitstream import Segment
from codec.network.blocks import NeRVBlock, PixelShuffleUp
from codec.network.embeddings import build_embedding
from codec.network.weights import check_tensors, dequantize
from codec.specs import DualHeadSpec, Geometry, Output, Size, Span

BATCH_VALUES = 2**26  # in the largest map of the tiles computed at once


def load(
    spec: DualHeadSpec, geometry: Geometry, segment: Segment, device: torch.device, dtype: torch.dtype
) -> DualHeadHNeRV:
    """The network that a segment holds, ready to decode. Raises MalformedChunk for integers of another network."""
    model = blueprint(spec, geometry)
    check_tensors(segment.tensors, model)
    dequantize(segment.tensors, model)
    return model.to(device).eval().cast(dtype)


def stored_values(spec: DualHeadSpec, geometry: Geometry) -> int:
    """How many integers a segment holds."""
    return sum(p.numel() for p in blueprint(spec, geometry).parameters())


class DualHeadHNeRV(nn.Module):
    """The network of one segment. Parameters are float32 while training; decoding may cast them.

    Raises ValueError where the architecture is none, or cannot cover the geometry.
    """

    def __init__(self, spec: DualHeadSpec, geometry: Geometry) -> None:
        super().__init__()
        spec.check(geometry)
        self.spec, self.geometry = spec, geometry
        self.memory_format = torch.channels_last
        self.tile, self.map = spec.tile(geometry), spec.first_map(geometry)
        self.tile_batch = max(1, BATCH_VALUES // spec.largest_map(geometry))
        self.embedding = build_embedding(spec.embed, geometry, self.map)
        outputs = spec.fc_dim * (math.prod(spec.fc_hw) if spec.embed.stem_spreads else 1)
        self.stem = NeRVBlock(self.embedding.channels, outputs, 1, spec.embed.stem_kernel, "pshuffel", spec.act)
        blocks: list[NeRVBlock] = []
        widths = spec.widths()
        for i, (stride, count, (inputs, width)) in enumerate(
            zip(spec.dec_strds, spec.dec_blks, pairwise(widths), strict=True)
        ):
            ks = min(spec.ks[0] + 2 * i, spec.ks[1])
            for j in range(count):
                blocks.append(
                    NeRVBlock(width if j else inputs, width, 1 if j else stride, ks, spec.conv_type, spec.act)
                )
        self.stages = nn.ModuleList(blocks)
        self.rgb_head = PixelShuffleUp(widths[-1], 3, spec.head_strd, 3)
        self.clip_head: nn.Module | None = None
        if spec.clip_dim:
            self.clip_head = nn.Sequential(
                nn.Linear(widths[-1], spec.clip_rank), nn.GELU(), nn.Linear(spec.clip_rank, spec.clip_dim)
            )

    def cast(self, dtype: torch.dtype, memory_format: torch.memory_format = torch.channels_last) -> DualHeadHNeRV:
        """Set the type and layout that the network computes in, in place."""
        self.memory_format = memory_format
        for name, p in self.named_parameters():
            if not stays_float32(name):
                p.data = p.data.to(dtype)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                module.weight.data = module.weight.data.contiguous(memory_format=memory_format)
        return self

    # ---- tiles: what training and whole-frame decoding run ----

    def forward(self, coords: Tensor, latents: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """One training step's view: coords float32 [N, 3] -> (cells, features or None).

        cells: float32 [N, 3 * r * r, h, w], the RGB head's output before its pixel shuffle by r; features:
        float32 [N, patches of a tile, D]. latents: what a content encoder made for these tiles, instead of stored ones.
        """
        trunk = self.trunk(coords, latents)
        return self._output(self.rgb_head.conv(trunk)), None if self.clip_head is None else self._tile_features(trunk)

    def trunk(self, coords: Tensor, latents: Tensor | None = None) -> Tensor:
        """coords float32 [N, 3] -> features [N, C, h, w] of a whole tile, shared by both heads."""
        x = self.stem(self._cast(self.embedding(coords) if latents is None else latents))
        if self.spec.embed.stem_spreads:
            x = x.view(len(x), self.spec.fc_dim, *self.spec.fc_hw)
            if self.spec.fc_hw != self.map:
                x = F.adaptive_avg_pool2d(x, self.map)
        for block in self.stages:
            x = block(x)
        return x

    def _cast(self, x: Tensor) -> Tensor:
        """An embedding's map in the type and layout that the network computes in."""
        return x.to(self.rgb_head.conv.weight.dtype).contiguous(memory_format=self.memory_format)

    def rgb(self, trunk: Tensor) -> Tensor:
        """Trunk of tiles -> float32 [N, 3, tile height, tile width], nominally in [0, 1], not clamped."""
        return self._output(self.rgb_head(trunk))[..., : self.tile[0], : self.tile[1]]

    def _output(self, x: Tensor) -> Tensor:
        return to_pixels(x.float(), self.spec.out_bias)

    def _tile_features(self, trunk: Tensor) -> Tensor:
        """Trunk of tiles -> float32 [N, patches of a tile, D], L2-normalised. Needs a CLIP head."""
        if self.spec.embed.whole_frame:
            rows, columns = self.geometry.grid
            spans = [self.geometry.spans(r, c) for r in range(rows) for c in range(columns)]
            pooled = [trunk[..., slice(*self._cells(y)), slice(*self._cells(x))].mean((-2, -1)) for y, x in spans]
            return self._clip(torch.stack(pooled, dim=1))
        return self._clip(trunk.mean((-2, -1))[:, None])

    def _cells(self, pixels: Span) -> Span:
        return pixels[0] // self.spec.head_strd, math.ceil(pixels[1] / self.spec.head_strd)

    def _clip(self, pooled: Tensor) -> Tensor:
        if self.clip_head is None:
            raise ValueError("this network has no CLIP head")
        return F.normalize(self.clip_head(pooled).float(), dim=-1)

    # ---- frames and single patches: what a decoder asks for ----

    def frames(self, t: Tensor) -> Tensor:
        """Frame numbers int64 [B] -> uint8 [B, height, width, 3]."""
        coords = self.tile_coords(t).split(self.tile_batch)
        tiles = torch.cat([to_uint8(self.rgb(self.trunk(c))) for c in coords])
        if self.spec.embed.whole_frame:
            return tiles
        return _join(tiles.unflatten(0, (len(t), self.geometry.patches)), self.geometry)

    def features(self, t: Tensor) -> Tensor:
        """Frame numbers int64 [B] -> float32 [B, patches, D]; the RGB head does not run."""
        coords = self.tile_coords(t).split(self.tile_batch)
        return torch.cat([self._tile_features(self.trunk(c)) for c in coords]).reshape(
            len(t), self.geometry.patches, -1
        )

    def tile_coords(self, t: Tensor) -> Tensor:
        """Coordinates of all tiles of frames t, frame by frame: float32 [B * tiles of a frame, 3]."""
        coords = torch.from_numpy(self.geometry.coords(t.tolist())).to(t.device)  # [B, patches, 3]
        return coords[:, 0] if self.spec.embed.whole_frame else coords.flatten(0, 1)

    def patch(self, t: Tensor, row: int, column: int) -> Tensor:
        """One patch of frames t [B] -> uint8 [B, h, w, 3], real pixels only, without decoding the rest."""
        y, x = self.geometry.spans(row, column)
        if not self.spec.embed.whole_frame:
            coords = self.tile_coords(t).view(len(t), self.geometry.patches, 3)
            rgb = self.rgb(self.trunk(coords[:, row * self.geometry.grid[1] + column]))
            return to_uint8(rgb)[:, : y[1] - y[0], : x[1] - x[0]]
        rgb = self._output(self._window(self.tile_coords(t), self._cells(y), self._cells(x)))
        top, left = (y[0] - self._cells(y)[0] * self.spec.head_strd), (x[0] - self._cells(x)[0] * self.spec.head_strd)
        return to_uint8(rgb)[:, top : top + y[1] - y[0], left : left + x[1] - x[0]]

    def _window(self, coords: Tensor, rows: Span, columns: Span) -> Tensor:
        """The RGB head's output over trunk cells rows x columns, each layer run only where it is needed."""
        layers: list[Any] = [self.stem, *self.stages, self.rgb_head]
        strides = [int(layer.stride) for layer in layers]
        regions = [_inputs(layers, strides, self.map, axis, span) for axis, span in enumerate((rows, columns))]
        first = regions[0][0], regions[1][0]
        x = self._cast(self.embedding(coords, first))
        origin = (first[0][0], first[1][0])
        for layer, stride, y_in, x_in in zip(layers, strides, *regions, strict=True):
            x = layer(x[..., y_in[0] - origin[0] : y_in[1] - origin[0], x_in[0] - origin[1] : x_in[1] - origin[1]])
            origin = (y_in[0] * stride, x_in[0] * stride)
        s = self.spec.head_strd
        top, left = rows[0] * s - origin[0], columns[0] * s - origin[1]
        return x[..., top : top + (rows[1] - rows[0]) * s, left : left + (columns[1] - columns[0]) * s]


def _inputs(layers: list[Any], strides: list[int], size: Size, axis: int, span: Span) -> list[Span]:
    """Input cells of each layer along one axis, so that the last layer's input cells `span` come out right."""
    sizes = np.cumprod([size[axis], *strides[:-1]])
    lo, hi = span[0] * strides[-1], span[1] * strides[-1]
    needed: list[Span] = []
    for layer, cells in zip(reversed(layers), reversed(sizes.tolist()), strict=True):
        lo, hi = layer.needs(lo, hi)
        lo, hi = max(lo, 0), min(hi, cells)
        needed.append((lo, hi))
    return needed[::-1]


def _join(tiles: Tensor, geometry: Geometry) -> Tensor:
    """Patches uint8 [B, patches, h, w, 3] -> frames [B, height, width, 3]: undoes `patches.split`."""
    rows, columns = geometry.grid
    b, _, h, w, _ = tiles.shape
    frames = tiles.view(b, rows, columns, h, w, 3).transpose(2, 3).reshape(b, rows * h, columns * w, 3)
    return frames[:, : geometry.height, : geometry.width]


def stays_float32(name: str) -> bool:
    """Whether a parameter is never cast: embeddings are, once they have been sampled."""
    return name.startswith("embedding.")


def to_pixels(x: Tensor, output: Output) -> Tensor:
    """The RGB head's values, float32 of any shape -> nominally in [0, 1]."""
    if output.squash == "tanh":
        return x.tanh() * 0.5 + 0.5
    return x.sigmoid() if output.squash == "sigmoid" else x + output.bias


def to_uint8(rgb: Tensor) -> Tensor:
    """float [N, 3, h, w] in [0, 1] -> uint8 [N, h, w, 3], rounded."""
    return (rgb.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1)


def blueprint(spec: DualHeadSpec, geometry: Geometry) -> DualHeadHNeRV:
    """The network as a file holds it, on the meta device: names and shapes, no memory. Raises ValueError as it does."""
    with torch.device("meta"):
        return DualHeadHNeRV(spec, geometry)
