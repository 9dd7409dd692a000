"""The network: sizes, patches that equal their frame, features, and architectures that are none."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from codec.network.dual_head import DualHeadHNeRV
from codec.network.embeddings import GridEmbedding
from codec.specs import CONV_TYPES, DualHeadSpec, Geometry, parse_embed, parse_output

SPEC = DualHeadSpec(
    embed=parse_embed("grid_3.4.1_2.8.4"),
    fc_dim=12,
    fc_hw=(1, 1),
    dec_strds=(2, 1),
    dec_blks=(1, 2),
    conv_type="residual",
    reduce=-1.0,
    lower_width=6,
    act="gelu",
    norm="none",
    ks=(1, 3),
    head_strd=2,
    out_bias=parse_output("0.5"),
    clip_dim=5,
    clip_rank=4,
)
GEOMETRY = Geometry(5, 37, 50, (2, 4))  # patches of 19x13; the last row has 18 lines, the last column 11
ONE_LEVEL = 1 / 255


def network(
    spec: DualHeadSpec = SPEC, geometry: Geometry = GEOMETRY, dtype: torch.dtype = torch.float32
) -> DualHeadHNeRV:
    """A network with random weights whose output fills the range of pixels."""
    torch.manual_seed(3)
    spec = replace(spec, fc_hw=spec.first_map(geometry) if spec.fc_hw == (1, 1) else spec.fc_hw)
    net = DualHeadHNeRV(spec, geometry)
    for name, p in net.named_parameters():
        if name.startswith("embedding."):
            p.data = torch.randn_like(p)
    net.rgb_head.conv.weight.data *= 3
    return net.eval().cast(dtype)


def largest_difference(net: DualHeadHNeRV, times: Tensor) -> int:
    """The greatest difference, in 8-bit levels, of single patches from the same patches of whole frames."""
    whole = net.frames(times).int()
    assert whole.float().std() > 10, "flat frames would show nothing"
    differences = []
    for row in range(net.geometry.grid[0]):
        for column in range(net.geometry.grid[1]):
            y, x = net.geometry.spans(row, column)
            patch = net.patch(times, row, column).int()
            differences.append((patch - whole[:, slice(*y), slice(*x)]).abs().max())
    return int(torch.stack(differences).max())


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("conv_type", CONV_TYPES)
@pytest.mark.parametrize("embed", ["grid_3.4.1_2.8.4", "pe_1.25_12", "hnerv_3"])
def test_a_patch_equals_the_same_patch_of_its_frame(embed: str, conv_type: str, dtype: torch.dtype) -> None:
    net = network(replace(SPEC, embed=parse_embed(embed), conv_type=conv_type), dtype=dtype)
    assert largest_difference(net, torch.tensor([0, 3])) <= 1


@torch.no_grad()
@pytest.mark.parametrize(("strides", "blocks", "head", "ks"), [((), (), 3, (1, 1)), ((3, 2), (2, 1), 1, (3, 5))])
def test_patches_equal_frames_for_other_layers(
    strides: tuple[int, ...], blocks: tuple[int, ...], head: int, ks: tuple[int, int]
) -> None:
    spec = replace(SPEC, dec_strds=strides, dec_blks=blocks, head_strd=head, ks=ks)
    assert largest_difference(network(spec), torch.tensor([1, 4])) <= 1


@torch.no_grad()
@pytest.mark.parametrize(
    ("height", "width", "grid"),
    [(1, 1, (1, 1)), (7, 9, (7, 9)), (64, 33, (3, 1)), (45, 63, (2, 4)), (5, 100, (1, 13)), (48, 64, (1, 1))],
)
@pytest.mark.parametrize("embed", ["grid_3.4.1_2.8.4", "pe_1.25_12", "hnerv_3"])
def test_patches_equal_frames_for_any_size(embed: str, height: int, width: int, grid: tuple[int, int]) -> None:
    net = network(replace(SPEC, embed=parse_embed(embed)), Geometry(3, height, width, grid))
    frames = net.frames(torch.tensor([0, 2]))
    assert frames.shape == (2, height, width, 3)
    assert frames.dtype == torch.uint8
    rebuilt = torch.cat(
        [torch.cat([net.patch(torch.tensor([0, 2]), r, c) for c in range(grid[1])], dim=2) for r in range(grid[0])],
        dim=1,
    )
    assert (rebuilt.int() - frames.int()).abs().max() <= 1


def test_widths_follow_the_published_rule() -> None:
    reference = replace(SPEC, fc_dim=512, dec_strds=(5, 3, 2, 2, 2), dec_blks=(1,) * 5, reduce=1.2, lower_width=32)
    assert reference.widths() == [512, 427, 356, 297, 248, 207]
    assert replace(reference, reduce=4.0).widths() == [512, 128, 32, 32, 32, 32]
    assert replace(reference, reduce=-1, dec_strds=(4, 1, 2)).widths() == [512, 256, 256, 181]


def test_spans_cover_every_pixel_once() -> None:
    covered = np.zeros((GEOMETRY.height, GEOMETRY.width), int)
    for row in range(2):
        for column in range(4):
            y, x = GEOMETRY.spans(row, column)
            covered[slice(*y), slice(*x)] += 1
    assert (covered == 1).all()


def test_a_stem_that_is_too_small_names_the_one_that_fits() -> None:
    spec = replace(SPEC, embed=parse_embed("pe_1.25_12"), fc_hw=(4, 4))  # patches of 19x13, strides that multiply to 4
    with pytest.raises(ValueError, match=r"fc_hw 4_4 does not cover a patch of 19x13 pixels: 5_4 does"):
        DualHeadHNeRV(spec, GEOMETRY)


@torch.no_grad()
def test_a_stem_that_is_too_large_is_averaged_down() -> None:
    net = network(replace(SPEC, embed=parse_embed("pe_1.25_12"), fc_hw=(9, 16)))
    assert net.map == (5, 4)
    seen: list[Tensor] = []
    net.stages[0].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    coords = net.tile_coords(torch.tensor([1]))
    assert net.frames(torch.tensor([1])).shape == (1, 37, 50, 3)
    stem = net.stem(net.embedding(coords)).view(8, 12, 9, 16)
    torch.testing.assert_close(seen[0], F.adaptive_avg_pool2d(stem, (5, 4)))


@torch.no_grad()
@pytest.mark.parametrize("embed", ["grid_3.4.1_2.8.4", "pe_1.25_12", "hnerv_3"])
def test_training_and_decoding_see_the_same_network(embed: str) -> None:
    """forward's cells are the frame before the last pixel shuffle; its features are those a decoder gives."""
    net = network(replace(SPEC, embed=parse_embed(embed)))
    times = torch.tensor([2])
    cells, features = net(net.tile_coords(times))
    tiles = F.pixel_shuffle(cells, 2)[..., : net.tile[0], : net.tile[1]]
    assert features is not None
    torch.testing.assert_close(tiles, net.rgb(net.trunk(net.tile_coords(times))))
    torch.testing.assert_close(features.reshape(1, 8, 5), net.features(times))


@torch.no_grad()
@pytest.mark.parametrize("embed", ["grid_3.4.1_2.8.4", "pe_1.25_12", "hnerv_3"])
def test_how_many_tiles_run_at_once_changes_nothing(embed: str) -> None:
    net = network(replace(SPEC, embed=parse_embed(embed)))
    times = torch.arange(5)
    frames, features = net.frames(times), net.features(times)
    assert features.shape == (5, 8, 5)
    torch.testing.assert_close(features.norm(dim=-1), torch.ones(5, 8))
    net.tile_batch = 3
    assert (net.frames(times).int() - frames.int()).abs().max() <= 1
    torch.testing.assert_close(net.features(times), features)


@torch.no_grad()
def test_a_feature_comes_from_its_own_patch() -> None:
    """With a grid the trunk spans the frame, but each patch is pooled over its own cells."""
    net = network(replace(SPEC, dec_strds=(1,), dec_blks=(1,), head_strd=1, ks=(1, 1)), Geometry(1, 40, 40, (2, 2)))
    assert isinstance(net.embedding, GridEmbedding)
    before = net.features(torch.tensor([0]))
    for grid in net.embedding.grids:  # the upper left quarter, away from its border by more than layers reach
        grid.data[:, :, : grid.shape[2] // 4, : grid.shape[3] // 4] += 3
    after = net.features(torch.tensor([0]))
    changed = (before - after).abs().amax(-1)[0] > 1e-6
    assert changed.tolist() == [True, False, False, False]


@torch.no_grad()
@pytest.mark.parametrize(
    ("out_bias", "wanted"), [("tanh", 0.5 + np.tanh(0.7) / 2), ("sigmoid", 1 / (1 + np.exp(-0.7)))]
)
def test_outputs(out_bias: str, wanted: float) -> None:
    net = network(replace(SPEC, out_bias=parse_output(out_bias)))
    net.rgb_head.conv.weight.data.zero_()
    net.rgb_head.conv.bias.data.fill_(0.7)  # type: ignore[union-attr]
    assert (net.frames(torch.tensor([0])) == round(255 * wanted)).all()


def test_no_features_without_a_head() -> None:
    net = network(replace(SPEC, clip_dim=0, clip_rank=0))
    with pytest.raises(ValueError, match="no CLIP head"):
        net.features(torch.tensor([0]))
    assert net(net.tile_coords(torch.tensor([0])))[1] is None


@torch.no_grad()
@pytest.mark.parametrize("conv_type", CONV_TYPES)
@pytest.mark.parametrize("embed", ["grid_3.4.1_2.8.4", "pe_1.25_12", "hnerv_3", "grid_200.9.9"])
@pytest.mark.parametrize("reduce", [-1.0, 0.3])
def test_the_largest_map_is_foreseen(embed: str, conv_type: str, reduce: float) -> None:
    """What is refused or batched by `largest_map` is what the network makes, but for the rim of a transposed one."""
    net = network(replace(SPEC, embed=parse_embed(embed), conv_type=conv_type, reduce=reduce))
    sizes: list[int] = []
    for module in net.modules():
        if not list(module.children()) or module is net.embedding:
            module.register_forward_hook(lambda module, inputs, output: sizes.append(output.numel()))
    times = torch.tensor([0])
    net.frames(times)
    largest = max(sizes) / len(net.tile_coords(times))
    assert largest / 1.25 <= net.spec.largest_map(net.geometry) <= 2 * largest


@torch.no_grad()
@pytest.mark.parametrize("conv_type", CONV_TYPES)
@pytest.mark.parametrize("embed", ["grid_3.4.1_2.8.4", "pe_1.25_12", "hnerv_3"])
def test_the_operations_of_a_frame_are_foreseen(embed: str, conv_type: str) -> None:
    """What is refused for the time it would take is what torch counts."""
    net = network(replace(SPEC, embed=parse_embed(embed), conv_type=conv_type, dec_blks=(1, 2)))
    times = torch.tensor([1])
    with FlopCounterMode(display=False) as counter:
        tiles = net.trunk(net.tile_coords(times))
        net.rgb(tiles)
        net._tile_features(tiles)
    counted = counter.get_total_flops() / 2  # of a multiplication and an addition
    assert counted == pytest.approx(net.spec.operations(net.geometry), rel=0.02)


def test_no_table_of_all_coordinates_is_made() -> None:
    """48x64 patches of 2^24 frames would be 600 GB."""
    geometry = replace(GEOMETRY, frames=2**24, height=480, width=640, grid=(48, 64))
    spec = replace(SPEC, embed=parse_embed("pe_1.25_12"))
    net = DualHeadHNeRV(replace(spec, fc_hw=spec.first_map(geometry)), geometry)
    assert net.tile_coords(torch.tensor([2**24 - 1])).shape == (48 * 64, 3)


def test_planes_finer_than_the_first_map_count() -> None:
    assert replace(SPEC, embed=parse_embed("grid_200.1.9")).largest_map(GEOMETRY) == 200 * 37 * 50


@torch.no_grad()
@pytest.mark.parametrize("embed", ["grid_3.8.1", "pe_1.25_12", "hnerv_3"])
def test_a_patch_costs_a_part_of_its_frame(embed: str) -> None:
    """A corner of a 2x4 grid takes an eighth of the cells, and a halo where layers look past the patch."""
    net = network(replace(SPEC, embed=parse_embed(embed)), Geometry(1, 180, 320, (2, 4)))
    computed: list[int] = []
    for module in (net.stem, *net.stages, net.rgb_head):
        module.register_forward_hook(lambda module, inputs, output: computed.append(output.numel()))
    net.frames(torch.tensor([0]))
    whole = sum(computed)
    computed.clear()
    net.patch(torch.tensor([0]), 0, 0)
    assert sum(computed) < 0.2 * whole
