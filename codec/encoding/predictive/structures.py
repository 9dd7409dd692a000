"""The structure of a segment, chosen by encoding frames of it: distance of anchors, levels, temporal filter."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from bitstream import QUALITIES
from codec.encoding.predictive.choices import CLOSE_BY, least
from codec.encoding.predictive.gop import GopSettings, Planned, order
from codec.encoding.predictive.tries import Try
from codec.settings import PredictiveSettings

LIKELY = 3  # options that are tried of several
GIVEN_UP = 0.06  # of log bytes behind the best, half way, at which a structure is given up
APART = 7.0  # quality indices below and above, at which frames are encoded to see what a dB takes
SLOPES = (0.15, 0.5)  # log bytes a dB: least and most that are believed; 0.18 to 0.40 on eight clips (docs/log.md)
USUAL_SLOPE = 0.25  # where nothing is measured


class Encode(Protocol):
    """Encodes the first frames of a segment, or fewer where these are far behind those of the best so far."""

    def __call__(self, quality: float, structure: GopSettings, count: int, best: Try | None = None) -> Try: ...


@dataclass(frozen=True)
class Candidates:
    """What a field of the structure may be, in rising order."""

    name: str
    options: Sequence[float]
    frames: int  # on which they are compared
    close: float = 0.0  # see `least`


class Structures:
    """What is left to choose from, for a segment of so many frames."""

    def __init__(self, model: PredictiveSettings, frames: int, cuts: Sequence[int]) -> None:
        """cuts: first frames of scenes."""
        self._frames, self._cuts = frames, cuts
        self._curve_frames, begun, part = (min(frames, most or frames) for most in model.trial)
        choices = (
            Candidates("temporal_filter", _shares(model.temporal_filter), begun),
            Candidates("anchor", sorted(model.anchor), part, CLOSE_BY if part < frames else 0.0),
            Candidates("drop", _shares(model.level_drop), part),
        )
        middle: dict[str, Any] = {choice.name: choice.options[len(choice.options) // 2] for choice in choices}
        self.structure = GopSettings(keyint=model.keyint, **middle)  # the best, as far as is known
        # log bytes a dB, at which sizes at different PSNR are compared: below that of the first structure, and above
        self.slopes, self._around = (USUAL_SLOPE, USUAL_SLOPE), 0.0
        self._both = self._curve_frames == part  # there is time to measure either
        self._left = [choice for choice in choices if len(choice.options) > 1]

    @property
    def likely(self) -> int:
        """Frames that `best` will encode, as far as can be told."""
        known = self._curve_frames if self._left else 0  # first frames that are encoded in the best structure so far
        found = (3 if self._both else 2) * known
        for choice in self._left:
            tries = min(len(choice.options), LIKELY) - (choice.frames == known)
            known, found = choice.frames, found + tries * choice.frames
        return found + (self._frames if known != self._frames else 0)

    def best(self, quality: float, encode: Encode) -> Try:
        """The segment at a quality, in whichever structure takes the fewest bytes for its PSNR.

        They are compared at the first quality asked for, on as many frames as show what each is worth, by what a dB
        takes in this segment: strengths of the temporal filter, then distances of anchors, then what levels differ by,
        each from the middle one to where they get no better. What a dB takes falls as quality rises, and structures may
        lie two dB apart: where there is time for it, it is measured on either side.
        """
        done: dict[tuple[GopSettings, int], Try] = {}

        def tried(structure: GopSettings, count: int) -> Try:
            if (structure, count) not in done:
                whole = [found for (_, frames), found in done.items() if frames == count == len(found.frames)]
                done[structure, count] = encode(quality, structure, count, min(whole, key=self.cost, default=None))
            return done[structure, count]

        if self._left:
            found = tried(self.structure, self._curve_frames)
            low, high = max(quality - APART, 0.0), min(quality + APART, QUALITIES - 1.0)
            below = self._slope(encode(low, self.structure, self._curve_frames), found)
            above = self._slope(found, encode(high, self.structure, self._curve_frames)) if self._both else below
            self.slopes, self._around = (below, above), found.psnr
        for choice in self._left:

            def cost(structure: GopSettings, count: int = choice.frames) -> float:
                found = tried(structure, count)
                return self.cost(found) if len(found.frames) == count else math.inf

            options: list[dict[str, Any]] = [{choice.name: option} for option in choice.options]
            self.structure = least([replace(self.structure, **option) for option in options], cost, choice.close)
        self._left = []
        return tried(self.structure, self._frames)

    def _slope(self, low: Try, high: Try) -> float:
        """What a dB takes from one quality to a higher one, in log bytes."""
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
        return _log(self.expected(part)) - self._worth(part.psnr)

    def _worth(self, psnr: float) -> float:
        """Log bytes that the first structure would take for a PSNR, less those that it took."""
        below, above = self.slopes
        return below * min(psnr - self._around, 0.0) + above * max(psnr - self._around, 0.0)

    def behind(self, part: Try, best: Try) -> bool:
        """Whether a part of the frames is so far behind the same frames of another try that it is given up."""
        numbers = {e.coded.number for e in part.frames}
        same = replace(best, frames=[e for e in best.frames if e.coded.number in numbers])
        far = _log(part.record_bytes) - _log(same.record_bytes) - self._worth(part.psnr) + self._worth(same.psnr)
        return far > GIVEN_UP


def _shares(percents: Sequence[int]) -> list[float]:
    return [percent / 100 for percent in sorted(percents)]


def _log(size: float) -> float:
    """Log bytes, of a byte at least: all frames of a segment may be empty."""
    return math.log(max(size, 1.0))
