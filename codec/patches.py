"""Frames to patches: the grid laid over a frame, and where each patch lies in space and time."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Grid = tuple[int, int]  # rows, columns


def patch_size(height: int, width: int, grid: Grid) -> tuple[int, int]:
    """Height and width of the patches of a height x width frame: its part of the frame, rounded up.

    Raises ValueError if the grid has a side below 1, or more rows or columns than the frame has pixels.
    """
    rows, columns = grid
    if rows < 1 or columns < 1:
        raise ValueError(f"a grid of {rows}x{columns} has no patches: give at least 1x1")
    if rows > height or columns > width:
        raise ValueError(
            f"a grid of {rows}x{columns} is finer than the {height}x{width} frame: "
            f"give at most {height} rows and {width} columns"
        )
    return -(-height // rows), -(-width // columns)


def split(frames: NDArray[np.uint8], grid: Grid) -> NDArray[np.uint8]:
    """Cut frames [T, H, W, C] into patches [T, R*C, h, w, C], row by row.

    h = ceil(H/R), w = ceil(W/C); where the patches reach past the frame, its last row and column are repeated.
    """
    count, height, width, channels = frames.shape
    rows, columns = grid
    h, w = patch_size(height, width, grid)
    padded = np.pad(frames, ((0, 0), (0, rows * h - height), (0, columns * w - width), (0, 0)), mode="edge")
    cells: NDArray[np.uint8] = padded.reshape(count, rows, h, columns, w, channels).transpose(0, 1, 3, 2, 4, 5)
    return cells.reshape(count, rows * columns, h, w, channels)


def mask(height: int, width: int, grid: Grid) -> NDArray[np.bool_]:
    """Which pixels of each patch are the frame's own and not padding: bool [R*C, h, w].

    A patch can be padding alone: on 6 rows, the last two of a 5x1 grid, whose patches have 2 rows each.
    """
    rows, columns = grid
    h, w = patch_size(height, width, grid)
    inside = np.zeros((1, rows * h, columns * w, 1), dtype=np.bool_)
    inside[:, :height, :width] = True
    return split(inside.view(np.uint8), grid)[0, ..., 0].view(np.bool_)


def coords(frames: int, grid: Grid, chosen: Sequence[int] | None = None) -> NDArray[np.float32]:
    """(t, row, column) of every patch of `frames` frames, in the order of `split`: float32 [frames, R*C, 3] in [0, 1].

    Each is index / (count - 1), so the first is 0 and the last 1; 0 where there is only one. chosen: only those frames.
    """
    numbers = range(frames) if chosen is None else chosen
    sides = (np.asarray(numbers), frames), *((np.arange(count), count) for count in grid)
    axes = [index.astype(np.float32) / np.float32(max(count - 1, 1)) for index, count in sides]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(len(numbers), -1, 3)
