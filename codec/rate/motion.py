"""Motion of a frame <-> passes of integers: coarse to fine, each vector predicted from those around it.

Where motion goes on as it was, `carry` says it beforehand, and only differences from that are coded. One function
walks the passes for both directions: a `Port` takes the values of a pass and returns them when it writes, and returns
the ones of the file when it reads, so that both sides see the same contexts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from bitstream import MAX_VALUE, PEAKED
from codec.network.predictive.motion import CELL, UNITS
from codec.network.predictive.symbols import Integers

Places = NDArray[np.intp]  # in a map or grid whose rows follow each other
Cells = tuple[Places, Places]  # y, x
Table = NDArray[np.uint8] | NDArray[np.int16]  # rows; other numbers where contexts are counted

COARSEST = 16  # cells between the motion vectors of the first pass
LARGEST_MOTION = 2**13  # quarter pixels


class Port(Protocol):
    """One direction of coding."""

    def __call__(self, values: Integers, rows: Table) -> Integers:
        """Values of one pass under their rows; both of any one shape."""


def code_motion(
    port: Port, motion: Integers, ratio: float, carried: Integers | None = None, table: Table | None = None
) -> Integers:
    """Motion [references, 2, rows, columns], in passes through a port.

    ratio: how far the second reference lies, in units of the first's way. carried: what motion to the first is coded
    as the difference from, [2, rows, columns]; None for zero. table: taken for MOTION_ROWS.
    """
    coded = motion.copy()
    coded[1:] -= along(motion[:1], ratio)
    if carried is not None:
        coded[0] -= carried
    out = np.zeros_like(coded)
    for _, cells, near in motion_passes(*motion.shape[2:]):
        y, x = cells
        so_far = np.zeros(len(y), np.int64)
        for r in range(len(coded)):
            expected, spread = expect(out[r], cells, near)
            for axis in range(2):
                rows = motion_rows(len(coded) - 1 + r, axis, so_far, spread, table)
                found = _code_whole(port, coded[r, axis, y, x] - expected[axis], rows)
                out[r, axis, y, x] = np.clip(found + expected[axis], -LARGEST_MOTION, LARGEST_MOTION)
                so_far += np.abs(found)
    if carried is not None:
        out[0] += carried
    out[1:] += along(out[:1], ratio)
    return out


def _code_whole(port: Port, values: NDArray[np.int64], rows: Table) -> NDArray[np.int64]:
    """Values [n] of any size: one of the largest magnitude that a table holds is followed by what it lacks."""
    found = port(np.clip(values, -MAX_VALUE, MAX_VALUE).astype(np.int16), rows).astype(np.int64)
    further = np.flatnonzero(np.abs(found) == MAX_VALUE)
    while len(further):
        lacking = np.clip(values[further] - found[further], -MAX_VALUE, MAX_VALUE).astype(np.int16)
        more = port(lacking, np.full(len(further), FURTHER_ROW, np.uint8))
        found[further] += more
        further = further[(np.abs(more) == MAX_VALUE) & (np.abs(found[further]) < 2 * LARGEST_MOTION)]
    return found


def along(first: Integers, ratio: float) -> Integers:
    """Motion to the second reference where that to the first goes on steadily."""
    return np.clip(np.floor(first * float(ratio) + 0.5), -LARGEST_MOTION, LARGEST_MOTION).astype(np.int16)


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
    return along(found, (references[0] - number) / way)


@lru_cache(8)
def motion_passes(rows: int, columns: int) -> list[tuple[int, Cells, Places | None]]:
    """(cells from one vector to the next, cells, which vectors each is predicted from) of each pass.

    The last are places [4, n] in the grid, None in the first pass; for one beyond the edges the first that is not.
    """
    y, x = np.mgrid[:rows, :columns]
    passes: list[tuple[int, Cells, Places | None]] = []

    def add(step: int, chosen: NDArray[np.bool_], offsets: tuple[tuple[int, int], ...]) -> None:
        cells = np.nonzero(chosen)
        near = np.stack([(cells[0] + a, cells[1] + b) for a, b in offsets]) if offsets else None  # [4, 2, n]
        if not len(cells[0]):
            return
        if near is None:
            passes.append((step, (cells[0], cells[1]), None))
            return
        inside = ((near >= 0) & (near < [[rows], [columns]])).all(1)
        places = near[:, 0] * columns + near[:, 1]
        fallback = np.take_along_axis(places, inside.argmax(0)[None], 0)
        passes.append((step, (cells[0], cells[1]), np.where(inside, places, fallback)))

    add(COARSEST, (y % COARSEST == 0) & (x % COARSEST == 0), ())
    step = COARSEST // 2
    while step:
        odd_y, odd_x = y % (2 * step) == step, x % (2 * step) == step
        on_grid = (y % step == 0) & (x % step == 0)
        add(step, on_grid & odd_y & odd_x, tuple((a * step, b * step) for a in (-1, 1) for b in (-1, 1)))
        add(step, on_grid & (odd_y != odd_x), ((-step, 0), (step, 0), (0, -step), (0, step)))
        step //= 2
    return passes


def expect(field: Integers, cells: Cells, near: Places | None) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """-> (expected vectors [2, n]: the middle of those around, how far those differ [n]).

    Of four neighbours the mean of the middle two, rounded down. cells, near: of `motion_passes`.
    """
    if near is None:
        return np.zeros((2, len(cells[0])), np.int64), np.zeros(len(cells[0]), np.int64)
    around = field.reshape(2, -1)[:, near].astype(np.int64)  # [2, 4, n]
    most, least = around.max(1), around.min(1)
    return (around.sum(1) - most - least) >> 1, (most - least).sum(0)


PREVIOUS_CLASSES = (1, 3)  # least magnitude of each class but the first: of components coded before at the same cell
SPREAD_CLASSES = (1, 2, 4, 7, 12, 20, 40, 80, 160)  # likewise of the spread of the vectors around
PREVIOUS = np.searchsorted(PREVIOUS_CLASSES, np.arange(PREVIOUS_CLASSES[-1] + 1), side="right")
SPREAD = np.searchsorted(SPREAD_CLASSES, np.arange(SPREAD_CLASSES[-1] + 1), side="right")


def motion_rows(
    kind: int, axis: int, before: NDArray[np.int64], spread: NDArray[np.int64], table: Table | None = None
) -> Table:
    """Table rows [n] of one component.

    kind: 0 motion to the one reference of a frame, 1 and 2 to the first and to the second of two. before: summed
    magnitudes of the components coded before it at its cells.
    """
    previous = PREVIOUS[np.minimum(before, PREVIOUS_CLASSES[-1])]
    chosen = MOTION_ROWS if table is None else table
    return chosen[kind, axis, previous, SPREAD[np.minimum(spread, SPREAD_CLASSES[-1])]]


FURTHER_ROW = PEAKED + 7  # of what a value of the largest magnitude lacks
# Rows by kind, axis, class of what is coded before at the cell and class of the spread; fitted to training clips.
MOTION_ROWS = np.array(
    [
        221, 192, 176, 177, 185, 178, 163, 164, 158, 151,
        151, 151, 151, 151, 151, 151, 151, 151, 151, 151,
        151, 151, 151, 151, 151, 151, 151, 151, 151, 151,
        236, 192, 184, 193, 194, 187, 172, 173, 175, 167,
        138, 160, 152, 144, 137, 137, 138, 131, 131, 133,
        143, 143, 155, 155, 146, 139, 140, 141, 142, 143,
        251, 208, 200, 202, 195, 187, 180, 182, 175, 159,
        159, 159, 159, 159, 159, 159, 159, 159, 159, 159,
        159, 159, 159, 159, 159, 159, 159, 159, 159, 159,
        251, 216, 208, 202, 195, 188, 189, 190, 183, 175,
        137, 160, 144, 137, 138, 130, 131, 132, 132, 132,
        149, 147, 148, 147, 139, 139, 148, 149, 151, 151,
        252, 232, 217, 210, 203, 196, 188, 182, 175, 167,
        152, 152, 144, 144, 144, 146, 146, 154, 155, 155,
        149, 161, 154, 154, 147, 148, 148, 149, 143, 151,
        252, 232, 226, 219, 203, 196, 197, 190, 183, 175,
        152, 144, 144, 136, 136, 137, 138, 148, 149, 167,
        148, 153, 146, 147, 147, 148, 148, 149, 151, 151,
    ],
    np.uint8,
).reshape(3, 2, len(PREVIOUS_CLASSES) + 1, len(SPREAD_CLASSES) + 1)  # fmt: skip
