"""Float parameters to integers and back: steps from the file's table, one per channel.

`Quantizer.quantize` and `dequantize` are mirror images; `Quantizer.fake` is what training sees of both.
Names and order of a network's tensors are those of `named_parameters`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from bitstream import MalformedChunk, Part, QuantizedTensor, nearest_step_index, step

if TYPE_CHECKING:
    from codec.settings import RateSettings

LARGEST = 127  # of an integer's magnitude in the file
TABLE_RATIO = 2 ** (1 / 16)  # of a step size to the table's nearest, at most
BIAS_BITS = 8.0


def part_of(name: str) -> Part:
    """Which part of the file a parameter counts to."""
    if name.startswith("embedding."):
        return Part.EMBEDDING
    return Part.CLIP if name.startswith("clip_head.") else Part.WEIGHT


class Quantizer:
    """Step indices for every parameter of a network: uint8 [C], C = 1 for vectors.

    A channel's step is its largest magnitude divided by 2 ** (bits - 1), as HNeRV quantizes; or, where sensitivities
    are given, `gain` / sqrt(sensitivity): a step then costs the same distortion everywhere (see `sensitivities`).
    Either way it is rounded to the table, and large enough that no integer passes 127 in magnitude.
    """

    def __init__(
        self,
        parameters: Mapping[str, Tensor],
        rate: RateSettings,
        sensitivity: Mapping[str, np.ndarray] | None = None,
        gain: float = 1.0,
    ) -> None:
        bits = {Part.WEIGHT: rate.weight_bits, Part.EMBEDDING: rate.embed_bits, Part.CLIP: rate.clip_bits}
        indices: dict[str, np.ndarray] = {}
        for name, p in parameters.items():
            peak = _channels(p).abs().amax(1).cpu().numpy().astype(np.float64)
            if sensitivity is None:
                wanted = peak / 2.0 ** ((BIAS_BITS if p.ndim == 1 else bits[part_of(name)]) - 1)
            else:
                wanted = np.minimum(gain / np.sqrt(sensitivity[name]), 4 * peak)  # past 2 x peak all is zero
            if not np.isfinite(peak).all():
                raise ValueError("training diverged, weights are no longer finite: try a lower learning rate (--lr)")
            # a channel of zeros, as pruning can leave it, takes the smallest step there is
            least = np.maximum(peak * TABLE_RATIO / LARGEST, float(step(0)))
            indices[name] = nearest_step_index(np.maximum(wanted, least))
        self._set(indices, parameters)

    @classmethod
    def from_indices(cls, indices: dict[str, np.ndarray], parameters: Mapping[str, Tensor]) -> Quantizer:
        """A quantizer with the steps of an earlier one."""
        quantizer = cls.__new__(cls)
        quantizer._set(indices, parameters)
        return quantizer

    def _set(self, indices: dict[str, np.ndarray], parameters: Mapping[str, Tensor]) -> None:
        self.indices = indices
        self._steps = {
            name: torch.from_numpy(step(indices[name])).to(p.device).view(-1, *[1] * (p.ndim - 1))
            for name, p in parameters.items()
        }

    def fake(self, name: str, p: Tensor) -> Tensor:
        """p as a decoder will see it; the gradient passes straight through the rounding (Bengio et al., 2013)."""
        return p + (self._integers(name, p) * self._steps[name] - p).detach()

    def quantize(self, parameters: Mapping[str, Tensor]) -> tuple[QuantizedTensor, ...]:
        """The integers of every parameter, in the order of the network."""
        tensors = []
        for name, p in parameters.items():
            values = self._integers(name, p.detach()).cpu().contiguous().numpy().astype(np.int16)
            tensors.append(QuantizedTensor(part_of(name), values[None] if p.ndim == 1 else values, self.indices[name]))
        return tuple(tensors)

    def _integers(self, name: str, p: Tensor) -> Tensor:
        return (p / self._steps[name]).round().clamp(-LARGEST, LARGEST)


def sensitivities(gradients: Iterable[Mapping[str, Tensor]]) -> dict[str, np.ndarray]:
    """How much a parameter's error costs: the mean squared gradient of each channel, float64 [C], over several batches.

    The diagonal of the empirical Fisher information stands in for that of the Hessian (LeCun et al., 1990): for a fixed
    number of bits distortion is least where step ** 2 x sensitivity is the same for all.
    """
    total: dict[str, np.ndarray] = {}
    for batch in gradients:
        for name, gradient in batch.items():
            total[name] = total.get(name, 0.0) + _channels(gradient).square().mean(1).cpu().numpy().astype(np.float64)
    return {name: value + 1e-3 * value.mean() + 1e-30 for name, value in total.items()}


def dequantize(tensors: tuple[QuantizedTensor, ...], model: nn.Module) -> None:
    """Load integers into a network, from the meta device to memory: value = integer x step. See `check_tensors`."""
    values = {}
    for (name, p), tensor in zip(model.named_parameters(), tensors, strict=True):
        steps = torch.from_numpy(step(tensor.steps)).view(-1, *[1] * (tensor.values.ndim - 1))
        values[name] = (torch.from_numpy(tensor.values.astype(np.float32)) * steps).view(p.shape)
    model.load_state_dict(values, assign=True)


def check_tensors(tensors: tuple[QuantizedTensor, ...], model: nn.Module) -> None:
    """Raise MalformedChunk where integers are not those of a network, which may lie on the meta device."""
    named = list(model.named_parameters())
    if len(named) != len(tensors):
        raise MalformedChunk(f"the segment holds {len(tensors)} tensors, the network of the header has {len(named)}")
    for (name, p), tensor in zip(named, tensors, strict=True):
        shape = (1, *p.shape) if p.ndim == 1 else tuple(p.shape)
        if tensor.values.shape != shape or tensor.part != part_of(name):
            raise MalformedChunk(
                f"tensor {name} of the network is {part_of(name).name} {shape}, "
                f"the file holds {tensor.part.name} {tensor.values.shape}"
            )


def estimated_bits(quantizer: Quantizer, parameters: Mapping[str, Tensor]) -> float:
    """Bits of all integers under a two-sided geometric distribution fitted to each channel; cheap, for progress."""
    total = 0.0
    for name, p in parameters.items():
        z = _channels((p.detach() / quantizer._steps[name]).round())
        mean = z.abs().mean(1).clamp_min(1e-3)
        theta = ((mean * mean + 1).sqrt() - 1) / mean
        bits = -((1 - theta) / (1 + theta)).log2() * z.shape[1] - z.abs().sum(1) * theta.log2()
        total += float(bits.sum()) + 8 * len(z)
    return total


def _channels(p: Tensor) -> Tensor:
    """[C, ...] -> [C, rest]; a vector is one channel."""
    return p.detach().reshape(1, -1) if p.ndim == 1 else p.detach().flatten(1)
