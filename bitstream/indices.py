"""How the indices of a tensor's channels (steps, table rows) become small integers for the entropy coder.

A plan predicts each index from one centre or from the channel before; what is left, wrapped to -127..127, is coded with
one Laplace row.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bitstream.tables import MAX_VALUE, ROWS, STEPS, bit_costs

__all__ = ["IndexPlan", "from_residuals", "plan_indices", "to_residuals"]


@dataclass(frozen=True)
class IndexPlan:
    """How one array of indices is coded."""

    center: int  # 0..254: predicts every index, or the first one alone
    row: int  # 0..63: Laplace row of the residuals
    previous: bool  # whether the index before predicts the others


def to_residuals(indices: NDArray[np.uint8], plan: IndexPlan) -> NDArray[np.int16]:
    """Residuals -127..127 [C] of indices 0..254 [C]: index minus prediction, modulo 255."""
    wide = indices.astype(np.int16)
    prediction = np.concatenate(([plan.center], wide[:-1])) if plan.previous else plan.center
    residuals: NDArray[np.int16] = (wide - prediction + MAX_VALUE) % STEPS - MAX_VALUE
    return residuals


def from_residuals(residuals: NDArray[np.int16], plan: IndexPlan) -> NDArray[np.uint8]:
    """Inverse of `to_residuals`."""
    offsets = np.cumsum(residuals, dtype=np.int64) if plan.previous else residuals.astype(np.int64)
    return ((offsets + plan.center) % STEPS).astype(np.uint8)


def plan_indices(indices: NDArray[np.uint8]) -> tuple[IndexPlan, float]:
    """The plan with the fewest bits for indices 0..254 [C], C >= 1, and those bits."""
    center = int(np.sort(indices)[len(indices) // 2])
    plans = []
    for first, previous in ((center, False), (int(indices[0]), True)):
        residuals = to_residuals(indices, IndexPlan(first, 0, previous))
        costs = bit_costs()[:ROWS, residuals + MAX_VALUE].sum(1)  # [ROWS]
        row = int(costs.argmin())
        plans.append((IndexPlan(first, row, previous), float(costs[row])))
    return min(plans, key=lambda item: item[1])
