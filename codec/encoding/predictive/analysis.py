"""The encoder's half of the predictive network: frame and prediction -> latents and hyper-latents.

Latents are the block transform of what the prediction leaves: with rounding that weighs error against bits, a fixed
orthonormal transform is hard to better at these sizes, and trained ones did not (docs/log.md).
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codec.network.predictive.base_file import load_part, read_base
from codec.network.predictive.layers import act
from codec.network.predictive.network import HYPER, Shape
from codec.network.predictive.transform import DC, LATENTS, block_basis, to_blocks


class Analysis(nn.Module):
    """A frame to latents in steps and to hyper-latents, both before rounding."""

    basis: Tensor  # [LATENTS, 192, 1, 1]

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.register_buffer("basis", block_basis()[..., None, None], persistent=False)
        self.hyper_first = nn.Conv2d(2 * LATENTS, 48, 4, stride=2, padding=1)
        self.hyper_second = nn.Conv2d(48, 48, 4, stride=2, padding=1)
        self.hyper_out = nn.Conv2d(48, shape.hyper, 3, padding=1)

    def latents(self, left: Tensor, steps: Tensor) -> Tensor:
        """What a prediction leaves of a frame, float32 [B, 12, H/2, W/2] -> latents in steps [B, LATENTS, H/8, W/8]."""
        return F.conv2d(to_blocks(left), self.basis) / steps

    def hyper(self, latents: Tensor, units: Tensor, predicted: bool) -> Tensor:
        """Latents [B, LATENTS, h, w], h and w multiples of 4 -> hyper-latents before rounding [B, hyper, h/4, w/4].

        units: of `PredictiveNetwork.units`.
        """
        x = latents / units
        x = torch.cat((x, x.abs()), 1)
        x = torch.sign(x) * (1 + x.abs()).log2()
        out = self.hyper_out(act(self.hyper_second(act(self.hyper_first(x))))).float()
        if not predicted:  # a thumbnail to begin with: see PredictiveNetwork.first_means
            thumbnail = F.avg_pool2d(torch.stack([latents[:, c] for c in DC], 1), HYPER) / 2
            out = torch.cat((out[:, :3] + thumbnail, out[:, 3:]), 1)
        return out


def load_analysis(path: Path) -> Analysis:
    """The encoder's half of a base. Raises BaseError."""
    base = read_base(path)
    analysis = Analysis(base.shape)
    load_part(analysis, base.part("analysis"), path)
    return analysis.eval().requires_grad_(False)
