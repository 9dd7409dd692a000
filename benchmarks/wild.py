"""Files that are wrong as no flipped bit makes them: checksums, index and digest right, over fields that are wild.

`FAMILIES` names every kind of such a file: a function from a random generator to bytes. The same generator state gives
the same file, so that a family and a seed name one. Another kind of network is one more function in `NETWORKS`.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from functools import cache, lru_cache
from itertools import accumulate
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from torch import nn

from bitstream import (
    MAX_DEPTH,
    QUALITIES,
    Architecture,
    CodedFrame,
    Color,
    FileReader,
    FrameSegment,
    Header,
    Nerv,
    Part,
    Predictive,
    Quality,
    QuantizedTensor,
    Segment,
    Teacher,
    fields,
    write,
    write_frames,
)
from bitstream.container import MAGIC, PREAMBLE
from bitstream.header import HEADER, divides
from codec.network.dual_head import blueprint
from codec.network.predictive.features import write_features
from codec.network.predictive.frames import empty_symbols
from codec.network.predictive.network import PredictiveNetwork
from codec.network.predictive.store import default, digest_of, load_network
from codec.network.predictive.symbols import BARE, OVERLAP, TRANSFORMS, Integers, Symbols
from codec.network.weights import part_of
from codec.rate.carried import Moved, carry, way_ratio
from codec.rate.records import FrameCoder
from codec.specs import ACTIVATIONS, CONV_TYPES, NORMS, DualHeadSpec, Geometry

Chunk = tuple[bytes, bytes]  # type, payload
Family = Callable[[Random], bytes]
Network = tuple[Any, bytes, Callable[[int, int], Any]]  # of the header: architecture and base; start, frames -> segment
Record = Callable[[int, tuple[int, ...], int], tuple[int, bytes]]  # number, references, quality -> flags, record

EDGES = (0, 1, 2, 3, 127, 128, 254, 255, 2**14, 2**16 - 1, 2**20, 2**24, 2**31, 2**32 - 1, 2**32, 2**62, 2**63 - 1)


# ---- files that are right: what the wild ones start from ----


def dual_head(random: Random, geometry: Geometry, clip_dim: int) -> Network:
    """A small network of this kind, whose segments hold any integers."""
    stages = random.randrange(3)
    strides = tuple(random.choice((1, 2, 3)) for _ in range(stages))
    embed = random.choice(("pe_1.25_4", "pe_2_3", "hnerv_2", "grid_2.8.1", "grid_1.4.2_2.16.9"))
    architecture = Architecture(
        embed=embed,
        fc_dim=random.randint(1, 9),
        fc_hw=(1, 1),
        dec_strds=strides,
        dec_blks=tuple(random.randint(1, 2) for _ in strides),
        conv_type=random.choice(CONV_TYPES),
        reduce=random.choice((-1.0, 1.2, 2.0)),
        lower_width=random.randint(1, 4),
        act=random.choice(ACTIVATIONS),
        norm=random.choice(NORMS),
        ks=random.choice(((1, 3), (3, 3), (1, 5))),
        head_strd=random.randint(1, 4),
        out_bias=random.choice(("tanh", "sigmoid", "0.5", "-3")),
        clip_dim=clip_dim,
        clip_rank=random.randint(1, 3) if clip_dim else 0,
    )
    spec = DualHeadSpec.parse(architecture)
    spec = replace(spec, fc_hw=spec.first_map(geometry))

    def segment(start: int, frames: int) -> Segment:
        return Segment(start, frames, _tensors(random, blueprint(spec, replace(geometry, frames=frames))))

    return spec.architecture(), b"", segment


def predictive(random: Random, geometry: Geometry, clip_dim: int) -> Network:
    """The base that the package ships, and frames of any structure that hold any integers."""
    path, network, coder = _base()
    moved: dict[int, Moved] = {}  # of the segment

    def record(number: int, references: tuple[int, ...], quality: int) -> tuple[int, bytes]:
        empty = empty_symbols(network, geometry.height, geometry.width, len(references))
        drawn = np.random.default_rng(random.getrandbits(32))
        parts = (empty.motion, empty.sides, empty.hyper, empty.residuals)
        spreads = [random.choice((0, 0, 1, 9)) for _ in parts]
        motion, sides, hyper, residuals = (
            drawn.integers(-n, n + 1, x.shape).astype(np.int16) for x, n in zip(parts, spreads, strict=True)
        )
        side = random.choice((1, 2, 8))
        motion, sides = (_in_squares(x, side) for x in (motion, sides))
        made = random.choice((0, OVERLAP)) | random.choice((0, BARE)) if references else 0
        transforms = drawn.choice(
            3, empty.transforms.shape, p=random.choice(((1, 0, 0), (0.8, 0.1, 0.1), (0, 0.5, 0.5)))
        )
        symbols = Symbols(motion, sides, hyper, residuals, transforms.astype(np.int16), made)
        carried, ratio = carry(number, references, moved), way_ratio(number, references)
        found, kept, _ = coder.write(symbols, quality, ratio, carried)
        moved[number] = Moved(references, kept.motion)
        return symbols.flags, found

    def segment(start: int, frames: int) -> FrameSegment:
        moved.clear()
        features = _features(random, frames, geometry.patches, clip_dim) if clip_dim else b""
        return FrameSegment.of(write_frames(start, _coded_frames(random, frames, record), features), "right")

    return Predictive(clip_dim), digest_of(path), segment


def _in_squares(values: Integers, side: int) -> Integers:
    """Values of blocks [..., rows, columns], alike in squares."""
    rows, columns = values.shape[-2:]
    return values[..., ::side, ::side].repeat(side, -2).repeat(side, -1)[..., :rows, :columns]


def _features(random: Random, frames: int, patches: int, dim: int) -> bytes:
    """Features of any integers whose sums over time are small enough."""
    drawn, rank = np.random.default_rng(random.getrandbits(32)), random.randint(0, min(3, dim, frames * patches))
    turns = drawn.integers(-9, 10, (rank, patches, frames))
    changes = np.diff(turns, prepend=0)
    shapes = [
        drawn.integers(-99, 100, (1, dim)),
        drawn.integers(-9, 10, (rank, dim)),
        changes[..., 0],
        changes[..., 1:],
    ]
    return write_features([QuantizedTensor(Part.CLIP, x, np.array([170])) for x in shapes if x.size])


@cache
def _base() -> tuple[Path, PredictiveNetwork, FrameCoder]:
    network = load_network(default())
    return default(), network, FrameCoder(network)


def _coded_frames(random: Random, count: int, record: Record) -> list[CodedFrame]:
    """Frames in any order, each referring to any that are not too deep."""
    depth: dict[int, int] = {}
    out = []
    for number in random.sample(range(count), count):
        known = [n for n, deep in depth.items() if deep < MAX_DEPTH]
        references = tuple(random.choices(known, k=random.randint(0, 2))) if known else ()
        depth[number] = 1 + max((depth[r] for r in references), default=0)
        quality = random.randrange(QUALITIES)
        out.append(CodedFrame(number, references, quality, *record(number, references, quality)))
    return out


NETWORKS = (dual_head, predictive)


def _tensors(random: Random, model: nn.Module) -> tuple[QuantizedTensor, ...]:
    """Integers for all that a network stores."""
    return tuple(
        _integers(random, part_of(n), (1, *p.shape) if p.ndim == 1 else tuple(p.shape))
        for n, p in model.named_parameters()
    )


def _integers(random: Random, part: Any, shape: tuple[int, ...]) -> QuantizedTensor:
    numpy_random = np.random.default_rng(random.getrandbits(32))
    spread = random.choice((0, 1, 3, 127))
    values = numpy_random.integers(-spread, spread + 1, shape).astype(np.int16)
    low, high = random.choice(((300, 320), (300, 320), (300, 320), (0, 255), (254, 255)))  # 2^-10, or any
    steps = numpy_random.integers(low % 255, max(high % 256, low % 255 + 1), random.choice((1, shape[0])))
    return QuantizedTensor(part, values, steps.astype(np.uint8))


def right(random: Random) -> bytes:
    """A small file that decodes."""
    return _right(random, random.choice(NETWORKS))


def _right(random: Random, network: Callable[[Random, Geometry, int], Network]) -> bytes:
    height, width = random.randint(1, 40), random.randint(1, 40)
    rows = random.choice([n for n in range(1, 5) if divides(height, n)])
    columns = random.choice([n for n in range(1, 5) if divides(width, n)])
    lengths = [random.randint(1, 4) for _ in range(random.randint(1, 3))]
    teacher = random.choice((None, Teacher("tiny", "tiny.safetensors", random.randint(1, 5))))
    geometry = Geometry(max(lengths), height, width, (rows, columns))
    architecture, base, segment = network(random, geometry, teacher.dim if teacher else 0)
    header = Header(
        frames=sum(lengths),
        height=height,
        width=width,
        fps=Fraction(random.randint(1, 120), random.choice((1, 1001))),
        time_base=Fraction(1, random.choice((25, 1000, 90000))),
        grid=(rows, columns),
        architecture=architecture,
        encoder="wild",
        color=Color(matrix=random.choice((0, 1, 2, 6, 9)), full_range=random.random() < 0.5),
        teacher=teacher,
        base=base,
    )
    starts = [0, *accumulate(lengths)]
    segments = tuple(segment(start, length) for start, length in zip(starts, lengths, strict=False))
    times = tuple(accumulate(random.randint(1, 9) for _ in range(header.frames))) if random.random() < 0.3 else None
    return write(Nerv(header, segments, times, Quality(psnr=30.0) if random.random() < 0.5 else None))


def _some(random: Random, network: int | None = None) -> bytes:
    """One of a few hundred right files, of any network or of one of NETWORKS.

    They are made once: building networks takes most of the time.
    """
    return _right_number(random.randrange(256), random.randrange(len(NETWORKS)) if network is None else network)


@lru_cache(512)
def _right_number(seed: int, network: int) -> bytes:
    return _right(Random(seed), NETWORKS[network])


# ---- bytes to chunks and back ----


def split(data: bytes) -> list[Chunk]:
    """The chunks of a file that is right."""
    chunks, offset = [], len(PREAMBLE)
    while offset < len(data):
        kind, length = struct.unpack_from("<4sI", data, offset)
        chunks.append((kind, data[offset + 8 : offset + 8 + length]))
        offset += 12 + length
    return chunks


def join(chunks: list[Chunk]) -> bytes:
    """Inverse of `split`, whatever the chunks hold: every CRC-32 and the digest of TAIL are right."""
    out = PREAMBLE
    for kind, payload in chunks:
        payload = hashlib.sha256(out).digest()[:16] if kind == b"TAIL" else payload
        body = struct.pack("<4sI", kind, len(payload)) + payload
        out += body + struct.pack("<I", zlib.crc32(body))
    return out


def _replaced(random: Random, kind: bytes, edit: Callable[[bytes], bytes], network: int | None = None) -> bytes:
    """A right file with the payload of one chunk of a kind edited, and the lengths of INDX put right."""
    chunks = split(_some(random, network))
    places = [i for i, (other, _) in enumerate(chunks) if other == kind]
    if not places:
        chunks.insert(1, (kind, edit(b"")))
        return join(chunks)
    place = random.choice(places)
    old, new = chunks[place][1], edit(chunks[place][1])
    chunks[place] = (kind, new)
    if kind == b"SEGM":
        number = next(i for i, (other, _) in enumerate(chunks) if other == b"INDX")
        items = _uints(chunks[number][1])
        items[3 * places.index(place) + 2] += len(new) - len(old)
        chunks[number] = (b"INDX", b"".join(map(fields.write_uint, items)))
    return join(chunks)


def _uints(data: bytes) -> list[int]:
    cursor, found = fields.Cursor(data, "INDX"), []
    while cursor.position < len(data):
        found.append(fields.read_uint(cursor))
    return found


# ---- wild values ----


def _number(random: Random, low: int = 0, high: int = 2**63 - 1) -> int:
    """Mostly legal, small, or at an edge."""
    draw = random.random()
    if draw < 0.4:
        return random.randint(low, high)
    if draw < 0.6:
        return min(max(random.choice((low - 1, low, low + 1, high - 1, high, high + 1)), 0), 2**63 - 1)
    return random.choice(EDGES) if draw < 0.8 else random.randint(0, 99)


def _bytes(random: Random, most: int = 40) -> bytes:
    return random.randbytes(random.randint(0, most))


WORDS = ("", "pe_", "pe_1.25_80", "pe_16_1024", "pe_nan_3", "pe_1_99999999", "grid_", "grid_1.1.1", "grid_0.1.1",
         "grid_99999.1.1", "grid_1.1.1_1.1.1_60000.1.1", "hnerv", "hnerv_0", "hnerv_1000000", "hnerv_-1", "siren_1",
         "nan", "inf", "-inf", "1e999", "1_0", "\u0661", "tanh", "0x1", "\U0001f600" * 4, "a" * 64, "conv", "bn", "in",
         *CONV_TYPES, *ACTIVATIONS)  # fmt: skip


def _wild(random: Random, kind: fields.Kind, value: Any) -> bytes:
    """Bytes of a field of this kind, legal or not."""
    if isinstance(kind, fields.Uint):
        return fields.write_uint(_number(random, kind.low, kind.high))
    if isinstance(kind, fields.Text):
        text = random.choice(WORDS).encode() if random.random() < 0.8 else _bytes(random)
        return fields.write_uint(len(text)) + text
    if isinstance(kind, fields.Float64):
        numbers = (0.0, -0.0, 1e-300, 1e300, float("nan"), float("inf"), -1.0, 1 / 64, 64.0, random.uniform(-2, 70))
        return struct.pack("<d", random.choice(numbers))
    if isinstance(kind, fields.Ratio):
        return b"".join(fields.write_uint(_number(random, 1, 2**32 - 1)) for _ in range(2))
    if isinstance(kind, fields.Bool):
        return bytes([random.choice((0, 1, 2, 255))])
    if isinstance(kind, fields.Repeated):
        count = random.choice((0, 1, 2, 3, 16, 17, 2**20))
        return fields.write_uint(count) + b"".join(_wild(random, kind.kind, None) for _ in range(min(count, 20)))
    if isinstance(kind, fields.Tuple):
        return b"".join(_wild(random, item, None) for item in kind.kinds)
    if isinstance(kind, fields.Maybe) and value is not None and random.random() < 0.8:
        return b"\x01" + _wild(random, kind.kind, value)
    if isinstance(kind, fields.OneOf) and value is not None:
        kind = next(record for record in (kind.other, *kind.named.values()) if record.type is type(value))
    if isinstance(kind, fields.Record) and value is not None:
        return _wild_record(random, kind, value)
    return _bytes(random)


def _wild_record(random: Random, record: fields.Record, value: Any) -> bytes:
    """The fields of a record, some of them wild."""
    chosen = {random.randrange(len(record.fields)) for _ in range(random.choice((1, 1, 1, 2, 4)))}
    out = b""
    for place, (name, kind) in enumerate(record.fields):
        own = getattr(value, name)
        out += _wild(random, kind, own) if place in chosen else kind.write(own)
    return out


def _mutated(random: Random, data: bytes) -> bytes:
    out = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 8))):
        place = random.randrange(len(out) + 1)
        what = random.randrange(4)
        if what == 0 or place == len(out):
            out[place:place] = random.randbytes(random.choice((1, 1, 4, 64)))
        elif what == 1:
            out[place] = random.randrange(256)
        elif what == 2:
            out[place] ^= 1 << random.randrange(8)
        else:
            del out[place : place + random.choice((1, 1, 4, 64))]
    return bytes(out)


# ---- the families ----


def headers(random: Random) -> bytes:
    """HEAD with a few fields wild, the rest right."""
    data = _some(random)
    chunks = split(data)
    chunks[0] = (b"HEAD", _wild_record(random, HEADER, FileReader(data).header))
    return join(chunks)


def networks(random: Random) -> bytes:
    """HEAD with a legal network that the segments do not hold, of any size."""
    data = _some(random, 0)
    header = FileReader(data).header
    changes: tuple[dict[str, Any], ...] = (
        {"fc_dim": random.choice((1, 99, 8192, 65535))},
        {"lower_width": random.choice((0, 99, 65535))},
        {"fc_hw": (random.randint(1, 4095), random.randint(1, 4095))},
        {"embed": random.choice(WORDS)},
        {"ks": (random.choice((0, 1, 63)), random.choice((1, 63)))},
        {"head_strd": random.randint(1, 64)},
        {"reduce": random.choice((-1.0, 1 / 64, 64.0))},
        {"conv_type": random.choice(CONV_TYPES), "norm": random.choice(NORMS)},
        {"dec_strds": (n := tuple(random.randint(1, 64) for _ in range(random.randint(0, 16)))), "dec_blks": n},
        {"clip_rank": random.choice((0, 65535))},
    )
    sizes: tuple[dict[str, Any], ...] = (
        {},
        {"height": 2**14, "width": 2**14},
        {"frames": 2**24},
        {"height": 1, "width": 2**14},
    )
    sides = random.choice(sizes)
    changed = replace(header, architecture=replace(header.architecture, **random.choice(changes)), **sides)
    chunks = split(data)
    try:
        chunks[0] = (b"HEAD", HEADER.write(changed))
    except ValueError:
        return data
    if "frames" in sides:
        segment = (b"SEGM", b"\x00" + fields.write_uint(2**24) + chunks[-2][1][2:])
        index = b"\x01\x00" + fields.write_uint(len(segment[1])) + fields.write_uint(2**24)
        chunks = [chunks[0], (b"INDX", index), segment, (b"TAIL", b"")]
    return join(chunks)


def records(random: Random) -> bytes:
    """SEGM with records of wild shapes and plans, over streams of random words."""

    def edit(payload: bytes) -> bytes:
        out = payload[:2] if random.random() < 0.8 else fields.write_uint(_number(random)) + payload[1:2]
        count = random.choice((0, 1, 1, 2, 5))
        out += fields.write_uint(count if random.random() < 0.9 else _number(random))
        for _ in range(count):
            flags = random.randrange(256)
            shape = [
                random.choice((1, 1, 2, 3, 64, _number(random, 1, 2**32 - 1))) for _ in range((flags >> 2 & 7) + 1)
            ]
            plans = [random.randbytes(1 + (flags >> bit & 1)) for bit in (5, 6)]
            out += bytes([flags]) + b"".join(map(fields.write_uint, shape)) + b"".join(plans)
        for _ in range(random.randint(0, 3)):
            words = random.choice((0, 1, 2, 9))
            out += fields.write_uint(words) + random.randbytes(4 * words)
        return out

    return _replaced(random, b"SEGM", edit, 0)


def zeros(random: Random) -> bytes:
    """SEGM that declares far more values than its bytes hold: all zero, they take no room."""

    def edit(payload: bytes) -> bytes:
        side = random.choice((2**8, 2**10, 2**12, 2**13 + 1, 2**31))
        return payload[:2] + b"\x01" + b"\x04" + 2 * fields.write_uint(side) + b"\x50\x00" + b"\x00"

    return _replaced(random, b"SEGM", edit, 0)


def streams(random: Random) -> bytes:
    """SEGM with its records right and its streams' words changed."""

    def edit(payload: bytes) -> bytes:
        half = len(payload) // 2
        return payload[:half] + _mutated(random, payload[half:])[: len(payload) - half].ljust(
            len(payload) - half, b"\0"
        )

    return _replaced(random, b"SEGM", edit, 0)


def tables(random: Random) -> bytes:
    """Coded frames whose table and features are wild behind a right CRC."""

    def edit(payload: bytes) -> bytes:
        cursor = fields.Cursor(payload, "SEGM")
        _, _, own, size = (fields.read_uint(cursor) for _ in range(4))
        end = cursor.position + own + size
        head = _mutated(random, payload[:end])
        return head + struct.pack("<I", zlib.crc32(head)) + payload[end + 4 :]

    return _replaced(random, b"SEGM", edit, 1)


def frames(random: Random) -> bytes:
    """Coded frames in any legal structure, with records that no encoder wrote."""

    def record(number: int, references: tuple[int, ...], quality: int) -> tuple[int, bytes]:
        made = random.choice(
            (0, 0, 0, OVERLAP, BARE, OVERLAP | BARE, TRANSFORMS, 32)
        )  # of which the last means nothing
        return random.randrange(8) | made, _bytes(random, random.choice((0, 4, 40, 400)))

    def edit(payload: bytes) -> bytes:
        segment = FrameSegment.of(payload, "right")
        coded = _coded_frames(random, segment.frames, record)
        if random.random() < 0.5:  # the rest as it was
            coded = [f if random.random() < 0.7 else replace(f, record=_mutated(random, f.record))
                     for f in segment.records()]  # fmt: skip
        return write_frames(segment.start, coded, segment.features)

    return _replaced(random, b"SEGM", edit, 1)


def indexes(random: Random) -> bytes:
    """INDX with items that are wild."""

    def edit(payload: bytes) -> bytes:
        items = _uints(payload)
        for _ in range(random.choice((1, 1, 2))):
            items[random.randrange(len(items))] = _number(random)
        return b"".join(map(fields.write_uint, items))

    return _replaced(random, b"INDX", edit)


def times(random: Random) -> bytes:
    """time with wild steps."""
    return _replaced(
        random,
        b"time",
        lambda payload: b"".join(
            fields.write_uint(_number(random)) for _ in range(len(payload) or random.randint(1, 9))
        ),
    )


def qualities(random: Random) -> bytes:
    """qual with any floats."""
    return _replaced(random, b"qual", lambda payload: random.randbytes(random.choice((28, 28, 28, 27, 29, 0))))


def orders(random: Random) -> bytes:
    """Chunks moved, left out, twice, or of types that nobody knows."""
    chunks = split(_some(random))
    for _ in range(random.choice((1, 1, 2, 4))):
        what = random.randrange(4)
        place = random.randrange(len(chunks))
        if what == 0 and len(chunks) > 1:
            chunks.insert(random.randrange(len(chunks)), chunks.pop(place))
        elif what == 1 and len(chunks) > 1:
            chunks.pop(place)
        elif what == 2:
            chunks.insert(random.randrange(len(chunks) + 1), chunks[place])
        else:
            kind = random.choice((b"abcd", b"ABCD", b"aBCD", b"ab1 ", b"\x00\x00\x00\x00", b"SEGM", b"segm"))
            chunks.insert(random.randrange(len(chunks) + 1), (kind, _bytes(random)))
    return join(chunks)


def payloads(random: Random) -> bytes:
    """Any chunk with a few bytes changed, put in or left out, behind a right checksum."""
    kind = random.choice((b"HEAD", b"time", b"qual", b"INDX", b"SEGM", b"SEGM"))
    return _replaced(random, kind, lambda payload: _mutated(random, payload), 0)


def damages(random: Random) -> bytes:
    """A right file cut, flipped, with bytes put in; or hardly a file at all."""
    data = _some(random)
    what = random.randrange(4)
    if what == 0:
        return data[: random.randrange(len(data))]
    if what == 1:
        return random.choice((b"", MAGIC, PREAMBLE)) + _bytes(random, 200)
    return _mutated(random, data)


FAMILIES: dict[str, Family] = {
    family.__name__: family
    for family in (
        right,
        headers,
        networks,
        records,
        zeros,
        streams,
        tables,
        frames,
        indexes,
        times,
        qualities,
        orders,
        payloads,
        damages,
    )
}


def file(family: str, seed: int) -> bytes:
    """The file of that name."""
    return FAMILIES[family](Random(f"{family} {seed}"))
