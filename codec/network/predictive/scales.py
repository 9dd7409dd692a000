"""Integer networks that say how widely each coded integer is expected to spread, from integers decoded before it.

What the parse of a file depends on may not differ by a bit from machine to machine, so all arithmetic here is of
integers: 8-bit weights, values up to 255 between the layers, sums below 2**23. Sums of that size are exact in float32
as well, in any order, which is how they are computed: a matrix product is the same on every machine and number of
threads.

    inputs -127..255 --weights, + bias, >> shift, clamp--> hidden 0..255 --likewise--> row 0..63 of the frequency tables

`IntegerLayer` is the decoder's; `TrainedLayer` is the same function with gradients, and its `integers` gives the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

LARGEST_WEIGHT = 127  # a weight of 128 would count 1
WEIGHT_SHIFT = 7
UNIT = 64  # of a value that counts 1 to the network in training
BIAS_UNIT = UNIT << WEIGHT_SHIFT  # of a bias that counts 1
LARGEST_VALUE = 255  # between layers
ROW_SHIFT = 9  # 16 rows to a unit
LAST_ROW = 63
LARGEST_SYMBOL = 127
LARGEST_SUM = 2**23  # float32 holds these and their halves

MAGNITUDES = np.minimum(LARGEST_VALUE, np.rint(32 * np.log2(1 + np.arange(LARGEST_SYMBOL + 1)))).astype(np.float32)


@dataclass(frozen=True, eq=False)
class IntegerLayer:
    """x -> clamp((x W + b + half) >> shift, 0, most)."""

    weight: NDArray[np.int8]  # [inputs, outputs]
    bias: NDArray[np.int32]  # [outputs]
    shift: int
    most: int

    @cached_property
    def _scaled(self) -> tuple[Tensor, Tensor]:
        """W and b + half, times 2**-shift: as exact as they are, as by every power of two."""
        unit = np.float32(2.0**-self.shift)
        half = 1 << (self.shift - 1)
        scaled = self.weight.astype(np.float32) * unit, (self.bias + half).astype(np.float32) * unit
        return torch.from_numpy(scaled[0]), torch.from_numpy(scaled[1])

    def __call__(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Integers in float32 [n, inputs] -> integers 0..most in float32 [n, outputs].

        By torch, whose threads other layers run on: those of a BLAS of numpy's own would be in their way.
        """
        weight, bias = self._scaled
        sums = torch.empty(len(x), weight.shape[1])
        torch.mm(torch.from_numpy(x), weight, out=sums)  # into float32, whatever autocast a caller is in
        return sums.add_(bias).floor_().clamp_(0, self.most).numpy()

    def given(self, values: NDArray[np.int64], place: int) -> IntegerLayer:
        """The layer for the other inputs, where those from `place` on are integers -127..255 known beforehand."""
        known = slice(place, place + len(values))
        bias = self.bias + values @ self.weight[known].astype(np.int64)
        return IntegerLayer(np.delete(self.weight, known, axis=0), bias.astype(np.int32), self.shift, self.most)

    def reordered(self, inputs: Sequence[int]) -> IntegerLayer:
        """The layer for its inputs in another order."""
        return IntegerLayer(self.weight[list(inputs)], self.bias, self.shift, self.most)


class _Round(torch.autograd.Function):
    """Rounding to the nearest integer, halves up, whose gradient passes straight through (Bengio et al., 2013)."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return torch.floor(x + 0.5)

    @staticmethod
    def backward(ctx: object, *gradients: Tensor) -> Tensor:
        return gradients[0]


def ste_round(x: Tensor) -> Tensor:
    return _Round.apply(x)


class TrainedLayer(nn.Module):
    """`IntegerLayer` in training: the same integers, held as float parameters in units in which Adam is at home."""

    def __init__(self, inputs: int, outputs: int, rows: bool = False, start: float = 0.0, spread: float = 1.0) -> None:
        """rows: the outputs are table rows, else values for another layer. start: what all outputs begin near."""
        super().__init__()
        self.shift, self.most = (ROW_SHIFT, LAST_ROW) if rows else (WEIGHT_SHIFT, LARGEST_VALUE)
        self.weight = nn.Parameter(torch.empty(inputs, outputs).uniform_(-spread, spread) * (1 / inputs) ** 0.5)
        self.bias = nn.Parameter(torch.full((outputs,), start * 2.0**self.shift / BIAS_UNIT))

    def forward(self, x: Tensor) -> Tensor:
        """Integers float32 [..., inputs] -> integers float32 [..., outputs], with a gradient."""
        with torch.autocast(x.device.type, enabled=False):
            return ste_round((x @ self._weight() + self._bias()) * 2.0**-self.shift).clamp(0, self.most)

    def _weight(self) -> Tensor:
        return ste_round(self.weight * 2.0**WEIGHT_SHIFT).clamp(-LARGEST_WEIGHT, LARGEST_WEIGHT)

    def _bias(self) -> Tensor:
        return ste_round(self.bias * BIAS_UNIT)

    @torch.no_grad()
    def integers(self) -> IntegerLayer:
        """The layer of a decoder. Raises ValueError where a sum could leave the exact range."""
        weight, bias = self._weight().cpu().numpy(), self._bias().cpu().numpy()
        if (np.abs(weight).sum(0) * LARGEST_VALUE + np.abs(bias)).max() >= LARGEST_SUM:
            raise ValueError("a layer of the scale networks has sums of 2**23 or more")
        return IntegerLayer(weight.astype(np.int8), bias.astype(np.int32), self.shift, self.most)


def scale_network(inputs: int, hidden: int, outputs: int, start: float = 20.0) -> nn.Sequential:
    """Integers [..., inputs] -> rows [..., outputs], all near `start` to begin with."""
    return nn.Sequential(
        TrainedLayer(inputs, hidden), TrainedLayer(hidden, outputs, rows=True, start=start, spread=0.3)
    )


def row_ratio(rows: Tensor) -> Tensor:
    """The ratio of neighbouring probabilities in rows 0..63 of the Laplace tables.

    A row is the two-sided geometric distribution of standard deviation 2 ** (2 (row - 1) / 11 - 5) (FORMAT.md); its
    ratio r follows from the variance 2 r / (1 - r) ** 2.
    """
    variance = torch.exp2(rows * (4 / 11) - (4 / 11 + 10))
    return variance / (variance + 1 + (2 * variance + 1).sqrt())


def row_bits(symbols: Tensor, rows: Tensor) -> Tensor:
    """Bits of integers under rows 0..63, elementwise, with gradients for both."""
    ratio = row_ratio(rows)
    return ((1 + ratio) / (1 - ratio)).log2() - symbols.abs() * ratio.log2()
