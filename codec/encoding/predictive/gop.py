"""In which order frames are coded, from which they are predicted, and how good each is to be."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class GopSettings:
    """The structure of a segment."""

    anchor: int = 8  # frames between anchors, a power of two
    keyint: int = 96  # most frames from one key frame to the next
    drops: tuple[float, ...] = (7, 11, 14, 17, 20)  # quality indices below the key frame: anchors, then by level


@dataclass(frozen=True)
class Planned:
    """One frame to be coded."""

    number: int
    references: tuple[int, ...]
    level: int  # 0 key frames, 1 anchors, 2.. halving the gaps


def plan(frames: int, settings: GopSettings, cuts: tuple[int, ...] = ()) -> list[list[Planned]]:
    """Frames 0..frames-1 in coding order, in groups whose frames do not refer to each other.

    cuts: first frames of scenes, which become key frames.
    """
    keys = {0, *cuts}
    order: list[list[Planned]] = []
    starts = sorted(keys)
    for start, stop in zip(starts, [*starts[1:], frames], strict=True):
        for first in range(start, stop, settings.keyint):
            order += _scene(first, min(first + settings.keyint, stop), settings.anchor)
    return order


def _scene(start: int, stop: int, anchor: int) -> list[list[Planned]]:
    """From a key frame to the last frame before the next; the last anchor may stand nearer."""
    groups = [[Planned(start, (), 0)]]
    left = start
    while left < stop - 1:
        right = min(left + anchor, stop - 1)
        groups.append([Planned(right, (left,), 1)])
        spans, level = [(left, right)], 2
        while spans := [(a, b) for a, b in spans if b - a > 1]:
            middles = [(a, (a + b) // 2, b) for a, b in spans]
            groups.append([Planned(m, (a, b), level) for a, m, b in middles])
            spans, level = [s for a, m, b in middles for s in ((a, m), (m, b))], level + 1
        left = right
    return groups
