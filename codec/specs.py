"""What describes a network, as values: parsed once from the family's strings, checked, and free of torch.

    Geometry                     the frames that one network stands for
    PositionalSpec, GridSpec, LatentSpec
                                 embeddings: what the shared decoder starts from
    Output                       what becomes of the RGB head's values
    DualHeadSpec                 a whole network of the kind `dual_head`: its widths, tiles and maps
    Schedule, LossMix            the learning rate and the pixel loss of a training

Each `parse_x(text)` is the inverse of `str(x)` and raises ValueError for what is none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from bitstream import Architecture, Predictive
from codec import patches
from codec.patches import Grid

Size = tuple[int, int]  # height, width
Span = tuple[int, int]  # cells [lo, hi) along one axis

ACTIVATIONS = ("gelu", "relu", "swish")
NORMS = ("none",)  # the family has others, its published networks have none
UPSAMPLERS = ("pshuffel", "conv", "interpolate")
RESIDUAL_LAYERS = ("convnext", "residual")
CONV_TYPES = (*UPSAMPLERS, *RESIDUAL_LAYERS)
CONVNEXT_WIDTH = 4  # times as wide inside


@dataclass(frozen=True)
class Geometry:
    """The frames that one network stands for."""

    frames: int
    height: int  # pixels
    width: int
    grid: Grid

    @property
    def patches(self) -> int:
        return self.grid[0] * self.grid[1]

    @property
    def patch(self) -> Size:
        """Height and width of a patch in pixels; the last row and column may hold fewer real ones."""
        return math.ceil(self.height / self.grid[0]), math.ceil(self.width / self.grid[1])

    def coords(self, chosen: Sequence[int] | None = None) -> NDArray[np.float32]:
        """(t, y, x) of every patch of all or the chosen frames, each in [0, 1]: [frames, patches, 3]."""
        return patches.coords(self.frames, self.grid, chosen)

    def spans(self, row: int, column: int) -> tuple[Span, Span]:
        """Rows and columns of real pixels that a patch holds."""
        (h, w), bottom, right = self.patch, self.height, self.width
        return (row * h, min((row + 1) * h, bottom)), (column * w, min((column + 1) * w, right))


# ---- embeddings ----


class EmbeddingSpec(Protocol):
    """What is to be known of an embedding of any kind."""

    whole_frame: ClassVar[bool]  # a tile, what one coordinate decodes to, is the whole frame; else one patch
    from_pixels: ClassVar[bool]  # while training, an encoder makes its values out of the tile's pixels
    stem_kernel: ClassVar[int]  # of the convolution that reads it
    stem_spreads: ClassVar[bool]  # it is one cell a tile, which the stem spreads over fc_hw cells
    bits_saved: ClassVar[float]  # that a stored value is coded below its quantizer's bits; measured

    @property
    def width(self) -> int:
        """Channels that the stem reads."""

    def largest_map(self, geometry: Geometry, first_map: Size) -> int:
        """Values in the largest map that is made before the stem, of one tile."""

    def operations(self, geometry: Geometry, first_map: Size) -> int:
        """Multiplications before the stem, of one tile."""


@dataclass(frozen=True)
class PositionalSpec:
    """`pe_1.25_80`: frequencies base ** k * pi for k in range(levels) (NeRV, Chen et al., 2021, eq. 2)."""

    base: float
    levels: int

    whole_frame: ClassVar = False
    from_pixels: ClassVar = False
    stem_kernel: ClassVar = 1
    stem_spreads: ClassVar = True
    bits_saved: ClassVar = 0.0

    def __str__(self) -> str:
        return f"pe_{_shortest(self.base)}_{self.levels}"

    @property
    def width(self) -> int:
        return 6 * self.levels

    def largest_map(self, geometry: Geometry, first_map: Size) -> int:
        return self.width

    def operations(self, geometry: Geometry, first_map: Size) -> int:
        return self.width


@dataclass(frozen=True)
class GridLevel:
    """One resolution of a feature grid."""

    channels: int
    space: int  # pixels per cell, each way
    time: int  # frames from one plane to the next; at least the segment's length = one plane for all

    def planes(self, frames: int) -> int:
        return 1 if self.time >= frames else math.ceil((frames - 1) / self.time) + 1

    def cells(self, geometry: Geometry) -> Size:
        """Height and width of a plane."""
        return math.ceil(geometry.height / self.space), math.ceil(geometry.width / self.space)


@dataclass(frozen=True)
class GridSpec:
    """`grid_2.32.1_4.8.16`: multi-resolution grids, from coarse to fine."""

    levels: tuple[GridLevel, ...]

    whole_frame: ClassVar = True
    from_pixels: ClassVar = False
    stem_kernel: ClassVar = 3
    stem_spreads: ClassVar = False
    bits_saved: ClassVar = 1.5  # most values are small

    def __str__(self) -> str:
        return "grid_" + "_".join(f"{v.channels}.{v.space}.{v.time}" for v in self.levels)

    @property
    def width(self) -> int:
        return sum(level.channels for level in self.levels)

    def largest_map(self, geometry: Geometry, first_map: Size) -> int:
        return sum(v.channels * max(math.prod(v.cells(geometry)), math.prod(first_map)) for v in self.levels)

    def operations(self, geometry: Geometry, first_map: Size) -> int:
        """Between planes, then along rows and along columns, as matrices."""
        (h, w), cells = first_map, [(v.channels, *v.cells(geometry)) for v in self.levels]
        return sum(
            channels * (2 * rows * columns + rows * columns * w + rows * w * h) for channels, rows, columns in cells
        )


@dataclass(frozen=True)
class LatentSpec:
    """`hnerv_16`: a content-adaptive latent of `channels` per cell of the decoder's first map."""

    channels: int

    whole_frame: ClassVar = False
    from_pixels: ClassVar = True
    stem_kernel: ClassVar = 1
    stem_spreads: ClassVar = False
    bits_saved: ClassVar = 0.4  # they spread over their range

    def __str__(self) -> str:
        return f"hnerv_{self.channels}"

    @property
    def width(self) -> int:
        return self.channels

    def largest_map(self, geometry: Geometry, first_map: Size) -> int:
        return self.channels * math.prod(first_map)

    def operations(self, geometry: Geometry, first_map: Size) -> int:
        return 0


def parse_embed(text: str) -> EmbeddingSpec:
    """The inverse of str(spec)."""
    kind, *fields = text.split("_")
    try:
        if kind == "pe":
            base, levels = fields
            pe = PositionalSpec(float(base), int(levels))
            if 1 <= pe.levels <= 1024 and 1 <= pe.base <= 16 and pe.levels * math.log2(pe.base) < 64:
                return pe
        elif kind == "grid":
            grid = GridSpec(tuple(GridLevel(*map(int, f.split("."))) for f in fields))
            if grid.levels and all(min(v.channels, v.space, v.time) >= 1 for v in grid.levels):
                return grid
        elif kind == "hnerv" and len(fields) <= 1:
            latent = LatentSpec(int(fields[0]) if fields else 16)
            if latent.channels >= 1:
                return latent
    except (ValueError, TypeError):
        pass
    raise ValueError(
        f"embedding '{text}' is none of pe_BASE_LEVELS (pe_1.25_80), grid_C.S.T_... (grid_2.32.1_4.8.16), hnerv_DIM"
    )


# ---- layers ----


@dataclass(frozen=True)
class Output:
    """What makes pixels in [0, 1] of the RGB head's values: `tanh`, `sigmoid`, or a number that is added."""

    squash: str | None = None  # tanh, sigmoid; None: `bias` is added
    bias: float = 0.0

    def __str__(self) -> str:
        return self.squash or _shortest(self.bias)


OUTPUTS = ("tanh", "sigmoid")


def parse_output(text: str) -> Output:
    """The inverse of str(output)."""
    if text in OUTPUTS:
        return Output(squash=text)
    try:
        bias = float(text)
    except ValueError:
        bias = math.nan
    if not math.isfinite(bias):
        raise ValueError(f"out_bias '{text}' is neither {', '.join(OUTPUTS)} nor a number")
    return Output(bias=bias)


def check_layers(conv_type: str, act: str, norm: str, ks: tuple[int, ...]) -> None:
    """Raise ValueError for a value that no layer has."""
    for name, value, known in (("conv_type", conv_type, CONV_TYPES), ("act", act, ACTIVATIONS), ("norm", norm, NORMS)):
        if value not in known:
            raise ValueError(f"{name} '{value}' is unknown: choose from {', '.join(known)}")
    if not all(k % 2 for k in ks):
        raise ValueError(f"ks {'_'.join(map(str, ks))}: kernel sizes must be odd")


# ---- networks ----


class NetworkSpec(Protocol):
    """What is to be known of a network of any kind before it is built."""

    @classmethod
    def parse(cls, architecture: Any, base: bytes) -> NetworkSpec:
        """From the header's record of this kind and its base. Raises ValueError where they describe no network."""

    def architecture(self) -> Any:
        """Inverse of `parse`."""

    @property
    def base(self) -> bytes:
        """The digest of the base that it is; empty: it has none."""

    @property
    def clip_dim(self) -> int:
        """Width of its features; 0: it has none."""

    def largest_map(self, geometry: Geometry) -> int:
        """Values in the largest map that is computed at once: what decoding takes in memory, a few times over."""

    def operations(self, geometry: Geometry) -> int:
        """Multiplications that a frame takes with its features: what decoding takes in time."""

    def values_of_a_frame(self, geometry: Geometry) -> int:
        """What each of the frames that are decoded together takes in memory, in values of a map."""


@dataclass(frozen=True)
class PredictiveSpec:
    """The network that predicts frames from decoded ones, by the base that it is. See network/predictive/."""

    base: bytes  # the digest of its base
    clip_dim: int  # width of a feature, 0 for none

    @classmethod
    def parse(cls, architecture: Predictive, base: bytes) -> PredictiveSpec:
        """From the header's record."""
        return cls(base, architecture.clip_dim)

    def architecture(self) -> Predictive:
        """Inverse of `parse`."""
        return Predictive(self.clip_dim)

    def largest_map(self, geometry: Geometry) -> int:
        """The two references of a frame side by side."""
        return 6 * _padded(geometry.height) * _padded(geometry.width)

    def values_of_a_frame(self, geometry: Geometry) -> int:
        """Its three bytes a pixel: maps are those of a few frames, however many are decoded together."""
        return 3 * _padded(geometry.height) * _padded(geometry.width) // 4

    def operations(self, geometry: Geometry) -> int:
        """Multiplications to decode a frame at most, of the widths that bases have; its chain comes on top.

        A pixel takes 7,000 where every layer runs, 5,200 in a key frame, 200 to 360 in moved blocks.
        """
        return 7000 * _padded(geometry.height) * _padded(geometry.width)


def _padded(side: int) -> int:
    return -(-side // 32) * 32


@dataclass(frozen=True)
class DualHeadSpec:
    """The overfitted network with an RGB and a CLIP head, in the names of the HNeRV family. See network/dual_head.py.

    Raises ValueError for names that no layer has.
    """

    embed: EmbeddingSpec
    fc_dim: int  # channels of the stem's output
    fc_hw: Size  # of the stem's output; larger than the first map, it is averaged down
    dec_strds: tuple[int, ...]  # upsampling of each stage
    dec_blks: tuple[int, ...]  # blocks of each stage
    conv_type: str
    reduce: float  # by which each stage divides the channels; -1: by the square root of its stride
    lower_width: int  # fewest channels of a stage
    act: str
    norm: str
    ks: tuple[int, int]  # kernel sizes: of the first stage, the largest
    head_strd: int  # pixel shuffle of the RGB head
    out_bias: Output
    clip_dim: int  # width of the CLIP head's output, 0 for no CLIP head
    clip_rank: int  # width of its hidden layer

    base: ClassVar = b""  # it is trained from nothing

    def __post_init__(self) -> None:
        check_layers(self.conv_type, self.act, self.norm, self.ks)
        if self.clip_dim and not self.clip_rank:
            raise ValueError("clip_rank 0: a CLIP head has a hidden layer")

    @classmethod
    def parse(cls, architecture: Architecture, base: bytes = b"") -> DualHeadSpec:
        """From the header's record. Raises ValueError where it describes no network."""
        values = {field.name: getattr(architecture, field.name) for field in fields(cls)}
        values |= {"embed": parse_embed(architecture.embed), "out_bias": parse_output(architecture.out_bias)}
        return cls(**values)

    def architecture(self) -> Architecture:
        """Inverse of `parse`."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return Architecture(**values | {"embed": str(self.embed), "out_bias": str(self.out_bias)})

    @property
    def cell(self) -> int:
        """Pixels each way that a cell of the first map stands for."""
        return math.prod(self.dec_strds) * self.head_strd

    def widths(self) -> list[int]:
        """Channels before the first and after each stage, by HNeRV's rule."""
        widths = [self.fc_dim]
        for stride in self.dec_strds:
            reduction = math.sqrt(stride) if self.reduce == -1 else self.reduce
            widths.append(max(round(widths[-1] / reduction), self.lower_width))
        return widths

    def tile(self, geometry: Geometry) -> Size:
        """Height and width in pixels of what one coordinate decodes to."""
        return (geometry.height, geometry.width) if self.embed.whole_frame else geometry.patch

    def tiles_of_a_frame(self, geometry: Geometry) -> int:
        return 1 if self.embed.whole_frame else geometry.patches

    def first_map(self, geometry: Geometry) -> Size:
        """The smallest map in front of the stages whose last one covers a tile."""
        height, width = self.tile(geometry)
        return math.ceil(height / self.cell), math.ceil(width / self.cell)

    def check(self, geometry: Geometry) -> None:
        """Raise ValueError where the stem's map does not cover a tile."""
        (h, w), (fit_h, fit_w), tile = self.fc_hw, self.first_map(geometry), self.tile(geometry)
        if h < fit_h or w < fit_w:
            raise ValueError(
                f"fc_hw {h}_{w} does not cover a patch of {tile[0]}x{tile[1]} pixels: {fit_h}_{fit_w} does"
            )

    def largest_map(self, geometry: Geometry) -> int:
        first_map = self.first_map(geometry)
        height, width = first_map
        sizes = [self.fc_dim * height * width, self.embed.largest_map(geometry, first_map)]
        if self.embed.stem_spreads:
            sizes.append(self.fc_dim * math.prod(self.fc_hw))
        for stride, channels in zip(self.dec_strds, map(max, pairwise(self.widths())), strict=True):
            height, width = height * stride, width * stride
            sizes.append(channels * height * width * (CONVNEXT_WIDTH if self.conv_type == "convnext" else 1))
        return max(*sizes, 3 * height * width * self.head_strd**2)

    def operations(self, geometry: Geometry) -> int:
        first_map = self.first_map(geometry)
        cells, spread = math.prod(first_map), math.prod(self.fc_hw) if self.embed.stem_spreads else 1
        a_cell = self.embed.width * self.fc_dim * spread * self.embed.stem_kernel**2
        tile = self.embed.operations(geometry, first_map) + a_cell * (1 if self.embed.stem_spreads else cells)
        stages = zip(self.dec_strds, self.dec_blks, pairwise(self.widths()), strict=True)
        for i, (stride, blocks, (inputs, width)) in enumerate(stages):
            kernel = min(self.ks[0] + 2 * i, self.ks[1])
            tile += cells * self._block_operations(inputs, width, stride, kernel)
            cells *= stride**2
            tile += cells * (blocks - 1) * self._block_operations(width, width, 1, kernel)
        width = self.widths()[-1]
        tile += cells * width * 3 * self.head_strd**2 * 9
        features = (width + self.clip_dim) * self.clip_rank if self.clip_dim else 0
        return tile * self.tiles_of_a_frame(geometry) + features * geometry.patches

    def _block_operations(self, inputs: int, outputs: int, stride: int, kernel: int) -> int:
        """Multiplications of a block for a cell of its input."""
        if self.conv_type in RESIDUAL_LAYERS and stride == 1 and inputs == outputs:
            if self.conv_type == "residual":
                return 2 * inputs**2 * kernel**2
            return inputs * kernel**2 + 2 * CONVNEXT_WIDTH * inputs**2
        if self.conv_type == "conv":
            return inputs * outputs * (kernel + stride) ** 2
        return inputs * outputs * stride**2 * kernel**2

    def values_of_a_frame(self, geometry: Geometry) -> int:
        return self.largest_map(geometry) * self.tiles_of_a_frame(geometry)


# ---- training ----


@dataclass(frozen=True)
class Schedule:
    """`cosine_0.1_1_0.1`: warm up over the first `up` of training from `start` x lr with power `power`, then a
    cosine to zero (HNeRV's `lr_type`)."""

    up: float
    power: float
    start: float

    def __str__(self) -> str:
        return "_".join(["cosine", *map(_shortest, (self.up, self.power, self.start))])

    def multiplier(self, progress: float) -> float:
        """Factor on the learning rate; progress in [0, 1]."""
        if progress < self.up:
            return self.start + (1 - self.start) * (progress / self.up) ** self.power
        return 0.5 * (1 + math.cos(math.pi * (progress - self.up) / max(1 - self.up, 1e-9)))


def parse_schedule(text: str) -> Schedule:
    """`cosine_UP_POWER_START` -> Schedule."""
    kind, *fields = text.split("_")
    try:
        schedule = Schedule(*map(float, fields))
    except (TypeError, ValueError):
        kind = ""
    if kind != "cosine" or not 0 <= schedule.up <= 1 or not 0 <= schedule.start <= 1 or schedule.power < 0:
        raise ValueError(f"lr type '{text}' is not cosine_UP_POWER_START, such as cosine_0.1_1_0.1")
    return schedule


MS_SSIM_SCALES = 5  # each half the last


@dataclass(frozen=True)
class LossMix:
    """Weights of mean absolute error, mean squared error, 1 - SSIM and 1 - MS-SSIM, pixels in [0, 1]."""

    l1: float = 0.0
    l2: float = 0.0
    ssim: float = 0.0
    ms_ssim: float = 0.0

    @property
    def smallest_side(self) -> int:
        """Pixels that a tile needs at least each way for this mix to be defined."""
        if self.ms_ssim:
            return 2 * 2 ** (MS_SSIM_SCALES - 1) + 1
        return 2 if self.ssim else 1


# Names and mixes of HNeRV's released code (Chen et al., CVPR 2023).
LOSSES = {
    "L1": LossMix(l1=1.0),
    "L2": LossMix(l2=1.0),
    "SSIM": LossMix(ssim=1.0),
    "Fusion1": LossMix(l2=0.3, ssim=0.7),
    "Fusion2": LossMix(l1=0.3, ssim=0.7),
    "Fusion3": LossMix(l2=0.5, ssim=0.5),
    "Fusion4": LossMix(l1=0.5, ssim=0.5),
    "Fusion5": LossMix(l2=0.7, ssim=0.3),
    "Fusion6": LossMix(l1=0.7, ssim=0.3),
    "Fusion7": LossMix(l1=0.3, l2=0.7),
    "Fusion8": LossMix(l1=0.5, l2=0.5),
    "Fusion9": LossMix(l1=0.9, ssim=0.1),
    "Fusion10": LossMix(l1=0.7, ms_ssim=0.3),
    "Fusion11": LossMix(l1=0.9, ms_ssim=0.1),
    "Fusion12": LossMix(l1=0.8, ms_ssim=0.2),
}
OPTIMIZERS = ("adam", "muon")


def _shortest(value: float) -> str:
    """A number as text that reads back as exactly this number: 2.0 -> 2, 1.25 -> 1.25."""
    return repr(float(value)).removesuffix(".0")
