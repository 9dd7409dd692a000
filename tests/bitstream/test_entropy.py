"""Entropy coding: exact words, round trips, length, and streams that no encoder makes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from bitstream import Decoder, Encoder, MalformedChunk, best_rows, code_length, frequencies
from tests.bitstream import range_coder

values_and_rows = st.lists(st.tuples(st.integers(-127, 127), st.integers(0, 127)), max_size=300)


def laplace(rng: np.random.Generator, deviation: float, shape: tuple[int, ...]) -> NDArray[np.int16]:
    values = np.rint(rng.laplace(0, deviation / 2**0.5, shape))
    return np.clip(values, -127, 127).astype(np.int16)


def encode(values: list[int], rows: list[int]) -> bytes:
    encoder = Encoder()
    encoder.put(np.asarray(values, np.int16), np.asarray(rows, np.uint8))
    return encoder.finish()


def words(stream: bytes) -> list[int]:
    return np.frombuffer(stream, "<u4").tolist()


def in_coding_order(pairs: list[tuple[int, int]]) -> tuple[list[int], list[int]]:
    ordered = sorted(pairs, key=lambda pair: pair[1])
    return [value for value, _ in ordered], [row for _, row in ordered]


def test_words_are_pinned() -> None:
    encoder = Encoder()
    encoder.put(np.asarray([3, -1, 0, 127, -127, 2]), np.asarray([35, 35, 20, 63, 127, 35]))
    encoder.put(np.asarray([0, 0, 5]), np.asarray([0, 0, 100]))
    assert encoder.finish().hex() == "1be31ddfae4ee564"


@given(values_and_rows)
def test_words_are_those_of_the_specification(pairs: list[tuple[int, int]]) -> None:
    values, rows = in_coding_order(pairs)
    stream = encode([value for value, _ in pairs], [row for _, row in pairs])
    assert words(stream) == range_coder.encode(values, rows)
    assert range_coder.decode(words(stream), rows) == values


def test_every_interval_is_the_integer_table() -> None:
    """Each value under each row: a table that constriction rounds differently anywhere would change some word."""
    pairs = [(value, row) for row in range(128) for value in range(-127, 128)]
    stream = encode([value for value, _ in pairs], [row for _, row in pairs])
    assert words(stream) == range_coder.encode(*in_coding_order(pairs))


def test_carry_runs_through_words_held_back() -> None:
    """Values at the top of the table's last interval drive the encoder into runs of FFFFFFFF and carries."""
    rng = np.random.default_rng(0)
    for _ in range(200):
        values = np.where(rng.random(40) < 0.7, 127, rng.integers(-127, 128, 40)).tolist()
        rows = [int(rng.integers(0, 128))] * 40
        assert words(encode(values, rows)) == range_coder.encode(values, rows)


@given(st.lists(values_and_rows, max_size=4))
def test_decoder_inverts_encoder(groups: list[list[tuple[int, int]]]) -> None:
    encoder = Encoder()
    for group in groups:
        encoder.put(np.asarray([v for v, _ in group], np.int16), np.asarray([r for _, r in group], np.uint8))
    decoder = Decoder(encoder.finish())
    for group in groups:
        assert decoder.get(np.asarray([r for _, r in group], np.uint8)).tolist() == [v for v, _ in group]
    decoder.finish()


def test_rows_may_depend_on_what_is_already_decoded() -> None:
    """A context: the second pass takes its rows from the values of the first, in integer arithmetic."""
    values = laplace(np.random.default_rng(1), 8, (400,))
    first, second = values[::2], values[1::2]

    def context(decoded: NDArray[np.int16]) -> NDArray[np.uint8]:
        return (20 + np.minimum(np.abs(decoded), 30)).astype(np.uint8)

    encoder = Encoder()
    encoder.put(first, np.full(200, 40, np.uint8))
    encoder.put(second, context(first))
    decoder = Decoder(encoder.finish())
    decoded = decoder.get(np.full(200, 40, np.uint8))
    assert np.array_equal(decoded, first)
    assert np.array_equal(decoder.get(context(decoded)), second)
    decoder.finish()


@pytest.mark.parametrize("deviation", [0.05, 0.3, 1, 4, 20, 60])
def test_stream_is_within_1_percent_of_the_ideal_length(deviation: float) -> None:
    values = laplace(np.random.default_rng(2), deviation, (64, 3000))
    rows = np.repeat(best_rows(values), values.size // len(best_rows(values)))
    encoder = Encoder()
    encoder.put(values.ravel(), rows)
    ideal = code_length(values.ravel(), rows)
    assert ideal <= 8 * len(encoder.finish()) <= 1.01 * ideal + 64


def test_code_length_of_one_value() -> None:
    expected = 24 - np.log2(frequencies()[70, 130])
    assert code_length(np.asarray([3]), np.asarray([70])) == pytest.approx(expected)


def test_a_million_zeros_cost_a_few_bytes() -> None:
    values = np.zeros((8, 125_000), np.int16)
    assert best_rows(values).tolist() == [0]
    assert len(encode(values.ravel().tolist(), [0] * values.size)) <= 12


def test_best_rows_follow_the_scale_of_each_channel() -> None:
    rng = np.random.default_rng(3)
    values = np.stack([laplace(rng, deviation, (2000,)) for deviation in (0.2, 1, 5, 25)])
    rows = best_rows(values)
    assert len(rows) == 4
    assert (np.diff(rows.astype(int)) > 5).all()
    costs = [[code_length(v, np.full(2000, row)) for row in range(128)] for v in values]
    chosen = sum(cost[row] for cost, row in zip(costs, rows, strict=True))
    assert chosen <= 1.001 * sum(min(cost) for cost in costs)


def test_best_rows_choose_the_family_of_the_values() -> None:
    rng = np.random.default_rng(4)
    assert (best_rows(laplace(rng, 6, (4, 5000))) < 64).all()
    gaussian = np.clip(np.rint(rng.normal(0, 6, (4, 5000))), -127, 127).astype(np.int16)
    assert (best_rows(gaussian) >= 64).all()


def test_best_rows_take_one_row_where_more_would_not_pay() -> None:
    rng = np.random.default_rng(5)
    assert len(best_rows(laplace(rng, 4, (256, 1)))) == 1
    assert len(best_rows(laplace(rng, 4, (256, 5)))) == 1
    assert len(best_rows(laplace(rng, 4, (1, 5000)))) == 1


def test_single_best_row_is_the_best_of_all() -> None:
    values = laplace(np.random.default_rng(6), 3, (500,))
    costs = [code_length(values, np.full(500, row)) for row in range(128)]
    assert costs[int(best_rows(values)[0])] == pytest.approx(min(costs), abs=0.1)


STREAM_ROWS = [40] * 50
STREAM = encode(laplace(np.random.default_rng(7), 10, (50,)).tolist(), STREAM_ROWS)


def decode(stream: bytes) -> NDArray[np.int16]:
    decoder = Decoder(stream, "here")
    values = decoder.get(np.asarray(STREAM_ROWS, np.uint8))
    decoder.finish()
    return values


@pytest.mark.parametrize(
    ("stream", "message"),
    [
        (STREAM + bytes(4), "here: the bytes are not those"),
        (STREAM + b"\xff" * 4, "here: the bytes are not those"),
        (STREAM[:-4], "here: the bytes are not those"),
        (b"", "here: the bytes are not those"),
        (STREAM[:-1], "no whole number of 32-bit words"),
        (b"\xff" * len(STREAM), "invalid state"),
    ],
)
def test_a_stream_that_no_encoder_makes_is_refused(stream: bytes, message: str) -> None:
    decode(STREAM)
    with pytest.raises(MalformedChunk, match=message):
        decode(stream)


@settings(max_examples=300)
@given(st.binary(min_size=0, max_size=60))
def test_any_stream_decodes_or_is_refused(stream: bytes) -> None:
    try:
        values = decode(stream)
    except MalformedChunk:
        return
    assert encode(values.tolist(), STREAM_ROWS) == stream


# ---- the short form ----


any_values_and_rows = st.lists(st.tuples(st.integers(-127, 127), st.integers(0, 255)), max_size=100)


def encode_short(values: list[int], rows: list[int]) -> bytes:
    encoder = Encoder(short=True)
    encoder.put(np.asarray(values, np.int16), np.asarray(rows, np.uint8))
    return encoder.finish()


@given(any_values_and_rows)
def test_the_short_form_is_that_of_the_specification(pairs: list[tuple[int, int]]) -> None:
    values, rows = in_coding_order(pairs)
    stream = encode_short([value for value, _ in pairs], [row for _, row in pairs])
    assert stream == range_coder.encode_short(values, rows)
    assert range_coder.decode_short(stream, rows) == values
    assert len(stream) <= len(encode(values, rows))
    assert not stream.endswith(b"\0")
    decoder = Decoder(stream, short=True)
    assert decoder.get(np.asarray(rows, np.uint8)).tolist() == values
    decoder.finish()


@pytest.mark.parametrize("ends", [[127], [-127], [127, -127], [0, 127]])
def test_carries_and_zeros_run_through_the_short_form(ends: list[int]) -> None:
    """Values at the ends of tables drive the number to the edges of intervals of which it is the shortest."""
    rng = np.random.default_rng(0)
    for _ in range(100):
        values = np.where(rng.random(40) < 0.8, rng.choice(ends, 40), rng.integers(-127, 128, 40)).tolist()
        rows = [int(rng.integers(0, 256))] * 40
        stream = encode_short(values, rows)
        assert stream == range_coder.encode_short(values, rows)
        assert range_coder.decode_short(stream, rows) == values


def test_a_short_stream_takes_less_than_a_byte_over_the_ideal_length() -> None:
    rng = np.random.default_rng(8)
    for spread in (1, 4, 20):
        values, rows = laplace(rng, spread, (300,)), np.full(300, 30)
        assert 0 <= 8 * len(encode_short(values.tolist(), rows.tolist())) - code_length(values, rows) + 8 < 17


def test_no_values_take_no_bytes() -> None:
    assert encode_short([], []) == b""


def decode_short(stream: bytes) -> NDArray[np.int16]:
    decoder = Decoder(stream, "here", short=True)
    values = decoder.get(np.asarray(STREAM_ROWS, np.uint8))
    decoder.finish()
    return values


@pytest.mark.parametrize(
    "after", [b"\0", bytes(4), bytes(9), b"\1", b"\0\1", b"\xff" * 5], ids=lambda after: after.hex()
)
def test_a_short_stream_with_bytes_after_it_is_refused(after: bytes) -> None:
    """Zeros as what a reader puts there anyway, others as longer than they need be."""
    stream = encode_short(decode(STREAM).tolist(), STREAM_ROWS)
    decode_short(stream)
    with pytest.raises(MalformedChunk, match="here: the bytes are not those"):
        decode_short(stream + after)


@settings(max_examples=300)
@given(st.binary(min_size=0, max_size=60))
def test_any_bytes_are_a_short_stream_or_refused(stream: bytes) -> None:
    try:
        values = decode_short(stream)
    except MalformedChunk:
        return
    assert encode_short(values.tolist(), STREAM_ROWS) == stream
