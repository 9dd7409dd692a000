"""Both halves of the predictive network, as training runs them, and the files that hold their weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from codec.encoding.predictive.analysis import Analysis
from codec.errors import BaseError
from codec.network.predictive.base_file import Base, load_part, read_base
from codec.network.predictive.network import PredictiveNetwork, Shape
from codec.network.predictive.quality import lagrangians
from codec.network.predictive.scales import LARGEST_SYMBOL, ste_round
from codec.network.predictive.transform import BLOCK
from codec.training import checkpoint


@dataclass(frozen=True)
class Batch:
    """Frames of one kind."""

    frame: Tensor  # float32 [B, 3, S, S], 0..255
    references: Tensor | None  # likewise [B, 6, S, S]: moved; None for key frames
    quality: Tensor  # float32 [B]

    def to(self, device: torch.device) -> Batch:
        references = None if self.references is None else self.references.to(device)
        return Batch(self.frame.to(device), references, self.quality.to(device))


@dataclass(frozen=True)
class Outcome:
    """What became of each frame of a batch, float32 [B]."""

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

    def forward(self, batch: Batch) -> Outcome:
        """Code frames whose sides are multiples of CELL, with gradients."""
        net, predicted = self.network, batch.references is not None
        frame, quality = batch.frame, batch.quality
        pixels = F.pixel_unshuffle(frame, BLOCK)
        if batch.references is not None:
            prediction, features = net.prediction(batch.references[:, :3], batch.references[:, 3:])
        else:
            prediction, features = net.no_prediction(len(frame), *pixels.shape[2:])
        steps = net.steps(quality, predicted)
        with torch.autocast(frame.device.type, enabled=False):
            latents = self.analysis.latents(pixels, prediction, steps.detach())
        hyper = ste_round(self.analysis.hyper(latents, predicted)).clamp(-LARGEST_SYMBOL, LARGEST_SYMBOL)
        weight = lagrangians(quality)[:, None, None, None] * steps.detach().square() / 3
        _, coded, bits = net.quantize(latents, hyper, features, quality, predicted, weight)
        output, _ = net.reconstruct(coded, steps, prediction, features, quality, predicted)
        error = (output - frame).square().mean((1, 2, 3))
        own = (prediction - pixels).square().mean((1, 2, 3)) if predicted else torch.zeros_like(error)
        with torch.autocast(frame.device.type, enabled=False):
            return Outcome(error, own, bits, net.hyper_bits(hyper, quality, predicted))


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
