"""One frame to its record: motion, prediction, latents, symbols, and the frame as a decoder will have it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from bitstream.frames import CodedFrame
from codec.encoding.predictive.analysis import Analysis
from codec.encoding.predictive.motion_search import Flows, SearchSettings, luma, search
from codec.network.predictive.frames import empty_symbols, pad, predict, reconstruct
from codec.network.predictive.network import PredictiveNetwork
from codec.network.predictive.quality import lagrangian
from codec.network.predictive.scales import LARGEST_SYMBOL
from codec.network.predictive.transform import BLOCK
from codec.rate.records import FrameCoder, Symbols


@dataclass(frozen=True)
class Encoded:
    """What came of a frame."""

    coded: CodedFrame
    shown: NDArray[np.uint8]  # RGB [H, W, 3], as decoded
    motion: NDArray[np.int16]  # [references, 2, rows, columns]
    bits: dict[str, float]  # ideal, by part
    error: float  # mean squared, of the decoded frame
    predicted_error: float  # of its prediction alone


class FrameEncoder:
    """Encodes frames of one size with a base."""

    def __init__(
        self, network: PredictiveNetwork, analysis: Analysis, search_settings: SearchSettings = SearchSettings()
    ) -> None:
        self.network, self.analysis = network, analysis
        self.coder = FrameCoder(network)
        self.search_settings = search_settings

    @torch.inference_mode()
    def encode(
        self,
        number: int,
        frame: NDArray[np.uint8],
        references: dict[int, NDArray[np.uint8]],
        quality: int,
        flows: Flows,
    ) -> Encoded:
        """references: decoded frames by number, none for a key frame."""
        height, width = frame.shape[:2]
        net, predicted = self.network, bool(references)
        empty = empty_symbols(net, height, width, len(references))
        ratio, motion = None, empty.motion
        if predicted:
            ways = [r - number for r in references]
            ratio = ways[-1] / ways[0]
            starts = [[flows.between(number, r)] for r in references]
            motion = search(
                luma(frame),
                [luma(r) for r in references.values()],
                starts,
                ratio,
                lagrangian(quality),
                self.search_settings,
            )
        q = torch.tensor([float(quality)])
        pixels = F.pixel_unshuffle(pad(_planes(frame)[None].float()), BLOCK)
        shown = torch.stack([_planes(r) for r in references.values()])[None] if predicted else None
        prediction = predict(net, shown, torch.from_numpy(motion)[None] if predicted else None, 1, height, width)
        hyper, residuals = self._quantized(pixels, prediction, q, predicted)
        symbols = Symbols(motion, hyper, residuals)
        record, kept, bits = self.coder.write(symbols, quality, ratio)
        output, _ = reconstruct(net, [kept], prediction, q, predicted, height, width)
        decoded = output[0].permute(1, 2, 0).contiguous().numpy()
        own = F.pixel_shuffle(prediction[0], BLOCK)[0, :, :height, :width]
        return Encoded(
            CodedFrame(number, tuple(references), quality, symbols.flags, record),
            decoded,
            kept.motion,
            bits,
            _mse(decoded, frame),
            float((own - _planes(frame)).square().mean()),
        )

    def _quantized(
        self, pixels: Tensor, prediction: tuple[Tensor, Tensor], quality: Tensor, predicted: bool
    ) -> tuple[NDArray[np.int16], NDArray[np.int16]]:
        net = self.network
        grey, features = prediction
        steps = net.steps(quality, predicted)
        latents = self.analysis.latents(pixels, grey, steps)
        hyper = self.analysis.hyper(latents, predicted).round().clamp(-LARGEST_SYMBOL, LARGEST_SYMBOL)
        weight = lagrangian(float(quality)) * steps.square() / 3
        residuals, _, _ = net.quantize(latents, hyper, features, quality, predicted, weight)
        return hyper[0].numpy().astype(np.int16), residuals[0].numpy().astype(np.int16)


def _planes(frame: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(frame).permute(2, 0, 1)


def _mse(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    return float(np.square(a.astype(np.float32) - b).mean())
