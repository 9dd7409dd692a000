"""A segment of coded frames: what the SEGM chunk of a predictive file holds.

    start, frames, weights length, table length, table, CRC-32 of all before
    weights, then one record per frame, in coding order

The table says of each record which frame it is, what it refers to and where it lies, so that a reader takes the records
that a frame needs and no others; each is checked by a CRC of its own. Records are opaque here: what they hold, the
network of the header knows how to parse.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bitstream.entropy import Decoder, Encoder, best_rows
from bitstream.errors import ChecksumMismatch, MalformedChunk
from bitstream.fields import Cursor, Uint, parse
from bitstream.tables import MAX_VALUE, ROWS

__all__ = ["MAX_DEPTH", "QUALITIES", "CodedFrame", "FrameSegment", "FrameTable", "chain", "read_table", "write_frames"]

QUALITIES: Final = 64
MAX_DEPTH: Final = 16  # frames from one that needs no other to the last of a chain
MAX_REFERENCES: Final = 2
_MODULUS: Final = 2 * MAX_VALUE + 1

_START = Uint(0, 2**32 - 1)
_COUNT = Uint(1, 2**32 - 1)
_LENGTH = Uint(0, 2**31)
_BYTE = Uint(0, 127)
_CRC = struct.Struct("<I")
_SHORT_CRC = struct.Struct("<H")  # of a record: it finds damage that the range coder's own check does not


@dataclass(frozen=True)
class CodedFrame:
    """One frame: its place in the table, and its record."""

    number: int  # in the segment, from 0
    references: tuple[int, ...]  # none for a key frame, else one or two earlier frames by number
    quality: int  # 0..63
    flags: int  # 0..15: which parts the record holds; see the network
    record: bytes


@dataclass(frozen=True)
class FrameTable:
    """All of a segment but the bytes of its records."""

    start: int  # first frame
    frames: tuple[CodedFrame, ...]  # in coding order, records empty
    weights: range  # bytes in the payload
    records: tuple[range, ...]  # likewise, of each frame
    checks: tuple[int, ...]  # CRC-32 of each record, its low 16 bits

    def record(self, place: int, data: bytes, where: str) -> CodedFrame:
        """Frame `place` in coding order with its record, checked. Raises ChecksumMismatch."""
        frame = self.frames[place]
        if zlib.crc32(data) & 0xFFFF != self.checks[place]:
            raise ChecksumMismatch(f"{where}: the record of frame {self.start + frame.number} is damaged")
        return CodedFrame(frame.number, frame.references, frame.quality, frame.flags, data)


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


def write_frames(start: int, frames: Sequence[CodedFrame], weights: bytes = b"") -> bytes:
    """The payload. Raises ValueError where frames are not each there once, or refer to what does not stand before."""
    _check(frames)
    table = _write_table(frames)
    head = b"".join(
        (
            _START.write(start),
            _COUNT.write(len(frames)),
            _LENGTH.write(len(weights)),
            _LENGTH.write(len(table)),
            table,
        )
    )
    return head + _CRC.pack(zlib.crc32(head)) + weights + b"".join(frame.record for frame in frames)


def read_table(payload: bytes, length: int, where: str) -> FrameTable:
    """The table of a segment of `length` bytes, from its beginning, as far as the table's end at least.

    Inverse of `write_frames` together with `FrameTable.record`. Raises MalformedChunk and ChecksumMismatch.
    """
    cursor = Cursor(payload, where)
    start = parse(cursor, _START.read)
    count = parse(cursor, _COUNT.read)
    weights = parse(cursor, _LENGTH.read)
    size = parse(cursor, _LENGTH.read)
    if count * 3 > size:
        raise MalformedChunk(f"{where}: a table of {size} bytes cannot hold {count} frames")
    table = Cursor(cursor.take(size), f"{where}, table")
    end = cursor.position
    if _CRC.pack(zlib.crc32(payload[:end])) != cursor.take(_CRC.size):
        raise ChecksumMismatch(f"{where}: the table of frames is damaged")
    columns = _read_columns(table, count)
    lengths = [parse(table, _LENGTH.read) for _ in range(count)]
    checks = [_SHORT_CRC.unpack(table.take(_SHORT_CRC.size))[0] for _ in range(count)]
    table.finish()
    position = cursor.position
    held = range(position, position + weights)
    position += weights
    records = []
    for n in lengths:
        records.append(range(position, position + n))
        position += n
    if position != length:
        raise MalformedChunk(f"{where}: its parts end at byte {position}, the segment has {length}")
    return FrameTable(start, _from_columns(columns, where), held, tuple(records), tuple(checks))


# The columns of the table: one small number per frame, most of which repeat from one group of frames to the next.
_COLUMNS: Final = ("step from the frame before", "references", "first", "second", "quality", "flags")


def _write_table(frames: Sequence[CodedFrame]) -> bytes:
    columns = _to_columns(frames)
    periods = range(1, min(len(frames), MAX_VALUE) + 1)
    _, period = min((int(np.count_nonzero(_residuals(columns, p))), p) for p in periods)
    coder, rows = Encoder(), bytearray()
    for column in _residuals(columns, period):
        row = int(best_rows(column[None])[0]) % ROWS
        rows.append(row)
        coder.put(column, np.full(len(column), row, np.uint8))
    stream = coder.finish()
    lengths = b"".join(_LENGTH.write(len(frame.record)) for frame in frames)
    checks = b"".join(_SHORT_CRC.pack(zlib.crc32(frame.record) & 0xFFFF) for frame in frames)
    return _BYTE.write(period) + bytes(rows) + _LENGTH.write(len(stream)) + stream + lengths + checks


def _read_columns(cursor: Cursor, count: int) -> NDArray[np.int64]:
    period = parse(cursor, _BYTE.read)
    rows = cursor.take(len(_COLUMNS))
    if not 1 <= period <= MAX_VALUE or max(rows) >= ROWS:
        raise MalformedChunk(f"{cursor.where}: period or row out of range")
    coder = Decoder(cursor.take(parse(cursor, _LENGTH.read)), cursor.where)
    residuals = np.stack([coder.get(np.full(count, row, np.uint8)) for row in rows]).astype(np.int64)
    coder.finish()
    columns = residuals.copy()
    for first in range(period, count, period):  # each group from the one before
        columns[:, first : first + period] += columns[:, first - period : first][:, : count - first]
    return columns % _MODULUS


def _residuals(columns: NDArray[np.int64], period: int) -> NDArray[np.int64]:
    """Columns minus themselves a period before, wrapped to -127..127. Undone by `_read_columns`."""
    before = np.zeros_like(columns)
    before[:, period:] = columns[:, :-period]
    residuals: NDArray[np.int64] = (columns - before + MAX_VALUE) % _MODULUS - MAX_VALUE
    return residuals


def _to_columns(frames: Sequence[CodedFrame]) -> NDArray[np.int64]:
    """Small numbers 0..254 [columns, frames]; references count records back, a step wraps at 255."""
    place_of = {frame.number: place for place, frame in enumerate(frames)}
    rows, before = [], 0
    for place, frame in enumerate(frames):
        back = [place - place_of[r] for r in frame.references]
        back += [0] * (MAX_REFERENCES - len(back))
        rows.append(((frame.number - before) % _MODULUS, len(frame.references), *back, frame.quality, frame.flags))
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
        if quality >= QUALITIES or flags > 15:
            raise MalformedChunk(f"{where}: record {place} has quality {quality} or flags {flags} out of range")
        frames.append(CodedFrame(number, tuple(frames[place - b].number for b in back), quality, flags, b""))
    try:
        _check(frames)
    except ValueError as error:
        raise MalformedChunk(f"{where}: {error}") from error
    return tuple(frames)


def _check(frames: Sequence[CodedFrame]) -> None:
    """Raise ValueError for what no segment may hold."""
    depth: dict[int, int] = {}
    for place, frame in enumerate(frames):
        if not 0 <= frame.number < len(frames) or frame.number in depth:
            raise ValueError(f"record {place} is of frame {frame.number}, which is there already or in no segment")
        missing = [r for r in frame.references if r not in depth]
        if missing:
            raise ValueError(f"frame {frame.number} refers to frame {missing[0]}, which is not coded before it")
        depth[frame.number] = 1 + max((depth[r] for r in frame.references), default=0)
        if depth[frame.number] > MAX_DEPTH:
            raise ValueError(f"frame {frame.number} is {depth[frame.number]} frames deep, over {MAX_DEPTH}")


class FrameSegment:
    """A segment of coded frames, its records read when they are asked for."""

    def __init__(self, table: FrameTable, read: Callable[[range], bytes], where: str) -> None:
        """read: bytes of the payload by their places; where: names the segment in errors."""
        self.table, self._read, self._where = table, read, where

    @classmethod
    def of(cls, payload: bytes, where: str) -> FrameSegment:
        """A segment held in memory. Raises MalformedChunk and ChecksumMismatch."""
        return cls(read_table(payload, len(payload), where), lambda place: payload[place.start : place.stop], where)

    @property
    def start(self) -> int:
        """Its first frame in the file."""
        return self.table.start

    @property
    def frames(self) -> int:
        """How many frames it holds."""
        return len(self.table.frames)

    def record(self, place: int) -> CodedFrame:
        """The frame coded at `place`, with its record. Raises ChecksumMismatch."""
        return self.table.record(place, self._read(self.table.records[place]), self._where)

    def weights(self) -> bytes:
        """The video's own differences to the weights of the base."""
        return self._read(self.table.weights)
