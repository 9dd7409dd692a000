"""Kinds of field: how one value of a chunk is written, read and kept in its legal range.

Each kind has an inverse pair, `write(value) -> bytes` and `read(cursor) -> value`; both raise ValueError for a value
out of the legal range. A `Record` is a dataclass and the one list of fields that its writer and its reader walk.
"""

import math
import operator
import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Protocol, TypeVar

from bitstream.errors import MalformedChunk

__all__ = [
    "Blob",
    "Bool",
    "Cursor",
    "Float32",
    "Float64",
    "Hex",
    "Kind",
    "Maybe",
    "OneOf",
    "Ratio",
    "Record",
    "Repeated",
    "Sint",
    "Text",
    "Tuple",
    "Uint",
    "parse",
    "read_uint",
    "write_uint",
]

T = TypeVar("T")

_MAX_UINT_BYTES = 9  # 63 bits
_CONTROL_CHARACTER = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class Cursor:
    """A position in the payload of a chunk; `where` names the chunk in errors."""

    def __init__(self, data: bytes, where: str) -> None:
        self.data = data
        self.where = where
        self.position = 0

    def take(self, count: int) -> bytes:
        """The next `count` bytes. Raises MalformedChunk where fewer are left."""
        left = len(self.data) - self.position
        if count > left:
            raise MalformedChunk(f"{self.where} ends early: {count} bytes wanted, {left} left")
        self.position += count
        return self.data[self.position - count : self.position]

    def finish(self) -> None:
        """Raise MalformedChunk where bytes are left over."""
        left = len(self.data) - self.position
        if left:
            raise MalformedChunk(f"{self.where} has {left} bytes too many")


def parse(cursor: Cursor, read: Callable[[Cursor], T]) -> T:
    """What `read(cursor)` returns, its ValueError turned into a MalformedChunk that names the chunk."""
    try:
        return read(cursor)
    except ValueError as error:
        raise MalformedChunk(f"{cursor.where}: {error}") from error


def write_uint(value: int) -> bytes:
    """LEB128 of 0 <= value < 2**63: seven bits a byte, low bits first, the top bit set in all bytes but the last."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def read_uint(cursor: Cursor) -> int:
    """Inverse of `write_uint`. Raises ValueError for more than 9 bytes and for a form that is not the shortest."""
    value = 0
    for index in range(_MAX_UINT_BYTES):
        byte = cursor.take(1)[0]
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            if byte == 0 and index > 0:
                raise ValueError("an integer is not in its shortest form")
            return value
    raise ValueError(f"an integer has more than {_MAX_UINT_BYTES} bytes")


class Kind(Protocol):
    """What every kind of field can do."""

    def write(self, value: Any) -> bytes:
        """The bytes of `value`. Raises ValueError where it is out of the legal range."""

    def read(self, cursor: Cursor) -> Any:
        """The next value. Raises ValueError where it is out of the legal range."""


@dataclass(frozen=True)
class Uint:
    """An unsigned integer low..high, as LEB128."""

    low: int
    high: int

    def write(self, value: int) -> bytes:
        return write_uint(self._checked(value))

    def read(self, cursor: Cursor) -> int:
        return self._checked(read_uint(cursor))

    def _checked(self, value: int) -> int:
        if not self.low <= value <= self.high:
            raise ValueError(f"{value} is not in {self.low}..{self.high}")
        return operator.index(value)


@dataclass(frozen=True)
class Sint:
    """A signed integer, -2**61 <= v <= 2**61, as the LEB128 of 2 v for v >= 0 and of -2 v - 1 for v < 0."""

    _CODED = Uint(0, 2**62)

    def write(self, value: int) -> bytes:
        return self._CODED.write(2 * value if value >= 0 else -2 * value - 1)

    def read(self, cursor: Cursor) -> int:
        coded = self._CODED.read(cursor)
        return -(coded + 1) // 2 if coded & 1 else coded // 2


@dataclass(frozen=True)
class Bool:
    """One byte, 0 or 1."""

    def write(self, value: bool) -> bytes:
        return bytes([bool(value)])

    def read(self, cursor: Cursor) -> bool:
        byte = cursor.take(1)[0]
        if byte > 1:
            raise ValueError(f"{byte} is neither 0 nor 1")
        return bool(byte)


@dataclass(frozen=True)
class Float64:
    """A finite IEEE 754 binary64 low..high, or the one value `also`, little-endian."""

    low: float
    high: float
    also: float | None = None

    def write(self, value: float) -> bytes:
        return struct.pack("<d", self._checked(value))

    def read(self, cursor: Cursor) -> float:
        return self._checked(struct.unpack("<d", cursor.take(8))[0])

    def _checked(self, value: float) -> float:
        if not self.low <= value <= self.high and value != self.also:
            raise ValueError(f"{value} is not in {self.low}..{self.high}")
        return value


@dataclass(frozen=True)
class Float32:
    """An IEEE 754 binary32 or None, little-endian; None is the quiet NaN 00 00 C0 7F, and no other NaN is legal."""

    NONE = bytes.fromhex("0000c07f")

    def write(self, value: float | None) -> bytes:
        return self.NONE if value is None else struct.pack("<f", value)

    def read(self, cursor: Cursor) -> float | None:
        data = cursor.take(4)
        value: float = struct.unpack("<f", data)[0]
        if math.isnan(value) and data != self.NONE:
            raise ValueError(f"the NaN {data.hex(' ')} is not the one that stands for 'not measured'")
        return None if math.isnan(value) else value


@dataclass(frozen=True)
class Ratio:
    """A fraction in lowest terms: numerator, then denominator, each a Uint in 1..2**32 - 1."""

    _TERM = Uint(1, 2**32 - 1)

    def write(self, value: Fraction) -> bytes:
        return self._TERM.write(value.numerator) + self._TERM.write(value.denominator)

    def read(self, cursor: Cursor) -> Fraction:
        numerator, denominator = self._TERM.read(cursor), self._TERM.read(cursor)
        if math.gcd(numerator, denominator) > 1:
            raise ValueError(f"{numerator}/{denominator} is not in lowest terms")
        return Fraction(numerator, denominator)


@dataclass(frozen=True)
class Blob:
    """At most `size` bytes, after their count (Uint)."""

    size: int

    def write(self, value: bytes) -> bytes:
        return Uint(0, self.size).write(len(value)) + value

    def read(self, cursor: Cursor) -> bytes:
        return cursor.take(Uint(0, self.size).read(cursor))


@dataclass(frozen=True)
class Hex:
    """A digest of at most `size` bytes, held as lower-case hexadecimal, stored as a Blob."""

    size: int

    def write(self, value: str) -> bytes:
        data = bytes.fromhex(value)
        if data.hex() != value:
            raise ValueError(f"{value!r} is not lower-case hexadecimal")
        return Blob(self.size).write(data)

    def read(self, cursor: Cursor) -> str:
        return Blob(self.size).read(cursor).hex()


@dataclass(frozen=True)
class Text:
    """Text without control characters (it is shown on terminals), as a Blob of at most `size` bytes of UTF-8."""

    size: int

    def write(self, value: str) -> bytes:
        return Blob(self.size).write(self._checked(value).encode())

    def read(self, cursor: Cursor) -> str:
        return self._checked(Blob(self.size).read(cursor).decode())

    def _checked(self, value: str) -> str:
        if _CONTROL_CHARACTER.search(value):
            raise ValueError(f"{value!r} has control characters")
        return value


@dataclass(frozen=True)
class Tuple:
    """One value of each of `kinds`, with nothing between."""

    kinds: tuple[Kind, ...]

    def write(self, value: tuple[Any, ...]) -> bytes:
        if len(value) != len(self.kinds):
            raise ValueError(f"{value!r} has {len(value)} items, not {len(self.kinds)}")
        return b"".join(kind.write(item) for kind, item in zip(self.kinds, value, strict=True))

    def read(self, cursor: Cursor) -> tuple[Any, ...]:
        return tuple(kind.read(cursor) for kind in self.kinds)


@dataclass(frozen=True)
class Repeated:
    """low..high values of one kind, after their count (Uint)."""

    kind: Kind
    low: int
    high: int

    def write(self, value: tuple[Any, ...]) -> bytes:
        return Uint(self.low, self.high).write(len(value)) + b"".join(self.kind.write(item) for item in value)

    def read(self, cursor: Cursor) -> tuple[Any, ...]:
        return tuple(self.kind.read(cursor) for _ in range(Uint(self.low, self.high).read(cursor)))


@dataclass(frozen=True)
class Maybe:
    """One byte, 0 for None, or 1 and then the value."""

    kind: Kind

    def write(self, value: Any | None) -> bytes:
        return Bool().write(False) if value is None else Bool().write(True) + self.kind.write(value)

    def read(self, cursor: Cursor) -> Any | None:
        return self.kind.read(cursor) if Bool().read(cursor) else None


@dataclass(frozen=True)
class Record:
    """The fields of a dataclass, in the order of the list, with nothing between."""

    type: Callable[..., Any]
    fields: tuple[tuple[str, Kind], ...]

    def write(self, value: Any) -> bytes:
        return b"".join(_named(name, kind.write, getattr(value, name)) for name, kind in self.fields)

    def read(self, cursor: Cursor) -> Any:
        return self.type(**{name: _named(name, kind.read, cursor) for name, kind in self.fields})


@dataclass(frozen=True)
class OneOf:
    """One of several records, told apart by the first word, up to an underscore, of their first field, a text.

    named: by their words; other: for all other words.
    """

    other: Record
    named: Mapping[str, Record]

    def write(self, value: Any) -> bytes:
        records = (self.other, *self.named.values())
        return next(record for record in records if record.type is type(value)).write(value)

    def read(self, cursor: Cursor) -> Any:
        start = cursor.position
        name, first = self.other.fields[0]
        word = _named(name, first.read, cursor).partition("_")[0]
        cursor.position = start
        return self.named.get(word, self.other).read(cursor)


def _named(name: str, function: Callable[[Any], T], argument: Any) -> T:
    try:
        return function(argument)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
