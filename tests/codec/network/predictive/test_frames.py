"""Frames of any size from their integers."""

import numpy as np
import pytest
import torch

from codec.network.predictive.frames import empty_symbols, latent_size, predict, reconstruct
from codec.network.predictive.network import PredictiveNetwork, Shape
from codec.network.predictive.symbols import Symbols
from codec.network.predictive.transform import LATENTS

SHAPE = Shape(features=16, means=8, hyper=4, context=4, hidden=8, blocks=1)
SIZES = [(1, 1), (1, 40), (33, 7), (45, 63), (64, 96)]


@pytest.fixture(scope="module")
def network() -> PredictiveNetwork:
    torch.manual_seed(0)
    return PredictiveNetwork(SHAPE).eval().requires_grad_(False)


def decoded(
    network: PredictiveNetwork, symbols: list[Symbols], references: torch.Tensor | None, height: int, width: int
) -> torch.Tensor:
    prediction = predict(network, references, symbols, height, width)
    quality = torch.full((len(symbols),), 40.0)
    return reconstruct(network, symbols, prediction, quality, references is not None, height, width)[0]


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
    rng = np.random.default_rng(4)
    symbols = []
    for _ in range(3):
        empty = empty_symbols(network, 45, 63, 1)
        symbols.append(
            Symbols(
                *(
                    rng.integers(-3, 4, x.shape).astype(np.int16)
                    for x in (empty.motion, empty.sides, empty.hyper, empty.residuals)
                )
            )
        )
    references = torch.randint(0, 256, (3, 1, 3, 45, 63), generator=torch.Generator().manual_seed(1)).byte()
    together = decoded(network, symbols, references, 45, 63)
    for one in range(3):
        alone = decoded(network, symbols[one : one + 1], references[one : one + 1], 45, 63)
        assert (together[one].int() - alone[0].int()).abs().max() <= 1
    assert together.float().std() > 10


def test_latents_cover_the_frame(network: PredictiveNetwork) -> None:
    assert latent_size(1, 1) == (4, 4)
    assert latent_size(32, 33) == (4, 8)
    assert empty_symbols(network, 33, 7, 1).residuals.shape == (LATENTS, 8, 4)
