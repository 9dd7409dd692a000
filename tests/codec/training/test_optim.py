"""Optimisers: Muon, and which parameters it takes."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from codec.training.optim import Muon, optimizers, orthogonalise


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 40), st.integers(1, 60), st.floats(1e-4, 1e4), st.integers(0, 2**31))
def test_orthogonalising_evens_out_singular_values(rows: int, columns: int, scale: float, seed: int) -> None:
    torch.manual_seed(seed)
    rank = min(rows, columns)
    u, v = torch.linalg.qr(torch.randn(rows, rank))[0], torch.linalg.qr(torch.randn(columns, rank))[0]
    spread = torch.logspace(0, -1.5, rank) * scale  # a condition number of 30
    (found,) = orthogonalise((u * spread @ v.mT)[None])
    values = torch.linalg.svdvals(found)
    assert values.min() > 0.6
    assert values.max() < 1.3
    # the singular vectors stay: with equal values the product is u v^T
    assert (found * (u @ v.mT)).sum() > 0.6 * rank


@pytest.mark.parametrize("shape", [(16, 8, 3, 3), (64, 4, 1, 1), (5, 40)])
def test_a_muon_step_moves_every_direction_equally_far(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    p = nn.Parameter(torch.zeros(shape))
    optimizer = Muon([p], lr=0.1)
    p.grad = torch.randn(shape) * 1000  # the size of a gradient does not matter
    before = p.detach().clone()
    optimizer.step()
    step = (p.detach() - before).flatten(1)
    tall = max(1.0, step.shape[0] / step.shape[1]) ** 0.5
    values = torch.linalg.svdvals(step) / (0.1 * tall)
    assert values.min() > 0.6
    assert values.max() < 1.3
    assert (step * p.grad.flatten(1)).sum() < 0, "it goes downhill"


def test_parameters_of_one_shape_move_as_each_would_alone() -> None:
    torch.manual_seed(0)
    gradients = torch.randn(3, 8, 2, 3, 3)
    params = [nn.Parameter(torch.ones(8, 2, 3, 3)) for _ in gradients]
    together, alone = Muon(params, lr=torch.tensor(0.1)), []
    for _ in range(2):
        for p, gradient in zip(params, gradients, strict=True):
            p.grad = gradient
        together.step()
    for gradient in gradients:
        alone.append(nn.Parameter(torch.ones(8, 2, 3, 3)))
        optimizer = Muon(alone[-1:], lr=0.1)
        for _ in range(2):
            alone[-1].grad = gradient
            optimizer.step()
    torch.testing.assert_close([*map(torch.Tensor.detach, params)], [*map(torch.Tensor.detach, alone)])


def test_muon_reaches_a_minimum() -> None:
    torch.manual_seed(0)
    target = torch.randn(12, 6)
    p = nn.Parameter(torch.zeros(12, 6))
    optimizer = Muon([p], lr=0.1)
    for i in range(200):
        optimizer.param_groups[0]["lr"] = 0.1 * (1 + math.cos(math.pi * i / 200)) / 2
        loss = (p - target).square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.01 * target.square().sum().item()


class Net(nn.Module):
    """One parameter of each kind that a network of ours has."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.ParameterDict({"grid": nn.Parameter(torch.randn(3, 2, 4, 4))})
        self.dense = nn.Conv2d(3, 4, 3)
        self.depthwise = nn.Conv2d(4, 4, 3, groups=4)
        self.linear = nn.Linear(4, 5)
        self.fixed = nn.Parameter(torch.zeros(3, 3), requires_grad=False)


def test_each_parameter_has_one_optimiser() -> None:
    net = Net()
    muon, adam = optimizers(net, "muon", 0.01)
    assert isinstance(muon, Muon)
    assert isinstance(adam, torch.optim.Adam)
    names = {id(p): n for n, p in net.named_parameters()}
    muons = {names[id(p)] for g in muon.param_groups for p in g["params"]}
    adams = {names[id(p)] for g in adam.param_groups for p in g["params"]}
    assert muons == {"dense.weight", "linear.weight"}
    assert adams == {"embedding.grid", "dense.bias", "depthwise.weight", "depthwise.bias", "linear.bias"}


def test_adam_alone_takes_all() -> None:
    (adam,) = optimizers(Net(), "adam", 0.003)
    assert isinstance(adam, torch.optim.Adam)
    assert sum(len(g["params"]) for g in adam.param_groups) == 7
    assert {g["lr"] for g in adam.param_groups} == {0.003}
