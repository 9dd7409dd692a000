"""What a step of training lowers: R + lambda D, so that every frame counts."""

from __future__ import annotations

from torch import Tensor

from codec.base.model import Outcome
from codec.network.predictive.quality import lagrangians

BALANCE = 0.8  # power of a frame's own loss by which it is divided: a saving counts for what share of the frame it is
SMALLEST = 1e-3  # of a frame's loss there: a frame that costs nothing has nothing to save


def loss_of(outcome: Outcome, quality: Tensor, pixels: int) -> Tensor:
    """The loss of a batch. pixels: of each frame. Lambda counts bits per pixel: see `quality.lagrangian`."""
    distortion = lagrangians(quality) * outcome.error
    each = distortion + outcome.bits / pixels
    return (each * (each.detach() + SMALLEST) ** -BALANCE).mean()
