"""Float parameters to integers: steps from the file's table, one per channel.

`Quantizer.quantize` is the inverse of `network.weights.dequantize`; `Quantizer.fake` is what training sees of both.
Names and order of a network's tensors are those of `named_parameters`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from bitstream import Part, QuantizedTensor, nearest_step_index, step
from codec.network.weights import part_of

if TYPE_CHECKING:
    from codec.settings import RateSettings

LARGEST = 127  # of an integer's magnitude in the file
TABLE_RATIO = 2 ** (1 / 16)  # of a step size to the table's nearest, at most
BIAS_BITS = 8.0


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


def _channels(p: Tensor) -> Tensor:
    """[C, ...] -> [C, rest]; a vector is one channel."""
    return p.detach().reshape(1, -1) if p.ndim == 1 else p.detach().flatten(1)
