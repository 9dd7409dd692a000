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
from bitstream.fields import Cursor
from bitstream.frame_table import MAX_DEPTH, _read_low_bits, _write_low_bits
from tests.bitstream import table_of_frames
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

Row = tuple[int, int, int, int, int, int, int]  # gap, offset, references, first, second, quality, kind; not digits


def payload(
    rows: list[Row],
    records: list[bytes],
    *,
    kinds: bytes = bytes([4, 5, 7]),
    features: bytes = b"",
    start: int = 0,
    count: int | None = None,
    lengths: list[int] | None = None,
    more_digits: int = 0,
    filling: str = "0",
    tail: bytes = b"",
    table_row: int = 30,
) -> bytes:
    """A segment written by hand: no check of its own, every column under one row of the tables.

    Digits are told as if each frame lay in a gap as wide as that of the one before, or in one of a new width.
    """
    sizes = [len(r) for r in records] if lengths is None else lengths
    digits = np.diff([n.bit_length() for n in sizes], prepend=-more_digits)
    coder = Encoder(short=True)
    *columns, kind = np.asarray(rows).T
    for column in (*columns, digits, kind):
        coder.put(column, np.full(len(column), table_row, np.uint8))
    stream = coder.finish()
    table = bytes([table_row] * 8 + [len(kinds)]) + kinds + uint(len(stream)) + stream
    bits = "".join(f"{n:b}"[1:] for n in sizes)
    table += bytes(int(bits[i : i + 8].ljust(8, filling), 2) for i in range(0, len(bits), 8))
    table += b"".join(struct.pack("<H", zlib.crc32(r) & 0xFFFF) for r in records if r) + tail
    head = uint(start) + uint(len(rows) if count is None else count) + uint(len(features)) + uint(len(table))
    head += features + table
    return head + struct.pack("<I", zlib.crc32(head)) + b"".join(records)


KEY: Row = (0, 0, 0, 0, 0, 40, 0)
NEXT: Row = (0, 0, 0, 0, 0, 0, 1)
ROWS: list[Row] = [KEY, (0, 1, 0, 0, 0, -7, 1), (0, 0, 0, 0, 0, -4, 2)]
RECORDS = [b"key", b"", b"between"]


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


@given(st.integers(1, 25).flatmap(coded_frames), st.integers(0, 300), st.binary(max_size=9))
@settings(deadline=None, max_examples=60)
def test_a_reader_written_from_the_page_reads_the_same(frames: list[CodedFrame], start: int, features: bytes) -> None:
    found = table_of_frames.read(write_frames(start, frames, features))
    assert found == (start, features, [(f.number, f.references, f.quality, f.flags, f.record) for f in frames])


@pytest.mark.parametrize(("frames", "anchor"), [(1, 8), (2, 8), (49, 16), (97, 32)])
def test_a_reader_written_from_the_page_reads_pyramids(frames: int, anchor: int) -> None:
    coded = pyramid(frames, anchor)
    _, _, found = table_of_frames.read(write_frames(0, coded))
    assert found == [(f.number, f.references, f.quality, f.flags, f.record) for f in coded]


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


def pyramid(frames: int, anchor: int, size: int = 90) -> list[CodedFrame]:
    """Key frame, anchors, every eighth of which is a key frame too, gaps halved level by level."""
    out = [coded_frame(0, (), size)]
    for right in range(anchor, frames, anchor):
        out.append(coded_frame(right, (right - anchor,) if right // anchor % 8 else (), size))
        step = anchor // 2
        while step:
            out += [coded_frame(n, (n - step, n + step), size) for n in range(right - anchor + step, right, 2 * step)]
            step //= 2
    return out


@pytest.mark.parametrize("anchor", [8, 32])
def test_a_regular_structure_costs_next_to_nothing(anchor: int) -> None:
    """Of a frame, all but the length within its power of two and the check."""
    frames = pyramid(97, anchor)
    overhead = len(write_frames(0, frames)) - 90 * len(frames)
    assert len(frames) == 97
    assert overhead < (6 / 8 + 2) * len(frames) + 60


def test_empty_records_cost_next_to_nothing() -> None:
    assert len(write_frames(0, pyramid(97, 32, size=0))) < 60
    assert len(write_frames(0, pyramid(9601, 32, size=0))) < 250


def test_references_and_qualities_need_not_be_what_is_expected() -> None:
    """Every way to tell a reference: either end of a gap as first and as second, and frames further off."""
    frames = [
        CodedFrame(n, references, quality, flags, bytes([n]))
        for n, references, quality, flags in (
            (3, (), 63, 0),
            (1, (3,), 0, 127),  # nothing is coded before it
            (2, (3, 1), 63, 1),
            (2 + 4, (2,), 5, 127),
            (5, (6, 3), 5, 64),
            (4, (5,), 5, 64),
            (0, (1, 1), 40, 1),
            (9, (6, 5), 41, 1),
            (8, (9,), 0, 1),
            (7, (), 1, 1),
        )
    ]
    assert FrameSegment.of(write_frames(0, frames), "segment").records() == frames


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
    ([coded_frame(n, (), 1) for n in (128, *range(128))], "frame 128 is coded too far"),
    ([*(coded_frame(n, (), 1) for n in range(257)), coded_frame(257, (0,), 1)], "frame 257 is coded too far"),
    ([coded_frame(n, (), 1) for n in (*range(1, 600, 2), *range(0, 600, 2))], "frame 511 is coded too far"),
]


@pytest.mark.parametrize(("frames", "message"), REFUSED_FRAMES)
def test_illegal_frames_are_not_written(frames: list[CodedFrame], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        write_frames(0, frames)


def deep(count: int) -> list[Row]:
    return [KEY, *[NEXT] * (count - 1)]


THERE = [KEY, (0, 1, 0, 0, 0, 0, 0)]  # frames 0 and 2
REFUSED = [
    (payload([*THERE, (0, 1, 0, 0, 0, 0, 0)], [b"a"] * 3), "record 2 is of frame 2, which is there already"),
    (payload([*THERE, (0, -1, 0, 0, 0, 0, 0)], [b"a"] * 3), "record 2 is of frame 0, which is there already"),
    (payload([*THERE, (1, -1, 0, 0, 0, 0, 0)], [b"a"] * 3), "record 2 is of frame 3, .* or in no segment"),
    (payload([*THERE, (1, -2, 0, 0, 0, 0, 0)], [b"a"] * 3), "record 2 is of frame 2, which is there already"),
    (payload([*THERE, (2, 0, 0, 0, 0, 0, 0)], [b"a"] * 3), "record 2 lies in gap 2 of 2"),
    (payload([*THERE, (-1, 0, 0, 0, 0, 0, 0)], [b"a"] * 3), "record 2 lies in gap 254 of 2"),
    (payload(THERE, [b"a", b"b"]), "record 1 is of frame 2, .* or in no segment"),
    (payload([(0, -1, 0, 0, 0, 40, 0)], [b"a"]), "record 0 is of frame -1"),
    (payload([(0, 0, 1, 0, 0, 40, 0)], [b"a"]), "record 0 has references that do not stand before it"),
    (payload([KEY, (0, 0, 0, 1, 0, 0, 0)], [b"a", b"b"]), "record 1 has references that do not stand"),
    (payload([KEY, (0, 0, 1, 0, 1, 0, 0)], [b"a", b"b"]), "record 1 has references that do not stand"),
    (payload([*THERE, (0, 0, 0, 2, 0, 0, 0)], [b"a"] * 3), "record 2 has references .* that it could name as an end"),
    (payload([KEY, (0, 0, 0, 0, 1, 0, 0)], [b"a", b"b"]), "record 1 has 1 references, or names more"),
    (payload([KEY, (0, 0, -1, 1, 0, 0, 0)], [b"a", b"b"]), "record 1 has 0 references, or names more"),
    (payload([KEY, (0, 0, -2, 0, 0, 0, 0)], [b"a", b"b"]), "record 1 has -1 references"),
    (payload([KEY, (0, 0, 2, 0, 0, 0, 0)], [b"a", b"b"]), "record 1 has 3 references"),
    (payload([(0, 0, 0, 0, 0, 64, 0)], [b"a"]), "quality 64"),
    (payload([KEY, (0, 0, 0, 0, 0, -41, 0)], [b"a", b"b"]), "quality -1"),
    (payload([(0, 0, 0, 0, 0, 40, 3)], [b"a"]), "flags of kind 3, there are 3"),
    (payload([(0, 0, 0, 0, 0, 40, -1)], [b"a"]), "flags of kind -1, there are 3"),
    (payload([KEY], [b"a"], kinds=b""), r"0 is not in 1\.\.128"),
    (payload([KEY], [b"a"], kinds=bytes([127, 126, 128, 1])), r"128 is not in 0\.\.127"),
    (payload(deep(17), [b""] * 17), "frame 16 is 17 frames deep, over 16"),
    (payload([KEY], [b"a"], lengths=[2]), "its records end at byte"),
    (payload([KEY], [b"a"], lengths=[0]), "table has 2 bytes too many"),
    (payload([KEY], [b""], lengths=[1]), "table ends early"),
    (payload([KEY], [b"a"], lengths=[2**31 - 1]), "its records end at byte"),
    (payload([KEY], [b"a"], lengths=[2**31]), "a length of 32 binary digits"),
    (payload([KEY], [b"a"], more_digits=-2), "a length of -1 binary digits"),
    (payload([KEY], [b"a"], more_digits=31), "a length of 32 binary digits"),
    (payload([KEY], [b"abc"], filling="1"), "filled up with ones"),
    (payload([KEY], [b"a"]) + b"\0", "its records end at byte"),
    (payload([KEY], [b"a"], tail=b"\0"), "table has 1 bytes too many"),
    (payload([KEY], [b"a"], count=0), "0 is not in 1"),
    (payload([KEY], [b"a"], count=9), "flags of kind 3"),
    (payload([KEY], [b"a"], count=2), "flags of kind -5"),
    (payload(ROWS, RECORDS, count=2), "bytes are not those"),
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


@given(st.lists(st.integers(0, 2**31 - 1) | st.integers(0, 20), min_size=1, max_size=20), st.binary(max_size=3))
def test_low_bits_of_lengths_round_trip(lengths: list[int], after: bytes) -> None:
    data = _write_low_bits(lengths)
    cursor = Cursor(data + after, "here")
    assert _read_low_bits(cursor, [n.bit_length() for n in lengths]) == lengths
    assert cursor.position == len(data)


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
        (b"\0" + uint(2**32 - 1) + b"\0\7" + bytes(11), LimitExceeded, "segment_frames = 4294967295"),
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


def test_frames_of_next_to_no_bytes_are_limited() -> None:
    with pytest.raises(LimitExceeded, match=r"frame_density = 2048, .*--limit frame_density="):
        FrameSegment(*sized(2**15 + 2048 * 110, 10), "segment")


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
    "05 02 01 12"  # from frame 5, 2 frames, 1 byte of features, 18 of the table
    " 77 00 00 00 00 00 83 f0 00 01 07"  # features, rows, one kind of flags
    " 02 f7 cf 80 4a 2c a9 3c"  # 2 bytes of columns, low bits of lengths 3 and 2, checks
    " d0 10 83 b5 00 01 04 1f 20"  # CRC-32, records
)
