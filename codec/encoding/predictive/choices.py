"""Choices that are made by encoding a segment again: of a structure, and of the quality that meets a target."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeVar

from codec.encoding.predictive.tries import Try
from codec.training.task import Warn

Option = TypeVar("Option")

LOWEST, HIGHEST = 0.0, 63.0  # quality
NEAR, AIM = 0.96, 0.98  # of the size asked for: near enough, and what is aimed at
CLOSE = 0.05  # dB over the PSNR asked for, likewise
RESOLUTION = 0.05  # quality indices
TRIES = 10
CLOSE_BY = 0.05  # of log bytes, by which anchors may be behind: see `least`


def least(options: Sequence[Option], cost: Callable[[Option], float], close: float = 0.0) -> Option:
    """The option of least cost, of a row in which it falls to one and rises from it: tried from the middle one on.

    close: where the next is no further behind, the least lies between: then what is before the middle one is not tried.
    """
    place = len(options) // 2
    known = {place: cost(options[place])}

    def at(n: int) -> float:
        if n not in known:
            known[n] = cost(options[n]) if 0 <= n < len(options) else math.inf
        return known[n]

    way = 1 if at(place + 1) < at(place) + close else -1
    while at(place + way) < at(place):
        place += way
    return options[place]


def search_quality(
    attempt: Callable[[float], Try], quality: float, size: float | None, psnr: float | None, warn: Warn
) -> Try:
    """The largest segment within a size, the smallest that reaches a PSNR, or else the one at a quality.

    The logarithm of the size and the PSNR rise nearly evenly with the quality: each try is where the line through the
    nearest ones, on either side of the goal if there are, meets it; every third halves what the tries so far have left.
    """
    if size is None and psnr is None:
        return attempt(quality)
    goal = math.log(size * AIM) if size is not None else float(psnr or 0) + CLOSE / 2
    slope = 0.08 if size is not None else 0.45  # per index, to begin with

    def value(found: Try) -> float:
        return math.log(found.size) if size is not None else found.psnr

    def fits(found: Try) -> bool:
        return found.size <= size if size is not None else found.psnr >= float(psnr or 0)

    def near(found: Try) -> bool:
        return fits(found) and (
            found.size >= NEAR * size if size is not None else found.psnr <= float(psnr or 0) + CLOSE
        )

    low, high, tries = LOWEST, HIGHEST, [attempt(quality)]
    while len(tries) < TRIES and not near(tries[-1]):
        below = [t for t in tries if value(t) <= goal]
        above = [t for t in tries if value(t) > goal]
        low = max((t.quality for t in below), default=LOWEST)
        high = min((t.quality for t in above), default=HIGHEST)
        ends = sorted(tries, key=lambda t: abs(value(t) - goal))[:2]
        if below and above:
            ends = [max(below, key=value), min(above, key=value)]
        if len(ends) > 1 and (apart := ends[0].quality - ends[1].quality):
            slope = max((value(ends[0]) - value(ends[1])) / apart, slope / 4)
        wanted = ends[0].quality + (goal - value(ends[0])) / slope
        if len(tries) % 3 == 0:  # a line may creep towards the goal from one side: halve what is left
            wanted = (low + high) / 2
        inside = min(max(wanted, low + RESOLUTION), high - RESOLUTION)
        # an end of the range is worth a try of its own, and only one
        if wanted <= LOWEST or wanted >= HIGHEST:
            inside = LOWEST if wanted <= LOWEST else HIGHEST
        if high - low < 2 * RESOLUTION or any(abs(t.quality - inside) < RESOLUTION / 2 for t in tries):
            break
        tries.append(attempt(inside))
    if fitting := [t for t in tries if fits(t)]:
        return max(fitting, key=lambda t: t.size) if size is not None else min(fitting, key=lambda t: t.size)
    if size is not None:
        best = min(tries, key=lambda t: t.size)
        warn(f"{best.size:,} bytes are the fewest that this can be coded in, {round(size):,} were asked for")
    else:
        best = max(tries, key=lambda t: t.psnr)
        warn(f"{best.psnr:.2f} dB are the most that this can be coded at, {psnr:g} were asked for")
    return best
