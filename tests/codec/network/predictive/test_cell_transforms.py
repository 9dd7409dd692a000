"""Luma of cells as pixels and as coefficients of 4x4 pixels: what it comes to in latents."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from codec.network.predictive.cell_transforms import (
    COARSER,
    DCT4,
    DCT8,
    SKIP,
    UNIT,
    VALUES,
    as_latents_seen,
    basis,
    to_latents,
    value_steps,
)
from codec.network.predictive.quality import matched_steps
from codec.network.predictive.scales import LARGEST_SYMBOL
from codec.network.predictive.transform import BLOCK, LATENTS, LUMA, block_basis, plane_basis, to_blocks, to_detail

CPU = torch.device("cpu")
OTHERS = [DCT4, SKIP]
seeds = st.integers(0, 2**32 - 1)


def values_of(pixels: Tensor, transform: int) -> Tensor:
    """Of one cell, [8, 8] -> [VALUES]."""
    latents = plane_basis(LUMA).flatten(1).float() @ pixels.flatten()
    return basis(transform, CPU) @ latents


def drawn(seed: int, count: int, most: int) -> tuple[Tensor, Tensor]:
    """Values of cells, and transforms of theirs."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randint(-most, most + 1, (count, VALUES), generator=generator).float()
    return values, torch.randint(DCT4, SKIP + 1, (count,), generator=generator)


@pytest.mark.parametrize("transform", OTHERS)
def test_bases_are_orthonormal(transform: int) -> None:
    found = basis(transform, CPU)
    assert found.shape == (VALUES, LUMA)
    torch.testing.assert_close(found @ found.T, torch.eye(VALUES), atol=1e-6, rtol=0)


@pytest.mark.parametrize(("y", "x"), [(0, 0), (2, 7), (7, 3)])
def test_a_pixel_comes_to_the_latents_that_a_picture_of_it_has(y: int, x: int) -> None:
    picture = torch.zeros(1, 3, BLOCK, BLOCK)
    picture[..., y, x] = 50
    latents = block_basis() @ to_blocks(to_detail(picture)).flatten()
    value = torch.zeros(VALUES)
    value[BLOCK * y + x] = 50 * math.sqrt(3)  # luma of three colours, in an orthonormal unit
    torch.testing.assert_close(value @ basis(SKIP, CPU), latents[:LUMA], atol=1e-4, rtol=0)
    assert latents[LUMA:].abs().max() < 1e-4


@pytest.mark.parametrize(("down", "across"), [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_a_flat_quarter_is_one_value(down: int, across: int) -> None:
    pixels = torch.zeros(BLOCK, BLOCK)
    pixels[4 * down : 4 * down + 4, 4 * across : 4 * across + 4] = 10
    wanted = torch.zeros(BLOCK, BLOCK)
    wanted[4 * down, 4 * across] = 40
    torch.testing.assert_close(values_of(pixels, DCT4).view(BLOCK, BLOCK), wanted, atol=1e-4, rtol=0)


def test_a_wave_in_a_quarter_is_the_value_of_its_frequencies() -> None:
    """The vertical frequency says the row, the horizontal one the column."""
    places = math.pi / 4 * (torch.arange(4) + 0.5)
    pixels = torch.zeros(BLOCK, BLOCK)
    pixels[4:, :4] = torch.outer(torch.cos(3 * places), torch.cos(1 * places))
    wanted = torch.zeros(BLOCK, BLOCK)
    wanted[4 + 3, 1] = 2
    torch.testing.assert_close(values_of(pixels, DCT4).view(BLOCK, BLOCK), wanted, atol=1e-5, rtol=0)


def test_bases_first_asked_for_while_decoding_serve_training() -> None:
    basis.cache_clear()
    with torch.inference_mode():
        first = [basis(transform, CPU) for transform in OTHERS]
    assert not any(b.is_inference() for b in first)
    values = torch.ones(1, VALUES, requires_grad=True)
    (values @ basis(DCT4, CPU)).sum().backward()
    assert values.grad is not None


# ---- what scale networks see ----


@given(seeds, st.integers(1, 20), st.sampled_from([1, 3, 20, LARGEST_SYMBOL]))
def test_networks_see_about_what_latents_would_be(seed: int, count: int, most: int) -> None:
    values, transforms = drawn(seed, count, most)
    seen = as_latents_seen(values, transforms)
    assert torch.equal(seen, seen.round())
    for value, transform, found in zip(values, transforms, seen, strict=True):
        exact = (COARSER * value @ basis(int(transform), CPU)).clamp(-LARGEST_SYMBOL, LARGEST_SYMBOL)
        rounded = 0.5 + value.abs().sum() / (2 * UNIT)  # of the sum, and of each weight in it
        assert (found - exact).abs().max() <= rounded + 1e-3
        assert most > 3 or (found - exact).abs().max() < 1


@given(seeds, st.integers(1, 20))
def test_what_networks_see_is_exact(seed: int, count: int) -> None:
    """The parse depends on it, so it is the same whatever is computed beside it, and what integers give."""
    values, transforms = drawn(seed, count, LARGEST_SYMBOL)
    seen = as_latents_seen(values, transforms)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    assert torch.equal(as_latents_seen(values[order], transforms[order]), seen[order])
    split = [as_latents_seen(v, t) for v, t in zip(values.split(3), transforms.split(3), strict=True)]
    assert torch.equal(torch.cat(split), seen)
    for value, transform, found in zip(values, transforms, seen, strict=True):
        weights = torch.floor(UNIT * COARSER * basis(int(transform), CPU).double() + 0.5).long()
        sums = (value.long()[:, None] * weights).sum(0)
        assert torch.equal(found.long(), ((sums + UNIT // 2) >> 8).clamp(-LARGEST_SYMBOL, LARGEST_SYMBOL))


# ---- to latents ----


def frame_of(seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of two frames: residuals, transforms, steps and qualities."""
    generator = torch.Generator().manual_seed(seed)
    residuals = torch.randint(-9, 10, (2, LATENTS, 3, 5), generator=generator).float()
    transforms = torch.randint(0, 3, (2, 3, 5), generator=generator)
    steps = 1 + torch.rand(2, LATENTS, 1, 1, generator=generator)
    return residuals, transforms, steps, 63 * torch.rand(2, generator=generator)


def test_without_other_cells_residuals_are_those_given() -> None:
    residuals, transforms, steps, quality = frame_of(0)
    assert to_latents(residuals, transforms * DCT8, steps, quality) is residuals


def test_cells_of_latents_stay_as_they_are() -> None:
    residuals, transforms, steps, quality = frame_of(1)
    before = residuals.clone()
    found = to_latents(residuals, transforms, steps, quality)
    assert torch.equal(residuals, before)
    as_they_are = (transforms == DCT8)[:, None].expand_as(found)
    assert torch.equal(found[as_they_are], residuals[as_they_are])
    assert torch.equal(found[:, LUMA:], residuals[:, LUMA:])
    changed = (found != residuals)[:, :LUMA].any(1)
    assert torch.equal(changed, transforms != DCT8)


@given(seeds)
def test_values_come_back_from_latents(seed: int) -> None:
    """By the pixels that both stand for: values and latents in their steps."""
    residuals, transforms, steps, quality = frame_of(seed)
    found = to_latents(residuals, transforms, steps, quality) * steps
    for b, y, x in transforms.nonzero().tolist():
        size = COARSER * matched_steps(quality[b])
        back = basis(int(transforms[b, y, x]), CPU) @ found[b, :LUMA, y, x] / size
        torch.testing.assert_close(back, residuals[b, :LUMA, y, x], atol=1e-3, rtol=0)


def test_a_quality_holds_for_all_frames_or_for_each_its_own() -> None:
    residuals, transforms, steps, quality = frame_of(2)
    both = to_latents(residuals, transforms, steps, quality)
    for b in range(2):
        alone = to_latents(residuals[b : b + 1], transforms[b : b + 1], steps[b : b + 1], quality[b : b + 1])
        torch.testing.assert_close(alone, both[b : b + 1], atol=1e-3, rtol=0)
    shared = to_latents(residuals, transforms, steps[:1], quality[:1])
    each = to_latents(residuals, transforms, steps[:1].expand(2, -1, -1, -1), quality[:1].expand(2))
    torch.testing.assert_close(shared, each, atol=1e-3, rtol=0)


def test_a_value_of_one_is_its_step() -> None:
    """Whatever the steps of the latents are."""
    residuals, transforms = torch.zeros(1, LATENTS, 1, 1), torch.full((1, 1, 1), SKIP)
    residuals[0, 9] = 1
    steps, quality = torch.rand(1, LATENTS, 1, 1) + 1, torch.tensor([40.0])
    latents = (to_latents(residuals, transforms, steps, quality) * steps)[0, :LUMA, 0, 0]
    torch.testing.assert_close(latents, value_steps(quality) * basis(SKIP, CPU)[9])
    torch.testing.assert_close(latents.norm(), COARSER * matched_steps(quality)[0])
