"""Motion as it is best coded: of vectors near those that show a frame best, the ones of least error x lambda + bits.

First in the order of coding, where an error counts for all the blocks that will be expected to move likewise. Then
again, a few times over, counted to the bit: a vector is coded as the difference from what vectors before it suggest, so
that another one changes what it takes, and what those take that it suggests.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bitstream import MAX_VALUE, bit_costs
from codec.encoding.predictive.block_match import Blocks, Phases, Shown, Worth, around, beside_at, corner, transformed
from codec.encoding.predictive.compiled import compiled
from codec.encoding.predictive.flow import Field
from codec.network.predictive.motion import CELL, UNITS
from codec.rate.motion import FURTHER_ROW, LARGEST_MOTION, MOTION_ROWS, PREVIOUS, SPREAD, motion_passes

Cells = NDArray[np.int64]  # places in a grid whose rows follow each other
Vectors = NDArray[np.int64]  # [references, 2, cells]
Pair = NDArray[np.int64]  # [references, 2]: the vectors of one cell

# What is tried of a cell. For each reference alone: what coding expects, along both axes or one; what shows the frame
# best; to go on as carried or steady motion does; the vectors of the four beside; its own, moved in eight directions.
EXPECTED, FOUND, GOING, BESIDE, MOVED, ALONE = 0, 3, 4, 5, 9, 17
# For two references together: what coding expects; the vectors of the four beside; the first as expected, or moved, and
# the second going along.
BOTH, NEXT, ALONG, SHIFTED, TOGETHER = 0, 1, 5, 6, 14


class Picture(NamedTuple):
    """What motion is to show, and of what."""

    first: Phases
    second: Phases  # the first again where there is one reference
    wanted: Blocks  # [cells, CELL, CELL]
    shares: NDArray[np.float32]  # of each reference in each cell, [references, cells]
    lagrangian: np.float32
    most: np.float32  # see `Worth`
    columns: int


class Coding(NamedTuple):
    """What vectors take; see `codec.rate.motion`."""

    ahead: NDArray[np.int64]  # carried motion, or zeros [2, cells]
    ratio: float
    parents: NDArray[np.int64]  # what suggests each cell [cells, 4], -1 for nothing
    first_child: NDArray[np.int64]  # where what a cell suggests begins in `children` [cells + 1]
    children: NDArray[np.int64]
    costs: NDArray[np.float64]
    further: float  # bits of the largest magnitude under `FURTHER_ROW`
    table: NDArray[np.int64]  # rows, of as many kinds as there are references


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

    shares: of each reference in each block, float32 [R, rows, columns]. ratio, carried: see `code_motion`. sweeps: how
    often all vectors are settled to the bit.
    """
    count, (rows, columns) = len(fields), fields[0].shape[1:]
    order, areas, graph = _graph(rows, columns)
    final = np.stack(fields).astype(np.int64).reshape(count, 2, -1)
    ahead = np.zeros_like(final[0]) if carried is None else carried.astype(np.int64).reshape(2, -1)
    costs = bit_costs()
    picture = Picture(
        references[0].phases,
        references[-1].phases,
        wanted.reshape(-1, CELL, CELL),
        np.ascontiguousarray(shares.reshape(count, -1)),
        np.float32(worth.lagrangian),
        np.float32(worth.most),
        columns,
    )
    further = float(costs[FURTHER_ROW, 2 * MAX_VALUE])
    coding = Coding(ahead, float(ratio), *graph, costs, further, MOTION_ROWS[count - 1 :].astype(np.int64))
    cost = _choose(picture, coding, order, areas, sweeps, final)
    return cost, final.reshape(count, 2, rows, columns).astype(np.int16)


@lru_cache(8)
def _graph(rows: int, columns: int) -> tuple[Cells, Cells, tuple[Cells, Cells, Cells]]:
    """Cells in the order of coding; of how many each is the first; and the parents and children of `Coding`."""
    order: list[Cells] = []
    areas, parents = np.empty(rows * columns, np.int64), np.full((rows * columns, 4), -1)
    for step, (y, x), near in motion_passes(rows, columns):
        order.append(y * columns + x)
        areas[order[-1]] = step**2
        if near is not None:
            parents[order[-1]] = near.T
    pairs = sorted({(int(p), cell) for cell, own in enumerate(parents) for p in own if p >= 0})
    by_parent = np.array(pairs, np.int64).reshape(-1, 2)
    first = np.searchsorted(by_parent[:, 0], np.arange(rows * columns + 1))
    return np.concatenate(order), areas, (parents, first, np.ascontiguousarray(by_parent[:, 1]))


@compiled
def _choose(picture: Picture, coding: Coding, order: Cells, areas: Cells, sweeps: int, final: Vectors) -> float:
    """Settle motion in place. -> what it costs."""
    found, coded = final.copy(), np.zeros_like(final)
    errors = np.empty(final.shape[2], np.float32)
    pair, scratch = np.empty(final.shape[:2], np.int64), np.empty((CELL, CELL), np.float32)
    for cell in order:
        _begin(picture, coding, areas[cell], cell, found, final, coded, errors, pair, scratch)
    stirred = np.ones(len(errors), np.bool_)  # what depends on a cell that has changed
    for _ in range(sweeps):
        for cell in order:
            if stirred[cell]:
                stirred[cell] = False
                _settle(picture, coding, cell, found, final, coded, errors, stirred, pair, scratch)
    cost = 0.0
    for cell in range(len(errors)):
        cost += errors[cell] + _bits(coding, coded, cell)
    return cost


@compiled
def _begin(
    picture: Picture,
    coding: Coding,
    area: int,
    cell: int,
    found: Vectors,
    final: Vectors,
    coded: Vectors,
    errors: NDArray[np.float32],
    pair: Pair,
    scratch: NDArray[np.float32],
) -> None:
    """Choose the vectors of a cell by those before it, an error counting `area` times."""
    _take(final, cell, pair)
    for r in range(len(final)):
        least, best_y, best_x = np.inf, 0, 0
        for option in range(EXPECTED, FOUND + 1):
            pair[r, 0], pair[r, 1] = found[r, 0, cell], found[r, 1, cell]
            _alone(coding, option, r, cell, found, final, coded, picture.columns, pair)
            _code(coding, pair, cell, coded)
            bits = _bits(coding, coded[: r + 1], cell)
            error = _error(picture, cell, pair, scratch)
            if bits + area * error < least:
                least, errors[cell], best_y, best_x = bits + area * error, error, pair[r, 0], pair[r, 1]
        pair[r, 0], pair[r, 1] = best_y, best_x
    _put(pair, cell, final)
    _code(coding, pair, cell, coded)


@compiled
def _settle(
    picture: Picture,
    coding: Coding,
    cell: int,
    found: Vectors,
    final: Vectors,
    coded: Vectors,
    errors: NDArray[np.float32],
    stirred: NDArray[np.bool_],
    pair: Pair,
    scratch: NDArray[np.float32],
) -> None:
    """Give a cell the best of a few vectors, all others being as they are."""
    count = len(final)
    now = errors[cell] + _bits_about(coding, coded, cell)
    for option in range(ALONE * count + (TOGETHER if count == 2 else 0)):
        _take(final, cell, pair)
        if option < ALONE * count:
            _alone(coding, option % ALONE, option // ALONE, cell, found, final, coded, picture.columns, pair)
        else:
            _together(coding, option - ALONE * count, cell, final, coded, picture.columns, pair)
        if _in_vain(pair, final, cell):
            continue
        _code(coding, pair, cell, coded)
        if _bits(coding, coded, cell) < now:
            bits = _bits_about(coding, coded, cell)
            error = _error(picture, cell, pair, scratch) if bits < now else np.float32(0)
            if bits + error < now:
                now, errors[cell] = bits + error, error
                _put(pair, cell, final)
                _stir(coding, cell, stirred, picture.columns)
                continue
        _take(final, cell, pair)
        _code(coding, pair, cell, coded)


@compiled
def _stir(coding: Coding, cell: int, stirred: NDArray[np.bool_], columns: int) -> None:
    """Mark what a change of a cell may be a reason to change."""
    rows = len(stirred) // columns
    for k in range(4):
        y, x = beside_at(rows, columns, cell // columns, cell % columns, k)
        stirred[y * columns + x] = True
        if coding.parents[cell, k] >= 0:
            stirred[coding.parents[cell, k]] = True
    for k in range(coding.first_child[cell], coding.first_child[cell + 1]):
        stirred[coding.children[k]] = True


@compiled
def _alone(
    coding: Coding,
    option: int,
    r: int,
    cell: int,
    found: Vectors,
    final: Vectors,
    coded: Vectors,
    columns: int,
    pair: Pair,
) -> None:
    """Set one vector of a pair as an option says."""
    if option < FOUND or option == GOING:
        for axis in range(2):
            if option in (EXPECTED, GOING, EXPECTED + 1 + axis):
                pair[r, axis] = coding.ahead[axis, cell] if r == 0 else _along(pair[0, axis], coding.ratio)
                if option < FOUND:
                    pair[r, axis] += _expected(coding, coded[r], axis, cell)[0]
    elif option == FOUND:
        pair[r, 0], pair[r, 1] = found[r, 0, cell], found[r, 1, cell]
    elif option < MOVED:
        y, x = beside_at(final.shape[2] // columns, columns, cell // columns, cell % columns, option - BESIDE)
        pair[r, 0], pair[r, 1] = final[r, 0, y * columns + x], final[r, 1, y * columns + x]
    else:
        y, x = around(option - MOVED)
        pair[r, 0] += y
        pair[r, 1] += x


@compiled
def _together(coding: Coding, option: int, cell: int, final: Vectors, coded: Vectors, columns: int, pair: Pair) -> None:
    """Set both vectors of a pair as an option says."""
    if NEXT <= option < ALONG:
        y, x = beside_at(final.shape[2] // columns, columns, cell // columns, cell % columns, option - NEXT)
        _take(final, y * columns + x, pair)
        return
    y, x = around(max(option - SHIFTED, 0))
    for axis in range(2):
        if option < SHIFTED:
            pair[0, axis] = coding.ahead[axis, cell] + _expected(coding, coded[0], axis, cell)[0]
        else:
            pair[0, axis] += x if axis else y
        further = _expected(coding, coded[1], axis, cell)[0] if option == BOTH else coded[1, axis, cell]
        pair[1, axis] = _along(pair[0, axis], coding.ratio) + further


@compiled
def _take(vectors: Vectors, cell: int, pair: Pair) -> None:
    for r in range(len(pair)):
        pair[r, 0], pair[r, 1] = vectors[r, 0, cell], vectors[r, 1, cell]


@compiled
def _put(pair: Pair, cell: int, vectors: Vectors) -> None:
    for r in range(len(pair)):
        vectors[r, 0, cell], vectors[r, 1, cell] = pair[r, 0], pair[r, 1]


@compiled
def _in_vain(pair: Pair, vectors: Vectors, cell: int) -> bool:
    """Whether a pair is what a cell has already, or too long."""
    same = True
    for r in range(len(pair)):
        for axis in range(2):
            same &= pair[r, axis] == vectors[r, axis, cell]
            if abs(pair[r, axis]) > LARGEST_MOTION:
                return True
    return same


@compiled
def _along(first: int, ratio: float) -> int:
    """`codec.rate.motion.along`."""
    return min(max(int(np.floor(first * ratio + 0.5)), -LARGEST_MOTION), LARGEST_MOTION)


@compiled
def _code(coding: Coding, pair: Pair, cell: int, coded: Vectors) -> None:
    """Vectors of a cell to what is coded of them: less carried motion, and the second less the first going on."""
    for axis in range(2):
        coded[0, axis, cell] = pair[0, axis] - coding.ahead[axis, cell]
        if len(pair) == 2:
            coded[1, axis, cell] = pair[1, axis] - _along(pair[0, axis], coding.ratio)


@compiled
def _expected(coding: Coding, coded: NDArray[np.int64], axis: int, cell: int) -> tuple[int, int]:
    """`codec.rate.motion.expect` along one axis: (the middle of those around, how far they differ)."""
    near = coding.parents[cell]
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
def _bits(coding: Coding, coded: Vectors, cell: int) -> float:
    """What the vectors at a cell take."""
    before, bits = 0, 0.0
    for r in range(len(coded)):
        y, spread_y = _expected(coding, coded[r], 0, cell)
        x, spread_x = _expected(coding, coded[r], 1, cell)
        spread = SPREAD[min(spread_y + spread_x, len(SPREAD) - 1)]
        for axis in range(2):
            size = abs(coded[r, axis, cell] - (x if axis else y))
            row = coding.table[r, axis, PREVIOUS[min(before, len(PREVIOUS) - 1)], spread]
            bits += coding.costs[row, MAX_VALUE + min(size, MAX_VALUE)] + coding.further * (size // MAX_VALUE)
            before += size
    return bits


@compiled
def _bits_about(coding: Coding, coded: Vectors, cell: int) -> float:
    """What the vectors at a cell, and all that they suggest, take."""
    bits = _bits(coding, coded, cell)
    for k in range(coding.first_child[cell], coding.first_child[cell + 1]):
        bits += _bits(coding, coded, coding.children[k])
    return bits


@compiled
def _error(picture: Picture, cell: int, pair: Pair, scratch: NDArray[np.float32]) -> np.float32:
    """What the error of a block is worth under its vectors."""
    y, x = divmod(cell, picture.columns)
    wanted, first = picture.wanted[cell], picture.first[pair[0, 0] % UNITS, pair[0, 1] % UNITS]
    top, left = corner(picture.first, y, x, pair[0, 0], pair[0, 1])
    if len(pair) == 1:
        for i in range(CELL):
            for j in range(CELL):
                scratch[i, j] = np.float32(first[top + i, left + j]) - wanted[i, j]
    else:
        second = picture.second[pair[1, 0] % UNITS, pair[1, 1] % UNITS]
        upper, begin = corner(picture.second, y, x, pair[1, 0], pair[1, 1])
        a, b = picture.shares[0, cell], picture.shares[1, cell]
        for i in range(CELL):
            for j in range(CELL):
                both = a * np.float32(first[top + i, left + j]) + b * np.float32(second[upper + i, begin + j])
                scratch[i, j] = both - wanted[i, j]
    return transformed(scratch, picture.lagrangian, picture.most)
