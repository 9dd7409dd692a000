"""Motion of a frame to its references: found block by block, by what it shows and what it takes to say it.

1. Squares of four by four blocks, then of two by two, then blocks take what shows them best and differs least from what
   is around them: standing still, motion that goes on, optical flow from frame to frame (DIS, Kroeger et al., 2016)
   followed along the frames between, flow straight to the reference, a translation that phase correlation finds in
   tiles, as text that scrolls has; vectors of the neighbours; smaller and smaller steps from where they are. Settled on
   a checkerboard (iterated conditional modes, Besag, 1986).
2. With two references each is matched to what the other lacks, in turns, so that their mean fits the frame.
3. In the order of coding, each vector becomes the one of a few that takes least squared error x lambda + bits, where
   an error counts for all the blocks that will be expected to move likewise.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property

import cv2
import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from bitstream import MAX_VALUE, bit_costs
from codec.network.predictive.motion import AFTER, BEFORE, BORDER, CELL, TAPS, UNITS, motion_size
from codec.rate.motion import FURTHER_ROW, LARGEST_MOTION, along, expect, motion_passes, motion_rows

Plane = NDArray[np.float32]  # [H, W]
Field = NDArray[np.int64]  # [2, rows, columns], (y, x) in quarter pixels
Vectors = NDArray[np.int64]  # [2, n]
Places = NDArray[np.intp]  # of blocks, row by row
Blocks = NDArray[np.float32]  # [n, CELL, CELL]
Option = Callable[[Vectors, NDArray[np.int64]], Vectors]  # own vectors, those beside [4, 2, n] -> vectors to try

TILE = 128  # pixels, of a frame's parts whose translation is looked for
CLEAR = 0.1  # of a phase correlation's peak: less says nothing
TRANSLATIONS = 6  # tried, at most
AROUND = tuple((y, x) for y in (-1, 0, 1) for x in (-1, 0, 1) if y or x)
NEAR = ((1, (2, 1)),)  # levels of a search from where motion is nearly right
SWEEPS = 2
LEAST = 0.25  # bits that a vector must be able to save to be tried
_LOG = np.log2(1 + np.arange(4096)).astype(np.float32)


@contextmanager
def one_thread() -> Iterator[None]:
    """OpenCV's optical flow depends on its number of threads; what is encoded shall not."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


@dataclass(frozen=True)
class SearchSettings:
    """How hard motion is looked for."""

    levels: tuple[tuple[int, tuple[int, ...]], ...] = ((4, (16, 8, 4, 2)), (2, (8, 4, 2, 1)), (1, (4, 2, 1)))
    # blocks along the sides of squares that move as one, and the steps tried in eight directions, quarter pixels
    turns: int = 2  # of matching each of two references to what the other lacks
    change: float = 1.0  # bits that a vector is taken to cost, times log2(1 + how far it is from each beside it)
    side: float = 3.0  # bits that a block takes which one of two references shows alone, beside others
    coded: float = 0.4  # share of `coded_error` above which an error is taken to be coded as a residual


def coded_error(lagrangian: float) -> float:
    """Squared error a pixel that is left where residuals are coded: what minimizes lambda D + log2(E / D) / 2."""
    return 1 / (2 * math.log(2) * lagrangian)


def luma(frame: NDArray[np.uint8]) -> Plane:
    """What motion is searched on: the mean of the colours, RGB [H, W, 3] -> float32 [H, W]."""
    return cv2.transform(frame, np.full((1, 3), 1 / 3, np.float32)).astype(np.float32)


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


def _in_blocks(plane: Plane) -> Blocks:
    """A frame's own blocks, edges repeated."""
    rows, columns = motion_size(*plane.shape)
    height, width = plane.shape
    padded = np.pad(plane, ((0, rows * CELL - height), (0, columns * CELL - width)), mode="edge")
    return padded.reshape(rows, CELL, columns, CELL).swapaxes(1, 2).reshape(-1, CELL, CELL)


class Flows:
    """Optical flow between neighbouring frames of a clip, followed from any frame to any other."""

    STEP = 8  # pixels from one vector to the next

    def __init__(self, planes: Sequence[Plane]) -> None:
        self._planes = planes
        self._found: dict[tuple[int, int], NDArray[np.float32]] = {}

    def between(self, frame: int, reference: int) -> Field:
        """Motion of a frame to a reference, as `search` takes it."""
        way = 1 if reference > frame else -1
        total = self._neighbour(frame, way)
        rows, columns = total.shape[:2]
        x, y = np.meshgrid(np.arange(columns, dtype=np.float32), np.arange(rows, dtype=np.float32))
        for t in range(frame + way, reference, way):
            further = cv2.remap(
                self._neighbour(t, way),
                x + total[..., 0] / self.STEP,
                y + total[..., 1] / self.STEP,
                cv2.INTER_LINEAR,
                borderMode=cv2.BORDER_REPLICATE,
            )
            total = total + further
        return _to_cells(total, self._planes[frame].shape, self.STEP)

    def _neighbour(self, frame: int, way: int) -> NDArray[np.float32]:
        if (frame, way) not in self._found:
            dense = _dis(self._planes[frame], self._planes[frame + way])
            rows, columns = (math.ceil(n / self.STEP) for n in dense.shape[:2])
            small = cv2.resize(dense, (columns, rows), interpolation=cv2.INTER_AREA)
            self._found[frame, way] = small.astype(np.float32, copy=False)
        return self._found[frame, way]


def _dis(target: Plane, reference: Plane) -> NDArray[np.float32]:
    """Dense flow [H, W, 2], (x, y) in pixels."""
    method = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    if min(target.shape) < 16:
        return np.zeros((*target.shape, 2), np.float32)
    found = method.calc(target.astype(np.uint8), reference.astype(np.uint8), np.zeros((*target.shape, 2), np.float32))
    return np.asarray(found, np.float32)


def _to_cells(flow: NDArray[np.float32], size: tuple[int, int], step: int = 1) -> Field:
    """Flow with a vector every `step` pixels -> motion on the cells of a frame of that size."""
    rows, columns = motion_size(*size)
    per = CELL // step
    pad = ((0, rows * per - flow.shape[0]), (0, columns * per - flow.shape[1]), (0, 0))
    cells = np.pad(flow, pad, mode="edge").reshape(rows, per, columns, per, 2).mean((1, 3))
    return np.rint(cells[..., ::-1].transpose(2, 0, 1) * UNITS).astype(np.int64)


def _translations(target: Plane, reference: Plane) -> list[tuple[float, float]]:
    """Whole-pixel motion (y, x) in pixels that tiles of a frame seem to make, the most common first."""
    height, width = target.shape
    found: Counter[tuple[int, int]] = Counter()
    sizes = ((height, width), (min(height, TILE), width), (min(height, TILE), min(width, TILE)))
    for size_y, size_x in dict.fromkeys(sizes):
        window = cv2.createHanningWindow((max(size_x, 2), max(size_y, 2)), cv2.CV_32F)[:size_y, :size_x]
        for y in range(0, height - size_y + 1, max(1, size_y // 2)):
            for x in range(0, width - size_x + 1, max(1, size_x // 2)):
                tile = slice(y, y + size_y), slice(x, x + size_x)
                # copies: OpenCV multiplies by the window in place where a tile's sides suit its transform
                (dx, dy), response = cv2.phaseCorrelate(target[tile].copy(), reference[tile].copy(), window)
                if response > CLEAR:
                    found[round(dy), round(dx)] += 1
    found.pop((0, 0), None)
    return [place for place, _ in found.most_common(TRANSLATIONS)]


@dataclass(frozen=True)
class _Worth:
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


def _match(
    shown: Shown, wanted: Blocks, share: float, starts: Sequence[Field], worth: _Worth, settings: SearchSettings
) -> Field:
    """A vector for each block: of least error share x (shown - wanted), and least different from those around it.

    First for squares of several blocks, then for each: what is alike over a square is found and said as one.
    """
    field = starts[0]
    for side, steps in settings.levels:
        field = _Level(shown, wanted, share, worth, settings.change, side).solve([field, *starts], steps)
    return field


class _Level:
    """The search for one vector in each square of side x side blocks."""

    def __init__(self, shown: Shown, wanted: Blocks, share: float, worth: _Worth, change: float, side: int) -> None:
        rows, columns = shown.size
        self.shown, self.wanted, self.share, self.worth = shown, wanted[:, ::side], share, worth
        self.side, self.change = side, change * side  # along each side of a square
        self.size = -(-rows // side), -(-columns // side)
        y, x = np.mgrid[:rows, :columns] // side
        self.square = (y * self.size[1] + x).ravel()  # of each block
        y, x = np.mgrid[: self.size[0], : self.size[1]]
        board = ((y + x) % 2 == 0).ravel()
        self.halves = board, ~board
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
                around = _beside(field.reshape(2, rows, columns))
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


def _beside(field: Field) -> NDArray[np.int64]:
    """The vectors above, below, left and right of each, edges repeated: [4, 2, cells]."""
    p = np.pad(field, ((0, 0), (1, 1), (1, 1)), mode="edge")
    near = (p[:, :-2, 1:-1], p[:, 2:, 1:-1], p[:, 1:-1, :-2], p[:, 1:-1, 2:])
    return np.stack([n.reshape(2, -1) for n in near])


def _apart(vectors: Vectors, around: NDArray[np.int64]) -> NDArray[np.float32]:
    """Summed logarithms of how far vectors [2, n] are from each of those around them [4, 2, n]."""
    return _LOG[np.minimum(np.abs(vectors - around).sum(1), len(_LOG) - 1)].sum(0)


@dataclass(frozen=True, eq=False)
class Found:
    """Motion of a frame."""

    motion: NDArray[np.int16]  # [R, 2, rows, columns]
    sides: NDArray[np.int16]  # [R - 1, rows, columns]; see `Symbols`
    carried: NDArray[np.int16] | None  # what the motion is to be coded with, of `code_motion`


def search(
    target: Plane,
    references: Sequence[Shown],
    starts: Sequence[Sequence[Field]],
    ratio: float,
    lagrangian: float,
    carried: NDArray[np.int16] | None = None,
    settings: SearchSettings = SearchSettings(),
) -> Found:
    """Motion of a frame to one or two references, coded with `carried`, or without where that says it worse.

    starts: for each reference, fields to begin from beside standing still and straight flow. ratio, carried: see
    `code_motion`.
    """
    worth = _Worth(lagrangian, settings.coded * coded_error(lagrangian))
    wanted = _in_blocks(target)
    still = np.zeros((2, *motion_size(*target.shape)), np.int64)
    ahead = still.astype(np.int16) if carried is None else carried
    options: list[list[Field]] = []
    for reference, own, way in zip(references, starts, (1.0, ratio), strict=False):
        moves = [still + np.array(m)[:, None, None] * UNITS for m in _translations(target, reference.plane)]
        straight = _to_cells(_dis(target, reference.plane), target.shape)
        options.append([*own, straight, still, along(ahead, way).astype(np.int64), *moves])
    if len(references) == 1:
        fields = [_match(references[0], wanted, 1.0, options[0], worth, settings)]
        shares = np.ones((1, len(wanted)), np.float32)
    else:
        fields = _match_both(wanted, references, options, worth, settings)
        fields, shares = _sides(wanted, references, fields, worth, settings)
    guesses = [None] if carried is None else [None, carried]
    tries = [(*_decided(wanted, references, fields, shares, ratio, worth, guess), guess) for guess in guesses]
    _, motion, best = min(tries, key=lambda found: found[0])
    sides = np.rint(shares[:1] - shares[1:]).reshape(-1, *still.shape[1:]).astype(np.int16)
    return Found(motion, sides[: len(references) - 1], best)


def _match_both(
    wanted: Blocks,
    references: Sequence[Shown],
    options: Sequence[Sequence[Field]],
    worth: _Worth,
    settings: SearchSettings,
) -> list[Field]:
    """Fields to two references, so that the mean of what they show fits: each matched to what the other lacks."""
    every = np.arange(len(wanted))
    fields = [o[0] for o in options]
    for turn in range(settings.turns):
        tried = replace(settings, levels=NEAR) if turn else settings
        for k, reference in enumerate(references):
            lacking = 2 * wanted - references[1 - k].blocks(every, fields[1 - k].reshape(2, -1))
            fields[k] = _match(reference, lacking, 0.5, [fields[k], *options[k]], worth, tried)
    return fields


def _sides(
    wanted: Blocks, references: Sequence[Shown], fields: list[Field], worth: _Worth, settings: SearchSettings
) -> tuple[list[Field], NDArray[np.float32]]:
    """Which blocks one reference alone shows better than the mean of both.

    Returns the fields, better ones where a side is alone, and what share of each block is of each reference, float32
    [2, blocks]: 1 and 0, 0 and 1, or a half each.
    """
    size = fields[0].shape[1:]
    every = np.arange(len(wanted))
    alone = [
        _match(reference, wanted, 1.0, [field], worth, replace(settings, levels=NEAR))
        for reference, field in zip(references, fields, strict=True)
    ]
    both = [r.blocks(every, f.reshape(2, -1)) for r, f in zip(references, fields, strict=True)]
    costs = np.stack(
        [worth(0.5 * (both[0] + both[1]) - wanted)]
        + [
            worth(r.blocks(every, f.reshape(2, -1)) - wanted) + settings.side
            for r, f in zip(references, alone, strict=True)
        ]
    )
    chosen = costs.argmin(0)
    board = (every // size[1] + every % size[1]) % 2 == 0
    for _ in range(SWEEPS):
        for half in (board, ~board):
            p = np.pad(chosen.reshape(size), 1, mode="edge")
            around = np.stack([p[:-2, 1:-1], p[2:, 1:-1], p[1:-1, :-2], p[1:-1, 2:]]).reshape(4, -1)
            differing = (around[:, None] != np.arange(3)[:, None]).sum(0)  # [3, blocks]
            chosen[half] = (costs + settings.change * differing).argmin(0)[half]
    shares = np.array([[0.5, 1.0, 0.0], [0.5, 0.0, 1.0]], np.float32)[:, chosen]
    kept = [np.where((chosen == 1 + k).reshape(size), alone[k], fields[k]) for k in range(2)]
    return kept, shares


def _decided(
    wanted: Blocks,
    references: Sequence[Shown],
    fields: Sequence[Field],
    shares: NDArray[np.float32],
    ratio: float,
    worth: _Worth,
    carried: NDArray[np.int16] | None,
) -> tuple[float, NDArray[np.int16]]:
    """-> (cost, motion as it is to be coded), chosen in coding order. shares: of `_sides`."""
    costs, further = bit_costs(), float(bit_costs()[FURTHER_ROW, 2 * MAX_VALUE])
    rows, columns = fields[0].shape[1:]
    ahead = np.zeros((2, rows, columns), np.int16) if carried is None else carried
    out = np.zeros((len(fields), 2, rows, columns), np.int16)  # as coded: less `ahead`, the second's less `along`
    final = np.stack(fields).astype(np.int16)
    cost = 0.0
    for step, cells, offsets in motion_passes(rows, columns):
        y, x = cells
        area = step**2  # blocks whose vectors will be expected to be like these
        places = y * columns + x
        share = shares[:, places, None, None]
        so_far = np.zeros(len(y), np.int64)
        for r in range(len(fields)):
            left = wanted[places]
            for k in range(len(fields)):
                if k != r:
                    left = left - share[k] * references[k].blocks(places, final[k][:, y, x].astype(np.int64))
            steady = (along(final[:1], ratio)[0] if r else ahead)[:, y, x].astype(np.int64)
            expected, spread = expect(out[r], cells, offsets)
            best = final[r][:, y, x] - steady - expected
            options = np.stack([best, np.zeros_like(best), best * [[1], [0]], best * [[0], [1]]])
            total = np.zeros((len(options), len(y)))
            for k, option in enumerate(options):
                before = so_far
                for axis in range(2):
                    row = motion_rows(len(fields) - 1 + r, axis, before, spread)
                    size = np.abs(option[axis])
                    total[k] += costs[row, np.minimum(size, MAX_VALUE) + MAX_VALUE] + further * (size // MAX_VALUE)
                    before = before + size
                total[k] += area * worth(share[r] * references[r].blocks(places, option + expected + steady) - left)
            cost += float(total.min(0).sum())
            chosen = np.take_along_axis(options, total.argmin(0)[None, None], 0)[0]
            out[r][:, y, x] = chosen + expected
            final[r][:, y, x] = chosen + expected + steady
            so_far = so_far + np.abs(chosen).sum(0)
    return cost, final
