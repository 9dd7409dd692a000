"""Damage: cut at every byte, every bit flipped, chunks mutated behind right checksums; and what salvaging saves."""

import struct
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitstream import (
    BitstreamError,
    FileReader,
    Header,
    Limits,
    MalformedChunk,
    Nerv,
    NotANervFile,
    TruncatedFile,
    UnknownRequiredChunk,
    read,
    verify,
    write,
)
from tests.bitstream.payloads import (
    HEADER,
    SMALL,
    change,
    chunk,
    join_chunks,
    nervs,
    segment,
    split_chunks,
)

# Few tensors, so that every bit can be tried: a bias and a CLIP tensor in each segment.
NERV = replace(SMALL, segments=tuple(replace(s, tensors=s.tensors[2:4]) for s in SMALL.segments))
DATA = write(NERV)
WHOLE = write(SMALL)
LIMITS = Limits(values=20_000)
INDEX = FileReader(DATA).index
FRONT = DATA.index(b"INDX")
HEAD_END = DATA.index(b"time")


def flips(start: int, stop: int) -> Iterator[tuple[int, bytes]]:
    """Each file with one bit flipped, and the place of the byte."""
    for place in range(start, stop):
        for bit in range(8):
            yield place, DATA[:place] + bytes([DATA[place] ^ 1 << bit]) + DATA[place + 1 :]


def test_a_file_cut_at_any_byte_is_refused() -> None:
    for length in range(len(DATA)):
        expected = TruncatedFile if length else NotANervFile
        with pytest.raises(expected):
            FileReader(DATA[:length], LIMITS)
        assert not verify(DATA[:length], LIMITS).ok


def test_any_flipped_bit_is_found() -> None:
    for place, damaged in flips(0, len(DATA)):
        try:
            read(damaged, LIMITS)
        except BitstreamError:
            continue
        pytest.fail(f"a flipped bit in byte {place} went unnoticed")


def test_no_flipped_bit_gives_wrong_content_on_lazy_reading() -> None:
    for _, damaged in flips(0, len(DATA)):
        try:
            reader = FileReader(damaged, LIMITS)
        except BitstreamError:
            continue
        assert (reader.header, reader.timestamps, reader.quality) == (NERV.header, NERV.timestamps, NERV.quality)
        for number in range(3):
            try:
                assert reader.segment(number) == NERV.segments[number]
            except BitstreamError:
                continue


def salvaged(damaged: bytes) -> tuple[FileReader, set[int]]:
    """A salvaged reader, its segments compared with the true ones, and the frames it lost."""
    reader = FileReader(damaged, LIMITS, salvage=True)
    for number, entry in enumerate(reader.index):
        true = next(s for s in NERV.segments if s.start == entry.start)
        assert reader.segment(number) == true
    return reader, {frame for run in reader.lost for frame in run}


def test_a_flipped_bit_costs_at_most_the_frames_of_its_segment() -> None:
    for place, damaged in flips(HEAD_END, len(DATA)):
        hit = next((e for e in INDEX if e.offset <= place < e.offset + 12 + e.length), None)
        _, lost = salvaged(damaged)
        assert lost == (set(range(hit.start, hit.stop)) if hit else set())


def test_damage_before_the_segments_costs_timestamps_at_most() -> None:
    for _, damaged in flips(HEAD_END, FRONT):
        reader, _ = salvaged(damaged)
        assert reader.timestamps in (None, NERV.timestamps)
        assert reader.quality in (None, NERV.quality)


def test_a_damaged_head_cannot_be_salvaged() -> None:
    for _, damaged in flips(0, HEAD_END):
        with pytest.raises(BitstreamError):
            FileReader(damaged, LIMITS, salvage=True)


def test_of_a_cut_file_the_whole_segments_are_salvaged() -> None:
    for length in range(HEAD_END, len(DATA)):
        _, lost = salvaged(DATA[:length])
        whole = [e for e in INDEX if e.offset + 12 + e.length <= length]
        assert lost == set(range(whole[-1].stop if whole else 0, 5))


def test_an_intact_file_is_salvaged_whole() -> None:
    reader, lost = salvaged(DATA)
    assert lost == set()
    assert reader.index == INDEX
    assert (reader.timestamps, reader.quality) == (NERV.timestamps, NERV.quality)
    assert sum(reader.contents().bytes_by_part.values()) == len(DATA)


def test_salvage_takes_no_frame_twice_and_none_off_the_end() -> None:
    head, *_, tail = split_chunks(DATA)
    parts = [p for p in split_chunks(DATA) if p[0] == b"SEGM"]
    longer = split_chunks(write(Nerv(replace(HEADER, frames=9), (segment(0, 4), segment(4, 5)))))
    beyond = [p for p in longer if p[0] == b"SEGM"][1]
    data = join_chunks([head, parts[1], parts[0], parts[1], beyond, tail])
    reader, lost = salvaged(data)
    assert [e.start for e in reader.index] == [0, 2]
    assert lost == {4}


def test_salvage_refuses_an_unknown_required_chunk() -> None:
    head, *rest = split_chunks(DATA)
    with pytest.raises(UnknownRequiredChunk):
        FileReader(join_chunks([head, (b"Xtra", b""), *rest]), LIMITS, salvage=True)


def test_salvage_is_not_kept_for_ever_by_false_starts() -> None:
    head = DATA[:HEAD_END]
    false = struct.pack("<4sI", b"SEGM", 2**20) * 2**18  # each a chunk of 1 MiB with a wrong checksum
    reader = FileReader(head + false, Limits(), salvage=True)
    assert reader.index == ()
    assert reader.lost == (range(5),)


def test_verify_names_every_damaged_segment() -> None:
    damaged = bytearray(DATA)
    for number in (0, 2):
        damaged[INDEX[number].offset + 12] ^= 1
    found = verify(bytes(damaged), LIMITS)
    assert [str(p).split(" (")[0] for p in found.problems[:2]] == ["segment 0, frames 0..1", "segment 2, frames 4..4"]
    assert found.segments == 1


mutations = st.lists(
    st.tuples(st.sampled_from(["set", "insert", "delete"]), st.integers(0, 2**16), st.integers(0, 255)),
    min_size=1,
    max_size=3,
)


def mutate(payload: bytes, edits: list[tuple[str, int, int]]) -> bytes:
    out = bytearray(payload)
    for kind, place, byte in edits:
        place %= len(out) + 1
        if kind == "insert":
            out.insert(place, byte)
        elif kind == "set" and place < len(out):
            out[place] = byte
        elif kind == "delete":
            del out[place : place + 1]
    return bytes(out)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([b"HEAD", b"time", b"qual", b"INDX", b"SEGM"]), st.integers(0, 2), mutations)
def test_mutations_behind_right_checksums(kind: bytes, number: int, edits: list[tuple[str, int, int]]) -> None:
    """The parsers behind the checksums: what they let through is a legal payload, which is written and read again."""
    data = change(WHOLE, kind, lambda payload: mutate(payload, edits), number if kind == b"SEGM" else 0)
    check_refused_or_legal(data)


def edited(order: list[int], edits: list[tuple[str, int, int]]) -> list[int]:
    """Places of chunks, with some moved, left out or twice."""
    out = list(order)
    for kind, source, target in edits:
        chunk = out[source % len(out)]
        if kind != "copy":
            out.remove(chunk)
        if kind != "drop" or not out:
            out.insert(target % (len(out) + 1), chunk)
    return out


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["move", "drop", "copy"]), st.integers(0, 7), st.integers(0, 8)),
        min_size=1,
        max_size=2,
    )
)
def test_chunks_moved_left_out_or_twice(edits: list[tuple[str, int, int]]) -> None:
    chunks = split_chunks(DATA)
    head, time, quality, index = range(4)
    order = edited(list(range(8)), edits)
    data = join_chunks([chunks[place] for place in order])
    front = order[1 : order.index(index)] if index in order else []
    optional = [place for place in order if place in (time, quality)]
    needed = [place for place in order if place not in (time, quality)]
    if needed == [head, *range(index, 8)] and sorted(front) == sorted(set(optional)) == sorted(optional):
        timestamps = NERV.timestamps if time in order else None
        assert read(data, LIMITS) == replace(
            NERV, timestamps=timestamps, quality=NERV.quality if quality in order else None
        )
    else:
        with pytest.raises(BitstreamError):
            read(data, LIMITS)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_refused(data: bytes) -> None:
    for file in (data, DATA[:9] + data, DATA[:HEAD_END] + data, DATA[:FRONT] + data):
        with pytest.raises(BitstreamError):
            read(file, LIMITS)


@settings(max_examples=40, deadline=None)
@given(nervs(), st.data())
def test_flips_and_cuts_of_any_file(nerv: Nerv, draw: st.DataObject) -> None:
    data = write(nerv)
    place = draw.draw(st.integers(0, len(data) - 1))
    bit = draw.draw(st.integers(0, 7))
    for damaged in (data[:place], data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :]):
        with pytest.raises(BitstreamError):
            read(damaged)


def check_refused_or_legal(data: bytes) -> None:
    try:
        nerv = read(data, LIMITS)
    except BitstreamError:
        return
    assert isinstance(nerv.header, Header)
    assert read(write(nerv), LIMITS) == nerv


def test_a_whole_chunk_of_another_file_is_noticed() -> None:
    other = split_chunks(write(replace(NERV, segments=(segment(0, 3), segment(3, 2)))))
    stranger = next(p for k, p in other if k == b"SEGM")
    chunks = split_chunks(DATA)
    place = next(i for i, (k, _) in enumerate(chunks) if k == b"SEGM")
    data = change(DATA, b"SEGM", lambda _: stranger)
    assert len(chunk(*chunks[place])) != len(stranger)
    with pytest.raises(MalformedChunk, match=r"segment 0, frames 0\.\.1 .* holds frames 0\.\.2"):
        read(data)
