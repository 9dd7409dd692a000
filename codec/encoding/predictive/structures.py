"""The structure of a segment, chosen by encoding its first frames: distance of anchors, levels, temporal filter."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np

from codec.encoding.predictive.choices import least
from codec.encoding.predictive.gop import GopSettings, Planned, order
from codec.encoding.predictive.tries import Try
from codec.settings import PredictiveSettings

FILTER_TRIAL = 33  # frames on which the temporal filter shows whether it helps
TRIAL = 65  # frames on which structures are compared; fewer hold too few groups of anchors 16 apart
LIKELY = 3  # distances of anchors that are tried of several
GIVEN_UP = 0.06  # of log bytes behind the best, half way, at which a structure is given up
SLOPE_TRIAL = 17  # frames that show what a dB takes
LOWER = 7.0  # quality indices below, at which they are encoded for that
SLOPES = (0.15, 0.5)  # log bytes a dB: least and most that are believed; 0.18 to 0.40 on eight clips (docs/log.md)
USUAL_SLOPE = 0.25  # where nothing is measured


class Encode(Protocol):
    """Encodes the first frames of a segment, or fewer where these are far behind those of the best so far."""

    def __call__(self, quality: float, structure: GopSettings, count: int, best: Try | None = None) -> Try: ...


class Structures:
    """What is left to choose from, for a segment of so many frames."""

    def __init__(self, model: PredictiveSettings, frames: int, cuts: Sequence[int]) -> None:
        """cuts: first frames of scenes."""
        self._frames, self._cuts = frames, cuts
        self._part, self._begun = min(frames, TRIAL), min(frames, FILTER_TRIAL)
        self._drops = [percent / 100 for percent in sorted(model.level_drop)]
        self._filters = {"auto": [True, False], "on": [True], "off": [False]}[model.temporal_filter]
        drop, filtered = self._drops[len(self._drops) // 2], self._filters[0]
        self.left = [GopSettings(anchor, model.keyint, drop, filtered) for anchor in sorted(model.anchor)]
        self.slope = USUAL_SLOPE  # log bytes a dB, at which sizes at different PSNR are compared

    @property
    def likely(self) -> int:
        """Frames that `best` will encode, as far as can be told."""
        trials = min(len(self.left), LIKELY) + len(self._drops) - 1
        found = self._begun * len(self._filters) if len(self._filters) > 1 else 0
        found += trials * self._part + 2 * min(self._frames, SLOPE_TRIAL) if trials > 1 else 0
        return found + (self._frames if trials == 1 or self._part < self._frames else 0)

    def best(self, quality: float, encode: Encode) -> Try:
        """The segment at a quality, in whichever structure takes the fewest bytes for its PSNR.

        They are compared at the first quality asked for, on as many frames as show what each is worth: with the
        temporal filter and without it, then, by what a dB takes in this segment, distances of anchors, from the middle
        one to where they get no better, then likewise what levels differ by.
        """
        done: dict[GopSettings, Try] = {}

        def cost(structure: GopSettings) -> float:
            if structure not in done:
                whole = [found for found in done.values() if len(found.frames) == self._part]
                done[structure] = encode(quality, structure, self._part, min(whole, key=self.cost, default=None))
            found = done[structure]
            return self.cost(found) if len(found.frames) == self._part else math.inf

        if len(self._filters) > 1:
            middle = self.left[len(self.left) // 2]
            tries = [encode(quality, replace(middle, filtered=filtered), self._begun) for filtered in self._filters]
            done |= {found.structure: found for found in tries if self._begun == self._part}
            self._filters = [min(tries, key=self.cost).structure.filtered]
            self.left = [replace(structure, filtered=self._filters[0]) for structure in self.left]
        if len(self.left) > 1 or len(self._drops) > 1:
            self.slope = self._measured_slope(quality, encode)
        if len(self.left) > 1:
            self.left = [least(self.left, cost)]
        if len(self._drops) > 1:
            self.left = [least([replace(self.left[0], drop=drop) for drop in self._drops], cost)]
            self._drops = self._drops[:1]
        [structure] = self.left
        if structure in done and len(done[structure].frames) == self._frames:
            return done[structure]
        return encode(quality, structure, self._frames)

    def _measured_slope(self, quality: float, encode: Encode) -> float:
        """What a dB takes near a quality, in log bytes: of the first frames, in the middle structure."""
        middle, count = self.left[len(self.left) // 2], min(self._frames, SLOPE_TRIAL)
        high, low = (encode(q, middle, count) for q in (quality, max(quality - LOWER, 0.0)))
        if high.psnr - low.psnr < 0.1:  # too near each other to tell
            return USUAL_SLOPE
        slope = (_log(self.expected(high)) - _log(self.expected(low))) / (high.psnr - low.psnr)
        return min(max(slope, SLOPES[0]), SLOPES[1])

    def order(self, structure: GopSettings, count: int) -> list[list[Planned]]:
        """The first `count` frames, in groups in coding order."""
        return order(count, structure, [cut for cut in self._cuts if cut < count])

    def expected(self, part: Try) -> float:
        """Bytes of the whole segment by those of its first frames; the nearer the anchors, the more key frames."""
        key: list[int] = []
        other: list[int] = []
        for e in part.frames:
            (other if e.coded.references else key).append(len(e.coded.record))
        items = [item for group in self.order(part.structure, self._frames) for item in group]
        keys = sum(not item.references for item in items)
        return float(np.mean(key)) * keys + (float(np.mean(other)) * (len(items) - keys) if other else 0.0)

    def cost(self, part: Try) -> float:
        """What structures are compared by: log bytes, at like PSNR."""
        return _log(self.expected(part)) - self.slope * part.psnr

    def behind(self, part: Try, best: Try) -> bool:
        """Whether a part of the frames is so far behind the same frames of another try that it is given up."""
        numbers = {e.coded.number for e in part.frames}
        same = replace(best, frames=[e for e in best.frames if e.coded.number in numbers])
        far = _log(part.record_bytes) - _log(same.record_bytes) - self.slope * (part.psnr - same.psnr)
        return far > GIVEN_UP


def _log(size: float) -> float:
    """Log bytes, of a byte at least: all frames of a segment may be empty."""
    return math.log(max(size, 1.0))
