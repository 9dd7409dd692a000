"""The table of a segment of coded frames: of each its number, what it refers to, its quality, flags and length.

    row of each column, kinds of flags, length of the stream, columns by one range coder, low bits of the lengths

A column has one small number per frame, most of which are 0: writer and reader both follow what the frames coded so far
let expect of the next one, and the columns say how it differs from that.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from bitstream.entropy import Decoder, Encoder, histograms
from bitstream.errors import MalformedChunk
from bitstream.fields import Cursor, Uint, parse
from bitstream.tables import MAX_VALUE, bit_costs

__all__ = [
    "COLUMNS",
    "FLAG_LIMIT",
    "MAX_DEPTH",
    "MAX_DIGITS",
    "MAX_REFERENCES",
    "QUALITIES",
    "CodedFrame",
    "check_frames",
    "read_columns",
    "write_columns",
]

QUALITIES: Final = 64
FLAG_LIMIT: Final = 128  # flags of a record are below: which of its parts are there, and how the frame is made
MAX_DEPTH: Final = 16  # frames from one that needs no other to the last of a chain
MAX_REFERENCES: Final = 2
MAX_DIGITS: Final = 31  # binary ones, of the length of a record
COLUMNS: Final = ("gap", "offset", "references", "first", "second", "quality", "digits", "kind")
_MODULUS: Final = 2 * MAX_VALUE + 1

_KINDS = Uint(1, FLAG_LIMIT)
_FLAGS = Uint(0, FLAG_LIMIT - 1)
_STREAM = Uint(0, 2**31)


@dataclass(frozen=True)
class CodedFrame:
    """One frame: its place in the table, and its record."""

    number: int  # in the segment, from 0
    references: tuple[int, ...]  # none for a key frame, else one or two frames coded before, by number
    quality: int  # 0..63
    flags: int  # 0..127: which parts the record holds, and how; see the network
    record: bytes


def write_columns(frames: Sequence[CodedFrame]) -> bytes:
    """The table of frames in coding order. Raises ValueError for what no segment may hold."""
    check_frames(frames)
    walk = _Walk()
    told = [walk.tell(frame) for frame in frames]
    kinds = [flags for flags, _ in Counter(sorted(frame.flags for frame in frames)).most_common()]
    columns = np.column_stack((told, [kinds.index(frame.flags) for frame in frames])).T
    rows = (histograms(columns) @ bit_costs().T).argmin(1).astype(np.uint8)
    coder = Encoder(short=True)
    for column, row in zip(columns, rows, strict=True):
        coder.put(column, np.full(len(column), row))
    stream = coder.finish()
    out = [rows.tobytes(), _KINDS.write(len(kinds)), *map(_FLAGS.write, kinds), _STREAM.write(len(stream)), stream]
    return b"".join((*out, _write_low_bits(len(frame.record) for frame in frames)))


def read_columns(cursor: Cursor, count: int) -> tuple[tuple[CodedFrame, ...], list[int]]:
    """Inverse of `write_columns`: `count` frames without their records, and the lengths of these.

    Raises MalformedChunk.
    """
    rows = cursor.take(len(COLUMNS))
    kinds = [parse(cursor, _FLAGS.read) for _ in range(parse(cursor, _KINDS.read))]
    coder = Decoder(cursor.take(parse(cursor, _STREAM.read)), cursor.where, short=True)
    columns = np.stack([coder.get(np.full(count, row, np.uint8)) for row in rows])
    coder.finish()
    unknown = [kind for kind in columns[-1].tolist() if not 0 <= kind < len(kinds)]
    if unknown:
        raise MalformedChunk(f"{cursor.where}: a frame has flags of kind {unknown[0]}, there are {len(kinds)}")
    walk = _Walk()
    try:
        heard = [walk.hear(told, kinds[kind]) for *told, kind in columns.T.tolist()]
        frames, digits = zip(*heard, strict=True)
        check_frames(frames)
        return frames, _read_low_bits(cursor, digits)
    except ValueError as error:
        raise MalformedChunk(f"{cursor.where}: {error}") from error


def _write_low_bits(lengths: Iterable[int]) -> bytes:
    """Binary digits of the lengths, the highest first, without the first 1 of each; 0 bits fill the last byte."""
    bits = "".join(f"{length:b}"[1:] for length in lengths)
    size = -(-len(bits) // 8)
    return int("0" + bits.ljust(8 * size, "0"), 2).to_bytes(size, "big")


def _read_low_bits(cursor: Cursor, digits: Sequence[int]) -> list[int]:
    """Inverse of `_write_low_bits`, given how many digits each length has; 0 has none. Raises ValueError."""
    ends = np.cumsum([max(0, d - 1) for d in digits]).tolist()
    data = cursor.take(-(-ends[-1] // 8))
    bits = "".join(f"{byte:08b}" for byte in data)
    if "1" in bits[ends[-1] :]:
        raise ValueError("the lengths of records are filled up with ones")
    return [int("1" + bits[end - d + 1 : end], 2) if d else 0 for d, end in zip(digits, ends, strict=True)]


@dataclass(frozen=True)
class _Gap:
    """Numbers that no frame so far has: those between low and high, or all above low."""

    low: int  # a coded frame, or -1
    high: int | None  # a coded frame, or None: there is no end
    expected: int  # the number among them that comes next

    def __contains__(self, number: int) -> bool:
        return self.low < number and (self.high is None or number < self.high)

    @property
    def width(self) -> int:
        """0 where there is no end."""
        return 0 if self.high is None else self.high - self.low

    def ends(self, backwards: bool) -> list[int]:
        """The coded frames beside it, the lower first, or backwards."""
        ends = [end for end in (self.low, self.high) if end is not None and end >= 0]
        return ends[::-1] if backwards else ends


class _Walk:
    """Frames in coding order, and what those so far let expect of the next."""

    def __init__(self) -> None:
        self._gaps: deque[_Gap] = deque()  # that have an end, the oldest first
        self._last = _Gap(-1, None, 0)  # that has none
        self._numbers: list[int] = []
        self._place_of: dict[int, int] = {}
        self._sizes = {-1: (0, 0)}  # quality and digits of the last frame in a gap of each width; -1: in any

    def tell(self, frame: CodedFrame) -> tuple[int, ...]:
        """Its columns but for the kind, -127..127. Raises ValueError where it is too far from what is expected."""
        index = self._index_of(frame.number)
        gap = self._gap(index)
        offset, more = frame.number - gap.expected, len(frame.references) - len(gap.ends(False))
        ways = [self._way(gap.ends(bool(second)), r) for second, r in enumerate(frame.references)]
        ways += [0] * (MAX_REFERENCES - len(ways))
        if abs(offset) > MAX_VALUE or max(index, *ways) >= _MODULUS:
            raise ValueError(f"frame {frame.number} is coded too far from its neighbours or from its references")
        digits = len(frame.record).bit_length()
        if digits > MAX_DIGITS:
            raise ValueError(f"frame {frame.number} has a record of {len(frame.record)} bytes")
        quality_expected, digits_expected = self._expected_sizes(gap)
        self._add(index, frame, digits)
        sizes = frame.quality - quality_expected, digits - digits_expected
        return _wrapped(index), offset, more, *map(_wrapped, ways), *sizes

    def hear(self, told: Sequence[int], flags: int) -> tuple[CodedFrame, int]:
        """Inverse of `tell`: the frame without its record, and the binary digits of its length. Raises ValueError."""
        index, offset, more, first, second, quality, digits = told
        index %= _MODULUS
        gap = self._gap(index)
        place, number, count = f"record {len(self._numbers)}", gap.expected + offset, len(gap.ends(False)) + more
        if number not in gap:
            raise ValueError(f"{place} is of frame {number}, which is there already or in another gap")
        if not 0 <= count <= MAX_REFERENCES or any((first, second)[count:]):
            raise ValueError(f"{place} has {count} references, or names more of them")
        ways = enumerate((first % _MODULUS, second % _MODULUS)[:count])
        references = tuple(self._reference(gap.ends(bool(backwards)), way) for backwards, way in ways)
        quality_expected, digits_expected = self._expected_sizes(gap)
        quality, digits = quality + quality_expected, digits + digits_expected
        if not 0 <= digits <= MAX_DIGITS:
            raise ValueError(f"{place} has a length of {digits} binary digits")
        frame = CodedFrame(number, references, quality, flags, b"")
        self._add(index, frame, digits)
        return frame, digits

    def _index_of(self, number: int) -> int:
        """Which gap a number lies in."""
        if number in self._last:
            return len(self._gaps)
        return next(index for index, gap in enumerate(self._gaps) if number in gap)

    def _gap(self, index: int) -> _Gap:
        """Raises ValueError where there are not as many gaps."""
        if index > len(self._gaps):
            raise ValueError(f"record {len(self._numbers)} lies in gap {index} of {len(self._gaps) + 1}")
        return self._gaps[index] if index < len(self._gaps) else self._last

    def _way(self, ends: list[int], reference: int) -> int:
        """How a reference is told: which end of the gap it is, or else how many places before it is coded."""
        if reference in ends:
            return ends.index(reference)
        return len(ends) + len(self._numbers) - 1 - self._place_of[reference]

    def _reference(self, ends: list[int], way: int) -> int:
        """Inverse of `_way`. Raises ValueError."""
        if way < len(ends):
            return ends[way]
        place = len(self._numbers) - 1 - (way - len(ends))
        if place < 0 or self._numbers[place] in ends:
            where = f"record {len(self._numbers)}"
            raise ValueError(f"{where} has references that do not stand before it, or that it could name as an end")
        return self._numbers[place]

    def _expected_sizes(self, gap: _Gap) -> tuple[int, int]:
        """Quality and digits: those of the last frame in as wide a gap, or else of the last one."""
        return self._sizes.get(gap.width, self._sizes[-1])

    def _add(self, index: int, frame: CodedFrame, digits: int) -> None:
        """Go on to the next frame."""
        gap, number = self._gap(index), frame.number
        if gap is self._last:
            self._last = _Gap(number, None, 2 * number - gap.low)
        else:
            del self._gaps[index]
        for low, high in ((gap.low, number), (number, number if gap.high is None else gap.high)):
            if high - low > 1:
                self._gaps.append(_Gap(low, high, (low + high) // 2))
        self._place_of[number] = len(self._numbers)
        self._numbers.append(number)
        self._sizes[gap.width] = self._sizes[-1] = frame.quality, digits


def _wrapped(value: int) -> int:
    """0..254 as -127..127; undone by % 255."""
    return (value + MAX_VALUE) % _MODULUS - MAX_VALUE


def check_frames(frames: Sequence[CodedFrame]) -> None:
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
