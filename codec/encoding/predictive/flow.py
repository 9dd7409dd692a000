"""Where a frame's motion may begin to be looked for: optical flow from frame to frame, and translations of its parts.

Flow is DIS (Kroeger et al., 2016), followed along the frames between two; a translation is what phase correlation finds
in tiles, as text that scrolls has.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import cv2
import numpy as np
from numpy.typing import NDArray

from codec.network.predictive.motion import CELL, UNITS, motion_size

Plane = NDArray[np.float32]  # [H, W]
Field = NDArray[np.int64]  # [2, rows, columns], (y, x) in quarter pixels

TILE = 128  # pixels, of a frame's parts whose translation is looked for
CLEAR = 0.1  # of a phase correlation's peak: less says nothing
TRANSLATIONS = 6  # tried, at most


@contextmanager
def one_thread() -> Iterator[None]:
    """OpenCV's optical flow depends on its number of threads; what is encoded shall not."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


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
        """Motion of a frame to a reference, as `motion_search.search` takes it."""
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
            found = dense(self._planes[frame], self._planes[frame + way])
            rows, columns = (math.ceil(n / self.STEP) for n in found.shape[:2])
            small = cv2.resize(found, (columns, rows), interpolation=cv2.INTER_AREA)
            self._found[frame, way] = small.astype(np.float32, copy=False)
        return self._found[frame, way]


def dense(target: Plane, reference: Plane, preset: int = cv2.DISOPTICAL_FLOW_PRESET_FAST) -> NDArray[np.float32]:
    """Flow at every pixel, however far frames lie apart: [H, W, 2], (x, y) in pixels. preset: of OpenCV's DIS."""
    method = cv2.DISOpticalFlow.create(preset)
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


def straight(target: Plane, reference: Plane) -> Field:
    """Flow from one frame to another, as far as they may lie apart."""
    return _to_cells(dense(target, reference), target.shape)


def translations(target: Plane, reference: Plane) -> list[tuple[float, float]]:
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
