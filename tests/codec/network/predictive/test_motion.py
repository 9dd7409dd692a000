"""Motion: what a vector points at is what is shown."""

import pytest
import torch

from codec.network.predictive import motion as module
from codec.network.predictive.motion import CELL, UNITS, compensate, motion_size
from codec.network.predictive.transform import from_detail, from_layers

ONE_SIDE = torch.zeros(1, 0, 1, 1)


def picture(height: int, width: int) -> torch.Tensor:
    return torch.randint(0, 256, (1, 3, height, width), generator=torch.Generator().manual_seed(5)).byte()


def warp(references: torch.Tensor, motion: torch.Tensor) -> torch.Tensor:
    """One reference of each frame, moved: float32 [B, C, H, W]."""
    height, width = references.shape[2:]
    first, second = compensate(references[:, None], motion[:, None], ONE_SIDE)
    assert torch.equal(first, second)
    return from_layers(from_detail(first))[..., :height, :width]


@pytest.mark.parametrize(("dy", "dx"), [(0, 0), (3, 0), (0, -5), (-2, 7)])
def test_whole_pixels_are_copied(dy: int, dx: int) -> None:
    reference = picture(40, 56)
    motion = torch.tensor([dy, dx]).view(1, 2, 1, 1).expand(1, 2, *motion_size(40, 56)) * UNITS
    y = (torch.arange(40) + dy).clamp(0, 39)
    x = (torch.arange(56) + dx).clamp(0, 55)
    wanted = reference[:, :, y][..., x]
    found = warp(reference, motion)
    torch.testing.assert_close(found, wanted.float())


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 9), (7, 3), (33, 17), (8, 64)])
def test_any_size_keeps_its_size(height: int, width: int) -> None:
    reference = picture(height, width)
    still = torch.zeros(1, 2, *motion_size(height, width))
    torch.testing.assert_close(warp(reference, still), reference.float())
    far = torch.full_like(still, 1000.0 * UNITS)
    corner = reference[:, :, -1:, -1:].expand_as(reference)
    torch.testing.assert_close(warp(reference, far), corner.float())


def test_blocks_move_on_their_own() -> None:
    """A block shows what lies where its own vector points, whatever those beside it do."""
    reference = picture(4 * CELL, 5 * CELL)
    motion = torch.randint(-12, 13, (1, 2, 4, 5), generator=torch.Generator().manual_seed(2)) * UNITS
    found = warp(reference, motion)
    for row in range(4):
        for column in range(5):
            dy, dx = (motion[0, :, row, column] // UNITS).tolist()
            y = (torch.arange(CELL) + row * CELL + dy).clamp(0, 4 * CELL - 1)
            x = (torch.arange(CELL) + column * CELL + dx).clamp(0, 5 * CELL - 1)
            block = found[:, :, row * CELL : (row + 1) * CELL, column * CELL : (column + 1) * CELL]
            torch.testing.assert_close(block, reference[:, :, y][..., x].float())


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_parts_of_pixels_are_interpolated(quarters: int) -> None:
    """A wave of eight pixels' length and more comes out where it should be, to a fiftieth of its height."""
    y, x = torch.meshgrid(torch.arange(40.0), torch.arange(48.0), indexing="ij")

    def wave(dy: float, dx: float) -> torch.Tensor:
        return 128 + 50 * torch.sin((x + dx) * 0.7) * torch.cos((y + dy) * 0.5)

    motion = torch.tensor([quarters, -quarters]).view(1, 2, 1, 1).expand(1, 2, 5, 6)
    found = warp(wave(0, 0).round().byte()[None, None], motion)[0, 0]
    part = quarters / UNITS
    assert (found - wave(part, -part))[8:-8, 8:-8].abs().max() < 2


def test_references_of_a_batch_move_on_their_own() -> None:
    references = torch.cat((picture(24, 24), 255 - picture(24, 24)))
    motion = torch.zeros(2, 2, 3, 3)
    motion[1, 1] = 4 * UNITS
    found = warp(references, motion)
    for one in range(2):
        torch.testing.assert_close(found[one : one + 1], warp(references[one : one + 1], motion[one : one + 1]))


@pytest.mark.parametrize("overlapping", [False, True])
def test_as_on_a_gpu_is_the_same(overlapping: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each block on its own; and, as where it records, all mixed with those beside, if these move otherwise or not."""
    generator = torch.Generator().manual_seed(3)
    references = torch.randint(0, 256, (2, 2, 3, 45, 63), generator=generator).byte()
    motion = torch.randint(-90, 90, (2, 2, 2, *motion_size(45, 63)), generator=generator)
    sides = torch.randint(-1, 2, (2, 1, *motion_size(45, 63)), generator=generator)
    found, beside = compensate(references, motion, sides, 32, overlapping), module._beside
    monkeypatch.setattr(module, "_by_phase", module._each)
    monkeypatch.setattr(module, "_beside", lambda size, moves, every: beside(size, moves, not every))
    for one, other in zip(found, compensate(references, motion, sides, 32, overlapping), strict=True):
        assert one.shape == (2, 12, 32, 32)
        assert torch.equal(one, other)


def test_blocks_that_overlap_are_mixed_near_their_sides() -> None:
    """By six, four, two and one sixteenth of what the blocks beyond would show there."""
    reference = torch.zeros(1, 1, 1, 2 * CELL, 4 * CELL, dtype=torch.uint8)
    reference[..., 2 * CELL :] = 160
    motion = torch.zeros(1, 1, 2, 2, 4)
    motion[..., 1, :, 1] = 2 * CELL * UNITS  # the second block of a row shows what the last one does
    first, _ = compensate(reference, motion, ONE_SIDE, CELL, overlapping=True)
    row = from_layers(from_detail(first))[0, 0, 3]
    assert row[: CELL // 2].tolist() == [0] * 4
    assert row[CELL // 2 : CELL].tolist() == [10, 20, 40, 60], "the first block, which shows 0, beside the second"
    assert row[CELL : 2 * CELL].tolist() == [100, 120, 140, 150, 150, 140, 120, 100], "the second, 0 on either side"
    assert row[2 * CELL :].tolist() == [160] * 16, "the second one's motion shows 160 there as well"


@pytest.mark.parametrize("size", [(1, 1), (24, 40)])
def test_blocks_that_move_alike_do_not_overlap(size: tuple[int, int]) -> None:
    reference, motion = picture(*size)[:, None], torch.full((1, 1, 2, *motion_size(*size)), 3)
    for found in compensate(reference, motion, ONE_SIDE, overlapping=True):
        assert torch.equal(found, compensate(reference, motion, ONE_SIDE)[0])


def test_a_side_alone_shows_a_block_in_both_pictures() -> None:
    references = torch.stack((picture(24, 24), 255 - picture(24, 24)), 1)
    sides = torch.tensor([[1, 0, -1]] * 3)[None, None]
    motion = torch.zeros(1, 2, 2, 3, 3)
    first, second = (from_layers(from_detail(x)) for x in compensate(references, motion, sides))
    for column, (one, other) in enumerate(((0, 0), (0, 1), (1, 1))):
        x = slice(CELL * column, CELL * (column + 1))
        assert torch.equal(first[..., x], references[:, one, :, :, x].float())
        assert torch.equal(second[..., x], references[:, other, :, :, x].float())


@pytest.mark.parametrize(("height", "width"), [(9, 31), (24, 1), (16, 40)])
def test_edges_are_repeated_beyond_the_frame(height: int, width: int) -> None:
    motion = torch.full((1, 1, 2, *motion_size(height, width)), 3)
    motion[..., 0, 0] = -6
    reference = picture(height, width)[:, None]
    near = from_detail(compensate(reference, motion, ONE_SIDE)[0])[..., :height, :width]
    found = from_detail(compensate(reference, motion, ONE_SIDE, 32)[0])
    y, x = (torch.arange(side).clamp_max(last - 1) for side, last in zip(found.shape[2:], (height, width), strict=True))
    assert found.shape[2] % 32 == found.shape[3] % 32 == 0
    assert torch.equal(found, near[:, :, y][..., x])
