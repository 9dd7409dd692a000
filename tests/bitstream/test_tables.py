"""The shipped tables: pinned, since a file means something else with other ones."""

import hashlib
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitstream import FLAGS, PEAKED, RANKS, STEPS, frequencies, nearest_step_index, step
from bitstream.tables import bit_costs


def test_frequencies_are_pinned() -> None:
    digest = hashlib.sha256(frequencies().astype("<u4").tobytes()).hexdigest()
    assert digest == "8517b6d26b50ab5fb4b0caf4ac21522b491b9811b58f39701b7e1de60922afd7"


def test_frequencies_are_positive_and_sum_to_2_24() -> None:
    table = frequencies()
    assert table.shape == (256, 255)
    assert table.min() >= 1
    assert (table.sum(1) == 2**24).all()
    assert (table[:FLAGS] == table[:FLAGS, ::-1]).all(), "symmetric"
    assert (table[FLAGS:, :127] == 1).all(), "nothing below 0"


@pytest.mark.parametrize("family", [0, 1])
def test_rows_rise_in_scale_and_have_the_documented_deviation(family: int) -> None:
    shared = (frequencies()[64 * family : 64 * (family + 1)] - 1) / (2**24 - 255)  # beyond the least frequency
    assert (np.diff(shared[:, 127]) < 0).all()  # ever less weight on 0
    deviations = np.sqrt((shared * np.arange(-127, 128) ** 2).sum(1))
    rows = np.arange(1, 48)  # from 48 on, the cut at 127 weighs
    assert deviations[rows] == pytest.approx(2 ** (2 * (rows - 1) / 11 - 5), rel=0.01)


def test_laplace_row_matches_its_rule() -> None:
    ratio = Fraction(2147483648, 2**32)  # row 34: 1/2
    total = 1 + 2 * sum(ratio**k for k in range(1, 128))
    expected = [1 + math.floor(ratio**k / total * (2**24 - 255)) for k in range(1, 25)]
    assert frequencies()[34, 128:152].tolist() == expected


def test_peaked_rows_match_their_rule() -> None:
    """Row 128 + 8 i + j: a share of 0.9 * 2**(-4 i / 3) beside 0, falling with the square of magnitude + offset."""
    for i, j, offset in ((0, 0, 0), (3, 2, 2), (7, 7, 64)):
        row = frequencies()[PEAKED + 8 * i + j]
        assert 1 - row[127] / 2**24 == pytest.approx(0.9 * 2 ** (-4 * i / 3), rel=0.02)
        shared = row - 1.0
        assert shared[128] / shared[138] == pytest.approx(((11 + offset) / (1 + offset)) ** 2, rel=0.02)


def test_flag_rows_match_their_rule() -> None:
    """Row 192 + i: 1 has a share of (2 i + 1) / 64."""
    for i in range(32):
        row = frequencies()[FLAGS + i]
        assert row[128] / 2**24 == pytest.approx((2 * i + 1) / 64, abs=2**-15)
        assert (np.delete(row, (127, 128)) == 1).all()


def test_rank_rows_match_their_rule() -> None:
    """Row 224 + i: from 0 on each value has (2 i + 1) / 64 of the share of the one before."""
    for i in range(32):
        ratio = Fraction(2 * i + 1, 64)
        total = sum(ratio**k for k in range(128))
        expected = [1 + math.floor(ratio**k / total * (2**24 - 255)) for k in range(1, 9)]
        assert frequencies()[RANKS + i, 128:136].tolist() == expected


def test_sharpest_row_codes_a_zero_for_almost_nothing() -> None:
    assert frequencies()[0, 127] == frequencies()[64, 127] == 2**24 - 254
    assert bit_costs()[0, 127] < 1e-4


def test_steps_are_pinned() -> None:
    steps = step(np.arange(STEPS))
    assert steps.dtype == np.float32
    digest = hashlib.sha256(steps.astype("<f4").tobytes()).hexdigest()
    assert digest == "b087bd0c29d403f3609edd1a308a165c3b6ce9c5b9a60902ab11eda3ca02b71f"
    assert float(steps[0]) == 2**-24
    assert float(steps[24 * 8]) == 1
    ratios = steps[1:].astype(float) / steps[:-1].astype(float)
    assert ratios == pytest.approx(2 ** (1 / 8), rel=2**-22)


def test_nearest_step_index_inverts_step() -> None:
    index = np.arange(STEPS).reshape(5, 51)
    assert np.array_equal(nearest_step_index(step(index)), index)


@given(st.floats(2**-24, 2**7.75))
def test_nearest_step_is_within_half_an_interval(value: float) -> None:
    nearest = float(step(nearest_step_index(value)))
    assert abs(math.log2(nearest / value)) <= 1 / 16 + 1e-6


def test_nearest_step_index_clips_at_the_ends() -> None:
    assert nearest_step_index([1e-30, 1e30]).tolist() == [0, 254]


@pytest.mark.parametrize("value", [0.0, -1.0, math.inf, math.nan])
def test_no_step_is_nearest_to_what_is_no_size(value: float) -> None:
    with pytest.raises(ValueError, match="positive and finite"):
        nearest_step_index(value)


@pytest.mark.parametrize("index", [-1, 255])
def test_step_refuses_an_index_off_the_table(index: int) -> None:
    with pytest.raises(ValueError, match=r"0\.\.254"):
        step(index)
