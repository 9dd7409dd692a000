"""In which order frames are coded, from which they are predicted, and how good each is to be."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from bitstream import MAX_DEPTH, QUALITIES

# Quality indices below the one asked for, of key frames, anchors and the levels between them: a bit in a frame that
# others are made from improves all of those (measured on whole clips: docs/log.md).
DROPS = (3, 9, 15, 20, 24, 27, 29, 30, 31)
TOP = 9.0  # indices below the highest quality within which these shrink to nothing: there every frame is to be exact
REPEATED = 0.5  # mean squared difference of luma below which a frame repeats another
CUT_CHANGE = 12.0  # mean absolute difference that a cut has at least, of 0..255, on pictures of 32 pixels' height
CUT_RATIO = 4.0  # and how often as large as its neighbours' differences


@dataclass(frozen=True)
class GopSettings:
    """The structure of a segment. Raises ValueError for chains of references longer than a reader takes."""

    anchor: int = 8  # frames between anchors, a power of two
    keyint: int = 250  # most frames from one key frame to the next
    drop: float = 1.0  # share of `DROPS` that levels differ by
    temporal_filter: float = 1.0  # how strongly frames that others are made from are averaged with those around

    @property
    def reach(self) -> int:
        """Most frames from one key frame to the next whose chains a reader takes."""
        halvings = self.anchor.bit_length() - 1
        return self.anchor * (MAX_DEPTH - 1 - halvings) + 1

    def wanted(self, quality: float, planned: Planned) -> float:
        """Quality of a frame, in a segment of one, as a real number: what its errors weigh against bits."""
        drop = self.drop * DROPS[planned.level] * min(1.0, (QUALITIES - 1 - quality) / TOP)
        return max(quality - drop, 0.0)

    def quality(self, quality: float, planned: Planned) -> int:
        """Quality index of a frame: `wanted` rounded up or down, so that the mean over frames is as asked."""
        dither = (planned.number * 0.6180339887498949) % 1.0  # evenly spread, whatever the structure
        return int(np.clip(np.floor(self.wanted(quality, planned) + dither), 0, QUALITIES - 1))


@dataclass(frozen=True)
class Planned:
    """One frame to be coded."""

    number: int
    references: tuple[int, ...]
    level: int  # 0 key frames, 1 anchors, 2.. halving the gaps


def needed(planned: Planned, planes: Sequence[NDArray[np.float32]]) -> tuple[int, ...]:
    """Its references, or the one alone that it repeats: the other would only show what is not there.

    planes: luma of all frames, float32 [H, W] each.
    """
    if len(planned.references) < 2:
        return planned.references
    change = [float(np.square(planes[r] - planes[planned.number]).mean()) for r in planned.references]
    nearest = int(np.argmin(change))
    return (planned.references[nearest],) if change[nearest] < REPEATED < max(change) else planned.references


def lineages(planned: Iterable[Planned]) -> dict[int, str]:
    """A name for each frame, by number, that tells how it is made and how all are that it is made from.

    planned: in coding order. The first frames of a segment may be planned otherwise than those of all of it.
    """
    found: dict[int, str] = {}
    for item in planned:
        made = f"{item.number} {item.level} {[(r, found[r]) for r in item.references]}"
        found[item.number] = blake2b(made.encode(), digest_size=8).hexdigest()
    return found


def order(frames: int, settings: GopSettings, cuts: Sequence[int] = ()) -> list[list[Planned]]:
    """Frames 0..frames-1 in coding order, in groups whose frames do not refer to each other.

    cuts: first frames of scenes, which become key frames.
    """
    groups: list[list[Planned]] = []
    starts = sorted({0, *cuts})
    longest = min(settings.keyint, settings.reach)
    for start, stop in zip(starts, [*starts[1:], frames], strict=True):
        for first in range(start, stop, longest):
            groups += _scene(first, min(first + longest, stop), settings.anchor)
    return groups


def _scene(start: int, stop: int, anchor: int) -> list[list[Planned]]:
    """From a key frame to the last frame before the next; the last anchor may stand nearer."""
    groups = [[Planned(start, (), 0)]]
    left = start
    while left < stop - 1:
        right = min(left + anchor, stop - 1)
        groups.append([Planned(right, (left,), 1)])
        spans, level = [(left, right)], 2
        while spans := [(a, b) for a, b in spans if b - a > 1]:
            groups.append([Planned((a + b) // 2, (a, b), level) for a, b in spans])
            spans, level = [s for a, b in spans for s in ((a, (a + b) // 2), ((a + b) // 2, b))], level + 1
        left = right
    return groups


def scene_cuts(planes: Sequence[NDArray[np.float32]]) -> tuple[int, ...]:
    """Frames that begin a scene: they differ from the one before far more than frames around them do.

    planes: luma, float32 [H, W] each.
    """
    height, width = planes[0].shape
    size = (max(1, min(width, round(32 * width / height))), min(32, height))
    small = [cv2.resize(p, size, interpolation=cv2.INTER_AREA) for p in planes]
    changes = np.array([0.0] + [float(np.abs(a - b).mean()) for a, b in pairwise(small)])
    found = []
    for t in np.flatnonzero(changes > CUT_CHANGE):
        near = np.concatenate((changes[max(1, t - 3) : t], changes[t + 1 : t + 4]))
        if not len(near) or changes[t] > CUT_RATIO * np.median(near):
            found.append(int(t))
    return tuple(found)
