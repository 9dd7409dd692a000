"""Payloads for the tests of the file format, and a second, independent view of a file's chunks."""

import hashlib
import struct
import zlib
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bitstream import (
    Architecture,
    CodedFrame,
    Color,
    FrameSegment,
    Header,
    Limits,
    Nerv,
    Part,
    Predictive,
    Quality,
    QuantizedTensor,
    Segment,
    Teacher,
    write_frames,
)
from bitstream.frame_table import FLAG_LIMIT, MAX_DEPTH, QUALITIES
from bitstream.header import divides

DATA = Path(__file__).resolve().parents[1] / "data"
PREAMBLE = b"\x8eNERV\r\n\n\x01"

ARCHITECTURE = Architecture(
    embed="pe_1.25_80",
    fc_dim=512,
    fc_hw=(9, 16),
    dec_strds=(5, 3, 2, 2, 2),
    dec_blks=(1, 1, 1, 1, 1),
    conv_type="convnext pshuffel",
    reduce=1.2,
    lower_width=32,
    act="gelu",
    norm="none",
    ks=(1, 5),
    head_strd=1,
    out_bias="tanh",
    clip_dim=512,
    clip_rank=0,
)
HEADER = Header(
    frames=5,
    height=640,
    width=1280,
    fps=Fraction(30000, 1001),
    time_base=Fraction(1, 90000),
    sar=Fraction(1),
    color=Color(matrix=1, primaries=1, transfer=1),
    grid=(2, 4),
    architecture=ARCHITECTURE,
    teacher=Teacher("ViT-B-32", "laion2b_s34b_b79k", 512),
    split=(18, 19, 20),
    encoder="nvcodec 0.1.0",
)

FRAMES_HEADER = replace(
    HEADER, architecture=Predictive(), teacher=None, grid=(1, 1), split=(1, 1, 1), base=bytes(range(16))
)


def tensor(part: Part, shape: tuple[int, ...], spread: int, per_channel: bool) -> QuantizedTensor:
    """A tensor by integer arithmetic alone, so that it is the same wherever the tests run."""
    index = np.arange(int(np.prod(shape)), dtype=np.int64)
    values = (index * index * 7919 % 65521 % (2 * spread + 1) - spread).reshape(shape)
    steps = (100 + np.arange(shape[0]) * 5 % 7) if per_channel else np.asarray([90])
    return QuantizedTensor(part, values.astype(np.int16), steps.astype(np.uint8))


def segment(start: int, frames: int) -> Segment:
    """A small network with tensors of every part, in no order of parts."""
    return Segment(
        start,
        frames,
        (
            tensor(Part.EMBEDDING, (3, frames, 2, 2), 4, True),
            tensor(Part.WEIGHT, (6, 3, 3, 3), 9 + start, True),
            tensor(Part.WEIGHT, (6,), 127, False),
            tensor(Part.CLIP, (4, 5), 2, True),
            tensor(Part.WEIGHT, (1, 7), 1, False),
            tensor(Part.WEIGHT, (5, 4), 0, True),
        ),
    )


SMALL = Nerv(
    HEADER,
    (segment(0, 2), segment(2, 2), segment(4, 1)),
    timestamps=(-3003, 0, 3003, 6006, 9010),
    quality=Quality(psnr=33.25, ms_ssim=0.96875, clip_sim=0.875, train_psnr=34.5),
)


def coded_frame(number: int, references: tuple[int, ...], size: int, flags: int = 7) -> CodedFrame:
    """A frame with a record of `size` bytes that no network need understand."""
    record = bytes((number * 31 + i * i) % 251 for i in range(size))
    return CodedFrame(number, references, 40 - len(references), flags, record)


FRAMES_SMALL = Nerv(
    FRAMES_HEADER,
    (
        FrameSegment.of(
            write_frames(0, [coded_frame(0, (), 9), coded_frame(2, (0,), 5), coded_frame(1, (0, 2), 0, 0)]), "first"
        ),
        FrameSegment.of(write_frames(3, [coded_frame(0, (), 7), coded_frame(1, (0,), 3)], b"own"), "second"),
    ),
    timestamps=SMALL.timestamps,
    quality=SMALL.quality,
)


def split_chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    """Type and payload of each chunk of an intact file."""
    chunks = []
    offset = len(PREAMBLE)
    while offset < len(data):
        kind, length = struct.unpack_from("<4sI", data, offset)
        chunks.append((kind, data[offset + 8 : offset + 8 + length]))
        offset += 12 + length
    return chunks


def join_chunks(chunks: list[tuple[bytes, bytes]], preamble: bytes = PREAMBLE) -> bytes:
    """Inverse of `split_chunks`, with right checksums; the payload of a TAIL is made anew."""
    out = preamble
    for kind, payload in chunks:
        if kind == b"TAIL" and payload:
            payload = hashlib.sha256(out).digest()[:16]
        out += chunk(kind, payload)
    return out


def chunk(kind: bytes, payload: bytes) -> bytes:
    """One chunk with the right checksum."""
    body = struct.pack("<4sI", kind, len(payload)) + payload
    return body + struct.pack("<I", zlib.crc32(body))


def change(data: bytes, kind: bytes, edit: Callable[[bytes], bytes], number: int = 0) -> bytes:
    """The file with the payload of the `number`th chunk of a type edited, checksums, index and digest put right."""
    chunks = split_chunks(data)
    place = [i for i, (other, _) in enumerate(chunks) if other == kind][number]
    chunks[place] = (kind, edit(chunks[place][1]))
    if kind == b"SEGM":
        chunks = [(k, index_of(chunks, p) if k == b"INDX" else p) for k, p in chunks]
    return join_chunks(chunks)


def index_of(chunks: list[tuple[bytes, bytes]], old: bytes) -> bytes:
    """The payload of INDX for segments of new lengths; gaps and frames as in the `old` one."""
    numbers = read_uints(old)
    lengths = iter([len(payload) for kind, payload in chunks if kind == b"SEGM"])
    return b"".join(uint(next(lengths) if i % 3 == 2 else number) for i, number in enumerate(numbers))


def uint(value: int) -> bytes:
    """LEB128."""
    return bytes([value]) if value < 128 else bytes([value % 128 + 128]) + uint(value // 128)


def read_uints(data: bytes) -> list[int]:
    """All LEB128 integers in the bytes."""
    values, value, shift = [], 0, 0
    for byte in data:
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            values.append(value)
            value, shift = 0, 0
    return values


def uints(low: int, high: int) -> st.SearchStrategy[int]:
    return st.integers(low, high)


def texts(size: int) -> st.SearchStrategy[str]:
    return st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=size // 4)


many_frames = uints(1, 2**24)
ratios = st.builds(Fraction, st.integers(1, 2**32 - 1), st.integers(1, 2**32 - 1))
teachers = st.builds(
    Teacher,
    model=texts(255),
    pretrained=texts(255),
    dim=uints(1, 65535),
    digest=st.binary(max_size=32).map(bytes.hex),
)
architectures = st.integers(0, 16).flatmap(
    lambda stages: st.builds(
        Architecture,
        embed=texts(64),
        fc_dim=uints(1, 65535),
        fc_hw=st.tuples(uints(1, 4095), uints(1, 4095)),
        dec_strds=st.tuples(*[uints(1, 64)] * stages),
        dec_blks=st.tuples(*[uints(1, 64)] * stages),
        conv_type=texts(64),
        reduce=st.just(-1.0) | st.floats(1 / 64, 64),
        lower_width=uints(0, 65535),
        act=texts(32),
        norm=texts(32),
        ks=st.tuples(uints(0, 63), uints(0, 63)),
        head_strd=uints(1, 64),
        out_bias=texts(32),
        clip_dim=st.just(0),
        clip_rank=uints(0, 65535),
    )
)
colors = st.builds(
    Color, matrix=uints(0, 255), primaries=uints(0, 255), transfer=uints(0, 255), full_range=st.booleans()
)


def divisions(side: int, most: int) -> st.SearchStrategy[int]:
    """How often a side of so many pixels can be divided, `most` times at most."""
    return uints(1, min(255, side, most)).filter(lambda count: divides(side, count))


@st.composite
def headers(draw: st.DrawFn, frames: st.SearchStrategy[int] = many_frames) -> Header:
    """Any legal header that the default limits let through."""
    limits = Limits()
    count, height, width = draw(frames), draw(uints(1, limits.height)), draw(uints(1, limits.width))
    rows = draw(divisions(height, limits.coordinates // count))
    teacher = draw(st.none() | teachers)
    architecture = draw(architectures | st.just(Predictive()))
    a, b, c = sorted(draw(st.tuples(uints(1, 65535), uints(1, 65535), uints(1, 65535))))
    return Header(
        frames=count,
        height=height,
        width=width,
        fps=draw(ratios),
        time_base=draw(ratios),
        sar=draw(ratios),
        color=draw(colors),
        grid=(rows, draw(divisions(width, limits.coordinates // (count * rows)))),
        architecture=replace(architecture, clip_dim=teacher.dim if teacher else 0),
        teacher=teacher,
        split=(a, b, c),
        encoder=draw(texts(64)),
        base=draw(st.binary(min_size=architecture.base_bytes, max_size=architecture.base_bytes)),
    )


@st.composite
def coded_frames(draw: st.DrawFn, count: int) -> list[CodedFrame]:
    """Any legal frames of a segment, in a coding order."""
    order = draw(st.permutations(range(count)))
    depth: dict[int, int] = {}
    frames = []
    for number in order:
        shallow = [n for n, d in depth.items() if d < MAX_DEPTH]
        references = tuple(draw(st.lists(st.sampled_from(shallow), max_size=2))) if shallow else ()
        depth[number] = 1 + max((depth[r] for r in references), default=0)
        quality, flags = draw(uints(0, QUALITIES - 1)), draw(uints(0, FLAG_LIMIT - 1))
        frames.append(CodedFrame(number, references, quality, flags, draw(st.binary(max_size=12))))
    return frames


@st.composite
def frame_segments(draw: st.DrawFn, start: int, count: int) -> FrameSegment:
    """Any legal segment of so many coded frames."""
    return FrameSegment.of(write_frames(start, draw(coded_frames(count)), draw(st.binary(max_size=9))), "drawn")


@st.composite
def tensors(draw: st.DrawFn) -> QuantizedTensor:
    """Any legal tensor of a few values."""
    shape = draw(hnp.array_shapes(min_dims=1, max_dims=8, min_side=1, max_side=5).filter(lambda s: np.prod(s) < 4000))
    spread = draw(st.sampled_from([0, 1, 5, 127]))
    values = draw(hnp.arrays(np.int32, shape, elements=uints(-spread, spread)))
    steps = draw(hnp.arrays(np.uint8, draw(st.sampled_from([1, shape[0]])), elements=uints(0, 254)))
    return QuantizedTensor(draw(st.sampled_from(Part)), values, steps)


@st.composite
def nervs(draw: st.DrawFn) -> Nerv:
    """Any legal payload of a few frames and tensors."""
    lengths = draw(st.lists(uints(1, 9), min_size=1, max_size=4))
    starts = np.cumsum([0, *lengths]).tolist()
    header = draw(headers(st.just(starts[-1])))
    predictive = isinstance(header.architecture, Predictive)
    segments = tuple(
        draw(frame_segments(start, length))
        if predictive
        else Segment(start, length, tuple(draw(st.lists(tensors(), max_size=3))))
        for start, length in zip(starts, lengths, strict=False)
    )
    times = st.none() | st.tuples(uints(-(2**61), 2**60), st.lists(uints(1, 2**40), min_size=40, max_size=40)).map(
        lambda t: tuple(np.cumsum([t[0], *t[1]], dtype=object)[: starts[-1]])
    )
    numbers = st.none() | st.floats(width=32, allow_nan=False)
    quality = st.none() | st.builds(Quality, *[numbers] * 7)
    return Nerv(header, segments, draw(times), draw(quality))
