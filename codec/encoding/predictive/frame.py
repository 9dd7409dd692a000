"""One frame to its record: motion, prediction, latents, symbols, and the frame as a decoder will have it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from bitstream.frame_table import CodedFrame
from codec.encoding.predictive.analysis import Analysis
from codec.encoding.predictive.block_match import Shown
from codec.encoding.predictive.cell_transforms import Choose
from codec.encoding.predictive.flow import Flows, luma
from codec.encoding.predictive.motion_search import Found, SearchSettings, search
from codec.network.predictive.frames import (
    corrected,
    empty_symbols,
    kept_bare,
    moving_of,
    pad,
    pictures_of,
    predict,
    reconstruct,
    shown_both_ways,
    shown_by,
)
from codec.network.predictive.motion import Pictures, mean_of
from codec.network.predictive.network import PredictiveNetwork
from codec.network.predictive.quality import lagrangian
from codec.network.predictive.quantization import quantize
from codec.network.predictive.scales import LARGEST_SYMBOL
from codec.network.predictive.symbols import BARE, OVERLAP, Integers, Symbols
from codec.network.predictive.transform import PIXEL, to_detail, to_layers
from codec.rate.carried import Moved, carry, way_ratio
from codec.rate.records import FrameCoder

DEAD = 0.1  # on top of a half: hyper-latents of predicted frames below are 0, as they cost more than they tell


@dataclass(frozen=True, eq=False)
class Encoded:
    """What a file holds of a frame, and what that costs: small, as there may be many tries of many frames."""

    coded: CodedFrame
    bits: dict[str, float]  # ideal, by part
    error: float  # mean squared, of the decoded frame


@dataclass(frozen=True, eq=False)
class Reference:
    """What other frames are made from: a frame as a decoder will have it, and its motion."""

    shown: NDArray[np.uint8]  # RGB [H, W, 3]
    moved: Moved
    sides: Integers  # see `Symbols`

    @cached_property
    def searched(self) -> Shown:
        return Shown(luma(self.shown))


@dataclass(frozen=True, eq=False)
class Known:
    """What an encoder and a decoder know of a frame by its references: nothing of a key frame."""

    ratio: float | None = None  # as `carried`, of `code_motion`
    carried: Integers | None = None
    shown: Tensor | None = None  # what the references show, uint8 [1, R, 3, H, W]


@dataclass(frozen=True, eq=False)
class Written:
    """A record, and what it holds."""

    flags: int
    record: bytes
    kept: Symbols  # as a decoder will read them
    bits: dict[str, float]


class FrameEncoder:
    """Encodes frames of one size with a base."""

    def __init__(self, network: PredictiveNetwork, analysis: Analysis, settings: SearchSettings) -> None:
        self.network, self.analysis, self.settings = network, analysis, settings
        self.coder = FrameCoder(network)

    @torch.inference_mode()
    def encode(
        self,
        number: int,
        frame: NDArray[np.uint8],
        references: dict[int, Reference],
        quality: int,
        flows: Flows,
        wanted_quality: float | None = None,
        towards: NDArray[np.uint8] | None = None,
    ) -> tuple[Encoded, Reference]:
        """A frame, RGB [H, W, 3].

        references: by number, none for a key frame. wanted_quality: what its errors weigh against bits, where that lies
        between two indices. towards: what it is to look like, where that is not as it does.
        """
        towards = frame if towards is None else towards
        weight = lagrangian(quality if wanted_quality is None else wanted_quality)
        height, width = frame.shape[:2]
        net, predicted = self.network, bool(references)
        empty = empty_symbols(net, height, width, len(references))
        known = known_of(number, references)
        found = Found(empty.motion, empty.sides)
        if known.ratio is not None:
            starts = [[flows.between(number, r)] for r in references]
            planes = [r.searched for r in references.values()]
            found = search(luma(towards), planes, starts, known.ratio, weight, known.carried, self.settings)
        q = torch.tensor([float(quality)])
        wanted = to_detail(to_layers(pad(_planes(towards)[None].float())))
        moved = replace(empty, motion=found.motion, sides=found.sides)
        if known.shown is None:
            prediction, features = predict(net, None, [moved], height, width)
        else:
            moved, pictures = _shown_best(known.shown, moved, wanted)
            prediction, features = net.prediction(*pictures)
        left = (wanted - prediction) * PIXEL
        moving = moving_of(moved) if predicted else None
        hyper, residuals, transforms = self._quantized(left, features, q, weight, moving)

        def written(symbols: Symbols) -> Written:
            return Written(symbols.flags, *self.coder.write(symbols, quality, known.ratio, known.carried))

        def made(written: Written, pixels: Tensor) -> tuple[float, Encoded, Reference]:
            """-> cost in bits, and what to return."""
            decoded = pictures_of(pixels, height, width)[0].contiguous().numpy()
            coded = CodedFrame(number, tuple(references), quality, written.flags, written.record)
            encoded = Encoded(coded, written.bits, _mse(decoded, frame))
            reference = Reference(decoded, Moved(coded.references, written.kept.motion), written.kept.sides)
            cost = 8 * len(coded.record) + weight * _mse(decoded, towards) * height * width
            return cost, encoded, reference

        whole = written(replace(moved, hyper=hyper, residuals=residuals, transforms=transforms))
        pixels = corrected(net, [whole.kept], (prediction, features), q, predicted)
        tries = [made(whole, pixels)]
        if predicted:
            bare = replace(whole, flags=whole.flags | BARE)
            tries.append(made(bare, kept_bare([replace(bare.kept, made=BARE)], pixels, prediction)))
            tries.append(made(written(replace(moved, made=moved.made | BARE)), prediction))
        return min(tries, key=lambda t: t[0])[1:]

    @torch.inference_mode()
    def decode(self, coded: CodedFrame, references: dict[int, Reference], height: int, width: int) -> Reference:
        """What `encode` returned beside a frame."""
        known = known_of(coded.number, references)
        symbols = self.read(coded, known, height, width)
        prediction = predict(self.network, known.shown, [symbols], height, width)
        quality = torch.tensor([float(coded.quality)])
        frames = reconstruct(self.network, [symbols], prediction, quality, bool(references), height, width)
        return Reference(frames[0].contiguous().numpy(), Moved(coded.references, symbols.motion), symbols.sides)

    def read(self, coded: CodedFrame, known: Known, height: int, width: int) -> Symbols:
        """What the record of a frame holds."""
        empty, where = empty_symbols(self.network, height, width, len(coded.references)), f"frame {coded.number}"
        return self.coder.read(coded.record, coded.flags, empty, coded.quality, known.ratio, where, known.carried)

    def _quantized(
        self, left: Tensor, features: Tensor, quality: Tensor, weight: float, moved: Tensor | None
    ) -> tuple[Integers, Integers, Integers]:
        """-> hyper-latents, residuals and transforms, as `Symbols` has them.

        left: of the frame by its prediction, as of `to_detail`. weight: bits of a squared error.
        """
        net, predicted = self.network, moved is not None
        steps = net.steps(quality, predicted)
        latents = self.analysis.latents(left, steps)
        hyper = self.analysis.hyper(latents, net.units(quality, predicted), predicted)
        if predicted:
            hyper = hyper.sign() * (hyper.abs() - DEAD).clamp_min(0)
        hyper = hyper.round().clamp(-LARGEST_SYMBOL, LARGEST_SYMBOL)
        weights, choose = weight * steps.square() / 3, Choose(quality, weight / 3)
        found = quantize(net, latents, hyper, moved, features, quality, weights, choose)
        if choose.saved < 0 and found.transforms.any():  # less than saying where takes
            found = quantize(net, latents, hyper, moved, features, quality, weights)
        a, b, c = (part[0].numpy().astype(np.int16) for part in (hyper, found.residuals, found.transforms))
        return a, b, c


def _shown_best(references: Tensor, moved: Symbols, wanted: Tensor) -> tuple[Symbols, Pictures]:
    """What references show of a frame: with blocks that overlap, where its mean is nearer to what is wanted."""
    if not moved.motion.any():
        return moved, shown_by(references, [moved])
    plain, overlapping = shown_both_ways(references, [moved])
    if F.mse_loss(mean_of(*overlapping), wanted) < F.mse_loss(mean_of(*plain), wanted):
        return replace(moved, made=OVERLAP), overlapping
    return moved, plain


def known_of(number: int, references: dict[int, Reference]) -> Known:
    """See `Known`."""
    if not references:
        return Known()
    numbers = tuple(references)
    carried = carry(number, numbers, {n: r.moved for n, r in references.items()})
    shown = torch.stack([_planes(r.shown) for r in references.values()])[None]
    return Known(way_ratio(number, numbers), carried, shown)


def _planes(frame: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(frame).permute(2, 0, 1)


def _mse(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    return float(np.square(a.astype(np.float32) - b).mean())
