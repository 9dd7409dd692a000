"""The block transform: orthonormal, and an untrained network is a codec with it."""

import pytest
import torch
import torch.nn.functional as F

from codec.network.predictive.network import PredictiveNetwork, Shape
from codec.network.predictive.transform import (
    BLOCK,
    CHROMA,
    DC,
    LATENTS,
    LUMA,
    block_basis,
    from_blocks,
    from_detail,
    from_layers,
    pictures,
    to_blocks,
    to_detail,
    to_layers,
)


def in_blocks(pixels: torch.Tensor) -> torch.Tensor:
    """[B, 3, H, W] -> [B, 192, H/8, W/8], as rows of the basis are."""
    return to_blocks(to_detail(pixels))


def test_sites_are_the_pixels_that_the_page_says() -> None:
    pixels = torch.rand(2, 3, 16, 24)
    sites = to_detail(pixels)
    assert torch.equal(sites[:, 4 * 2 + 2 * 1 + 0, 3, 5], pixels[:, 2, 3 * 2 + 1, 5 * 2])
    assert torch.equal(to_blocks(sites)[:, 16 * 7 + 4 * 3 + 1, 1, 2], sites[:, 7, 4 + 3, 8 + 1])
    assert torch.equal(from_detail(from_blocks(in_blocks(pixels))), pixels)


def test_the_basis_is_orthonormal() -> None:
    basis = block_basis()
    assert basis.shape == (LATENTS, 3 * BLOCK**2)
    assert torch.allclose(basis @ basis.T, torch.eye(LATENTS), atol=1e-6)


def test_block_means_are_the_channels_said_to_hold_them() -> None:
    found = block_basis() @ torch.full((3 * BLOCK**2,), 50.0)
    assert torch.isclose(found[0], torch.tensor(50 * (3 * BLOCK**2) ** 0.5))
    assert found[1:].abs().max() < 1e-3
    flat = torch.tensor([90.0, 20.0, -30.0])[:, None, None].expand(3, BLOCK, BLOCK)  # each colour constant
    found = block_basis() @ in_blocks(flat[None]).flatten()
    others = [c for c in range(LATENTS) if c not in DC]
    assert found[others].abs().max() < 1e-3
    assert found[list(DC)].abs().min() > 1


def test_every_colour_keeps_its_lowest_frequencies() -> None:
    ramp = torch.linspace(-1, 1, BLOCK)
    picture = ramp[None, :, None] + 2 * ramp[None, None] + torch.zeros(3, 1, 1)
    found = block_basis() @ in_blocks(picture[None]).flatten()
    assert set(found.abs().topk(2).indices.tolist()) == {1, 2}
    assert LUMA + 2 * CHROMA == LATENTS


def untrained() -> PredictiveNetwork:
    torch.manual_seed(0)
    return PredictiveNetwork(Shape(features=16, detail=6, guide=2, means=8, hyper=4, context=4, hidden=8, blocks=1))


def test_an_untrained_network_predicts_the_mean_of_its_references() -> None:
    first, second = torch.rand(2, 2, 3, 64, 96) * 255
    with torch.no_grad():
        prediction, features = untrained().prediction(to_layers(to_detail(first)), to_layers(to_detail(second)))
    torch.testing.assert_close(from_layers(from_detail(prediction)), (first + second) / 2)
    assert features.shape == (2, 16, 8, 12)


@pytest.mark.parametrize("predicted", [False, True])
def test_an_untrained_network_shows_what_the_transform_holds(predicted: bool) -> None:
    """At small steps the picture comes back but for rounding, so training starts from a codec."""
    net, basis = untrained(), block_basis()

    def drawn() -> torch.Tensor:
        """Pictures that the transform can hold."""
        return from_detail(from_blocks(F.conv2d(torch.randn(2, LATENTS, 8, 12) * 20, basis.T[..., None, None])))

    wanted, quality = drawn(), torch.tensor([63.0, 63.0])
    with torch.no_grad():
        if predicted:
            prediction, features = net.prediction(to_layers(to_detail(drawn())), to_layers(to_detail(drawn())))
        else:
            prediction, features = net.no_prediction(2, 8, 12)
        steps = torch.full((2, LATENTS, 1, 1), 0.5)
        latents = F.conv2d(to_blocks(to_detail(wanted) - from_layers(prediction)), basis[..., None, None]) / steps
        sites = net.reconstruct(latents.round(), steps, prediction, features, quality, predicted)
    frame = from_layers(from_detail(sites))
    assert (frame - wanted).square().mean() < 1.1 * 0.5**2 / 12 * LATENTS / (3 * BLOCK**2)
    assert (frame - wanted).abs().max() < 2


def test_pictures_are_details_put_together() -> None:
    sites = torch.randint(0, 256, (2, 12, 5, 7), generator=torch.Generator().manual_seed(1)).byte()
    wanted = from_detail(sites).permute(0, 2, 3, 1)
    assert torch.equal(pictures(sites), wanted)
    assert torch.equal(pictures(sites.to(memory_format=torch.channels_last)), wanted)
