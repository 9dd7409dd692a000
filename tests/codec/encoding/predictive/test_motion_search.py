"""Motion that is known is found, in whole pixels and in parts of them."""

import numpy as np
import pytest
from numpy.typing import NDArray

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
    found = search(picture(*motion), [picture(0, 0)], [[]], 1.0, 2.0)
    assert found.shape == (1, 2, 6, 8)
    inside = found[0, :, 1:-1, 2:-2] / UNITS  # what shows more than the frame's edge repeated
    errors = np.abs(inside - np.array(motion)[:, None, None])
    assert errors.max() <= 0.5
    assert errors.mean() <= 0.13


def test_two_references_are_moved_together() -> None:
    """The frame lies halfway: the motion to the second is the negative of that to the first."""
    found = search(picture(0, 0), [picture(-1, 2), picture(1, -2)], [[], []], -1.0, 2.0)
    inside = found[..., 1:-1, 1:-1].mean((2, 3)) / UNITS
    np.testing.assert_allclose(inside, [[1, -2], [-1, 2]], atol=0.25)


@pytest.mark.parametrize("size", [(1, 1), (3, 40), (17, 2)])
def test_frames_of_any_size(size: tuple[int, int]) -> None:
    plane = np.full(size, 90, np.float32)
    assert not search(plane, [plane], [[]], 1.0, 2.0).any(), "nothing moves"
