"""Rows of motion and of cells' values: for every context the one of fewest bits on clips that a base encodes.

They are part of the format and of no base: they stand in `codec.rate`, in `motion` and `cell_values`, and FORMAT.md
repeats them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bitstream import FLAGS, MAX_VALUE, PEAKED, RANKS, bit_costs
from codec.base.encoded import encoded
from codec.base.model import load_codec
from codec.base.scenes import Frame
from codec.encoding.predictive.frame import FrameEncoder
from codec.encoding.predictive.gop import GopSettings
from codec.encoding.predictive.motion_search import SearchSettings
from codec.network.predictive.symbols import Integers
from codec.rate.cell_values import VALUE_ROWS, ValueRows
from codec.rate.motion import MOTION_ROWS, MotionRows
from codec.rate.ports import Table
from codec.rate.records import FrameCoder

FIRST_CONTEXT = 256  # contexts are told from rows by their numbers
FEWEST = 20  # values of a context that say something
# First row and end of those that may be taken: of flags for motion and of any size for values, unless they are here.
FAMILIES = {"rank": (RANKS, len(bit_costs())), "vectors": (PEAKED, FLAGS), "other": (FLAGS, RANKS)}


def names_of(rows: MotionRows | ValueRows) -> list[str]:
    return [field.name for field in fields(rows)]


class _Counts:
    """A port that counts what would be coded: contexts stand where rows do."""

    reading = False

    def __init__(self, contexts: int) -> None:
        self.counts = np.zeros((contexts, 2 * MAX_VALUE + 1), np.int64)

    def __call__(self, values: Integers, rows: Table) -> Integers:
        told = rows.ravel().astype(np.int64) - FIRST_CONTEXT
        np.add.at(self.counts, (told[told >= 0], values.ravel()[told >= 0].astype(np.int64) + MAX_VALUE), 1)
        return values


def fit_rows(base: Path, clips: Iterable[Sequence[Frame]], qualities: Sequence[float]) -> dict[str, Table]:
    """Rows by their names in MOTION_ROWS and VALUE_ROWS, for what a base makes of clips, each at the next of some
    qualities. Raises BaseError.
    """
    codec = load_codec(base)
    encoder = FrameEncoder(codec.network, codec.analysis, SearchSettings())
    tables = {name: getattr(rows, name) for rows in (MOTION_ROWS, VALUE_ROWS) for name in names_of(rows)}
    ends = FIRST_CONTEXT + np.cumsum([0, *(table.size for table in tables.values())])
    contexts = {
        name: np.arange(end, end + table.size, dtype=np.int16).reshape(table.shape)
        for end, (name, table) in zip(ends, tables.items(), strict=False)
    }
    motion, values = ({name: contexts[name] for name in names_of(rows)} for rows in (MOTION_ROWS, VALUE_ROWS))
    coder = FrameCoder(codec.network, MotionRows(**motion), ValueRows(**values))
    port = _Counts(ends[-1] - FIRST_CONTEXT)
    for number, frames in enumerate(clips):
        for frame in encoded(encoder, frames, GopSettings(), qualities[number % len(qualities)]):
            coder.walk(port, frame.symbols, frame.coded.quality, frame.known.ratio, frame.known.carried)
    counts = np.split(port.counts, ends[1:-1] - FIRST_CONTEXT)
    return {
        name: cheapest(own, *FAMILIES.get(name, (1, FLAGS) if name in values else (FLAGS, RANKS))).reshape(table.shape)
        for own, (name, table) in zip(counts, tables.items(), strict=True)
    }


def cheapest(counts: NDArray[np.int64], first: int, end: int) -> NDArray[np.uint8]:
    """The row of first..end - 1 for each context: where little is counted, that of the context before."""
    rows = first + (counts @ bit_costs()[first:end].T).argmin(1)
    for k in np.flatnonzero(counts.sum(1) < FEWEST):
        rows[k] = rows[k - 1] if k else first
    return rows.astype(np.uint8)
