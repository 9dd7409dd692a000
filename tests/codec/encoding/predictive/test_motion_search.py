"""Motion that is known is found, in whole pixels and in parts of them."""

import numpy as np
import pytest
from numpy.typing import NDArray

from codec.encoding.predictive.block_match import Shown
from codec.encoding.predictive.motion_search import search
from codec.network.predictive.motion import UNITS

SIZE = (48, 64)


def picture(dy: float, dx: float) -> NDArray[np.float32]:
    """Waves of several lengths, moved by (dy, dx)."""
    y, x = np.meshgrid(*(np.arange(n, dtype=np.float32) for n in SIZE), indexing="ij")
    y, x = y + dy, x + dx
    waves = np.sin(x / 5) * np.cos(y / 4) + 0.6 * np.sin((x + 2 * y) / 9) + 0.5 * np.cos((2 * x - y) / 13)
    return (128 + 45 * waves).astype(np.float32)


@pytest.mark.parametrize("motion", [(0.0, 0.0), (2.0, -3.0), (-1.0, 5.0), (0.5, 0.25), (-1.25, 2.75)])
def test_a_known_motion_is_found(motion: tuple[float, float]) -> None:
    found = search(picture(*motion), [Shown(picture(0, 0))], [[]], 1.0, 2.0).motion
    assert found.shape == (1, 2, 6, 8)
    inside = found[0, :, 1:-1, 2:-2] / UNITS  # what shows more than the frame's edge repeated
    errors = np.abs(inside - np.array(motion)[:, None, None])
    assert errors.max() <= 0.5
    assert errors.mean() <= 0.13


def test_two_references_are_moved_together() -> None:
    """The frame lies halfway: the motion to the second is the negative of that to the first."""
    found = search(picture(0, 0), [Shown(picture(-1, 2)), Shown(picture(1, -2))], [[], []], -1.0, 2.0).motion
    inside = found[..., 1:-1, 1:-1].mean((2, 3)) / UNITS
    np.testing.assert_allclose(inside, [[1, -2], [-1, 2]], atol=0.25)


@pytest.mark.parametrize("size", [(1, 1), (3, 40), (17, 2)])
def test_frames_of_any_size(size: tuple[int, int]) -> None:
    plane = np.full(size, 90, np.float32)
    assert not search(plane, [Shown(plane)], [[]], 1.0, 2.0).motion.any(), "nothing moves"


def test_motion_that_goes_on_is_taken_as_it_is() -> None:
    steady = np.broadcast_to(np.array([8, -12], np.int16)[:, None, None], (2, 6, 8))
    flat = np.full(SIZE, 90, np.float32)
    for plane, shown in ((picture(2, -3), picture(0, 0)), (flat, flat)):
        assert (search(plane, [Shown(shown)], [[]], 1.0, 0.02, steady).motion[0] == steady).all()
    still = search(picture(0, 0), [Shown(picture(0, 0))], [[]], 1.0, 2.0, steady)
    assert not still.motion.any(), "nothing moves any more"


def test_text_that_scrolls_is_found() -> None:
    """Lines of random letters moved far, beside a part that stands still."""
    rng = np.random.default_rng(5)
    letters = np.repeat(np.repeat(rng.integers(0, 2, (80, 80)), 3, 0), 2, 1).astype(np.float32) * 200 + 20
    before = letters[:192].copy()
    after = before.copy()
    before[:, :96], after[:, :96] = letters[30:222, :96], letters[:192, :96]
    kept = before.copy(), after.copy()
    found = search(after, [Shown(before)], [[]], 1.0, 0.01).motion
    assert np.array_equal(before, kept[0]), "OpenCV writes into what phase correlation is given"
    assert np.array_equal(after, kept[1])
    inside = found[0, :, 6:-2, 1:10] / UNITS
    assert (np.abs(inside - np.array([-30, 0])[:, None, None]).max(0) <= 0.5).mean() > 0.9
    assert (found[0, :, :, 13:] == 0).mean() > 0.9


def test_what_one_reference_alone_shows_is_taken_from_it() -> None:
    """Something covers a part of the first reference, something else another part of the second; both are noisy."""
    rng = np.random.default_rng(7)
    plain = rng.uniform(40, 220, (48, 80)).repeat(2, 0).repeat(2, 1).astype(np.float32)
    first, second = (plain + rng.normal(0, 5, plain.shape).astype(np.float32) for _ in range(2))
    first[:40, :64], second[:40, 96:] = 0, 255
    found = search(plain, [Shown(first), Shown(second)], [[], []], -1.0, 0.05)
    sides = found.sides[0]
    assert (sides[:5, :8] == -1).mean() > 0.9
    assert (sides[:5, 12:] == 1).mean() > 0.9
    assert (sides[6:] == 0).mean() > 0.9


def test_one_reference_has_no_sides() -> None:
    assert search(picture(1, 1), [Shown(picture(0, 0))], [[]], 1.0, 2.0).sides.shape == (0, 6, 8)
