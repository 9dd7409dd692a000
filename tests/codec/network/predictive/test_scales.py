"""The integer networks: the twin in training gives the decoder's integers, exactly."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from codec.network.predictive.scales import (
    LARGEST_SYMBOL,
    LARGEST_VALUE,
    LAST_ROW,
    MAGNITUDES,
    TrainedLayer,
    row_bits,
    row_ratio,
    scale_network,
)


def inputs_of(count: int, width: int) -> torch.Tensor:
    """Random legal inputs, and the two extremes."""
    rng = torch.Generator().manual_seed(3)
    x = torch.randint(-LARGEST_SYMBOL, LARGEST_VALUE + 1, (count, width), generator=rng).float()
    x[0], x[1], x[2] = LARGEST_VALUE, -LARGEST_SYMBOL, 0
    return x


def agree(layer: TrainedLayer, x: torch.Tensor) -> np.ndarray:
    with torch.no_grad():
        trained = layer(x).numpy()
    decoded = layer.integers()(x.numpy())
    np.testing.assert_array_equal(decoded, trained)
    exact = x.numpy().astype(np.int64) @ layer.integers().weight.astype(np.int64) + layer.integers().bias
    wanted = np.clip((exact + (1 << (layer.shift - 1))) >> layer.shift, 0, layer.most)
    np.testing.assert_array_equal(decoded, wanted)
    return decoded


@pytest.mark.parametrize("rows", [False, True])
@pytest.mark.parametrize(("inputs", "outputs"), [(1, 1), (9, 64), (109, 44)])
def test_training_and_decoding_give_the_same_integers(inputs: int, outputs: int, rows: bool) -> None:
    torch.manual_seed(inputs)
    layer = TrainedLayer(inputs, outputs, rows=rows, start=20, spread=2.0)
    found = agree(layer, inputs_of(500, inputs))
    assert len(np.unique(found)) > 2


@pytest.mark.parametrize("value", [-5.0, 5.0, 0.5 / 128, -0.5 / 128, 1.5 / 128])
def test_weights_beyond_eight_bits_and_halves_agree_too(value: float) -> None:
    layer = TrainedLayer(200, 3, rows=True)
    with torch.no_grad():
        layer.weight.fill_(value)
        layer.bias.copy_(torch.tensor([0.0, 255.5 / 8192, -200.0]))
    agree(layer, inputs_of(50, 200))


@pytest.fixture
def low_precision() -> Iterator[None]:
    """What a caller may have asked of matrix products for reasons of its own."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        yield
    torch.set_float32_matmul_precision(before)


@pytest.mark.usefixtures("low_precision")
def test_integers_are_exact_where_a_caller_wants_less() -> None:
    torch.manual_seed(2)
    agree(TrainedLayer(109, 44, spread=2.0), inputs_of(500, 109))


def test_a_sum_that_floats_cannot_hold_is_refused() -> None:
    layer = TrainedLayer(10, 2)
    with torch.no_grad():
        layer.bias.fill_(2**23 / 8192)
    with pytest.raises(ValueError, match=r"2\*\*23"):
        layer.integers()


def test_a_network_is_the_chain_of_its_layers() -> None:
    torch.manual_seed(1)
    network = scale_network(30, 16, 8)
    x = inputs_of(300, 30)
    hidden = agree(network[0], x)  # type: ignore[arg-type]
    rows = agree(network[1], torch.from_numpy(hidden))  # type: ignore[arg-type]
    assert rows.max() <= LAST_ROW
    with torch.no_grad():
        np.testing.assert_array_equal(rows, network(x).numpy())


def test_gradients_reach_all_parameters() -> None:
    torch.manual_seed(1)
    network = scale_network(30, 16, 8)
    row_bits(torch.ones(300, 8), network(inputs_of(300, 30))).sum().backward()
    for p in network.parameters():
        assert p.grad is not None
        assert p.grad.abs().sum() > 0


def test_magnitudes_fit_between_the_layers() -> None:
    assert len(MAGNITUDES) == LARGEST_SYMBOL + 1
    assert MAGNITUDES[0] == 0
    assert MAGNITUDES.max() <= LARGEST_VALUE
    assert (np.diff(MAGNITUDES) >= 0).all()


def test_bits_of_a_row_are_those_of_its_distribution() -> None:
    symbols = torch.arange(-LARGEST_SYMBOL, LARGEST_SYMBOL + 1).double()
    for row in (5.0, 20.0, 35.0):
        rows = torch.full_like(symbols, row)
        chances = torch.exp2(-row_bits(symbols, rows))
        assert abs(float(chances.sum()) - 1) < 1e-3
        deviation = float((chances * symbols.square()).sum().sqrt())
        assert abs(deviation / 2 ** (2 * (row - 1) / 11 - 5) - 1) < 1e-2
    assert (row_ratio(torch.arange(64.0)).diff() > 0).all()
