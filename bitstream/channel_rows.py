"""The coding of weights and embeddings: every channel of a tensor under one row of the tables.

Steps and rows are one for all channels, which stands in the record, or one for each, coded in front of the values.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bitstream.entropy import Decoder, Encoder, best_rows, histograms
from bitstream.errors import MalformedChunk
from bitstream.fields import Cursor
from bitstream.indices import IndexPlan, from_residuals, plan_indices, to_residuals
from bitstream.tables import ROWS, STEPS, bit_costs

__all__ = ["ChannelRows", "Side"]

_STEP_PER_CHANNEL: Final = 1 << 0
_ROW_PER_CHANNEL: Final = 1 << 1
_FAMILY_SHIFT: Final = 2

# The second byte of a plan.
_PLAN_ROW_MASK: Final = 0b111111
_PLAN_PREVIOUS: Final = 1 << 6
_PLAN_RESERVED: Final = 1 << 7


@dataclass(frozen=True)
class Side:
    """How steps and rows are coded; an int is the one index of all channels."""

    steps: IndexPlan | int
    rows: IndexPlan | int
    family: int


class ChannelRows:
    """See `Coding`."""

    def put(self, encoder: Encoder, values: NDArray[np.int16], steps: NDArray[np.uint8]) -> Side:
        rows = best_rows(values)
        step_plan = _put_indices(encoder, steps)
        row_plan = _put_indices(encoder, rows % ROWS)
        encoder.put(values.ravel(), _per_value(rows, values.shape))
        return Side(step_plan, row_plan, int(rows[0]) // ROWS)

    def get(
        self, decoder: Decoder, side: Side, shape: tuple[int, ...], where: str
    ) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
        steps = _get_indices(decoder, side.steps, shape[0], STEPS, where)
        rows = _get_indices(decoder, side.rows, shape[0], ROWS, where) + np.uint8(ROWS * side.family)
        return decoder.get(_per_value(rows, shape)).reshape(shape), steps

    def bits(self, values: NDArray[np.int16], steps: NDArray[np.uint8]) -> float:
        rows = best_rows(values)
        counts = histograms(values) if len(rows) > 1 else histograms(values).sum(0, keepdims=True)
        return float((counts * bit_costs()[rows]).sum()) + _index_bits(steps) + _index_bits(rows % ROWS)

    def write_side(self, side: Side) -> tuple[int, bytes]:
        flags = side.family << _FAMILY_SHIFT
        if isinstance(side.steps, IndexPlan):
            flags |= _STEP_PER_CHANNEL
        if isinstance(side.rows, IndexPlan):
            flags |= _ROW_PER_CHANNEL
        return flags, _write_plan(side.steps) + _write_plan(side.rows)

    def read_side(self, cursor: Cursor, flags: int, shape: tuple[int, ...]) -> Side:
        if shape[0] == 1 and flags & (_STEP_PER_CHANNEL | _ROW_PER_CHANNEL):
            raise ValueError("a tensor of one channel has an index per channel")
        steps = _read_plan(cursor, STEPS, bool(flags & _STEP_PER_CHANNEL))
        rows = _read_plan(cursor, ROWS, bool(flags & _ROW_PER_CHANNEL))
        return Side(steps, rows, flags >> _FAMILY_SHIFT)


def _write_plan(plan: IndexPlan | int) -> bytes:
    if isinstance(plan, int):
        return bytes([plan])
    return bytes([plan.center, plan.row | (_PLAN_PREVIOUS if plan.previous else 0)])


def _read_plan(cursor: Cursor, indices: int, per_channel: bool) -> IndexPlan | int:
    center = cursor.take(1)[0]
    if center >= indices:
        raise ValueError(f"the index {center} is not in 0..{indices - 1}")
    if not per_channel:
        return center
    byte = cursor.take(1)[0]
    if byte & _PLAN_RESERVED:
        raise ValueError("a reserved bit is set")
    return IndexPlan(center, byte & _PLAN_ROW_MASK, bool(byte & _PLAN_PREVIOUS))


def _put_indices(encoder: Encoder, indices: NDArray[np.uint8]) -> IndexPlan | int:
    """Append indices [C] to a stream; a single one goes into the record."""
    if len(indices) == 1:
        return int(indices[0])
    plan, _ = plan_indices(indices)
    encoder.put(to_residuals(indices, plan), np.full(len(indices), plan.row, np.uint8))
    return plan


def _get_indices(
    decoder: Decoder, plan: IndexPlan | int, channels: int, indices: int, where: str
) -> NDArray[np.uint8]:  # [channels] or [1]
    """Inverse of `_put_indices`, for indices 0..indices - 1."""
    if isinstance(plan, int):
        return np.asarray([plan], np.uint8)
    decoded = from_residuals(decoder.get(np.full(channels, plan.row, np.uint8)), plan)
    if decoded.max() >= indices:
        raise MalformedChunk(f"{where}: the index {decoded.max()} is not in 0..{indices - 1}")
    return decoded


def _per_value(rows: NDArray[np.uint8], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """The row of each value of a tensor, flat, from the rows [C] or [1] of its channels."""
    return np.broadcast_to(rows.repeat(math.prod(shape) // len(rows)), math.prod(shape))


def _index_bits(indices: NDArray[np.uint8]) -> float:
    """Bits of indices [C], their part of the record included."""
    return 8.0 if len(indices) == 1 else 16 + plan_indices(indices)[1]
