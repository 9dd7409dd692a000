"""The layers that decoder and encoder of the predictive network are made of."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

SLOPE = 0.1  # of the activation below zero: cheap, and no unit dies


def act(x: Tensor) -> Tensor:
    return F.leaky_relu(x, SLOPE)


def zeroed(layer: nn.Conv2d) -> nn.Conv2d:
    """The layer with all parameters at zero: a learned correction that begins as none."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


class Residual(nn.Module):
    """x + conv(act(conv(x))), both 3x3: [B, C, h, w] -> [B, C, h, w]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.normal_(self.second.weight, std=1e-3)
        nn.init.zeros_(self.second.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(act(self.first(x)))
