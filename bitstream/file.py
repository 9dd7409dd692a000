"""A whole .nerv file: written from a payload, read back at once or segment by segment, verified, salvaged.

Order of the chunks, with ... for optional ones that a reader may not know:
HEAD  time?  qual?  ...  INDX  ...  SEGM  ...  SEGM  ...  TAIL
"""

import hashlib
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from bitstream.container import (
    PREAMBLE,
    Chunk,
    Origin,
    Source,
    check_crc,
    check_preamble,
    chunk_at,
    find,
    is_required,
    payload_of,
    read_payload,
    write_chunk,
)
from bitstream.errors import (
    BitstreamError,
    ChecksumMismatch,
    DigestMismatch,
    MalformedChunk,
    TrailingBytes,
    TruncatedFile,
    UnknownRequiredChunk,
)
from bitstream.fields import Cursor, Record, Repeated, Uint, parse
from bitstream.frames import FrameSegment
from bitstream.header import (
    Header,
    Predictive,
    Quality,
    read_header,
    read_quality,
    read_timestamps,
    write_header,
    write_quality,
    write_timestamps,
)
from bitstream.limits import DEFAULT_LIMITS, Limits
from bitstream.segment import Part, Segment, read_segment, read_sizes, read_span

__all__ = ["Contents", "FileReader", "Nerv", "SegmentEntry", "Verification", "assemble", "read", "verify", "write"]

HEAD: Final = b"HEAD"
TIME: Final = b"time"
QUAL: Final = b"qual"
INDX: Final = b"INDX"
SEGM: Final = b"SEGM"
TAIL: Final = b"TAIL"
_KNOWN: Final = frozenset((HEAD, TIME, QUAL, INDX, SEGM, TAIL))

# SHA-256, cut to 16 bytes: it names a file and finds damage, neither of which gains by more, and every byte counts.
_DIGEST_BYTES: Final = 16

# Salvaging reads at most this much of damaged chunks: some passes over the file, and for a small file a constant.
_SALVAGE_PASSES: Final = 8
_SALVAGE_BYTES: Final = 2**30
_SALVAGE_BLOCK: Final = 2**20  # what a search for the next segment may cost


@dataclass(frozen=True)
class Nerv:
    """All that a .nerv file holds."""

    header: Header
    segments: tuple[Any, ...]  # Segments or FrameSegments, by rising start, covering every frame once
    timestamps: tuple[int, ...] | None = None  # of each frame, rising, in header.time_base; None: constant rate
    quality: Quality | None = None


@dataclass(frozen=True)
class SegmentEntry:
    """Where a segment lies, in frames and in bytes."""

    start: int  # first frame
    frames: int
    offset: int  # of the SEGM chunk's first byte
    length: int  # of the chunk's payload, bytes

    @property
    def stop(self) -> int:
        """The frame after the last."""
        return self.start + self.frames


@dataclass(frozen=True)
class Contents:
    """How much a file holds.

    Bytes by part sum to the file's. header: magic, version and the chunks HEAD, time, qual; weights, embeddings,
    clip_head: the records and the stream of the tensors; overhead: all else, that is the spans and frames of segments,
    INDX, TAIL, unknown chunks. Of a predictive file: frames, the records; features, the CLIP features; and the
    tables count as overhead.
    """

    values: int  # integers in all tensors, 0 for a predictive file
    bytes_by_part: dict[str, int]


@dataclass(frozen=True)
class Verification:
    """What `verify` found."""

    problems: tuple[BitstreamError, ...]  # empty for an intact file
    segments: int  # that could be decoded

    @property
    def ok(self) -> bool:
        """Whether the file is intact."""
        return not self.problems


@dataclass(frozen=True)
class _IndexItem:
    gap: int  # bytes between the end of the chunk before, INDX or SEGM, and this SEGM
    length: int  # of its payload, bytes
    frames: int


_INDEX = Repeated(
    Record(_IndexItem, (("gap", Uint(0, 2**62)), ("length", Uint(0, 2**32 - 1)), ("frames", Uint(1, 2**32 - 1)))),
    1,
    2**32 - 1,
)


def write(nerv: Nerv) -> bytes:
    """The file. Raises ValueError for a payload that has no legal file."""
    return assemble(nerv.header, [_coded(s, nerv.header) for s in nerv.segments], nerv.timestamps, nerv.quality)


def read(origin: Origin, limits: Limits = DEFAULT_LIMITS) -> Nerv:
    """Inverse of `write`: everything in a file, given as bytes or by path, every checksum checked.

    Raises a BitstreamError that names what is wrong, and OSError where the file cannot be read.
    """
    reader = FileReader(origin, limits)
    for problem in reader.problems():
        raise problem
    segments = tuple(s.whole() if isinstance(s, FrameSegment) else s for s in reader.segments())
    return Nerv(reader.header, segments, reader.timestamps, reader.quality)


def assemble(
    header: Header,
    coded: Sequence[bytes],
    timestamps: tuple[int, ...] | None = None,
    quality: Quality | None = None,
) -> bytes:
    """The file made of segments that `write_segment` or `write_frames` coded, by rising start.

    The size does not depend on the numbers in `quality`, so that they can be measured on the file itself. Raises
    ValueError where segments or timestamps do not fit the frames of the header.
    """
    spans = [read_span(payload, "a coded segment") for payload in coded]
    _check_cover(spans, header.frames)
    out = [PREAMBLE, write_chunk(HEAD, write_header(header))]
    if timestamps is not None:
        if len(timestamps) != header.frames:
            raise ValueError(f"{len(timestamps)} timestamps for {header.frames} frames")
        out.append(write_chunk(TIME, write_timestamps(timestamps)))
    if quality is not None:
        out.append(write_chunk(QUAL, write_quality(quality)))
    items = tuple(_IndexItem(0, len(payload), frames) for payload, (_, frames) in zip(coded, spans, strict=True))
    out.append(write_chunk(INDX, _INDEX.write(items)))
    out += [write_chunk(SEGM, payload) for payload in coded]
    body = b"".join(out)
    return body + write_chunk(TAIL, _digest([body]))


def verify(origin: Origin, limits: Limits = DEFAULT_LIMITS) -> Verification:
    """Check all that can be checked without the network: structure, checksums, digest, every coded integer.

    Of coded frames, their table and the CRC of every record: the integers in them take a network to parse.
    """
    try:
        reader = FileReader(origin, limits)
    except BitstreamError as error:
        return Verification((error,), 0)
    problems = list(reader.problems())
    decoded = 0
    for number in range(len(reader.index)):
        try:
            segment = reader.segment(number)
            if isinstance(segment, FrameSegment):
                segment.records()
            decoded += 1
        except ChecksumMismatch as error:
            if reader.is_intact(number):  # else it is already among the problems
                problems.append(error)
        except BitstreamError as error:
            problems.append(error)
    return Verification(tuple(problems), decoded)


class FileReader:
    """Random access to a file: reads what stands before the segments, and decodes a segment when asked for it.

    Opening checks all chunks up to the index, and where the chunks after the segments lie; `segment` checks the
    segment it reads; `problems` checks everything. Memory is bounded by one segment. A reader can be pickled.
    """

    header: Header
    timestamps: tuple[int, ...] | None
    quality: Quality | None
    index: tuple[SegmentEntry, ...]  # by rising start
    size: int  # bytes of the file

    def __init__(self, origin: Origin, limits: Limits = DEFAULT_LIMITS, salvage: bool = False) -> None:
        """Open a file, given as bytes or by path.

        With `salvage`, the file may be damaged from the end of its header on: `index` holds the intact segments alone,
        found without the index chunk, and `lost` tells the frames of the others.

        Raises a BitstreamError that names what is wrong, and OSError where the file cannot be read.
        """
        self._limits = limits
        self._source = Source(origin)
        self.size = self._source.size
        limits.check("file_bytes", self.size)
        check_preamble(self._source)
        head = chunk_at(self._source, len(PREAMBLE))
        payload = self._payload(head)
        if head.type != HEAD:
            raise MalformedChunk(f"{head} stands where HEAD belongs")
        self.header = read_header(payload, limits)
        self.timestamps = None
        self.quality = None
        self._header_bytes = head.end
        self._salvaged = salvage
        if salvage:
            self.index = self._search_segments(head.end)
        else:
            self._indx = self._read_up_to_index(head.end)
            self.index = self._read_index()
            self._tail = self._find_tail()

    def segment(self, number: int) -> Any:
        """Decode the segment `index[number]`. Raises BitstreamError.

        Of a predictive file the FrameSegment: its table is read and checked, each record when it is asked for.
        """
        entry = self.index[number]
        chunk = self._segment_chunk(number)
        segment: Segment | FrameSegment
        if isinstance(self.header.architecture, Predictive):
            segment = self._frames(chunk)
        else:
            segment = read_segment(self._payload(chunk), chunk.name, self._limits)
        if (segment.start, segment.frames) != (entry.start, entry.frames):
            stop = segment.start + segment.frames
            raise MalformedChunk(f"{chunk} holds frames {segment.start}..{stop - 1}, not those that INDX gives it")
        return segment

    def segments(self) -> Iterator[Any]:
        """One segment after another. Raises BitstreamError."""
        return (self.segment(number) for number in range(len(self.index)))

    def number_of(self, frame: int) -> int:
        """The place in `index` of the segment that holds a frame. Raises IndexError where none does."""
        number = bisect_right(self.index, frame, key=lambda entry: entry.start) - 1
        if number < 0 or frame >= self.index[number].stop:
            raise IndexError(f"frame {frame} is in no segment")
        return number

    @property
    def lost(self) -> tuple[range, ...]:
        """The runs of frames that no segment of `index` holds: empty but for a salvaged file."""
        starts = (0, *(entry.stop for entry in self.index))
        stops = (*(entry.start for entry in self.index), self.header.frames)
        return tuple(range(a, b) for a, b in zip(starts, stops, strict=True) if a < b)

    @property
    def digest(self) -> str:
        """The digest of all bytes, as TAIL states it, in hexadecimal; "" for a salvaged file, in which none holds."""
        return "" if self._salvaged else self._payload(self._tail).hex()

    def contents(self) -> Contents:
        """What the file holds, from the records of its tensors or the tables of its frames alone. BitstreamError."""
        if isinstance(self.header.architecture, Predictive):
            return self._frame_contents()
        parts, values = dict.fromkeys(Part, 0), 0
        for number in range(len(self.index)):
            chunk = self._segment_chunk(number)
            held = read_sizes(self._payload(chunk), chunk.name, self._limits)
            values += held.values
            for part, size in held.parts.items():
                parts[part] += size
        by_part = {
            "header": self._header_bytes,
            "weights": parts[Part.WEIGHT],
            "embeddings": parts[Part.EMBEDDING],
            "clip_head": parts[Part.CLIP],
            "overhead": self.size - self._header_bytes - sum(parts.values()),
        }
        return Contents(values, by_part)

    def _frame_contents(self) -> Contents:
        segments = [self._frames(self._segment_chunk(number)) for number in range(len(self.index))]
        records, features = sum(s.record_bytes for s in segments), sum(len(s.features) for s in segments)
        by_part = {
            "header": self._header_bytes,
            "frames": records,
            "features": features,
            "overhead": self.size - self._header_bytes - records - features,
        }
        return Contents(0, by_part)

    def problems(self) -> Iterator[BitstreamError]:
        """Check what opening did not, and say what is wrong: the CRC-32 of every chunk, their order, the digest."""
        offset = self._indx.end
        for number, entry in enumerate(self.index):
            yield from self._problems_between(offset, entry.offset)
            chunk = self._segment_chunk(number)
            yield from _caught(partial(check_crc, self._source, chunk))
            offset = chunk.end
        yield from self._problems_between(offset, self._tail.offset)
        yield from _caught(self._check_digest)

    def damaged(self, frames: range) -> Iterator[BitstreamError]:
        """Check the CRC-32 of the segments that hold `frames` alone, and say what is wrong."""
        for number, entry in enumerate(self.index):
            if entry.start < frames.stop and frames.start < entry.stop:
                yield from _caught(partial(check_crc, self._source, self._segment_chunk(number)))

    def _payload(self, chunk: Chunk) -> bytes:
        self._limits.check("chunk_bytes", chunk.length)
        return read_payload(self._source, chunk)

    def is_intact(self, number: int) -> bool:
        """Whether the CRC-32 of the chunk of segment `number` is right."""
        return not list(_caught(partial(check_crc, self._source, self._segment_chunk(number))))

    def _frames(self, chunk: Chunk) -> FrameSegment:
        """Coded frames, read from the file when they are asked for."""
        found = chunk_at(self._source, chunk.offset)
        if found != chunk:
            raise MalformedChunk(f"{chunk}: {found} of {found.length} bytes stands there")
        read = partial(_read_at, self._source, payload_of(chunk).start)
        return FrameSegment(read, chunk.length, chunk.name, self._limits)

    def _segment_chunk(self, number: int) -> Chunk:
        """Where the index says that a segment lies; what the chunk says of itself, its CRC-32 confirms."""
        entry = self.index[number]
        name = f"segment {number}, frames {entry.start}..{entry.stop - 1}"
        return Chunk(SEGM, entry.offset, entry.length, name)

    def _read_up_to_index(self, offset: int) -> Chunk:
        """Read the chunks from `offset` on; returns INDX."""
        while (chunk := chunk_at(self._source, offset)).type != INDX:
            self._read_optional(chunk)
            offset = chunk.end
        return chunk

    def _read_optional(self, chunk: Chunk) -> None:
        """Read a chunk between HEAD and INDX."""
        if chunk.type == TIME and self.timestamps is None:
            self.timestamps = read_timestamps(self._payload(chunk), self.header.frames)
        elif chunk.type == QUAL and self.quality is None:
            self.quality = read_quality(self._payload(chunk))
        else:
            check_crc(self._source, chunk)
            _refuse_unless_unknown_optional(chunk)
            return
        self._header_bytes += chunk.end - chunk.offset

    def _read_index(self) -> tuple[SegmentEntry, ...]:
        cursor = Cursor(self._payload(self._indx), "INDX")
        items: tuple[_IndexItem, ...] = parse(cursor, _INDEX.read)
        cursor.finish()
        entries = []
        start, offset = 0, self._indx.end
        for item in items:
            entries.append(SegmentEntry(start, item.frames, offset + item.gap, item.length))
            start += item.frames
            offset = Chunk(SEGM, entries[-1].offset, item.length).end
        if start != self.header.frames:
            raise MalformedChunk(f"INDX: the segments hold {start} frames, the file has {self.header.frames}")
        if offset > self._source.size:
            missing = offset - self._source.size
            raise TruncatedFile(f"the file ends {missing} bytes before the end of its last segment")
        return tuple(entries)

    def _find_tail(self) -> Chunk:
        """Walk from the end of the last segment to TAIL, which ends the file."""
        offset = self._segment_chunk(len(self.index) - 1).end
        while (chunk := chunk_at(self._source, offset)).type != TAIL:
            _refuse_unless_unknown_optional(chunk)
            offset = chunk.end
        if chunk.end != self.size:
            raise TrailingBytes(f"{self.size - chunk.end} bytes follow the end chunk, which ends at byte {chunk.end}")
        return chunk

    def _check_digest(self) -> None:
        stored = self._payload(self._tail)
        computed = _digest(self._source.blocks(0, self._tail.offset))
        if computed != stored:
            raise DigestMismatch(f"the digest of the file is {computed.hex()}, TAIL says {stored.hex()}")

    def _problems_between(self, offset: int, stop: int) -> Iterator[BitstreamError]:
        """Check the chunks that fill offset..stop, up to the first that is wrong."""
        try:
            while offset < stop:
                chunk = chunk_at(self._source, offset)
                check_crc(self._source, chunk)
                _refuse_unless_unknown_optional(chunk)
                if chunk.end > stop:
                    raise MalformedChunk(f"{chunk} runs into the chunk at byte {stop}")
                offset = chunk.end
        except BitstreamError as error:
            yield error

    def _search_segments(self, offset: int) -> tuple[SegmentEntry, ...]:
        """Read what is intact from `offset` on; returns the segments that do not overlap an earlier one."""
        found = []
        for chunk in _intact_chunks(self._source, offset):
            try:
                if chunk.type == SEGM:
                    start, frames = read_span(self._payload(chunk), str(chunk))
                    found.append(SegmentEntry(start, frames, chunk.offset, chunk.length))
                elif chunk.type not in (INDX, TAIL):
                    self._read_optional(chunk)
            except MalformedChunk:
                continue
        entries: list[SegmentEntry] = []
        for entry in sorted(found, key=lambda entry: entry.start):
            if entry.start >= (entries[-1].stop if entries else 0) and entry.stop <= self.header.frames:
                entries.append(entry)
        return tuple(entries)


def _coded(segment: Segment | FrameSegment, header: Header) -> bytes:
    """The payload of SEGM. Raises ValueError for a segment that is not of the header's kind."""
    if isinstance(segment, FrameSegment) != isinstance(header.architecture, Predictive):
        raise ValueError(
            f"a {type(segment).__name__} does not belong in a file of {type(header.architecture).__name__}"
        )
    return segment.payload()


def _read_at(source: Source, start: int, place: range) -> bytes:
    """Bytes by their place in a payload that begins at `start`."""
    return source.read(start + place.start, len(place))


def _check_cover(spans: Sequence[tuple[int, int]], frames: int) -> None:
    """Raise ValueError unless the spans (start, frames) cover every frame once, in order."""
    stop = 0
    for start, count in spans:
        if start != stop:
            raise ValueError(f"a segment starts at frame {start}, where frame {stop} is next")
        stop += count
    if stop != frames:
        raise ValueError(f"the segments hold {stop} frames, the header says {frames}")


def _digest(blocks: Iterable[bytes]) -> bytes:
    sha256 = hashlib.sha256()
    for block in blocks:
        sha256.update(block)
    return sha256.digest()[:_DIGEST_BYTES]


def _caught(check: Callable[[], None]) -> Iterator[BitstreamError]:
    """The BitstreamError that a check raises, if it does."""
    try:
        check()
    except BitstreamError as error:
        yield error


def _refuse_unless_unknown_optional(chunk: Chunk) -> None:
    if chunk.type in _KNOWN:
        raise MalformedChunk(f"{chunk} stands twice or out of order")
    if is_required(chunk):
        raise UnknownRequiredChunk(f"{chunk} is unknown and required: decode with a newer version of the program")


def _intact_chunks(source: Source, offset: int) -> Iterator[Chunk]:
    """The chunks from `offset` on whose CRC-32 is right; after a damaged one, the search goes on for a SEGM."""
    budget = _SALVAGE_PASSES * source.size + _SALVAGE_BYTES  # a file made of false starts must not keep us for ever
    while 0 <= offset < source.size and budget > 0:
        budget -= _SALVAGE_BLOCK
        try:
            chunk = chunk_at(source, offset)
            budget -= chunk.length
            check_crc(source, chunk)
        except BitstreamError:
            offset = find(source, SEGM, offset + 1)
        else:
            yield chunk
            budget += _SALVAGE_BLOCK + chunk.length
            offset = chunk.end
