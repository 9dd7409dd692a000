"""Crops of frames as an encoder makes them, for training the filters of a base: see `codec.base.refine`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from codec.base.encoded import EncodedFrame, encoded
from codec.base.model import Codec
from codec.base.scenes import Frame, Say
from codec.encoding.predictive.frame import FrameEncoder
from codec.encoding.predictive.gop import GopSettings
from codec.encoding.predictive.motion_search import SearchSettings
from codec.network.predictive.frames import latents_of, pad, predict, touched_sites
from codec.network.predictive.network import PredictiveNetwork
from codec.network.predictive.quality import lagrangian
from codec.network.predictive.transform import BLOCK, DETAIL, PIXEL, to_detail, to_layers

BLOCKS = 16  # along the sides of a crop
MARGIN = 2  # of them, on either side, that do not count: layers see beyond
FEWEST = 0.15  # of a crop that has to count
SAMPLES = 20  # places in a frame that are looked at for crops


@dataclass(frozen=True)
class CropSettings:
    """What is encoded: each clip at a quality and in a structure of its own."""

    lowest: float = 30.0  # quality of a segment
    highest: float = 56.0
    anchors: tuple[int, ...] = (8, 16)
    unfiltered: float = 0.25  # share of the clips that are not filtered over time


@dataclass(frozen=True, eq=False)
class Crop:
    """A part of a frame as `PredictiveNetwork.filtered` is given it, float16, and what it is to become."""

    coded: Tensor  # [12, S, S]
    values: Tensor  # [LATENTS, BLOCKS, BLOCKS]
    features: Tensor  # [C, BLOCKS, BLOCKS]
    wanted: Tensor  # as coded
    counts: Tensor  # bool [S, S]
    weight: float  # bits of a squared error
    quality: int
    predicted: bool


def collect(
    codec: Codec, clips: Iterable[Sequence[Frame]], settings: CropSettings, seed: int, say: Say = lambda line: None
) -> list[Crop]:
    """Crops of clips. A photograph is a clip of one frame."""
    encoder = FrameEncoder(codec.network, codec.analysis, SearchSettings(turns=1))
    rng, crops = np.random.default_rng(seed), list[Crop]()
    for number, frames in enumerate(clips, 1):
        anchor, strength = int(rng.choice(settings.anchors)), float(rng.random() >= settings.unfiltered)
        structure = GopSettings(anchor=anchor, temporal_filter=strength)
        for frame in encoded(encoder, frames, structure, rng.uniform(settings.lowest, settings.highest)):
            if not frame.symbols.untouched:
                crops += _parts(whole_crop(codec.network, frame), rng)
        say(f"{number} clips and photographs, {len(crops):,} crops")
    return crops


@torch.inference_mode()
def whole_crop(network: PredictiveNetwork, frame: EncodedFrame) -> Crop:
    """A frame, as a crop of a size of its own."""
    height, width = frame.towards.shape[:2]
    symbols, index = [frame.symbols], frame.coded.quality
    told, predicted = torch.tensor([float(index)]), bool(frame.coded.references)
    prediction, features = predict(network, frame.known.shown, symbols, height, width)
    latents, steps = latents_of(network, symbols, features, told, predicted)
    values = latents * (steps / PIXEL)
    touched = torch.from_numpy(frame.symbols.residuals.any(0)) if predicted else torch.ones(values.shape[2:]).bool()
    counts = touched_sites(touched[None])[0]
    counts[math.ceil(height / DETAIL) :], counts[:, math.ceil(width / DETAIL) :] = False, False
    pixels = torch.from_numpy(frame.towards).permute(2, 0, 1)[None].float()
    coded, target = prediction + network.residual(values), to_detail(to_layers(pad(pixels)))
    coded, values, features, target = (part[0].half() for part in (coded, values, features, target))
    return Crop(coded, values, features, target, counts, lagrangian(frame.wanted) / 3, index, predicted)


def _parts(whole: Crop, rng: np.random.Generator) -> Iterator[Crop]:
    """Crops of a frame at random places, where enough of them counts."""
    rows, columns = whole.values.shape[1:]
    height, width = min(rows, BLOCKS), min(columns, BLOCKS)
    fine, edge = BLOCK // DETAIL, BLOCK // DETAIL * MARGIN
    for _ in range(SAMPLES):
        y, x = int(rng.integers(rows - height + 1)), int(rng.integers(columns - width + 1))
        coarse = slice(None), slice(y, y + height), slice(x, x + width)
        detail = slice(None), slice(fine * y, fine * (y + height)), slice(fine * x, fine * (x + width))
        counts = whole.counts[detail[1:]].clone()
        inside = torch.zeros_like(counts)
        inside[edge:-edge, edge:-edge] = True
        counts &= inside
        if height == width == BLOCKS and counts.float().mean() >= FEWEST:
            yield replace(
                whole,
                coded=whole.coded[detail].clone(),  # as a view keeps all of the frame
                values=whole.values[coarse].clone(),
                features=whole.features[coarse].clone(),
                wanted=whole.wanted[detail].clone(),
                counts=counts,
            )
