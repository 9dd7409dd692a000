"""From settings and a target size to a network: strides, grids and widths (HNeRV's modelsize idea, in bytes)."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from bitstream import Part, QuantizedTensor, Segment, write_segment
from codec.network.dual_head import blueprint
from codec.network.weights import part_of
from codec.settings import PRESETS, RateSettings, Settings
from codec.specs import DualHeadSpec, EmbeddingSpec, Geometry, GridLevel, GridSpec
from codec.training.task import Warn

# Strides of HNeRV's released configurations and their shorter forms; its latents have 2 x 4 cells.
HNERV_STRIDES = (
    (5, 4, 4, 3, 2),
    (5, 4, 3, 3, 2),
    (5, 4, 4, 2, 2),
    (5, 4, 3, 2, 2),
    (5, 3, 3, 2, 2),
    (5, 4, 3, 2),
    (5, 3, 3, 2),
    (5, 4, 2, 2),
    (5, 3, 2, 2),
    (5, 2, 2, 2),
    (5, 2, 2),
    (5, 2),
)
HNERV_CELLS = 8
WIDEST = 1024  # fc_dim
EMBED_SHARE = 0.5  # of the target size, for feature grids
# Feature grids: share of the values, frames a plane (0: one plane for the segment), fewest and most channels
GRID_LEVELS = ((0.45, 1, 2, 8), (0.30, 8, 3, 12), (0.25, 0, 4, 16))
GRID_CELLS = (8, 16, 32, 64, 128)  # pixels
FINEST_BITS = 8  # of a value, at most
REACHED_BITS = 7.0  # of the values of any trained network at their finest; they are not spread evenly
SIZE_REACHED = 0.95  # of the size asked for, at least
TRAINING_SPEED = 1e11  # multiplications a second: of a processor of some cores
LONG_TRAINING = 3600.0  # seconds, from which on it is announced
FILE_OVERHEAD = 250  # bytes: header, index, digest, framing


def target_bytes(settings: Settings, frames: int, height: int, width: int) -> float | None:
    """Bytes that a file of so many frames should come to; None where nothing was asked."""
    rate = settings.rate
    if rate.size is not None:
        return float(rate.size)
    return None if rate.bpp is None else rate.bpp * frames * height * width / 8


def is_asked_for(settings: Settings) -> bool:
    """Whether a size was given, and is not just what the preset comes with."""
    own = PRESETS[settings.preset].rate if settings.preset in PRESETS else RateSettings()
    return (settings.rate.bpp, settings.rate.size) not in ((None, None), (own.bpp, own.size))


def bits_per_value(rate: RateSettings, embed: type[EmbeddingSpec]) -> dict[Part, float]:
    """Coded bits of one value, side information included, before the steps are fitted to a target; measured."""
    return {
        Part.WEIGHT: max(0.5, (rate.weight_bits - 0.7) * (1 - 0.9 * rate.prune)),
        Part.EMBEDDING: max(0.5, rate.embed_bits - embed.bits_saved),
        Part.CLIP: max(0.5, rate.clip_bits - 0.7),
    }


def plan(
    settings: Settings,
    geometry: Geometry,
    clip_dim: int,
    size: float | None,
    warn: Warn = lambda message: None,
) -> DualHeadSpec:
    """The network for segments of this geometry, expected to be coded in about `size` bytes each.

    size: None where the widths are given. Raises ValueError where the settings describe no network, or none that comes
    to this size; warns where it will be smaller, larger or slow to train.
    """
    model = settings.model
    embed = model.embed or _grids(geometry, _grid_bytes(settings, geometry, clip_dim, size), settings.rate)
    spec = _within_clip_budget(_plan(embed, settings, geometry, clip_dim, size), settings, geometry, size)
    spec.check(geometry)
    if model.fc_hw and model.fc_hw != spec.first_map(geometry):
        (h, w), (fit_h, fit_w), tile = spec.fc_hw, spec.first_map(geometry), spec.tile(geometry)
        warn(
            f"fc_hw {h}_{w} makes maps larger than the {tile[0]}x{tile[1]} patch: they are resized "
            f"down to {fit_h}_{fit_w}; --fc-hw {fit_h}_{fit_w} fits, with fewer weights"
        )
    _foresee(spec, geometry, settings, size, warn)
    return spec


def _foresee(spec: DualHeadSpec, geometry: Geometry, settings: Settings, size: float | None, warn: Warn) -> None:
    """Say what training would show after hours. See `plan`."""
    shapes = [(part_of(n), (1, *p.shape)[-max(p.ndim, 2) :]) for n, p in blueprint(spec, geometry).named_parameters()]
    values = sum(math.prod(shape) for _, shape in shapes)
    asked = size if is_asked_for(settings) else None
    if asked is not None and values * FINEST_BITS / 8 < SIZE_REACHED * asked:
        raise ValueError(
            f"{asked:,.0f} bytes cannot be filled: the network that these settings allow has {values:,} values, which "
            f"take {values * FINEST_BITS / 8:,.0f} bytes at their finest: ask for less, or give it more to hold with "
            "--fc-dim, --embed or --num-blks"
        )
    if asked is not None:
        zeros = (QuantizedTensor(part, np.zeros(shape, np.int16), np.zeros(1, np.uint8)) for part, shape in shapes)
        least = len(write_segment(Segment(0, geometry.frames, tuple(zeros))))
        if least > asked:
            warn(
                f"a segment takes {least:,} bytes with every weight at zero, and {asked:,.0f} are there for it: ask "
                "for more, or for longer segments (--segment)"
            )
    train = settings.train
    work = 3 * spec.operations(geometry) * geometry.frames * train.epochs
    if train.minutes is None and work > LONG_TRAINING * TRAINING_SPEED:
        warn(
            f"the network has {values:,} values and takes {spec.operations(geometry):.1e} multiplications a frame: "
            f"training takes about {work / TRAINING_SPEED / 3600:,.0f} hours at {TRAINING_SPEED:.0e} a second for each "
            "segment; fewer --epochs, --minutes or a narrower network take less"
        )


def _plan(
    embed: EmbeddingSpec, settings: Settings, geometry: Geometry, clip_dim: int, size: float | None
) -> DualHeadSpec:
    """The network with this embedding."""
    model = settings.model
    tile = (geometry.height, geometry.width) if embed.whole_frame else geometry.patch
    strides = model.dec_strds or fitting_strides(*tile)
    spec = DualHeadSpec(
        embed=embed,
        fc_dim=model.fc_dim or model.lower_width,
        fc_hw=model.fc_hw or (1, 1),
        dec_strds=strides,
        dec_blks=model.num_blks[1:] if len(model.num_blks) > 2 else model.num_blks[1:] * len(strides),
        conv_type=model.conv_type[1],
        reduce=model.reduce,
        lower_width=model.lower_width,
        act=model.act,
        norm=model.norm,
        ks=model.ks[1:],
        head_strd=model.head_strd,
        out_bias=model.out_bias,
        clip_dim=clip_dim,
        clip_rank=model.clip_rank if clip_dim else 0,
    )
    spec = replace(spec, fc_hw=model.fc_hw or spec.first_map(geometry))
    if model.fc_dim is not None or size is None:
        return spec
    low, high = 1, WIDEST
    while low < high:
        middle = (low + high + 1) // 2
        fits = expected_bytes(_as_wide_as(spec, middle), geometry, settings.rate) <= size
        low, high = (middle, high) if fits else (low, middle - 1)
    while low < WIDEST and _values(_as_wide_as(spec, low), geometry) * REACHED_BITS / 8 < size:
        low += 1  # coarser steps can make it smaller, but none would fill the size
    return _as_wide_as(spec, low)


def _within_clip_budget(spec: DualHeadSpec, settings: Settings, geometry: Geometry, size: float | None) -> DualHeadSpec:
    """With a CLIP head as narrow as its share of the file takes, if not narrower than one channel."""
    while spec.clip_rank > 1:
        total = size or expected_bytes(spec, geometry, settings.rate)
        if expected_bytes(spec, geometry, settings.rate, Part.CLIP) <= settings.rate.clip_budget * total:
            break
        spec = replace(spec, clip_rank=spec.clip_rank // 2)
    return spec


def _values(spec: DualHeadSpec, geometry: Geometry) -> int:
    return sum(p.numel() for p in blueprint(spec, geometry).parameters())


def expected_bytes(spec: DualHeadSpec, geometry: Geometry, rate: RateSettings, part: Part | None = None) -> float:
    """Bytes that a segment of this network, or a part of it, is expected to be coded in."""
    bits = bits_per_value(rate, type(spec.embed))
    parameters = blueprint(spec, geometry).named_parameters()
    return sum(p.numel() * bits[part_of(n)] for n, p in parameters if part in (None, part_of(n))) / 8


def fitting_strides(height: int, width: int) -> tuple[int, ...]:
    """The strides of HNeRV's that leave a latent of about its size, and pad a tile little."""

    def misfit(strides: tuple[int, ...]) -> float:
        stride = math.prod(strides)
        cells = math.ceil(height / stride) * math.ceil(width / stride)
        padded = cells * stride**2 / (height * width)
        return padded * math.sqrt(max(cells / HNERV_CELLS, HNERV_CELLS / cells))

    return min(HNERV_STRIDES, key=misfit)


def _as_wide_as(spec: DualHeadSpec, fc_dim: int) -> DualHeadSpec:
    """With a stem of `fc_dim` channels, and no later stage wider for `lower_width` than the stem: for small targets."""
    return replace(spec, fc_dim=fc_dim, lower_width=min(spec.lower_width, fc_dim))


def _grid_bytes(settings: Settings, geometry: Geometry, clip_dim: int, size: float | None) -> float:
    """What feature grids are expected to take: their share of `size`, or of a network whose widths are given."""
    if size is not None:
        return EMBED_SHARE * size
    weights = _plan(_grids(geometry, 0, settings.rate), settings, geometry, clip_dim, None)
    return EMBED_SHARE / (1 - EMBED_SHARE) * expected_bytes(weights, geometry, settings.rate)


def _grids(geometry: Geometry, size: float, rate: RateSettings) -> GridSpec:
    """Feature grids of about `size` bytes: fine in time and coarse in space, and the other way round."""
    values = 8 * size / bits_per_value(rate, GridSpec)[Part.EMBEDDING]
    levels = []
    for share, time, fewest, most in GRID_LEVELS:
        time = min(time or geometry.frames, geometry.frames)
        for cell in GRID_CELLS:
            level = GridLevel(1, cell, time)
            size = level.planes(geometry.frames) * math.ceil(geometry.height / cell) * math.ceil(geometry.width / cell)
            channels = int(share * values / size)
            if channels >= fewest or cell == GRID_CELLS[-1]:
                levels.append(replace(level, channels=min(max(channels, 1), most)))
                break
    return GridSpec(tuple(levels))
