"""CLIP features of a segment: decoded near what was coded, in the bytes given, and never worse than their mean."""

import math
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from codec.encoding.predictive.features import LEVELS, LOSS, NEAR, CodedFeatures, FeatureCoder
from codec.network.predictive.features import read_features
from codec.quality import best_constant, cosine

Array = NDArray[np.float32]


def unit(vectors: NDArray[np.float64]) -> Array:
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


@cache
def moving(frames: int = 40, patches: int = 8, dim: int = 32, noise: float = 0.01) -> Array:
    """Features that go round in a plane, a little shaken."""
    rng = np.random.default_rng(frames)
    where = np.linspace(0, 3, frames)[:, None] + np.arange(patches)
    plane = np.linalg.qr(rng.standard_normal((dim, 3)))[0].T
    features = np.stack([np.cos(where), np.sin(where), np.full_like(where, 0.7)], -1) @ plane
    return unit(features + rng.normal(0, noise, features.shape))


def decoded(coded: CodedFeatures, features: Array) -> Array:
    shape = features.shape
    return read_features(coded.payload, shape).at(torch.arange(len(features))).numpy()


def similarity(coded: CodedFeatures, features: Array) -> float:
    return float(cosine(decoded(coded, features), features).mean())


@settings(max_examples=40, deadline=None)
@given(
    frames=st.integers(1, 12),
    patches=st.integers(1, 5),
    dim=st.integers(1, 40),
    spread=st.sampled_from([0.0, 0.01, 0.3, 10.0]),
    jumps=st.booleans(),
    budget=st.sampled_from([0, 40, 200, math.inf]),
    seed=st.integers(0, 99),
)
def test_what_is_decoded_is_as_near_as_promised(
    frames: int, patches: int, dim: int, spread: float, jumps: bool, budget: float, seed: int
) -> None:
    """Whatever features are: a frame or many, all alike or all different, on opposite sides from frame to frame."""
    rng = np.random.default_rng(seed)
    drawn = rng.standard_normal(dim) + spread * rng.standard_normal((frames, patches, dim))
    if jumps:
        drawn[::2] *= -1
    features = unit(drawn)
    coder = FeatureCoder(features)
    coded = coder.within(budget)
    shown = decoded(coded, features)
    assert shown.shape == features.shape
    assert float(cosine(shown, features).mean()) == pytest.approx(coded.clip_sim, abs=1e-6)
    assert coded.clip_sim >= best_constant(features) - LOSS - NEAR
    assert len(coded.payload) <= max(budget, len(coder.constant.payload))


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("hold", [0.5, 1.0])
def test_an_error_keeps_to_its_level(level: float, hold: float) -> None:
    """A coefficient is off by `hold` steps at most; the rounding of mean and vectors adds less than another would."""
    features, rank = moving(noise=0), 2
    shown = decoded(FeatureCoder(features).coded(rank, level, hold), features)
    wanted = np.sqrt((rank + 1) * (level * 2 ** (1 / 16)) ** 2 * hold**2)
    assert np.linalg.norm(shown - features, axis=-1).mean() <= wanted


def test_a_larger_budget_holds_nearer_features() -> None:
    features = moving()
    coder = FeatureCoder(features)
    found = [coder.within(budget) for budget in (1, 120, 200, 400, math.inf)]
    near = [similarity(coded, features) for coded in found]
    assert near == sorted(near)
    assert near[0] == pytest.approx(best_constant(features), abs=LOSS)
    assert near[0] + 0.1 < near[2] < near[-1]
    assert near[-1] > 0.998
    assert found[0].rank == 0
    assert len(found[1].payload) <= 120 < len(found[2].payload) <= 200


def test_no_more_bytes_than_help() -> None:
    """Features that are all one vector take no more than their mean, whatever they may take."""
    features = np.broadcast_to(moving()[0, 0], (20, 8, 32))
    coded = FeatureCoder(features).within(math.inf)
    assert coded.rank == 0
    assert len(coded.payload) < 60
    assert similarity(coded, features) > 0.999


def test_what_would_be_of_use_is_told() -> None:
    features = moving()
    coder = FeatureCoder(features)
    assert coder.within(len(coder.useful.payload)).clip_sim >= coder.wanted > coder.constant.clip_sim
    assert coder.within(len(coder.useful.payload) - 1).clip_sim < coder.wanted
