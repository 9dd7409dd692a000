"""Both halves of the predictive network, as training runs them, and the files that hold their weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from codec.encoding.predictive.analysis import Analysis
from codec.errors import BaseError
from codec.network.predictive.base_file import Base, load_part, read_base
from codec.network.predictive.motion import compensate
from codec.network.predictive.network import PredictiveNetwork, Shape, moving
from codec.network.predictive.quality import lagrangians
from codec.network.predictive.quantization import quantize
from codec.network.predictive.scales import LARGEST_SYMBOL, ste_round
from codec.network.predictive.transform import BLOCK, PIXEL, from_detail, from_layers, to_detail, to_layers
from codec.training import checkpoint


@dataclass(frozen=True, eq=False)
class Seen:
    """What predicted frames are made from."""

    references: Tensor  # uint8 [B, 2, 3, S, S]; the same twice where there is one
    motion: Tensor  # int16 [B, 2, 2, S/8, S/8]
    sides: Tensor  # int8 [B, 1, S/8, S/8]


@dataclass(frozen=True)
class Outcome:
    """What became of each frame of a batch, float32 [B] unless stated otherwise."""

    frame: Tensor  # uint8 [B, 3, S, S], as a decoder has it; no gradient
    error: Tensor  # mean squared, of 0..255
    predicted_error: Tensor  # likewise, of its prediction alone; 0 for key frames
    latent_bits: Tensor
    hyper_bits: Tensor

    @property
    def bits(self) -> Tensor:
        return self.latent_bits + self.hyper_bits


class Codec(nn.Module):
    """Encoder and decoder of one shape."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.network, self.analysis = PredictiveNetwork(shape), Analysis(shape)

    def forward(self, frame: Tensor, quality: Tensor, seen: Seen | None) -> Outcome:
        """Code frames, uint8 [B, 3, S, S], S a multiple of CELL, with gradients. seen: None for key frames."""
        net, predicted, frame = self.network, seen is not None, frame.float()
        size = [side // BLOCK for side in frame.shape[2:]]
        if seen is not None:
            with torch.autocast(frame.device.type, enabled=False):  # pixels have more digits than bfloat16
                shown = compensate(seen.references, seen.motion, seen.sides, overlapping=True)
            prediction, features = net.prediction(*shown)
        else:
            prediction, features = net.no_prediction(len(frame), *size)
        moved = None if seen is None else moving(seen.motion, seen.sides, *size)
        steps = net.steps(quality, predicted)
        left = (to_detail(to_layers(frame)) - prediction) * PIXEL
        with torch.autocast(frame.device.type, enabled=False):
            latents = self.analysis.latents(left, steps.detach())
        hyper = self.analysis.hyper(latents, net.units(quality, predicted), predicted)
        hyper = ste_round(hyper).clamp(-LARGEST_SYMBOL, LARGEST_SYMBOL)
        weight = lagrangians(quality)[:, None, None, None] * steps.detach().square() / 3
        quantized = quantize(net, latents, hyper, moved, features, quality, weight)
        sites = net.reconstruct(quantized.latents, steps, prediction, features, quality, predicted)
        output = from_detail(from_layers(sites))
        error = (output - frame).square().mean((1, 2, 3))
        own = left.square().mean((1, 2, 3)) if predicted else torch.zeros_like(error)
        decoded = output.detach().round().clamp(0, 255).byte()
        with torch.autocast(frame.device.type, enabled=False):
            return Outcome(decoded, error, own, quantized.bits, net.hyper_bits(hyper, quality, predicted))


def load_codec(path: Path) -> Codec:
    """Both halves from a base, or from the state of a training. Raises BaseError."""
    base = read_weights(path)
    codec = Codec(base.shape)
    load_part(codec, base.tensors, path)
    return codec.eval().requires_grad_(False)


def read_weights(path: Path) -> Base:
    """The weights of a base, of the state of a training (their average), or of a file of tensors alone.

    A file of tensors alone is taken to be of the default shape. Raises BaseError, CheckpointError.
    """
    try:
        with safe_open(path, framework="pt") as file:
            entries = file.metadata() or {}
        if "base" in entries:
            return read_base(path)
        if "meta" in entries:
            tensors, meta = checkpoint.load(path)
            average = {k.removeprefix("average."): v for k, v in tensors.items() if k.startswith("average.")}
            return Base(Shape(**meta["shape"]), meta["about"], average)
        return Base(Shape(), {}, {k: v.float() for k, v in load_file(path).items()})
    except OSError as error:
        raise BaseError(f"cannot read the weights {path}: {error.strerror or error}") from error
    except (SafetensorError, KeyError, TypeError) as error:
        raise BaseError(f"{path} holds neither a base nor the state of a training ({error})") from error
