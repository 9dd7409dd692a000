"""What frames are coded towards: less noise, and nothing that only other frames show."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from codec.encoding.predictive.flow import luma
from codec.encoding.predictive.gop import Planned
from codec.encoding.predictive.temporal_filter import TemporalFilter
from tests.samples import moving_frames

KEY, LEAF = Planned(8, (), 0), Planned(8, (7, 9), 6)
LOW, HIGH = 36.0, 63.0  # qualities


def filtered(
    frames: NDArray[np.uint8],
    planned: Planned = KEY,
    quality: float = LOW,
    cuts: Sequence[int] = (),
    strength: float = 1.0,
) -> NDArray[np.uint8]:
    return TemporalFilter(frames, [luma(f) for f in frames], cuts)(planned, quality, strength)


def error(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    return float(np.square(a.astype(np.float64) - b).mean())


@pytest.fixture(scope="module")
def clean() -> NDArray[np.uint8]:
    return moving_frames(17, 72, 96)


@pytest.fixture(scope="module")
def noisy(clean: NDArray[np.uint8]) -> NDArray[np.uint8]:
    noise = np.random.default_rng(5).normal(0, 5, clean.shape)
    return np.rint(clean + noise).clip(0, 255).astype(np.uint8)


def test_noise_is_averaged_away_where_things_move(clean: NDArray[np.uint8], noisy: NDArray[np.uint8]) -> None:
    assert error(filtered(noisy), clean[8]) < 0.7 * error(noisy[8], clean[8])


def test_the_stronger_the_less_a_frame_keeps_of_itself(noisy: NDArray[np.uint8]) -> None:
    changes = [error(filtered(noisy, strength=strength), noisy[8]) for strength in (0.0, 0.5, 1.0, 2.0)]
    assert changes[0] == 0 < changes[1] < changes[2] < changes[3]


def test_a_frame_that_few_are_made_from_keeps_more_of_itself(noisy: NDArray[np.uint8]) -> None:
    changes = [error(filtered(noisy, Planned(8, (0, 16), level)), noisy[8]) for level in range(1, 4)]
    assert changes == sorted(changes, reverse=True)
    np.testing.assert_array_equal(filtered(noisy, LEAF), noisy[8])
    np.testing.assert_array_equal(filtered(noisy, Planned(8, (7, 9), 2)), noisy[8])


def test_the_better_a_frame_is_to_be_the_less_it_takes_of_others(noisy: NDArray[np.uint8]) -> None:
    assert error(filtered(noisy, quality=HIGH), noisy[8]) < 0.5 * error(filtered(noisy, quality=LOW), noisy[8])


def test_what_other_frames_do_not_show_stays(clean: NDArray[np.uint8]) -> None:
    frames = np.repeat(clean[:1], 17, 0)
    frames[8, 20:44, 30:60] = np.random.default_rng(6).choice([0, 255], (24, 30, 1))
    mean = np.rint(frames.mean(0)).astype(np.uint8)
    assert error(filtered(frames), frames[8]) < 0.01 * error(mean, frames[8])
    assert error(filtered(frames, Planned(0, (), 0)), frames[0]) < 0.01 * error(mean, frames[0])


def test_nothing_comes_from_another_scene(noisy: NDArray[np.uint8]) -> None:
    """Scenes that look alike, so that nothing but the cut tells them apart."""
    np.testing.assert_array_equal(filtered(noisy, cuts=[8, 9]), noisy[8])
    np.testing.assert_array_equal(filtered(noisy, cuts=[5, 11]), filtered(noisy[5:11], Planned(3, (), 0)))


@pytest.mark.parametrize("size", [(1, 1), (7, 200), (200, 7), (17, 23)])
def test_frames_of_any_size(size: tuple[int, int]) -> None:
    frames = moving_frames(3, *size)
    found = filtered(frames, Planned(0, (), 0))
    assert found.shape == frames[0].shape
    assert found.dtype == np.uint8
