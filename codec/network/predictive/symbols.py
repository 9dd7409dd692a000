"""The integers that a file holds of a frame: what entropy coding gives and takes, and floats are computed from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int16]

MOTION, HYPERS, RESIDUALS = 1, 2, 4  # flags of a record; sides are part of motion
TRANSFORMS = 8  # flag: the luma of some cells is not coded as latents
OVERLAP = 16  # flag: blocks that move differently are mixed near their sides
BARE = 64  # flag: where no residual is, the frame is its prediction
MADE = OVERLAP | BARE  # flags: how the frame is made of its parts
PARTS = {MOTION: "motion", HYPERS: "hyper-latents", RESIDUALS: "latents"}


@dataclass(frozen=True)
class Symbols:
    """All that a record holds."""

    motion: Integers  # [references, 2, rows, columns], (y, x) in quarter pixels
    sides: Integers  # [references - 1, rows, columns]: 1 the first alone shows a block, -1 the second, 0 both
    hyper: Integers  # [hyper, h / 4, w / 4]
    residuals: Integers  # [LATENTS, h, w]: latents minus their means, in steps; for some luma, see `cell_transforms`
    transforms: Integers  # [h, w]: of `cell_transforms`, what the residuals of luma are
    made: int = 0  # flags in MADE

    @property
    def flags(self) -> int:
        """Which parts are not all zero, and how the frame is made of them."""
        parts = (self.motion.any() or self.sides.any(), self.hyper.any(), self.residuals.any())
        otherwise = TRANSFORMS if self.transforms.any() and parts[2] else 0
        return self.made | otherwise | sum(flag for flag, there in zip(PARTS, parts, strict=True) if there)

    @property
    def untouched(self) -> bool:
        """Whether the frame is its prediction."""
        return untouched(self.flags)


def untouched(flags: int) -> bool:
    """`Symbols.untouched` by the flags of a record."""
    return bool(flags & BARE) and not flags & (HYPERS | RESIDUALS)
