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
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from codec.encoding.predictive.block_errors import coefficients, squared_lines
from codec.encoding.predictive.compiled import compiled
from codec.encoding.predictive.flow import Field, Plane
from codec.network.predictive.motion import AFTER, BEFORE, BORDER, CELL, TAPS, UNITS, motion_size
from codec.rate.carried import LARGEST_MOTION

Place = tuple[int, int, int, int]
Blocks = NDArray[np.uint8]  # [rows, columns, CELL, CELL]
Phases = NDArray[np.uint8]  # [UNITS, UNITS, H + 2 EDGE, W + 2 EDGE]: a picture moved by quarters of a pixel
Levels = tuple[tuple[int, tuple[int, ...]], ...]
# blocks along the sides of squares that move as one, and the steps tried in eight directions, quarter pixels

EDGE = BORDER + CELL  # pixels of a picture beyond its edges
LEAST = 0.25  # bits that a vector must be able to save to be tried
_FARTHEST = 4095
_PER_OCTAVE = 0.5  # bits that a coefficient takes for each doubling of its square
_two_lines, _four_lines = squared_lines(4), squared_lines(2)
_LOG = np.log2(1 + np.arange(_FARTHEST + 1)).astype(np.float32)


def coded_error(lagrangian: float) -> float:
    """Squared error a pixel that is left where residuals are coded: what minimizes lambda D + log2(E / D) / 2."""
    return _PER_OCTAVE / math.log(2) / lagrangian


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
        out = np.empty((*self.size, CELL, CELL), np.uint8)
        _blocks(self.phases, np.ascontiguousarray(field), out)
        return out


def in_blocks(plane: Plane) -> Blocks:
    """A frame's own blocks, edges repeated."""
    rows, columns = motion_size(*plane.shape)
    height, width = plane.shape
    padded = np.pad(np.rint(plane), ((0, rows * CELL - height), (0, columns * CELL - width)), mode="edge")
    return np.ascontiguousarray(padded.astype(np.uint8).reshape(rows, CELL, columns, CELL).swapaxes(1, 2))


@dataclass(frozen=True)
class Worth:
    """What errors of blocks count, in bits."""

    lagrangian: float
    most: float  # squared error of a coefficient above which its error counts by its logarithm: it will be coded
    rough: float  # likewise of a pixel, as its mean over a block, where whole squares of blocks are compared


class _Compared(NamedTuple):
    """What blocks are to look like, and what they are shown by."""

    phases: Phases
    beside: Blocks  # what each block is shown by as well: the mean counts
    alone: bool  # or that it is not
    wanted: Blocks
    lagrangian: np.float32
    most: np.float32  # see `Worth`
    side: int  # blocks, of squares


def match(
    shown: Shown,
    wanted: Blocks,
    beside: Blocks | None,
    starts: Sequence[Field],
    worth: Worth,
    change: float,
    levels: Levels,
) -> Field:
    """A vector for each block: of least error by what is wanted, and least different from those around it.

    First for squares of several blocks, then for each: what is alike over a square is found and said as one. beside:
    what another reference shows of every block, where it is the mean of both that counts.
    """
    field, (rows, columns) = starts[0], shown.size
    for side, steps in levels:
        middle_y, middle_x = (np.minimum(np.arange(0, n, side) + side // 2, n - 1) for n in (rows, columns))
        options = np.stack([f[:, middle_y[:, None], middle_x] for f in (field, *starts)])
        weight, most = np.float32(worth.lagrangian), np.float32(worth.most if side == 1 else worth.rough)
        other = wanted if beside is None else beside
        compared = _Compared(shown.phases, other, beside is None, wanted, weight, most, side)
        errors = np.empty((len(options), *options.shape[2:]), np.float32)
        for option, error in zip(options, errors, strict=True):
            _errors(compared, option, error)
        chosen = np.stack([cv2.blur(e, (3, 3)) for e in errors]).argmin(0)
        found = np.take_along_axis(options, chosen[None, None], 0)[0]
        best = np.take_along_axis(errors, chosen[None], 0)[0]
        _settle(compared, np.float32(change * side), options, np.array(steps), found, best)
        field = found.repeat(side, 1).repeat(side, 2)[:, :rows, :columns]
    return field


@compiled
def place_of(phases: Phases, y: int, x: int, vy: int, vx: int) -> Place:
    """Where a picture shows block (y, x) under a vector."""
    top = min(max(y * CELL + vy // UNITS, 1 - CELL - AFTER), phases.shape[2] - 2 * EDGE - 1 + BEFORE) + EDGE
    left = min(max(x * CELL + vx // UNITS, 1 - CELL - AFTER), phases.shape[3] - 2 * EDGE - 1 + BEFORE) + EDGE
    return vy % UNITS, vx % UNITS, top, left


@compiled
def block_error(
    first: Phases | Blocks,
    at_first: Place,
    second: Phases | Blocks,
    at_second: Place,
    wanted: Blocks,
    at_wanted: Place,
    lagrangian: np.float32,
    most: np.float32,
) -> np.float32:
    """What the error of the mean of two blocks is worth, coefficient by coefficient of its Walsh-Hadamard transform.

    One that will be coded counts as half the logarithm of its square in bits, as of a coefficient at high rates: a
    share of a bit for each of its digits.
    """
    unit = np.float32(1 / (2 * CELL) ** 2) / most
    below, octaves, rest = coefficients(first, at_first, second, at_second, wanted, at_wanted, unit)
    return lagrangian * most * below + np.float32(_PER_OCTAVE) * (octaves + np.log2(rest))


@compiled
def _rough_error(total: np.float32, lagrangian: np.float32, most: np.float32, side: int) -> np.float32:
    """Likewise by one of `side` lines of pixels, alone: by their `squared_lines`."""
    square = total / np.float32(4 * CELL * CELL // side)
    if square > most:
        square = most * (np.float32(1) + np.log(square / most))
    return lagrangian * np.float32(CELL**2) * square


@compiled
def _blocks(phases: Phases, field: Field, out: Blocks) -> None:
    for y in range(out.shape[0]):
        for x in range(out.shape[1]):
            a, b, top, left = place_of(phases, y, x, field[0, y, x], field[1, y, x])
            for i in range(CELL):
                for j in range(CELL):
                    out[y, x, i, j] = phases[a, b, top + i, left + j]


@compiled
def _error(compared: _Compared, row: int, column: int, vy: int, vx: int) -> np.float32:
    """What the errors of a square of blocks are worth under a vector."""
    phases, beside, alone, wanted, lagrangian, most, side = compared
    second = phases if alone else beside
    worth = np.float32(0)
    for y in range(row * side, min(row * side + side, wanted.shape[0])):
        for x in range(column * side, min(column * side + side, wanted.shape[1])):
            at, own = place_of(phases, y, x, vy, vx), (y, x, 0, 0)
            at_second = at if alone else own
            if side == 1:
                worth += block_error(phases, at, second, at_second, wanted, own, lagrangian, most)
                continue
            if side == 2:
                total = _four_lines(phases, at, second, at_second, wanted, own)
            else:
                total = _two_lines(phases, at, second, at_second, wanted, own)
            worth += _rough_error(total, lagrangian, most, side)
    return worth


@compiled
def _errors(compared: _Compared, field: Field, out: NDArray[np.float32]) -> None:
    """`_error` of every square [rows, columns]."""
    for y in range(out.shape[0]):
        for x in range(out.shape[1]):
            out[y, x] = _error(compared, y, x, field[0, y, x], field[1, y, x])


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
    compared: _Compared,
    change: np.float32,
    options: NDArray[np.int64],
    steps: NDArray[np.int64],
    field: Field,
    best: NDArray[np.float32],
) -> None:
    """Give each square in turn the best of a few vectors, in place. best: `_error` of each under its vector."""
    rows, columns = field.shape[1:]
    for sweep in range(1 + len(steps)):
        step = steps[sweep - 1] if sweep else 0
        for k in range(rows * columns):
            y, x = divmod(k if sweep % 2 == 0 else rows * columns - 1 - k, columns)
            own = change * _apart(field, y, x, field[0, y, x], field[1, y, x])
            for n in range(5 + (8 if sweep else len(options))):
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
                error = _error(compared, y, x, wy, wx)
                if error + apart < best[y, x] + own:
                    field[0, y, x], field[1, y, x], best[y, x], own = wy, wx, error, apart
