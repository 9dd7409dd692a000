"""Frames to patches."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codec.patches import coords, mask, patch_size, split


@st.composite
def frames_and_grid(draw: st.DrawFn) -> tuple[np.ndarray, tuple[int, int]]:
    count, height, width = draw(st.integers(1, 3)), draw(st.integers(1, 40)), draw(st.integers(1, 40))
    grid = draw(st.integers(1, height)), draw(st.integers(1, width))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return rng.integers(0, 256, (count, height, width, 3), np.uint8), grid


@given(frames_and_grid())
@settings(deadline=None)
def test_every_pixel_stands_at_its_place_in_its_patch(case: tuple[np.ndarray, tuple[int, int]]) -> None:
    frames, grid = case
    count, height, width, _ = frames.shape
    patches = split(frames, grid)
    assert patches.shape == (count, grid[0] * grid[1], -(-height // grid[0]), -(-width // grid[1]), 3)
    assert patches.dtype == np.uint8
    h, w = patches.shape[2:4]
    y, x = np.mgrid[:height, :width]
    np.testing.assert_array_equal(patches[:, y // h * grid[1] + x // w, y % h, x % w], frames)


@given(frames_and_grid())
@settings(deadline=None)
def test_mask_marks_each_pixel_of_the_frame_once(case: tuple[np.ndarray, tuple[int, int]]) -> None:
    frames, grid = case
    height, width = frames.shape[1:3]
    inside = mask(height, width, grid)
    assert inside.shape == (grid[0] * grid[1], *patch_size(height, width, grid))
    assert inside.sum() == height * width
    h, w = inside.shape[1:]
    y, x = np.mgrid[:height, :width]
    assert inside[y // h * grid[1] + x // w, y % h, x % w].all()


def test_patches_go_row_by_row_and_repeat_the_edge() -> None:
    frame = np.arange(5 * 5, dtype=np.uint8).reshape(1, 5, 5, 1).repeat(3, axis=3)
    patches = split(frame, (2, 2))[0, :, :, :, 0]
    assert patches[0].tolist() == [[0, 1, 2], [5, 6, 7], [10, 11, 12]]
    assert patches[1].tolist() == [[3, 4, 4], [8, 9, 9], [13, 14, 14]]
    assert patches[2].tolist() == [[15, 16, 17], [20, 21, 22], [20, 21, 22]]
    assert mask(5, 5, (2, 2))[3].tolist() == [[True, True, False], [True, True, False], [False] * 3]


@given(st.integers(1, 9), st.integers(1, 5), st.integers(1, 5))
def test_coords_follow_the_order_of_split(frames: int, rows: int, columns: int) -> None:
    places = coords(frames, (rows, columns))
    assert places.shape == (frames, rows * columns, 3)
    assert places.dtype == np.float32
    # Frames whose pixels hold their own (t, row, column), one pixel a patch.
    own = np.stack(np.meshgrid(np.arange(frames), np.arange(rows), np.arange(columns), indexing="ij"), -1)
    order = split(own.astype(np.uint8), (rows, columns)).reshape(-1, 3)
    np.testing.assert_allclose(
        places.reshape(-1, 3), order / np.maximum([frames - 1, rows - 1, columns - 1], 1), rtol=1e-6
    )
    np.testing.assert_array_equal(coords(frames, (rows, columns), [frames - 1, 0]), places[[-1, 0]])


@pytest.mark.parametrize("grid", [(5, 1), (1, 7), (0, 1), (1, -1)])
def test_a_grid_that_does_not_fit_is_named(grid: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=f"{grid[0]}x{grid[1]}"):
        split(np.zeros((1, 4, 6, 3), np.uint8), grid)
