"""Which optimiser moves which weights of a base, and how fast."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from codec.base.model import Codec
from codec.training.optim import Muon

MUON_LR, ADAM_LR = 8e-3, 1.5e-3
MUON_DECAY = 0.05
TRANSFORM = 0.2  # of Adam's rate, for steps, units and synthesis, which begin where they are good
LARGEST_GRADIENT = 1.0  # norm, of each group
WARMUP = 0.02  # share of a run
FIRST, LAST = 0.02, 0.005  # of the peak rate

OUTPUTS = {"mean_first_out", "mean_second_out", "loop_out", "hyper_out"}  # begin at zero
TRANSFORMS = {"log_step", "log_unit", "synthesis"}


def optimisers(codec: Codec, rate: float) -> list[torch.optim.Optimizer]:
    """Muon on the hidden convolutions, Adam on all else. rate: of the peak learning rates."""
    groups: dict[str, list[Tensor]] = {"hidden": [], "transform": [], "rest": []}
    for name, p in codec.named_parameters():
        groups[_group(name, p)].append(p)
    adam = [
        {"params": groups["rest"], "lr": rate * ADAM_LR},
        {"params": groups["transform"], "lr": rate * TRANSFORM * ADAM_LR},
    ]
    device = groups["rest"][0].device
    fused = device.type in ("cpu", "cuda")
    found: list[torch.optim.Optimizer] = [
        Muon(groups["hidden"], lr=rate * MUON_LR, weight_decay=MUON_DECAY),
        torch.optim.Adam(adam, betas=(0.9, 0.99), fused=fused, capturable=device.type == "cuda"),
    ]
    for optimizer in found:
        for group in optimizer.param_groups:
            group["peak"] = group["lr"]
            group["lr"] = torch.tensor(0.0, device=device)  # not a number: a recorded step follows it
    return found


def rate_at(progress: float) -> float:
    """Share of the peak learning rate at a share of a run: a short rise, then a half cosine."""
    return min(1.0, FIRST + progress / WARMUP) * (0.5 + 0.5 * math.cos(math.pi * min(1.0, progress))) + LAST


def set_rates(found: Sequence[torch.optim.Optimizer], progress: float) -> None:
    """Learning rates of the steps from here on, at a share of a run."""
    for optimizer in found:
        for group in optimizer.param_groups:
            group["lr"].fill_(group["peak"] * rate_at(progress))


def step(found: Sequence[torch.optim.Optimizer]) -> None:
    """Move the weights by the gradients there are, which are then forgotten."""
    for optimizer in found:
        for group in optimizer.param_groups:
            nn.utils.clip_grad_norm_(group["params"], LARGEST_GRADIENT)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


def _group(name: str, p: Tensor) -> str:
    parts = set(name.split("."))
    if parts & TRANSFORMS:
        return "transform"
    return "hidden" if p.ndim == 4 and not parts & OUTPUTS else "rest"
