"""The CLIP head of a segment: it learns what trunk features tell, and is never worse than their mean."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from codec.encoding.predictive.head import fit_head
from codec.network.predictive.head import load_head
from codec.settings import RateSettings
from codec.specs import PredictiveSpec


def nearness(pooled: Tensor, features: Tensor, weights: bytes) -> float:
    head = load_head(weights, PredictiveSpec(b"", features.shape[-1], 4), pooled.shape[-1])
    assert head is not None
    with torch.no_grad():
        return float((head(pooled) * features).sum(-1).mean())


@pytest.mark.parametrize("seed", [1, 2])
def test_what_the_trunk_tells_is_learnt(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    pooled = torch.randn(20, 8, 12, generator=generator)
    features = F.normalize(pooled @ torch.randn(12, 16, generator=generator) + 2, dim=-1)
    mean = float((F.normalize(features.mean((0, 1)), dim=0) * features).sum(-1).mean())
    assert nearness(pooled, features, fit_head(pooled, features, 4, RateSettings(), seed)) > mean + 0.05


@pytest.mark.parametrize("bits", [1.0, 5.0])
@pytest.mark.parametrize("frames", [1, 6])
def test_a_head_is_never_worse_than_the_mean(frames: int, bits: float) -> None:
    """Also where the trunk tells nothing, it is the same everywhere, or the head's bits are few."""
    generator = torch.Generator().manual_seed(3)
    features = F.normalize(torch.randn(frames, 8, 16, generator=generator) + 1, dim=-1)
    mean = float((F.normalize(features.mean((0, 1)), dim=0) * features).sum(-1).mean())
    for pooled in (torch.zeros(frames, 8, 12), torch.randn(frames, 8, 12, generator=generator) * 100):
        weights = fit_head(pooled, features, 4, RateSettings(clip_bits=bits), 1)
        assert nearness(pooled, features, weights) >= mean - 0.002


def test_a_head_keeps_to_its_budget() -> None:
    generator = torch.Generator().manual_seed(4)
    pooled = torch.randn(40, 8, 12, generator=generator)
    features = F.normalize(pooled @ torch.randn(12, 64, generator=generator) + 2, dim=-1)
    sizes, near = [], []
    for budget in (math.inf, 230, 190, 1):
        weights = fit_head(pooled, features, 4, RateSettings(), 1, budget)
        sizes.append(len(weights))
        near.append(nearness(pooled, features, weights))
    assert sizes[0] > 230 >= sizes[1] > 190 >= sizes[2] > sizes[3] > 1, "a constant is the least that there is"
    assert near == sorted(near, reverse=True)
    mean = float((F.normalize(features.mean((0, 1)), dim=0) * features).sum(-1).mean())
    assert near[2] > mean + 0.01
    assert near[3] == pytest.approx(mean, abs=0.002)


def test_the_callers_randomness_is_left_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    features = F.normalize(torch.ones(2, 8, 16), dim=-1)
    first = fit_head(torch.ones(2, 8, 12), features, 4, RateSettings(), 1)
    assert torch.equal(torch.get_rng_state(), before)
    assert fit_head(torch.ones(2, 8, 12), features, 4, RateSettings(), 1) == first
