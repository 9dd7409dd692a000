"""Motion as it is best coded: of vectors near those that show a frame best, the ones of least error x lambda + bits.

A vector is coded as the difference from what vectors coded before suggest, so changing it changes what it and the
vectors that it suggests take. Both are counted to the bit, cell after cell in the order of coding, a few times over.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from bitstream import MAX_VALUE, bit_costs
from codec.encoding.predictive.block_match import Blocks, Phases, Shown, Worth, around, beside_at, corner, transformed
from codec.encoding.predictive.compiled import compiled
from codec.encoding.predictive.flow import Field
from codec.network.predictive.motion import CELL, UNITS
from codec.rate.motion import FURTHER_ROW, LARGEST_MOTION, MOTION_ROWS, PREVIOUS_CLASSES, SPREAD_CLASSES, motion_passes

_PREVIOUS = np.searchsorted(PREVIOUS_CLASSES, np.arange(PREVIOUS_CLASSES[-1] + 1), side="right")
_SPREAD = np.searchsorted(SPREAD_CLASSES, np.arange(SPREAD_CLASSES[-1] + 1), side="right")


def choose(
    wanted: Blocks,
    references: Sequence[Shown],
    fields: Sequence[Field],
    shares: NDArray[np.float32],
    ratio: float,
    worth: Worth,
    carried: NDArray[np.int16] | None,
    sweeps: int,
) -> tuple[float, NDArray[np.int16]]:
    """-> (error x lambda + bits, motion [R, 2, rows, columns]).

    shares: of each reference in each block, float32 [R, rows, columns]. ratio, carried: see `code_motion`.
    """
    rows, columns = fields[0].shape[1:]
    order, areas, parents, first_child, children = _graph(rows, columns)
    final = np.stack(fields).astype(np.int64).reshape(len(fields), 2, -1)
    ahead = np.zeros_like(final[0]) if carried is None else carried.astype(np.int64).reshape(2, -1)
    costs = bit_costs()
    cost = _choose(
        references[0].phases,
        references[-1].phases,
        wanted.reshape(-1, CELL, CELL),
        shares.reshape(len(shares), -1),
        float(ratio),
        np.float32(worth.lagrangian),
        np.float32(worth.most),
        ahead,
        order,
        areas,
        parents,
        first_child,
        children,
        columns,
        costs,
        float(costs[FURTHER_ROW, 2 * MAX_VALUE]),
        MOTION_ROWS[len(fields) - 1 :].astype(np.int64),
        sweeps,
        final,
    )
    return cost, final.reshape(len(fields), 2, rows, columns).astype(np.int16)


@lru_cache(8)
def _graph(
    rows: int, columns: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Cells in the order of coding [n]; of how many each is the first; what suggests each [n, 4], -1 for nothing; what each suggests, as where that
    begins [n + 1] in a list."""
    order: list[NDArray[np.int64]] = []
    parents = np.full((rows * columns, 4), -1)
    areas = np.empty(rows * columns, np.int64)
    for step, (y, x), near in motion_passes(rows, columns):
        areas[y * columns + x] = step**2
        order.append(y * columns + x)
        if near is not None:
            parents[order[-1]] = near.T
    pairs = {(int(p), c) for c, own in enumerate(parents) for p in own if p >= 0}
    by_parent = np.array(sorted(pairs)).reshape(-1, 2)
    first = np.searchsorted(by_parent[:, 0], np.arange(rows * columns + 1))
    return np.concatenate(order), areas, parents, first, np.ascontiguousarray(by_parent[:, 1])


@compiled
def _along(first: int, ratio: float) -> int:
    """`codec.rate.motion.along`."""
    return min(max(int(np.floor(first * ratio + 0.5)), -LARGEST_MOTION), LARGEST_MOTION)


@compiled
def _expected(coded: NDArray[np.int64], axis: int, near: NDArray[np.int64]) -> tuple[int, int]:
    """`codec.rate.motion.expect` along one axis: (the middle of those around, how far they differ)."""
    if near[0] < 0:
        return 0, 0
    first = coded[axis, near[0]]
    total, most, least = first, first, first
    for k in range(1, 4):
        value = coded[axis, near[k]]
        total += value
        most, least = max(most, value), min(least, value)
    return (total - most - least) >> 1, most - least


@compiled
def _bits(
    coded: NDArray[np.int64],
    cell: int,
    parents: NDArray[np.int64],
    costs: NDArray[np.float64],
    further: float,
    table: NDArray[np.int64],
) -> float:
    """What all the components at a cell take."""
    before, bits = 0, 0.0
    for r in range(len(coded)):
        y, spread_y = _expected(coded[r], 0, parents[cell])
        x, spread_x = _expected(coded[r], 1, parents[cell])
        spread = _SPREAD[min(spread_y + spread_x, len(_SPREAD) - 1)]
        for axis in range(2):
            size = abs(coded[r, axis, cell] - (x if axis else y))
            row = table[r, axis, _PREVIOUS[min(before, len(_PREVIOUS) - 1)], spread]
            bits += costs[row, MAX_VALUE + min(size, MAX_VALUE)] + further * (size // MAX_VALUE)
            before += size
    return bits


@compiled
def _bits_about(
    coded: NDArray[np.int64],
    cell: int,
    parents: NDArray[np.int64],
    first_child: NDArray[np.int64],
    children: NDArray[np.int64],
    costs: NDArray[np.float64],
    further: float,
    table: NDArray[np.int64],
) -> float:
    """What a cell and all that it suggests take."""
    bits = _bits(coded, cell, parents, costs, further, table)
    for k in range(first_child[cell], first_child[cell + 1]):
        bits += _bits(coded, children[k], parents, costs, further, table)
    return bits


@compiled
def _error(
    one: Phases,
    other: Phases,
    wanted: Blocks,
    shares: NDArray[np.float32],
    lagrangian: np.float32,
    most: np.float32,
    cell: int,
    columns: int,
    vectors: NDArray[np.int64],
    error: NDArray[np.float32],
) -> np.float32:
    """What the error of a block under its vectors [R, 2] is worth. error: [CELL, CELL], to write to."""
    y, x = divmod(cell, columns)
    first = one[vectors[0, 0] % UNITS, vectors[0, 1] % UNITS]
    top, left = corner(one, y, x, vectors[0, 0], vectors[0, 1])
    if len(vectors) == 1:
        for i in range(CELL):
            for j in range(CELL):
                error[i, j] = np.float32(first[top + i, left + j]) - wanted[cell, i, j]
    else:
        second = other[vectors[1, 0] % UNITS, vectors[1, 1] % UNITS]
        upper, begin = corner(other, y, x, vectors[1, 0], vectors[1, 1])
        a, b = shares[0, cell], shares[1, cell]
        for i in range(CELL):
            for j in range(CELL):
                both = a * np.float32(first[top + i, left + j]) + b * np.float32(second[upper + i, begin + j])
                error[i, j] = both - wanted[cell, i, j]
    return transformed(error, lagrangian, most)


@compiled
def _choose(
    one: Phases,
    other: Phases,
    wanted: Blocks,
    shares: NDArray[np.float32],
    ratio: float,
    lagrangian: np.float32,
    most: np.float32,
    ahead: NDArray[np.int64],
    order: NDArray[np.int64],
    areas: NDArray[np.int64],
    parents: NDArray[np.int64],
    first_child: NDArray[np.int64],
    children: NDArray[np.int64],
    columns: int,
    costs: NDArray[np.float64],
    further: float,
    table: NDArray[np.int64],
    sweeps: int,
    final: NDArray[np.int64],
) -> float:
    """Settle motion [R, 2, cells], in place. -> what it costs."""
    references, cells = final.shape[0], final.shape[2]
    rows = cells // columns
    coded = np.zeros_like(final)
    found = final.copy()  # what shows the frame best
    errors = np.empty(cells, np.float32)
    pair = np.empty((references, 2), np.int64)
    scratch = np.empty((CELL, CELL), np.float32)
    for cell in order:
        for r in range(references):
            least = np.inf
            chosen_y, chosen_x = 0, 0
            for r2 in range(references):
                for axis in range(2):
                    pair[r2, axis] = final[r2, axis, cell]
            for option in range(4):
                for axis in range(2):
                    steady = ahead[axis, cell] if r == 0 else _along(final[0, axis, cell], ratio)
                    expected, _spread = _expected(coded[r], axis, parents[cell])
                    kept = option == 3 or option == 1 + axis
                    pair[r, axis] = found[r, axis, cell] if kept else steady + expected
                    coded[r, axis, cell] = pair[r, axis] - steady
                if references == 2 and r == 0:
                    bits = _bits(coded[:1], cell, parents, costs, further, table)
                else:
                    bits = _bits(coded, cell, parents, costs, further, table)
                error = _error(one, other, wanted, shares, lagrangian, most, cell, columns, pair, scratch)
                if bits + areas[cell] * error < least:
                    least, errors[cell] = bits + areas[cell] * error, error
                    chosen_y, chosen_x = pair[r, 0], pair[r, 1]
            final[r, 0, cell], final[r, 1, cell] = chosen_y, chosen_x
            for axis in range(2):
                steady = ahead[axis, cell] if r == 0 else _along(final[0, axis, cell], ratio)
                coded[r, axis, cell] = final[r, axis, cell] - steady
    for _sweep in range(sweeps):
        for cell in order:
            y, x = divmod(cell, columns)
            now = errors[cell] + _bits_about(coded, cell, parents, first_child, children, costs, further, table)
            # per reference: 4 of what is expected, 4 beside, what was found, 8 around; then all references at once:
            # what is expected, 4 beside, and the first with all that is coded of the second kept, 8 around
            for option in range(17 * references + (14 if references == 2 else 0)):
                for r in range(references):
                    for axis in range(2):
                        pair[r, axis] = final[r, axis, cell]
                r, kind = divmod(option, 17)
                if r < references:
                    if kind < 4:
                        for axis in range(2):
                            if kind == 0 or kind == 3 or kind == 1 + axis:
                                steady = ahead[axis, cell] if r == 0 else _along(pair[0, axis], ratio)
                                expected, _spread = _expected(coded[r], axis, parents[cell])
                                if kind == 3:
                                    expected = 0
                                pair[r, axis] = steady + expected
                    elif kind < 8:
                        a, b = beside_at(rows, columns, y, x, kind - 4)
                        for axis in range(2):
                            pair[r, axis] = final[r, axis, a * columns + b]
                    elif kind == 8:
                        for axis in range(2):
                            pair[r, axis] = found[r, axis, cell]
                    else:
                        a, b = around(kind - 9)
                        pair[r, 0] += a
                        pair[r, 1] += b
                else:
                    kind = option - 17 * references
                    if kind == 0:
                        for axis in range(2):
                            expected, _spread = _expected(coded[0], axis, parents[cell])
                            pair[0, axis] = ahead[axis, cell] + expected
                            expected, _spread = _expected(coded[1], axis, parents[cell])
                            pair[1, axis] = _along(pair[0, axis], ratio) + expected
                    elif kind < 5:
                        a, b = beside_at(rows, columns, y, x, kind - 1)
                        for axis in range(2):
                            pair[0, axis] = final[0, axis, a * columns + b]
                            pair[1, axis] = final[1, axis, a * columns + b]
                    elif kind == 5:
                        for axis in range(2):
                            expected, _spread = _expected(coded[0], axis, parents[cell])
                            pair[0, axis] = ahead[axis, cell] + expected
                            pair[1, axis] = _along(pair[0, axis], ratio) + coded[1, axis, cell]
                    else:
                        a, b = around(kind - 6)
                        pair[0, 0] += a
                        pair[0, 1] += b
                        for axis in range(2):
                            pair[1, axis] = _along(pair[0, axis], ratio) + coded[1, axis, cell]
                same, outside = True, False
                for r in range(references):
                    for axis in range(2):
                        same &= pair[r, axis] == final[r, axis, cell]
                        outside |= abs(pair[r, axis]) > LARGEST_MOTION
                if same or outside:
                    continue
                before = coded[:, :, cell].copy()
                for axis in range(2):
                    coded[0, axis, cell] = pair[0, axis] - ahead[axis, cell]
                    if references == 2:
                        coded[1, axis, cell] = pair[1, axis] - _along(pair[0, axis], ratio)
                bits = _bits_about(coded, cell, parents, first_child, children, costs, further, table)
                better = bits < now
                if better:
                    error = _error(one, other, wanted, shares, lagrangian, most, cell, columns, pair, scratch)
                    better = bits + error < now
                if better:
                    now, errors[cell] = bits + error, error
                    for r in range(references):
                        for axis in range(2):
                            final[r, axis, cell] = pair[r, axis]
                else:
                    coded[:, :, cell] = before
    cost = 0.0
    for cell in range(cells):
        cost += errors[cell] + _bits(coded, cell, parents, costs, further, table)
    return cost
