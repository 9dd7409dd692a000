"""What scale networks see of motion: the integers that FORMAT.md says, of motion of any size."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from codec.network.predictive.frames import latent_size
from codec.network.predictive.motion import motion_size
from codec.network.predictive.network import MOVING, moving
from codec.rate.carried import LARGEST_MOTION
from tests.bitstream import frame_record as page


def seen(motion: np.ndarray, sides: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """-> [MOVING, h, w]."""
    found = moving(torch.from_numpy(motion)[None], torch.from_numpy(sides)[None], *latent_size(*size))
    assert found.dtype == torch.float32
    return found[0].numpy()


@given(st.data(), st.tuples(st.integers(1, 75), st.integers(1, 75)), st.sampled_from([1, 2]))
@settings(deadline=None, max_examples=60)
def test_it_is_what_the_page_says(data: st.DataObject, size: tuple[int, int], references: int) -> None:
    elements = st.integers(-40, 40) | st.integers(-LARGEST_MOTION, LARGEST_MOTION)
    grid = motion_size(*size)
    motion = data.draw(arrays(np.int16, (references, 2, *grid), elements=elements))
    sides = data.draw(arrays(np.int16, (references - 1, *grid), elements=st.integers(-1, 1)))
    found = seen(motion, sides, size)
    assert found.shape == (MOVING, *latent_size(*size))
    assert ((found >= 0) & (found <= 255) & (found == np.rint(found))).all()
    told, alone = ({place: int(v) for place, v in np.ndenumerate(x)} for x in (motion, sides))
    for (y, x), wanted in page.moving_of(told, alone, references, size).items():
        assert found[:, y, x].tolist() == wanted


def test_it_tells_what_moves_far_oddly_and_alone() -> None:
    still = np.zeros((2, 2, 5, 6), np.int16)
    sides = np.zeros((1, 5, 6), np.int16)
    assert not seen(still, sides, (40, 48)).any()
    panning = still + np.array([[3], [-4]], np.int16)[..., None]
    far, rough, alone = np.split(seen(panning, sides, (40, 48))[:, :5, :6], [2, 4])
    assert (far == page.MAGNITUDES[7]).all()
    assert not rough.any()
    assert not alone.any()
    odd, told = still.copy(), sides.copy()
    odd[1, 0, 2, 3], told[0, 4, 0] = 10, -1
    found = seen(odd, told, (40, 48))
    assert found[1, 2, 3] == page.MAGNITUDES[10]
    assert found[3, 2, 3] == page.MAGNITUDES[40]
    assert found[3, 2, 2] == found[3, 1, 3] == page.MAGNITUDES[10]
    assert found[4, 4, 0] == 64
    assert np.count_nonzero(found) == 1 + 5 + 1


@pytest.mark.parametrize("size", [(1, 1), (33, 50)])
def test_one_reference_is_as_the_same_twice(size: tuple[int, int]) -> None:
    """A reader has it once, a training twice."""
    rng, grid = np.random.default_rng(3), motion_size(*size)
    once = rng.integers(-90, 90, (1, 2, *grid)).astype(np.int16)
    twice = seen(once.repeat(2, 0), np.zeros((1, *grid), np.int16), size)
    assert np.array_equal(seen(once, np.zeros((0, *grid), np.int16), size), twice)
