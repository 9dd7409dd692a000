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
from numpy.typing import NDArray

from bitstream.entropy import Decoder, Encoder, best_rows
from bitstream.errors import ChecksumMismatch, MalformedChunk
from bitstream.fields import Cursor, Uint, parse
from bitstream.limits import DEFAULT_LIMITS, Limits
from bitstream.tables import MAX_VALUE, ROWS

__all__ = [
    "FLAG_LIMIT",
    "MAX_DEPTH",
    "MAX_REFERENCES",
    "QUALITIES",
    "CodedFrame",
    "FrameSegment",
    "chain",
    "write_frames",
]

QUALITIES: Final = 64
FLAG_LIMIT: Final = 128  # flags of a record are below: which of its parts are there, and how the frame is made
MAX_DEPTH: Final = 16  # frames from one that needs no other to the last of a chain
MAX_REFERENCES: Final = 2
_MODULUS: Final = 2 * MAX_VALUE + 1

_START = Uint(0, 2**32 - 1)
_COUNT = Uint(1, 2**32 - 1)
_LENGTH = Uint(0, 2**31)
_PERIOD = Uint(1, MAX_VALUE)
_ROW = Uint(0, ROWS - 1)
_CRC = struct.Struct("<I")
_SHORT_CRC = struct.Struct("<H")  # of a record: it finds damage that the range coder's own check does not
_FIRST_BYTES: Final = 4 * 5  # that the four numbers at the beginning may take
_LEAST_ENTRY: Final = 3  # bytes that a frame takes in the table: its length and CRC


@dataclass(frozen=True)
class CodedFrame:
    """One frame: its place in the table, and its record."""

    number: int  # in the segment, from 0
    references: tuple[int, ...]  # none for a key frame, else one or two frames coded before, by number
    quality: int  # 0..63
    flags: int  # 0..127: which parts the record holds, and how; see the network
    record: bytes


@dataclass(frozen=True)
class _Table:
    """All of a segment but the bytes of its records."""

    start: int  # first frame
    features: bytes
    frames: tuple[CodedFrame, ...]  # in coding order, records empty
    records: tuple[range, ...]  # where each lies, in bytes of the payload
    checks: tuple[int, ...]  # CRC-32 of each, its low 16 bits


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
        if _short_crc(data) != self._table.checks[place]:
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


def chain(frames: Sequence[CodedFrame], number: int) -> list[int]:
    """Places in coding order of the frames that frame `number` is decoded from, itself last."""
    place_of = {frame.number: place for place, frame in enumerate(frames)}
    needed: set[int] = set()
    waiting = [place_of[number]]
    while waiting:
        place = waiting.pop()
        if place not in needed:
            needed.add(place)
            waiting += [place_of[r] for r in frames[place].references]
    return sorted(needed)


def write_frames(start: int, frames: Sequence[CodedFrame], features: bytes = b"") -> bytes:
    """The payload. Raises ValueError where frames are not each there once, or refer to what does not stand before."""
    _check(frames)
    table = _write_table(frames)
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
    if count * _LEAST_ENTRY > size:
        raise MalformedChunk(f"{where}: a table of {size} bytes cannot hold {count} frames")
    limits.check("segment_frames", count)
    limits.check("chunk_bytes", end)
    head = read(range(end + _CRC.size))
    if _CRC.pack(zlib.crc32(head[:end])) != head[end:]:
        raise ChecksumMismatch(f"{where}: the table of frames is damaged")
    table = Cursor(head[end - size : end], f"{where}, table")
    frames = _from_columns(_read_columns(table, count), where)
    lengths = [parse(table, _LENGTH.read) for _ in range(count)]
    checks = tuple(_SHORT_CRC.unpack(table.take(_SHORT_CRC.size))[0] for _ in range(count))
    table.finish()
    ends = np.cumsum([end + _CRC.size, *lengths]).tolist()
    if ends[-1] != length:
        raise MalformedChunk(f"{where}: its records end at byte {ends[-1]}, the segment has {length}")
    records = tuple(range(a, b) for a, b in pairwise(ends))
    return _Table(start, head[end - size - own : end - size], frames, records, checks)


# The columns of the table: one small number per frame, most of which repeat from one group of frames to the next.
_COLUMNS: Final = ("step from the frame before", "references", "first", "second", "quality", "flags")


def _write_table(frames: Sequence[CodedFrame]) -> bytes:
    columns = _to_columns(frames)
    periods = range(1, min(len(frames), MAX_VALUE) + 1)
    _, period = min((int(np.count_nonzero(_residuals(columns, p))), p) for p in periods)
    coder, rows = Encoder(), []
    for column in _residuals(columns, period):
        rows.append(int(best_rows(column[None])[0]) % ROWS)
        coder.put(column, np.full(len(column), rows[-1], np.uint8))
    stream = coder.finish()
    out = [_PERIOD.write(period), *map(_ROW.write, rows), _LENGTH.write(len(stream)), stream]
    out += [_LENGTH.write(len(frame.record)) for frame in frames]
    out += [_SHORT_CRC.pack(_short_crc(frame.record)) for frame in frames]
    return b"".join(out)


def _read_columns(cursor: Cursor, count: int) -> NDArray[np.int64]:
    """Columns [columns, frames] of `_to_columns`, from the beginning of the table."""
    period = parse(cursor, _PERIOD.read)
    rows = [parse(cursor, _ROW.read) for _ in _COLUMNS]
    coder = Decoder(cursor.take(parse(cursor, _LENGTH.read)), cursor.where)
    residuals = np.stack([coder.get(np.full(count, row, np.uint8)) for row in rows]).astype(np.int64)
    coder.finish()
    groups = np.pad(residuals, ((0, 0), (0, -count % period))).reshape(len(rows), -1, period)
    return groups.cumsum(1).reshape(len(rows), -1)[:, :count] % _MODULUS  # each group from the one before


def _residuals(columns: NDArray[np.int64], period: int) -> NDArray[np.int64]:
    """Columns minus themselves a period before, wrapped to -127..127. Undone by `_read_columns`."""
    before = np.zeros_like(columns)
    before[:, period:] = columns[:, :-period]
    residuals: NDArray[np.int64] = (columns - before + MAX_VALUE) % _MODULUS - MAX_VALUE
    return residuals


def _to_columns(frames: Sequence[CodedFrame]) -> NDArray[np.int64]:
    """Small numbers 0..254 [columns, frames]; references count records back, a step is taken modulo 255."""
    place_of = {frame.number: place for place, frame in enumerate(frames)}
    rows, before = [], 0
    for place, frame in enumerate(frames):
        step, back = frame.number - before, [place - place_of[r] for r in frame.references]
        if abs(step) > MAX_VALUE or max(back, default=0) >= _MODULUS:
            raise ValueError(f"frame {frame.number} is coded too far from the frame before it or from its references")
        back += [0] * (MAX_REFERENCES - len(back))
        rows.append((step % _MODULUS, len(frame.references), *back, frame.quality, frame.flags))
        before = frame.number
    return np.asarray(rows, np.int64).T


def _from_columns(columns: NDArray[np.int64], where: str) -> tuple[CodedFrame, ...]:
    """Inverse of `_to_columns`, checked."""
    frames: list[CodedFrame] = []
    number = 0
    for place, (step, count, first, second, quality, flags) in enumerate(columns.T.tolist()):
        number += step - _MODULUS if step > MAX_VALUE else step
        back = (first, second)[: min(count, MAX_REFERENCES)]
        if count > MAX_REFERENCES or any((first, second)[count:]) or not all(1 <= b <= place for b in back):
            raise MalformedChunk(f"{where}: record {place} has references that do not stand before it")
        frames.append(CodedFrame(number, tuple(frames[place - b].number for b in back), quality, flags, b""))
    try:
        _check(frames)
    except ValueError as error:
        raise MalformedChunk(f"{where}: {error}") from error
    return tuple(frames)


def _check(frames: Sequence[CodedFrame]) -> None:
    """Raise ValueError for what no segment may hold."""
    if not frames:
        raise ValueError("a segment holds a frame at least")
    depth: dict[int, int] = {}
    for place, frame in enumerate(frames):
        if not 0 <= frame.number < len(frames) or frame.number in depth:
            raise ValueError(f"record {place} is of frame {frame.number}, which is there already or in no segment")
        if not (0 <= frame.quality < QUALITIES and 0 <= frame.flags < FLAG_LIMIT):
            raise ValueError(f"frame {frame.number} has quality {frame.quality}, flags {frame.flags}: out of range")
        missing = [r for r in frame.references if r not in depth]
        if missing or len(frame.references) > MAX_REFERENCES:
            raise ValueError(f"frame {frame.number} refers to {frame.references}: too many, or not coded before it")
        depth[frame.number] = 1 + max((depth[r] for r in frame.references), default=0)
        if depth[frame.number] > MAX_DEPTH:
            raise ValueError(f"frame {frame.number} is {depth[frame.number]} frames deep, over {MAX_DEPTH}")


def _short_crc(record: bytes) -> int:
    return zlib.crc32(record) & 0xFFFF
