"""The block transform: orthonormal, and an untrained network is a codec with it."""

import torch
import torch.nn.functional as F

from codec.network.predictive.network import PredictiveNetwork, Shape
from codec.network.predictive.transform import BLOCK, CHROMA, DC, LATENTS, LUMA, block_basis


def test_the_basis_is_orthonormal() -> None:
    basis = block_basis()
    assert basis.shape == (LATENTS, 3 * BLOCK**2)
    assert torch.allclose(basis @ basis.T, torch.eye(LATENTS), atol=1e-6)


def test_block_means_are_the_channels_said_to_hold_them() -> None:
    grey = F.pixel_unshuffle(torch.full((1, 3, BLOCK, BLOCK), 50.0), BLOCK).flatten()
    found = block_basis() @ grey
    assert torch.isclose(found[0], torch.tensor(50 * (3 * BLOCK**2) ** 0.5))
    assert found[1:].abs().max() < 1e-3
    flat = torch.tensor([90.0, 20.0, -30.0])[:, None].expand(3, BLOCK**2).flatten()  # each colour constant
    found = block_basis() @ flat
    others = [c for c in range(LATENTS) if c not in DC]
    assert found[others].abs().max() < 1e-3
    assert found[list(DC)].abs().min() > 1


def test_every_colour_keeps_its_lowest_frequencies() -> None:
    ramp = torch.linspace(-1, 1, BLOCK)
    picture = ramp[None, :, None] + 2 * ramp[None, None] + torch.zeros(3, 1, 1)
    found = block_basis() @ picture.flatten()
    assert set(found.abs().topk(2).indices.tolist()) == {1, 2}
    assert LUMA + 2 * CHROMA == LATENTS


def test_an_untrained_network_shows_what_the_transform_holds() -> None:
    """At small steps the picture comes back but for rounding, so training starts from a codec."""
    torch.manual_seed(0)
    net = PredictiveNetwork(Shape(features=16, means=8, hyper=4, context=4, hidden=8, blocks=1))
    basis = block_basis()
    values = torch.randn(2, LATENTS, 8, 12) * 20
    pixels = F.conv2d(values, basis.T[..., None, None])  # a picture that the transform can hold
    quality = torch.tensor([63.0, 63.0])
    prediction, features = net.no_prediction(2, 8, 12)
    steps = torch.full((2, LATENTS, 1, 1), 0.5)
    latents = F.conv2d(pixels - prediction, basis[..., None, None]) / steps
    with torch.no_grad():
        frame, trunk = net.reconstruct(latents.round(), steps, prediction, features, quality, predicted=False)
    assert trunk.shape == (2, 16, 8, 12)
    wanted = F.pixel_shuffle(pixels, BLOCK)
    assert (frame - wanted).square().mean() < 1.1 * 0.5**2 / 12 * LATENTS / (3 * BLOCK**2)
    assert (frame - wanted).abs().max() < 2
