"""NeRV blocks: sizes, and which input cells an output cell depends on."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from codec.network.blocks import NeRVBlock, ResidualLayer
from codec.specs import ACTIVATIONS, CONV_TYPES

SIDE = 9  # cells


def block(conv_type: str, stride: int, ks: int, inputs: int = 3, outputs: int = 4) -> NeRVBlock:
    torch.manual_seed(0)
    return NeRVBlock(inputs, outputs, stride, ks, conv_type, "gelu").eval()


@pytest.mark.parametrize("conv_type", CONV_TYPES)
@pytest.mark.parametrize("stride", [1, 2, 3, 5])
@pytest.mark.parametrize("ks", [1, 3, 5])
def test_a_block_multiplies_the_map_by_its_stride(conv_type: str, stride: int, ks: int) -> None:
    assert block(conv_type, stride, ks)(torch.rand(2, 3, 4, 7)).shape == (2, 4, 4 * stride, 7 * stride)


@settings(deadline=None, max_examples=150)
@given(
    conv_type=st.sampled_from(CONV_TYPES),
    stride=st.integers(1, 5),
    ks=st.sampled_from([1, 3, 5]),
    same_width=st.booleans(),
    data=st.data(),
)
def test_no_cell_outside_of_what_is_needed_matters(
    conv_type: str, stride: int, ks: int, same_width: bool, data: st.DataObject
) -> None:
    layer = block(conv_type, stride, ks, outputs=3 if same_width else 4)
    lo = data.draw(st.integers(0, SIDE * stride - 1))
    hi = data.draw(st.integers(lo + 1, SIDE * stride))
    first, last = layer.needs(lo, hi)
    x = torch.rand(1, 3, SIDE, SIDE)
    changed = torch.rand(1, 3, SIDE, SIDE)
    inside = slice(max(first, 0), min(last, SIDE))
    for axis in (2, 3):
        other = changed.transpose(2, axis)
        other[:, :, inside] = x.transpose(2, axis)[:, :, inside]
        with torch.no_grad():
            wanted = layer(x).transpose(2, axis)[:, :, lo:hi]
            found = layer(other.transpose(2, axis)).transpose(2, axis)[:, :, lo:hi]
        torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("conv_type", CONV_TYPES)
def test_what_is_needed_stays_near(conv_type: str) -> None:
    """A patch decoded alone costs little only if the halo is small: a few cells, however long the span."""
    first, last = block(conv_type, 2, 3).needs(20, 40)
    assert 5 <= first <= 10
    assert 20 <= last <= 25


@pytest.mark.parametrize("conv_type", ["convnext", "residual"])
def test_layered_blocks_add_to_what_passes_through(conv_type: str) -> None:
    layer = block(conv_type, 1, 3, outputs=3)
    last = list(layer.body.parameters())[-2:]
    for p in last:
        p.data.zero_()
    x = torch.rand(1, 3, 5, 5)
    torch.testing.assert_close(layer(x), x)


@pytest.mark.parametrize("act", ACTIVATIONS)
def test_activations_are_what_they_are_called(act: str) -> None:
    layer = NeRVBlock(1, 1, 1, 1, "pshuffel", act)
    layer.body.conv.weight.data.fill_(1.0)  # type: ignore[union-attr,operator]
    layer.body.conv.bias.data.zero_()  # type: ignore[union-attr,operator]
    known: dict[str, Callable[..., Tensor]] = {
        "relu": nn.functional.relu,
        "gelu": nn.functional.gelu,
        "swish": nn.functional.silu,
    }
    x = torch.linspace(-4, 8, 25).view(1, 1, 5, 5)
    torch.testing.assert_close(layer(x), known[act](x))


def test_a_residual_layer_reaches_two_kernels_far() -> None:
    assert ResidualLayer(2, 5).needs(10, 20) == (6, 24)
