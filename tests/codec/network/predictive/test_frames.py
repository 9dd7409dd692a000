"""Frames of any size from their integers, as FORMAT.md says."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from codec.network.predictive.frames import empty_symbols, latent_size, predict, reconstruct
from codec.network.predictive.network import PredictiveNetwork, Shape
from codec.network.predictive.symbols import BARE, OVERLAP, Symbols
from codec.network.predictive.transform import LATENTS
from tests.bitstream.frame_pixels import Pixels

SHAPE = Shape(features=16, detail=6, guide=2, means=8, hyper=4, context=4, hidden=8, blocks=2)
SIZES = [(1, 1), (1, 40), (33, 7), (45, 63), (64, 96)]


@pytest.fixture(scope="module")
def network() -> PredictiveNetwork:
    torch.manual_seed(0)
    return PredictiveNetwork(SHAPE).eval().requires_grad_(False)


def decoded(
    network: PredictiveNetwork,
    symbols: list[Symbols],
    references: torch.Tensor | None,
    height: int,
    width: int,
    index: int = 40,
) -> torch.Tensor:
    prediction = predict(network, references, symbols, height, width)
    quality = torch.full((len(symbols),), float(index))
    frames = reconstruct(network, symbols, prediction, quality, references is not None, height, width)
    return frames.permute(0, 3, 1, 2)


def random_symbols(network: PredictiveNetwork, seed: int, height: int, width: int, references: int) -> Symbols:
    rng, empty = np.random.default_rng(seed), empty_symbols(network, height, width, references)

    def drawn(like: np.ndarray, most: int) -> np.ndarray:
        return rng.integers(-most, most + 1, like.shape).astype(np.int16)

    motion, sides, hyper = drawn(empty.motion, 30), drawn(empty.sides, 1), drawn(empty.hyper, 3)
    transforms = rng.integers(0, 3, empty.transforms.shape).astype(np.int16)
    return Symbols(motion, sides, hyper, drawn(empty.residuals, 3), transforms)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_a_key_frame_of_nothing_is_grey(network: PredictiveNetwork, height: int, width: int) -> None:
    frame = decoded(network, [empty_symbols(network, height, width, 0)], None, height, width)
    assert frame.shape == (1, 3, height, width)
    assert frame.dtype == torch.uint8
    assert (frame == 128).all()


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_a_predicted_frame_of_nothing_is_the_mean_of_its_references(
    network: PredictiveNetwork, height: int, width: int
) -> None:
    references = torch.randint(0, 256, (1, 2, 3, height, width), generator=torch.Generator().manual_seed(1)).byte()
    frame = decoded(network, [empty_symbols(network, height, width, 2)], references, height, width)
    assert (frame.float() - references.float().mean(1)).abs().max() <= 0.51


def test_frames_of_a_batch_are_those_decoded_alone(network: PredictiveNetwork) -> None:
    symbols = [random_symbols(network, seed, 45, 63, 1) for seed in range(3)]
    references = torch.randint(0, 256, (3, 1, 3, 45, 63), generator=torch.Generator().manual_seed(1)).byte()
    together = decoded(network, symbols, references, 45, 63)
    for one in range(3):
        alone = decoded(network, symbols[one : one + 1], references[one : one + 1], 45, 63)
        assert (together[one].int() - alone[0].int()).abs().max() <= 1
    assert together.float().std() > 10


@pytest.mark.parametrize(
    ("size", "references", "made"),
    [
        ((40, 33), 0, 0),
        ((33, 63), 1, 0),
        ((45, 70), 2, 0),
        ((33, 63), 1, BARE),
        ((45, 70), 2, BARE),
        ((33, 63), 1, OVERLAP),
        ((45, 70), 2, OVERLAP),
    ],
)
@pytest.mark.parametrize("quality", [46, 59])
def test_a_frame_shows_what_the_page_says(size: tuple[int, int], references: int, made: int, quality: int) -> None:
    """Every tensor of the base at work, none of them at zero."""
    torch.manual_seed(quality)
    network = PredictiveNetwork(SHAPE).eval().requires_grad_(False)
    for p in network.parameters():
        p.add_(0.03 * torch.randn_like(p))
    network.log_unit.add_(torch.randn_like(network.log_unit))
    symbols = replace(random_symbols(network, quality, *size, references), made=made)
    symbols.residuals[:, 4:] = 0
    shown = torch.nn.functional.interpolate(torch.rand(references, 3, 6, 8) * 255, size).byte()
    found = decoded(network, [symbols], shown[None] if references else None, *size, quality)[0].numpy()
    page = Pixels({name: p.numpy() for name, p in network.state_dict().items()}, quality)
    parts = (symbols.motion, symbols.sides, symbols.hyper, symbols.residuals, symbols.transforms)
    wanted = page.frame(size, [r.numpy() for r in shown], *parts, made)
    difference = np.abs(found.astype(int) - wanted)
    assert difference.max() <= 1  # on the edge between two whole numbers
    assert (difference > 0).mean() < 0.01
    assert ((wanted > 0) & (wanted < 255)).mean() > 0.5
    assert wanted.std() > 10


def test_a_frame_without_residuals_is_its_prediction_where_the_encoder_says_so() -> None:
    """No network runs on it: what one makes of nothing differs."""
    torch.manual_seed(3)
    network = PredictiveNetwork(SHAPE).eval().requires_grad_(False)
    for p in network.parameters():
        p.add_(0.03 * torch.randn_like(p))
    references = torch.randint(0, 256, (2, 2, 3, 45, 70), generator=torch.Generator().manual_seed(1)).byte()
    still = [replace(empty_symbols(network, 45, 70, 2), made=BARE)] * 2
    assert still[0].untouched
    found = decoded(network, still, references, 45, 70)
    assert (found.float() - references.float().mean(1)).abs().max() <= 0.51
    filtered = decoded(network, [replace(s, made=0) for s in still], references, 45, 70)
    assert (filtered.float() - references.float().mean(1)).abs().max() > 2


def test_latents_cover_the_frame(network: PredictiveNetwork) -> None:
    assert latent_size(1, 1) == (4, 4)
    assert latent_size(32, 33) == (4, 8)
    empty = empty_symbols(network, 33, 7, 1)
    assert empty.residuals.shape == (LATENTS, 8, 4)
    assert empty.transforms.shape == (8, 4)
