"""What a base is worth: rate and distortion on clips that it is not trained on."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from codec.base.crops import Crops
from codec.base.model import Batch, Codec, Outcome

KEY_QUALITIES = (30, 42, 54)
DEPTHS = (0.2, 0.5, 0.8)  # of predicted frames: how far down the span of qualities that each is trained at
FRAMES = 24  # of each kind, spread over the crops
AT_ONCE = 8


@torch.no_grad()
def evaluate(codec: Codec, crops: Crops, device: torch.device, dtype: torch.dtype) -> dict[str, dict[str, float]]:
    """Bits per pixel and PSNR by kind of frame and quality, as JSON: {"key 42": {"bpp": .., "psnr": ..}, ...}."""
    result: dict[str, dict[str, float]] = {}

    def look(label: str, planes: Tensor, quality: Tensor) -> None:
        parts = []
        for at in range(0, len(planes), AT_ONCE):
            some, q = planes[at : at + AT_ONCE], quality[at : at + AT_ONCE]
            batch = Batch(some[:, :3], some[:, 3:] if some.shape[1] > 3 else None, q).to(device)
            with torch.autocast(device.type, dtype, enabled=dtype is torch.bfloat16):
                parts.append(scores(codec(batch), some[0, 0].numel()))
        result[label] = {k: float(torch.cat([p[k] for p in parts]).mean()) for k in ("bpp", "psnr")}

    chosen = _spread_out(len(crops.key))
    planes = torch.from_numpy(crops.key[chosen]).float()
    for q in KEY_QUALITIES:
        look(f"key {q}", planes, torch.full((len(planes),), float(q)))
    chosen = _spread_out(len(crops.predicted))
    planes = torch.from_numpy(crops.predicted[chosen]).float()
    for depth in DEPTHS:
        quality = torch.from_numpy(crops.quality[chosen] - depth * crops.spread[chosen]).float().clamp_min(0)
        look(f"predicted {depth}", planes, quality)
    return result


def scores(outcome: Outcome, pixels: int) -> dict[str, Tensor]:
    """What is reported of frames, [B] each."""
    return {
        "bpp": outcome.bits / pixels,
        "hyper_bpp": outcome.hyper_bits / pixels,
        "psnr": _psnr(outcome.error),
        "predicted_psnr": _psnr(outcome.predicted_error),
    }


def _psnr(error: Tensor) -> Tensor:
    """Of mean squared errors of 0..255, 100 dB where there is none."""
    return 10 * (255**2 / error.clamp_min(255**2 * 1e-10)).log10()


def _spread_out(count: int) -> list[int]:
    return np.unique(np.linspace(0, count - 1, FRAMES).astype(int)).tolist()
