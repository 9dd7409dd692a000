"""From a size to a network: the widest that is expected to fit."""

import math
import re
from dataclasses import replace

import pytest

from codec.encoding.plan import HNERV_STRIDES, expected_bytes, fitting_strides, plan, target_bytes
from codec.network.dual_head import blueprint
from codec.settings import PRESETS, ModelSettings
from codec.specs import DualHeadSpec, Geometry, GridSpec, PositionalSpec

OVERFITTED = [name for name, preset in PRESETS.items() if isinstance(preset.model, ModelSettings)]
GEOMETRY = Geometry(96, 360, 640, (2, 4))


def test_targets() -> None:
    assert target_bytes(PRESETS["grid"].override(size=12345), 96, 360, 640) == 12345
    assert target_bytes(PRESETS["grid"].override(bpp=0.1), 96, 360, 640) == pytest.approx(0.1 * 96 * 360 * 640 / 8)
    assert target_bytes(PRESETS["grid"].override(fc_dim=16), 96, 360, 640) is None


@pytest.mark.parametrize("preset", ["grid", "hnerv"])
@pytest.mark.parametrize("size", [120_000, 250_000, 400_000])
def test_the_widest_network_that_fits_is_chosen(preset: str, size: int) -> None:
    settings = PRESETS[preset].override(size=size)
    geometry = replace(GEOMETRY, grid=settings.source.grid)
    spec = plan(settings, geometry, 0, size)
    assert expected_bytes(replace(spec, fc_dim=spec.fc_dim + 1), geometry, settings.rate) > size
    if expected_bytes(spec, geometry, settings.rate) > size:  # then no narrower one could fill the size
        assert preset == "hnerv", "at 5 bits a weight there is room to be finer"
        assert values(replace(spec, fc_dim=spec.fc_dim - 1), geometry) * 7 / 8 < size


def values(spec: DualHeadSpec, geometry: Geometry) -> int:
    return sum(p.numel() for p in blueprint(spec, geometry).parameters())


@pytest.mark.parametrize("preset", OVERFITTED)
@pytest.mark.parametrize("size", [3_000, 10_000, 50_000])
def test_a_size_can_be_filled(preset: str, size: int) -> None:
    """Every weight in 7 bits, more than which no trained network takes, must come to the size."""
    settings = PRESETS[preset].override(size=size, crop=(), fc_hw=())
    geometry = Geometry(12, 72, 96, settings.source.grid)
    spec = plan(settings, geometry, 0, size)
    assert values(spec, geometry) * 7 / 8 >= size


def test_a_target_too_small_for_the_narrowest_stage_narrows_it() -> None:
    settings = PRESETS["hnerv"].override(size=50_000)
    geometry = replace(GEOMETRY, grid=settings.source.grid)
    spec = plan(settings, geometry, 0, 50_000)
    assert 2 <= spec.lower_width == spec.fc_dim < settings.model.lower_width
    assert 50_000 <= values(spec, geometry) * 7 / 8 <= 60_000


def test_a_larger_target_gives_a_wider_network() -> None:
    settings = PRESETS["grid"]
    widths = [plan(settings, GEOMETRY, 0, size).fc_dim for size in (20_000, 60_000, 180_000)]
    assert widths == sorted(set(widths))


def test_features_take_their_share() -> None:
    settings = PRESETS["grid"]
    without, with_features = (plan(settings, GEOMETRY, dim, 60_000) for dim in (0, 512))
    assert (without.clip_dim, without.clip_rank) == (0, 0)
    assert (with_features.clip_dim, with_features.clip_rank) == (512, settings.model.clip_rank)
    assert with_features.fc_dim < without.fc_dim


def test_what_is_given_is_taken() -> None:
    settings = PRESETS["grid"].override(
        fc_dim=33, dec_strds=(2, 3), num_blks=(1, 2, 1), embed="pe_1.25_20", fc_hw=(40, 40)
    )
    spec = plan(settings, GEOMETRY, 0, None)
    assert (spec.fc_dim, spec.dec_strds, spec.dec_blks, spec.embed) == (33, (2, 3), (2, 1), PositionalSpec(1.25, 20))
    assert spec.fc_hw == (40, 40)
    automatic = plan(settings.override(fc_hw=()), GEOMETRY, 0, None)
    stride = 2 * 3 * settings.model.head_strd
    assert automatic.fc_hw == (math.ceil(180 / stride), math.ceil(160 / stride))


def test_grids_grow_with_a_given_width() -> None:
    """As many bytes for the grids as for the weights, as where a size is given."""
    rate = PRESETS["grid"].rate
    sizes = []
    for fc_dim in (20, 40, 80):
        spec = plan(PRESETS["grid"].override(fc_dim=fc_dim), GEOMETRY, 0, None)
        sizes.append(expected_bytes(spec, GEOMETRY, rate))
        parts = plan(PRESETS["grid"].override(size=round(sizes[-1])), GEOMETRY, 0, sizes[-1])
        assert fc_dim == pytest.approx(parts.fc_dim, rel=0.25)
    assert sizes == sorted(sizes)


def test_one_number_of_blocks_stands_for_all_stages() -> None:
    settings = PRESETS["hnerv"].override(num_blks=(1, 2), fc_dim=8, dec_strds=(5, 2, 2))
    assert plan(settings, GEOMETRY, 0, None).dec_blks == (2, 2, 2)


def test_feature_grids_grow_with_the_target() -> None:
    def values(size: float) -> int:
        spec = plan(PRESETS["grid"].override(size=10**5), GEOMETRY, 0, size)
        assert isinstance(spec.embed, GridSpec)
        assert len(str(spec.embed)) <= 64, "the header's field holds no more"
        return sum(v.channels * v.planes(96) * math.prod(v.cells(GEOMETRY)) for v in spec.embed.levels)

    assert values(30_000) < values(100_000) < values(300_000)


@pytest.mark.parametrize(("height", "width"), [(180, 160), (320, 320), (360, 640), (640, 1280), (1080, 1920)])
def test_strides_are_hnervs_and_pad_little(height: int, width: int) -> None:
    strides = fitting_strides(height, width)
    assert strides in HNERV_STRIDES
    stride = math.prod(strides)
    assert math.ceil(height / stride) * math.ceil(width / stride) * stride**2 <= 1.5 * height * width


def test_hnervs_own_size_has_its_own_strides() -> None:
    assert fitting_strides(640, 1280) == (5, 4, 4, 2, 2)


@pytest.mark.parametrize(
    "geometry", [Geometry(1, 1, 1, (1, 1)), Geometry(2, 3, 500, (1, 4)), Geometry(300, 64, 48, (2, 4))]
)
@pytest.mark.parametrize("preset", OVERFITTED)
def test_every_geometry_has_a_network(geometry: Geometry, preset: str) -> None:
    settings = PRESETS[preset].override(crop=(), fc_hw=(), size=50_000)
    spec = plan(settings, geometry, 0, 50_000)
    spec.check(geometry)
    assert spec.fc_dim >= 1
    if spec.fc_dim > 1:  # else even the narrowest is too large
        narrower = replace(spec, fc_dim=spec.fc_dim - 1, lower_width=min(spec.lower_width, spec.fc_dim - 1))
        assert (
            expected_bytes(narrower, geometry, settings.rate) <= 50_000 or values(narrower, geometry) * 7 / 8 < 50_000
        )


def test_a_size_that_nothing_fills_is_refused_before_training() -> None:
    with pytest.raises(
        ValueError, match=r"100,000,000 bytes cannot be filled: the network .* at their finest: ask for"
    ):
        plan(PRESETS["grid"].override(size=10**8), Geometry(12, 64, 96, (2, 4)), 0, 10**8)


def test_what_training_will_show_is_said_before_it() -> None:
    warnings: list[str] = []
    settings = PRESETS["grid"].override(size=40)
    plan(settings, Geometry(12, 64, 96, (2, 4)), 0, 40, warnings.append)
    assert re.match(r"a segment takes \d+ bytes with every weight at zero, and 40 are there for it", warnings.pop())
    plan(PRESETS["reference"], Geometry(300, 640, 1280, (2, 4)), 512, None, warnings.append)
    assert "76,705,771 values and takes 2.0e+12 multiplications a frame" in warnings[-1]
    plan(PRESETS["grid"].override(size=40_000), Geometry(96, 360, 640, (2, 4)), 0, 40_000, warnings.append)
    assert len(warnings) == 2, "nothing to say of what goes well"
