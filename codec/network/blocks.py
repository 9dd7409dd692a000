"""NeRV blocks: convolution + upsampling, activation, with the names of the HNeRV family.

Every block maps [N, C, h, w] to [N, C', s * h, s * w] with zero padding at the border. `needs(lo, hi)` names
the input cells that output cells [lo, hi) depend on, along one axis and not yet clipped to the map: what
lets a patch be decoded from its own surroundings alone.
"""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn

from codec.specs import CONVNEXT_WIDTH, Span

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "gelu": nn.GELU,
    "relu": nn.ReLU,
    "swish": nn.SiLU,
}


class PixelShuffleUp(nn.Module):
    """`pshuffel`: a k x k convolution to s * s times the channels, rearranged in space (Shi et al., 2016)."""

    def __init__(self, inputs: int, outputs: int, stride: int, ks: int) -> None:
        super().__init__()
        self.stride, self.ks = stride, ks
        self.conv = nn.Conv2d(inputs, outputs * stride**2, ks, padding=ks // 2)

    def forward(self, x: Tensor) -> Tensor:
        return F.pixel_shuffle(self.conv(x), self.stride)

    def needs(self, lo: int, hi: int) -> Span:
        return lo // self.stride - self.ks // 2, math.ceil(hi / self.stride) + self.ks // 2


class TransposedUp(nn.Module):
    """`conv`: a transposed convolution with kernel ks + s."""

    def __init__(self, inputs: int, outputs: int, stride: int, ks: int) -> None:
        super().__init__()
        self.stride, self.ks = stride, ks
        self.conv = nn.ConvTranspose2d(inputs, outputs, ks + stride, stride, padding=ks // 2)

    def forward(self, x: Tensor) -> Tensor:
        h, w = x.shape[-2:]
        return self.conv(x)[..., : h * self.stride, : w * self.stride]  # an odd ks gives one row and column more

    def needs(self, lo: int, hi: int) -> Span:
        return (lo - self.ks) // self.stride, math.ceil((hi + self.ks) / self.stride) + 1


class InterpolateUp(nn.Module):
    """`interpolate`: bilinear upsampling, then a k x k convolution."""

    def __init__(self, inputs: int, outputs: int, stride: int, ks: int) -> None:
        super().__init__()
        self.stride, self.ks = stride, ks
        self.conv = nn.Conv2d(inputs, outputs, ks, padding=ks // 2)

    def forward(self, x: Tensor) -> Tensor:
        if self.stride > 1:
            x = F.interpolate(x, scale_factor=self.stride, mode="bilinear", align_corners=False)
        return self.conv(x)

    def needs(self, lo: int, hi: int) -> Span:
        around = int(self.stride > 1)  # bilinear weights reach one cell further
        lo, hi = lo - self.ks // 2, hi + self.ks // 2
        return lo // self.stride - around, math.ceil(hi / self.stride) + around


class ConvNeXtLayer(nn.Module):
    """x + MLP(depthwise k x k of x), four times wide inside (Liu et al., 2022, without LayerNorm)."""

    def __init__(self, channels: int, ks: int) -> None:
        super().__init__()
        self.ks = ks
        self.depthwise = nn.Conv2d(channels, channels, ks, padding=ks // 2, groups=channels)
        self.expand = nn.Conv2d(channels, CONVNEXT_WIDTH * channels, 1)
        self.project = nn.Conv2d(CONVNEXT_WIDTH * channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.project(F.gelu(self.expand(self.depthwise(x))))

    def needs(self, lo: int, hi: int) -> Span:
        return lo - self.ks // 2, hi + self.ks // 2


class ResidualLayer(nn.Module):
    """x + conv(act(conv(x))), both k x k: the cheapest way to depth at one resolution."""

    def __init__(self, channels: int, ks: int) -> None:
        super().__init__()
        self.ks = ks
        self.first = nn.Conv2d(channels, channels, ks, padding=ks // 2)
        self.second = nn.Conv2d(channels, channels, ks, padding=ks // 2)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.gelu(self.first(x)))

    def needs(self, lo: int, hi: int) -> Span:
        return lo - 2 * (self.ks // 2), hi + 2 * (self.ks // 2)


UPSAMPLERS: dict[str, type[PixelShuffleUp | TransposedUp | InterpolateUp]] = {
    "pshuffel": PixelShuffleUp,
    "conv": TransposedUp,
    "interpolate": InterpolateUp,
}
RESIDUAL_LAYERS: dict[str, type[ConvNeXtLayer | ResidualLayer]] = {"convnext": ConvNeXtLayer, "residual": ResidualLayer}


class NeRVBlock(nn.Module):
    """Upsample by `stride`, activate (HNeRV, Chen et al., CVPR 2023, figure 2).

    conv_type `convnext` or `residual`: a layer of that kind where neither size nor width changes, not activated;
    else as `pshuffel`.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, ks: int, conv_type: str, act: str) -> None:
        super().__init__()
        self.stride = stride
        self.act: nn.Module = nn.Identity()
        self.body: ConvNeXtLayer | ResidualLayer | PixelShuffleUp | TransposedUp | InterpolateUp
        if conv_type in RESIDUAL_LAYERS and stride == 1 and inputs == outputs:
            self.body = RESIDUAL_LAYERS[conv_type](outputs, ks)
        else:
            self.body = UPSAMPLERS.get(conv_type, PixelShuffleUp)(inputs, outputs, stride, ks)
            self.act = ACTIVATIONS[act]()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.body(x))

    def needs(self, lo: int, hi: int) -> Span:
        return self.body.needs(lo, hi)
