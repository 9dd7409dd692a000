"""Tensors and segments: round trips, sizes, and payloads that no writer makes."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from bitstream import (
    Decoder,
    Encoder,
    LimitExceeded,
    Limits,
    MalformedChunk,
    Part,
    QuantizedTensor,
    Segment,
    best_rows,
    code_length,
    write_segment,
)
from bitstream.codings import CODINGS
from bitstream.fields import Cursor
from bitstream.segment import read_segment, read_sizes
from tests.bitstream import payloads

STEP = np.asarray([90], np.uint8)


SMALL_LIMITS = Limits(values=10**5)


def read(payload: bytes, limits: Limits = SMALL_LIMITS) -> Segment:
    return read_segment(payload, "segment X", limits)


@settings(max_examples=60, deadline=None)
@given(st.lists(payloads.tensors(), max_size=5), st.integers(0, 2**32 - 1), st.integers(1, 2**32 - 1))
def test_segment_round_trip(tensors: list[QuantizedTensor], start: int, frames: int) -> None:
    segment = Segment(start, frames, tuple(tensors))
    assert read(write_segment(segment)) == segment


def test_tensors_keep_order_shape_dtype_and_part() -> None:
    segment = payloads.segment(4, 2)
    decoded = read(write_segment(segment))
    assert [t.part for t in decoded.tensors] == [t.part for t in segment.tensors]
    assert [t.values.shape for t in decoded.tensors] == [t.values.shape for t in segment.tensors]
    assert {t.values.dtype for t in decoded.tensors} == {np.dtype(np.int16)}
    assert {t.steps.dtype for t in decoded.tensors} == {np.dtype(np.uint8)}
    assert decoded == segment


class Plain:
    """A coding for tests: every value under one row, which is the side, one step."""

    def put(self, encoder: Encoder, values: NDArray[np.int16], steps: NDArray[np.uint8]) -> tuple[int, int]:
        encoder.put(values.ravel(), np.full(values.size, 50))
        return 50, int(steps[0])

    def get(
        self, decoder: Decoder, side: tuple[int, int], shape: tuple[int, ...], where: str
    ) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
        return decoder.get(np.full(math.prod(shape), side[0])).reshape(shape), np.asarray([side[1]], np.uint8)

    def bits(self, values: NDArray[np.int16], steps: NDArray[np.uint8]) -> float:
        return code_length(values.ravel(), np.full(values.size, 50)) + 16

    def write_side(self, side: tuple[int, int]) -> tuple[int, bytes]:
        return 5, bytes(side)

    def read_side(self, cursor: Cursor, flags: int, shape: tuple[int, ...]) -> tuple[int, int]:
        assert flags == 5
        row, step = cursor.take(2)
        return row, step


def test_another_coding_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """It stands in one segment, and one stream, with tensors of the usual one."""
    monkeypatch.setitem(CODINGS, 9, Plain())
    usual = payloads.segment(0, 2)
    tensors = tuple(replace(t, coding=9, steps=t.steps[:1]) if i % 2 else t for i, t in enumerate(usual.tensors))
    segment = replace(usual, tensors=tensors)
    payload = write_segment(segment)
    assert read(payload) == segment != usual
    monkeypatch.delitem(CODINGS, 9)
    with pytest.raises(MalformedChunk, match="coding, 9, is unknown"):
        read(payload)


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("spread", [0, 1, 9, 127])
@pytest.mark.parametrize("per_channel", [False, True])
def test_bits_are_what_is_written(coding: int, spread: int, per_channel: bool) -> None:
    for shape in ((40, 12, 3, 3), (1, 200), (64, 1)):
        tensor = replace(payloads.tensor(Part.WEIGHT, shape, spread, per_channel and shape[0] > 1), coding=coding)
        written = 8 * (len(write_segment(Segment(0, 1, (tensor,)))) - len(write_segment(Segment(0, 1, ()))))
        assert tensor.bits() <= written <= tensor.bits() + 8 * 14  # shape, flags, and the stream's last words


@pytest.mark.parametrize("change", ["part", "values", "steps"])
def test_equality_sees_every_field(change: str) -> None:
    tensor = payloads.tensor(Part.WEIGHT, (3, 4), 5, True)
    values = tensor.values.copy()
    values[2, 3] += 1
    other = {"part": Part.CLIP, "values": values, "steps": tensor.steps + np.uint8(1)}[change]
    assert tensor == replace(tensor)
    assert tensor != replace(tensor, **{change: other})


def test_sizes_are_what_is_held() -> None:
    segment = payloads.segment(0, 2)
    found = read_sizes(write_segment(segment), "", Limits())
    sizes = found.parts
    assert found.values == sum(t.values.size for t in segment.tensors)
    assert sum(sizes.values()) == len(write_segment(segment)) - 3  # start, frames, tensors: a byte each
    without = replace(segment, tensors=tuple(t for t in segment.tensors if t.part != Part.CLIP))
    assert len(write_segment(segment)) - len(write_segment(without)) == sizes[Part.CLIP]


def test_coded_segment_is_within_1_percent_of_the_ideal_length() -> None:
    rng = np.random.default_rng(0)
    scales = np.exp(rng.normal(1.5, 0.3, (64, 1, 1, 1)))
    values = np.clip(np.rint(rng.laplace(0, 1, (64, 64, 3, 3)) * scales), -127, 127).astype(np.int16)
    tensor = QuantizedTensor(Part.WEIGHT, values, STEP)
    rows = best_rows(values)
    ideal = code_length(values.ravel(), np.repeat(rows, values.size // len(rows))) / 8
    assert ideal <= len(write_segment(Segment(0, 1, (tensor,)))) <= 1.01 * ideal


def test_pruned_channels_cost_almost_nothing() -> None:
    values = payloads.tensor(Part.WEIGHT, (32, 200), 6, True).values.copy()
    some = len(write_segment(Segment(0, 1, (QuantizedTensor(Part.WEIGHT, values[:16], STEP),))))
    values[16:] = 0
    both = len(write_segment(Segment(0, 1, (QuantizedTensor(Part.WEIGHT, values, STEP),))))
    assert both - some < 16  # bytes for 16 channels, 3200 values


def test_a_bias_costs_no_row_per_value() -> None:
    tensor = payloads.tensor(Part.WEIGHT, (256,), 60, False)
    rows = best_rows(tensor.values)
    ideal = code_length(tensor.values, np.repeat(rows, 256)) / 8
    assert len(write_segment(Segment(0, 1, (tensor,)))) < ideal + 20


@pytest.mark.parametrize(
    ("values", "steps", "message"),
    [
        (np.zeros((2, 2)), STEP, "are integers"),
        (np.zeros((2, 2), int), np.ones(1), "are integers"),
        (np.zeros((), int), STEP, "shape"),
        (np.zeros((2, 0), int), STEP, "empty"),
        (np.zeros((1,) * 9, int), STEP, "not of 1 to 8 dimensions"),
        (np.asarray([128]), STEP, r"128, outside -127\.\.127"),
        (np.asarray([-128], np.int8), STEP, r"-128 .*outside"),
        (np.asarray([-(2**15)], np.int16), STEP, "outside"),
        (np.zeros((3, 2), int), np.asarray([1, 2]), "3 channels"),
        (np.zeros((3, 2), int), np.asarray([[1]]), "3 channels"),
        (np.zeros((3, 2), int), np.asarray([255]), r"255, outside 0\.\.254"),
        (np.zeros((3, 2), int), np.asarray([-1]), r"-1 .*outside"),
    ],
)
def test_illegal_tensor_is_refused(values: NDArray[Any], steps: NDArray[Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        QuantizedTensor(Part.WEIGHT, values, steps)


@pytest.mark.parametrize(("start", "frames"), [(-1, 1), (0, 0), (2**32, 1)])
def test_illegal_span_is_not_written(start: int, frames: int) -> None:
    with pytest.raises(ValueError, match="is not in"):
        write_segment(Segment(start, frames, ()))


def stream(*groups: tuple[list[int], int]) -> bytes:
    """A stream of groups (values, row), after its number of words."""
    encoder = Encoder()
    for values, row in groups:
        encoder.put(np.asarray(values), np.full(len(values), row))
    data = encoder.finish()
    return bytes([len(data) // 4]) + data


SPAN = bytes([0, 1])  # start 0, 1 frame
# part WEIGHT, 2 dimensions 2 x 3, one step 90, one Laplace row 40
RECORD = bytes([0b0_0_0_001_00, 2, 3, 90, 40])
VALUES = [3, -1, 0, 7, 2, -5]
# the same with a step per channel, center 90 and residuals in row 35, and a row per channel, center 40 and row 20
PER_CHANNEL = bytes([0b0_1_1_001_00, 2, 3, 90, 35, 40, 20])


def test_a_segment_from_literal_bytes() -> None:
    segment = read(SPAN + b"\x01" + RECORD + stream((VALUES, 40)))
    assert segment == Segment(0, 1, (QuantizedTensor(Part.WEIGHT, np.reshape(VALUES, (2, 3)), np.asarray([90])),))


def test_a_segment_with_indices_per_channel_from_literal_bytes() -> None:
    data = stream(([1, -2], 35), ([-3, 5], 20), (VALUES[:3], 37), (VALUES[3:], 45))
    encoder = Encoder()
    encoder.put(np.asarray([1, -2]), np.full(2, 35))
    encoder.put(np.asarray([-3, 5]), np.full(2, 20))
    encoder.put(np.asarray(VALUES), np.repeat([37, 45], 3))
    assert data[1:] == encoder.finish()
    segment = read(SPAN + b"\x01" + PER_CHANNEL + data)
    assert segment == Segment(0, 1, (QuantizedTensor(Part.WEIGHT, np.reshape(VALUES, (2, 3)), np.asarray([91, 88])),))


GOOD = stream((VALUES, 40))


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (b"", "ends early"),
        (b"\x00\x00\x00", r"0 is not in 1\.\."),
        (SPAN + b"\x01", "ends early"),
        (SPAN + b"\x01\x07\x01\x00" + RECORD[1:] + GOOD, "coding, 1, is unknown: decode with a newer version"),
        (SPAN + b"\x01\x07\x00\x00" + RECORD[1:] + GOOD, "coding 0 is named where it goes without saying"),
        (SPAN + b"\x01\x04\x00" + RECORD[2:] + GOOD, r"0 is not in 1\.\."),
        (SPAN + b"\x01" + RECORD[:3] + b"\xff\x28" + GOOD, r"the index 255 is not in 0\.\.254"),
        (SPAN + b"\x01" + RECORD[:3] + b"\x5a\x40" + GOOD, r"the index 64 is not in 0\.\.63"),
        (SPAN + b"\x01\x24\x01" + RECORD[2:] + b"\x00" + GOOD, "one channel has an index per channel"),
        (SPAN + b"\x01\x24" + RECORD[1:4] + b"\x80\x28" + GOOD, "reserved bit"),
        (SPAN + b"\x01" + RECORD, "ends early"),
        (SPAN + b"\x01" + RECORD + b"\x09" + GOOD[1:], "ends early"),
        (SPAN + b"\x01" + RECORD + GOOD + b"\x00", "1 bytes too many"),
        (SPAN + b"\x01" + RECORD + stream((VALUES, 41)), "not those that its values are coded as|invalid state"),
        (SPAN + b"\x01" + RECORD + stream((VALUES, 40), ([100] * 9, 1)), "not those that its values are coded as"),
        (SPAN + b"\x00" + GOOD, "bytes too many"),
        (SPAN + b"\x01" + PER_CHANNEL + stream(([0, 0], 35), ([0, 30], 20), (VALUES, 40)), "the index 70 is not in"),
    ],
)
def test_illegal_payload_is_refused(payload: bytes, message: str) -> None:
    with pytest.raises(MalformedChunk, match=f"segment X.*({message})"):
        read(payload)


def test_limits_of_a_segment() -> None:
    payload = write_segment(payloads.segment(0, 2))
    total = sum(t.values.size for t in payloads.segment(0, 2).tensors)
    read(payload, Limits(values=total, tensors=6))
    with pytest.raises(LimitExceeded, match="values"):
        read(payload, Limits(values=total - 1))
    with pytest.raises(LimitExceeded, match="tensors = 6, over the limit of 5"):
        read(payload, Limits(tensors=5))
