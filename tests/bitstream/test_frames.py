"""Segments of coded frames: their table, their records, and every way in which they can be wrong."""

import struct
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitstream import (
    BitstreamError,
    ChecksumMismatch,
    CodedFrame,
    Encoder,
    FileReader,
    FrameSegment,
    LimitExceeded,
    Limits,
    MalformedChunk,
    Nerv,
    chain,
    read,
    verify,
    write,
    write_frames,
)
from bitstream.container import Source
from bitstream.frames import MAX_DEPTH
from tests.bitstream.payloads import (
    FRAMES_HEADER,
    FRAMES_SMALL,
    SMALL,
    change,
    coded_frame,
    coded_frames,
    frame_segments,
    uint,
)
from tests.bitstream.test_errors import refused_in_little_memory

Row = tuple[int, int, int, int, int, int]  # step, references, first, second, quality, flags


def payload(
    rows: list[Row],
    records: list[bytes],
    *,
    features: bytes = b"",
    start: int = 0,
    count: int | None = None,
    lengths: list[int] | None = None,
    tail: bytes = b"",
    period: int = 127,
    table_row: int = 30,
) -> bytes:
    """A segment written by hand: no check of its own, every column under one row, nothing taken from frames before."""
    coder = Encoder()
    for column in np.asarray(rows).T:
        wrapped = (column + 127) % 255 - 127
        coder.put(wrapped, np.full(len(column), table_row, np.uint8))
    stream = coder.finish()
    table = bytes([period, *[table_row] * 6]) + uint(len(stream)) + stream
    table += b"".join(uint(n) for n in lengths or [len(r) for r in records])
    table += b"".join(struct.pack("<H", zlib.crc32(r) & 0xFFFF) for r in records) + tail
    head = uint(start) + uint(len(rows) if count is None else count) + uint(len(features)) + uint(len(table))
    head += features + table
    return head + struct.pack("<I", zlib.crc32(head)) + b"".join(records)


KEY: Row = (0, 0, 0, 0, 40, 4)
NEXT: Row = (1, 1, 1, 0, 33, 5)
BOTH: Row = (-1, 2, 2, 1, 29, 7)
ROWS, RECORDS = [KEY, (2, 1, 1, 0, 33, 5), BOTH], [b"key", b"", b"between"]


def test_the_hand_written_segment_is_read() -> None:
    segment = FrameSegment.of(payload(ROWS, RECORDS, features=b"own", start=7), "segment")
    assert (segment.start, segment.frames, segment.features, segment.record_bytes) == (7, 3, b"own", 10)
    assert segment.records() == [
        CodedFrame(0, (), 40, 4, b"key"),
        CodedFrame(2, (0,), 33, 5, b""),
        CodedFrame(1, (0, 2), 29, 7, b"between"),
    ]
    assert segment.coded[2].record == b"", "the table holds no record"


def test_exact_bytes_of_a_segment() -> None:
    frames = [coded_frame(0, (), 3), coded_frame(1, (0,), 2)]
    assert write_frames(5, frames, b"w").hex(" ") == GOLDEN


@given(st.integers(1, 40).flatmap(coded_frames), st.integers(0, 2**32 - 1), st.binary(max_size=20))
@settings(deadline=None, max_examples=60)
def test_frames_round_trip(frames: list[CodedFrame], start: int, features: bytes) -> None:
    segment = FrameSegment.of(write_frames(start, frames, features), "segment")
    assert (segment.start, segment.records(), segment.features) == (start, frames, features)


@given(st.integers(1, 30).flatmap(coded_frames), st.data())
@settings(deadline=None, max_examples=40)
def test_a_chain_is_all_that_a_frame_needs(frames: list[CodedFrame], data: st.DataObject) -> None:
    number = data.draw(st.sampled_from([f.number for f in frames]))
    places = chain(frames, number)
    held = {frames[place].number for place in places}
    assert places == sorted(places)
    assert frames[places[-1]].number == number
    assert all(r in held for place in places for r in frames[place].references)
    assert len(places) <= MAX_DEPTH or any(len(f.references) == 2 for f in frames)


def test_a_regular_structure_costs_few_bytes() -> None:
    """Key frame, anchors every 8, gaps halved: five bytes a frame, two of them a CRC and one a length."""
    frames = [coded_frame(0, (), 90)]
    for anchor in range(8, 97, 8):
        frames.append(coded_frame(anchor, (anchor - 8,), 90))
        for step in (4, 2, 1):
            for n in range(anchor - 8 + step, anchor, 2 * step):
                frames.append(coded_frame(n, (n - step, n + step), 90))
    overhead = len(write_frames(0, frames)) - 90 * len(frames)
    assert len(frames) == 97
    assert overhead < 4.5 * len(frames)


REFUSED_FRAMES = [
    ([], "a frame at least"),
    ([coded_frame(1, (), 1)], "record 0 is of frame 1"),
    ([coded_frame(0, (), 1), coded_frame(0, (), 1)], "record 1 is of frame 0, which is there already"),
    ([coded_frame(0, (0,), 1)], r"frame 0 refers to \(0,\)"),
    ([coded_frame(0, (1,), 1), coded_frame(1, (0,), 1)], r"frame 0 refers to \(1,\).*not coded before it"),
    ([coded_frame(0, (), 1), coded_frame(1, (0, 0, 0), 1)], "too many"),
    ([coded_frame(0, (), 1, 128)], "flags 128: out of range"),
    ([replace(coded_frame(0, (), 1), quality=64)], "quality 64"),
    ([coded_frame(0, (), 1), *(coded_frame(n, (n - 1,), 1) for n in range(1, 17))], "frame 16 is 17 frames deep"),
    ([coded_frame(n, (), 1) for n in (*range(0, 256, 2), *range(1, 256, 2))], "too far"),
    ([*(coded_frame(n, (), 1) for n in range(255)), coded_frame(255, (0,), 1)], "too far"),
]


@pytest.mark.parametrize(("frames", "message"), REFUSED_FRAMES)
def test_illegal_frames_are_not_written(frames: list[CodedFrame], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        write_frames(0, frames)


def deep(count: int) -> list[Row]:
    return [KEY, *[NEXT] * (count - 1)]


REFUSED = [
    (payload([KEY, (0, 0, 0, 0, 40, 4)], [b"a", b"b"]), "record 1 is of frame 0, which is there already"),
    (payload([KEY, (2, 0, 0, 0, 40, 4)], [b"a", b"b"]), "record 1 is of frame 2, .* or in no segment"),
    (payload([(-1, 0, 0, 0, 40, 4)], [b"a"]), "record 0 is of frame -1"),
    (payload([(0, 1, 1, 0, 40, 4)], [b"a"]), "record 0 has references that do not stand before it"),
    (payload([KEY, (1, 1, 2, 0, 40, 4)], [b"a", b"b"]), "record 1 has references that do not"),
    (payload([KEY, (1, 1, 0, 0, 40, 4)], [b"a", b"b"]), "record 1 has references that do not"),
    (payload([KEY, (1, 1, 1, 1, 40, 4)], [b"a", b"b"]), "record 1 has references that do not"),
    (payload([KEY, (1, 3, 1, 1, 40, 4)], [b"a", b"b"]), "record 1 has references that do not"),
    (payload([KEY, (1, 0, 1, 0, 40, 4)], [b"a", b"b"]), "record 1 has references that do not"),
    (payload([(0, 0, 0, 0, 64, 4)], [b"a"]), "quality 64"),
    (payload([(0, 0, 0, 0, 254, 4)], [b"a"]), "quality 254"),
    (payload([(0, 0, 0, 0, 40, 128)], [b"a"]), "flags 128"),
    (payload(deep(17), [b""] * 17), "frame 16 is 17 frames deep, over 16"),
    (payload([KEY], [b"a"], lengths=[2]), "its records end at byte"),
    (payload([KEY], [b"a"], lengths=[0]), "its records end at byte"),
    (payload([KEY], [b"a"], lengths=[2**31]), "its records end at byte"),
    (payload([KEY], [b"a"], lengths=[2**31 + 1]), "2147483649 is not in"),
    (payload([KEY], [b"a"]) + b"\0", "its records end at byte"),
    (payload([KEY], [b"a"], tail=b"\0"), "table has 1 bytes too many"),
    (payload([KEY], [b"a"], period=0), "0 is not in 1..127"),
    (payload([KEY], [b"a"], period=128), "too many|is not in|ends early"),
    (payload([KEY], [b"a"], count=0), "0 is not in 1"),
    (payload([KEY], [b"a"], count=9), "cannot hold 9 frames"),
    (payload([KEY], [b"a"], count=2), "words are not those|ends early"),
    (payload(ROWS, RECORDS, count=2), "words are not those"),
    (b"", "ends early"),
    (b"\0\1\0", "ends early"),
    (b"\0\1\0\7", "its table ends at byte 15, the segment has 4"),
]


@pytest.mark.parametrize(("data", "message"), REFUSED)
def test_each_way_a_segment_can_be_wrong(data: bytes, message: str) -> None:
    with pytest.raises(MalformedChunk, match=message):
        FrameSegment.of(data, "segment 0")


def test_sixteen_frames_are_not_too_deep() -> None:
    assert FrameSegment.of(payload(deep(16), [b""] * 16), "segment").frames == 16


def test_a_row_out_of_the_tables_is_refused() -> None:
    data = payload([KEY], [b"a"])
    place = data.index(bytes([127, *[30] * 6])) + 6
    body = data[:place] + b"\x40" + data[place + 1 : -5]
    with pytest.raises(MalformedChunk, match=r"64 is not in 0\.\.63"):
        FrameSegment.of(body + struct.pack("<I", zlib.crc32(body)) + data[-1:], "segment")


@given(frame_segments(3, 5), st.data())
@settings(deadline=None, max_examples=100)
def test_a_flipped_bit_of_the_table_is_found(segment: FrameSegment, data: st.DataObject) -> None:
    coded = write_frames(segment.start, segment.records(), segment.features)
    end = len(coded) - segment.record_bytes
    place, bit = data.draw(st.integers(0, end - 1)), data.draw(st.integers(0, 7))
    damaged = coded[:place] + bytes([coded[place] ^ 1 << bit]) + coded[place + 1 :]
    with pytest.raises((ChecksumMismatch, MalformedChunk, LimitExceeded)):
        FrameSegment.of(damaged, "segment")


def test_a_flipped_bit_of_a_record_costs_that_record() -> None:
    coded = payload(ROWS, RECORDS, start=10)
    first = len(coded) - 10
    for place in range(first, len(coded)):
        for bit in range(8):
            segment = FrameSegment.of(coded[:place] + bytes([coded[place] ^ 1 << bit]) + coded[place + 1 :], "segment")
            hit, number = (0, 10) if place < first + 3 else (2, 11)
            for other in {0, 1, 2} - {hit}:
                assert segment.record(other).record == RECORDS[other]
            with pytest.raises(ChecksumMismatch, match=f"segment: the record of frame {number} is damaged"):
                segment.record(hit)


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (b"\0" + uint(2**32 - 1) + b"\0" + uint(2**31), MalformedChunk, "its table ends at byte"),
        (b"\0\1" + uint(2**31) + b"\0" + bytes(8), MalformedChunk, "its table ends at byte"),
        (b"\0" + uint(2**32 - 1) + b"\0\7" + bytes(11), MalformedChunk, "cannot hold 4294967295 frames"),
    ],
)
def test_huge_counts_are_refused_before_allocation(data: bytes, error: type[BitstreamError], message: str) -> None:
    refused_in_little_memory(lambda: FrameSegment.of(data, "segment"), error, message)


def sized(frames: int, size: int) -> tuple[Callable[[range], bytes], int]:
    """Reads of a segment with a table of `size` bytes, of which only the beginning is there."""
    head = b"\0" + uint(frames) + b"\0" + uint(size)

    def reads(place: range) -> bytes:
        assert len(place) <= 20, "more is read than the numbers at the beginning"
        return (head + bytes(20))[place.start : place.stop]

    return reads, size + 100


def test_limits_are_checked_before_the_table_is_read() -> None:
    with pytest.raises(LimitExceeded, match=r"segment_frames = 262145, .*--limit segment_frames=262145"):
        FrameSegment(*sized(2**18 + 1, 2**20), "segment")
    with pytest.raises(LimitExceeded, match="chunk_bytes = "):
        FrameSegment(*sized(1, 2**29), "segment")


def test_a_record_over_the_limit_is_not_read() -> None:
    segment = FrameSegment.of(payload(ROWS, RECORDS), "segment", Limits(chunk_bytes=60))
    assert segment.record(0).record == b"key"
    coded = payload([KEY], [bytes(61)])
    with pytest.raises(LimitExceeded, match="chunk_bytes = 61"):
        FrameSegment.of(coded, "segment", Limits(chunk_bytes=60)).record(0)


# ---- whole files ----


DATA = write(FRAMES_SMALL)


def test_a_file_round_trip() -> None:
    assert read(DATA) == FRAMES_SMALL
    assert write(read(DATA)) == DATA
    assert verify(DATA).ok
    assert verify(DATA).segments == 2


def test_a_segment_is_read_from_its_file_record_by_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.nerv"
    path.write_bytes(DATA)
    reader = FileReader(path)
    reads: list[int] = []
    true = Source.read

    def counted(self: Source, offset: int, length: int) -> bytes:
        reads.append(length)
        return true(self, offset, length)

    monkeypatch.setattr(Source, "read", counted)
    segment = reader.segment(1)
    table = sum(reads)
    assert segment.record(1) == FRAMES_SMALL.segments[1].records()[1]
    assert sum(reads) == table + 3, "the record of three bytes, and no other"
    assert table < reader.index[1].length + 30


def test_bytes_by_part_sum_to_the_file() -> None:
    contents = FileReader(DATA).contents()
    assert sum(contents.bytes_by_part.values()) == len(DATA)
    assert contents.bytes_by_part["frames"] == 9 + 5 + 0 + 7 + 3
    assert contents.bytes_by_part["features"] == 3
    assert contents.bytes_by_part.keys() == {"header", "frames", "features", "overhead"}


def test_any_flipped_bit_is_found_and_none_gives_wrong_frames() -> None:
    true = [s.records() for s in FRAMES_SMALL.segments]
    for place in range(len(DATA)):
        damaged = DATA[:place] + bytes([DATA[place] ^ 1 << place % 8]) + DATA[place + 1 :]
        assert not verify(damaged).ok
        with pytest.raises(BitstreamError):
            read(damaged)
        try:
            reader = FileReader(damaged)
        except BitstreamError:
            continue
        for number, records in enumerate(true):
            for at, record in enumerate(records):
                try:
                    assert reader.segment(number).record(at) == record
                except BitstreamError:
                    continue


def test_damage_costs_its_own_segment() -> None:
    first, second = FileReader(DATA).index
    for place in range(first.offset, first.offset + 12 + first.length):
        damaged = DATA[:place] + bytes([DATA[place] ^ 1]) + DATA[place + 1 :]
        salvaged = FileReader(damaged, salvage=True)
        assert [entry.start for entry in salvaged.index] == [second.start]
        assert salvaged.segment(0) == FRAMES_SMALL.segments[1]
        assert salvaged.lost == (range(3),)


def test_verify_looks_at_every_record() -> None:
    records = [b"key", b"other"]
    wrong = payload([KEY, NEXT], records, start=3, features=b"own").replace(b"key", b"kex")
    data = change(DATA, b"SEGM", lambda _: wrong, 1)
    found = verify(data)
    assert [str(p) for p in found.problems] == ["segment 1, frames 3..4: the record of frame 3 is damaged"]
    assert found.segments == 1
    with pytest.raises(ChecksumMismatch, match="the record of frame 3 is damaged"):
        read(data)


def test_a_table_of_other_frames_than_the_index_says_is_refused() -> None:
    data = change(DATA, b"SEGM", lambda _: payload(ROWS, RECORDS), 1)
    with pytest.raises(MalformedChunk, match=r"holds frames 0\.\.2, not those that INDX gives it"):
        FileReader(data).segment(1)


def test_a_chunk_that_is_not_where_the_index_says_is_refused() -> None:
    entry = FileReader(DATA).index[0]
    for place in (entry.offset, entry.offset + 4):
        damaged = DATA[:place] + bytes([DATA[place] ^ 1]) + DATA[place + 1 :]
        with pytest.raises(MalformedChunk, match=r"segment 0, frames .* stands there"):
            FileReader(damaged).segment(0)


def test_segments_of_another_kind_are_not_written() -> None:
    with pytest.raises(ValueError, match="a Segment does not belong in a file of Predictive"):
        write(Nerv(FRAMES_HEADER, SMALL.segments))
    with pytest.raises(ValueError, match="a FrameSegment does not belong in a file of Architecture"):
        write(Nerv(SMALL.header, FRAMES_SMALL.segments))


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["set", "insert", "delete"]), st.integers(0, 2**16), st.integers(0, 255)),
        min_size=1,
        max_size=3,
    ),
    st.booleans(),
)
def test_mutations_behind_right_checksums(edits: list[tuple[str, int, int]], table: bool) -> None:
    """What the parser lets through is a legal segment, which is written and read again."""

    def edited(data: bytes) -> bytes:
        segment = FrameSegment.of(data, "whole")
        end = len(data) - segment.record_bytes - 4
        head, records = bytearray(data[:end]), data[end + 4 :]
        for kind, place, byte in edits:
            place %= len(head)
            if kind == "insert":
                head.insert(place, byte)
            elif kind == "set":
                head[place] = byte
            else:
                del head[place]
        return bytes(head) + struct.pack("<I", zlib.crc32(head) if table else 0) + records

    data = change(DATA, b"SEGM", edited)
    try:
        nerv = read(data, Limits(segment_frames=1000))
    except BitstreamError:
        return
    assert read(write(nerv)) == nerv


GOLDEN = (
    "05 02 01 16"  # from frame 5, 2 frames, 1 byte of features, 22 of the table
    " 77 01 1a 1a 1a 00 37 29 08 b3 ac 11 d0 df a9 d4 d5"  # features, period 1, rows, 8 bytes of columns
    " 03 02 4a 2c a9 3c"  # lengths, CRCs
    " a4 1d 2e f3 00 01 04 1f 20"  # CRC-32, records
)
