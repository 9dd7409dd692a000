"""The header and the small chunks beside it."""

import dataclasses
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitstream import Header, LimitExceeded, Limits, MalformedChunk, Quality
from bitstream.fields import Record
from bitstream.header import (
    ARCHITECTURE,
    COLOR,
    HEADER,
    PREDICTIVE,
    QUALITY,
    TEACHER,
    divides,
    read_header,
    read_quality,
    read_timestamps,
    write_header,
    write_quality,
    write_timestamps,
)
from tests.bitstream import payloads


@pytest.mark.parametrize("record", [ARCHITECTURE, PREDICTIVE, TEACHER, COLOR, HEADER, QUALITY])
def test_the_list_of_fields_covers_the_dataclass(record: Record) -> None:
    names = {field.name for field in dataclasses.fields(record.type)}  # type: ignore[arg-type]
    assert {name for name, _ in record.fields} == names
    assert len(record.fields) == len(names)


@given(payloads.headers())
def test_header_round_trip(header: Header) -> None:
    assert read_header(write_header(header), Limits()) == header


def test_header_is_small() -> None:
    assert len(write_header(payloads.HEADER)) < 150


def test_header_without_teacher_is_smaller() -> None:
    header = replace(payloads.HEADER, teacher=None, architecture=replace(payloads.ARCHITECTURE, clip_dim=0))
    assert len(write_header(header)) < 120
    assert read_header(write_header(header), Limits()).teacher is None


def test_non_square_pixels_and_colour_are_kept() -> None:
    header = replace(
        payloads.HEADER,
        sar=Fraction(16, 11),
        color=replace(payloads.HEADER.color, matrix=6, full_range=True),
        time_base=Fraction(1, 1000),
    )
    assert read_header(write_header(header), Limits()) == header


ILLEGAL = [
    (replace(payloads.HEADER, frames=0), "frames: 0 is not in"),
    (replace(payloads.HEADER, height=2**20 + 1), "height: 1048577 is not in"),
    (replace(payloads.HEADER, fps=Fraction(0)), "fps: 0 is not in"),
    (replace(payloads.HEADER, grid=(0, 4)), "grid: 0 is not in"),
    (replace(payloads.HEADER, height=1, grid=(2, 4)), "grid: 2x4 patches do not fit 1x1280 pixels"),
    (replace(payloads.HEADER, height=6, grid=(5, 4)), "grid: 5x4 patches do not fit 6x1280 pixels, some would be"),
    (replace(payloads.HEADER, width=9, grid=(2, 7)), "grid: 2x7 patches do not fit 640x9 pixels, some would be"),
    (replace(payloads.HEADER, split=(19, 18, 20)), "split: 19_18_20 does not rise"),
    (replace(payloads.HEADER, teacher=None), "clip_dim: is not the width"),
    (replace(payloads.HEADER, encoder="x" * 65), "encoder: 65 is not in"),
    (
        replace(payloads.HEADER, architecture=replace(payloads.ARCHITECTURE, dec_strds=(5, 0))),
        "architecture: dec_strds: 0 is not in",
    ),
    (
        replace(payloads.HEADER, architecture=replace(payloads.ARCHITECTURE, dec_blks=(1, 2))),
        "dec_blks: are not as many as dec_strds",
    ),
    (
        replace(payloads.HEADER, architecture=replace(payloads.ARCHITECTURE, reduce=0.0)),
        "architecture: reduce: 0.0 is not in",
    ),
]


@pytest.mark.parametrize(("header", "message"), ILLEGAL)
def test_illegal_header_is_not_written(header: Header, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        write_header(header)


PAYLOAD = write_header(payloads.HEADER)


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (b"\x00" + PAYLOAD[1:], "HEAD: frames: 0 is not in"),
        (PAYLOAD.replace(b"gelu", b"ge\nu"), "HEAD: architecture: act: 'ge.*' has control characters"),
        (PAYLOAD.replace(b"gelu", b"ge\xffu"), "HEAD: architecture: act: .*can't decode"),
        (PAYLOAD[:-1], "HEAD ends early"),
        (PAYLOAD + b"\x00", "HEAD has 1 bytes too many"),
        (b"", "HEAD ends early"),
    ],
)
def test_illegal_header_is_refused(payload: bytes, message: str) -> None:
    with pytest.raises(MalformedChunk, match=message):
        read_header(payload, Limits())


def test_contradictory_header_is_refused() -> None:
    payload = write_header(payloads.HEADER)
    grid = write_header(replace(payloads.HEADER, grid=(3, 4)))
    place = next(i for i, (a, b) in enumerate(zip(payload, grid, strict=True)) if a != b)
    illegal = write_header(replace(payloads.HEADER, height=2))
    place -= len(payload) - len(illegal)
    with pytest.raises(MalformedChunk, match="HEAD: grid: 3x4 patches do not fit 2x1280 pixels"):
        read_header(illegal[:place] + b"\x03" + illegal[place + 1 :], Limits())


@pytest.mark.parametrize("name", ["frames", "height", "width"])
def test_limits_of_the_header(name: str) -> None:
    declared = getattr(payloads.HEADER, name)
    read_header(write_header(payloads.HEADER), Limits(**{name: declared}))
    with pytest.raises(LimitExceeded, match=f"{name} = {declared}, over the limit of {declared - 1}.*--limit {name}="):
        read_header(write_header(payloads.HEADER), Limits(**{name: declared - 1}))


def test_a_network_that_starts_from_no_base_names_none() -> None:
    with pytest.raises(ValueError, match="base: a digest of 3 bytes, not 0"):
        write_header(replace(payloads.HEADER, base=b"\x00\xff\x12"))


@pytest.mark.parametrize("base", [b"", bytes(15), bytes(17)])
def test_a_predictive_network_names_its_base_by_16_bytes(base: bytes) -> None:
    with pytest.raises(ValueError, match=f"base: a digest of {len(base)} bytes, not 16"):
        write_header(replace(payloads.FRAMES_HEADER, base=base))
    payload = write_header(payloads.FRAMES_HEADER)
    assert payload.endswith(b"\x10" + payloads.FRAMES_HEADER.base)
    with pytest.raises(MalformedChunk, match=f"base: a digest of {len(base)} bytes, not 16"):
        read_header(payload[:-17] + bytes([len(base)]) + base, Limits())


def test_a_predictive_header_takes_few_bytes() -> None:
    payload = write_header(payloads.FRAMES_HEADER)
    assert payload.count(b"\x0apredictive\x00") == 1
    assert len(payload) < 80
    assert read_header(payload, Limits()) == payloads.FRAMES_HEADER


def test_a_predictive_network_of_another_name_is_refused() -> None:
    payload = write_header(payloads.FRAMES_HEADER).replace(b"\x0apredictive", b"\x0cpredictive_2")
    with pytest.raises(MalformedChunk, match="HEAD: kind: 'predictive_2' is unknown"):
        read_header(payload, Limits())


@given(st.integers(-(2**61), 2**50), st.lists(st.integers(1, 2**50), max_size=20))
def test_timestamps_round_trip(first: int, steps: list[int]) -> None:
    timestamps = [first]
    for step in steps:
        timestamps.append(timestamps[-1] + step)
    assert read_timestamps(write_timestamps(tuple(timestamps)), len(timestamps)) == tuple(timestamps)


def test_timestamps_of_a_steady_rate_cost_two_bytes_a_frame() -> None:
    assert len(write_timestamps(tuple(range(0, 3003 * 100, 3003)))) == 1 + 2 * 99


@pytest.mark.parametrize("timestamps", [(0, 0), (5, 4), (0, 2**61 + 1)])
def test_illegal_timestamps_are_not_written(timestamps: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"is not in|over"):
        write_timestamps(timestamps)


@pytest.mark.parametrize(
    ("payload", "frames", "message"),
    [
        (b"", 1, "time ends early"),
        (b"\x00\x01", 3, "time ends early"),
        (b"\x00\x01", 1, "time has 1 bytes too many"),
        (b"\x00\x00", 2, "0 is not in"),
        (b"\x00" + b"\x80" * 8 + b"\x40", 2, "4611686018427387904, over"),
    ],
)
def test_illegal_timestamps_are_refused(payload: bytes, frames: int, message: str) -> None:
    with pytest.raises(MalformedChunk, match=message):
        read_timestamps(payload, frames)


numbers = st.none() | st.floats(width=32, allow_nan=False)


@given(st.builds(Quality, *[numbers] * 7))
def test_quality_round_trip_in_28_bytes(quality: Quality) -> None:
    payload = write_quality(quality)
    assert len(payload) == 28
    assert read_quality(payload) == quality


def test_quality_is_held_as_float32() -> None:
    assert Quality(psnr=33.1).psnr == 33.099998474121094
    assert Quality(psnr=float("nan")).psnr is None
    assert Quality(psnr=float("inf")).psnr == float("inf")


@pytest.mark.parametrize("side", [1, 2, 6, 9, 45, 100])
def test_a_side_is_divided_so_that_every_patch_has_pixels(side: int) -> None:
    for count in range(1, side + 2):
        height = -(-side // count)
        assert divides(side, count) == all(range(side)[row * height : (row + 1) * height] for row in range(count))


def test_patches_of_all_frames_are_limited() -> None:
    payload = write_header(replace(payloads.HEADER, frames=2**20, grid=(16, 8)))
    with pytest.raises(LimitExceeded, match=r"coordinates = 134217728.*--limit coordinates=134217728"):
        read_header(payload, Limits())
    assert read_header(payload, Limits(coordinates=2**27)).grid == (16, 8)
