"""Losses of pixels, mixed by the weights of a `LossMix`, and of features.

Predictions and targets come as *cells*: [N, 3 * r * r, h, w], the layout before the RGB head's pixel shuffle, where L1
and L2 are the same and cost half as much; only SSIM needs the picture itself.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from pytorch_msssim import ms_ssim, ssim
from torch import Tensor

from codec.specs import MS_SSIM_SCALES, LossMix

SSIM_WINDOW = 11  # pixels


def pixel_loss(mix: LossMix, prediction: Tensor, target: Tensor, mask: Tensor | None, stride: int) -> Tensor:
    """Loss of a batch of tiles, a scalar.

    prediction: float cells [N, 3 * stride**2, h, w], nominally in [0, 1]; target: uint8, likewise; mask: bool,
    broadcastable to them, False where a pixel is padding (None: all are real). Padding takes no part.
    """
    loss = prediction.new_zeros(())
    if mix.l1 or mix.l2:
        loss = loss + _PixelError.apply(prediction, target, mask, mix.l1, mix.l2)
    if mix.ssim or mix.ms_ssim:
        wanted = target.to(torch.float32).mul_(1 / 255)
        if mask is not None:
            prediction = torch.where(mask, prediction, wanted)
        x, y = F.pixel_shuffle(prediction, stride), F.pixel_shuffle(wanted, stride)
        side = min(x.shape[-2:])
        if mix.ssim:
            loss = loss + mix.ssim * (1 - ssim(x, y, data_range=1.0, win_size=_window(side)))
        if mix.ms_ssim:
            window = _window((side - 1) // 2 ** (MS_SSIM_SCALES - 1) + 1)
            loss = loss + mix.ms_ssim * (1 - ms_ssim(x, y, data_range=1.0, win_size=window))
    return loss


class _PixelError(torch.autograd.Function):
    """l1 x mean |d| + l2 x mean d ** 2 over real pixels, d = prediction - target / 255.

    By hand, because at full resolution memory traffic is what it costs: the target stays uint8, and d is kept once.
    """

    @staticmethod
    def forward(ctx: Any, prediction: Tensor, target: Tensor, mask: Tensor | None, l1: float, l2: float) -> Tensor:
        d = torch.add(prediction, target, alpha=-1 / 255)
        count = float(d.numel())
        if mask is not None:
            d.mul_(mask)
            count = float(mask.expand_as(d).sum())
        ctx.save_for_backward(d)
        ctx.weights = l1 / count, l2 / count
        return (l1 * d.abs().sum() if l1 else 0.0) / count + l2 * torch.linalg.vector_norm(d).square() / count

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None, None]:
        (d,) = ctx.saved_tensors
        l1, l2 = ctx.weights
        found = d * (2 * l2 * gradients[0])
        if l1:
            found.add_(d.sign(), alpha=l1 * float(gradients[0]))
        return found, None, None, None, None


def _window(side: int) -> int:
    """The family's 11-tap window, or the largest odd one that the smallest map holds."""
    return min(SSIM_WINDOW, side - 1 + side % 2)


def feature_loss(prediction: Tensor, target: Tensor) -> Tensor:
    """1 - cosine of L2-normalised features [..., D], mean over all: a scalar in [0, 2]."""
    return 1 - (prediction * target).sum(-1).mean()
