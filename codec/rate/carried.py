"""Motion that goes on: from one reference to the other, and from frames decoded before to one between or after them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from codec.network.predictive.motion import CELL, UNITS
from codec.network.predictive.symbols import Integers

LARGEST_MOTION = 2**13  # quarter pixels


def clip(value: int) -> int:
    return min(max(value, -LARGEST_MOTION), LARGEST_MOTION)


def along(first: int, ratio: float) -> int:
    """One axis of motion to another frame, where that to the first goes on steadily. ratio: of their distances."""
    return clip(math.floor(first * ratio + 0.5))


def all_along(first: NDArray[np.signedinteger], ratio: float) -> Integers:
    """`along` of arrays."""
    return np.clip(np.floor(first * float(ratio) + 0.5), -LARGEST_MOTION, LARGEST_MOTION).astype(np.int16)


def way_ratio(number: int, references: Sequence[int]) -> float | None:
    """How far the last reference of a frame lies, in units of the first's way; None for a key frame."""
    return (references[-1] - number) / (references[0] - number) if references else None


@dataclass(frozen=True, eq=False)
class Moved:
    """The motion of a frame decoded before."""

    references: tuple[int, ...]  # by number
    motion: Integers  # [references, 2, rows, columns]


def carry(number: int, references: Sequence[int], earlier: Mapping[int, Moved]) -> Integers | None:
    """Motion of a frame to the first of its references, as motion between earlier frames goes on: [2, rows, columns].

    Of the references and of what they refer to themselves the first pair is taken that the frame lies between, or else
    the first pair. Where the frame is, the vector is that of the cell to which a first look at it leads. None, for
    zero, where no reference refers to another frame.
    """
    pairs = [(p, k) for p in references for k in range(len(earlier[p].references))]
    if not pairs:
        return None
    p, k = next((pair for pair in pairs if earlier[pair[0]].references[pair[1]] in references), pairs[0])
    field, way = earlier[p].motion[k], earlier[p].references[k] - p
    rows, columns = field.shape[1:]
    y, x = np.mgrid[:rows, :columns]
    to_cell = (p - number) / way / (UNITS * CELL)
    dy, dx = np.floor(field * to_cell + 0.5).astype(np.int64)
    found = field[:, np.clip(y + dy, 0, rows - 1), np.clip(x + dx, 0, columns - 1)]
    return all_along(found, (references[0] - number) / way)
