"""The motion of leaves by that of leaves before them (merging: Helle et al., 2012)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from codec.rate.carried import along, clip
from codec.rate.squares import SIZES, Leaves

Motion = tuple[int, ...]  # of a leaf, (y, x) to one reference, (y, x, y, x, side) to two
Decide = Callable[[int, list[Motion]], Motion]

CANDIDATES = 6  # most of a leaf


def put_together(leaves: Leaves, size: tuple[int, int], going: Sequence[Motion], decide: Decide) -> list[Motion]:
    """Let the motion of each leaf in turn be decided on by that of its candidates: -> the motion of each block.

    Candidates are the motion of the block left of a leaf's last row, of that above its last column, what goes on, and
    the motion of the blocks above right, below left and above left of it, where these come before it, and standing
    still; each once, CANDIDATES at most.
    """
    rows, columns = size
    blocks: list[Motion | None] = [None] * (rows * columns)
    still = (0,) * len(going[0])
    for n, (y, x, level) in enumerate(zip(leaves.y.tolist(), leaves.x.tolist(), leaves.level.tolist(), strict=True)):
        side = SIZES[level]
        bottom, right = min(y + side, rows), min(x + side, columns)
        around = (
            blocks[(bottom - 1) * columns + x - 1] if x else None,
            blocks[(y - 1) * columns + right - 1] if y else None,
            going[n],
            blocks[(y - 1) * columns + x + side] if y and x + side < columns else None,
            blocks[(y + side) * columns + x - 1] if x and y + side < rows else None,
            blocks[(y - 1) * columns + x - 1] if x and y else None,
            still,
        )
        candidates = [m for m in dict.fromkeys(around) if m is not None]
        motion = decide(n, candidates[:CANDIDATES])
        for row in range(y, bottom):
            blocks[row * columns + x : row * columns + right] = [motion] * (right - x)
    return [m for m in blocks if m is not None]


def difference(motion: Motion, candidate: Motion, ratio: float) -> tuple[int, ...]:
    """Vectors of a leaf's own, less those of a candidate: (y, x) of each that is coded, 0 for the others."""
    if len(motion) == 2:
        return motion[0] - candidate[0], motion[1] - candidate[1]
    if motion[4] < 0:
        return motion[2] - candidate[2], motion[3] - candidate[3], 0, 0
    first = motion[0] - candidate[0], motion[1] - candidate[1]
    if motion[4]:
        return *first, 0, 0
    return *first, *(
        motion[2 + k] - clip(along(motion[k], ratio) + candidate[2 + k] - along(candidate[k], ratio)) for k in (0, 1)
    )


def moved(candidate: Motion, vectors: Sequence[int], side: int, ratio: float) -> Motion:
    """Inverse of `difference`."""
    if len(candidate) == 2:
        return clip(candidate[0] + vectors[0]), clip(candidate[1] + vectors[1])
    if side < 0:
        y, x = clip(candidate[2] + vectors[0]), clip(candidate[3] + vectors[1])
        return along(y, 1 / ratio), along(x, 1 / ratio), y, x, side
    y, x = clip(candidate[0] + vectors[0]), clip(candidate[1] + vectors[1])
    v, u = along(y, ratio), along(x, ratio)
    if side:
        return y, x, v, u, side
    v, u = clip(v + candidate[2] - along(candidate[0], ratio)), clip(u + candidate[3] - along(candidate[1], ratio))
    return y, x, clip(v + vectors[2]), clip(u + vectors[3]), side
