"""Frames from their integers and their references: the part of decoding that computes in floats.

Frames of one level of a group refer to frames of the levels before it and not to each other, so they go through the
network as one batch. References are kept as they are shown, rounded to 8 bits: what little one machine's floats differ
from another's is then gone before the next frame builds on it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from codec.network.predictive.cell_transforms import to_latents
from codec.network.predictive.motion import Pictures, compensate, compensate_both_ways, mean_of, motion_size
from codec.network.predictive.network import CELL, HYPER, PredictiveNetwork, checkerboard, moving
from codec.network.predictive.symbols import BARE, OVERLAP, Symbols, untouched
from codec.network.predictive.transform import DETAIL, LATENTS, from_layers, pictures


def latent_size(height: int, width: int) -> tuple[int, int]:
    """Rows and columns of latents of a frame; both multiples of HYPER."""
    return math.ceil(height / CELL) * HYPER, math.ceil(width / CELL) * HYPER


def empty_symbols(network: PredictiveNetwork, height: int, width: int, references: int) -> Symbols:
    """Zeros of the shapes that a frame's integers have."""
    h, w = latent_size(height, width)
    return Symbols(
        np.zeros((references, 2, *motion_size(height, width)), np.int16),
        np.zeros((max(references - 1, 0), *motion_size(height, width)), np.int16),
        np.zeros((network.shape.hyper, h // HYPER, w // HYPER), np.int16),
        np.zeros((LATENTS, h, w), np.int16),
        np.zeros((h, w), np.int16),
    )


def moving_of(symbols: Symbols) -> Tensor:
    """What scale networks see of a predicted frame's motion: integers [1, MOVING, h, w]. See `network.moving`."""
    motion, sides = (torch.from_numpy(x)[None] for x in (symbols.motion, symbols.sides))
    return moving(motion, sides, *symbols.residuals.shape[1:])


def shown_by(references: Tensor, symbols: Sequence[Symbols]) -> Pictures:
    """What references, as of `predict`, show of frames, made alike, where their motion points. See `compensate`."""
    return compensate(references, *_motion_of(symbols, references.device), CELL, bool(symbols[0].made & OVERLAP))


def shown_both_ways(references: Tensor, symbols: Sequence[Symbols]) -> tuple[Pictures, Pictures]:
    """`shown_by` with blocks as they are, and with blocks that overlap."""
    return compensate_both_ways(references, *_motion_of(symbols, references.device), CELL)


def _motion_of(symbols: Sequence[Symbols], device: torch.device) -> tuple[Tensor, Tensor]:
    """Motion and sides, as `compensate` takes them."""
    motion, sides = (np.stack(x) for x in ([s.motion for s in symbols], [s.sides for s in symbols]))
    return torch.from_numpy(motion).to(device), torch.from_numpy(sides).to(device)


def predict(
    network: PredictiveNetwork, references: Tensor | None, symbols: Sequence[Symbols], height: int, width: int
) -> tuple[Tensor, Tensor]:
    """References uint8 [B, R, 3, H, W], or None for key frames, and the frames' symbols -> prediction and features.

    See `PredictiveNetwork.prediction`; padded to whole cells. The frames are made alike: see `alike`.
    """
    if references is None:
        return network.no_prediction(len(symbols), *latent_size(height, width))
    shown = shown_by(references, symbols)
    if symbols[0].untouched:  # nothing asks for features
        return mean_of(*shown), shown[0].new_empty(0)
    return network.prediction(*shown)


def alike(flags: int) -> tuple[int, bool]:
    """What frames that go through the network as one batch have in common, beside the number of their references."""
    return flags & OVERLAP, untouched(flags)


def pad(pixels: Tensor) -> Tensor:
    """[..., H, W] -> edges repeated to multiples of CELL."""
    height, width = pixels.shape[-2:]
    return F.pad(pixels, (0, -width % CELL, 0, -height % CELL), mode="replicate")


def reconstruct(
    network: PredictiveNetwork,
    symbols: Sequence[Symbols],
    prediction: tuple[Tensor, Tensor],
    quality: Tensor,
    predicted: bool,
    height: int,
    width: int,
) -> Tensor:
    """-> frames uint8 [B, H, W, 3]."""
    if symbols[0].untouched:
        return pictures_of(prediction[0], height, width)
    made = corrected(network, symbols, prediction, quality, predicted)
    return pictures_of(kept_bare(symbols, made, prediction[0]), height, width)


def pictures_of(pixels: Tensor, height: int, width: int) -> Tensor:
    """What layers see, as of `predict` -> frames uint8 [B, H, W, 3]."""
    return pictures(from_layers(pixels).round_().clamp_(0, 255).byte())[:, :height, :width]


def corrected(
    network: PredictiveNetwork,
    symbols: Sequence[Symbols],
    prediction: tuple[Tensor, Tensor],
    quality: Tensor,
    predicted: bool,
) -> Tensor:
    """What latents and filters make of predictions, everywhere."""
    pixels, features = prediction
    latents, steps = latents_of(network, symbols, features, quality, predicted)
    return network.reconstruct(latents, steps, pixels, features, quality, predicted)


def latents_of(
    network: PredictiveNetwork, symbols: Sequence[Symbols], features: Tensor, quality: Tensor, predicted: bool
) -> tuple[Tensor, Tensor]:
    """-> latents in steps, float32 [B, LATENTS, h, w], and their steps, see `PredictiveNetwork.steps`."""
    hyper, residuals = (
        torch.from_numpy(np.stack(x)).to(quality.device, torch.float32, memory_format=torch.channels_last)
        for x in ([s.hyper for s in symbols], [s.residuals for s in symbols])
    )
    transforms, steps = np.stack([s.transforms for s in symbols]), network.steps(quality, predicted)
    if transforms.any():  # known here, so that nothing waits for a GPU to tell
        residuals = to_latents(residuals, torch.from_numpy(transforms).to(quality.device), steps, quality)
    context = network.hyper_features(hyper)
    board = checkerboard(*residuals.shape[2:], quality.device)
    units = network.units(quality, predicted)
    first = network.first_means(hyper, context, features, units, predicted).add_(residuals).mul_(board)
    second = network.second_means(first, context, features, units, predicted).add_(residuals).mul_(~board)
    return second.add_(first), steps


def kept_bare(symbols: Sequence[Symbols], made: Tensor, predicted: Tensor) -> Tensor:
    """Of `corrected` frames and their predictions the latter where a bare frame has no residual."""
    if not any(s.made & BARE for s in symbols):
        return made
    touched = torch.from_numpy(np.stack([s.residuals.any(0) | (not s.made & BARE) for s in symbols]))
    return torch.where(touched_sites(touched)[:, None].to(made.device), made, predicted)


def touched_sites(touched: Tensor) -> Tensor:
    """Cells of latents, bool [B, h, w] -> sites of pixels [B, H/2, W/2] that share a cell of hyper-latents with one."""
    cells = touched.unflatten(1, (-1, HYPER)).unflatten(3, (-1, HYPER)).any(4).any(2)
    return cells.repeat_interleave(CELL // DETAIL, 1).repeat_interleave(CELL // DETAIL, 2)
