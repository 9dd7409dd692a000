"""Kinds of field: exact bytes, inverse pairs, legal ranges."""

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitstream.errors import MalformedChunk
from bitstream.fields import (
    Blob,
    Bool,
    Cursor,
    Float32,
    Float64,
    Hex,
    Kind,
    Maybe,
    OneOf,
    Ratio,
    Record,
    Repeated,
    Sint,
    Text,
    Tuple,
    Uint,
    parse,
)


def read(kind: Kind, data: bytes) -> Any:
    """The value of a whole payload."""
    cursor = Cursor(data, "chunk HERE")
    value = parse(cursor, kind.read)
    cursor.finish()
    return value


@pytest.mark.parametrize(
    ("kind", "value", "data"),
    [
        (Uint(0, 300), 0, "00"),
        (Uint(0, 300), 127, "7f"),
        (Uint(0, 300), 128, "8001"),
        (Uint(0, 300), 300, "ac02"),
        (Uint(0, 2**63 - 1), 2**63 - 1, "ffffffffffffffff7f"),
        (Sint(), 0, "00"),
        (Sint(), -1, "01"),
        (Sint(), 1, "02"),
        (Sint(), -3003, "f52e"),
        (Bool(), True, "01"),
        (Float64(0, 9), 1.5, "000000000000f83f"),
        (Float64(0, 9, also=-1), -1, "000000000000f0bf"),
        (Float32(), 33.25, "00000542"),
        (Float32(), None, "0000c07f"),
        (Ratio(), Fraction(30000, 1001), "b0ea01e907"),
        (Blob(3), b"\x00\xff", "0200ff"),
        (Hex(4), "00ff", "0200ff"),
        (Text(5), "näh", "046ec3a468"),
        (Tuple((Uint(0, 9), Bool())), (7, False), "0700"),
        (Repeated(Uint(0, 9), 0, 3), (1, 2), "020102"),
        (Maybe(Uint(0, 9)), None, "00"),
        (Maybe(Uint(0, 9)), 5, "0105"),
    ],
)
def test_bytes_are_pinned_and_read_back(kind: Kind, value: object, data: str) -> None:
    assert kind.write(value).hex() == data
    assert read(kind, bytes.fromhex(data)) == value


@pytest.mark.parametrize(
    ("kind", "data", "message"),
    [
        (Uint(1, 9), "00", r"0 is not in 1\.\.9"),
        (Uint(1, 9), "0a", r"10 is not in 1\.\.9"),
        (Uint(0, 9), "8000", "not in its shortest form"),
        (Uint(0, 2**63 - 1), "ff" * 9 + "01", "more than 9 bytes"),
        (Uint(0, 9), "", "ends early: 1 bytes wanted, 0 left"),
        (Uint(0, 9), "80", "ends early"),
        (Uint(0, 9), "0100", "1 bytes too many"),
        (Bool(), "02", "neither 0 nor 1"),
        (Float64(0, 9), "000000000000f87f", "nan is not in"),
        (Float64(0, 9), "000000000000f0bf", r"-1\.0 is not in"),
        (Float32(), "0100c07f", "not the one that stands for"),
        (Ratio(), "0204", "not in lowest terms"),
        (Ratio(), "0100", r"0 is not in 1\.\."),
        (Blob(3), "0400000000", r"4 is not in 0\.\.3"),
        (Blob(3), "0300", "3 bytes wanted, 1 left"),
        (Text(9), "02c328", "invalid continuation byte"),
        (Text(9), "021b5b", "control characters"),
        (Text(9), "02c29b", "control characters"),
        (Repeated(Uint(0, 9), 1, 2), "00", r"0 is not in 1\.\.2"),
        (Repeated(Uint(0, 9), 1, 2**40), "ffffffff0f0101", "ends early"),
    ],
)
def test_illegal_bytes_are_refused(kind: Kind, data: str, message: str) -> None:
    with pytest.raises(MalformedChunk, match=f"chunk HERE.*{message}"):
        read(kind, bytes.fromhex(data))


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Uint(1, 9), 0),
        (Uint(1, 9), 10),
        (Sint(), 2**61 + 1),
        (Sint(), -(2**61) - 1),
        (Float64(0, 9), math.inf),
        (Float64(0, 9), math.nan),
        (Float64(1, 9, also=-1), 0),
        (Ratio(), Fraction(0)),
        (Ratio(), Fraction(1, 2**32)),
        (Blob(3), b"four"),
        (Hex(3), "0G"),
        (Hex(3), "AB"),
        (Text(3), "four"),
        (Text(9), "\x1b[2J"),
        (Tuple((Bool(),)), (True, True)),
        (Repeated(Bool(), 1, 2), ()),
    ],
)
def test_illegal_values_are_not_written(kind: Kind, value: object) -> None:
    with pytest.raises(ValueError, match=r"is not in|items|hexadecimal|control characters"):
        kind.write(value)


@given(st.integers(0, 2**63 - 1))
def test_uint_round_trip(value: int) -> None:
    assert read(Uint(0, 2**63 - 1), Uint(0, 2**63 - 1).write(value)) == value


@given(st.integers(-(2**61), 2**61))
def test_sint_round_trip(value: int) -> None:
    assert read(Sint(), Sint().write(value)) == value


@given(st.floats(width=32, allow_nan=False))
def test_float32_round_trip(value: float) -> None:
    assert read(Float32(), Float32().write(value)) == value


@dataclass(frozen=True)
class Horse:
    name: str
    hands: int


@dataclass(frozen=True)
class Boat:
    name: str
    length: int
    sails: bool


RIDES = OneOf(
    Record(Horse, (("name", Text(20)), ("hands", Uint(1, 20)))),
    {"boat": Record(Boat, (("name", Text(20)), ("length", Uint(1, 300)), ("sails", Bool())))},
)


@pytest.mark.parametrize(
    "value", [Horse("fury_boat", 15), Horse("boats", 9), Boat("boat_anna", 200, True), Boat("boat", 3, False)]
)
def test_the_first_word_tells_which_record_it_is(value: object) -> None:
    assert read(RIDES, RIDES.write(value)) == value


def test_errors_of_one_of_several_records_name_the_field() -> None:
    with pytest.raises(MalformedChunk, match=r"name: 99 is not in 0\.\.20"):
        read(RIDES, b"\x63")
    with pytest.raises(MalformedChunk, match=r"length: 0 is not in 1\.\.300"):
        read(RIDES, b"\x04boat\x00")
