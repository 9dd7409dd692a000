"""Errors of blocks: vectors of a machine say what the formula does."""

from __future__ import annotations

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from codec.encoding.predictive.block_errors import squared_lines
from codec.encoding.predictive.block_match import block_error
from codec.network.predictive.motion import CELL

SIZE = 3, 2, 19, 23  # of an array that a block lies somewhere in
Bytes = NDArray[np.uint8]
Place = tuple[int, int, int, int]

images = st.one_of(
    arrays(np.uint8, SIZE),
    arrays(np.uint8, SIZE, elements=st.sampled_from([0, 255])),  # the largest sums
    st.integers(0, 2**32 - 1).map(lambda seed: np.random.default_rng(seed).integers(0, 256, SIZE).astype(np.uint8)),
)
places = st.tuples(*(st.integers(0, n - least) for n, least in zip(SIZE, (1, 1, CELL, CELL), strict=True)))


def doubled(
    first: Bytes, at_first: Place, second: Bytes, at_second: Place, wanted: Bytes, at: Place
) -> NDArray[np.int64]:
    def block(image: Bytes, at: Place) -> NDArray[np.int64]:
        return image[at[0], at[1], at[2] : at[2] + CELL, at[3] : at[3] + CELL].astype(np.int64)

    return block(first, at_first) + block(second, at_second) - 2 * block(wanted, at)


@given(images, places, images, places, images, places, st.floats(1e-3, 1e4), st.floats(0.02, 1e5))
def test_what_coefficients_are_worth(
    first: Bytes, a: Place, second: Bytes, b: Place, wanted: Bytes, c: Place, lagrangian: float, most: float
) -> None:
    hadamard = np.kron(np.kron([[1, 1], [1, -1]], [[1, 1], [1, -1]]), [[1, 1], [1, -1]])
    coefficients = hadamard @ (doubled(first, a, second, b, wanted, c) / 2) @ hadamard / CELL
    squares = np.square(coefficients) / most
    worth = lagrangian * most * np.minimum(squares, 1).sum() + np.log2(np.maximum(squares, 1)).sum() / 2
    found = block_error(first, a, second, b, wanted, c, np.float32(lagrangian), np.float32(most))
    assert found == pytest.approx(worth, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("step", [1, 2, 4])
def test_sums_of_squared_lines(step: int) -> None:
    lines, rng = squared_lines(step), np.random.default_rng(step)
    compiled = numba.njit(lambda a, at_a, b, at_b, c, at_c: lines(a, at_a, b, at_b, c, at_c))
    for spread in (2, 256):
        images = [rng.integers(0, spread, SIZE).astype(np.uint8) for _ in range(3)]
        at = [tuple(rng.integers(0, (3, 2, 12, 16)).tolist()) for _ in range(3)]
        blocks = images[0], at[0], images[1], at[1], images[2], at[2]
        assert compiled(*blocks) == np.square(doubled(*blocks)[::step]).sum()
