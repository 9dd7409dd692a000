"""What an encode is told: small frozen groups of settings, the presets, and the family's strings parsed once.

Strings stay strings only where the file stores them (`embed`); all else is parsed here, at the edge.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields, replace
from typing import Any

from codec.specs import CONV_TYPES, LOSSES, OPTIMIZERS, check_layers, parse_embed, parse_output, parse_schedule


@dataclass(frozen=True)
class ModelSettings:
    """The network. None means: chosen by the preset from the frame size and the size asked for."""

    embed: str | None = None  # None: feature grids sized for the target
    fc_dim: int | None = None  # channels of the stem; None: as wide as the target size allows
    fc_hw: tuple[int, int] | None = None  # None: the smallest that covers a patch
    dec_strds: tuple[int, ...] | None = (1, 2)  # None: HNeRV's strides that fit the tile best
    num_blks: tuple[int, ...] = (1, 1)  # blocks per stage: encoder, decoder; or encoder, then every decoder stage
    conv_type: tuple[str, str] = ("convnext", "residual")  # encoder, decoder
    reduce: float = -1.0  # each stage divides the channels by this; -1: by the square root of its stride
    lower_width: int = 8  # fewest channels of a stage
    act: str = "gelu"
    norm: str = "none"
    ks: tuple[int, int, int] = (0, 3, 3)  # kernel: encoder (its first), decoder's first stage, decoder's largest
    head_strd: int = 4  # pixel shuffle of the RGB head
    out_bias: str = "0.5"  # tanh, sigmoid, or a number added to the RGB head's output
    clip_rank: int = 8  # width of the CLIP head's hidden layer

    def check(self) -> None:
        """Raise ValueError for values out of range and for settings that contradict each other."""
        if self.embed is not None:
            parse_embed(self.embed)
        if self.conv_type[0] not in CONV_TYPES:
            raise ValueError(
                f"conv_type (encoder) '{self.conv_type[0]}' is unknown: choose from {', '.join(CONV_TYPES)}"
            )
        _check_ranges(
            ("fc_dim", self.fc_dim, 1, 8192),
            ("lower_width", self.lower_width, 1, 8192),
            ("clip_rank", self.clip_rank, 1, 4096),
            ("head_strd", self.head_strd, 1, 16),
            ("fc_hw", self.fc_hw, 1, 4095),
            ("dec_strds", self.dec_strds, 1, 16),
            ("num_blks (encoder)", self.num_blks[0], 0, 64),
            ("num_blks (decoder)", self.num_blks[1:], 1, 64),
            ("ks", self.ks, 0, 63),
            ("reduce", 1 if self.reduce == -1 else self.reduce, 0.1, 16),
        )
        encoder_ks, *decoder_ks = self.ks  # HNeRV's 0 for the encoder stands for 1
        check_layers(self.conv_type[1], self.act, self.norm, (encoder_ks or 1, *decoder_ks))
        parse_output(self.out_bias)
        if self.fc_hw is not None and (self.embed is None or not self.embed.startswith("pe_")):
            raise ValueError(
                "fc_hw sizes the stem of a pe embedding, the others have a map of their own: give fc_hw auto"
            )
        if self.dec_strds is not None and len(self.num_blks) not in (2, 1 + len(self.dec_strds)):
            raise ValueError(
                f"num_blks names {len(self.num_blks) - 1} decoder stages, dec_strds {len(self.dec_strds)}: "
                "give one number for all, or one for each"
            )


@dataclass(frozen=True)
class PredictiveSettings:
    """The network that predicts frames from decoded ones, and how hard its encoder tries."""

    anchor: tuple[int, ...] = (8,)  # frames between anchors, powers of two; of several the best is kept
    keyint: int = 96  # most frames from one key frame to the next
    motion_steps: int = 8  # of refinement
    base: str | None = None  # the file of a base; None: the one that ships
    clip_rank: int = 8  # width of the CLIP head's hidden layer

    def check(self) -> None:
        """Raise ValueError for values out of range."""
        if not self.anchor or not all(1 <= a <= 64 and a & (a - 1) == 0 for a in self.anchor):
            raise ValueError(f"anchor {'_'.join(map(str, self.anchor))}: give powers of two from 1 to 64")
        _check_ranges(
            ("keyint", self.keyint, 1, 10**6),
            ("motion_steps", self.motion_steps, 0, 100),
            ("clip_rank", self.clip_rank, 1, 4096),
        )


@dataclass(frozen=True)
class TrainSettings:
    """The overfitting."""

    epochs: int = 100
    minutes: float | None = None  # train for this long instead of a number of epochs
    batch_size: int | None = None  # patches a step; None: those of two frames; grids train on whole frames
    lr: float = 0.01
    lr_type: str = "cosine_0.1_1_0.1"
    optimizer: str = "muon"
    loss: str = "L2"
    clip_loss_weight: float = 0.1
    pixel_loss_warmup_epochs: int = 0  # epochs before the CLIP term counts
    eval_freq: int = 50  # epochs from one evaluation to the next
    seed: int = 1
    compile: bool = False


@dataclass(frozen=True)
class RateSettings:
    """Prune, quantize, and how large the file should be."""

    quality: float | None = None  # 0 to 63, of the predictive network: lambda doubles every 4.5
    psnr: float | None = None  # target, dB, likewise
    bpp: float | None = None  # target, bits per pixel of the whole file
    size: int | None = None  # target, bytes of the whole file
    prune: float = 0.0  # share of the weights set to zero
    weight_bits: float = 5.0  # a step is this many bits below a channel's largest value
    embed_bits: float = 4.0
    clip_bits: float = 5.0
    prune_at: float = 0.5  # share of training after which weights are pruned
    qat_at: float = 0.7  # share of training after which it goes on quantized; 1: quantize at the end only


@dataclass(frozen=True)
class SourceSettings:
    """Which frames, and how they are cut."""

    crop: tuple[int, int] | None = None  # centre crop: height, width in pixels
    resize: tuple[int, int] | int | None = None  # height, width; or the shorter side
    split: tuple[int, int, int] = (1, 1, 1)  # of every c frames the first a train, those from b on validate
    grid: tuple[int, int] = (2, 4)  # rows, columns of patches
    segment: int | None = None  # frames per network; None: the whole clip up to a sensible length


@dataclass(frozen=True)
class TeacherSettings:
    """The CLIP image tower."""

    clip: str = "auto"  # on, auto, off
    clip_model: str = "ViT-B-32"
    clip_pretrained: str = "laion2b_s34b_b79k"  # open_clip's tag, or the path of a checkpoint


@dataclass(frozen=True)
class Settings:
    """All of it, under the name of the preset it started from."""

    preset: str = "medium"
    model: ModelSettings | PredictiveSettings = field(default_factory=ModelSettings)
    train: TrainSettings = field(default_factory=TrainSettings)
    rate: RateSettings = field(default_factory=RateSettings)
    source: SourceSettings = field(default_factory=SourceSettings)
    teacher: TeacherSettings = field(default_factory=TeacherSettings)

    def override(self, **values: Any) -> Settings:
        """A copy with fields of any group replaced by name (`epochs=3`, `grid=(1, 1)`).

        A None value is left out; () makes a field None, as where a preset crops and nothing is to be cropped.
        One of SIZE_SETTINGS takes the place of whichever the preset has. Raises TypeError for a name that no group has,
        ValueError for a value out of range and for values that contradict each other.
        """
        groups = {g: {f.name for f in fields(getattr(self, g))} for g in GROUPS}
        given = {name: None if value == () else value for name, value in values.items() if value is not None}
        if {"epochs", "minutes"} <= given.keys():
            raise ValueError("epochs and minutes both set how long training takes: give one of them")
        if any(name in given for name in SIZE_SETTINGS):
            given = {n: None for n in SIZE_SETTINGS if any(n in names for names in groups.values())} | given
        changed: dict[str, dict[str, Any]] = {}
        for name, value in given.items():
            group = next((g for g in GROUPS if name in groups[g]), None)
            if group is None and name in {f.name for kind in MODELS for f in fields(kind)}:
                raise ValueError(
                    f"{name} is no setting of the network of --preset {self.preset}: choose another preset"
                )
            if group is None:
                raise TypeError(f"no setting is called '{name}'")
            changed.setdefault(group, {})[name] = value
        result = replace(self, **{g: replace(getattr(self, g), **v) for g, v in changed.items()})
        result.check()
        return result

    def check(self) -> None:
        """Raise ValueError for values out of range and for settings that contradict each other."""
        model, train, rate, source = self.model, self.train, self.rate, self.source
        model.check()
        parse_schedule(train.lr_type)
        for name, value, allowed in (
            ("loss", train.loss, LOSSES),
            ("optimizer", train.optimizer, OPTIMIZERS),
            ("clip", self.teacher.clip, ("on", "auto", "off")),
        ):
            if value not in allowed:
                raise ValueError(f"{name} '{value}' is unknown: choose from {', '.join(allowed)}")
        _check_ranges(
            ("epochs", train.epochs, 1, 10**6),
            ("batch_size", train.batch_size, 1, 10**6),
            ("lr", train.lr, 1e-9, 10.0),
            ("eval_freq", train.eval_freq, 1, 10**6),
            ("minutes", train.minutes, 0.01, 10**6),
            ("clip_loss_weight", train.clip_loss_weight, 0, 100),
            ("pixel_loss_warmup_epochs", train.pixel_loss_warmup_epochs, 0, 10**6),
            ("seed", train.seed, 0, 2**32 - 1),
            ("prune", rate.prune, 0, 0.99),
            ("weight_bits", rate.weight_bits, 1, 8),
            ("embed_bits", rate.embed_bits, 1, 8),
            ("clip_bits", rate.clip_bits, 1, 8),
            ("prune_at", rate.prune_at, 0, 1),
            ("qat_at", rate.qat_at, 0, 1),
            ("quality", rate.quality, 0, 63),
            ("psnr", rate.psnr, 5, 60),
            ("bpp", rate.bpp, 1e-6, 24),
            ("size", rate.size, 1, 2**40),
            ("segment", source.segment, 1, 10**6),
            ("grid", source.grid, 1, 64),
            ("crop_list", source.crop, 1, 2**16),
            ("resize_list", source.resize, 1, 2**14),
        )
        values = [getattr(rate, n, None) if n != "fc_dim" else getattr(model, n, None) for n in SIZE_SETTINGS]
        sizes = [n for n, v in zip(SIZE_SETTINGS, values, strict=True) if v is not None]
        if len(sizes) > 1:
            raise ValueError(f"{' and '.join(sizes)} all set the file's size: give one of them")
        if isinstance(model, ModelSettings) and {"quality", "psnr"} & set(sizes):
            raise ValueError(f"{sizes[0]} is of the predictive network: give bpp or size to --preset {self.preset}")
        a, b, c = source.split
        if not 0 < a <= b <= c:
            raise ValueError(f"data_split {a}_{b}_{c} must rise: of every c frames a train, those from b on validate")


def _check_ranges(*ranges: tuple[str, Any, float, float]) -> None:
    """Raise ValueError for a number, or one of several, outside its range. (name, value, lowest, highest) each."""
    for name, numbers, low, high in ranges:
        for number in numbers if isinstance(numbers, tuple) else (numbers,):
            if number is not None and not low <= number <= high:
                raise ValueError(f"{name} {number} is out of range: from {low} to {high}")


MODELS = (ModelSettings, PredictiveSettings)
GROUPS = ("model", "train", "rate", "source", "teacher")
SIZE_SETTINGS = ("quality", "psnr", "bpp", "size", "fc_dim")  # each alone decides how large the file becomes

QUALITY = 44.0  # of a file, where nothing is asked: about 32 dB on detailed, 38 dB on plain content
HNERV_MODEL = ModelSettings(
    embed="hnerv_16",
    dec_strds=None,
    conv_type=("convnext", "pshuffel"),
    reduce=1.2,
    lower_width=12,
    ks=(0, 1, 5),
    head_strd=1,
    out_bias="tanh",
)
REFERENCE_MODEL = ModelSettings(
    embed="pe_1.25_80",
    fc_dim=512,
    fc_hw=(9, 16),
    dec_strds=(5, 3, 2, 2, 2),
    conv_type=("convnext", "pshuffel"),
    reduce=1.2,
    lower_width=32,
    ks=(0, 1, 5),
    head_strd=1,
    out_bias="tanh",
    clip_rank=512,
)

PRESETS = {
    "fast": Settings("fast", model=PredictiveSettings(), rate=RateSettings(quality=QUALITY)),
    "medium": Settings(
        "medium", model=PredictiveSettings(anchor=(8, 16), motion_steps=12), rate=RateSettings(quality=QUALITY)
    ),
    "slow": Settings(
        "slow", model=PredictiveSettings(anchor=(4, 8, 16, 32), motion_steps=20), rate=RateSettings(quality=QUALITY)
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
        rate=RateSettings(weight_bits=8, embed_bits=8, clip_bits=8),
        source=SourceSettings(crop=(640, 1280), split=(18, 19, 20)),
    ),
}


def parse_numbers(text: str) -> tuple[int, ...]:
    """Whole numbers with spaces, commas, underscores or an x between: '5 3 2', '5,3,2', '5_3_2', '2x4'."""
    parts = [p for p in re.split(r"[\s,_x]+", text.strip()) if p]
    try:
        return tuple(int(p) for p in parts)
    except ValueError:
        raise ValueError(f"'{text}' is not a list of whole numbers such as 5_3_2 or '5 3 2'") from None


def parse_size(text: str) -> int:
    """Bytes: '300k' -> 300000, '1.5M' -> 1500000, '2000' -> 2000."""
    match = re.fullmatch(r"([0-9]{1,15}(?:\.[0-9]{1,15})?)\s*([kKmMgG]?)i?[bB]?", text.strip())
    if not match:
        raise ValueError(f"'{text}' is not a size such as 300k, 1.5M or 200000")
    return round(float(match[1]) * {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}[match[2].lower()])
