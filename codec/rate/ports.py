"""The two directions of coding: what walks the integers of a frame writes or reads them through a port."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from bitstream import Decoder, Encoder, bit_costs
from codec.network.predictive.scales import LARGEST_SYMBOL
from codec.network.predictive.symbols import Integers

Table = NDArray[np.uint8] | NDArray[np.int16]  # rows; other numbers where contexts are counted


class Port(Protocol):
    """One direction of coding."""

    reading: bool

    def __call__(self, values: Integers, rows: Table) -> Integers:
        """Values of one pass under their rows; both of any one shape."""


class WritingPort:
    """Codes what it is given, and returns what a reader will: 0 where the row is 0, and -127..127 everywhere."""

    reading = False

    def __init__(self) -> None:
        self._coder = Encoder(short=True)
        self.bits = 0.0  # ideal, of all so far

    def __call__(self, values: Integers, rows: Table) -> Integers:
        coded = np.flatnonzero(rows)
        used = rows.ravel()[coded]
        kept = np.clip(values.ravel()[coded], -LARGEST_SYMBOL, LARGEST_SYMBOL)
        self._coder.put(kept, used)
        self.bits += float(bit_costs()[used, kept + LARGEST_SYMBOL].sum())
        return _scattered(kept, coded, rows.shape)

    def finish(self) -> bytes:
        """The record."""
        return self._coder.finish()


class ReadingPort:
    """Returns what a record holds."""

    reading = True

    def __init__(self, record: bytes, where: str) -> None:
        self._coder = Decoder(record, where, short=True)

    def __call__(self, values: Integers, rows: Table) -> Integers:
        coded = np.flatnonzero(rows)
        return _scattered(self._coder.get(rows.ravel()[coded]), coded, rows.shape)

    def finish(self) -> None:
        """Raise MalformedChunk unless the record is exactly what an encoder writes."""
        self._coder.finish()


def _scattered(values: Integers, places: NDArray[np.intp], shape: tuple[int, ...]) -> Integers:
    """Values [n] at flat places of an array of zeros."""
    out = np.zeros(shape, np.int16)
    out.reshape(-1)[places] = values
    return out
