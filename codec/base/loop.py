"""Training of a base: R + lambda D over crops of key and predicted frames, every quality index at once."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from codec.encoding.predictive.analysis import Analysis
from codec.network.predictive.network import LEVEL, PredictiveNetwork, Shape
from codec.network.predictive.quality import OCTAVE, QUALITIES, lagrangian
from codec.network.predictive.scales import LARGEST_SYMBOL, ste_round
from codec.network.predictive.transform import BLOCK
from codec.training.optim import Muon


@dataclass(frozen=True)
class BaseSettings:
    """One training run."""

    minutes: float = 60.0
    batch: int = 8
    key_share: float = 0.3  # of the steps
    prediction_weight: float = 0.5  # of lambda x the prediction's own error
    muon_lr: float = 8e-3
    adam_lr: float = 1.5e-3
    warmup: float = 0.02  # share of the run
    decay: float = 0.9997  # of the moving average of the weights
    seed: int = 1


LEVELS = 28  # quality indices that a frame may lie below its references' key frame
CRF_QUALITY = {20: 60, 26: 51, 32: 42, 38: 33}  # key quality whose pictures are about as good as x265's at a crf
BALANCE = 0.8  # power of a frame's own loss by which it is divided: a saving counts for what share of the frame it is


class Codec(nn.Module):
    """Both halves, as training runs them."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.network, self.analysis = PredictiveNetwork(shape), Analysis(shape)

    def forward(
        self, frame: Tensor, references: Tensor | None, quality: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """frame float [B, 3, S, S] in 0..255; references [B, 6, S, S]; quality [B].

        -> squared error [B], that of the prediction [B], bits of each frame: latents [B], hyper-latents [B].
        """
        net, predicted = self.network, references is not None
        pixels = F.pixel_unshuffle(frame, BLOCK)
        if references is not None:
            prediction, features = net.prediction(references[:, :3], references[:, 3:])
        else:
            prediction, features = net.no_prediction(len(frame), *pixels.shape[2:])
        steps = net.steps(quality, predicted)
        scale = lagrangian(0) * torch.exp2(quality.float() / OCTAVE)[:, None, None, None]
        with torch.autocast(frame.device.type, enabled=False):
            latents = self.analysis.latents(pixels, prediction, steps.detach())
        hyper = ste_round(self.analysis.hyper(latents, predicted)).clamp(-LARGEST_SYMBOL, LARGEST_SYMBOL)
        weight = scale * steps.detach().square() / 3
        _, coded, bits = net.quantize(latents, hyper, features, quality, predicted, weight)
        output, _ = net.reconstruct(coded, steps, prediction, features, quality, predicted)
        error = (output - frame).square().mean((1, 2, 3))
        own = (prediction - pixels).square().mean((1, 2, 3)) if predicted else torch.zeros_like(error)
        with torch.autocast(frame.device.type, enabled=False):
            return error, own, bits, net.hyper_bits(hyper, quality, predicted)


class Crops:
    """Prepared crops, cut and turned at random, each batch of one kind."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.key = np.load(folder / "key.npy", mmap_mode="r")
        self.predicted = np.load(folder / "predicted.npy", mmap_mode="r")
        self.crf = np.load(folder / "crf.npy")
        self.rng = np.random.default_rng(seed)

    def batch(self, count: int, predicted: bool) -> tuple[Tensor, Tensor | None, Tensor]:
        """frame, references or None, quality: see `Codec.forward`."""
        data = self.predicted if predicted else self.key
        index = np.sort(self.rng.choice(len(data), count, replace=False))
        planes = torch.from_numpy(np.ascontiguousarray(data[index])).float()
        if self.rng.random() < 0.5:
            planes = planes.flip(-1)
        if self.rng.random() < 0.3:
            planes = planes.mT
        if predicted:
            if self.rng.random() < 0.5:
                planes = torch.cat((planes[:, :3], planes[:, 6:], planes[:, 3:6]), 1)
            best = np.array([CRF_QUALITY[int(c)] for c in self.crf[index]])
            quality = np.clip(best - self.rng.uniform(-3, LEVELS, count), 0, QUALITIES - 1)
        else:
            quality = self.rng.uniform(20, QUALITIES - 1, count)
        return planes[:, :3].contiguous(), planes[:, 3:].contiguous() if predicted else None, torch.from_numpy(quality)


def optimizers(codec: Codec, settings: BaseSettings) -> list[torch.optim.Optimizer]:
    """Muon on the hidden convolutions, Adam on the rest; the integer networks move in small steps."""
    matrices, scales, steps, rest = [], [], [], []
    for name, p in codec.named_parameters():
        hidden = any(
            part in name
            for part in (
                "blocks",
                "predict.",
                "warped",
                "inputs",
                "mean_around",
                "expand",
                "hyper_first",
                "hyper_second",
                "trunk.",
                "mean_first.",
                "mean_second.",
            )
        )
        if "scale" in name:
            scales.append(p)
        elif "log_step" in name or "basis" in name or "synthesis" in name:
            steps.append(p)
        elif p.ndim == 4 and hidden:
            matrices.append(p)
        else:
            rest.append(p)
    lr = settings.adam_lr
    groups = [{"params": rest, "lr": lr}, {"params": scales, "lr": lr}, {"params": steps, "lr": 0.2 * lr}]
    found = [
        Muon(matrices, lr=settings.muon_lr, weight_decay=0.05),
        torch.optim.Adam(groups, betas=(0.9, 0.99), fused=True),
    ]
    for optimizer in found:
        for group in optimizer.param_groups:
            group["peak"] = group["lr"]
    return found


def train(
    data: Path,
    held: Path,
    out: Path,
    settings: BaseSettings,
    say: Callable[[str], None] = print,
    start: Path | None = None,
    device: str = "cpu",
) -> None:
    """Train for `settings.minutes`, a checkpoint each minute; goes on from one that lies in `out`."""
    torch.manual_seed(settings.seed)
    out.mkdir(parents=True, exist_ok=True)
    codec = Codec().to(device)
    if start is not None:
        weights = {
            n: p for n, p in load_file(start).items() if n.split(".")[1] in ("warped", "predict", "blend", "predicted")
        }
        codec.load_state_dict(weights, strict=False)
    average = {n: p.detach().clone() for n, p in codec.named_parameters()}
    found = optimizers(codec, settings)
    step, elapsed = 0, 0.0
    state = out / "state.pt"
    if state.exists():
        saved = torch.load(state, weights_only=True)
        codec.load_state_dict(saved["codec"])
        for optimizer, part in zip(found, saved["optimizers"], strict=True):
            optimizer.load_state_dict(part)
        average, step, elapsed = saved["average"], saved["step"], saved["elapsed"]
    crops = Crops(data, settings.seed + step)
    reported = saved_at = clock = time.perf_counter()
    sums: dict[str, list[float]] = {}
    while elapsed < settings.minutes * 60:
        progress = elapsed / (settings.minutes * 60)
        rate = min(1.0, progress / settings.warmup + 0.02) * (0.5 + 0.5 * np.cos(np.pi * progress)) + 0.005
        for optimizer in found:
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * rate
        predicted = bool(crops.rng.random() >= settings.key_share)
        frame, references, quality = crops.batch(settings.batch, predicted)
        frame, quality = frame.to(device), quality.to(device)
        references = None if references is None else references.to(device)
        with torch.autocast(device, torch.bfloat16):
            error, own, bits, hyper = codec(frame, references, quality)
        weights = lagrangian(0) * 2.0 ** (quality / OCTAVE)
        count = frame.shape[-1] * frame.shape[-2]
        distortion = weights * (error + settings.prediction_weight * own)
        each = distortion + (bits + hyper) / count
        loss = (each * (each.detach() + 1e-3) ** -BALANCE).mean()
        loss.backward()
        for optimizer in found:
            for group in optimizer.param_groups:
                nn.utils.clip_grad_norm_(group["params"], 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        step += 1
        decay = min(settings.decay, step / (step + 20))
        with torch.no_grad():
            torch._foreach_lerp_(list(average.values()), [p.detach() for p in codec.parameters()], 1 - decay)
        kind = "p" if predicted else "k"
        for name, value in (
            ("bpp", (bits + hyper).mean() / count),
            ("hyper", hyper.mean() / count),
            ("mse", error.mean()),
            ("own", own.mean()),
            ("loss", loss),
        ):
            sums.setdefault(f"{kind}.{name}", []).append(float(value.detach()))
        now = time.perf_counter()
        elapsed += now - clock
        clock = now
        if now - reported > 60:
            row = {"step": step, "minutes": round(elapsed / 60, 2)} | {
                k: round(float(np.mean(v)), 4) for k, v in sums.items()
            }
            sums.clear()
            say(json.dumps(row))
            reported = now
        if now - saved_at > 60 or elapsed >= settings.minutes * 60:
            torch.save(
                {
                    "codec": codec.state_dict(),
                    "optimizers": [o.state_dict() for o in found],
                    "average": average,
                    "step": step,
                    "elapsed": elapsed,
                },
                out / "state.tmp",
            )
            (out / "state.tmp").rename(state)
            save_file({n: p.contiguous() for n, p in average.items()}, out / "average.safetensors")
            if step and int(elapsed / 60) % 5 == 0:
                say(json.dumps({"step": step, "held": evaluate(codec, average, held)}))
            saved_at = clock = time.perf_counter()
    (out / "settings.json").write_text(json.dumps(asdict(settings) | {"steps": step}, indent=1))


@torch.no_grad()
def evaluate(codec: Codec, weights: dict[str, Tensor], folder: Path) -> dict[str, tuple[float, float]]:
    """Bits per pixel and PSNR of crops that are not trained on, by kind and quality."""
    own = {n: p.detach().clone() for n, p in codec.named_parameters()}
    codec.load_state_dict(weights)
    crops = Crops(folder, 0)
    result = {}
    for kind, q in (("k", 30), ("k", 42), ("k", 54), ("p", 12), ("p", 24), ("p", 40)):
        data = crops.predicted if kind == "p" else crops.key
        index = np.flatnonzero(crops.crf == 26) if kind == "p" else np.arange(len(data))
        planes = torch.from_numpy(np.ascontiguousarray(data[index][:24])).float()
        with torch.autocast("cpu", torch.bfloat16):
            error, _, bits, hyper = codec(
                planes[:, :3], planes[:, 3:] if kind == "p" else None, torch.full((len(planes),), float(q))
            )
        psnr = float((10 * (255**2 / error).log10()).mean())
        result[f"{kind}{q}"] = (round(float((bits + hyper).sum()) / planes[:, 0].numel(), 4), round(psnr, 2))
    codec.load_state_dict(own)
    return result


_ = LEVEL
