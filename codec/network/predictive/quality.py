"""The quality index of a frame, 0..63: what a bit is worth there, and what the network is told of it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

QUALITIES = 64
KNOTS = 8  # of everything that varies with the quality: interpolated linearly between them
OCTAVE = 4.5  # indices in which lambda doubles
LOWEST_LAMBDA = 0.00003


def lagrangian(quality: float) -> float:
    """lambda in R + lambda D, R in bits per pixel, D the mean squared error of RGB in 0..255."""
    return LOWEST_LAMBDA * 2.0 ** (quality / OCTAVE)


def lagrangians(quality: Tensor) -> Tensor:
    """`lagrangian` of indices float [B]: float32 [B]."""
    return LOWEST_LAMBDA * torch.exp2(quality.float() / OCTAVE)


def matched_steps(quality: Tensor) -> Tensor:
    """Steps of an orthonormal transform that suit lambda at high rates, from dR/dstep = lambda dD/dstep: float32 [B].

    64 pixels of 192 coefficients, each of log2(1 / step) bits and step**2 / 12 squared error.
    """
    return (12 * 192 / (128 * math.log(2) * lagrangians(quality))).sqrt()


def knot_quality(knot: int) -> float:
    return knot * (QUALITIES - 1) / (KNOTS - 1)


def knot_weights(quality: Tensor) -> Tensor:
    """How much each knot counts at quality indices [B]: float32 [B, KNOTS], two neighbours that sum to 1."""
    place = quality.float() * (KNOTS - 1) / (QUALITIES - 1)
    knots = torch.arange(KNOTS, device=quality.device, dtype=torch.float32)
    return (1 - (place[:, None] - knots).abs()).clamp_min(0)
