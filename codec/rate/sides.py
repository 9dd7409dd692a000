"""Which side of a frame between two references shows each of its blocks <-> passes of integers.

Most blocks are the mean of both references, and those that are not lie together: where something is hidden in one of
them. Walked like motion (`codec.rate.motion`), coarse to fine, each block told by those around it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from codec.network.predictive.symbols import Integers
from codec.rate.motion import Places, Port, Table, motion_passes

# Rows by whether a side is expected, and by how many of the four blocks around are as expected: 2, 3 or all
SIDE_ROWS = np.array([[27, 21, 3], [28, 22, 15]], np.uint8)


def code_sides(port: Port, sides: Integers, table: Table | None = None) -> Integers:
    """Sides [1, rows, columns], -1..1, in passes through a port. table: taken for SIDE_ROWS."""
    chosen = SIDE_ROWS if table is None else table
    out = np.zeros(sides.shape[1:], np.int16)
    for _, cells, near in motion_passes(*out.shape):
        expected, alike = _expect(out, near, len(cells[0]))
        found = port(_told(np.clip(sides[0][cells], -1, 1), expected), chosen[np.abs(expected), alike - 2])
        out[cells] = _untold(np.clip(found, -1, 1), expected)
    return out[None]


def _expect(sides: Integers, near: Places | None, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """-> (the most common of the sides around each block, how many are so), [n]; both references in the first pass."""
    if near is None:
        return np.zeros(count, np.int64), np.full(count, 4)
    around = sides.reshape(-1)[near]  # [4, n]
    none, first, second = ((around == side).sum(0) for side in (0, 1, -1))
    expected = np.where(none >= np.maximum(first, second), 0, np.where(first >= second, 1, -1))
    return expected, np.maximum(none, np.maximum(first, second))


def _told(sides: Integers, expected: NDArray[np.int64]) -> Integers:
    """Sides as they are coded: 0 as expected; where a side is, 1 for both and -1 for the other."""
    return np.where(expected == 0, sides, np.where(sides == expected, 0, np.where(sides == 0, 1, -1))).astype(np.int16)


def _untold(coded: Integers, expected: NDArray[np.int64]) -> Integers:
    """Inverse of `_told`."""
    beside = np.where(coded == 0, expected, np.where(coded > 0, 0, -expected))
    return np.where(expected == 0, coded, beside).astype(np.int16)
