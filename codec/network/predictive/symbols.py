"""The integers that a file holds of a frame: what entropy coding gives and takes, and floats are computed from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int16]

MOTION, HYPERS, RESIDUALS = 1, 2, 4  # flags of a record
CARRIED = 8  # flag: motion is coded as the difference from what it would be going on
SIDES = 16  # flag
PARTS = {MOTION: "motion", SIDES: "sides", HYPERS: "hyper-latents", RESIDUALS: "latents"}


@dataclass(frozen=True)
class Symbols:
    """All that a record holds."""

    motion: Integers  # [references, 2, rows, columns], (y, x) in quarter pixels
    sides: Integers  # [references - 1, rows, columns]: 1 the first alone shows a block, -1 the second, 0 both
    hyper: Integers  # [hyper, h / 4, w / 4]
    residuals: Integers  # [LATENTS, h, w]: latents minus their means, in steps

    @property
    def flags(self) -> int:
        """Which parts are not all zero."""
        return sum(
            f for f, x in zip(PARTS, (self.motion, self.sides, self.hyper, self.residuals), strict=True) if x.any()
        )
