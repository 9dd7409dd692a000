"""Whole files: round trips, random access, sizes by part, the golden file."""

import hashlib
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings

import bitstream
from bitstream import FileReader, Limits, Nerv, Part, Quality, assemble, read, verify, write, write_segment
from tests.bitstream import payloads
from tests.bitstream.payloads import DATA, SMALL

GOLDEN = DATA / "golden_v1.nerv"


@settings(max_examples=25, deadline=None)
@given(payloads.nervs())
def test_file_round_trip(nerv: Nerv) -> None:
    assert read(write(nerv)) == nerv


def test_reading_by_path_and_from_memory_agree(tmp_path: Path) -> None:
    path = tmp_path / "v.nerv"
    path.write_bytes(write(SMALL))
    assert read(path) == read(str(path)) == read(path.read_bytes()) == SMALL


def test_golden_file(request: pytest.FixtureRequest) -> None:
    """The exact bytes of version 1; a change of them breaks files that exist."""
    if request.config.getoption("--regenerate-golden"):
        GOLDEN.write_bytes(write(SMALL))
    data = GOLDEN.read_bytes()
    assert read(data) == SMALL
    assert write(SMALL) == data


def test_golden_file_is_pinned_beside_itself() -> None:
    """What the golden file decodes to, in figures that do not come from the code that made it."""
    nerv = read(GOLDEN)
    values = np.concatenate([t.values.ravel() for s in nerv.segments for t in s.tensors])
    steps = np.concatenate([t.steps for s in nerv.segments for t in s.tensors])
    assert (len(values), int(np.abs(values).sum())) == (705, 4528)
    assert hashlib.sha256(values.astype("<i2").tobytes() + steps.tobytes()).hexdigest()[:16] == "a80555d4c6d34a38"
    assert nerv.header.encoder == "nvcodec 0.1.0"


def test_fixed_costs_are_small() -> None:
    header = replace(SMALL.header, frames=1)
    empty = Nerv(header, (bitstream.Segment(0, 1, ()),))
    assert len(write(empty)) < 250


def test_quality_can_be_filled_in_without_changing_the_size() -> None:
    coded = [write_segment(s) for s in SMALL.segments]
    before = assemble(SMALL.header, coded, quality=Quality())
    after = assemble(SMALL.header, coded, quality=Quality(31.5, 0.96, 0.9, 32.0, 30.0, 0.91, 0.89))
    assert len(before) == len(after)
    assert read(before).quality == Quality()
    assert read(after).quality == Quality(31.5, 0.96, 0.9, 32.0, 30.0, 0.91, 0.89)


def test_assembled_segments_make_the_same_file() -> None:
    coded = [write_segment(s) for s in SMALL.segments]
    assert assemble(SMALL.header, coded, SMALL.timestamps, SMALL.quality) == write(SMALL)


@pytest.mark.parametrize(
    ("nerv", "message"),
    [
        (replace(SMALL, segments=SMALL.segments[:2]), "hold 4 frames, the header says 5"),
        (replace(SMALL, segments=()), "hold 0 frames"),
        (replace(SMALL, segments=SMALL.segments[1:]), "starts at frame 2, where frame 0 is next"),
        (replace(SMALL, segments=SMALL.segments[::-1]), "starts at frame 4, where frame 0 is next"),
        (replace(SMALL, segments=SMALL.segments[:1] * 2), "starts at frame 0, where frame 2 is next"),
        (replace(SMALL, timestamps=(0, 1)), "2 timestamps for 5 frames"),
        (replace(SMALL, timestamps=(0, 1, 2, 2, 3)), "0 is not in"),
        (replace(SMALL, header=replace(SMALL.header, width=0)), "width: 0 is not in"),
    ],
)
def test_illegal_payload_is_not_written(nerv: Nerv, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        write(nerv)


def test_bytes_by_part_sum_to_the_file() -> None:
    data = write(SMALL)
    parts = FileReader(data).contents().bytes_by_part
    assert list(parts) == ["header", "weights", "embeddings", "clip_head", "overhead"]
    assert sum(parts.values()) == len(data)
    no_clip = replace(
        SMALL,
        segments=tuple(replace(s, tensors=tuple(t for t in s.tensors if t.part != Part.CLIP)) for s in SMALL.segments),
    )
    assert len(data) - len(write(no_clip)) == parts["clip_head"]
    assert parts["header"] == len(data.split(b"INDX")[0])


def test_bytes_by_part_count_an_unknown_chunk_as_overhead() -> None:
    chunks = payloads.split_chunks(write(SMALL))
    data = payloads.join_chunks([chunks[0], (b"meta", b"x" * 100), *chunks[1:]])
    before, after = FileReader(write(SMALL)).contents().bytes_by_part, FileReader(data).contents().bytes_by_part
    assert after == {**before, "overhead": before["overhead"] + 112}


def test_reader_knows_header_and_index_without_the_segments() -> None:
    reader = FileReader(write(SMALL))
    assert reader.header == SMALL.header
    assert reader.timestamps == SMALL.timestamps
    assert reader.quality == SMALL.quality
    assert [(e.start, e.frames, e.stop) for e in reader.index] == [(0, 2, 2), (2, 2, 4), (4, 1, 5)]
    assert reader.size == len(write(SMALL))
    assert reader.lost == ()
    assert [reader.number_of(frame) for frame in range(5)] == [0, 0, 1, 1, 2]
    for frame in (-1, 5):
        with pytest.raises(IndexError, match=f"frame {frame}"):
            reader.number_of(frame)


def test_a_segment_is_read_without_the_others() -> None:
    data = bytearray(write(SMALL))
    reader = FileReader(bytes(data))
    for number in (0, 2):
        entry = reader.index[number]
        data[entry.offset : entry.offset + entry.length] = bytes(entry.length)
    assert FileReader(bytes(data)).segment(1) == SMALL.segments[1]


def test_reader_reads_only_the_segment_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    big = replace(SMALL.segments[0], tensors=(payloads.tensor(Part.WEIGHT, (64, 3000), 100, False),))
    nerv = replace(SMALL, segments=(big, *SMALL.segments[1:]))
    path = tmp_path / "v.nerv"
    path.write_bytes(write(nerv))
    total = 0

    def counted(self: bitstream.container.Source, offset: int, length: int) -> bytes:
        nonlocal total
        total += length
        return original(self, offset, length)

    original = bitstream.container.Source.read
    monkeypatch.setattr(bitstream.container.Source, "read", counted)
    assert FileReader(path).segment(2) == SMALL.segments[2]
    assert path.stat().st_size > 100_000
    assert total < 2000


def test_a_reader_can_be_sent_to_another_process(tmp_path: Path) -> None:
    path = tmp_path / "v.nerv"
    path.write_bytes(write(SMALL))
    copy = pickle.loads(pickle.dumps(FileReader(path)))
    assert tuple(copy.segments()) == SMALL.segments


def test_verify_an_intact_file() -> None:
    found = verify(write(SMALL))
    assert found.ok
    assert found.problems == ()
    assert found.segments == 3


def test_files_that_cannot_be_read_raise_oserror(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "none.nerv")
    with pytest.raises(OSError, match=r"irectory|denied"):
        read(tmp_path)


def test_limits_can_be_raised() -> None:
    header = replace(SMALL.header, width=2**15)
    data = write(replace(SMALL, header=header))
    with pytest.raises(bitstream.LimitExceeded, match="width"):
        read(data)
    assert read(data, Limits(width=2**15)).header == header


def test_all_is_complete() -> None:
    for name in bitstream.__all__:
        assert getattr(bitstream, name) is not None
    public = {name for name in vars(bitstream) if not name.startswith("_")}
    modules = {path.stem for path in Path(bitstream.__file__).parent.glob("*.py")}
    assert public - modules == set(bitstream.__all__)
