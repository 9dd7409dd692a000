"""A segment of coded frames: what the SEGM chunk of a predictive file holds.

    start, frames, features length, table length, features, table, CRC-32 of all before
    one record per frame, in coding order

The table says of each record which frame it is, what it refers to and where it lies, so that a reader takes the records
that a frame needs and no others; each is checked by a CRC of its own. Records are opaque here: what they hold, the
network of the header knows how to parse.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

import numpy as np

from bitstream.errors import ChecksumMismatch, MalformedChunk
from bitstream.fields import Cursor, Uint, parse
from bitstream.frame_table import CodedFrame, read_columns, write_columns
from bitstream.limits import DEFAULT_LIMITS, FREE_FRAMES, Limits

__all__ = ["FrameSegment", "chain", "write_frames"]

_START = Uint(0, 2**32 - 1)
_COUNT = Uint(1, 2**32 - 1)
_LENGTH = Uint(0, 2**31)
_CRC = struct.Struct("<I")
_CHECK_BYTES: Final = 2  # of a record: they find damage that the range coder's own check does not
_FIRST_BYTES: Final = 4 * 5  # that the four numbers at the beginning may take


@dataclass(frozen=True)
class _Table:
    """All of a segment but the bytes of its records."""

    start: int  # first frame
    features: bytes
    frames: tuple[CodedFrame, ...]  # in coding order, records empty
    records: tuple[range, ...]  # where each lies, in bytes of the payload
    checks: tuple[bytes, ...]  # of each, see `_check`


class FrameSegment:
    """A segment of coded frames, its records read when they are asked for."""

    def __init__(
        self, read: Callable[[range], bytes], length: int, where: str, limits: Limits = DEFAULT_LIMITS
    ) -> None:
        """read: bytes of the payload by their places; length: of the payload; where: names the segment in errors.

        Reads and checks all but the records. Raises MalformedChunk, ChecksumMismatch and LimitExceeded.
        """
        self._read, self._where, self._limits = read, where, limits
        self._table = _read_table(read, length, where, limits)

    @classmethod
    def of(cls, payload: bytes, where: str, limits: Limits = DEFAULT_LIMITS) -> FrameSegment:
        """A segment held in memory; inverse of `write_frames`, records yet to be checked."""
        return cls(lambda place: payload[place.start : place.stop], len(payload), where, limits)

    def payload(self) -> bytes:
        """Inverse of `of`."""
        return write_frames(self.start, self.records(), self.features)

    @property
    def start(self) -> int:
        """Its first frame in the file."""
        return self._table.start

    @property
    def frames(self) -> int:
        """How many frames it holds."""
        return len(self._table.frames)

    @property
    def coded(self) -> tuple[CodedFrame, ...]:
        """Its frames in coding order, without their records."""
        return self._table.frames

    @property
    def features(self) -> bytes:
        """Its CLIP features as the network of the header codes them; empty where it has none."""
        return self._table.features

    @property
    def record_bytes(self) -> int:
        """Bytes of all records."""
        return sum(map(len, self._table.records))

    def record(self, place: int) -> CodedFrame:
        """The frame coded at `place`, with its record. Raises ChecksumMismatch and LimitExceeded."""
        frame, where = self._table.frames[place], self._table.records[place]
        self._limits.check("chunk_bytes", len(where))
        data = self._read(where)
        if _check(data) != self._table.checks[place]:
            raise ChecksumMismatch(f"{self._where}: the record of frame {self.start + frame.number} is damaged")
        return replace(frame, record=data)

    def records(self) -> list[CodedFrame]:
        """All frames in coding order, with their records. Raises ChecksumMismatch and LimitExceeded."""
        return [self.record(place) for place in range(self.frames)]

    def whole(self) -> FrameSegment:
        """The same, held in memory, every record checked."""
        return FrameSegment.of(self.payload(), self._where, self._limits)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, FrameSegment)
            and (self.start, self.coded, self.features) == (other.start, other.coded, other.features)
            and self.records() == other.records()
        )

    __hash__ = None  # type: ignore[assignment]  # to be equal takes reading


def chain(frames: Sequence[CodedFrame], *numbers: int) -> list[int]:
    """Places in coding order of frames and of all that they are decoded from."""
    place_of = {frame.number: place for place, frame in enumerate(frames)}
    needed: set[int] = set()
    waiting = [place_of[number] for number in numbers]
    while waiting:
        place = waiting.pop()
        if place not in needed:
            needed.add(place)
            waiting += [place_of[r] for r in frames[place].references]
    return sorted(needed)


def write_frames(start: int, frames: Sequence[CodedFrame], features: bytes = b"") -> bytes:
    """The payload. Raises ValueError where frames are not each there once, or refer to what does not stand before."""
    table = write_columns(frames) + b"".join(_check(frame.record) for frame in frames)
    numbers = _START.write(start), _COUNT.write(len(frames)), _LENGTH.write(len(features)), _LENGTH.write(len(table))
    head = b"".join((*numbers, features, table))
    return b"".join((head, _CRC.pack(zlib.crc32(head)), *(frame.record for frame in frames)))


def _read_table(read: Callable[[range], bytes], length: int, where: str, limits: Limits) -> _Table:
    first = Cursor(read(range(min(length, _FIRST_BYTES))), where)
    start, count = parse(first, _START.read), parse(first, _COUNT.read)
    own, size = parse(first, _LENGTH.read), parse(first, _LENGTH.read)
    end = first.position + own + size
    if end + _CRC.size > length:
        raise MalformedChunk(f"{where}: its table ends at byte {end + _CRC.size}, the segment has {length}")
    limits.check("segment_frames", count)
    limits.check("frame_density", max(0, count - FREE_FRAMES) // length)
    limits.check("chunk_bytes", end)
    head = read(range(end + _CRC.size))
    if _CRC.pack(zlib.crc32(head[:end])) != head[end:]:
        raise ChecksumMismatch(f"{where}: the table of frames is damaged")
    table = Cursor(head[end - size : end], f"{where}, table")
    frames, lengths = read_columns(table, count)
    checks = tuple(table.take(_CHECK_BYTES if length else 0) for length in lengths)
    table.finish()
    ends = np.cumsum([end + _CRC.size, *lengths]).tolist()
    if ends[-1] != length:
        raise MalformedChunk(f"{where}: its records end at byte {ends[-1]}, the segment has {length}")
    records = tuple(range(a, b) for a, b in pairwise(ends))
    return _Table(start, head[end - size - own : end - size], frames, records, checks)


def _check(record: bytes) -> bytes:
    """The low bytes of its CRC-32; none for an empty record, whose length alone says all."""
    return _CRC.pack(zlib.crc32(record))[: _CHECK_BYTES if record else 0]
