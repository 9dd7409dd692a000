"""What the luma of each cell is coded as: latents, or what takes less of bits and errors together."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bitstream import MAX_VALUE, bit_costs
from codec.encoding.predictive.compiled import compiled
from codec.network.predictive.cell_transforms import DCT4, SKIP, VALUES, basis, value_steps
from codec.network.predictive.scales import LARGEST_SYMBOL
from codec.network.predictive.transform import BLOCK
from codec.rate.cell_values import BEFORE, VALUE_ROWS, ValueRows, coarse, expected, fine

WORTH = 8.0  # bits and errors of a cell below which nothing else is tried
TELLING = 6.0  # bits of what share of a frame's cells with others than DCT8 has which
LEAST = 6.0  # bits that a cell has to save: the loop filter makes good some of what latents lack (docs/log.md)

Floats = NDArray[np.float32]
Rows = NDArray[np.uint8]


class Choose:
    """Chooses transforms of cells; see `quantization.ChooseTransforms`."""

    def __init__(self, quality: Tensor, weight: float) -> None:
        """quality: index [1]. weight: bits of a squared error of one, in units of a pixel."""
        self._step = float(value_steps(quality))
        self._weight = weight * self._step**2
        self.saved = -TELLING  # bits and weighed errors, of the cells so far

    def __call__(self, wanted: Tensor, cost: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """wanted: luma latents of cells [n, LUMA], less their means, in units of a pixel. cost: bits and weighed errors
        of these as latents [n]. rows: of the low ones among them [n, m].

        -> transforms int64 [n], values float32 [n, VALUES], in steps, 0 for DCT8.
        """
        transforms, values = np.zeros(len(wanted), np.int64), np.zeros((len(wanted), VALUES), np.float32)
        hopes = expected(rows.byte().numpy())
        told = _BITS[VALUE_ROWS.other[fine(hopes)], MAX_VALUE : MAX_VALUE + 2].mean(1)
        most = (cost.numpy() - (told[:, 1] - told[:, 0]) - LEAST).astype(np.float32)
        tried = np.flatnonzero(most > WORTH)
        dct4, skip = ((wanted[tried] @ basis(t, wanted.device).T / self._step).numpy() for t in (DCT4, SKIP))
        found, best, least = np.zeros(len(tried), np.int64), np.zeros((len(tried), VALUES), np.float32), most[tried]
        room = np.empty(VALUES, np.float32)
        _choose(dct4, skip, least, coarse(hopes[tried]), self._weight, _BITS, _TABLES, room, found, best)
        transforms[tried], values[tried] = found, best
        self.saved += float((most[tried] - least).sum() - told[:, 0].sum())
        return torch.from_numpy(transforms), torch.from_numpy(values)


def _tables(rows: ValueRows) -> NDArray[np.uint8]:
    """What `rows` say, [coarse, 6, before]: SKIP's first, odd and rest, DCT4's rest by frequency.

    DCT4's mean and low frequencies are in the places of SKIP's first that classes of what was coded before would have.
    """
    first = np.stack((rows.skip_first, rows.dct4_mean, rows.dct4_low), 1)
    first = np.pad(first, ((0, 0), (0, rows.skip_odd.shape[1] - first.shape[1])))
    return np.stack((first, rows.skip_odd, rows.skip_rest, *rows.dct4_rest), 1)


_BITS = bit_costs().astype(np.float32)
_TABLES = _tables(VALUE_ROWS)


@compiled
def _choose(
    dct4: Floats,
    skip: Floats,
    least: Floats,
    coarse: NDArray[np.int64],
    weight: float,
    bits: Floats,
    tables: Rows,
    values: Floats,
    found: NDArray[np.int64],
    best: Floats,
) -> None:
    """The transform of each cell that costs less than `least`, which then is that cost, and its values.

    values: [VALUES], room to work in.
    """
    for n in range(len(least)):
        for transform in (DCT4, SKIP):
            if transform == DCT4:
                cost = _as_dct4(dct4[n], weight, bits, tables[coarse[n]], least[n], values)
            else:
                cost = _as_skip(skip[n], weight, bits, tables[coarse[n]], least[n], values)
            empty = True
            for value in values:
                empty &= value == 0
            if cost < least[n] and not empty:
                least[n], found[n] = cost, transform
                for k in range(VALUES):
                    best[n, k] = values[k]


@compiled
def _as_skip(samples: Floats, weight: float, bits: Floats, rows: Rows, most: float, values: Floats) -> float:
    """Cost of a cell as pixels, or more than `most`; values: what it then holds. Cells around count as empty."""
    values[:] = 0
    cost = 0.0
    for phase in range(4):
        down, across = (phase == 1 or phase == 3), (phase == 1 or phase == 2)
        for y in range(down, BLOCK, 2):
            for x in range(across, BLOCK, 2):
                near = 0.0
                if phase == 1:
                    for v in (y - 1, y + 1):
                        for h in (x - 1, x + 1):
                            if 0 <= v < BLOCK and 0 <= h < BLOCK:
                                near += abs(values[v * BLOCK + h])
                elif phase > 1:
                    for k in (-1, 1):
                        if 0 <= y + k < BLOCK:
                            near += abs(values[(y + k) * BLOCK + x])
                        if 0 <= x + k < BLOCK:
                            near += abs(values[y * BLOCK + x + k])
                row = rows[min(phase, 2), _class(near) if phase else 0]
                cost += _rounded(samples, y * BLOCK + x, weight, bits[row], values)
        if cost > most:
            break
    return cost


@compiled
def _as_dct4(samples: Floats, weight: float, bits: Floats, rows: Rows, most: float, values: Floats) -> float:
    """Likewise, as coefficients of 4x4 pixels."""
    values[:] = 0
    cost, half = 0.0, BLOCK // 2
    for quarter in range(4):
        corner = quarter // 2 * half * BLOCK + quarter % 2 * half
        low = 0.0
        for total in range(2 * half - 1):
            before = _class(low)
            for v in range(max(0, total - half + 1), min(total, half - 1) + 1):
                row = rows[0, 1 + total] if total < 2 else rows[1 + min(total, half), before]
                place = corner + v * BLOCK + total - v
                cost += _rounded(samples, place, weight, bits[row], values)
                if total < 2:
                    low += abs(values[place])
        if cost > most:
            break
    return cost


@compiled
def _rounded(samples: Floats, place: int, weight: float, bits: Floats, values: Floats) -> float:
    """The integer of least squared error x weight + bits. -> that least."""
    size = abs(samples[place])
    least, kept = weight * size * size + bits[MAX_VALUE], 0
    lower = min(int(size), LARGEST_SYMBOL - 1)
    for value in (lower, lower + 1):
        cost = weight * (size - value) * (size - value) + bits[MAX_VALUE + value]
        if cost < least:
            least, kept = cost, value
    values[place] = kept if samples[place] > 0 else -kept
    return least


@compiled
def _class(magnitudes: float) -> int:
    found = 0
    for least in BEFORE:
        found += magnitudes >= least
    return found
