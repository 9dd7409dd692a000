"""Embeddings: what they answer at a coordinate."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from codec.network.embeddings import GridEmbedding, LatentEmbedding, PositionalEmbedding, bilinear_weights
from codec.specs import Geometry, GridSpec, LatentSpec, PositionalSpec, parse_embed


def test_positional_encoding_is_its_formula_at_any_coordinate() -> None:
    """sin and cos of base ** k * pi * v for each of t, y, x on its own; the highest frequencies keep their phase."""
    embedding = PositionalEmbedding(PositionalSpec(1.25, 80), Geometry(2, 8, 8, (1, 1)), (1, 1))
    coords = torch.tensor([[0.0, 1.0, 0.5], [0.123, 1 / 3, 0.987654]])
    found = embedding(coords)
    assert found.shape == (2, embedding.channels, 1, 1) == (2, 480, 1, 1)
    assert list(embedding.parameters()) == []
    for row, place in zip(found[:, :, 0, 0].tolist(), coords.tolist(), strict=True):
        angles = [[1.25**k * math.pi * v for k in range(80)] for v in place]
        wanted = [f(a) for axis in angles for f in (math.sin, math.cos) for a in axis]
        assert row == pytest.approx(wanted, abs=1e-5)


def grid_embedding(text: str, frames: int, height: int, width: int, cell: int) -> GridEmbedding:
    spec = parse_embed(text)
    assert isinstance(spec, GridSpec)
    geometry = Geometry(frames, height, width, (1, 1))
    embedding = GridEmbedding(spec, geometry, (math.ceil(height / cell), math.ceil(width / cell)))
    for grid in embedding.grids:
        grid.data = torch.rand_like(grid)
    return embedding


def test_grid_is_linear_in_time() -> None:
    embedding = grid_embedding("grid_3.8.4", frames=9, height=24, width=40, cell=8)
    (planes,) = embedding.grids  # [3, 3, 3, 5]
    times = torch.tensor([0.0, 0.25, 0.5, 0.625, 1.0])
    found = embedding(torch.stack([times, torch.rand(5), torch.rand(5)], dim=1))  # only t matters
    assert found.shape == (5, 3, 3, 5)
    wanted = [
        planes[:, 0],
        (planes[:, 0] + planes[:, 1]) / 2,
        planes[:, 1],
        0.75 * planes[:, 1] + 0.25 * planes[:, 2],
        planes[:, 2],
    ]
    torch.testing.assert_close(found, torch.stack(wanted))


def test_grid_levels_meet_at_the_first_map() -> None:
    embedding = grid_embedding("grid_2.16.1_1.5.8_4.8.99", frames=9, height=37, width=50, cell=8)
    assert [tuple(g.shape) for g in embedding.grids] == [(2, 9, 3, 4), (1, 2, 8, 10), (4, 1, 5, 7)]
    with torch.no_grad():
        embedding.grids[0][:] = 0.5  # what is constant stays so, whatever its resolution
        embedding.grids[1][:] = -0.25
    found = embedding(torch.rand(3, 3))
    assert found.shape == (3, embedding.channels, 5, 7) == (3, 7, 5, 7)
    torch.testing.assert_close(found[:, :2], torch.full((3, 2, 5, 7), 0.5))
    torch.testing.assert_close(found[:, 2:3], torch.full((3, 1, 5, 7), -0.25))
    torch.testing.assert_close(found[:, 3:], embedding.grids[2][:, 0].expand(3, -1, -1, -1))


@given(st.integers(1, 40), st.integers(1, 6), st.integers(1, 6))
def test_every_patch_has_its_own_latent(frames: int, rows: int, columns: int) -> None:
    geometry = Geometry(frames, 64, 64, (rows, columns))
    embedding = LatentEmbedding(LatentSpec(2), geometry, (1, 1))
    coords = torch.from_numpy(geometry.coords()).flatten(0, 1)
    assert embedding.index(coords).tolist() == list(range(len(coords)))
    embedding.latents.data = torch.arange(2 * len(coords), dtype=torch.float32).view(2, -1, 1, 1)
    assert embedding(coords)[:, 0].flatten().tolist() == list(range(len(coords)))


@given(st.integers(1, 40), st.integers(1, 40))
def test_bilinear_weights_are_those_of_interpolation(inputs: int, outputs: int) -> None:
    values = torch.rand(1, 1, inputs)
    wanted = nn.functional.interpolate(values, outputs, mode="linear", align_corners=False)
    torch.testing.assert_close(values @ torch.from_numpy(bilinear_weights(inputs, outputs)).mT, wanted)
