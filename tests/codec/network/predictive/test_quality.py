"""The quality index: what varies with it passes through its knots, linearly between them."""

import torch

from codec.network.predictive.quality import (
    KNOTS,
    OCTAVE,
    QUALITIES,
    knot_quality,
    knot_weights,
    lagrangian,
    lagrangians,
    matched_steps,
)


def test_knots_interpolate() -> None:
    at_knots = knot_weights(torch.tensor([knot_quality(k) for k in range(KNOTS)]))
    torch.testing.assert_close(at_knots, torch.eye(KNOTS), atol=1e-5, rtol=0)
    weights = knot_weights(torch.linspace(0, QUALITIES - 1, 500))
    torch.testing.assert_close(weights.sum(1), torch.ones(500))
    assert ((weights > 0).sum(1) <= 2).all()
    values = weights @ torch.tensor([knot_quality(k) for k in range(KNOTS)])  # a line stays a line
    torch.testing.assert_close(values, torch.linspace(0, QUALITIES - 1, 500), atol=1e-4, rtol=0)


def test_lambda_doubles_every_octave() -> None:
    assert abs(lagrangian(20 + OCTAVE) / lagrangian(20) - 2) < 1e-9
    low, high = matched_steps(torch.tensor([20.0, 20.0 + 2 * OCTAVE]))
    torch.testing.assert_close(low, 2 * high)  # lambda is worth 4 times as much
    quality = torch.tensor([0.0, 12.5, 63.0])
    torch.testing.assert_close(lagrangians(quality), torch.tensor([lagrangian(float(q)) for q in quality]))
