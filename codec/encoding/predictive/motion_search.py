"""Motion of a frame to its references: found, refined on the grid that is sent, rounded where it pays.

1. Cell by cell, whichever shows it best for the bits it takes: standing still, motion that goes on, optical flow from
   frame to frame (DIS, Kroeger et al., 2016) followed along the frames between, flow straight to the reference, or a
   translation that phase correlation finds in tiles, as text that scrolls has.
2. Gauss-Newton steps move the vectors of both references together, so that the mean of what they show fits the frame
   (Lucas and Kanade, 1981, on the control points of a bilinear field as Szeliski and Coughlan, 1997), with a pull
   towards the neighbours for the bits that differences cost.
3. In the order of coding, each vector is rounded to the candidate of least squared error x lambda + bits, errors taken
   from the quadratic model of the last step.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from bitstream import MAX_VALUE, bit_costs
from codec.network.predictive.motion import CELL, UNITS, interpolation, motion_size
from codec.rate.motion import FURTHER_ROW, LARGEST_MOTION, along, expect, motion_passes, motion_rows

Plane = NDArray[np.float32]  # [H, W]
Field = NDArray[np.float32]  # [2, rows, columns], (y, x) in quarter pixels

TILE = 128  # pixels, of a frame's parts whose translation is looked for
CLEAR = 0.1  # of a phase correlation's peak: less says nothing
TRANSLATIONS = 6  # tried, at most
SWEEPS = 3


@dataclass(frozen=True)
class SearchSettings:
    """How hard motion is looked for."""

    steps: int = 8  # of Gauss-Newton
    smoothness: float = 0.5  # bits that a quarter pixel of difference to the neighbours counts as
    largest_step: float = 4.0  # quarter pixels
    trust: float = 2.5  # of the quadratic model, where vectors are rounded
    change: float = 4.0  # bits that a vector is taken to cost, times log2(1 + how far it is from each beside it)
    coded: float = 0.3  # share of `coded_error` above which an error is taken to be coded as a residual


def coded_error(lagrangian: float) -> float:
    """Squared error a pixel that is left where residuals are coded: what minimizes lambda D + log2(E / D) / 2."""
    return 1 / (2 * math.log(2) * lagrangian)


def luma(frame: NDArray[np.uint8]) -> Plane:
    """What motion is searched on: the mean of the colours, RGB [H, W, 3] -> float32 [H, W]."""
    return cv2.transform(frame, np.full((1, 3), 1 / 3, np.float32)).astype(np.float32)


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
    return np.ascontiguousarray(cells[..., ::-1].transpose(2, 0, 1) * UNITS, np.float32)


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


def _best(target: Plane, reference: Plane, starts: list[Field], bit: float, most: float) -> Field:
    """Cell by cell a vector of one of some fields: of least squared error + what it takes to differ from those around.

    bit: squared error that a bit is worth. Above `most` a pixel, errors count by their logarithm. Solved by iterated
    conditional modes (Besag, 1986) on a checkerboard.
    """
    height, width = target.shape
    rows, columns = starts[0].shape[1:]
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    costs = np.empty((len(starts), rows, columns), np.float32)
    for cost, field in zip(costs, starts, strict=True):
        dy, dx = (np.repeat(np.repeat(f / UNITS, CELL, 0), CELL, 1)[:height, :width] for f in field)
        shown = cv2.remap(reference, x + dx, y + dy, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        error = cv2.absdiff(shown, target)
        error = np.pad(error * error, ((0, rows * CELL - height), (0, columns * CELL - width)))
        means = error.reshape(rows, CELL, columns, CELL).mean((1, 3))
        cost[...] = CELL**2 * np.where(means < most, means, most * (1 + np.log(np.maximum(means, most) / most)))
    fields = np.stack(starts)  # [K, 2, rows, columns]
    chosen = np.stack([cv2.blur(cost, (3, 3)) for cost in costs]).argmin(0)
    board = (np.arange(rows)[:, None] + np.arange(columns)) % 2 == 0
    for _ in range(SWEEPS):
        for cells in (board, ~board):
            field = np.take_along_axis(fields, chosen[None, None], 0)[0]
            p = np.pad(field, ((0, 0), (1, 1), (1, 1)), mode="edge")
            total = costs.copy()
            for near in (p[:, 1:-1, :-2], p[:, 1:-1, 2:], p[:, :-2, 1:-1], p[:, 2:, 1:-1]):
                total += bit * np.log2(1 + np.abs(fields - near).sum(1))
            chosen[cells] = total.argmin(0)[cells]
    return np.ascontiguousarray(np.take_along_axis(fields, chosen[None, None], 0)[0])


def search(
    target: Plane,
    references: list[Plane],
    starts: list[list[Field]],
    ratio: float,
    lagrangian: float,
    carried: NDArray[np.int16] | None = None,
    settings: SearchSettings = SearchSettings(),
) -> tuple[NDArray[np.int16], NDArray[np.int16] | None]:
    """Motion [R, 2, rows, columns] of a frame to one or two references, and what it is to be coded with: `carried`, or
    None where that says it worse than nothing.

    starts: for each reference, fields to begin from beside standing still and straight flow. ratio, carried: see
    `code_motion`.
    """
    height, width = target.shape
    rows, columns = motion_size(height, width)
    vertical = interpolation(rows, height).numpy()  # [H, rows]
    horizontal = interpolation(columns, width).numpy()  # [W, columns]
    still = np.zeros((2, rows, columns), np.float32)
    ahead = still if carried is None else carried.astype(np.float32)
    bit, most = settings.change / lagrangian, settings.coded * coded_error(lagrangian)
    fields = []
    for r, own, way in zip(references, starts, (1.0, ratio), strict=False):
        moves = [np.full_like(still, UNITS) * np.array(m, np.float32)[:, None, None] for m in _translations(target, r)]
        candidates = [still, ahead * way, *own, _to_cells(_dis(target, r), target.shape), *moves]
        fields.append(_best(target, r, candidates, bit, most))
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))

    def gathered(image: Plane) -> Plane:
        return vertical.T @ image @ horizontal

    guess = still if _roughness(fields[0]) < _roughness(fields[0] - ahead) else ahead
    share, area = 1 / len(references), gathered(np.ones_like(target))
    hessians: list[tuple[Plane, Plane, Plane]] = []
    for step in range(settings.steps + 1):
        moved, slopes = [], []
        for field, reference in zip(fields, references, strict=True):
            dy, dx = (vertical @ (f / UNITS) @ horizontal.T for f in field)
            shown = cv2.remap(reference, x + dx, y + dy, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
            moved.append(shown)
            slopes.append((cv2.Sobel(shown, cv2.CV_32F, 0, 1, ksize=3, scale=1 / (8 * UNITS)),
                           cv2.Sobel(shown, cv2.CV_32F, 1, 0, ksize=3, scale=1 / (8 * UNITS))))  # fmt: skip
        error = sum(moved) * share - target
        # what an error is worth falls where it will be coded anyway
        worth = np.minimum(1, most * area / np.maximum(gathered(error * error), 1e-6))
        hessians = [
            (worth * gathered(sy * sy), worth * gathered(sy * sx), worth * gathered(sx * sx)) for sy, sx in slopes
        ]  # of the squared error, halved; one reference alone
        if step == settings.steps:
            break
        for k, (sy, sx) in enumerate(slopes):
            # both references move at once: the sum of squares bounds the square of the sum
            yy, yx, xx = (share * lagrangian * h for h in hessians[k])
            gy, gx = (share * lagrangian * worth * gathered(error * s) for s in (sy, sx))
            field = fields[k]
            expected = fields[0] * ratio if k else guess
            apart = field - expected - np.stack([_near(f) for f in field - expected])
            pull = settings.smoothness / (1 + np.abs(apart))
            a, b, c = yy + pull[0] + 1e-6, yx, xx + pull[1] + 1e-6
            ry, rx = -(gy + pull[0] * apart[0]), -(gx + pull[1] * apart[1])
            determinant = a * c - b * b
            move = np.stack(((c * ry - b * rx) / determinant, (a * rx - b * ry) / determinant))
            fields[k] = field + np.clip(move, -settings.largest_step, settings.largest_step)
    wanted = np.clip(np.stack(fields), -LARGEST_MOTION, LARGEST_MOTION)
    weights = [tuple(settings.trust * share * share * lagrangian * h for h in hs) for hs in hessians]
    guesses = [None] if carried is None else [None, carried]
    _, motion, best = min(((*_rounded(wanted, weights, ratio, g), g) for g in guesses), key=lambda found: found[0])
    return motion, best


def _roughness(field: Field) -> float:
    """About the bits that coding a field takes, up to a factor."""
    return float(sum(np.log1p(np.abs(f - _near(f))).sum() for f in field))


def _near(f: Plane) -> Plane:
    """The mean of the four neighbours, edges repeated."""
    p = np.pad(f, 1, mode="edge")
    return np.asarray((p[1:-1, :-2] + p[1:-1, 2:] + p[:-2, 1:-1] + p[2:, 1:-1]) / 4, np.float32)


def _rounded(
    wanted: NDArray[np.float32], hessians: list[tuple[Plane, ...]], ratio: float, carried: NDArray[np.int16] | None
) -> tuple[float, NDArray[np.int16]]:
    """-> (cost, integers for a float field), chosen in coding order."""
    costs, further = bit_costs(), float(bit_costs()[FURTHER_ROW, 2 * MAX_VALUE])
    cost = 0.0
    ahead = np.zeros(wanted.shape[1:], np.int16) if carried is None else carried
    out = np.zeros(wanted.shape, np.int16)  # as coded: less `ahead`, the second reference's less `along`
    final = np.zeros(wanted.shape, np.int16)
    for cells, offsets in motion_passes(*wanted.shape[2:]):
        y, x = cells
        so_far = np.zeros(len(y), np.int64)
        for r in range(len(wanted)):
            steady = (along(final[:1], ratio)[0] if r else ahead)[:, y, x]
            expected, spread = expect(out[r], cells, offsets)
            best = np.rint(wanted[r][:, y, x] - steady - expected).astype(np.int64)
            options = np.stack([best, np.zeros_like(best), best * [[1], [0]], best * [[0], [1]], best // 2])
            total = np.zeros((len(options), len(y)))
            for k, option in enumerate(options):
                before = so_far
                for axis in range(2):
                    rows = motion_rows(len(wanted) - 1 + r, axis, before, spread)
                    size = np.abs(option[axis])
                    total[k] += costs[rows, np.minimum(size, MAX_VALUE) + MAX_VALUE] + further * (size // MAX_VALUE)
                    before = before + size
                dy, dx = option + expected + steady - wanted[r][:, y, x]
                hyy, hyx, hxx = (h[y, x] for h in hessians[r])
                total[k] += hyy * dy * dy + 2 * hyx * dy * dx + hxx * dx * dx
            cost += float(total.min(0).sum())
            chosen = np.take_along_axis(options, total.argmin(0)[None, None], 0)[0]
            out[r][:, y, x] = chosen + expected
            final[r][:, y, x] = chosen + expected + steady
            so_far = so_far + np.abs(chosen).sum(0)
    return cost, final
