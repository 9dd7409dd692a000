"""The range coder of FORMAT.md in plain Python: a second implementation, to hold the shipped one against."""

from bisect import bisect_right
from functools import cache
from itertools import accumulate, chain, repeat

from bitstream import frequencies


def encode(values: list[int], rows: list[int]) -> list[int]:
    """The words of values -127..127 under rows 0..255."""
    low, span, words = _coded(values, rows)
    if values:
        point = words.carry(low + 2**32 - 1)
        words.append(point >> 32)
        if (low + span) % 2**64 >> 32 == point >> 32:
            words.append(0)
    return words


def encode_short(values: list[int], rows: list[int]) -> bytes:
    """The short form of the same: tried length by length."""
    low, span, words = _coded(values, rows)
    size = 4 * len(words) + 8
    for place, word in enumerate(words):
        low += word << 8 * size - 32 * (place + 1)
    for length in range(size + 1):
        unit = 256 ** (size - length)
        number = -(-low // unit)
        if number * unit < low + span:
            return number.to_bytes(length, "big")
    raise AssertionError


def _coded(values: list[int], rows: list[int]) -> tuple[int, int, "Words"]:
    """low, range and the words written, after all values."""
    low, span, words = 0, 2**64 - 1, Words()
    for value, row in zip(values, rows, strict=True):
        table = frequencies()[row].tolist()
        scale = span >> 24
        low = words.carry(low + scale * sum(table[: value + 127]))
        span = scale * table[value + 127]
        if span < 2**32:
            words.append(low >> 32)
            low, span = (low << 32) % 2**64, span << 32
    return low, span, words


def decode(words: list[int], rows: list[int]) -> list[int]:
    """Inverse of `encode`."""
    stream = Decoding(words)
    return [stream.value(row) for row in rows]


def decode_short(data: bytes, rows: list[int]) -> list[int]:
    """Inverse of `encode_short`."""
    return decode(words_of(data), rows)


def words_of(data: bytes) -> list[int]:
    """A stream in the short form as words."""
    padded = data + bytes(-len(data) % 4)
    return [int.from_bytes(padded[i : i + 4], "big") for i in range(0, len(padded), 4)]


class Decoding:
    """A stream, value by value."""

    def __init__(self, words: list[int]) -> None:
        self._following = chain(words, repeat(0))
        self._low, self._span = 0, 2**64 - 1
        self._point = next(self._following) << 32 | next(self._following)

    def value(self, row: int) -> int:
        """The next one, under its row."""
        cumulative = _cumulative(row)
        scale = self._span >> 24
        quotient = (self._point - self._low) % 2**64 // scale
        assert quotient < 2**24
        symbol = bisect_right(cumulative, quotient) - 1
        self._low = (self._low + scale * cumulative[symbol]) % 2**64
        self._span = scale * (cumulative[symbol + 1] - cumulative[symbol])
        if self._span < 2**32:
            self._low, self._span = (self._low << 32) % 2**64, self._span << 32
            self._point = (self._point << 32) % 2**64 + next(self._following)
        return symbol - 127


@cache
def _cumulative(row: int) -> list[int]:
    return [0, *accumulate(frequencies()[row].tolist())]


class Words(list[int]):
    """32-bit words, to which a carry out of the 64-bit state is added."""

    def carry(self, low: int) -> int:
        """`low` modulo 2**64; where it wraps, 1 is added to the words as to one number."""
        place = len(self) - 1
        while low >= 2**64 and place >= 0:
            self[place] = (self[place] + 1) % 2**32
            if self[place]:
                break
            place -= 1
        return low % 2**64
