"""What an encode is told: small frozen groups of settings, and the presets.

A setting stands in one place, its field: default, legal values, spelling and help. The command line, the checks and
`nvcodec encode --help` are made from there. Values are parsed where they are given, and are no strings after that.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace
from typing import Any

from codec.options import Bytes, Choice, Choices, Flag, Number, Setting, Spelled, Text, Whole, Wholes, declared, setting
from codec.specs import (
    ACTIVATIONS,
    CONV_TYPES,
    LOSSES,
    NORMS,
    OPTIMIZERS,
    EmbeddingSpec,
    LatentSpec,
    Output,
    PositionalSpec,
    Schedule,
    check_layers,
    parse_embed,
    parse_output,
    parse_schedule,
)

SHARE = Number(0, 1)


@dataclass(frozen=True)
class SourceSettings:
    """Which frames, and how they are cut."""

    title = "Source"

    grid: tuple[int, int] = setting((2, 4), Wholes(1, 64, "RxC", "2x4", 2, 2), "Patches: rows x columns, such as 2x4.")
    crop: tuple[int, int] | None = setting(
        None,
        Wholes(1, 2**16, "H_W", "640_1280, height and width", 2, 2, unset="-1"),
        "Centre crop: 640_1280; -1 for none.",
        "--crop-list",
    )
    resize: tuple[int, int] | int | None = setting(
        None,
        Wholes(1, 2**14, "H_W", "360_640, height and width", 2, 2, unset="-1", alone=True),
        "Resize: 360_640, or the shorter side; -1 for none.",
        "--resize-list",
    )
    split: tuple[int, int, int] = setting(
        (1, 1, 1),
        Wholes(0, 2**31, "A_B_C", "18_19_20", 3, 3),
        "Of every C frames A train, from B on validate.",
        "--data-split",
    )
    segment: int | None = setting(
        None, Whole(1, 10**6), "Frames per network; by default the whole clip up to a sensible length."
    )


@dataclass(frozen=True)
class RateSettings:
    """Prune, quantize, and how large the file should be."""

    title = "Rate"

    quality: float | None = setting(
        None, Number(0, 63), "Of fast, medium and slow: 0 to 63; 4.5 more double what an error weighs against a bit."
    )
    psnr: float | None = setting(None, Number(5, 60), "Target, likewise: mean PSNR in dB, met from above.")
    bpp: float | None = setting(
        None,
        Number(1e-6, 24),
        "Target: bits per pixel of the whole file. A ladder of rates is this at several values.",
    )
    size: int | None = setting(None, Bytes(1, 2**40), "Target: bytes of the whole file, such as 300k.")
    prune: float = setting(0.0, Number(0, 0.99), "Share of the weights set to zero, smallest first, such as 0.15.")
    # a step is this many bits below a channel's largest value
    weight_bits: float = setting(5.0, Number(1, 8), "Bits of a weight before entropy coding.", "--quant-model-bit")
    embed_bits: float = setting(4.0, Number(1, 8), "Bits of an embedding value, likewise.", "--quant-embed-bit")
    clip_bits: float = setting(5.0, Number(1, 8), "Bits of a CLIP head weight, likewise.", "--quant-clip-bit")
    clip_budget: float = setting(0.05, SHARE, "Share of the file that CLIP features take at most.")
    prune_at: float = setting(0.5, SHARE, "Share of training after which weights are pruned.")
    qat_at: float = setting(
        0.7, SHARE, "Share of training after which it goes on quantized; 1: only quantized at its end."
    )


@dataclass(frozen=True)
class TrainSettings:
    """The overfitting."""

    title = "Training"

    epochs: int = setting(100, Whole(1, 10**6), "Times that every frame is trained on.")
    minutes: float | None = setting(
        None, Number(0.01, 10**6), "Train each segment for this long instead of a number of epochs."
    )
    # None: the patches of two frames; grids train on whole frames
    batch_size: int | None = setting(None, Whole(1, 10**6), "Patches a step.", "--batch-size", "--batchSize")
    lr: float = setting(0.01, Number(1e-9, 10), "Peak learning rate.")
    lr_type: Schedule = setting(
        parse_schedule("cosine_0.1_1_0.1"),
        Spelled(parse_schedule),
        "Its schedule: cosine_UP_POWER_START, such as cosine_0.1_1_0.1.",
    )
    optimizer: str = setting("muon", Choice(OPTIMIZERS), f"{' or '.join(OPTIMIZERS)}.")
    loss: str = setting("L2", Choice(tuple(LOSSES)), "L1, L2, SSIM, or Fusion1 to Fusion12.")
    clip_loss_weight: float = setting(0.1, Number(0, 100), "Weight of 1 - cosine beside the pixel loss.")
    pixel_loss_warmup_epochs: int = setting(0, Whole(0, 10**6), "Epochs before the CLIP term counts.")
    eval_freq: int = setting(50, Whole(1, 10**6), "Epochs from one evaluation to the next.")
    seed: int = setting(1, Whole(0, 2**32 - 1), "Of the initial weights and the order of frames.")
    compile: bool = setting(False, Flag(), "Use torch.compile where it works.")


@dataclass(frozen=True)
class ModelSettings:
    """The network. None means: chosen by the preset from the frame size and the size asked for."""

    title = "Network"

    # None: feature grids sized for the target
    embed: EmbeddingSpec | None = setting(
        None, Spelled(parse_embed), "pe_BASE_LEVELS (pe_1.25_80), grid_C.S.T_..., or hnerv_DIM."
    )
    fc_dim: int | None = setting(
        None, Whole(1, 8192), "Channels of the stem, instead of --bpp or --size, which choose it."
    )
    fc_hw: tuple[int, int] | None = setting(
        None,
        Wholes(1, 4095, "H_W", "9_16, height and width", 2, 2, unset="auto"),
        "Height and width of a pe stem's map: auto, the smallest that covers a patch, or 9_16.",
    )
    # None: HNeRV's strides that fit the tile best
    dec_strds: tuple[int, ...] | None = setting(
        (1, 2), Wholes(1, 16, "LIST", "5_3_2", 1, 16), "Upsampling of each stage: '5 3 2 2 2'.", optional=True
    )
    num_blks: tuple[int, ...] = setting(
        (1, 1),
        Wholes(0, 64, "ENC_DEC", "1_1, or 1_1_2 with a number for each decoder stage", 2, 17),
        "Blocks per stage: 1_1, or one for each decoder stage 1_1_2.",
    )
    conv_type: tuple[str, str] = setting(
        ("convnext", "residual"),
        Choices(CONV_TYPES, 2, "ENC DEC", "'convnext pshuffel', encoder and decoder"),
        f"Two of {', '.join(CONV_TYPES)}: encoder, decoder.",
    )
    reduce: float = setting(
        -1.0, Number(0.1, 16, also=-1), "Each stage divides the channels by this; -1: by the root of its stride."
    )
    lower_width: int = setting(8, Whole(1, 8192), "Fewest channels of a stage.")
    act: str = setting("gelu", Choice(ACTIVATIONS), f"Activation: {', '.join(ACTIVATIONS)}.")
    norm: str = setting("none", Choice(NORMS), f"{', '.join(NORMS)}.")
    ks: tuple[int, int, int] = setting(
        (0, 3, 3),
        Wholes(0, 63, "ENC_LOW_HIGH", "0_1_5", 3, 3),
        "Kernel sizes: encoder, first decoder stage, largest: 0_1_5.",
    )
    head_strd: int = setting(4, Whole(1, 16), "Pixel shuffle of the RGB head.")
    out_bias: Output = setting(
        Output(bias=0.5), Spelled(parse_output), "RGB head's output: tanh, sigmoid, or a number to add."
    )
    clip_rank: int = setting(8, Whole(1, 4096), "Width of the CLIP head's hidden layer.")

    def check(self) -> None:
        """Raise ValueError for settings that contradict each other."""
        encoder_ks, *decoder_ks = self.ks  # HNeRV's 0 for the encoder stands for 1
        check_layers(self.conv_type[1], self.act, self.norm, (encoder_ks or 1, *decoder_ks))
        if self.fc_hw is not None and (self.embed is None or not self.embed.stem_spreads):
            raise ValueError(
                "fc_hw sizes the stem of a pe embedding, the others have a map of their own: give fc_hw auto"
            )
        if min(self.num_blks[1:]) < 1:
            raise ValueError(f"num_blks {'_'.join(map(str, self.num_blks))} has a decoder stage without a block")
        if self.dec_strds is not None and len(self.num_blks) not in (2, 1 + len(self.dec_strds)):
            raise ValueError(
                f"num_blks names {len(self.num_blks) - 1} decoder stages, dec_strds {len(self.dec_strds)}: "
                "give one number for all, or one for each"
            )


@dataclass(frozen=True)
class PredictiveSettings:
    """The network that predicts frames from decoded ones, and how hard its encoder tries."""

    title = "Prediction (fast, medium, slow)"

    anchor: tuple[int, ...] = setting(
        (8,), Wholes(1, 128, "LIST", "8 or 8_16", 1, 8), "Frames between anchors, powers of two; of several the best."
    )
    level_drop: tuple[int, ...] = setting(
        (100,),
        Wholes(0, 200, "LIST", "100 or 80_100", 1, 7),
        "By how much less well frames are coded that fewer are made from, % of the usual; of several the best.",
    )
    keyint: int = setting(250, Whole(1, 10**6), "Most frames from one key frame to the next.")
    motion_turns: int = setting(
        2, Whole(1, 100), "Times that motion is refined, and its squares settled; these twice at most."
    )
    temporal_filter: tuple[int, ...] = setting(
        (0, 100),
        Wholes(0, 400, "LIST", "0 or 50_100", 1, 7),
        "How strongly frames that others are made from are averaged with frames around, % of the usual; of several the "
        "best.",
    )
    trial: tuple[int, int, int] = setting(
        (17, 33, 65),
        Wholes(0, 10**6, "LIST", "17_33_65", 3, 3),
        "First frames of a segment that are encoded to find what a dB takes, how strong the filter is to be, and the "
        "rest; 0: all.",
    )
    base: str | None = setting(None, Text(), "A base network's file; by default the one that ships.")

    def check(self) -> None:
        """Raise ValueError for settings that contradict each other."""
        if not all(a & (a - 1) == 0 for a in self.anchor):
            raise ValueError(f"anchor {'_'.join(map(str, self.anchor))}: give powers of two")


MODELS = (ModelSettings, PredictiveSettings)
# Settings of shared groups that not every kind of network looks at
OVERFITTING = {entry.name for entry in fields(TrainSettings)} | {
    "prune", "weight_bits", "embed_bits", "clip_bits", "prune_at", "qat_at"
}  # fmt: skip
PREDICTING = {"quality", "psnr"}


@dataclass(frozen=True)
class TeacherSettings:
    """The CLIP image tower."""

    title = "Teacher"

    clip: str = setting(
        "auto", Choice(("on", "auto", "off")), "CLIP features: on, off, or auto: where weights are there."
    )
    clip_model: str = setting("ViT-B-32", Text(), "open_clip's name of the model, or its configuration file.")
    clip_pretrained: str = setting(
        "laion2b_s34b_b79k", Text(), "open_clip's name of the weights, or a checkpoint file."
    )


@dataclass(frozen=True)
class Settings:
    """All of it, under the name of the preset it started from."""

    preset: str = "grid"
    source: SourceSettings = field(default_factory=SourceSettings)
    rate: RateSettings = field(default_factory=RateSettings)
    train: TrainSettings = field(default_factory=TrainSettings)
    model: Any = field(default_factory=ModelSettings)  # of the kind of its network: one of MODELS
    teacher: TeacherSettings = field(default_factory=TeacherSettings)

    def override(self, **values: Any) -> Settings:
        """A copy with fields of any group replaced by name (`epochs=3`, `grid=(1, 1)`), as values or as text.

        A None value is left out; () makes a field None, as where a preset crops and nothing is to be cropped.
        One of SIZE_SETTINGS takes the place of whichever the preset has. Raises TypeError for a name that no group has,
        ValueError for a value out of range and for values that contradict each other.
        """
        known = {entry.name: (group, entry) for group, entry in self._declared()}
        given = {name: value for name, value in values.items() if value is not None}
        for name in sorted(given.keys() - known.keys()):
            if not any(name in kind.__dataclass_fields__ for kind in MODELS):
                raise TypeError(f"no setting is called '{name}'")
        for name in sorted(given):
            if not self.has(name):
                others = ", ".join(preset for preset, settings in PRESETS.items() if settings.has(name))
                raise ValueError(
                    f"{name} is no setting of preset {self.preset}, whose network is of another kind: it is one of "
                    f"--preset {others}"
                )
        if {"epochs", "minutes"} <= given.keys():
            raise ValueError("epochs and minutes both set how long training takes: give one of them")
        given = {name: known[name][1].read(value) for name, value in given.items()}
        if any(name in given for name in SIZE_SETTINGS):
            given = {name: None for name in SIZE_SETTINGS if name in known} | given
        changed: dict[str, dict[str, Any]] = {}
        for name, value in given.items():
            changed.setdefault(known[name][0], {})[name] = value
        result = replace(self, **{g: replace(getattr(self, g), **v) for g, v in changed.items()})
        result.check()
        return result

    def has(self, name: str) -> bool:
        """Whether an encode with this kind of network looks at the setting of that name."""
        unused = OVERFITTING if isinstance(self.model, PredictiveSettings) else PREDICTING
        return name not in unused and any(name == entry.name for _, entry in self._declared())

    def check(self) -> None:
        """Raise ValueError for values out of range and for settings that contradict each other."""
        for group, entry in self._declared():
            entry.check(getattr(getattr(self, group), entry.name))
        sizes = {
            name: getattr(getattr(self, g), name) for g, e in self._declared() if (name := e.name) in SIZE_SETTINGS
        }
        if len(asked := [name for name in SIZE_SETTINGS if sizes.get(name) is not None]) > 1:
            raise ValueError(f"{' and '.join(asked)} all set the file's size: give one of them")
        if isinstance(self.model, ModelSettings) and (self.rate.quality, self.rate.psnr) != (None, None):
            raise ValueError(f"quality and psnr are for predictive presets: give bpp or size to preset {self.preset}")
        self.model.check()
        a, b, c = self.source.split
        if not 0 < a <= b <= c:
            raise ValueError(f"data_split {a}_{b}_{c} must rise: of every c frames a train, those from b on validate")

    def spelled(self) -> dict[str, Any]:
        """What the encode looks at, by group, as JSON can hold it: values with a spelling of their own as text."""
        found: dict[str, Any] = {"preset": self.preset}
        for group, entry in self._declared():
            if not self.has(entry.name):
                continue
            value = getattr(getattr(self, group), entry.name)
            spelled = value if value is None or not isinstance(entry.kind, Spelled) else str(value)
            found.setdefault(group, {})[entry.name] = spelled
        return found

    def _declared(self) -> Iterator[tuple[str, Setting]]:
        """Every setting with the name of its group."""
        return ((group, declared(entry)) for group in GROUPS for entry in fields(getattr(self, group)))


GROUPS = ("source", "rate", "train", "model", "teacher")  # of Settings, in the order of help
SIZE_SETTINGS = ("quality", "psnr", "bpp", "size", "fc_dim")  # each alone decides how large the file becomes

QUALITY = 48.0  # where nothing is asked

HNERV_MODEL = ModelSettings(
    embed=LatentSpec(16),
    dec_strds=None,
    conv_type=("convnext", "pshuffel"),
    reduce=1.2,
    lower_width=12,
    ks=(0, 1, 5),
    head_strd=1,
    out_bias=Output("tanh"),
)
REFERENCE_MODEL = ModelSettings(
    embed=PositionalSpec(1.25, 80),
    fc_dim=512,
    fc_hw=(9, 16),
    dec_strds=(5, 3, 2, 2, 2),
    conv_type=("convnext", "pshuffel"),
    reduce=1.2,
    lower_width=32,
    ks=(0, 1, 5),
    head_strd=1,
    out_bias=Output("tanh"),
    clip_rank=512,
)

PRESETS = {
    "fast": Settings(
        "fast", model=PredictiveSettings(anchor=(8, 16, 32), motion_turns=1), rate=RateSettings(quality=QUALITY)
    ),
    "medium": Settings(
        "medium",
        model=PredictiveSettings(anchor=(4, 8, 16, 32, 64), level_drop=(80, 100), trial=(65, 33, 65)),
        rate=RateSettings(quality=QUALITY),
    ),
    "slow": Settings(
        "slow",
        model=PredictiveSettings(
            anchor=(4, 8, 16, 32, 64, 128),
            level_drop=(60, 80, 100, 120),
            temporal_filter=(0, 50, 100, 200),
            trial=(0, 65, 0),
        ),
        rate=RateSettings(quality=QUALITY),
    ),
    "grid": Settings("grid", train=TrainSettings(epochs=110), rate=RateSettings(bpp=0.04)),
    "hnerv": Settings(
        "hnerv",
        model=HNERV_MODEL,
        train=TrainSettings(epochs=300, batch_size=2, lr=0.001, optimizer="adam", eval_freq=30),
        rate=RateSettings(bpp=0.05, weight_bits=8, embed_bits=6, qat_at=1.0),
        source=SourceSettings(grid=(1, 1)),
        teacher=TeacherSettings(clip="off"),
    ),
    "reference": Settings(
        "reference",
        model=REFERENCE_MODEL,
        train=TrainSettings(
            epochs=300,
            batch_size=8,
            lr=0.001,
            optimizer="adam",
            loss="L1",
            pixel_loss_warmup_epochs=50,
            eval_freq=10,
        ),
        rate=RateSettings(weight_bits=8, embed_bits=8, clip_bits=8, clip_budget=1.0),  # of the published width
        source=SourceSettings(crop=(640, 1280), split=(18, 19, 20)),
    ),
}
DEFAULT_PRESET = "medium"
PRESETS_HELP = (
    "fast, medium, slow: frames predicted from frames, by time. grid: a network overfitted to the video, every frame "
    "on its own. hnerv: HNeRV as published. reference: the published patch dual head."
)
