"""Motion of a frame <-> passes of integers: squares of blocks that move as one, most of them like one beside them.

Squares are split (`squares`) until every part moves as one. A part that is not split, a leaf, takes the motion of one
of its candidates (`merging`), leaves beside it or motion that goes on (`carried`), or differs from it by vectors of its
own.

    splits of squares of 8, 4 and 2 blocks; of all leaves, whether they have motion of their own, and the candidate
    of those that have: sides, then vectors, less the candidate's

One function walks the passes for both directions: a `Port` takes the values of a pass and returns them when it writes,
and returns the ones of the file when it reads. No pass asks for motion that another has told, so each is one call; what
candidates there are is seen when all have been read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bitstream import MAX_VALUE, PEAKED, bit_costs
from codec.network.predictive.symbols import Integers
from codec.rate.carried import LARGEST_MOTION, all_along
from codec.rate.merging import CANDIDATES, Motion, difference, moved, put_together
from codec.rate.ports import Port, Table
from codec.rate.squares import SIZES, Leaves, Numbers, code_splits, unrest

BEFORE = (1, 3)  # magnitudes coded before at a leaf, least of each class but the first


@dataclass(frozen=True, eq=False)
class MotionRows:
    """Table rows by context; two: 1 for a frame with two references, else 0."""

    split: Table  # [two, level, unrest]
    own: Table  # [two, level]
    rank: Table  # [two, own, level]
    alone: Table  # [level]: whether one of two references alone shows a leaf
    second: Table  # [1]: whether that is the second
    vectors: Table  # [kind, axis, before, level]; kind: 0 to a sole reference, 1 the first coded of two, 2 the second


@dataclass(frozen=True, eq=False)
class Told:
    """What is coded of leaves. The rows of those without a part are 0."""

    own: Numbers  # [n]: 1 for motion of their own
    rank: Numbers  # [n]: of their candidate
    side: Numbers  # [n], see `Symbols`; of leaves with motion of their own, as all that follows
    vectors: Numbers  # [n, 2, 2]: (y, x) of the first vector that is coded, and of the second


def code_motion(
    port: Port,
    motion: Integers,
    sides: Integers,
    ratio: float,
    carried: Integers | None = None,
    table: MotionRows | None = None,
) -> tuple[Integers, Integers]:
    """Motion [references, 2, rows, columns] and sides [references - 1, rows, columns], through a port.

    ratio: how far the second reference lies, in units of the first's way. carried: motion to the first as it goes on
    from earlier frames, [2, rows, columns]; None where there is none. table: what values are coded by; candidates are
    chosen by MOTION_ROWS whatever it is. Returns what a reader has: where one of two references alone shows a block,
    the vector to the other is what goes on from that.
    """
    table, two, size = table or MOTION_ROWS, len(motion) - 1, (motion.shape[2], motion.shape[3])
    cells = _of_cells(motion, sides, ratio)  # [rows, columns, values]
    leaves = code_splits(port, cells, table.split[two], unrest(carried, size))
    going = _going(leaves, size, carried, ratio, two)
    told = _nothing(len(leaves.y)) if port.reading else _tell(cells, leaves, going, ratio)
    told = _code_told(port, told, leaves.level, two, table)
    own, rank, side = (x.tolist() for x in (told.own, told.rank, told.side))
    vectors = told.vectors.reshape(-1, 4).tolist()

    def read(n: int, candidates: list[Motion]) -> Motion:
        candidate = candidates[min(rank[n], len(candidates) - 1)]
        return moved(candidate, vectors[n], side[n], ratio) if own[n] else candidate

    values = np.array(put_together(leaves, size, going, read), np.int16).T.reshape(-1, *size)
    return values[: 2 * two + 2].reshape(motion.shape), values[2 * two + 2 :]


def _tell(cells: NDArray[np.int16], leaves: Leaves, going: Sequence[Motion], ratio: float) -> Told:
    """What says motion and sides of blocks, of `_of_cells`: each leaf by the candidate that takes the fewest bits."""
    two = int(cells.shape[2] > 2)
    wanted = [tuple(m) for m in cells[leaves.y, leaves.x].tolist()]
    costs, told = _Costs(MOTION_ROWS, two), _nothing(len(wanted))

    def tell(n: int, candidates: list[Motion]) -> Motion:
        if wanted[n] in candidates:
            told.rank[n] = candidates.index(wanted[n])
        else:
            told.own[n], told.side[n] = 1, wanted[n][4] if two else 0
            options = [difference(wanted[n], c, ratio) for c in candidates]
            level = int(leaves.level[n])
            told.rank[n] = min(range(len(options)), key=lambda k: costs.of(level, k, options[k], told.side[n]))
            told.vectors[n].flat[: 4 if two else 2] = options[told.rank[n]]
        return wanted[n]

    put_together(leaves, cells.shape[:2], going, tell)
    return told


def _of_cells(motion: Integers, sides: Integers, ratio: float) -> NDArray[np.int16]:
    """Motion and sides of blocks, [rows, columns, values]: where one reference alone shows one, the other steadily."""
    if len(motion) == 2:
        first, second = motion
        motion = np.stack(
            (
                np.where(sides < 0, all_along(second, 1 / ratio), first),
                np.where(sides > 0, all_along(first, ratio), second),
            )
        )
    motion = np.clip(motion, -LARGEST_MOTION, LARGEST_MOTION)
    return np.concatenate((motion.reshape(-1, *motion.shape[2:]), np.clip(sides, -1, 1))).transpose(1, 2, 0)


def _going(leaves: Leaves, size: tuple[int, int], carried: Integers | None, ratio: float, two: int) -> list[Motion]:
    """What goes on in the middle of each leaf: carried motion, or standing still."""
    if carried is None:
        return [(0,) * (5 if two else 2)] * len(leaves.y)
    half = np.array(SIZES)[leaves.level] // 2
    first = carried[:, np.minimum(leaves.y + half, size[0] - 1), np.minimum(leaves.x + half, size[1] - 1)]
    parts = (first, all_along(first, ratio), np.zeros_like(first[:1])) if two else (first,)
    return [tuple(m) for m in np.concatenate(parts).T.tolist()]


def _nothing(count: int) -> Told:
    own, rank, side = np.zeros((3, count), np.int64)
    return Told(own, rank, side, np.zeros((count, 2, 2), np.int64))


class _Costs:
    """What it takes to tell motion of a leaf's own."""

    def __init__(self, table: MotionRows, two: int) -> None:
        self._bits, self._table, self._two = bit_costs(), table, two

    def of(self, level: int, rank: int, vectors: Sequence[int], side: int) -> float:
        """Bits of the rank of a candidate and of what is told beside it."""
        table, two = self._table, self._two
        bits = float(self._bits[table.rank[two, 1, level], MAX_VALUE + rank])
        before = 0
        for k in range(len(vectors) if side == 0 else 2):
            size = abs(vectors[k])
            row = table.vectors[two + k // 2, k % 2, class_of(before), level]
            bits += float(self._bits[row, MAX_VALUE + min(size, MAX_VALUE)]) + FURTHER * (size // MAX_VALUE)
            before += size
        return bits


def class_of(before: int) -> int:
    return sum(before >= least for least in BEFORE)


def _code_told(port: Port, told: Told, level: Numbers, two: int, table: MotionRows) -> Told:
    own = port(told.own.astype(np.int16), table.own[two, level]).astype(np.int64) & 1
    rank = port(told.rank.astype(np.int16), table.rank[two, own, level]).astype(np.int64).clip(0, CANDIDATES - 1)
    mine = np.flatnonzero(own)
    level, side, vectors = level[mine], told.side[mine], told.vectors[mine]
    if two:
        alone = port((side != 0).astype(np.int16), table.alone[level]) != 0
        second = port((side[alone] < 0).astype(np.int16), table.second.repeat(int(np.count_nonzero(alone))))
        side = np.zeros(len(mine), np.int64)
        side[alone] = np.where(second, -1, 1)
    out = np.zeros((len(mine), 2, 2), np.int64)
    before = np.zeros(len(mine), np.int64)
    for k in range(two + 1):
        here = np.flatnonzero(side == 0) if k else np.arange(len(mine))
        for axis in range(2):
            classes = np.searchsorted(BEFORE, before[here], side="right")
            rows = table.vectors[two + k, axis, classes, level[here]]
            out[here, k, axis] = _code_whole(port, vectors[here, k, axis], rows)
            before[here] += np.abs(out[here, k, axis])
    found = _nothing(len(own))
    found.own[:], found.rank[:], found.side[mine], found.vectors[mine] = own, rank, side, out
    return found


def _code_whole(port: Port, values: Numbers, rows: Table) -> Numbers:
    """Values [n] of any size: one of the largest magnitude that a table holds is followed by what it lacks."""
    found = port(np.clip(values, -MAX_VALUE, MAX_VALUE).astype(np.int16), rows).astype(np.int64)
    further = np.flatnonzero(np.abs(found) == MAX_VALUE)
    while len(further):
        lacking = np.clip(values[further] - found[further], -MAX_VALUE, MAX_VALUE).astype(np.int16)
        more = port(lacking, np.full(len(further), FURTHER_ROW, np.uint8))
        found[further] += more
        further = further[(np.abs(more) == MAX_VALUE) & (np.abs(found[further]) < 2 * LARGEST_MOTION)]
    return found


FURTHER_ROW = PEAKED + 7  # of what a value of the largest magnitude lacks
FURTHER = 8.0  # bits that this takes, about
MOTION_ROWS = MotionRows(
    split=np.array(
        [
            [[195, 203, 213, 203], [199, 206, 208, 206], [198, 206, 205, 202]],
            [[192, 198, 208, 208], [194, 201, 207, 207], [196, 201, 204, 204]],
        ],
        np.uint8,
    ),
    own=np.array([[197, 201, 202, 200], [193, 198, 199, 200]], np.uint8),
    rank=np.array(
        [[[229, 234, 234, 235], [231, 232, 231, 230]], [[229, 235, 235, 236], [230, 232, 232, 231]]], np.uint8
    ),
    alone=np.array([209, 208, 214, 216], np.uint8),
    second=np.array([208], np.uint8),
    vectors=np.array(
        [
            [
                [[131, 131, 130, 130], [130, 130, 130, 130], [130, 130, 130, 130]],
                [[130, 130, 131, 130], [130, 130, 130, 130], [131, 132, 132, 131]],
            ],
            [
                [[137, 130, 130, 129], [129, 129, 129, 129], [129, 129, 129, 129]],
                [[137, 138, 130, 129], [129, 130, 130, 130], [130, 131, 131, 130]],
            ],
            [
                [[129, 138, 128, 130], [136, 137, 129, 129], [129, 130, 130, 130]],
                [[130, 129, 129, 129], [136, 136, 136, 129], [129, 131, 131, 130]],
            ],
        ],
        np.uint8,
    ),
)
