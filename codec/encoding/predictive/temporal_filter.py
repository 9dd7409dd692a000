"""What frames are coded towards that others are made from: themselves, averaged along the motion with frames around.

Noise, and whatever else one frame alone shows, takes bits there and is of no use to the frames made from it: they would
have to take it out again. (Enhorn, Sjoberg and Wennersten, "A temporal pre-filter for video coding based on bilateral
filtering", ICIP 2020: there, too, by encoders alone.)

It is of harm where motion cannot be followed, and where things are drawn and not filmed; so it is tried (`coder`).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from codec.encoding.predictive.flow import Plane, dense
from codec.encoding.predictive.gop import Planned
from codec.network.predictive.quality import lagrangian

Frame = NDArray[np.uint8]  # RGB [H, W, 3]

CACHED = 64  # filtered frames: key frames and anchors of one structure are often those of another
FLOWS = 2**28  # bytes of motion that are kept, as it is the same at all qualities and strengths
FINE = 32  # of a pixel: what `cv2.remap` tells apart


@dataclass(frozen=True)
class FilterSettings:
    """How much of the frames around a frame takes; measured on whole clips: docs/log.md."""

    # by level of the frame: how many frames on either side, and what each counts, 1 for the frame itself
    levels: tuple[tuple[int, float], ...] = ((8, 1.0), (8, 1.0), (4, 0.6), (2, 0.3))
    spread: float = 0.9  # variance of differences at which pixels still count, at lambda 1
    fall: float = 1.3  # by which power of lambda it falls: 505 at quality 36, 31 at 50
    most: float = 4000.0  # of it: what differs by more is something else, however little a frame is worth
    trust: float = 0.1  # of that: of the difference that three quarters of a frame keep to, at which it counts at all
    window: int = 5  # pixels, the side of the squares in which differences are averaged


class TemporalFilter:
    """Filters the frames of a segment."""

    def __init__(
        self,
        frames: NDArray[np.uint8],
        planes: Sequence[Plane],
        cuts: Sequence[int],
        settings: FilterSettings = FilterSettings(),
    ) -> None:
        """frames: RGB [T, H, W, 3]; planes: their luma; cuts: first frames of scenes, which are kept apart."""
        self._frames, self._planes, self._settings = frames, planes, settings
        self._scenes = sorted({0, *cuts, len(frames)})
        self._averaged = lru_cache(CACHED)(self._average)
        self._flow = lru_cache(max(1, FLOWS // (4 * planes[0].size)))(self._find_flow)

    def __call__(self, planned: Planned, quality: float, strength: float = 1.0) -> Frame:
        """What a frame is coded towards at a quality: itself, but at the levels, if anything is made from it.

        strength: of the usual; 0 leaves every frame as it is.
        """
        levels = self._settings.levels
        last = planned.level > 1 and all(abs(r - planned.number) == 1 for r in planned.references)
        if last or planned.level >= len(levels) or not strength:
            return self._frames[planned.number]
        variance = min(self._settings.spread * lagrangian(quality) ** -self._settings.fall, self._settings.most)
        return self._averaged(planned.number, *levels[planned.level], strength * variance)

    def _average(self, number: int, reach: int, share: float, variance: float) -> Frame:
        scene = bisect_right(self._scenes, number)
        first, stop = self._scenes[scene - 1 : scene + 1]
        frame = self._frames[number].astype(np.float32)
        total, weights = frame.copy(), np.ones(frame.shape[:2], np.float32)
        for other in range(max(number - reach, first), min(number + reach + 1, stop)):
            if other != number:
                moved = self._moved(number, other)
                difference = self._difference(frame, moved)
                trust = np.exp(np.percentile(difference, 75) / (-2 * self._settings.trust * variance))
                weight = float(share * trust) * np.exp(difference / (-2 * variance))
                total += weight[..., None] * moved
                weights += weight
        return np.rint(total / weights[..., None]).clip(0, 255).astype(np.uint8)

    def _moved(self, number: int, other: int) -> NDArray[np.float32]:
        """What another frame shows where the motion of this one leads."""
        x, y = cv2.split(self._flow(number, other).astype(np.float32) / FINE)
        rows, columns = np.indices(x.shape, np.float32)
        pixels = self._frames[other].astype(np.float32)
        moved = cv2.remap(pixels, columns + x, rows + y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(moved, np.float32)

    def _find_flow(self, number: int, other: int) -> NDArray[np.int16]:
        """Motion of a frame to another, [H, W, 2] (x, y), in units of a pixel / `FINE`."""
        found = dense(self._planes[number], self._planes[other], cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        return np.rint(FINE * found).clip(-(2**15), 2**15 - 1).astype(np.int16)

    def _difference(self, a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
        """Mean squared differences around each pixel: [H, W, 3] -> [H, W]."""
        window = (self._settings.window, self._settings.window)
        return np.asarray(cv2.blur(np.square(a - b).mean(-1), window), np.float32)
