"""Entropy coding of integers -127..127 under the shipped frequency tables, with constriction's range coder.

Every value is coded under one row of the tables. The coder does not ask where rows come from: a static choice per
channel, or a context computed in integer arithmetic from values already decoded, one `put` / `get` per pass.
"""

from functools import cache
from itertools import pairwise
from typing import Any

import constriction
import numpy as np
from numpy.typing import NDArray

from bitstream.errors import MalformedChunk
from bitstream.indices import IndexPlan, plan_indices
from bitstream.tables import FAMILIES, MAX_VALUE, PRECISION, ROWS, bit_costs, frequencies

__all__ = ["Decoder", "Encoder", "best_rows", "code_length", "histograms"]

_FEWEST_VALUES_PER_ROW = 4  # below, a row per channel costs more than it can save
_REFINEMENTS = 3  # rounds of choosing rows given what sending them costs; the choice rarely changes after two


@cache
def _model(row: int) -> Any:
    # constriction adds 1 to each probability after scaling them to a sum of 2**24 - 255: with these, by 1.0 exactly.
    return constriction.stream.model.Categorical((frequencies()[row] - 1).astype(np.float64), perfect=False)


def _by_row(rows: NDArray[np.integer]) -> tuple[NDArray[np.intp], list[tuple[int, slice]]]:
    """An order [N] that sorts rows, values of one row in their own order, and where each used row lies in it."""
    order = np.argsort(rows.astype(np.uint8), kind="stable")  # of bytes: by radix, in linear time
    ends = np.cumsum(np.bincount(rows, minlength=1))
    return order, [(r, slice(a, b)) for r, (a, b) in enumerate(pairwise([0, *ends.tolist()])) if a < b]


class Encoder:
    """Codes values into one stream."""

    def __init__(self, *, short: bool = False) -> None:
        """short: the stream is the fewest bytes that decode to the values, else the coder's words."""
        self._coder = constriction.stream.queue.RangeEncoder()
        self._short = short

    def put(self, values: NDArray[np.integer], rows: NDArray[np.integer]) -> None:
        """Append values -127..127 [N], coded under rows 0..255 [N] of the tables."""
        order, groups = _by_row(rows)
        symbols = values[order].astype(np.int32) + MAX_VALUE
        for row, where in groups:
            self.put_under(symbols[where], row)

    def put_under(self, symbols: NDArray[np.int32], row: int) -> None:
        """Append values + 127 [N], all coded under one row."""
        self._coder.encode(symbols, _model(row))

    def finish(self) -> bytes:
        """The stream: 32-bit words, little-endian; a short one is bytes of a number, the highest first."""
        return _fewest_bytes(self._coder) if self._short else self._coder.get_compressed().astype("<u4").tobytes()


class Decoder:
    """Inverse of `Encoder`: the same rows in the same order give the values back."""

    def __init__(self, stream: bytes, where: str = "stream", *, short: bool = False) -> None:
        """`where` names the stream in errors; short: as in `Encoder`.

        Raises MalformedChunk where a stream that is not short is no whole number of words.
        """
        words = stream + bytes(-len(stream) % 4) if short else stream
        if len(words) % 4:
            raise MalformedChunk(f"{where}: {len(stream)} bytes are no whole number of 32-bit words")
        self._stream = stream
        self._where = where
        numbers = np.frombuffer(words, ">u4" if short else "<u4").astype(np.uint32)
        self._coder = constriction.stream.queue.RangeDecoder(numbers)
        self._again = Encoder(short=short)

    def get(self, rows: NDArray[np.integer]) -> NDArray[np.int16]:
        """The next values [N] for rows 0..255 [N]. Raises MalformedChunk where the stream is no coder's output."""
        order, groups = _by_row(rows)
        symbols = np.empty(len(rows), np.int32)
        for row, where in groups:
            try:
                symbols[where] = self._coder.decode(_model(row), where.stop - where.start)
            except AssertionError as error:  # constriction's name for a state that no encoder leaves behind
                raise MalformedChunk(f"{self._where}: the range decoder is in an invalid state") from error
            self._again.put_under(symbols[where], row)
        values = np.empty(len(rows), np.int16)
        values[order] = symbols - MAX_VALUE
        return values

    def finish(self) -> None:
        """Raise MalformedChunk unless the stream is exactly what an encoder makes of the decoded values.

        The range decoder reads zeros past the end and leaves extra words alone; coding again, which takes a fifth of
        the decoder's time, finds both. Of a short stream it finds extra bytes alone: zeros past its end belong to it.
        """
        if self._again.finish() != self._stream:
            raise MalformedChunk(f"{self._where}: the bytes are not those that its values are coded as")


def _fewest_bytes(coder: Any) -> bytes:
    """The shortest bytes that lie, with zeros after them, in the coder's last interval; of several, the least."""
    words, (low, span) = coder.pos()  # low without the words before, and without a carry into them
    size = 4 * words + 8
    inside = int.from_bytes(coder.get_compressed().astype(">u4").tobytes().ljust(size, b"\0"), "big")
    low = inside - (inside - low) % 2**64
    multiples = ((-(-low >> bits) << bits) for bits in range(64, -1, -8))  # not below low, those of 1 among them
    return next(n for n in multiples if n < low + span).to_bytes(size, "big").rstrip(b"\0")


def code_length(values: NDArray[np.integer], rows: NDArray[np.integer]) -> float:
    """Ideal code length in bits of values -127..127 [N] under rows 0..255 [N]."""
    probabilities = frequencies()[rows, values.astype(np.intp) + MAX_VALUE] / 2**PRECISION
    return float(-np.log2(probabilities).sum())


def best_rows(values: NDArray[np.integer]) -> NDArray[np.uint8]:
    """The rows that code values -127..127 [C, ...] in the fewest bits, the cost of sending the rows included.

    One row for all, uint8 [1], or one per channel out of one family, uint8 [C].
    """
    channels = len(values)
    counts = histograms(values)  # [C, 255]
    costs = bit_costs()[: FAMILIES * ROWS] @ counts.sum(0)  # [FAMILIES * ROWS]
    best, best_cost = np.asarray([costs.argmin()], np.uint8), costs.min()
    if channels == 1 or values.size < _FEWEST_VALUES_PER_ROW * channels:
        return best
    for family in range(FAMILIES):
        costs = counts @ bit_costs()[family * ROWS : (family + 1) * ROWS].T  # [C, ROWS]
        rows = costs.argmin(1).astype(np.uint8)
        plan, side_cost = plan_indices(rows)
        for _ in range(_REFINEMENTS):
            rows = (costs + _side_costs(plan)).argmin(1).astype(np.uint8)
            plan, side_cost = plan_indices(rows)
        cost = costs[np.arange(channels), rows].sum() + side_cost + 8  # the plan takes a byte more than a single row
        if cost < best_cost:
            best, best_cost = family * ROWS + rows, cost
    return best


def histograms(values: NDArray[np.integer]) -> NDArray[np.float64]:
    """How often each value -127..127 stands in each channel of values [C, ...]: [C, 255]."""
    channels, symbols = len(values), 2 * MAX_VALUE + 1
    bins = values.reshape(channels, -1).astype(np.int64) + (MAX_VALUE + symbols * np.arange(channels)[:, None])
    return np.bincount(bins.ravel(), minlength=channels * symbols).reshape(channels, symbols).astype(np.float64)


def _side_costs(plan: IndexPlan) -> NDArray[np.float64]:
    """Bits [ROWS] of sending each row, taken as predicted from the plan's centre."""
    costs: NDArray[np.float64] = bit_costs()[plan.row, np.arange(ROWS) - plan.center + MAX_VALUE]
    return costs
