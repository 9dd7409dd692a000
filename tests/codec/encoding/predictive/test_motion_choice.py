"""Vectors as they are best coded: what a choice is said to cost is what coding it takes, and settling only saves."""

from __future__ import annotations

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from codec.encoding.predictive.block_match import Shown, Worth, in_blocks
from codec.encoding.predictive.compiled import compiled
from codec.encoding.predictive.motion_choice import choose
from codec.network.predictive.motion import motion_size
from codec.rate.motion import code_motion
from codec.rate.records import WritingPort

FREE = Worth(0.0, 1e9, 1e9)  # errors count nothing


def fields(rng: np.random.Generator, references: int, size: tuple[int, int]) -> list[NDArray[np.int64]]:
    """Smooth motion with odd vectors in it, some of them far."""
    rough = rng.integers(-30, 31, (references, 2, 1, 1)) + rng.integers(-2, 3, (references, 2, *size))
    odd = rng.random((references, 1, *size)) < 0.1
    return list(np.where(odd, rng.integers(-900, 901, rough.shape), rough))


@given(
    st.integers(0, 1000),
    st.sampled_from([1, 2]),
    st.booleans(),
    st.sampled_from([(8, 8), (45, 130), (136, 24)]),
    st.integers(0, 2),
)
@settings(deadline=None, max_examples=40)
def test_the_bits_of_a_choice_are_those_of_the_coder(
    seed: int, references: int, steady: bool, size: tuple[int, int], sweeps: int
) -> None:
    rng = np.random.default_rng(seed)
    plane = rng.uniform(0, 255, size).astype(np.float32)
    cells = motion_size(*size)
    carried = rng.integers(-40, 41, (2, *cells)).astype(np.int16) if steady else None
    ratio = -1.5
    shares = np.full((references, *cells), 1 / references, np.float32)
    shown = [Shown(plane)] * references
    cost, motion = choose(in_blocks(plane), shown, fields(rng, references, cells), shares, ratio, FREE, carried, sweeps)
    port = WritingPort()
    assert np.array_equal(code_motion(port, motion, ratio, carried), motion)
    assert cost == pytest.approx(port.bits, abs=1e-6)


def test_settling_never_costs_more() -> None:
    rng = np.random.default_rng(3)
    plane = rng.uniform(0, 255, (96, 128)).astype(np.float32)
    moved = np.roll(plane, (3, -2), (0, 1)) + rng.normal(0, 4, plane.shape).astype(np.float32)
    cells = motion_size(*plane.shape)
    found, shares = fields(rng, 2, cells), np.full((2, *cells), 0.5, np.float32)
    shown = [Shown(plane), Shown(np.roll(plane, 1, 0))]
    worth = Worth(0.02, 60.0, 60.0)
    costs = [choose(in_blocks(moved), shown, found, shares, -1.0, worth, None, sweeps)[0] for sweeps in range(4)]
    assert sorted(costs, reverse=True) == costs
    assert costs[1] < 0.99 * costs[0]


def test_what_cannot_be_kept_is_compiled_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = numba.njit

    def njit(cache: bool = False, **options: object) -> object:
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return kept(nogil=bool(options["nogil"]))

    monkeypatch.setattr(numba, "njit", njit)

    def double(x: int) -> int:
        return 2 * x

    assert compiled(double)(21) == 42
