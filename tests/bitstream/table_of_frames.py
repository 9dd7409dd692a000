"""The table of a segment of coded frames as FORMAT.md says it, in plain Python: a second implementation.

Of all that is on the page it does what a reader of right files needs; it refuses nothing.
"""

from __future__ import annotations

import zlib
from typing import NamedTuple

from tests.bitstream.range_coder import Decoding, words_of


class Told(NamedTuple):
    """A frame as the table and its record tell it."""

    number: int
    references: tuple[int, ...]
    quality: int
    flags: int
    record: bytes


class Frame(NamedTuple):
    """A frame as the columns tell it."""

    number: int
    references: tuple[int, ...]
    quality: int
    width: int  # of the gap that it was coded in
    digits: int  # of the length of its record


class Bytes:
    """A payload, being read."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, count: int) -> bytes:
        """The next bytes."""
        self.at += count
        return self.data[self.at - count : self.at]

    def uint(self) -> int:
        """The next number as LEB128."""
        byte = self.take(1)[0]
        return byte if byte < 128 else byte - 128 + 128 * self.uint()


def read(payload: bytes) -> tuple[int, bytes, list[Told]]:
    """The first frame, the features, the frames in coding order."""
    data = Bytes(payload)
    start, count, own, size = (data.uint() for _ in range(4))
    features, table = data.take(own), Bytes(data.take(size))
    end = data.at
    assert data.take(4) == zlib.crc32(payload[:end]).to_bytes(4, "little")
    frames = []
    for frame, length, check in _table(table, count):
        record = data.take(length)
        assert check == (zlib.crc32(record) & 0xFFFF if length else None)
        frames.append(frame._replace(record=record))
    assert table.at == size
    assert data.at == len(payload)
    return start, features, frames


def _table(table: Bytes, count: int) -> list[tuple[Told, int, int | None]]:
    """Frames, of each the length of its record, and the check."""
    rows = table.take(8)
    flags = [table.uint() for _ in range(table.uint())]
    stream = Decoding(words_of(table.take(table.uint())))
    *columns, kinds = [[stream.value(row) for _ in range(count)] for row in rows]
    frames = _frames(list(zip(*columns, strict=True)))
    low_bits = sum(digits - 1 for *_, digits in frames if digits)
    bits = "".join(f"{byte:08b}" for byte in table.take((low_bits + 7) // 8))
    lengths = []
    for *_, digits in frames:
        lengths.append(int("1" + bits[: digits - 1], 2) if digits else 0)
        bits = bits[max(0, digits - 1) :]
    checks = [int.from_bytes(table.take(2), "little") if n else None for n in lengths]
    told = [Told(f.number, f.references, f.quality, flags[kind], b"") for f, kind in zip(frames, kinds, strict=True)]
    return list(zip(told, lengths, checks, strict=True))


def _frames(rows: list[tuple[int, ...]]) -> list[Frame]:
    frames: list[Frame] = []
    gaps: list[tuple[int, int]] = []
    for gap, offset, more, first, second, quality, digits in rows:
        coded = [frame.number for frame in frames]
        tops = [-1, *(n for i, n in enumerate(coded) if n > max(coded[:i], default=-1))]
        low, high = (*gaps, (tops[-1], None))[gap % 255]
        if high is None:
            expected = low + (tops[-1] - tops[-2] if coded else 1)
        else:
            gaps.pop(gap % 255)
            expected = (low + high) // 2
        number = expected + offset
        gaps += [(a, b) for a, b in ((low, number), (number, high)) if b is not None and b - a > 1]
        ends = [end for end in (low, high) if end in coded]
        references = tuple(
            order[r % 255] if r % 255 < len(ends) else coded[len(coded) - (r % 255 - len(ends) + 1)]
            for r, order in ((first, ends), (second, ends[::-1]))[: len(ends) + more]
        )
        width = 0 if high is None else high - low
        alike = [frame for frame in frames if frame.width == width]
        like = (alike or frames or [Frame(0, (), 0, 0, 0)])[-1]
        frames.append(Frame(number, references, like.quality + quality, width, like.digits + digits))
    return frames
