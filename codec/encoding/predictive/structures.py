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
LOG_BYTES_PER_DB = 0.25  # at which sizes at different PSNR are compared: 0.18 to 0.33 on eight clips (docs/log.md)


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

    @property
    def likely(self) -> int:
        """Frames that `best` will encode, as far as can be told."""
        trials = min(len(self.left), LIKELY) + len(self._drops) - 1
        found = self._begun * len(self._filters) if len(self._filters) > 1 else 0
        found += trials * self._part if trials > 1 else 0
        return found + (self._frames if trials == 1 or self._part < self._frames else 0)

    def best(self, quality: float, encode: Encode) -> Try:
        """The segment at a quality, in whichever structure takes the fewest bytes for its PSNR.

        They are compared at the first quality asked for, on as many frames as show what each is worth: with the
        temporal filter and without it, then distances of anchors, from the middle one to where they get no better, then
        likewise what levels differ by.
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
        if len(self.left) > 1:
            self.left = [least(self.left, cost)]
        if len(self._drops) > 1:
            self.left = [least([replace(self.left[0], drop=drop) for drop in self._drops], cost)]
            self._drops = self._drops[:1]
        [structure] = self.left
        if structure in done and len(done[structure].frames) == self._frames:
            return done[structure]
        return encode(quality, structure, self._frames)

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
        return math.log(self.expected(part)) - LOG_BYTES_PER_DB * part.psnr


def behind(part: Try, best: Try) -> bool:
    """Whether a part of the frames is so far behind the same frames of another try that it is given up."""
    numbers = {e.coded.number for e in part.frames}
    same = replace(best, frames=[e for e in best.frames if e.coded.number in numbers])
    far = math.log(part.record_bytes / same.record_bytes) - LOG_BYTES_PER_DB * (part.psnr - same.psnr)
    return far > GIVEN_UP
