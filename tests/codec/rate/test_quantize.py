"""Float to integer and back: mirror images, and what a network of other tensors meets."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from bitstream import MalformedChunk, Part, step
from codec.network.weights import check_tensors, dequantize, part_of
from codec.rate.quantize import LARGEST, Quantizer, sensitivities
from codec.settings import RateSettings

RATE = RateSettings(weight_bits=6, embed_bits=5, clip_bits=4)


class Net(nn.Module):
    """Tensors of every part, dimension and size of values."""

    def __init__(self, seed: int = 0, scale: float = 1.0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.embedding = nn.ParameterList([nn.Parameter(scale * torch.randn(3, 2, 4, 5))])
        self.stem = nn.Conv2d(3, 6, 3)
        self.clip_head = nn.Linear(6, 4)
        for p in self.parameters():
            p.data = scale * torch.randn_like(p) * torch.logspace(-2, 2, len(p)).view(-1, *[1] * (p.ndim - 1))


def parameters(net: nn.Module) -> dict[str, Tensor]:
    return {n: p.detach() for n, p in net.named_parameters()}


def test_parts_are_told_by_name() -> None:
    assert {n: part_of(n) for n, _ in Net().named_parameters()} == {
        "embedding.0": Part.EMBEDDING,
        "stem.weight": Part.WEIGHT,
        "stem.bias": Part.WEIGHT,
        "clip_head.weight": Part.CLIP,
        "clip_head.bias": Part.CLIP,
    }


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 2**31), bits=st.floats(1, 8), scale=st.floats(1e-4, 10))
def test_dequantizing_undoes_quantizing(seed: int, bits: float, scale: float) -> None:
    """To half a step at most; and quantizing the result gives the very same integers."""
    net = Net(seed, scale)
    before = parameters(net)
    quantizer = Quantizer(before, replace(RATE, weight_bits=bits, embed_bits=bits, clip_bits=bits))
    tensors = quantizer.quantize(before)
    assert all(np.abs(t.values).max() <= LARGEST for t in tensors)
    rebuilt = Net(seed + 1)
    check_tensors(tensors, rebuilt)
    dequantize(tensors, rebuilt)
    for (name, p), tensor in zip(rebuilt.named_parameters(), tensors, strict=True):
        steps = torch.from_numpy(step(tensor.steps)).view(-1, *[1] * (p.ndim - 1))
        assert ((p.detach() - before[name]).abs() <= 0.5001 * steps).all()
        torch.testing.assert_close(p.detach(), quantizer.fake(name, before[name]), rtol=1e-5, atol=1e-7)
    again = quantizer.quantize(parameters(rebuilt))
    assert all(np.array_equal(a.values, b.values) for a, b in zip(tensors, again, strict=True))


def test_steps_are_per_channel_and_one_for_a_vector() -> None:
    tensors = Quantizer(parameters(Net()), RATE).quantize(parameters(Net()))
    assert [len(t.steps) for t in tensors] == [3, 6, 1, 4, 1]
    assert all(len(set(t.steps.tolist())) > 1 for t in tensors if len(t.steps) > 1)


def test_more_bits_make_finer_steps() -> None:
    values = parameters(Net())
    coarse, fine = (Quantizer(values, replace(RATE, weight_bits=b)).indices["stem.weight"] for b in (3, 7))
    assert (coarse.astype(int) - fine == 4 * 8).all()  # eight indices to the octave


def test_where_errors_cost_more_steps_are_finer() -> None:
    values = {"stem.weight": torch.randn(4, 3, 3, 3)}
    sensitivity = {"stem.weight": np.array([4.0, 4.0, 4.0 * 64, 4.0])}
    indices = Quantizer(values, RATE, sensitivity, gain=0.5).indices["stem.weight"].astype(int)
    assert indices[0] == indices[1] == indices[3]
    assert indices[3] - indices[2] == 3 * 8  # the square root of 64: eight times finer
    wider = Quantizer(values, RATE, sensitivity, gain=1.0).indices["stem.weight"].astype(int)
    assert (wider - indices == 8).all()


def test_sensitivity_is_the_mean_squared_gradient_of_a_channel() -> None:
    gradients = [
        {"stem.weight": torch.full((2, 3, 3, 3), float(g)), "stem.bias": torch.tensor([g, 0.0])} for g in (1, 3)
    ]
    found = sensitivities(gradients)
    assert found["stem.weight"] == pytest.approx([10, 10], rel=0.01)
    assert found["stem.bias"] == pytest.approx([5], rel=0.01)


def test_gradients_pass_straight_through() -> None:
    values = parameters(Net())
    quantizer = Quantizer(values, RATE)
    p = values["stem.weight"].clone().requires_grad_()
    (quantizer.fake("stem.weight", p) * 3).sum().backward()
    assert p.grad is not None
    assert (p.grad == 3).all()


def test_channels_of_zeros_stay_zero() -> None:
    """As pruning leaves them."""
    values = parameters(Net())
    values["stem.weight"][1] = 0
    values["stem.bias"][:] = 0
    tensors = Quantizer(values, RATE).quantize(values)
    assert not tensors[1].values[1].any()
    assert not tensors[2].values.any()
    sensitivity = {n: np.ones(len(p) if p.ndim > 1 else 1) for n, p in values.items()}
    assert not Quantizer(values, RATE, sensitivity).quantize(values)[2].values.any()


def test_a_diverged_training_is_called_so() -> None:
    values = parameters(Net())
    values["stem.weight"][0, 0, 0, 0] = float("nan")
    with pytest.raises(ValueError, match=r"training diverged.*--lr"):
        Quantizer(values, RATE)


def test_steps_of_an_earlier_quantizer() -> None:
    values = parameters(Net())
    first = Quantizer(values, RATE)
    second = Quantizer.from_indices(first.indices, values)
    pairs = zip(first.quantize(values), second.quantize(values), strict=True)
    assert all(np.array_equal(a.values, b.values) and np.array_equal(a.steps, b.steps) for a, b in pairs)


def test_tensors_of_another_network_are_refused() -> None:
    values = parameters(Net())
    tensors = Quantizer(values, RATE).quantize(values)
    with torch.device("meta"):
        net = Net()
    check_tensors(tensors, net)
    with pytest.raises(MalformedChunk, match="the segment holds 4 tensors, the network of the header has 5"):
        check_tensors(tensors[:4], net)
    with pytest.raises(
        MalformedChunk, match=r"tensor stem.weight of the network is WEIGHT \(6, 3, 3, 3\).*CLIP \(4, 6\)"
    ):
        check_tensors((tensors[0], tensors[3], tensors[2], tensors[1], tensors[4]), net)
    with pytest.raises(MalformedChunk, match=r"tensor stem.bias of the network is WEIGHT"):
        check_tensors((*tensors[:2], replace(tensors[2], part=Part.CLIP), *tensors[3:]), net)
