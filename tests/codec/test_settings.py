"""Settings: the family's strings, presets and what is given over them, values out of range, contradictions."""

import json
from dataclasses import asdict, fields
from typing import Any

import pytest

from codec.settings import (
    MODELS,
    PRESETS,
    SIZE_SETTINGS,
    ModelSettings,
    RateSettings,
    Settings,
    SourceSettings,
    TeacherSettings,
    TrainSettings,
)
from codec.specs import LatentSpec, Output, parse_embed, parse_schedule


def test_the_reference_preset_is_the_published_configuration() -> None:
    found = PRESETS["reference"]
    model, train, source = found.model, found.train, found.source
    assert (str(model.embed), model.fc_dim, model.fc_hw) == ("pe_1.25_80", 512, (9, 16))
    assert (model.dec_strds, model.num_blks, model.conv_type) == ((5, 3, 2, 2, 2), (1, 1), ("convnext", "pshuffel"))
    assert (model.reduce, model.lower_width) == (1.2, 32)
    assert (train.epochs, train.batch_size, train.lr, str(train.lr_type)) == (300, 8, 0.001, "cosine_0.1_1_0.1")
    assert (train.loss, train.clip_loss_weight, train.pixel_loss_warmup_epochs, train.eval_freq) == ("L1", 0.1, 50, 10)
    assert (source.crop, source.split, source.grid) == ((640, 1280), (18, 19, 20), (2, 4))


def test_the_hnerv_preset_is_hnerv_as_published() -> None:
    found = PRESETS["hnerv"]
    assert isinstance(found.model.embed, LatentSpec)
    assert (found.train.loss, found.train.optimizer) == ("L2", "adam")
    assert (found.rate.weight_bits, found.rate.embed_bits, found.teacher.clip) == (8, 6, "off")


def test_what_is_given_replaces_the_presets_alone() -> None:
    preset = PRESETS["grid"]
    changed = preset.override(epochs=3, grid=(1, 1), act="relu", clip="off", lr=None)
    assert (changed.train.epochs, changed.source.grid, changed.model.act, changed.teacher.clip) == (
        3,
        (1, 1),
        "relu",
        "off",
    )
    assert changed.train.lr == preset.train.lr
    before, after = asdict(preset), asdict(changed)
    differing = {f"{g}.{k}" for g in before if g != "preset" for k in before[g] if before[g][k] != after[g][k]}
    assert differing == {"train.epochs", "source.grid", "model.act", "teacher.clip"}


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize(
    ("setting", "value"), [("quality", 30.0), ("psnr", 33.0), ("bpp", 0.3), ("size", 5000), ("fc_dim", 24)]
)
def test_a_size_that_is_given_takes_the_place_of_the_presets(name: str, setting: str, value: float) -> None:
    preset = PRESETS[name]
    if not preset.has(setting):
        with pytest.raises(ValueError, match=f"^{setting} is no setting of preset {name}, "):
            preset.override(**{setting: value})
        return
    changed = preset.override(**{setting: value})
    sizes = vars(changed.rate) | vars(changed.model)
    assert {s: sizes[s] for s in SIZE_SETTINGS if sizes.get(s) is not None} == {setting: value}


@pytest.mark.parametrize(
    ("name", "setting", "presets"),
    [
        ("medium", {"epochs": 3}, "grid, hnerv, reference"),
        ("fast", {"minutes": 1.0}, "grid, hnerv, reference"),
        ("slow", {"qat_at": 1.0}, "grid, hnerv, reference"),
        ("medium", {"embed": "pe_1.25_80"}, "grid, hnerv, reference"),
        ("grid", {"quality": 30.0}, "fast, medium, slow"),
        ("hnerv", {"psnr": 30.0}, "fast, medium, slow"),
        ("reference", {"keyint": 30}, "fast, medium, slow"),
    ],
)
def test_what_another_kind_of_network_is_told_is_refused(name: str, setting: dict[str, Any], presets: str) -> None:
    """It would change nothing, and whoever gives it thinks that it does."""
    (label,) = setting
    message = f"^{label} is no setting of preset {name}, whose network is of another kind: .* --preset {presets}$"
    with pytest.raises(ValueError, match=message):
        PRESETS[name].override(**setting)


def test_every_setting_is_one_of_some_preset() -> None:
    for group in (SourceSettings, RateSettings, TrainSettings, TeacherSettings, *MODELS):
        for entry in fields(group):
            assert any(preset.has(entry.name) for preset in PRESETS.values()), entry.name


def test_an_empty_value_unsets_what_a_preset_has() -> None:
    changed = PRESETS["reference"].override(crop=(), fc_hw=())
    assert changed.source.crop is None
    assert changed.model.fc_hw is None


def test_unknown_names_are_a_mistake_in_the_program() -> None:
    with pytest.raises(TypeError, match="no setting is called 'epoch'"):
        Settings().override(epoch=3)


CONTRADICTIONS: list[tuple[dict[str, Any], str]] = [
    ({"bpp": 0.1, "size": 1000}, "bpp and size all set the file's size: give one of them"),
    ({"bpp": 0.1, "fc_dim": 16}, "bpp and fc_dim all set the file's size"),
    ({"epochs": 3, "minutes": 1.0}, "epochs and minutes both set how long training takes"),
    ({"embed": "grid_2.8.1", "fc_hw": (2, 2)}, "fc_hw sizes the stem of a pe embedding"),
    ({"embed": "hnerv_16", "fc_hw": (2, 2)}, "fc_hw sizes the stem of a pe embedding"),
    ({"dec_strds": (2, 2), "num_blks": (1, 1, 1, 1)}, "num_blks names 3 decoder stages, dec_strds 2"),
    ({"split": (3, 2, 4)}, "data_split 3_2_4 must rise"),
    ({"split": (0, 1, 2)}, "data_split 0_1_2 must rise"),
]
OUT_OF_RANGE: list[tuple[dict[str, Any], str]] = [
    ({"epochs": 0}, "epochs 0 is out of range: from 1"),
    ({"batch_size": 0}, "batch_size 0 is out of range"),
    ({"lr": float("nan")}, "lr nan is out of range"),
    ({"lr": -1.0}, "lr -1.0 is out of range"),
    ({"prune": 1.0}, "prune 1.0 is out of range: from 0 to 0.99"),
    ({"bpp": 0.0}, "bpp 0.0 is out of range"),
    ({"weight_bits": 9.0}, "quant_model_bit 9.0 is out of range: from 1 to 8"),
    ({"grid": (0, 4)}, "grid 0 is out of range: from 1 to 64"),
    ({"grid": (2, 65)}, "grid 65 is out of range"),
    ({"resize": 0}, "resize_list 0 is out of range"),
    ({"resize": (48, 10**6)}, "resize_list 1000000 is out of range"),
    ({"crop": (0, 5)}, "crop_list 0 is out of range"),
    ({"segment": 0}, "segment 0 is out of range"),
    ({"dec_strds": (2, 17), "num_blks": (1, 1)}, "dec_strds 17 is out of range: from 1 to 16"),
    ({"num_blks": (1, 0)}, "num_blks 1_0 has a decoder stage without a block"),
    ({"ks": (0, 1, 4)}, "ks .*4: kernel sizes must be odd"),
    ({"ks": (2, 1, 3)}, "ks 2_1_3: kernel sizes must be odd"),
    ({"reduce": 0.0}, "reduce 0.0 is out of range"),
    ({"seed": -1}, "seed -1 is out of range"),
    ({"fc_dim": 10**6}, "fc_dim 1000000 is out of range"),
    ({"epochs": 2.5}, "epochs 2.5 is not a whole number"),
    ({"epochs": True}, "epochs True is not a whole number"),
    ({"epochs": "many"}, "'many' is not a whole number"),
    ({"lr": (1,)}, r"lr \(1,\) is not a number"),
    ({"grid": 3}, "grid 3 is not whole numbers such as 2x4"),
    ({"grid": (1, 2, 3)}, r"grid '\(1, 2, 3\)' is not 2 whole numbers such as 2x4"),
    ({"grid": (1.0, 2)}, "is not whole numbers"),
    ({"dec_strds": (1,) * 17}, "is not 1 or more whole numbers"),
    ({"conv_type": ("conv",)}, "is not 2 names, such as 'convnext pshuffel'"),
    ({"embed": 3}, "embed 3 is not of a kind"),
    ({"compile": 1}, "compile 1 is neither True nor False"),
    ({"clip_model": ""}, "clip_model '' is no name"),
]
UNKNOWN: list[tuple[dict[str, Any], str]] = [
    ({"loss": "L3"}, "loss 'L3' is unknown: choose from L1, L2, SSIM, Fusion1"),
    ({"optimizer": "sgd"}, "optimizer 'sgd' is unknown: choose from adam, muon"),
    ({"act": "sin"}, "act 'sin' is unknown"),
    ({"norm": "layer"}, "norm 'layer' is unknown"),
    ({"conv_type": ("convnext", "dense")}, "conv_type 'dense' is unknown: choose from pshuffel"),
    ({"conv_type": ("dense", "conv")}, "conv_type 'dense' is unknown"),
    ({"embed": "siren_3"}, "embedding 'siren_3' is none of"),
    ({"lr_type": "step"}, "lr type 'step' is not cosine_UP_POWER_START"),
    ({"out_bias": "half"}, "out_bias 'half' is neither tanh, sigmoid nor a number"),
    ({"clip": "maybe"}, "clip 'maybe' is unknown: choose from on, auto, off"),
]


@pytest.mark.parametrize(("values", "message"), CONTRADICTIONS + OUT_OF_RANGE + UNKNOWN)
def test_what_cannot_be_meant_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Settings().override(**values)


def test_settings_made_without_a_preset_are_checked_too() -> None:
    with pytest.raises(ValueError, match="bpp and fc_dim all set the file's size"):
        Settings(model=ModelSettings(fc_dim=16), rate=RateSettings(bpp=0.1)).check()
    Settings(source=SourceSettings(resize=64)).check()


def test_values_are_given_as_text_or_as_what_it_stands_for() -> None:
    text = {"embed": "grid_2.8.1", "lr_type": "cosine_0.2_1_0", "out_bias": "tanh", "grid": "1x3", "resize": "64"}
    text |= {"size": "300k", "epochs": "7", "conv_type": "conv pshuffel", "crop": "-1", "compile": "yes"}
    values: dict[str, Any] = {
        "embed": parse_embed("grid_2.8.1"), "lr_type": parse_schedule("cosine_0.2_1_0"), "out_bias": Output("tanh"),
        "grid": (1, 3), "resize": 64, "size": 300_000, "epochs": 7, "conv_type": ("conv", "pshuffel"), "crop": (),
        "compile": True,
    }  # fmt: skip
    plain = PRESETS["reference"].override(fc_hw="auto")
    assert plain.override(**text) == plain.override(**values) != plain


@pytest.mark.parametrize("name", PRESETS)
def test_what_is_spelled_gives_the_settings_back(name: str) -> None:
    spelled = json.loads(json.dumps(PRESETS[name].spelled()))
    assert spelled.pop("preset") == name
    given = {k: tuple(v) if isinstance(v, list) else v for group in spelled.values() for k, v in group.items()}
    unset = {k: () for k, v in given.items() if v is None and k not in (*SIZE_SETTINGS, "minutes")}
    plain = Settings(name, model=type(PRESETS[name].model)())
    assert plain.override(**given | unset) == PRESETS[name]
