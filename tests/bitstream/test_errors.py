"""Each name of the exception tree, from literal bytes."""

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

import bitstream
from bitstream import BitstreamError, FileReader, Limits, errors, read, verify
from tests.bitstream.payloads import DATA, PREAMBLE, chunk, join_chunks, uint

HEAD = bytes.fromhex(
    "01 10 10"  # 1 frame, 16 x 16
    "1901 0119 0101"  # 25 frames/s, time base 1/25, square pixels
    "02020200 0101"  # colour unspecified, limited range; one patch
    "02 7065 01 0101 00 00 00"  # pe, fc_dim 1, fc_hw 1x1, no stages, no blocks, no conv_type
    "000000000000f03f 00 00 00 0000 01 00 00 00"  # reduce 1.0, ..., head_strd 1, ..., no CLIP head
    "00 010101 0178 00"  # no teacher, split 1_1_1, encoder x, no base
)
INDX = bytes.fromhex("01 00 03 01")  # one segment: no gap, 3 bytes, 1 frame
SEGM = bytes.fromhex("00 01 00")  # from frame 0, 1 frame, no tensors
CHUNKS = [(b"HEAD", HEAD), (b"INDX", INDX), (b"SEGM", SEGM), (b"TAIL", b"digest")]
MINIMAL = join_chunks(CHUNKS)


def chunks(*parts: tuple[bytes, bytes]) -> bytes:
    return join_chunks(list(parts))


def replaced(kind: bytes, payload: bytes) -> bytes:
    return join_chunks([(k, payload if k == kind else p) for k, p in CHUNKS])


def with_segment(payload: bytes) -> bytes:
    return chunks(HEAD_, (b"INDX", bytes([1, 0, len(payload), 1])), (b"SEGM", payload), TAIL_)


def flipped(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


HEAD_, INDX_, SEGM_, TAIL_ = CHUNKS
TIME_, QUAL_ = (b"time", b"\x00"), (b"qual", bytes.fromhex("0000c07f" * 7))

CASES: list[tuple[type[BitstreamError], bytes, str]] = [
    (errors.NotANervFile, b"RIFF" + MINIMAL[4:], "begins with 52 49 46 46"),
    (errors.NotANervFile, b"", "the file is empty"),
    (errors.NotANervFile, MINIMAL.replace(b"\r\n", b"\n"), "in text mode"),
    (errors.NotANervFile, MINIMAL.replace(b"\n", b"\r\n"), "in text mode"),
    (errors.NotANervFile, bytes([MINIMAL[0] & 0x7F]) + MINIMAL[1:], "in text mode"),
    (errors.UnsupportedVersion, PREAMBLE[:-1] + b"\x02" + MINIMAL[9:], "version 2, this reader knows version 1"),
    (errors.UnsupportedVersion, PREAMBLE[:-1] + b"\x00" + MINIMAL[9:], "version 0"),
    (errors.TruncatedFile, MINIMAL[:-30], "2 bytes before the end of its last segment"),
    (errors.TruncatedFile, MINIMAL[:5], "ends after 5 bytes, before its version"),
    (errors.TruncatedFile, PREAMBLE, "8 bytes too early"),
    (errors.TruncatedFile, PREAMBLE + b"HEAD\xff\xff\xff\xff", "declares 4294967295 bytes"),
    (errors.TruncatedFile, MINIMAL[:-1], "1 bytes before its end"),
    (errors.TruncatedFile, MINIMAL[:-28], "8 bytes too early"),
    (errors.TrailingBytes, MINIMAL + b"\x00", "1 bytes follow the end chunk"),
    (errors.TrailingBytes, MINIMAL + MINIMAL, "follow the end chunk"),
    (errors.UnknownRequiredChunk, chunks(HEAD_, (b"Crop", b""), *CHUNKS[1:]), "chunk Crop at byte .* is unknown"),
    (errors.UnknownRequiredChunk, chunks(*CHUNKS[:3], (b"XYZW", b"?"), TAIL_), "chunk XYZW at byte .* is unknown"),
    (errors.ChecksumMismatch, flipped(MINIMAL, 20), "chunk HEAD at byte 9 is damaged"),
    (errors.ChecksumMismatch, flipped(MINIMAL, MINIMAL.index(b"INDX") + 9), "chunk INDX .* is damaged"),
    (errors.ChecksumMismatch, flipped(MINIMAL, MINIMAL.index(b"SEGM") + 9), r"segment 0, frames 0\.\.0 .* is damaged"),
    (errors.ChecksumMismatch, flipped(MINIMAL, MINIMAL.index(b"SEGM")), r"segment 0, frames 0\.\.0 .* is damaged"),
    (errors.ChecksumMismatch, flipped(MINIMAL, len(MINIMAL) - 9), "chunk TAIL .* is damaged"),
    (errors.DigestMismatch, MINIMAL[:-28] + chunk(b"TAIL", bytes(16)), f"TAIL says {'00' * 16}"),
    (errors.DigestMismatch, MINIMAL[:-28] + chunk(b"TAIL", b""), "TAIL says"),
    (errors.LimitExceeded, replaced(b"HEAD", uint(2**24 + 1) + HEAD[1:]), "frames = 16777217.*--limit frames=16777217"),
    (errors.LimitExceeded, replaced(b"HEAD", HEAD[:1] + uint(2**20) + HEAD[2:]), "height = 1048576"),
    (errors.LimitExceeded, replaced(b"HEAD", HEAD[:2] + uint(2**15) + HEAD[3:]), "width = 32768"),
    (errors.MalformedChunk, replaced(b"HEAD", b"\x00" + HEAD[1:]), "HEAD: frames: 0 is not in"),
    (errors.MalformedChunk, replaced(b"HEAD", HEAD[:-1] + b"\x02\xab\xcd"), "base: a digest of 2 bytes, not 0"),
    (errors.MalformedChunk, replaced(b"HEAD", HEAD + b"\x00"), "HEAD has 1 bytes too many"),
    (errors.MalformedChunk, chunks(*CHUNKS[1:]), "chunk INDX at byte 9 stands where HEAD belongs"),
    (errors.MalformedChunk, chunks(HEAD_, *CHUNKS), "chunk HEAD at byte .* stands twice or out of order"),
    (errors.MalformedChunk, chunks(HEAD_, *CHUNKS[2:]), "chunk SEGM at byte .* stands twice or out of order"),
    (errors.MalformedChunk, chunks(HEAD_, TAIL_), "chunk TAIL at byte .* stands twice or out of order"),
    (errors.MalformedChunk, chunks(HEAD_, (b"INDX", b"\x01\x10\x03\x01"), *CHUNKS[1:]), "INDX at byte .* stands twice"),
    (errors.MalformedChunk, chunks(HEAD_, QUAL_, QUAL_, *CHUNKS[1:]), "chunk qual at byte .* stands twice"),
    (errors.MalformedChunk, chunks(HEAD_, TIME_, TIME_, *CHUNKS[1:]), "chunk time at byte .* stands twice"),
    (errors.MalformedChunk, chunks(*CHUNKS[:3], QUAL_, TAIL_), "chunk qual at byte .* out of order"),
    (errors.MalformedChunk, chunks(*CHUNKS[:3], SEGM_, TAIL_), "chunk SEGM at byte .* stands twice or out of order"),
    (errors.MalformedChunk, chunks(HEAD_, (b"ab1 ", b""), *CHUNKS[1:]), "the type is not four letters"),
    (errors.MalformedChunk, chunks(HEAD_, (b"time", b""), *CHUNKS[1:]), "time ends early"),
    (errors.MalformedChunk, chunks(HEAD_, (b"qual", b"\x00" * 27), *CHUNKS[1:]), "qual ends early"),
    (errors.MalformedChunk, replaced(b"INDX", b"\x00"), "INDX: 0 is not in"),
    (errors.MalformedChunk, replaced(b"INDX", b"\x01\x00\x03\x02"), "hold 2 frames, the file has 1"),
    (errors.MalformedChunk, replaced(b"INDX", b"\xff\xff\xff\xff\x0f\x00\x03\x01"), "INDX ends early"),
    (errors.MalformedChunk, replaced(b"SEGM", b"\x01\x01\x00"), r"holds frames 1\.\.1, not those that INDX gives it"),
    (errors.MalformedChunk, replaced(b"SEGM", b"\x00\x02\x00"), r"holds frames 0\.\.1, not those that INDX gives it"),
    (errors.MalformedChunk, replaced(b"SEGM", b"\x00\x01\x01"), r"segment 0, frames 0\.\.0 ends early"),
]


def test_the_minimal_file_is_intact() -> None:
    nerv = read(MINIMAL)
    assert (nerv.header.frames, nerv.header.height, nerv.header.encoder) == (1, 16, "x")
    assert bitstream.write(nerv) == MINIMAL


@pytest.mark.parametrize(("error", "data", "message"), CASES)
def test_each_way_a_file_can_be_wrong(error: type[BitstreamError], data: bytes, message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        read(data)
    assert caught.type is error
    found = verify(data)
    assert not found.ok
    assert found.problems[0].args == caught.value.args


# Which bases are there, a decoder knows: this package reads a file of any.
HERE = set(BitstreamError.__subclasses__()) - {errors.MissingBase}


def test_every_name_has_a_case() -> None:
    assert {error for error, _, _ in CASES} == HERE
    assert {getattr(errors, name) for name in errors.__all__} == {BitstreamError, *BitstreamError.__subclasses__()}


def test_the_tree_in_the_docstring_names_them_all() -> None:
    assert errors.__doc__ is not None
    drawn = [line.split()[1] for line in errors.__doc__.splitlines() if line.startswith(("├", "└"))]
    assert sorted([*drawn, "BitstreamError"]) == sorted(errors.__all__)


@pytest.mark.parametrize("place", [1, 2, 3])
def test_unknown_optional_chunks_are_skipped(place: int) -> None:
    parts = [*CHUNKS[:place], (b"meta", b"anything"), (b"auDI", b"SEGM"), *CHUNKS[place:]]
    if place == 2:  # between INDX and SEGM: the gap of the index
        parts[1] = (b"INDX", bytes([1, 20 + 16, 3, 1]))
    data = join_chunks(parts)
    assert read(data) == read(MINIMAL)
    assert verify(data).ok
    with pytest.raises(errors.ChecksumMismatch, match="chunk meta"):
        read(flipped(data, data.index(b"anything")))


@pytest.mark.parametrize(
    ("middle", "error", "message"),
    [
        (chunk(b"Meta", b"anything"), errors.UnknownRequiredChunk, "chunk Meta"),
        (chunk(b"SEGM", SEGM) + b"\x00" * 5, errors.MalformedChunk, "chunk SEGM at byte .* out of order"),
        (chunk(b"meta", b"") + b"\x00" * 8, errors.MalformedChunk, "the type is not four letters"),
        (b"meta\x0b\x00\x00\x00" + b"\x00" * 12, errors.ChecksumMismatch, "chunk meta"),
    ],
)
def test_what_the_index_skips_is_looked_at(middle: bytes, error: type[BitstreamError], message: str) -> None:
    index = bytes([1, len(middle), 3, 1])
    before = PREAMBLE + chunk(b"HEAD", HEAD) + chunk(b"INDX", index) + middle
    data = join_chunks([(b"SEGM", SEGM), (b"TAIL", b"x")], before)
    with pytest.raises(error, match=message):
        read(data)


def big_record(dimensions: list[int]) -> bytes:
    """A segment with one tensor of the given shape, all in one row, and an empty stream."""
    flags = len(dimensions) - 1 << 2
    return b"\x00\x01\x01" + bytes([flags]) + b"".join(map(uint, dimensions)) + b"\x5a\x00" + b"\x00"


HUGE: list[tuple[str, bytes]] = [
    ("values = 18446744065119617025", big_record([2**32 - 1, 2**32 - 1])),
    ("values", big_record([2**32 - 1] * 8)),
    ("values = 134217729", big_record([2**27 + 1])),
    (r"density = \d+, over the limit of 1024.*--limit density=", big_record([2**26])),
    ("tensors = 4294967295", b"\x00\x01" + uint(2**32 - 1)),
]


@pytest.mark.parametrize(("message", "payload"), HUGE)
def test_huge_sizes_are_refused_before_allocation(message: str, payload: bytes) -> None:
    refused_in_little_memory(lambda: read(with_segment(payload)), errors.LimitExceeded, message)


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (PREAMBLE + b"HEAD\xff\xff\xff\xff" + HEAD, errors.TruncatedFile, "4294967295 bytes"),
        (replaced(b"HEAD", HEAD.replace(b"\x02pe", uint(2**62) + b"pe")), errors.MalformedChunk, "embed: .* not in"),
        (replaced(b"INDX", uint(2**32 - 1) + INDX[1:]), errors.MalformedChunk, "INDX ends early"),
        (replaced(b"INDX", b"\x01" + uint(2**62) + b"\x03\x01"), errors.TruncatedFile, "bytes before the end"),
        (replaced(b"INDX", b"\x01\x00" + uint(2**32 - 1) + b"\x01"), errors.TruncatedFile, "bytes before the end"),
        (with_segment(b"\x00\x01\x01\x00\x06\x5a\x28" + uint(2**32 - 1)), errors.MalformedChunk, "17179869180 bytes"),
        (chunks((b"HEAD", uint(2**24) + HEAD[1:]), TIME_, *CHUNKS[1:]), errors.MalformedChunk, "time ends early"),
    ],
)
def test_huge_counts_are_refused_before_allocation(data: bytes, error: type[BitstreamError], message: str) -> None:
    refused_in_little_memory(lambda: read(data), error, message)


def refused_in_little_memory(action: Callable[[], object], error: type[BitstreamError], message: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(error, match=message):
            action()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2**20


def test_a_big_file_is_refused_by_its_size(tmp_path: Path) -> None:
    path = tmp_path / "big.nerv"
    with path.open("wb") as file:
        file.write(PREAMBLE + b"HEAD" + (2**31).to_bytes(4, "little"))
        file.truncate(2**35)  # a sparse file
    refused_in_little_memory(lambda: FileReader(path), errors.LimitExceeded, "file_bytes = 34359738368")
    limits = Limits(file_bytes=2**36)
    refused_in_little_memory(lambda: FileReader(path, limits), errors.LimitExceeded, "chunk_bytes = 2147483648")


BROKEN = DATA / "broken"


def test_broken_files(request: pytest.FixtureRequest) -> None:
    """A file for each error, named after it, for other readers of the format to be tried on."""
    if request.config.getoption("--regenerate-golden"):
        BROKEN.mkdir(exist_ok=True)
        for error, data, _ in reversed(CASES):
            (BROKEN / f"{error.__name__}.nerv").write_bytes(data)
    files = sorted(BROKEN.glob("*.nerv"))
    assert [path.stem for path in files] == sorted(e.__name__ for e in HERE)
    for path in files:
        with pytest.raises(getattr(errors, path.stem)):
            read(path)
