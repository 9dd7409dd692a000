"""Pixel losses against their published formulas, and what padding does to them: nothing."""

import pytest
import torch
import torch.nn.functional as F
from pytorch_msssim import ms_ssim, ssim
from torch import Tensor

from codec.specs import LOSSES, LossMix
from codec.training.losses import feature_loss, pixel_loss

# HNeRV's table (Chen et al., CVPR 2023, released code): weights of L1, L2, 1 - SSIM, 1 - MS-SSIM
PUBLISHED = {
    "L1": (1.0, 0.0, 0.0, 0.0),
    "L2": (0.0, 1.0, 0.0, 0.0),
    "SSIM": (0.0, 0.0, 1.0, 0.0),
    "Fusion1": (0.0, 0.3, 0.7, 0.0),
    "Fusion2": (0.3, 0.0, 0.7, 0.0),
    "Fusion3": (0.0, 0.5, 0.5, 0.0),
    "Fusion4": (0.5, 0.0, 0.5, 0.0),
    "Fusion5": (0.0, 0.7, 0.3, 0.0),
    "Fusion6": (0.7, 0.0, 0.3, 0.0),
    "Fusion7": (0.3, 0.7, 0.0, 0.0),
    "Fusion8": (0.5, 0.5, 0.0, 0.0),
    "Fusion9": (0.9, 0.0, 0.1, 0.0),
    "Fusion10": (0.7, 0.0, 0.0, 0.3),
    "Fusion11": (0.9, 0.0, 0.0, 0.1),
    "Fusion12": (0.8, 0.0, 0.0, 0.2),
}
STRIDE = 2  # of the RGB head's pixel shuffle


def pictures(height: int, width: int) -> tuple[Tensor, Tensor]:
    """A prediction float [2, 3, height, width] in [0, 1], and a target uint8 like it."""
    torch.manual_seed(0)
    smooth = F.interpolate(torch.rand(2, 3, 5, 5), (height, width), mode="bicubic").clamp(0, 1)
    target = (smooth * 255).round().to(torch.uint8)
    return (smooth + 0.08 * torch.randn_like(smooth)).clamp(0, 1), target


def cells(picture: Tensor) -> Tensor:
    return F.pixel_unshuffle(picture, STRIDE)


def test_the_table_is_the_published_one() -> None:
    assert {name: (m.l1, m.l2, m.ssim, m.ms_ssim) for name, m in LOSSES.items()} == PUBLISHED


@pytest.mark.parametrize("name", PUBLISHED)
def test_each_mix_is_its_published_formula(name: str) -> None:
    prediction, target = pictures(180, 176)
    l1, l2, weight_ssim, weight_ms_ssim = PUBLISHED[name]
    wanted = target.float() / 255
    expected = (
        l1 * (prediction - wanted).abs().mean()
        + l2 * (prediction - wanted).square().mean()
        + weight_ssim * (1 - ssim(prediction, wanted, data_range=1))
        + weight_ms_ssim * (1 - ms_ssim(prediction, wanted, data_range=1))
    )
    found = pixel_loss(LOSSES[name], cells(prediction), cells(target), None, STRIDE)
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    assert pixel_loss(LOSSES[name], cells(wanted), cells(target), None, STRIDE).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("name", PUBLISHED)
def test_padding_takes_no_part(name: str) -> None:
    """Neither value nor gradient depends on a prediction where there is no pixel."""
    prediction, target = pictures(48, 40)
    real = torch.zeros(1, 3, 48, 40, dtype=torch.bool)
    real[..., :41, :35] = True
    mask = cells(real)
    other = torch.where(real, prediction, torch.rand_like(prediction))
    losses, gradients = [], []
    for picture in (prediction, other):
        leaf = picture.clone().requires_grad_()
        loss = pixel_loss(LOSSES[name], cells(leaf), cells(target), mask, STRIDE)
        loss.backward()
        assert leaf.grad is not None
        losses.append(loss.item())
        gradients.append(leaf.grad)
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    torch.testing.assert_close(gradients[0], gradients[1])
    assert (gradients[0][(~real).expand_as(prediction)] == 0).all()
    assert (gradients[0][real.expand_as(prediction)] != 0).any()


@pytest.mark.parametrize("name", ["L1", "L2", "Fusion8"])
def test_a_mean_is_over_real_pixels(name: str) -> None:
    prediction, target = pictures(48, 40)
    real = torch.zeros(1, 3, 48, 40, dtype=torch.bool)
    real[..., :40, :30] = True
    masked = pixel_loss(LOSSES[name], cells(prediction), cells(target), cells(real), STRIDE)
    cropped = pixel_loss(LOSSES[name], cells(prediction[..., :40, :30]), cells(target[..., :40, :30]), None, STRIDE)
    assert masked.item() == pytest.approx(cropped.item(), rel=1e-5)


@pytest.mark.parametrize(("side", "window"), [(2, 1), (8, 7), (9, 9), (11, 11), (40, 11)])
def test_the_window_of_ssim_shrinks_to_fit_small_tiles(side: int, window: int) -> None:
    prediction, target = pictures(side, side)
    wanted = 1 - ssim(prediction, target.float() / 255, data_range=1.0, win_size=window)
    assert pixel_loss(LOSSES["SSIM"], prediction, target, None, 1).item() == pytest.approx(wanted.item(), abs=1e-6)


@pytest.mark.parametrize(("side", "window"), [(33, 3), (70, 5), (170, 11)])
def test_the_window_of_ms_ssim_fits_the_smallest_of_its_scales(side: int, window: int) -> None:
    prediction, target = pictures(side, side)
    wanted = 1 - ms_ssim(prediction, target.float() / 255, data_range=1.0, win_size=window)
    mix = LossMix(ms_ssim=1.0)
    assert pixel_loss(mix, prediction, target, None, 1).item() == pytest.approx(wanted.item(), abs=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_at_its_smallest_side_a_mix_tells_pictures_apart(name: str) -> None:
    prediction, target = pictures(LOSSES[name].smallest_side, 80)
    assert pixel_loss(LOSSES[name], prediction, target, None, 1).item() > 1e-4
    assert pixel_loss(LOSSES[name], target.float() / 255, target, None, 1).item() == pytest.approx(0, abs=1e-6)


def test_feature_loss_is_one_minus_cosine() -> None:
    a = F.normalize(torch.randn(4, 8, 16), dim=-1)
    assert feature_loss(a, a).item() == pytest.approx(0, abs=1e-6)
    assert feature_loss(a, -a).item() == pytest.approx(2, abs=1e-6)
    b = F.normalize(torch.randn(4, 8, 16), dim=-1)
    assert feature_loss(a, b).item() == pytest.approx(1 - F.cosine_similarity(a, b, dim=-1).mean().item(), abs=1e-6)
