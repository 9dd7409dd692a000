"""What motion takes, in bits, as `codec.rate.motion` codes it: for a search that weighs it against errors."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bitstream import MAX_VALUE, bit_costs
from codec.encoding.predictive.compiled import compiled
from codec.network.predictive.symbols import Integers
from codec.rate.carried import LARGEST_MOTION, all_along
from codec.rate.merging import CANDIDATES
from codec.rate.motion import BEFORE, FURTHER, MotionRows
from codec.rate.squares import SIZES, unrest

Fields = NDArray[np.int64]  # [rows, columns, 5] of blocks: (y, x) to the first reference and the second, the side
Motion = NDArray[np.int64]  # [5] of a square, likewise

VALUES = 5
DEAREST = 1e30  # bits: more than anything takes


class Coding(NamedTuple):
    """What motion takes, in bits; see `codec.rate.motion`."""

    two: int
    ratio: float
    going: Fields  # motion that goes on
    unrest: NDArray[np.int64]  # [levels, rows, columns]: classes of a square, at its first block
    split: NDArray[np.float64]  # [levels, classes, 2]
    own: NDArray[np.float64]  # [levels, 2]
    rank: NDArray[np.float64]  # [own, levels, CANDIDATES]
    alone: NDArray[np.float64]  # [levels, 2]
    second: NDArray[np.float64]  # [2]
    vectors: NDArray[np.float64]  # [levels, first or second, axis, before, magnitudes]


def coding_of(table: MotionRows, two: int, ratio: float, carried: Integers | None, size: tuple[int, int]) -> Coding:
    """two: 1 for a frame with two references, else 0. ratio, carried: of `code_motion`. size: in blocks."""
    going = np.zeros((*size, VALUES), np.int64)
    if carried is not None:
        both = np.concatenate((carried, all_along(carried, ratio)))
        going[..., : 2 * two + 2] = both[: 2 * two + 2].transpose(1, 2, 0)
    classes = np.stack(
        [
            found.repeat(side, 0).repeat(side, 1)[: size[0], : size[1]]
            for found, side in zip(unrest(carried, size), SIZES, strict=True)
        ]
    )
    costs = bit_costs()
    flags, ranks = costs[:, MAX_VALUE : MAX_VALUE + 2], costs[:, MAX_VALUE : MAX_VALUE + CANDIDATES]
    magnitudes = costs[:, MAX_VALUE:]
    return Coding(
        two,
        ratio,
        going,
        classes,
        flags[table.split[two]],
        flags[table.own[two]],
        ranks[table.rank[two]],
        flags[table.alone],
        flags[table.second[0]],
        np.ascontiguousarray(np.moveaxis(magnitudes[table.vectors[two : 2 * two + 1]], 3, 0)),
    )


@compiled
def go_beyond(coding: Coding, candidates: NDArray[np.int64], count: int, beyond: NDArray[np.int64]) -> None:
    """By how much the second vectors of candidates go beyond their first along: into beyond [CANDIDATES, 2]."""
    for k in range(count):
        for axis in range(2):
            beyond[k, axis] = candidates[k, 2 + axis] - along(candidates[k, axis], coding.ratio)


@compiled
def own_bits(
    coding: Coding, motion: Motion, candidates: NDArray[np.int64], beyond: NDArray[np.int64], count: int, level: int
) -> float:
    """What motion of its own takes of a square, by the best of its candidates. beyond: of `go_beyond`."""
    side, told = motion[4], 0.0
    both = coding.two == 1 and side == 0
    if coding.two:
        told += coding.alone[level, int(side != 0)]
        if side:
            told += coding.second[int(side < 0)]
    vectors, at = coding.vectors[level], 2 if side < 0 else 0
    steady = along(motion[0], coding.ratio), along(motion[1], coding.ratio)
    least = DEAREST
    for k in range(count):
        bits, before = coding.rank[1, level, k], 0
        for axis in range(2):
            size = abs(motion[at + axis] - candidates[k, at + axis])
            bits += _size_bits(vectors, 0, axis, before, size)
            before += size
        if both and bits < least:
            for axis in range(2):
                size = abs(motion[2 + axis] - clip(steady[axis] + beyond[k, axis]))
                bits += _size_bits(vectors, 1, axis, before, size)
                before += size
        least = min(least, bits)
    return told + least


@compiled
def _size_bits(vectors: NDArray[np.float64], part: int, axis: int, before: int, size: int) -> float:
    seen = 0 if before < BEFORE[0] else 1 if before < BEFORE[1] else 2
    return vectors[part, axis, seen, min(size, MAX_VALUE)] + FURTHER * (size // MAX_VALUE)


@compiled
def along(first: int, ratio: float) -> int:
    """`codec.rate.carried.along`, as `clip` is its `clip`."""
    return clip(int(np.floor(first * ratio + 0.5)))


@compiled
def clip(value: int) -> int:
    return min(max(value, -LARGEST_MOTION), LARGEST_MOTION)
