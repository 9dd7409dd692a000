"""Side information: inverse pair, length, and the choice between the two predictions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from bitstream.indices import IndexPlan, from_residuals, plan_indices, to_residuals

indices = hnp.arrays(np.uint8, st.integers(1, 50), elements=st.integers(0, 254))


@given(indices, st.builds(IndexPlan, st.integers(0, 254), st.integers(0, 63), st.booleans()))
def test_residuals_give_the_indices_back(array: NDArray[np.uint8], plan: IndexPlan) -> None:
    residuals = to_residuals(array, plan)
    assert np.abs(residuals).max() <= 127
    assert np.array_equal(from_residuals(residuals, plan), array)


@given(indices)
def test_plan_predicts_from_the_indices_themselves(array: NDArray[np.uint8]) -> None:
    plan, bits = plan_indices(array)
    assert plan.center in array
    assert 0 <= bits <= 24 * len(array)


def test_scattered_indices_cost_less_than_4_bits() -> None:
    scales = np.exp(np.random.default_rng(0).normal(0, 0.25, 256))  # a quarter of a natural unit between channels
    _, bits = plan_indices(np.rint(100 + 8 * np.log2(scales)).astype(np.uint8))
    assert bits / 256 < 4


def test_equal_indices_cost_nothing() -> None:
    _, bits = plan_indices(np.full(500, 77, np.uint8))
    assert bits < 1


@pytest.mark.parametrize(
    ("array", "previous"), [(np.repeat([80, 100, 120], 30), True), (np.tile([99, 101], 45), False)]
)
def test_the_better_prediction_is_chosen(array: NDArray[np.int64], previous: bool) -> None:
    plan, _ = plan_indices(array.astype(np.uint8))
    assert plan.previous is previous
