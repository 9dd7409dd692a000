"""The range coder of FORMAT.md in plain Python: a second implementation, to hold the shipped one against."""

from bisect import bisect_right
from itertools import accumulate

from bitstream import frequencies


def encode(values: list[int], rows: list[int]) -> list[int]:
    """The words of values -127..127 under rows 0..127."""
    low, span, words = 0, 2**64 - 1, Words()
    for value, row in zip(values, rows, strict=True):
        table = frequencies()[row].tolist()
        scale = span >> 24
        low = words.carry(low + scale * sum(table[: value + 127]))
        span = scale * table[value + 127]
        if span < 2**32:
            words.append(low >> 32)
            low, span = (low << 32) % 2**64, span << 32
    if values:
        point = words.carry(low + 2**32 - 1)
        words.append(point >> 32)
        if (low + span) % 2**64 >> 32 == point >> 32:
            words.append(0)
    return words


def decode(words: list[int], rows: list[int]) -> list[int]:
    """Inverse of `encode`."""
    following = iter([*words, *[0] * (len(rows) + 2)])
    low, span, point = 0, 2**64 - 1, next(following) << 32 | next(following)
    values = []
    for row in rows:
        table = frequencies()[row].tolist()
        cumulative = [0, *accumulate(table)]
        scale = span >> 24
        quotient = (point - low) % 2**64 // scale
        assert quotient < 2**24
        symbol = bisect_right(cumulative, quotient) - 1
        values.append(symbol - 127)
        low, span = (low + scale * cumulative[symbol]) % 2**64, scale * table[symbol]
        if span < 2**32:
            low, span, point = (low << 32) % 2**64, span << 32, (point << 32) % 2**64 + next(following)
    return values


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
