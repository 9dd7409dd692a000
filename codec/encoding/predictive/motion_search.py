"""Motion of a frame to its references: found, refined on the grid that is sent, rounded where it pays.

1. Cell by cell, whichever shows it best: standing still, optical flow from frame to frame (DIS, Kroeger et al., 2016)
   followed along the frames between, or flow straight to the reference.
2. Gauss-Newton steps move the vectors of both references together, so that the mean of what they show fits the frame
   (Lucas and Kanade, 1981, on the control points of a bilinear field as Szeliski and Coughlan, 1997), with a pull
   towards the neighbours for the bits that differences cost.
3. In the order of coding, each vector is rounded to the candidate of least squared error x lambda + bits, errors taken
   from the quadratic model of the last step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from bitstream import bit_costs
from codec.network.predictive.motion import CELL, UNITS, interpolation, motion_size
from codec.rate.records import LARGEST_MOTION, along, expect, motion_passes, motion_rows

Plane = NDArray[np.float32]  # [H, W]
Field = NDArray[np.float32]  # [2, rows, columns], (y, x) in quarter pixels


@dataclass(frozen=True)
class SearchSettings:
    """How hard motion is looked for."""

    steps: int = 8  # of Gauss-Newton
    smoothness: float = 0.5  # bits that a quarter pixel of difference to the neighbours counts as
    largest_step: float = 4.0  # quarter pixels
    trust: float = 2.5  # of the quadratic model, where vectors are rounded
    change: float = 4.0  # bits that a vector unlike the best so far is taken to cost


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


def _best(target: Plane, reference: Plane, starts: list[Field], margin: float) -> Field:
    """Cell by cell the vector that shows it best, of some fields.

    A later field's is taken only where it saves more squared error than `margin`: to differ costs bits.
    """
    height, width = target.shape
    rows, columns = starts[0].shape[1:]
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    best: Field = starts[0].copy()
    least = np.full((rows, columns), np.inf, np.float32)
    for field in starts:
        dy, dx = (np.repeat(np.repeat(f / UNITS, CELL, 0), CELL, 1)[:height, :width] for f in field)
        shown = cv2.remap(reference, x + dx, y + dy, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        error = cv2.absdiff(shown, target)
        error = np.pad(error * error, ((0, rows * CELL - height), (0, columns * CELL - width)))
        sums = error.reshape(rows, CELL, columns, CELL).sum((1, 3))
        better = sums < least - margin
        least[better] = sums[better]
        best[:, better] = field[:, better]
    return best


def search(
    target: Plane,
    references: list[Plane],
    starts: list[list[Field]],
    ratio: float,
    lagrangian: float,
    settings: SearchSettings = SearchSettings(),
) -> NDArray[np.int16]:
    """Motion [R, 2, rows, columns] of a frame to one or two references.

    starts: for each reference, fields to begin from beside standing still and straight flow. ratio: see `code_motion`.
    """
    height, width = target.shape
    rows, columns = motion_size(height, width)
    vertical = interpolation(rows, height).numpy()  # [H, rows]
    horizontal = interpolation(columns, width).numpy()  # [W, columns]
    still = np.zeros((2, rows, columns), np.float32)
    fields = [
        _best(target, r, [still, *own, _to_cells(_dis(target, r), target.shape)], settings.change / lagrangian)
        for r, own in zip(references, starts, strict=True)
    ]
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))

    def gathered(image: Plane) -> Plane:
        return vertical.T @ image @ horizontal

    share = 1 / len(references)
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
        hessians = [
            (gathered(sy * sy), gathered(sy * sx), gathered(sx * sx)) for sy, sx in slopes
        ]  # of the squared error, halved; one reference alone
        if step == settings.steps:
            break
        for k, (sy, sx) in enumerate(slopes):
            # both references move at once: the sum of squares bounds the square of the sum
            yy, yx, xx = (share * lagrangian * h for h in hessians[k])
            gy, gx = (share * lagrangian * gathered(error * s) for s in (sy, sx))
            field = fields[k]
            expected = fields[0] * ratio if k else np.zeros_like(field)
            mean = (
                np.stack([_near(f) for f in field - expected]) + expected if k else np.stack([_near(f) for f in field])
            )
            apart = field - mean
            pull = settings.smoothness / (1 + np.abs(apart))
            a, b, c = yy + pull[0] + 1e-6, yx, xx + pull[1] + 1e-6
            ry, rx = -(gy + pull[0] * apart[0]), -(gx + pull[1] * apart[1])
            determinant = a * c - b * b
            move = np.stack(((c * ry - b * rx) / determinant, (a * rx - b * ry) / determinant))
            fields[k] = field + np.clip(move, -settings.largest_step, settings.largest_step)
    wanted = np.clip(np.stack(fields), -LARGEST_MOTION, LARGEST_MOTION)
    return _rounded(
        wanted, [tuple(settings.trust * share * share * lagrangian * h for h in hs) for hs in hessians], ratio
    )


def _near(f: Plane) -> Plane:
    """The mean of the four neighbours, edges repeated."""
    p = np.pad(f, 1, mode="edge")
    return np.asarray((p[1:-1, :-2] + p[1:-1, 2:] + p[:-2, 1:-1] + p[2:, 1:-1]) / 4, np.float32)


def _rounded(wanted: NDArray[np.float32], hessians: list[tuple[Plane, ...]], ratio: float) -> NDArray[np.int16]:
    """Integers for a float field, chosen in coding order."""
    costs = bit_costs()[:64]
    out = np.zeros(wanted.shape, np.int16)  # as coded: the second reference's less `along`
    final = np.zeros(wanted.shape, np.int16)
    for stage, cells, offsets in motion_passes(*wanted.shape[2:]):
        y, x = cells
        so_far = np.zeros(len(y), np.int64)
        for r in range(len(wanted)):
            steady = along(final[:1], ratio)[0][:, y, x] if r else 0
            expected, spread = expect(out[r], cells, offsets)
            best = np.rint(wanted[r][:, y, x] - steady - expected).astype(np.int64).clip(-127, 127)
            options = np.stack([best, np.zeros_like(best), best * [[1], [0]], best * [[0], [1]], best // 2])
            total = np.zeros((len(options), len(y)))
            for k, option in enumerate(options):
                before = so_far
                for axis in range(2):
                    rows = motion_rows(stage, before, spread)
                    total[k] += costs[rows, option[axis] + 127]
                    before = before + np.abs(option[axis])
                dy, dx = option + expected + steady - wanted[r][:, y, x]
                hyy, hyx, hxx = (h[y, x] for h in hessians[r])
                total[k] += hyy * dy * dy + 2 * hyx * dy * dx + hxx * dx * dx
            chosen = np.take_along_axis(options, total.argmin(0)[None, None], 0)[0]
            out[r][:, y, x] = chosen + expected
            final[r][:, y, x] = chosen + expected + steady
            so_far = so_far + np.abs(chosen).sum(0)
    return final
