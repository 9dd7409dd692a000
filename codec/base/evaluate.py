"""What a base is worth: rate and distortion on clips that it is not trained on."""

from __future__ import annotations

import torch
from torch import Tensor

from codec.base.model import Codec, Outcome
from codec.base.scenes import Scenes
from codec.base.walks import Step, Walks, seen_by

WALKS, SEED = 6, 0  # along the scenes: the same ones each time
SCENES = 4  # of each
SCORES = ("bpp", "hyper_bpp", "psnr", "predicted_psnr")  # what is reported of frames


@torch.no_grad()
def evaluate(codec: Codec, held: Scenes, device: torch.device, dtype: torch.dtype) -> dict[str, dict[str, float]]:
    """Bits per pixel and PSNR by kind of frame, as JSON: {"key": {"bpp": .., "psnr": .., ..}, ...}."""
    walks = Walks([held], SCENES, SEED)
    found: dict[str, list[dict[str, Tensor]]] = {}
    for number in range(WALKS):
        decoded: list[Tensor] = []
        for step in walks[number]:
            with torch.autocast(device.type, dtype, enabled=dtype is torch.bfloat16):
                outcome = codec(step.frame, step.quality, seen_by(step, decoded))
            decoded.append(outcome.frame)
            found.setdefault(kind_of(step), []).append(scores(outcome, step.frame[0, 0].numel()))
    return {
        kind: {k: float(torch.cat([p[k] for p in parts]).mean()) for k in parts[0]} for kind, parts in found.items()
    }


def kind_of(step: Step) -> str:
    """What its frames are called in reports."""
    return ("key", "anchor", "between", "leaf")[3 if step.leaf else min(step.level, 2)]


def scores(outcome: Outcome, pixels: int) -> dict[str, Tensor]:
    """SCORES of frames, [B] each."""
    bits = outcome.bits / pixels, outcome.hyper_bits / pixels
    return dict(zip(SCORES, (*bits, _psnr(outcome.error), _psnr(outcome.predicted_error)), strict=True))


def _psnr(error: Tensor) -> Tensor:
    """Of mean squared errors of 0..255, 100 dB where there is none."""
    return 10 * (255**2 / error.clamp_min(255**2 * 1e-10)).log10()
