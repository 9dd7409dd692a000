"""Motion: what a vector points at is what is shown."""

import pytest
import torch

from codec.network.predictive.motion import CELL, UNITS, displacement, motion_size, warp


def picture(height: int, width: int) -> torch.Tensor:
    return torch.randint(0, 256, (1, 3, height, width), generator=torch.Generator().manual_seed(5)).float()


@pytest.mark.parametrize(("dy", "dx"), [(0, 0), (3, 0), (0, -5), (-2, 7)])
def test_whole_pixels_are_copied(dy: int, dx: int) -> None:
    reference = picture(40, 56)
    motion = torch.tensor([dy, dx]).view(1, 2, 1, 1).expand(1, 2, *motion_size(40, 56)) * UNITS
    y = (torch.arange(40) + dy).clamp(0, 39)
    x = (torch.arange(56) + dx).clamp(0, 55)
    wanted = reference[:, :, y][..., x]
    found = warp(reference, motion)
    assert (found - wanted).abs().max() < 0.05  # grid_sample's coordinates are rounded: far below a grey level
    torch.testing.assert_close(found.round(), wanted)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 9), (7, 3), (33, 17), (8, 64)])
def test_any_size_keeps_its_size(height: int, width: int) -> None:
    reference = picture(height, width)
    still = torch.zeros(1, 2, *motion_size(height, width))
    torch.testing.assert_close(warp(reference, still).round(), reference)
    far = torch.full_like(still, 1000.0 * UNITS)
    corner = reference[:, :, -1:, -1:].expand_as(reference)
    torch.testing.assert_close(warp(reference, far).round(), corner)


def test_vectors_hold_at_the_centre_of_their_cell() -> None:
    motion = torch.randint(-40, 41, (1, 2, 4, 5), generator=torch.Generator().manual_seed(2))
    found = displacement(motion, 4 * CELL, 5 * CELL)
    middle = (found[..., CELL // 2 - 1 :: CELL, :] + found[..., CELL // 2 :: CELL, :]) / 2
    middle = (middle[..., CELL // 2 - 1 :: CELL] + middle[..., CELL // 2 :: CELL]) / 2
    # linear between centres, so the mean of the four pixels around one misses it by the bend there: an eighth a side
    inner = motion[..., 1:-1, 1:-1].float() / UNITS
    assert (middle[..., 1:-1, 1:-1] - inner).abs().max() < 20 / UNITS * 4 / 16
    even = torch.full((1, 2, 4, 5), 6)
    torch.testing.assert_close(displacement(even, 30, 39), torch.full((1, 2, 30, 39), 1.5))


def test_references_of_a_batch_move_on_their_own() -> None:
    references = torch.cat((picture(24, 24), 255 - picture(24, 24)))
    motion = torch.zeros(2, 2, 3, 3)
    motion[1, 1] = 4 * UNITS
    found = warp(references, motion)
    for one in range(2):
        torch.testing.assert_close(found[one : one + 1], warp(references[one : one + 1], motion[one : one + 1]))
