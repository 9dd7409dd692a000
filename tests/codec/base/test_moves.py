"""A move of the weights: what it reports and leaves, and that a recorded one does as one carried out step by step."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from codec.base import moves
from codec.base.evaluate import scores
from codec.base.losses import loss_of
from codec.base.model import Codec, Seen
from codec.base.moves import REPORTED, Mover
from codec.base.optimisers import optimisers
from tests.codec.base.conftest import tiny_codec

SIZE, BATCH = 64, 3


def frames(number: int, device: str) -> tuple[Tensor, Tensor, Seen]:
    """Random frames, their qualities, and what they may be made from."""
    draw = torch.Generator().manual_seed(number)

    def integers(low: int, high: int, *shape: int) -> Tensor:
        return torch.randint(low, high, (BATCH, *shape), generator=draw).to(device)

    cells = SIZE // 8
    references = integers(0, 256, 2, 3, SIZE, SIZE).byte()
    seen = Seen(references, integers(-50, 51, 2, 2, cells, cells).short(), integers(-1, 2, 1, cells, cells).char())
    return references[:, 0].roll(1, 3), integers(20, 60).float(), seen


def moved(codec: Codec, count: int, device: str) -> tuple[list[Tensor], list[Tensor]]:
    """What so many moves of each kind make and report, the rates falling."""
    mover = Mover(codec, optimisers(codec, 0.1), torch.float32)
    made = []
    for number in range(count):
        frame, quality, seen = frames(number, device)
        for given in (None, seen):
            made.append(mover(frame, quality, given, 0.1 + 0.8 * number / count))
    return [m[0] for m in made], [m[1] for m in made]


@pytest.mark.parametrize("predicted", [False, True])
def test_a_move_reports_what_was_before_it_and_forgets_its_gradients(predicted: bool) -> None:
    codec, same = tiny_codec(), tiny_codec()
    frame, quality, seen = frames(1, "cpu")
    given = seen if predicted else None
    decoded, told = Mover(codec, optimisers(codec, 1.0), torch.float32)(frame, quality, given, 0.5)
    outcome = same(frame, quality, given)
    found = {"loss": loss_of(outcome, quality, SIZE**2)} | scores(outcome, SIZE**2)
    assert tuple(found) == REPORTED
    torch.testing.assert_close(told, torch.stack([x.mean() for x in found.values()]))
    assert torch.equal(decoded, outcome.frame)
    assert all(p.grad is None for p in codec.parameters())
    pairs = zip(codec.parameters(), same.parameters(), strict=True)
    assert sum(not torch.equal(p, q) for p, q in pairs) > len([*codec.parameters()]) / 2


def test_moves_go_as_far_as_the_rate_says() -> None:
    far = []
    for progress in (0.1, 1.0):
        codec, same = tiny_codec(), tiny_codec()
        Mover(codec, optimisers(codec, 1.0), torch.float32)(*frames(1, "cpu"), progress)
        pairs = zip(codec.parameters(), same.parameters(), strict=True)
        far.append(max(float((p - q).detach().abs().max()) for p, q in pairs))
    assert 0 < far[1] < 0.02 * far[0]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="records on CUDA alone")
def test_a_recorded_move_is_the_move(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for warm_up in (100, 2):
        monkeypatch.setattr(moves, "WARM_UP", warm_up)
        codec = tiny_codec().cuda()
        decoded, told = moved(codec, 6, "cuda")
        found.append((decoded, told, [*codec.parameters()]))
    for one, other in zip(found[0][0], found[1][0], strict=True):
        assert (one.float() - other.float()).abs().mean() < 0.1
    for one, other in zip(found[0][1], found[1][1], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-2, atol=1e-3)
    for p, q in zip(found[0][2], found[1][2], strict=True):
        torch.testing.assert_close(p, q, rtol=1e-2, atol=1e-3)
