"""A vector for each block of a frame: what shows it best, and differs least from the vectors around it.

Squares of four by four blocks, then of two by two, then blocks try vectors that are given, vectors of their neighbours,
and smaller and smaller steps from where they are. Settled on a checkerboard (iterated conditional modes, Besag, 1986).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from codec.encoding.predictive.flow import Field, Plane
from codec.network.predictive.motion import AFTER, BEFORE, BORDER, CELL, TAPS, UNITS, motion_size
from codec.rate.motion import LARGEST_MOTION

Vectors = NDArray[np.int64]  # [2, n]
Places = NDArray[np.intp]  # of blocks, row by row
Blocks = NDArray[np.float32]  # [n, CELL, CELL]
Option = Callable[[Vectors, NDArray[np.int64]], Vectors]  # own vectors, those beside [4, 2, n] -> vectors to try
Levels = tuple[tuple[int, tuple[int, ...]], ...]
# blocks along the sides of squares that move as one, and the steps tried in eight directions, quarter pixels

AROUND = tuple((y, x) for y in (-1, 0, 1) for x in (-1, 0, 1) if y or x)
LEAST = 0.25  # bits that a vector must be able to save to be tried
_LOG = np.log2(1 + np.arange(4096)).astype(np.float32)


def coded_error(lagrangian: float) -> float:
    """Squared error a pixel that is left where residuals are coded: what minimizes lambda D + log2(E / D) / 2."""
    return 1 / (2 * math.log(2) * lagrangian)


class Shown:
    """A reference, to read blocks of at any motion."""

    def __init__(self, plane: Plane) -> None:
        self.plane = plane
        self.size = motion_size(*plane.shape)

    @cached_property
    def _rows(self) -> tuple[NDArray[np.uint8], int, int]:
        """Rows of CELL pixels from every place of 16 planes, one a phase: ([n, CELL], pixels of a plane, of a row)."""
        bordered = cv2.copyMakeBorder(self.plane, *(BORDER + CELL,) * 4, cv2.BORDER_REPLICATE)
        phases = np.empty((UNITS, UNITS, *bordered.shape), np.uint8)
        filters = [np.array(taps, np.float32) / 64 for taps in TAPS]
        for a, b in np.ndindex(UNITS, UNITS):
            moved = cv2.sepFilter2D(bordered, cv2.CV_32F, filters[b], filters[a], anchor=(BEFORE, BEFORE))
            phases[a, b] = np.clip(np.rint(moved), 0, 255)
        flat = phases.reshape(-1)
        return as_strided(flat, (len(flat) - CELL + 1, CELL), (1, 1)), bordered.size, bordered.shape[1]

    def blocks(self, cells: Places, vectors: Vectors, every: int = 1) -> Blocks:
        """What is shown of blocks where vectors point. every: of how many of their rows one is read."""
        windows, plane, across = self._rows
        y, x = np.divmod(cells, self.size[1])
        (y, a), (x, b) = (
            (np.clip(first * CELL + whole, 1 - CELL - AFTER, side - 1 + BEFORE) + BORDER + CELL, part)
            for first, side, (whole, part) in zip((y, x), self.plane.shape, map(_split, vectors), strict=True)
        )
        first = (a * UNITS + b) * plane + y * across + x
        return windows[first[:, None] + np.arange(0, CELL, every) * across].astype(np.float32)


def _split(x: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    return x // UNITS, x % UNITS


def in_blocks(plane: Plane) -> Blocks:
    """A frame's own blocks, edges repeated."""
    rows, columns = motion_size(*plane.shape)
    height, width = plane.shape
    padded = np.pad(plane, ((0, rows * CELL - height), (0, columns * CELL - width)), mode="edge")
    return padded.reshape(rows, CELL, columns, CELL).swapaxes(1, 2).reshape(-1, CELL, CELL)


@dataclass(frozen=True)
class Worth:
    """What errors and differences of vectors count, in bits."""

    lagrangian: float
    most: float  # squared error of a pixel above which errors count by their logarithm: they will be coded

    def __call__(self, error: Blocks) -> NDArray[np.float32]:
        """Bits that the errors of blocks [n, CELL, CELL] are worth: [n]."""
        squares = np.einsum("nij,nij->n", error, error) / error[0].size
        counted = np.where(
            squares < self.most, squares, self.most * (1 + np.log(np.maximum(squares, self.most) / self.most))
        )
        return np.asarray(self.lagrangian * CELL**2 * counted, np.float32)


def match(
    shown: Shown, wanted: Blocks, share: float, starts: Sequence[Field], worth: Worth, change: float, levels: Levels
) -> Field:
    """A vector for each block: of least error share x (shown - wanted), and least different from those around it.

    First for squares of several blocks, then for each: what is alike over a square is found and said as one.
    """
    field = starts[0]
    for side, steps in levels:
        field = _Level(shown, wanted, share, worth, change, side).solve([field, *starts], steps)
    return field


class _Level:
    """The search for one vector in each square of side x side blocks."""

    def __init__(self, shown: Shown, wanted: Blocks, share: float, worth: Worth, change: float, side: int) -> None:
        rows, columns = shown.size
        self.shown, self.wanted, self.share, self.worth = shown, wanted[:, ::side], share, worth
        self.side, self.change = side, change * side  # along each side of a square
        self.size = -(-rows // side), -(-columns // side)
        y, x = np.mgrid[:rows, :columns] // side
        self.square = (y * self.size[1] + x).ravel()  # of each block
        self.halves = halves(*self.size)
        y, x = np.mgrid[: self.size[0], : self.size[1]]
        self.middle = np.minimum(y * side + side // 2, rows - 1), np.minimum(x * side + side // 2, columns - 1)

    def error(self, squares: Places, vectors: Vectors) -> NDArray[np.float32]:
        """What the errors of some squares are worth under vectors [2, all squares]."""
        asked = np.zeros(self.size[0] * self.size[1], bool)
        asked[squares] = True
        cells = np.flatnonzero(asked[self.square])
        blocks = self.shown.blocks(cells, vectors[:, self.square[cells]], self.side)
        each = self.worth((blocks - self.wanted[cells]) * self.share)
        return np.bincount(self.square[cells], each, self.size[0] * self.size[1])[squares].astype(np.float32)

    def solve(self, starts: Sequence[Field], steps: Sequence[int]) -> Field:
        """A field for all blocks."""
        rows, columns = self.size
        options = [s[:, self.middle[0], self.middle[1]].reshape(2, -1) for s in starts]
        every = np.arange(rows * columns)
        errors = np.stack([self.error(every, o) for o in options])
        chosen = np.stack([cv2.blur(e.reshape(rows, columns), (3, 3)) for e in errors]).argmin(0).ravel()
        field, best = np.stack(options)[chosen, :, every].T.copy(), errors[chosen, every]

        def attempt(option: Option) -> None:
            """Take what an option gives where that is better."""
            for half in self.halves:
                around = beside(field.reshape(2, rows, columns))
                vectors = np.clip(option(field, around), -LARGEST_MOTION, LARGEST_MOTION)
                now = best + self.change * _apart(field, around)
                apart = self.change * _apart(vectors, around)
                squares = np.flatnonzero(half & (apart + LEAST < now) & (vectors != field).any(0))
                if not len(squares):
                    continue
                found = self.error(squares, vectors)
                better = found + apart[squares] < now[squares]
                field[:, squares[better]] = vectors[:, squares[better]]
                best[squares[better]] = found[better]

        def spread() -> None:
            for k in range(4):
                attempt(_beside_at(k))
            attempt(_mean)

        for given in options:
            attempt(_given(given))
        spread()
        for step in steps:
            for y, x in AROUND:
                attempt(_moved(step * y, step * x))
            spread()
        return field[:, self.square].reshape(2, *self.shown.size)


def _given(vectors: Vectors) -> Option:
    return lambda own, around: vectors


def _beside_at(k: int) -> Option:
    return lambda own, around: around[k]


def _moved(y: int, x: int) -> Option:
    return lambda own, around: own + np.array([[y], [x]])


def _mean(own: Vectors, around: NDArray[np.int64]) -> Vectors:
    return np.rint(around.mean(0)).astype(np.int64)


def halves(rows: int, columns: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """The two colours of a checkerboard, each settled knowing the other: bool [rows x columns]."""
    y, x = np.mgrid[:rows, :columns]
    board = ((y + x) % 2 == 0).ravel()
    return board, ~board


def beside(grid: NDArray[np.int64]) -> NDArray[np.int64]:
    """What is above, below, left and right of each cell, edges repeated: [..., rows, columns] -> [4, ..., cells]."""
    p = np.pad(grid, [(0, 0)] * (grid.ndim - 2) + [(1, 1), (1, 1)], mode="edge")
    near = (p[..., :-2, 1:-1], p[..., 2:, 1:-1], p[..., 1:-1, :-2], p[..., 1:-1, 2:])
    return np.stack([n.reshape(*grid.shape[:-2], -1) for n in near])


def _apart(vectors: Vectors, around: NDArray[np.int64]) -> NDArray[np.float32]:
    """Summed logarithms of how far vectors [2, n] are from each of those around them [4, 2, n]."""
    return _LOG[np.minimum(np.abs(vectors - around).sum(1), len(_LOG) - 1)].sum(0)
