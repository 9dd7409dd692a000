"""The header of a file and the small chunks beside it: what they hold, and the lists of fields that fix their bytes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np

from bitstream.fields import (
    Blob,
    Bool,
    Cursor,
    Float32,
    Float64,
    Hex,
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
from bitstream.limits import Limits

__all__ = [
    "Architecture",
    "Color",
    "Header",
    "Predictive",
    "Quality",
    "Teacher",
    "divides",
    "read_header",
    "read_quality",
    "read_timestamps",
    "write_header",
    "write_quality",
    "write_timestamps",
]


@dataclass(frozen=True)
class Architecture:
    """The network, in the names of the HNeRV family. Legal ranges: `ARCHITECTURE` below."""

    embed: str  # "pe_1.25_80", ...: the kind of embedding and its parameters
    fc_dim: int  # channels of the stem's output
    fc_hw: tuple[int, int]  # height, width of the stem's output
    dec_strds: tuple[int, ...]  # upsampling of each stage
    dec_blks: tuple[int, ...]  # blocks of each stage, as many as dec_strds
    conv_type: str
    reduce: float  # by which each stage divides the channels; -1: by the square root of its stride
    lower_width: int  # fewest channels of a stage
    act: str
    norm: str
    ks: tuple[int, int]  # kernel sizes
    head_strd: int  # upsampling of the RGB head
    out_bias: str
    clip_dim: int  # width of the CLIP head's output, 0 for no CLIP head
    clip_rank: int  # width of the CLIP head's hidden layer

    base_bytes: ClassVar = 0  # of the digest of its base: it is trained from scratch

    def check(self) -> None:
        """Raise ValueError where fields, each legal by itself, contradict each other."""
        if len(self.dec_blks) != len(self.dec_strds):
            raise ValueError("dec_blks: are not as many as dec_strds")


@dataclass(frozen=True)
class Predictive:
    """The network that predicts frames from frames. Its base, which the header names by digest, tells the rest."""

    clip_dim: int = 0  # width of a CLIP feature, 0 for none
    kind: str = "predictive"

    base_bytes: ClassVar = 16  # of the SHA-256 of the base's file

    def check(self) -> None:
        """Raise ValueError where fields, each legal by itself, contradict each other."""
        if self.kind != Predictive.kind:
            raise ValueError(f"kind: '{self.kind}' is unknown, decode with a newer version of the program")


@dataclass(frozen=True)
class Teacher:
    """The CLIP image tower that the features imitate."""

    model: str  # open_clip's name
    pretrained: str  # open_clip's tag, or the file name of a local checkpoint
    dim: int  # width of a feature
    digest: str = ""  # SHA-256 of a local checkpoint in hexadecimal, "" for a published one


@dataclass(frozen=True)
class Color:
    """How the source coded colour, in the code points of ISO/IEC 23091-2 (ITU-T H.273); 2 is 'unspecified'."""

    matrix: int = 2  # MatrixCoefficients
    primaries: int = 2  # ColourPrimaries
    transfer: int = 2  # TransferCharacteristics
    full_range: bool = False  # VideoFullRangeFlag


@dataclass(frozen=True)
class Header:
    """What a decoder must know before it reads the first segment. Legal ranges: `HEADER` below."""

    frames: int  # of the whole file
    height: int  # pixels
    width: int  # pixels
    fps: Fraction  # frames per second
    time_base: Fraction  # seconds per unit of the timestamps
    grid: tuple[int, int]  # rows, columns of patches
    architecture: Any  # a record of ARCHITECTURES
    encoder: str  # name and version of the writing program
    sar: Fraction = Fraction(1)  # sample aspect ratio, width / height of a pixel
    color: Color = field(default_factory=Color)
    teacher: Teacher | None = None
    split: tuple[int, int, int] = (1, 1, 1)  # a, b, c: of every c frames the first a train and those from b on validate
    base: bytes = b""  # digest of the network that frames are decoded with, b"" for one trained from scratch


@dataclass(frozen=True)
class Quality:
    """The encoder's own measurement of its decoded frames; None is 'not measured'. Held at the file's float32."""

    psnr: float | None = None  # dB
    ms_ssim: float | None = None
    clip_sim: float | None = None
    train_psnr: float | None = None  # dB
    val_psnr: float | None = None  # dB
    train_clip_sim: float | None = None
    val_clip_sim: float | None = None

    def __post_init__(self) -> None:
        for name, _ in QUALITY.fields:
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, None if math.isnan(value) else float(np.float32(value)))


ARCHITECTURE = Record(
    Architecture,
    (
        ("embed", Text(64)),
        ("fc_dim", Uint(1, 65535)),
        ("fc_hw", Tuple((Uint(1, 4095), Uint(1, 4095)))),
        ("dec_strds", Repeated(Uint(1, 64), 0, 16)),
        ("dec_blks", Repeated(Uint(1, 64), 0, 16)),
        ("conv_type", Text(64)),
        ("reduce", Float64(1 / 64, 64, also=-1)),
        ("lower_width", Uint(0, 65535)),
        ("act", Text(32)),
        ("norm", Text(32)),
        ("ks", Tuple((Uint(0, 63), Uint(0, 63)))),
        ("head_strd", Uint(1, 64)),
        ("out_bias", Text(32)),
        ("clip_dim", Uint(0, 65535)),
        ("clip_rank", Uint(0, 65535)),
    ),
)

PREDICTIVE = Record(
    Predictive,
    (
        ("kind", Text(64)),
        ("clip_dim", Uint(0, 65535)),
    ),
)

# Every kind of network; what the first word of its record is, tells which. The overfitted kind has several.
ARCHITECTURES = OneOf(ARCHITECTURE, {"predictive": PREDICTIVE})

TEACHER = Record(
    Teacher,
    (
        ("model", Text(255)),
        ("pretrained", Text(255)),
        ("dim", Uint(1, 65535)),
        ("digest", Hex(32)),
    ),
)

COLOR = Record(
    Color,
    (
        ("matrix", Uint(0, 255)),
        ("primaries", Uint(0, 255)),
        ("transfer", Uint(0, 255)),
        ("full_range", Bool()),
    ),
)

HEADER = Record(
    Header,
    (
        ("frames", Uint(1, 2**32 - 1)),
        ("height", Uint(1, 2**20)),
        ("width", Uint(1, 2**20)),
        ("fps", Ratio()),
        ("time_base", Ratio()),
        ("sar", Ratio()),
        ("color", COLOR),
        ("grid", Tuple((Uint(1, 255), Uint(1, 255)))),
        ("architecture", ARCHITECTURES),
        ("teacher", Maybe(TEACHER)),
        ("split", Tuple((Uint(1, 65535), Uint(1, 65535), Uint(1, 65535)))),
        ("encoder", Text(64)),
        ("base", Blob(32)),
    ),
)

QUALITY = Record(
    Quality,
    (
        ("psnr", Float32()),
        ("ms_ssim", Float32()),
        ("clip_sim", Float32()),
        ("train_psnr", Float32()),
        ("val_psnr", Float32()),
        ("train_clip_sim", Float32()),
        ("val_clip_sim", Float32()),
    ),
)

_FIRST_TIMESTAMP = Sint()
_TIMESTAMP_STEP = Uint(1, 2**62)
_LAST_TIMESTAMP = 2**61


def write_header(header: Header) -> bytes:
    """The payload of HEAD. Raises ValueError for a field out of its legal range."""
    payload = HEADER.write(header)
    _check_consistent(header)
    return payload


def read_header(payload: bytes, limits: Limits) -> Header:
    """Inverse of `write_header`. Raises MalformedChunk and LimitExceeded. Which bases are there, its caller knows."""
    cursor = Cursor(payload, "HEAD")
    header: Header = parse(cursor, HEADER.read)
    cursor.finish()
    parse(cursor, lambda _: _check_consistent(header))
    for name in ("frames", "height", "width"):
        limits.check(name, getattr(header, name))
    limits.check("coordinates", header.frames * math.prod(header.grid))
    return header


def _check_consistent(header: Header) -> None:
    """Raise ValueError where fields, each legal by itself, contradict each other."""
    rows, columns = header.grid
    train, validate, period = header.split
    if not (divides(header.height, rows) and divides(header.width, columns)):
        raise ValueError(
            f"grid: {rows}x{columns} patches do not fit {header.height}x{header.width} pixels, some would be empty"
        )
    if not train <= validate <= period:
        raise ValueError(f"split: {train}_{validate}_{period} does not rise")
    header.architecture.check()
    if len(header.base) != header.architecture.base_bytes:
        raise ValueError(f"base: a digest of {len(header.base)} bytes, not {header.architecture.base_bytes}")
    if header.architecture.clip_dim != (header.teacher.dim if header.teacher else 0):
        raise ValueError("clip_dim: is not the width of the teacher's features")


def divides(side: int, count: int) -> bool:
    """Whether a side of so many pixels, cut into `count` patches of ceil(side / count), leaves pixels for the last."""
    return (count - 1) * -(-side // count) < side


def write_timestamps(timestamps: tuple[int, ...]) -> bytes:
    """The payload of time: the first timestamp, then the differences. Raises ValueError where they do not rise."""
    _check_last(timestamps)
    steps = (_TIMESTAMP_STEP.write(b - a) for a, b in pairwise(timestamps))
    return _FIRST_TIMESTAMP.write(timestamps[0]) + b"".join(steps)


def read_timestamps(payload: bytes, frames: int) -> tuple[int, ...]:
    """Inverse of `write_timestamps`, for a file of `frames` frames. Raises MalformedChunk."""
    cursor = Cursor(payload, "time")
    timestamps = [parse(cursor, _FIRST_TIMESTAMP.read)]
    for _ in range(frames - 1):
        timestamps.append(timestamps[-1] + parse(cursor, _TIMESTAMP_STEP.read))
    cursor.finish()
    parse(cursor, lambda _: _check_last(timestamps))
    return tuple(timestamps)


def _check_last(timestamps: Sequence[int]) -> None:
    if timestamps[-1] > _LAST_TIMESTAMP:
        raise ValueError(f"the last timestamp is {timestamps[-1]}, over {_LAST_TIMESTAMP}")


def write_quality(quality: Quality) -> bytes:
    """The payload of qual: always 28 bytes."""
    return QUALITY.write(quality)


def read_quality(payload: bytes) -> Quality:
    """Inverse of `write_quality`. Raises MalformedChunk."""
    cursor = Cursor(payload, "qual")
    quality: Quality = parse(cursor, QUALITY.read)
    cursor.finish()
    return quality
