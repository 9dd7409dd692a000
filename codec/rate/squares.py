"""How a frame is divided into squares of blocks that move as one.

A square of 8x8 blocks is split into four, and each of these again, down to one block, until every part moves as one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from codec.network.predictive.symbols import Integers
from codec.rate.ports import Port, Table

Numbers = NDArray[np.int64]

SIZES = (8, 4, 2, 1)  # blocks along the sides of squares, by level
UNREST = (1, 4)  # quarter pixels that carried motion differs by in a square, least of each class but the first


@dataclass(frozen=True, eq=False)
class Leaves:
    """Squares that move as one, in the order in which their motion is put together."""

    y: Numbers  # [n], of the first block
    x: Numbers
    level: Numbers  # see SIZES


def unrest(carried: Integers | None, size: tuple[int, int]) -> list[Numbers]:
    """Of squares of each level, [rows, columns] of them: the class of how much carried motion differs; 3 for none."""
    found = []
    for side in SIZES:
        shape = tuple(-(-n // side) for n in size)
        if carried is None:
            found.append(np.full(shape, len(UNREST) + 1))
            continue
        widest = _pooled(carried, side, np.maximum).astype(np.int64) - _pooled(carried, side, np.minimum)
        found.append(np.searchsorted(UNREST, widest.sum(0), side="right"))
    return found


def _pooled(values: NDArray[np.signedinteger], side: int, ufunc: np.ufunc) -> NDArray[np.signedinteger]:
    """Of [..., rows, columns] the most or least in every square, what is inside: [..., rows / side, columns / side]."""
    rows, columns = values.shape[-2:]
    down = ufunc.reduceat(values, np.arange(0, rows, side), axis=-2)
    return ufunc.reduceat(down, np.arange(0, columns, side), axis=-1)


def code_splits(port: Port, cells: Integers, rows: Table, classes: Sequence[Numbers]) -> Leaves:
    """rows: [level, unrest]. cells: what says that blocks move as one, [rows, columns, values]."""
    size = cells.shape[:2]
    y, x = (a.ravel() for a in np.mgrid[: size[0] : SIZES[0], : size[1] : SIZES[0]])
    parts = []
    values = cells.transpose(2, 0, 1)
    for level, side in enumerate(SIZES[:-1]):
        split = np.zeros(len(y), np.int16)
        if not port.reading:
            apart = (_pooled(values, side, np.maximum) != _pooled(values, side, np.minimum)).any(0)
            split = apart[y // side, x // side].astype(np.int16)
        split = port(split, rows[level, classes[level][y // side, x // side]])
        whole = split == 0
        parts.append((y[whole], x[whole], np.full(np.count_nonzero(whole), level)))
        half = side // 2
        y, x = ((a[~whole, None] + b).ravel() for a, b in ((y, (0, 0, half, half)), (x, (0, half, 0, half))))
        inside = (y < size[0]) & (x < size[1])
        y, x = y[inside], x[inside]
    parts.append((y, x, np.full(len(y), len(SIZES) - 1)))
    y, x, levels = (np.concatenate(part) for part in zip(*parts, strict=True))
    order = np.argsort(_places(*size)[y, x])
    return Leaves(y[order], x[order], levels[order])


@lru_cache(8)
def _places(rows: int, columns: int) -> Numbers:
    """Where each block comes in the order of leaves: squares row by row, in each its four parts, and so on."""
    y, x = np.mgrid[:rows, :columns]
    place = (y // SIZES[0]) * -(-columns // SIZES[0]) + x // SIZES[0]
    for side in SIZES[1:]:
        place = place * 4 + y // side % 2 * 2 + x // side % 2
    return place
