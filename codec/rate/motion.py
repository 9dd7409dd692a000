"""Motion of a frame <-> passes of integers: squares of blocks that move as one, most of them like one beside them.

A square of 8x8 blocks is split into four, and each of these again, down to one block, until every part moves as one. A
part that is not split, a leaf, takes the motion of one of its candidates, leaves beside it or motion that goes on from
earlier frames (merging: Helle et al., 2012), or differs from it by vectors of its own.

    splits of squares of 8, 4 and 2 blocks; of all leaves, whether they have motion of their own, and the candidate
    of those that have: sides, then vectors, less the candidate's

One function walks the passes for both directions: a `Port` takes the values of a pass and returns them when it writes,
and returns the ones of the file when it reads. No pass asks for motion that another has told, so each is one call; what
candidates there are is seen when all have been read.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from bitstream import MAX_VALUE, PEAKED, bit_costs
from codec.network.predictive.motion import CELL, UNITS
from codec.network.predictive.symbols import Integers

Table = NDArray[np.uint8] | NDArray[np.int16]  # rows; other numbers where contexts are counted
Numbers = NDArray[np.int64]
Motion = tuple[int, ...]  # of a leaf, (y, x) to one reference, (y, x, y, x, side) to two
Decide = Callable[[int, list[Motion]], Motion]

SIZES = (8, 4, 2, 1)  # blocks along the sides of squares, by level
CANDIDATES = 6  # most of a leaf
LARGEST_MOTION = 2**13  # quarter pixels
UNREST = (1, 4)  # quarter pixels that carried motion differs by in a square, least of each class but the first
BEFORE = (1, 3)  # likewise of magnitudes coded before at a leaf


class Port(Protocol):
    """One direction of coding."""

    reading: bool

    def __call__(self, values: Integers, rows: Table) -> Integers:
        """Values of one pass under their rows; both of any one shape."""


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
class Leaves:
    """Squares that move as one, in the order in which their motion is put together."""

    y: Numbers  # [n], of the first block
    x: Numbers
    level: Numbers  # see SIZES


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
    leaves = _code_splits(port, cells, table.split[two], unrest(carried, size))
    wanted = [tuple(m) for m in cells[leaves.y, leaves.x].tolist()]
    going = _going(leaves, size, carried, ratio, two)
    if port.reading:
        told = _nothing(len(wanted))
    else:
        costs = _Costs(MOTION_ROWS, two)
        told = _nothing(len(wanted))

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

        put_together(leaves, size, going, tell)
    told = _code_told(port, told, leaves.level, two, table)
    rank, own, side, vectors = (
        told.rank.tolist(),
        told.own.tolist(),
        told.side.tolist(),
        told.vectors.reshape(-1, 4).tolist(),
    )

    def read(n: int, candidates: list[Motion]) -> Motion:
        candidate = candidates[min(rank[n], len(candidates) - 1)]
        return moved(candidate, vectors[n], side[n], ratio) if own[n] else candidate

    values = np.array(put_together(leaves, size, going, read), np.int16).T.reshape(-1, *size)
    return values[: 2 * two + 2].reshape(motion.shape), values[2 * two + 2 :]


# ---- the squares ----


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


def _code_splits(port: Port, cells: Integers, rows: Table, classes: Sequence[Numbers]) -> Leaves:
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


# ---- the motion of leaves ----


def put_together(leaves: Leaves, size: tuple[int, int], going: Sequence[Motion], decide: Decide) -> list[Motion]:
    """Let the motion of each leaf in turn be decided on by that of its candidates: -> the motion of each block.

    Candidates are the motion of the block left of a leaf's last row, of that above its last column, what goes on, and
    the motion of the blocks above right, below left and above left of it, where these come before it, and standing
    still; each once, CANDIDATES at most.
    """
    rows, columns = size
    blocks: list[Motion | None] = [None] * (rows * columns)
    still = (0,) * len(going[0])
    for n, (y, x, level) in enumerate(zip(leaves.y.tolist(), leaves.x.tolist(), leaves.level.tolist(), strict=True)):
        side = SIZES[level]
        bottom, right = min(y + side, rows), min(x + side, columns)
        around = (
            blocks[(bottom - 1) * columns + x - 1] if x else None,
            blocks[(y - 1) * columns + right - 1] if y else None,
            going[n],
            blocks[(y - 1) * columns + x + side] if y and x + side < columns else None,
            blocks[(y + side) * columns + x - 1] if x and y + side < rows else None,
            blocks[(y - 1) * columns + x - 1] if x and y else None,
            still,
        )
        candidates = [m for m in dict.fromkeys(around) if m is not None]
        motion = decide(n, candidates[:CANDIDATES])
        for row in range(y, bottom):
            blocks[row * columns + x : row * columns + right] = [motion] * (right - x)
    return [m for m in blocks if m is not None]


def difference(motion: Motion, candidate: Motion, ratio: float) -> tuple[int, ...]:
    """Vectors of a leaf's own, less those of a candidate: (y, x) of each that is coded, 0 for the others."""
    if len(motion) == 2:
        return motion[0] - candidate[0], motion[1] - candidate[1]
    if motion[4] < 0:
        return motion[2] - candidate[2], motion[3] - candidate[3], 0, 0
    first = motion[0] - candidate[0], motion[1] - candidate[1]
    if motion[4]:
        return *first, 0, 0
    return *first, *(
        motion[2 + k] - clip(along(motion[k], ratio) + candidate[2 + k] - along(candidate[k], ratio)) for k in (0, 1)
    )


def moved(candidate: Motion, vectors: Sequence[int], side: int, ratio: float) -> Motion:
    """Inverse of `difference`."""
    if len(candidate) == 2:
        return clip(candidate[0] + vectors[0]), clip(candidate[1] + vectors[1])
    if side < 0:
        y, x = clip(candidate[2] + vectors[0]), clip(candidate[3] + vectors[1])
        return along(y, 1 / ratio), along(x, 1 / ratio), y, x, side
    y, x = clip(candidate[0] + vectors[0]), clip(candidate[1] + vectors[1])
    v, u = along(y, ratio), along(x, ratio)
    if side:
        return y, x, v, u, side
    v, u = clip(v + candidate[2] - along(candidate[0], ratio)), clip(u + candidate[3] - along(candidate[1], ratio))
    return y, x, clip(v + vectors[2]), clip(u + vectors[3]), side


def clip(value: int) -> int:
    return min(max(value, -LARGEST_MOTION), LARGEST_MOTION)


def along(first: int, ratio: float) -> int:
    """One axis of motion to another frame, where that to the first goes on steadily. ratio: of their distances."""
    return clip(math.floor(first * ratio + 0.5))


def all_along(first: NDArray[np.signedinteger], ratio: float) -> Integers:
    """`along` of arrays."""
    return np.clip(np.floor(first * float(ratio) + 0.5), -LARGEST_MOTION, LARGEST_MOTION).astype(np.int16)


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


# ---- what is told of leaves ----


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


# ---- motion that goes on ----


@dataclass(frozen=True, eq=False)
class Moved:
    """The motion of a frame decoded before."""

    references: tuple[int, ...]  # by number
    motion: Integers  # [references, 2, rows, columns]


def carry(number: int, references: Sequence[int], earlier: Mapping[int, Moved]) -> Integers | None:
    """Motion of a frame to the first of its references, as motion between earlier frames goes on: [2, rows, columns].

    Of the references and of what they refer to themselves the first pair is taken that the frame lies between, or else
    the first pair. Where the frame is, the vector is that of the cell to which a first look at it leads. None, for
    zero, where no reference refers to another frame.
    """
    pairs = [(p, k) for p in references for k in range(len(earlier[p].references))]
    if not pairs:
        return None
    p, k = next((pair for pair in pairs if earlier[pair[0]].references[pair[1]] in references), pairs[0])
    field, way = earlier[p].motion[k], earlier[p].references[k] - p
    rows, columns = field.shape[1:]
    y, x = np.mgrid[:rows, :columns]
    to_cell = (p - number) / way / (UNITS * CELL)
    dy, dx = np.floor(field * to_cell + 0.5).astype(np.int64)
    found = field[:, np.clip(y + dy, 0, rows - 1), np.clip(x + dx, 0, columns - 1)]
    return all_along(found, (references[0] - number) / way)


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
