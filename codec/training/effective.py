"""What becomes of a network's parameters on their way into a file: pruned, quantized, cast; at the end, integers.

    masters float32 --prune--> masked --quantizer.fake--> as a decoder will see them --cast--> effective
                                      --quantizer.quantize--> integers

Steps either follow the bits of the settings, or are searched so that the coded segment meets a size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bitstream import Part, QuantizedTensor, Segment, write_segment
from codec.network.dual_head import DualHeadHNeRV, stays_float32
from codec.network.weights import part_of
from codec.rate.quantize import Quantizer, sensitivities
from codec.settings import RateSettings

GAIN_OCTAVES = (-40.0, 10.0)  # between which the common gain of all steps is searched
GAIN_HALVINGS = 14
COARSEST = 4  # octaves that steps of CLIP weights grow by, at most, so that these keep to their share
SHORTFALL = 0.97  # of the size asked for, at least, unless the finest steps take less; at most all of it

Gradients = Callable[[], Iterable[Mapping[str, Tensor]]]  # of the loss, batch by batch


class EffectiveParameters:
    """The parameters of `model` as it runs on them. `masks` and `quantizer` are empty until training comes to them."""

    def __init__(
        self, model: DualHeadHNeRV, rate: RateSettings, dtype: torch.dtype, target_bytes: float | None
    ) -> None:
        self.model, self.rate, self.dtype, self.target_bytes = model, rate, dtype, target_bytes
        self.masks: dict[str, Tensor] = {}  # float32, 0 where a weight is held at zero
        self.pruned = False
        self.quantizer: Quantizer | None = None
        self.sensitivity: dict[str, NDArray[np.float64]] | None = None  # where a size is to be met

    def effective(self) -> dict[str, Tensor]:
        """Every parameter as the network runs on it now."""
        parameters: dict[str, Tensor] = {}
        for name, master in self.model.named_parameters():
            p = master * self.masks[name] if name in self.masks else master
            p = self.quantizer.fake(name, p) if self.quantizer is not None else p
            parameters[name] = p if stays_float32(name) else p.to(self.dtype)
        return parameters

    def masked(self) -> dict[str, Tensor]:
        """Every parameter, those that are pruned zero, before quantization."""
        named = self.model.named_parameters()
        return {n: (p * self.masks[n] if n in self.masks else p).detach() for n, p in named}

    def prune(self) -> None:
        """Hold the smallest weights of all layers together at zero (global magnitude pruning, Han et al., 2015)."""
        self.pruned = True
        weights = {n: p for n, p in self.model.named_parameters() if part_of(n) is Part.WEIGHT and p.ndim > 1}
        # relative to each layer's own size, or the widest layers would lose everything
        scores = {n: p.detach().abs() / p.detach().square().mean().sqrt() for n, p in weights.items()}
        flat = torch.cat([s.flatten() for s in scores.values()])
        count = int(self.rate.prune * len(flat))
        if count:
            threshold = flat.kthvalue(count).values
            self.masks = {n: (s > threshold).to(torch.float32) for n, s in scores.items()}

    def start_quantizing(self, gradients: Gradients) -> None:
        """Choose the steps: by the bits of the settings, or so that a size is met. gradients: asked for if it is."""
        if self.target_bytes is not None:
            self.sensitivity = sensitivities(gradients())
        self.quantizer = self._chosen()

    def integers(self) -> tuple[QuantizedTensor, ...]:
        """What a file holds. Quantizing has started; training since may have moved the size away from its target."""
        assert self.quantizer is not None
        tensors = self.quantizer.quantize(self.masked())
        missed = self.target_bytes is not None and not SHORTFALL <= self._coded(tensors) / self.target_bytes <= 1
        if missed or _clip_share(tensors) > self.rate.clip_budget:
            self.quantizer = self._chosen()
            tensors = self.quantizer.quantize(self.masked())
        return tensors

    def _chosen(self) -> Quantizer:
        """The steps for the weights of now: those of CLIP weights as much coarser as their share of the bits takes."""
        parameters = self.masked()
        for octaves in range(COARSEST + 1):
            found = self._steps(parameters, octaves)
            if _clip_share(found.quantize(parameters)) <= self.rate.clip_budget:
                break
        return found

    def _steps(self, parameters: dict[str, Tensor], octaves: int) -> Quantizer:
        """By the settings, or the finest with which the segment is coded in the size asked for, or else the coarsest.

        octaves: that the steps of CLIP weights are coarser by.
        """
        if self.target_bytes is None or self.sensitivity is None:
            return Quantizer(parameters, replace(self.rate, clip_bits=max(1.0, self.rate.clip_bits - octaves)))
        sensitivity = {n: s / 4**octaves if part_of(n) is Part.CLIP else s for n, s in self.sensitivity.items()}
        low, high = GAIN_OCTAVES
        for _ in range(GAIN_HALVINGS):
            middle = (low + high) / 2
            tensors = Quantizer(parameters, self.rate, sensitivity, 2**middle).quantize(parameters)
            low, high = (middle, high) if self._coded(tensors) > self.target_bytes else (low, middle)
        return Quantizer(parameters, self.rate, sensitivity, 2**high)

    def _coded(self, tensors: tuple[QuantizedTensor, ...]) -> int:
        """Bytes."""
        return len(write_segment(Segment(0, self.model.geometry.frames, tensors)))

    def bits(self) -> float:
        """What the integers of now would take, by the coder's own tables."""
        parameters = self.masked()
        quantizer = self.quantizer or Quantizer(parameters, self.rate)
        return sum(tensor.bits() for tensor in quantizer.quantize(parameters))


def _clip_share(tensors: tuple[QuantizedTensor, ...]) -> float:
    """Share of the bits that are CLIP weights."""
    bits = [(tensor.part, tensor.bits()) for tensor in tensors]
    clip = sum(size for part, size in bits if part is Part.CLIP)
    return clip / max(sum(size for _, size in bits), 1.0)
