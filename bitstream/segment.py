"""A segment: the quantized tensors of one network, and the payload of the SEGM chunk that holds them.

    start, frames, tensor count
    one record per tensor      part, shape, and how its steps and rows are coded
    one stream per part        step residuals, row residuals, values of each of the part's tensors in turn

One stream per part costs some 5 bytes each, and in return the bytes of a part are what lies in the file, not a share of
an estimate.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bitstream.codings import CODINGS
from bitstream.entropy import Decoder, Encoder
from bitstream.fields import Cursor, Uint, parse, write_uint
from bitstream.limits import DEFAULT_LIMITS, FREE_VALUES, Limits
from bitstream.tables import MAX_VALUE, STEPS

__all__ = ["Part", "QuantizedTensor", "Segment", "Sizes", "read_segment", "read_sizes", "read_span", "write_segment"]

MAX_DIMENSIONS: Final = 8

_START = Uint(0, 2**32 - 1)
_COUNT = Uint(1, 2**32 - 1)
_WORDS = Uint(0, 2**32 - 1)

# The first byte of a record.
_PART_MASK: Final = 0b11
_CODING_NAMED: Final = 3  # in place of the part: coding and part follow
_DIMENSIONS_SHIFT: Final = 2  # dimensions - 1 in three bits
_CODING_BITS_SHIFT: Final = 5  # three bits that mean what the coding says


class Part(IntEnum):
    """What a tensor is for: by this the bytes of a file are counted."""

    WEIGHT = 0
    EMBEDDING = 1
    CLIP = 2


@dataclass(frozen=True, eq=False)
class QuantizedTensor:
    """A tensor as integers: value * step(steps[channel]) is the real one.

    Raises ValueError for what the format cannot hold.
    """

    part: Part
    values: NDArray[np.int16]  # [C, ...], 1 to 8 dimensions, none empty; -127..127; any integer type is taken
    steps: NDArray[np.uint8]  # [C] or [1]; step indices 0..254
    coding: int = 0  # its number in CODINGS

    def __post_init__(self) -> None:
        values, steps = np.asarray(self.values), np.asarray(self.steps)
        if not (np.issubdtype(values.dtype, np.integer) and np.issubdtype(steps.dtype, np.integer)):
            raise ValueError(f"values and steps are integers, not {values.dtype} and {steps.dtype}")
        if not 1 <= values.ndim <= MAX_DIMENSIONS or values.size == 0:
            raise ValueError(f"values of shape {values.shape} are empty or not of 1 to {MAX_DIMENSIONS} dimensions")
        if max(int(values.max()), -int(values.min())) > MAX_VALUE:
            raise ValueError(f"values reach from {values.min()} to {values.max()}, outside -{MAX_VALUE}..{MAX_VALUE}")
        if self.coding not in CODINGS:
            raise ValueError(f"there is no coding {self.coding}")
        if steps.shape not in ((1,), values.shape[:1]):
            raise ValueError(f"steps of shape {steps.shape} are neither one nor one for each of {len(values)} channels")
        if int(steps.min()) < 0 or int(steps.max()) >= STEPS:
            raise ValueError(f"step indices reach from {steps.min()} to {steps.max()}, outside 0..{STEPS - 1}")
        object.__setattr__(self, "values", np.ascontiguousarray(values, np.int16))
        object.__setattr__(self, "steps", np.ascontiguousarray(steps, np.uint8))

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, QuantizedTensor)
            and (self.part, self.coding) == (other.part, other.coding)
            and np.array_equal(self.values, other.values)
            and np.array_equal(self.steps, other.steps)
        )

    def bits(self) -> float:
        """What it takes in a file, about: all but the few bytes of its shape."""
        return CODINGS[self.coding].bits(self.values, self.steps)

    __hash__ = None  # type: ignore[assignment]  # arrays are mutable


@dataclass(frozen=True)
class Segment:
    """A run of frames with a network of its own."""

    start: int  # first frame
    frames: int  # at least 1
    tensors: tuple[QuantizedTensor, ...]  # in the order of the network

    @classmethod
    def of(cls, payload: bytes, where: str) -> Segment:
        """From the payload of a SEGM chunk. See `read_segment`."""
        return read_segment(payload, where)

    def payload(self) -> bytes:
        """Inverse of `of`. See `write_segment`."""
        return write_segment(self)


@dataclass(frozen=True)
class Sizes:
    """How much a coded segment holds."""

    values: int  # integers in all tensors
    parts: dict[Part, int]  # bytes of the records and the stream of each


@dataclass(frozen=True)
class _Record:
    """What stands in front of the streams about one tensor."""

    part: Part
    shape: tuple[int, ...]
    coding: int
    side: Any  # of the coding


def write_segment(segment: Segment) -> bytes:
    """The payload of a SEGM chunk: the segment coded, ready for `assemble`. Raises ValueError for an illegal span."""
    encoders = {part: Encoder() for part in sorted({tensor.part for tensor in segment.tensors})}
    records = [_put_tensor(encoders[tensor.part], tensor) for tensor in segment.tensors]
    out = [_START.write(segment.start), _COUNT.write(segment.frames), write_uint(len(records))]
    out += map(_write_record, records)
    for encoder in encoders.values():
        stream = encoder.finish()
        out += [write_uint(len(stream) // 4), stream]
    return b"".join(out)


def read_segment(payload: bytes, where: str, limits: Limits = DEFAULT_LIMITS) -> Segment:
    """Inverse of `write_segment`. `where` names the segment in errors. Raises MalformedChunk and LimitExceeded."""
    cursor = Cursor(payload, where)
    start, frames = _read_span(cursor)
    records = _read_records(cursor, limits)
    streams = _read_streams(cursor, records)
    decoders = {part: Decoder(stream, f"{where}, {part.name}") for part, stream in streams}
    tensors = tuple(_get_tensor(decoders[r.part], r, where) for r in records)
    for decoder in decoders.values():
        decoder.finish()
    return Segment(start, frames, tensors)


def read_span(payload: bytes, where: str) -> tuple[int, int]:
    """The first frame and the number of frames of a coded segment. Raises MalformedChunk."""
    return _read_span(Cursor(payload, where))


def read_sizes(payload: bytes, where: str, limits: Limits) -> Sizes:
    """How much a coded segment holds, without decoding it. Raises MalformedChunk and LimitExceeded."""
    cursor = Cursor(payload, where)
    _read_span(cursor)
    records = _read_records(cursor, limits)
    parts = dict.fromkeys(Part, 0)
    for record in records:
        parts[record.part] += len(_write_record(record))
    for part, stream in _read_streams(cursor, records):
        parts[part] += len(write_uint(len(stream) // 4)) + len(stream)
    return Sizes(sum(math.prod(record.shape) for record in records), parts)


def _read_span(cursor: Cursor) -> tuple[int, int]:
    return parse(cursor, _START.read), parse(cursor, _COUNT.read)


def _read_records(cursor: Cursor, limits: Limits) -> list[_Record]:
    count = parse(cursor, Uint(0, 2**32 - 1).read)
    limits.check("tensors", count)
    records = []
    values = 0
    for _ in range(count):
        records.append(parse(cursor, _read_record))
        values += math.prod(records[-1].shape)
        limits.check("values", values)
    limits.check("density", max(0, values - FREE_VALUES) // len(cursor.data))
    return records


def _read_streams(cursor: Cursor, records: list[_Record]) -> list[tuple[Part, bytes]]:
    """The stream of each part that has a tensor, by rising part, up to the end of the payload."""
    parts = sorted({record.part for record in records})
    streams = [(part, cursor.take(4 * parse(cursor, _WORDS.read))) for part in parts]
    cursor.finish()
    return streams


def _write_record(record: _Record) -> bytes:
    bits, side = CODINGS[record.coding].write_side(record.side)
    flags = (len(record.shape) - 1) << _DIMENSIONS_SHIFT | bits << _CODING_BITS_SHIFT
    if record.coding == 0:
        head = bytes([flags | record.part])
    else:
        head = bytes([flags | _CODING_NAMED, record.coding, record.part])
    return head + b"".join(map(_COUNT.write, record.shape)) + side


def _read_record(cursor: Cursor) -> _Record:
    flags = cursor.take(1)[0]
    coding, part = 0, flags & _PART_MASK
    if part == _CODING_NAMED:
        coding, part = cursor.take(2)
        if coding == 0:
            raise ValueError("coding 0 is named where it goes without saying")
    if coding not in CODINGS:
        raise ValueError(f"a tensor's coding, {coding}, is unknown: decode with a newer version of the program")
    dimensions = (flags >> _DIMENSIONS_SHIFT & MAX_DIMENSIONS - 1) + 1
    shape = tuple(_COUNT.read(cursor) for _ in range(dimensions))
    side = CODINGS[coding].read_side(cursor, flags >> _CODING_BITS_SHIFT, shape)
    return _Record(Part(part), shape, coding, side)


def _put_tensor(encoder: Encoder, tensor: QuantizedTensor) -> _Record:
    """Append a tensor to its part's stream; what its reader must know beforehand is the record."""
    side = CODINGS[tensor.coding].put(encoder, tensor.values, tensor.steps)
    return _Record(tensor.part, tensor.values.shape, tensor.coding, side)


def _get_tensor(decoder: Decoder, record: _Record, where: str) -> QuantizedTensor:
    """Inverse of `_put_tensor`."""
    values, steps = CODINGS[record.coding].get(decoder, record.side, record.shape, where)
    return QuantizedTensor(record.part, values, steps, record.coding)
