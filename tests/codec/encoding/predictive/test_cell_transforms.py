"""What cells are coded as: what takes least, by the very bits that a record then takes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from bitstream import MAX_VALUE, bit_costs
from codec.encoding.predictive import cell_transforms as module
from codec.encoding.predictive.analysis import load_analysis
from codec.encoding.predictive.cell_transforms import LEAST, TELLING, Choose
from codec.encoding.predictive.flow import Flows, luma
from codec.encoding.predictive.frame import Encoded, FrameEncoder, Reference
from codec.encoding.predictive.motion_search import SearchSettings
from codec.network.predictive.cell_transforms import DCT4, DCT8, SKIP, VALUES, basis, value_steps
from codec.network.predictive.network import FIRST_LUMA
from codec.network.predictive.quality import lagrangian, matched_steps
from codec.network.predictive.store import default, load_network
from codec.network.predictive.symbols import TRANSFORMS
from codec.network.predictive.transform import BLOCK, LUMA, plane_basis
from codec.rate.cell_values import FINE, VALUE_ROWS, CellValues
from codec.rate.ports import WritingPort

QUALITY = torch.tensor([45.0])
STEP = float(value_steps(QUALITY))
WEIGHT = lagrangian(45) / 3  # bits of a squared error of luma
ROW = 20  # of all latents
HOPES = FIRST_LUMA * ROW
TOLD = bit_costs()[VALUE_ROWS.other[HOPES // FINE], MAX_VALUE : MAX_VALUE + 2].mean(0)  # bits of DCT8, of others


def latents_of(pixels: NDArray[np.float64]) -> Tensor:
    """[n, 8, 8], in steps of values -> [n, LUMA]."""
    cells = torch.from_numpy(pixels * STEP).flatten(1)
    return (cells @ plane_basis(LUMA).flatten(1).T).float()


def cost_of(wanted: Tensor) -> Tensor:
    """Bits and weighed errors of latents, each as what takes least."""
    step = float(matched_steps(QUALITY))
    values = torch.arange(-MAX_VALUE, MAX_VALUE + 1)
    errors = WEIGHT * (wanted[..., None] - step * values).square()
    return (errors + torch.tensor(bit_costs()[ROW])).amin(-1).sum(-1).float()


def chosen(pixels: NDArray[np.float64], choose: Choose) -> tuple[list[int], NDArray[np.float32]]:
    wanted = latents_of(pixels)
    transforms, values = choose(wanted, cost_of(wanted), torch.full((len(wanted), FIRST_LUMA), float(ROW)))
    assert transforms.shape == (len(pixels),)
    assert values.shape == (len(pixels), VALUES)
    return transforms.tolist(), values.numpy().reshape(-1, BLOCK, BLOCK)


def test_a_bright_pixel_is_coded_as_a_pixel() -> None:
    pixels = np.zeros((1, BLOCK, BLOCK))
    pixels[0, 3, 5] = -12
    transforms, values = chosen(pixels, choose := Choose(QUALITY, WEIGHT))
    assert transforms == [SKIP]
    assert np.array_equal(values, pixels)
    assert choose.saved > 0


@pytest.mark.parametrize(("down", "across"), [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_an_edge_in_a_quarter_is_coded_by_quarters(down: int, across: int) -> None:
    pixels = np.zeros((1, BLOCK, BLOCK))
    pixels[0, 4 * down : 4 * down + 4, 4 * across : 4 * across + 4] = [8, 8, -8, -8]
    transforms, values = chosen(pixels, Choose(QUALITY, WEIGHT))
    assert transforms == [DCT4]
    there = np.argwhere(values[0]).tolist()
    assert [4 * down, 4 * across + 1] in there
    assert all(y == 4 * down and 4 * across < x < 4 * across + 4 for y, x in there), "horizontal frequencies"
    shown = (values.reshape(1, VALUES) @ basis(DCT4, torch.device("cpu")).numpy()) * STEP
    assert np.square(shown - latents_of(pixels).numpy()).max() < 2 * STEP**2


def test_what_is_smooth_stays_as_latents() -> None:
    ramp = np.linspace(-6, 6, BLOCK)
    waves = 9 * plane_basis(LUMA)[[0, 1, 2, 4]].numpy()
    pixels = np.stack((np.zeros((BLOCK, BLOCK)), ramp + np.zeros((BLOCK, 1)), ramp[:, None] + ramp, *waves))
    transforms, values = chosen(pixels, choose := Choose(QUALITY, WEIGHT))
    assert transforms == [DCT8] * len(pixels)
    assert not values.any()
    assert choose.saved == pytest.approx(-TELLING - len(pixels) * TOLD[0], rel=1e-5), "to say so takes bits as well"


def test_savings_are_those_of_all_cells_so_far() -> None:
    pixels = np.zeros((5, BLOCK, BLOCK))
    pixels[[1, 3], 2, 2] = 20
    together, apart = Choose(QUALITY, WEIGHT), Choose(QUALITY, WEIGHT)
    transforms, _ = chosen(pixels, together)
    assert transforms == [DCT8, SKIP, DCT8, SKIP, DCT8]
    assert [chosen(pixels[n : n + 1], apart)[0][0] for n in range(5)] == transforms
    assert apart.saved == pytest.approx(together.saved, rel=1e-5)


@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 4, 20, 64]), st.sampled_from([DCT4, SKIP]), st.floats(0.1, 150))
def test_bits_are_those_of_the_record(seed: int, count: int, kind: int, size: float) -> None:
    """Of one cell of few pixels or few waves, some out of range: the cost by the coder of records."""
    rng = np.random.default_rng(seed)
    values = np.zeros(VALUES)
    values[rng.permutation(VALUES)[:count]] = rng.normal(0, size, count)
    wanted = torch.from_numpy(values * STEP).float()[None] @ basis(kind, torch.device("cpu"))
    cost, choose = cost_of(wanted), Choose(QUALITY, WEIGHT)
    transforms, found = choose(wanted, cost, torch.full((1, FIRST_LUMA), float(ROW)))
    transform = int(transforms)
    if transform == DCT8:
        assert not found.any()
        assert choose.saved < 0
        return
    assert torch.equal(found, found.round())
    assert 0 < found.abs().max() <= MAX_VALUE
    port, integers = WritingPort(), found.numpy().astype(np.int16)
    kept = CellValues(port, 1, 1).code(integers, np.array([0]), transforms.numpy().astype(np.int16), np.array([HOPES]))
    assert np.array_equal(kept, integers)
    error = (wanted - STEP * found @ basis(transform, torch.device("cpu"))).square().sum()
    saved = float(cost) - LEAST - (port.bits + WEIGHT * float(error)) - TELLING - TOLD[1]
    assert choose.saved == pytest.approx(saved, rel=1e-3, abs=0.1)
    assert choose.saved > -TELLING - TOLD[0], "it takes less than as latents"


# ---- frames ----


@pytest.fixture(scope="module")
def encoder() -> FrameEncoder:
    return FrameEncoder(load_network(default()), load_analysis(default()), SearchSettings())


def night(height: int, width: int, stars: int) -> NDArray[np.uint8]:
    """Dark, with points of light."""
    rng = np.random.default_rng(5)
    frame = np.full((height, width, 3), 12, np.uint8)
    places = rng.permutation(height * width)[:stars]
    frame.reshape(-1, 3)[places] = rng.integers(120, 256, (stars, 1))
    return frame


def encoded(encoder: FrameEncoder, quality: int, predicted: bool) -> tuple[Encoded, Reference, dict[int, Reference]]:
    """Points of light on a frame of its own, or come up since a dark one."""
    frames = [night(90, 120, 0), night(90, 120, 60)]
    flows = Flows([luma(f) for f in frames])
    references = {0: encoder.encode(0, frames[0], {}, quality, flows)[1]} if predicted else {}
    return *encoder.encode(1, frames[1], references, quality, flows), references


@pytest.mark.parametrize("predicted", [False, True])
@pytest.mark.parametrize("quality", [30, 50, 60])
def test_points_of_light_take_less(
    encoder: FrameEncoder, quality: int, predicted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, shown, references = encoded(encoder, quality, predicted)
    assert found.coded.flags & TRANSFORMS
    decoded = encoder.decode(found.coded, references, 90, 120)
    assert np.array_equal(decoded.shown, shown.shown)
    monkeypatch.setattr(module, "WORTH", math.inf)  # nothing is tried
    without, _, _ = encoded(encoder, quality, predicted)
    assert not without.coded.flags & TRANSFORMS
    size, before = len(found.coded.record), len(without.coded.record)
    weight = lagrangian(quality) * 90 * 120
    assert 8 * size + weight * found.error < 0.8 * (8 * before + weight * without.error)
    assert found.error <= without.error
    if quality > 30:  # there most points are left out where they take all latents of a cell
        assert size < 0.9 * before


def test_what_saves_less_than_to_say_where_is_not_done(encoder: FrameEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(module, "WORTH", math.inf)
        without, shown, _ = encoded(encoder, 50, False)
    monkeypatch.setattr(module, "TELLING", 1e9)
    found, same, _ = encoded(encoder, 50, False)
    assert found.coded == without.coded
    assert np.array_equal(same.shown, shown.shown)
