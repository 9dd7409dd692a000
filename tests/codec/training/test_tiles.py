"""Training targets: the frames themselves, in the layout of the RGB head, with a mask over what is padding."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from codec import patches
from codec.network.dual_head import DualHeadHNeRV
from codec.specs import DualHeadSpec, Geometry, Output, PositionalSpec, parse_embed
from codec.training.content_encoder import ContentEncoder
from codec.training.tiles import Tiles
from tests.samples import moving_frames

SPEC = DualHeadSpec(
    embed=PositionalSpec(1.25, 4), fc_dim=4, fc_hw=(12, 12), dec_strds=(3,), dec_blks=(1,), conv_type="pshuffel",
    reduce=2.0, lower_width=4, act="gelu", norm="none", ks=(1, 3), head_strd=2, out_bias=Output(bias=0.5), clip_dim=0,
    clip_rank=0,
)  # fmt: skip
GEOMETRY = Geometry(3, 21, 34, (2, 4))  # patches of 11x9, padded to 12x12; the last row has 10 lines, the last column 7
FRAMES = moving_frames(3, 21, 34)
CPU = torch.device("cpu")


@pytest.mark.parametrize("embed", ["pe_1.25_4", "hnerv_4", "grid_2.6.1"])
def test_targets_are_the_frames_where_they_are_not_masked(embed: str) -> None:
    tiles = Tiles(DualHeadHNeRV(replace(SPEC, embed=parse_embed(embed)), GEOMETRY), FRAMES, CPU)
    assert tiles.cells.dtype == torch.uint8
    pictures = F.pixel_shuffle(tiles.cells, 2).permute(0, 2, 3, 1)
    index = torch.arange(len(tiles.cells))
    masks = tiles.masks(index)
    assert masks is not None
    real = F.pixel_shuffle(masks.to(torch.uint8), 2).permute(0, 2, 3, 1).bool()
    assert real.sum() == FRAMES.size
    wanted = FRAMES if tiles.per_frame == 1 else patches.split(FRAMES, GEOMETRY.grid).reshape(24, 11, 9, 3)
    for tile, mask, source in zip(pictures, real.expand_as(pictures), wanted, strict=True):
        h, w = source.shape[:2]
        assert not mask[h:].any()
        assert not mask[:, w:].any()
        assert torch.equal(tile[:h, :w], torch.from_numpy(np.ascontiguousarray(source)))
    torch.testing.assert_close(
        tiles.coords, DualHeadHNeRV(replace(SPEC, embed=parse_embed(embed)), GEOMETRY).tile_coords(torch.arange(3))
    )
    torch.testing.assert_close(tiles.pixels(index), pictures.permute(0, 3, 1, 2).float() / 255)


def test_no_mask_where_all_pixels_are_real() -> None:
    geometry = Geometry(2, 24, 48, (2, 4))
    tiles = Tiles(DualHeadHNeRV(SPEC, geometry), moving_frames(2, 24, 48), CPU)
    assert tiles.mask is None
    assert tiles.masks(torch.tensor([1])) is None


@pytest.mark.parametrize("conv_type", ["convnext", "pshuffel", "conv", "interpolate", "residual"])
@pytest.mark.parametrize("ks", [0, 3])
def test_the_encoder_makes_the_latents_that_the_decoder_starts_from(conv_type: str, ks: int) -> None:
    model = DualHeadHNeRV(replace(SPEC, embed=parse_embed("hnerv_5")), GEOMETRY)
    encoder = ContentEncoder(model.spec, 5, conv_type, 1, ks)
    index = torch.tensor([0, 5, 23])
    tiles = Tiles(model, FRAMES, CPU)
    latents = encoder(tiles.pixels(index))
    assert latents.shape == (3, 5, *model.map)
    cells, _ = model(tiles.coords[index], latents)
    assert cells.shape == tiles.cells[index].shape
    # each patch by itself, whatever else is in the batch
    torch.testing.assert_close(encoder(tiles.pixels(index[1:2])), latents[1:2], atol=1e-5, rtol=1e-4)
