"""Motion as it is best coded: squares of blocks, split where that pays, each with that of least error x lambda + bits.

Squares are settled in the order of coding, counted to the bit: a square is tried with the motion of each of its
candidates, then with motion of its own; then its four parts are settled, and the cheaper of both stays (the choice of
High Efficiency Video Coding's reference encoder: Sullivan et al., 2012, section V). Asked for, once more with what
came out, where a square then also knows of those after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from codec.encoding.predictive.block_match import Blocks, Phases, Shown, Worth, around, block_error, place_of
from codec.encoding.predictive.compiled import compiled
from codec.encoding.predictive.motion_bits import (
    DEAREST,
    VALUES,
    Coding,
    Fields,
    Motion,
    along,
    coding_of,
    go_beyond,
    own_bits,
)
from codec.network.predictive.symbols import Integers
from codec.rate.carried import LARGEST_MOTION
from codec.rate.merging import CANDIDATES
from codec.rate.motion import MOTION_ROWS
from codec.rate.squares import SIZES

SMALLEST = len(SIZES) - 1  # level
STEPS = (2, 1)  # quarter pixels, that motion of its own is moved by
WORTH_TRYING = 6.0  # bits: where an error counts less, neither parts nor motion of its own can pay
SWEEPS = 2  # as many bring anything
# Where a square of each level looks up what is suggested: in its quarters and its middle, then below and right of it
_SPOTS = (
    ((1, 1), (1, 5), (5, 1), (5, 5), (4, 4), (8, 4), (4, 8)),
    ((0, 0), (0, 2), (2, 0), (2, 2), (1, 1), (4, 2), (2, 4)),
    ((0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (0, 2)),
    ((0, 0), (1, 0), (0, 1)),
)
_PLACES = np.cumsum([0, *(len(spots) for spots in _SPOTS)])
_DOWN, _ACROSS = (np.array([spot[axis] for spots in _SPOTS for spot in spots]) for axis in (0, 1))


class Picture(NamedTuple):
    """What motion is to show, and of what."""

    first: Phases
    second: Phases  # the first again where there is one reference
    wanted: Blocks
    lagrangian: np.float32
    most: np.float32  # see `Worth`


class Work(NamedTuple):
    """What is settled so far, and room to work in."""

    motion: Fields
    known: NDArray[np.bool_]  # [rows, columns]
    candidates: NDArray[np.int64]  # [CANDIDATES + 1, 5]
    beyond: NDArray[np.int64]  # [CANDIDATES, 2]; see `go_beyond`
    best: NDArray[np.int64]  # [levels, 5]
    trial: Motion
    stack: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]
    # of the square that is open at each level: its top and left, which part is being settled, cost whole and in parts
    later: int  # which of what is suggested came out before: it is looked up beyond a square, too; -1 for none


def settle(
    wanted: Blocks,
    references: Sequence[Shown],
    suggested: Sequence[Fields],
    ratio: float,
    worth: Worth,
    carried: Integers | None,
    sweeps: int = SWEEPS,
) -> tuple[Integers, Integers, float]:
    """Motion of blocks [rows, columns, ...] to one or two references, out of what is suggested and what lies near.

    ratio, carried: of `code_motion`. sweeps: times that all squares are settled. -> motion [R, 2, rows, columns], sides
    [R - 1, rows, columns], and what errors and motion are worth together, in bits.
    """
    size, two = wanted.shape[:2], len(references) - 1
    picture = Picture(
        references[0].phases, references[-1].phases, wanted, np.float32(worth.lagrangian), np.float32(worth.most)
    )
    coding = coding_of(MOTION_ROWS, two, ratio, carried, (size[0], size[1]))
    work = Work(
        np.zeros((*size, VALUES), np.int64),
        np.zeros(size, np.bool_),
        np.zeros((CANDIDATES + 1, VALUES), np.int64),
        np.zeros((CANDIDATES, 2), np.int64),
        np.zeros((len(SIZES), VALUES), np.int64),
        np.zeros(VALUES, np.int64),
        (*np.zeros((3, len(SIZES)), np.int64), *np.zeros((2, len(SIZES)))),
        -1,
    )
    fields, cost = np.stack(suggested), 0.0
    for sweep in range(sweeps):
        if sweep:
            fields = np.stack((*suggested, work.motion))
            work = work._replace(later=len(suggested))
        cost = _sweep(picture, coding, work, fields)
    values = work.motion.transpose(2, 0, 1).astype(np.int16)
    return values[: 2 * two + 2].reshape(two + 1, 2, *size), values[4 : 4 + two], cost


@compiled
def _sweep(picture: Picture, coding: Coding, work: Work, suggested: NDArray[np.int64]) -> float:
    """Settle all squares. -> what they cost."""
    rows, columns = work.known.shape
    work.known[:] = False
    cost = 0.0
    for y in range(0, rows, SIZES[0]):
        for x in range(0, columns, SIZES[0]):
            cost += _square(picture, coding, work, suggested, y, x)
    return cost


@compiled
def _square(picture: Picture, coding: Coding, work: Work, suggested: NDArray[np.int64], y: int, x: int) -> float:
    """Settle a square of the largest, whole or in parts. -> what it costs.

    Without recursion, which numba does not keep for later processes: each level has its open square, what that costs
    whole, what its parts do so far, and which of them is being settled.
    """
    rows, columns = work.known.shape
    tops, lefts, part, whole, parts = work.stack
    tops[0], lefts[0], level = y, x, 0
    while True:
        y, x = tops[level], lefts[level]
        cost, error = _leaf(picture, coding, work, suggested, y, x, level)
        if level < SMALLEST:
            classes = coding.split[level, coding.unrest[level, y, x]]
            cost += classes[0]
            if error > WORTH_TRYING:
                whole[level], parts[level], part[level] = cost, classes[1], 0
                level += 1
                tops[level], lefts[level] = y, x
                continue
        _fill(work, y, x, level)
        while True:
            if level == 0:
                return cost
            level -= 1
            parts[level] += cost
            further = part[level] + 1
            half = SIZES[level + 1]
            while further < 4:
                v, u = tops[level] + further // 2 * half, lefts[level] + further % 2 * half
                if v < rows and u < columns:
                    break
                further += 1
            if further < 4 and parts[level] < whole[level]:
                part[level] = further
                level += 1
                tops[level], lefts[level] = v, u
                break
            cost = parts[level]
            if cost >= whole[level]:
                cost = whole[level]
                _fill(work, tops[level], lefts[level], level)


@compiled
def _fill(work: Work, y: int, x: int, level: int) -> None:
    """Let a square have the best motion of its level."""
    rows, columns = work.known.shape
    for v in range(y, min(y + SIZES[level], rows)):
        for u in range(x, min(x + SIZES[level], columns)):
            work.known[v, u] = True
            for k in range(VALUES):
                work.motion[v, u, k] = work.best[level, k]


@compiled
def _leaf(
    picture: Picture, coding: Coding, work: Work, suggested: NDArray[np.int64], y: int, x: int, level: int
) -> tuple[float, float]:
    """Find the best motion of a square as a whole, into work.best. -> (what it costs, its error's part in that)."""
    side, best, trial = SIZES[level], work.best[level], work.trial
    count = _candidates(coding, work, y, x, side)
    least, error = DEAREST, DEAREST
    for k in range(count):
        bits = coding.own[level, 0] + coding.rank[0, level, k]
        if bits < least:
            found = _error(picture, coding, work, y, x, side, work.candidates[k], least - bits)
            if bits + found < least:
                least, error = bits + found, found
                _copy(work.candidates[k], best)
    if error < WORTH_TRYING:
        return least, error
    go_beyond(coding, work.candidates, count, work.beyond)
    for n in range(len(suggested)):
        for k in range(_PLACES[level], _PLACES[level + 1]):
            v, u = y + int(_DOWN[k]), x + int(_ACROSS[k])
            if (v < y + side and u < x + side) or n == work.later:
                _copy(suggested[n, min(v, suggested.shape[1] - 1), min(u, suggested.shape[2] - 1)], trial)
                least, error = _try(picture, coding, work, y, x, level, count, least, error)
    for step in STEPS:
        for k in range(24 if coding.two and best[4] == 0 else 8):
            _copy(best, trial)
            a, b = around(k % 8)
            _shift(trial, a * step, b * step, k // 8, coding.two, coding.ratio)
            least, error = _try(picture, coding, work, y, x, level, count, least, error)
    return least, error


@compiled
def _try(
    picture: Picture,
    coding: Coding,
    work: Work,
    y: int,
    x: int,
    level: int,
    count: int,
    least: float,
    error: float,
) -> tuple[float, float]:
    """Let a square have the motion on trial, if that is better. -> what it then costs, and its error's part in that."""
    trial, best = work.trial, work.best[level]
    for k in range(4):
        if abs(trial[k]) > LARGEST_MOTION:
            return least, error
    bits = coding.own[level, 1] + own_bits(coding, trial, work.candidates, work.beyond, count, level)
    if bits < least:
        found = _error(picture, coding, work, y, x, SIZES[level], trial, least - bits)
        if bits + found < least:
            _copy(trial, best)
            return bits + found, found
    return least, error


@compiled
def _shift(motion: Motion, down: int, across: int, which: int, two: int, ratio: float) -> None:
    """Move a vector: of two that show a square together the first, the second, or the first and the other along."""
    first, second = 0, 2
    if two and motion[4] == 0 and which == 1:
        motion[second] += down
        motion[second + 1] += across
    elif two and motion[4] < 0:
        motion[second] += down
        motion[second + 1] += across
        for axis in range(2):
            motion[first + axis] = along(motion[second + axis], 1 / ratio)
    else:
        for axis in range(2):
            before = motion[first + axis]
            motion[first + axis] += across if axis else down
            if two and motion[4] > 0:
                motion[second + axis] = along(motion[first + axis], ratio)
            elif two and which == 2:
                motion[second + axis] += along(motion[first + axis], ratio) - along(before, ratio)


@compiled
def _copy(source: Motion, target: Motion) -> None:
    for k in range(VALUES):
        target[k] = source[k]


@compiled
def _candidates(coding: Coding, work: Work, y: int, x: int, side: int) -> int:
    """Put what `codec.rate.merging.put_together` offers a leaf into work.candidates. -> how many."""
    rows, columns = work.known.shape
    bottom, right = min(y + side, rows) - 1, min(x + side, columns) - 1
    count = 0
    for k in range(7):
        v, u = (bottom, y - 1, 0, y - 1, y + side, y - 1, 0)[k], (x - 1, right, 0, x + side, x - 1, x - 1, 0)[k]
        if k == 2:
            v, u = min(y + side // 2, rows - 1), min(x + side // 2, columns - 1)
            _copy(coding.going[v, u], work.candidates[count])
        elif k == 6:
            work.candidates[count] = 0
        elif 0 <= v < rows and 0 <= u < columns and work.known[v, u]:
            _copy(work.motion[v, u], work.candidates[count])
        else:
            continue
        new = True
        for n in range(count):
            same = True
            for i in range(VALUES):
                same &= work.candidates[n, i] == work.candidates[count, i]
            new &= not same
        count += new
        if count == CANDIDATES:
            break
    return count


@compiled
def _error(
    picture: Picture, coding: Coding, work: Work, y: int, x: int, side: int, motion: Motion, limit: float
) -> float:
    """What the errors of the blocks of a square are worth under its motion; some of it, where that is over a limit."""
    rows, columns = work.known.shape
    first, second, at_first, at_second = picture.first, picture.second, 0, 2
    if coding.two == 0 or motion[4] > 0:
        second, at_second = first, at_first
    elif motion[4] < 0:
        first, at_first = second, at_second
    total = 0.0
    for v in range(y, min(y + side, rows)):
        for u in range(x, min(x + side, columns)):
            a = place_of(first, v, u, motion[at_first], motion[at_first + 1])
            b = place_of(second, v, u, motion[at_second], motion[at_second + 1])
            total += block_error(first, a, second, b, picture.wanted, (v, u, 0, 0), picture.lagrangian, picture.most)
            if total > limit:
                return total
    return total
