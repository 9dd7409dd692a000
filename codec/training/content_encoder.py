"""HNeRV's encoder: pixels of a patch -> its content-adaptive latent. Training only: the file keeps the latents."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn

from codec.network.blocks import ACTIVATIONS, ConvNeXtLayer
from codec.specs import DualHeadSpec

ENCODER_WIDTH = 64  # channels between the stages (HNeRV's enc_dim 64_16)


class DownBlock(nn.Module):
    """Halve, third, ... the map by `stride`: the encoder's side of the family's conv types."""

    def __init__(self, inputs: int, outputs: int, stride: int, ks: int, conv_type: str, act: str) -> None:
        super().__init__()
        self.stride, self.conv_type = stride, conv_type
        ks = max(ks, 1)
        if conv_type == "pshuffel":
            self.conv = nn.Conv2d(inputs * stride**2, outputs, ks, padding=ks // 2)
        elif conv_type == "conv":
            self.conv = nn.Conv2d(inputs, outputs, stride, stride)
        else:
            self.conv = nn.Conv2d(inputs, outputs, ks, padding=ks // 2)
        self.act = ACTIVATIONS[act]()

    def forward(self, x: Tensor) -> Tensor:
        if self.conv_type == "pshuffel":
            x = F.pixel_unshuffle(x, self.stride)
        elif self.conv_type == "interpolate":
            x = F.avg_pool2d(x, self.stride)
        return self.act(self.conv(x))


class ConvNeXtStage(nn.Module):
    """Strided convolution on a normalised map, then ConvNeXt layers (Liu et al., 2022)."""

    def __init__(self, inputs: int, outputs: int, stride: int, layers: int) -> None:
        super().__init__()
        # over channels and space: each patch is normalised by itself, whatever the batch
        self.norm = nn.GroupNorm(1, inputs) if inputs > 3 else nn.Identity()
        self.down = nn.Conv2d(inputs, outputs, stride, stride)
        self.layers = nn.Sequential(*(ConvNeXtLayer(outputs, 7) for _ in range(layers)))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(self.down(self.norm(x)))


class ContentEncoder(nn.Module):
    """float [N, 3, h, w] in [0, 1], sides a multiple of S -> latents [N, channels, h / S, w / S]; S: all strides."""

    def __init__(self, spec: DualHeadSpec, channels: int, conv_type: str, layers: int, ks: int) -> None:
        super().__init__()
        strides = [s for s in (*spec.dec_strds, spec.head_strd) if s > 1] or [1]
        widths = [3, *[ENCODER_WIDTH] * (len(strides) - 1), channels]
        stages: list[nn.Module] = []
        for inputs, outputs, stride in zip(widths, widths[1:], strides, strict=False):
            if conv_type in ("convnext", "residual"):
                stages.append(ConvNeXtStage(inputs, outputs, stride, layers))
            else:
                stages.append(DownBlock(inputs, outputs, stride, ks, conv_type, spec.act))
        self.stages = nn.Sequential(*stages)
        self.stride = math.prod(strides)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.stages(pixels)
