"""Specs: the family's strings, and what follows from a network's description alone."""

from dataclasses import replace
from importlib import import_module
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitstream import Architecture
from codec.kinds import KINDS, Kind, kind_for, kind_of, parse_architecture
from codec.network import blocks
from codec.specs import (
    ACTIVATIONS,
    CONV_TYPES,
    RESIDUAL_LAYERS,
    UPSAMPLERS,
    DualHeadSpec,
    EmbeddingSpec,
    GridLevel,
    GridSpec,
    LatentSpec,
    Output,
    PositionalSpec,
    Schedule,
    parse_embed,
    parse_output,
    parse_schedule,
)

ARCHITECTURE = Architecture(
    embed="pe_1.25_80",
    fc_dim=512,
    fc_hw=(9, 16),
    dec_strds=(5, 3, 2, 2, 2),
    dec_blks=(1,) * 5,
    conv_type="pshuffel",
    reduce=1.2,
    lower_width=32,
    act="gelu",
    norm="none",
    ks=(1, 5),
    head_strd=1,
    out_bias="tanh",
    clip_dim=512,
    clip_rank=64,
)

small = st.integers(1, 999)
specs: st.SearchStrategy[EmbeddingSpec] = st.one_of(
    st.builds(PositionalSpec, st.floats(1, 2), st.integers(1, 60)),
    st.builds(GridSpec, st.lists(st.builds(GridLevel, small, small, small), min_size=1, max_size=4).map(tuple)),
    st.builds(LatentSpec, small),
)


@given(specs)
def test_parsing_undoes_writing(spec: EmbeddingSpec) -> None:
    assert parse_embed(str(spec)) == spec


def test_the_published_spelling() -> None:
    assert parse_embed("pe_1.25_80") == PositionalSpec(1.25, 80)
    assert parse_embed("grid_2.32.1_4.8.16") == GridSpec((GridLevel(2, 32, 1), GridLevel(4, 8, 16)))
    assert parse_embed("hnerv_16") == LatentSpec(16)


@pytest.mark.parametrize(
    "text",
    ["", "pe", "pe_1.25", "pe_1.25_80_1", "pe_x_80", "pe_nan_80", "pe_16_1000", "pe_1.25_0", "grid", "grid_",
     "grid_1.2", "grid_1.2.3.4", "grid_0.8.1", "hnerv_0", "hnerv_1_2", "hnerv_-3", "siren_3"],
)  # fmt: skip
def test_other_strings_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"none of pe_BASE_LEVELS .* grid_C\.S\.T_\.\.\. .* hnerv_DIM"):
        parse_embed(text)


def test_grid_planes_cover_the_segment() -> None:
    assert GridLevel(1, 8, 4).planes(13) == 4  # frames 0, 4, 8, 12
    assert GridLevel(1, 8, 4).planes(12) == 4
    assert GridLevel(1, 8, 4).planes(5) == 2
    assert GridLevel(1, 8, 1).planes(7) == 7
    assert GridLevel(1, 8, 12).planes(12) == GridLevel(1, 8, 99).planes(12) == 1


def test_the_published_schedule() -> None:
    """Up over the first tenth from a tenth of the rate, linearly, then half a cosine down to zero."""
    schedule = parse_schedule("cosine_0.1_1_0.1")
    assert schedule == Schedule(up=0.1, power=1.0, start=0.1)
    assert schedule.multiplier(0) == pytest.approx(0.1)
    assert schedule.multiplier(0.05) == pytest.approx(0.55)
    assert schedule.multiplier(0.1) == pytest.approx(1.0)
    assert schedule.multiplier(0.55) == pytest.approx(0.5)
    assert schedule.multiplier(1.0) == pytest.approx(0.0, abs=1e-12)


def test_other_powers_and_no_warm_up() -> None:
    assert parse_schedule("cosine_0.2_2_0").multiplier(0.1) == pytest.approx(0.25)
    assert parse_schedule("cosine_0_1_1").multiplier(0) == pytest.approx(1.0)
    assert parse_schedule("cosine_1_1_0").multiplier(1) == pytest.approx(1.0)


@given(st.floats(0, 1), st.floats(0, 4), st.floats(0, 1), st.floats(0, 1))
def test_multipliers_stay_between_nothing_and_the_whole_rate(up: float, power: float, start: float, at: float) -> None:
    assert 0 <= Schedule(up, power, start).multiplier(at) <= 1 + 1e-12


@pytest.mark.parametrize(
    "text", ["", "cosine", "cosine_0.1_1", "cosine_0.1_1_0.1_2", "cosine_2_1_0.1", "step_1_1_1", "cosine_a_1_1"]
)
def test_other_schedules_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not cosine_UP_POWER_START, such as cosine_0.1_1_0.1"):
        parse_schedule(text)


@pytest.mark.parametrize("text", ["tanh", "sigmoid", "0.5", "-0.25", "2", "0.123456789012"])
def test_outputs_are_read_back(text: str) -> None:
    assert str(parse_output(text)) == text
    assert parse_output("0.50") == Output(bias=0.5)


@given(st.floats(0, 1), st.floats(0, 9), st.floats(0, 1))
def test_schedules_are_read_back(up: float, power: float, start: float) -> None:
    assert parse_schedule(str(Schedule(up, power, start))) == Schedule(up, power, start)


def test_a_spec_is_the_headers_record_with_its_strings_parsed() -> None:
    spec = parse_architecture(ARCHITECTURE)
    assert isinstance(spec, DualHeadSpec)
    assert (spec.embed, spec.out_bias) == (PositionalSpec(1.25, 80), Output("tanh"))
    assert spec.architecture() == ARCHITECTURE
    assert kind_of(spec).architecture is Architecture


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"conv_type": "dense"}, "conv_type 'dense' is unknown: choose from pshuffel"),
        ({"act": "sin"}, "act 'sin' is unknown"),
        ({"norm": "layer"}, "norm 'layer' is unknown: choose from none"),
        ({"ks": (1, 4)}, "ks 1_4: kernel sizes must be odd"),
        ({"out_bias": "0.5x"}, "out_bias '0.5x' is neither tanh, sigmoid nor a number"),
        ({"out_bias": "nan"}, "out_bias 'nan' is neither"),
        ({"clip_rank": 0}, "clip_rank 0: a CLIP head has a hidden layer"),
        ({"embed": "what_1"}, "embedding 'what_1' is none of"),
    ],
)
def test_what_is_no_network_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_architecture(replace(ARCHITECTURE, **change))


def test_every_name_has_its_layer() -> None:
    assert set(ACTIVATIONS) == set(blocks.ACTIVATIONS)
    assert (set(UPSAMPLERS), set(RESIDUAL_LAYERS)) == (set(blocks.UPSAMPLERS), set(blocks.RESIDUAL_LAYERS))
    for conv_type in CONV_TYPES:
        for act in ACTIVATIONS:
            assert blocks.NeRVBlock(4, 4, 2, 3, conv_type, act).stride == 2


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_its_modules(kind: Kind) -> None:
    network, coder = import_module(kind.network), import_module(kind.coder)
    assert all(map(callable, (network.load, network.stored_values, coder.plan, coder.encode_frames)))
    assert kind_for(kind.settings()) is kind
