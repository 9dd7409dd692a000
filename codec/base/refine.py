"""The filters of a base, trained once more on what an encoder makes with it: the trunk and the loop filter.

Training walks along scenes: it does not code frames towards their averages over time, choose how blocks overlap and in
what transforms cells are, or leave cells as predicted. So what comes before the filters is otherwise there than in a
file. Here frames are encoded as files have them, and the filters alone move, towards what those frames were coded
towards, where they hold residuals. Nothing else of the base changes.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from codec.atomic import atomic_output
from codec.base.corpus import Corpus
from codec.base.crops import BLOCKS, Crop, CropSettings, collect
from codec.base.model import Codec, load_codec
from codec.base.scenes import Frame, Say
from codec.errors import BaseError
from codec.network.predictive.base_file import read_base, write_base
from codec.network.predictive.store import digest_of
from codec.network.predictive.transform import BLOCK, PIXEL
from codec.video import frames as read_frames

LARGEST = 360, 640  # pixels, of a picture's middle
SLOW = 1000.0  # steps over which weights are averaged, at most
SAID = 60.0  # seconds from one line to the next


@dataclass(frozen=True)
class RefineSettings:
    """How long and fast filters are trained, and on what."""

    minutes: float = 8.0
    steps: int | None = None  # instead of minutes
    rate: float = 3e-4
    batch: int = 16  # crops of predicted frames; a third as many of key frames beside them
    crops: CropSettings = field(default_factory=CropSettings)
    seed: int = 1


def refined(
    corpus: Corpus, base: Path, out: Path, frames: int, settings: RefineSettings, say: Say, force: bool = False
) -> bytes:
    """Write a base whose filters are trained once more, on so many frames of each clip -> its digest.

    Raises BaseError, OutputError.
    """
    codec, about = load_codec(base), read_base(base).about
    clips = (list(islice(read_frames(item.path), frames)) for item in corpus.clips)
    photos = ([np.asarray(Image.open(item.path).convert("RGB"))] for item in corpus.photos)
    crops = collect(codec, map(_middle, chain(photos, clips)), settings.crops, settings.seed, say)
    if not crops:
        raise BaseError(f"nothing in the clips and photographs is as large as a crop: {BLOCKS * BLOCK} pixels")
    stage = refine(codec, crops, settings, say) | {"start": digest_of(base).hex()}
    stages = [*about.get("stages", ()), stage]
    with atomic_output(out, force) as path:
        write_base(
            path, codec.network, codec.analysis, {k: v for k, v in about.items() if k != "held"} | {"stages": stages}
        )
    return digest_of(out)


def _middle(frames: Sequence[Frame]) -> list[Frame]:
    """As much of larger pictures as takes about as long as most clips do."""
    (height, width), (most_y, most_x) = frames[0].shape[:2], LARGEST
    y, x = max(0, height - most_y) // 2, max(0, width - most_x) // 2
    return [np.ascontiguousarray(frame[y : y + most_y, x : x + most_x]) for frame in frames]


def refine(codec: Codec, crops: Sequence[Crop], settings: RefineSettings, say: Say) -> dict[str, Any]:
    """Train the filters of a codec on crops, in place; its weights become the average of those on the way.

    -> what is to be said of it: a stage of `write_base`'s about.
    """
    rng, started = np.random.default_rng(settings.seed), time.monotonic()
    net, average = codec.network, copy.deepcopy(codec.network)
    kinds = [[c for c in crops if c.predicted == predicted] for predicted in (False, True)]
    shares = [max(1, settings.batch // 3), settings.batch]
    for parameter in net.filters:
        parameter.requires_grad_(True)
    optimiser = torch.optim.Adam(net.filters, settings.rate, betas=(0.9, 0.99))
    steps, total, counted, said = 0, 0.0, 0, started
    while (part := _part(settings, steps, time.monotonic() - started)) < 1:
        rate = settings.rate * min(1.0, (steps + 1) / 50) * (1 + math.cos(math.pi * part)) / 2
        for group in optimiser.param_groups:
            group["lr"] = rate
        optimiser.zero_grad()
        for own, share in zip(kinds, shares, strict=True):
            if own:
                loss = crops_loss(codec, [own[k] for k in rng.integers(len(own), size=share)]) / sum(shares)
                loss.backward()
                total += float(loss.detach())
        nn.utils.clip_grad_norm_(net.filters, 1.0)
        optimiser.step()
        steps, counted = steps + 1, counted + 1
        keep = min(1 - 1 / SLOW, steps / (steps + 20))
        with torch.no_grad():
            for mean, now in zip(average.filters, net.filters, strict=True):
                mean.lerp_(now, 1 - keep)
        if time.monotonic() - said > SAID:
            say(f"{steps:,} steps, {part:.0%}: {total / counted:.4f} bits of errors a site")
            total, counted, said = 0.0, 0, time.monotonic()
    with torch.no_grad():
        for mean, now in zip(average.filters, net.filters, strict=True):
            now.copy_(mean)
            now.requires_grad_(False)
    made_of = asdict(settings.crops) | {"crops": len(crops), "of predicted frames": len(kinds[True])}
    return {
        "script": "python -m codec.base refine",
        "seconds": round(time.monotonic() - started),
        "device": "cpu",
        "steps": steps,
        "settings": asdict(settings) | made_of,
    }


def _part(settings: RefineSettings, steps: int, seconds: float) -> float:
    """How much of a training is done."""
    return seconds / (60 * settings.minutes) if settings.steps is None else steps / settings.steps


def crops_loss(codec: Codec, crops: Sequence[Crop]) -> Tensor:
    """Bits that errors of crops of one kind are worth, summed over crops, a site."""

    def stacked(parts: Iterable[Tensor]) -> Tensor:
        return torch.stack([*parts]).float()

    coded, wanted = stacked(c.coded for c in crops), stacked(c.wanted for c in crops)
    told = torch.tensor([float(c.quality) for c in crops])
    values, features = stacked(c.values for c in crops), stacked(c.features for c in crops)
    made = codec.network.filtered(coded, values, features, told, crops[0].predicted)
    error = ((made - wanted) * PIXEL).square().sum(1) * stacked(c.counts for c in crops)
    return (error.mean((1, 2)) * torch.tensor([c.weight for c in crops])).sum()
