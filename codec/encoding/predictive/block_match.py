"""A vector for each block of a frame: what shows it best, and differs least from the vectors around it.

Squares of four by four blocks, then of two by two, then blocks try vectors that are given, vectors of their neighbours,
and smaller and smaller steps from where they are, one after another to and fro over the frame (iterated conditional
modes, Besag, 1986).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from codec.encoding.predictive.compiled import compiled
from codec.encoding.predictive.flow import Field, Plane
from codec.network.predictive.motion import AFTER, BEFORE, BORDER, CELL, TAPS, UNITS, motion_size
from codec.rate.carried import LARGEST_MOTION

Blocks = NDArray[np.float32]  # [rows, columns, CELL, CELL]
Phases = NDArray[np.uint8]  # [UNITS, UNITS, H + 2 EDGE, W + 2 EDGE]: a picture moved by quarters of a pixel
Levels = tuple[tuple[int, tuple[int, ...]], ...]
# blocks along the sides of squares that move as one, and the steps tried in eight directions, quarter pixels

EDGE = BORDER + CELL  # pixels of a picture beyond its edges
LEAST = 0.25  # bits that a vector must be able to save to be tried
_FARTHEST = 4095
_DIGIT = 0.5 / math.log(2)  # bits that a coefficient takes for each e-fold of its square
_LOG = np.log2(1 + np.arange(_FARTHEST + 1)).astype(np.float32)


def coded_error(lagrangian: float) -> float:
    """Squared error a pixel that is left where residuals are coded: what minimizes lambda D + log2(E / D) / 2."""
    return _DIGIT / lagrangian


class Shown:
    """A reference, to read blocks of at any motion."""

    def __init__(self, plane: Plane) -> None:
        self.plane = plane
        self.size = motion_size(*plane.shape)

    @cached_property
    def phases(self) -> Phases:
        bordered = cv2.copyMakeBorder(self.plane, *(EDGE,) * 4, cv2.BORDER_REPLICATE)
        phases = np.empty((UNITS, UNITS, *bordered.shape), np.uint8)
        filters = [np.array(taps, np.float32) / 64 for taps in TAPS]
        for a, b in np.ndindex(UNITS, UNITS):
            moved = cv2.sepFilter2D(bordered, cv2.CV_32F, filters[b], filters[a], anchor=(BEFORE, BEFORE))
            phases[a, b] = np.clip(np.rint(moved), 0, 255)
        return phases

    def blocks(self, field: Field) -> Blocks:
        """What is shown of every block where its vector points."""
        return _blocks(self.phases, np.ascontiguousarray(field))


def in_blocks(plane: Plane) -> Blocks:
    """A frame's own blocks, edges repeated."""
    rows, columns = motion_size(*plane.shape)
    height, width = plane.shape
    padded = np.pad(plane, ((0, rows * CELL - height), (0, columns * CELL - width)), mode="edge")
    return np.ascontiguousarray(padded.reshape(rows, CELL, columns, CELL).swapaxes(1, 2))


@dataclass(frozen=True)
class Worth:
    """What errors of blocks count, in bits."""

    lagrangian: float
    most: float  # squared error of a coefficient above which its error counts by its logarithm: it will be coded
    rough: float  # likewise of a pixel, as its mean over a block, where whole squares of blocks are compared

    def __call__(self, error: Blocks) -> NDArray[np.float32]:
        """Bits that the errors of blocks are worth: [rows, columns]. Overwrites them."""
        return _worth(error, np.float32(self.lagrangian), np.float32(self.most))


def match(
    shown: Shown, wanted: Blocks, share: float, starts: Sequence[Field], worth: Worth, change: float, levels: Levels
) -> Field:
    """A vector for each block: of least error share x (shown - wanted), and least different from those around it.

    First for squares of several blocks, then for each: what is alike over a square is found and said as one.
    """
    field, (rows, columns) = starts[0], shown.size
    for side, steps in levels:
        middle_y, middle_x = (np.minimum(np.arange(0, n, side) + side // 2, n - 1) for n in (rows, columns))
        options = np.stack([f[:, middle_y[:, None], middle_x] for f in (field, *starts)])
        most = worth.most if side == 1 else worth.rough
        fixed = (shown.phases, wanted, np.float32(share), np.float32(worth.lagrangian), np.float32(most), side)
        errors = np.stack([_errors(*fixed, option) for option in options])
        chosen = np.stack([cv2.blur(e, (3, 3)) for e in errors]).argmin(0)
        found = np.take_along_axis(options, chosen[None, None], 0)[0]
        best = np.take_along_axis(errors, chosen[None], 0)[0]
        _settle(*fixed, np.float32(change * side), options, np.array(steps), found, best)
        field = found.repeat(side, 1).repeat(side, 2)[:, :rows, :columns]
    return field


@compiled
def corner(phases: Phases, y: int, x: int, vy: int, vx: int) -> tuple[int, int]:
    """Where a picture shows block (y, x) under a vector: row and column in its phases."""
    top = min(max(y * CELL + vy // UNITS, 1 - CELL - AFTER), phases.shape[2] - 2 * EDGE - 1 + BEFORE) + EDGE
    left = min(max(x * CELL + vx // UNITS, 1 - CELL - AFTER), phases.shape[3] - 2 * EDGE - 1 + BEFORE) + EDGE
    return top, left


@compiled
def counted(square: np.float32, lagrangian: np.float32, most: np.float32) -> np.float32:
    """`Worth` of one block by its mean squared error."""
    if square > most:
        square = most * (np.float32(1) + np.log(square / most))
    return lagrangian * np.float32(CELL**2) * square


@compiled
def _hadamard(
    a: np.float32,
    b: np.float32,
    c: np.float32,
    d: np.float32,
    e: np.float32,
    f: np.float32,
    g: np.float32,
    h: np.float32,
) -> tuple[np.float32, ...]:
    """The Walsh-Hadamard transform of CELL values, not scaled. Written out, as it is then run on vectors."""
    a, b, c, d, e, f, g, h = a + e, b + f, c + g, d + h, a - e, b - f, c - g, d - h
    a, b, c, d, e, f, g, h = a + c, b + d, a - c, b - d, e + g, f + h, e - g, f - h
    return a + b, a - b, c + d, c - d, e + f, e - f, g + h, g - h


@compiled
def transformed(error: NDArray[np.float32], lagrangian: np.float32, most: np.float32) -> np.float32:
    """What a block's error [CELL, CELL] is worth, coefficient by coefficient of its Walsh-Hadamard transform.

    Overwrites the error. One that will be coded counts as half the logarithm of its square in bits, as of a coefficient
    at high rates: a share of a bit for each of its digits.
    """
    x = error
    for j in range(CELL):
        x[0, j], x[1, j], x[2, j], x[3, j], x[4, j], x[5, j], x[6, j], x[7, j] = _hadamard(
            x[0, j], x[1, j], x[2, j], x[3, j], x[4, j], x[5, j], x[6, j], x[7, j]
        )
    for i in range(CELL):
        x[i, 0], x[i, 1], x[i, 2], x[i, 3], x[i, 4], x[i, 5], x[i, 6], x[i, 7] = _hadamard(
            x[i, 0], x[i, 1], x[i, 2], x[i, 3], x[i, 4], x[i, 5], x[i, 6], x[i, 7]
        )
    unit = np.float32(1 / (CELL * CELL)) / most
    below, above = np.float32(0), np.float64(1)
    for i in range(CELL):
        for j in range(CELL):
            square = error[i, j] * error[i, j] * unit
            below += min(square, np.float32(1))
            above *= np.float64(max(square, np.float32(1)))
    return lagrangian * most * below + np.float32(_DIGIT) * np.float32(np.log(above))


@compiled
def _worth(error: Blocks, lagrangian: np.float32, most: np.float32) -> NDArray[np.float32]:
    out = np.empty(error.shape[:2], np.float32)
    for y in range(error.shape[0]):
        for x in range(error.shape[1]):
            out[y, x] = transformed(error[y, x], lagrangian, most)
    return out


@compiled
def _blocks(phases: Phases, field: Field) -> Blocks:
    rows, columns = field.shape[1:]
    out = np.empty((rows, columns, CELL, CELL), np.float32)
    for y in range(rows):
        for x in range(columns):
            vy, vx = field[0, y, x], field[1, y, x]
            top, left = corner(phases, y, x, vy, vx)
            out[y, x] = phases[vy % UNITS, vx % UNITS, top : top + CELL, left : left + CELL]
    return out


@compiled
def _error(
    phases: Phases,
    wanted: Blocks,
    share: np.float32,
    lagrangian: np.float32,
    most: np.float32,
    side: int,
    row: int,
    column: int,
    vy: int,
    vx: int,
    scratch: NDArray[np.float32],
) -> np.float32:
    """What the errors of a square of side x side blocks are worth under a vector, by one of `side` lines of pixels."""
    worth = np.float32(0)
    shown = phases[vy % UNITS, vx % UNITS]
    if side == 1:
        top, left = corner(phases, row, column, vy, vx)
        for i in range(CELL):
            for j in range(CELL):
                scratch[i, j] = share * (np.float32(shown[top + i, left + j]) - wanted[row, column, i, j])
        return transformed(scratch, lagrangian, most)
    for y in range(row * side, min(row * side + side, wanted.shape[0])):
        for x in range(column * side, min(column * side + side, wanted.shape[1])):
            top, left = corner(phases, y, x, vy, vx)
            total = np.float32(0)
            for i in range(0, CELL, side):
                for j in range(CELL):
                    lacking = np.float32(shown[top + i, left + j]) - wanted[y, x, i, j]
                    total += lacking * lacking
            worth += counted(total * share * share / np.float32(CELL * CELL // side), lagrangian, most)
    return worth


@compiled
def _errors(
    phases: Phases, wanted: Blocks, share: np.float32, lagrangian: np.float32, most: np.float32, side: int, field: Field
) -> NDArray[np.float32]:
    """`_error` of every square."""
    rows, columns = field.shape[1:]
    out = np.empty((rows, columns), np.float32)
    scratch = np.empty((CELL, CELL), np.float32)
    for y in range(rows):
        for x in range(columns):
            out[y, x] = _error(
                phases, wanted, share, lagrangian, most, side, y, x, field[0, y, x], field[1, y, x], scratch
            )
    return out


@compiled
def _apart(field: Field, y: int, x: int, vy: int, vx: int) -> np.float32:
    """Summed logarithms of how far a vector is from each of the four around it, edges repeated."""
    total = np.float32(0)
    for k in range(4):
        a, b = beside_at(field.shape[1], field.shape[2], y, x, k)
        total += _LOG[min(abs(field[0, a, b] - vy) + abs(field[1, a, b] - vx), _FARTHEST)]
    return total


@compiled
def beside_at(rows: int, columns: int, y: int, x: int, k: int) -> tuple[int, int]:
    """The place above, below, left or right of one, or itself at the edge."""
    if k < 2:
        return min(max(y + 2 * k - 1, 0), rows - 1), x
    return y, min(max(x + 2 * k - 5, 0), columns - 1)


@compiled
def around(k: int) -> tuple[int, int]:
    """One of the eight directions."""
    if k >= 4:
        k += 1
    return k // 3 - 1, k % 3 - 1


@compiled
def _settle(
    phases: Phases,
    wanted: Blocks,
    share: np.float32,
    lagrangian: np.float32,
    most: np.float32,
    side: int,
    change: np.float32,
    options: NDArray[np.int64],
    steps: NDArray[np.int64],
    field: Field,
    best: NDArray[np.float32],
) -> None:
    """Give each square in turn the best of a few vectors, in place. best: `_error` of each under its vector."""
    rows, columns = field.shape[1:]
    given, scratch = len(options), np.empty((CELL, CELL), np.float32)
    for sweep in range(1 + len(steps)):
        step = steps[sweep - 1] if sweep else 0
        for k in range(rows * columns):
            y, x = divmod(k if sweep % 2 == 0 else rows * columns - 1 - k, columns)
            own = change * _apart(field, y, x, field[0, y, x], field[1, y, x])
            for n in range(5 + (8 if sweep else given)):
                vy, vx = field[0, y, x], field[1, y, x]
                if n < 4:
                    a, b = beside_at(rows, columns, y, x, n)
                    wy, wx = field[0, a, b], field[1, a, b]
                elif n == 4:
                    wy, wx = 0, 0
                    for m in range(4):
                        a, b = beside_at(rows, columns, y, x, m)
                        wy += field[0, a, b]
                        wx += field[1, a, b]
                    wy, wx = (wy + 2) >> 2, (wx + 2) >> 2
                elif sweep:
                    a, b = around(n - 5)
                    wy, wx = vy + a * step, vx + b * step
                else:
                    wy, wx = options[n - 5, 0, y, x], options[n - 5, 1, y, x]
                wy = min(max(wy, -LARGEST_MOTION), LARGEST_MOTION)
                wx = min(max(wx, -LARGEST_MOTION), LARGEST_MOTION)
                if wy == vy and wx == vx:
                    continue
                apart = change * _apart(field, y, x, wy, wx)
                if apart + LEAST >= best[y, x] + own:
                    continue
                error = _error(phases, wanted, share, lagrangian, most, side, y, x, wy, wx, scratch)
                if error + apart < best[y, x] + own:
                    field[0, y, x], field[1, y, x], best[y, x], own = wy, wx, error, apart
