"""Speed on this machine: `python -m benchmarks.speed [CLIP]`.

Training and decoding in frames/s against the same network in float32, NCHW, eager (PyTorch's defaults); one patch
against a whole frame; entropy coding per million symbols against its own tables' ideal length. Both sides of every
ratio are timed alternately in one run; figures are medians.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import torch
import torch.nn.functional as F

from benchmarks.machine import describe
from bitstream import Decoder, Encoder, best_rows, code_length
from codec import video
from codec.encoding.plan import plan, target_bytes
from codec.network.backend import pick_device, pick_dtype
from codec.network.dual_head import DualHeadHNeRV
from codec.settings import PRESETS, Settings
from codec.specs import DualHeadSpec, Geometry
from codec.training.fit import Trainer
from codec.training.optim import optimizers
from codec.training.task import SegmentTask

REPEATS = 7
CALLS = 50  # of a patch or a frame, one after the other
SYMBOLS = 1_000_000


@dataclass(frozen=True)
class Pair:
    """Medians of two things timed alternately, seconds, and the median of their ratios."""

    ours: float
    plain: float
    ratio: float  # plain / ours


def compare(ours: Callable[[], object], plain: Callable[[], object], repeats: int = REPEATS) -> Pair:
    """Time both alternately, after one run of each that is not counted."""
    times: list[tuple[float, float]] = []
    for number in range(repeats + 1):
        pair = []
        for run in (ours, plain):
            start = time.perf_counter()
            run()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            pair.append(time.perf_counter() - start)
        if number:
            times.append((pair[0], pair[1]))
    medians = [statistics.median(side) for side in zip(*times, strict=True)]
    return Pair(medians[0], medians[1], statistics.median(b / a for a, b in times))


def training(
    spec: DualHeadSpec, geometry: Geometry, frames: np.ndarray, settings: Settings, device: torch.device
) -> Pair:
    """Seconds a frame of one training step."""
    trainer = Trainer(SegmentTask(0, geometry, spec, frames, None, settings, str(device)))
    ours = trainer.train_step

    torch.manual_seed(0)
    model = DualHeadHNeRV(spec, geometry).to(device).cast(torch.float32, torch.contiguous_format)
    built = optimizers(model, settings.train.optimizer, settings.train.lr)
    pixels = torch.from_numpy(frames).permute(0, 3, 1, 2).contiguous().to(device)

    def plain() -> None:
        t = torch.randperm(geometry.frames)[: trainer.batch].to(device)
        F.mse_loss(model.rgb(model.trunk(model.tile_coords(t))), pixels[t] / 255).backward()
        for optimizer in built:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    pair = compare(ours, plain, 3 * REPEATS)
    return Pair(pair.ours / trainer.batch, pair.plain / trainer.batch, pair.ratio)


@torch.inference_mode()
def decoding(spec: DualHeadSpec, geometry: Geometry, device: torch.device) -> tuple[Pair, Pair]:
    """Seconds a frame of decoding; and of one frame, one patch (as `ours`) against the whole (as `plain`)."""
    batch = min(4, geometry.frames)
    t = torch.arange(batch, device=device)
    torch.manual_seed(0)
    model = DualHeadHNeRV(spec, geometry).to(device).eval().cast(pick_dtype(device))
    torch.manual_seed(0)
    plain = DualHeadHNeRV(spec, geometry).to(device).eval().cast(torch.float32, torch.contiguous_format)
    pair = compare(lambda: model.frames(t).cpu(), lambda: plain.frames(t).cpu(), 3 * REPEATS)
    row, column = geometry.grid[0] // 2, geometry.grid[1] // 2
    one = t[:1]

    def patches() -> None:
        for _ in range(CALLS):
            model.patch(one, row, column).cpu()

    def frames() -> None:
        for _ in range(CALLS):
            model.frames(one).cpu()

    patch = compare(patches, frames, 3 * REPEATS)
    return (
        Pair(pair.ours / batch, pair.plain / batch, pair.ratio),
        Pair(patch.ours / CALLS, patch.plain / CALLS, patch.ratio),
    )


def coding(symbols: int = SYMBOLS) -> dict[str, float]:
    """Seconds to encode and decode so many symbols of 64 channels, and coded over ideal length."""
    rng = np.random.default_rng(0)
    scales = np.repeat(np.geomspace(0.3, 20, 64), symbols // 64)
    values = np.clip(np.round(rng.laplace(0, scales)), -127, 127).astype(np.int32)
    rows = np.repeat(best_rows(values.reshape(64, -1)), symbols // 64)
    encode_s, decode_s = [], []
    for _ in range(REPEATS):
        start = time.perf_counter()
        encoder = Encoder()
        encoder.put(values, rows)
        data = encoder.finish()
        middle = time.perf_counter()
        decoded = Decoder(data).get(rows)
        decode_s.append(time.perf_counter() - middle)
        encode_s.append(middle - start)
        if not np.array_equal(decoded, values):
            raise AssertionError("the coder did not return what it was given")
    return {
        "encode_s_per_million": statistics.median(encode_s) * 1e6 / len(values),
        "decode_s_per_million": statistics.median(decode_s) * 1e6 / len(values),
        "coded_over_ideal": 8 * len(data) / code_length(values, rows),
    }


@click.command()
@click.argument("clip", required=False, type=click.Path(exists=True))
@click.option("--preset", default="grid", show_default=True, type=click.Choice(["grid", "hnerv"]))
@click.option("--bpp", type=float, help="Target of the network's size; the preset's where not given.")
@click.option("--device", default="auto", show_default=True)
@click.option("--frames", "count", default=32, show_default=True, help="Frames of the clip, or of noise without one.")
@click.option("--json", "as_json", is_flag=True)
def main(clip: str | None, preset: str, bpp: float | None, device: str, count: int, as_json: bool) -> None:
    """Training, decoding and coding speed of a preset's network on CLIP (640x360 noise without one)."""
    where = pick_device(device)
    if clip:
        frames = video.read(Path(clip), 0, count)
    else:
        frames = np.random.default_rng(0).integers(0, 256, (count, 360, 640, 3), dtype=np.uint8)
    settings = PRESETS[preset].override(clip="off", bpp=bpp, qat_at=1.0, minutes=1e6)
    length, height, width = frames.shape[:3]
    geometry = Geometry(length, height, width, settings.source.grid)
    spec = plan(settings, geometry, 0, target_bytes(settings, length, height, width))
    train = training(spec, geometry, frames, settings, where)
    decode, patch = decoding(spec, geometry, where)
    coded = coding()
    result = {
        "machine": describe(),
        "network": {"preset": preset, "embed": str(spec.embed), "fc_dim": spec.fc_dim, "size": [height, width]},
        "dtype": str(pick_dtype(where)).removeprefix("torch."),
        "train_fps": 1 / train.ours,
        "train_fps_plain": 1 / train.plain,
        "train_speedup": train.ratio,
        "decode_fps": 1 / decode.ours,
        "decode_fps_plain": 1 / decode.plain,
        "decode_speedup": decode.ratio,
        "patch_over_frame": 1 / patch.ratio,
        **coded,
    }
    if as_json:
        click.echo(json.dumps(result, indent=2))
        return
    click.echo(f"{preset}: {spec.embed}, fc_dim {spec.fc_dim}, {width}x{height}, {result['dtype']} on {where}")
    click.echo(f"training   {1 / train.ours:8.1f} frames/s, plain {1 / train.plain:8.1f}: {train.ratio:.2f} times")
    click.echo(f"decoding   {1 / decode.ours:8.1f} frames/s, plain {1 / decode.plain:8.1f}: {decode.ratio:.2f} times")
    click.echo(
        f"one patch  {patch.ours * 1e3:8.2f} ms, its frame {patch.plain * 1e3:.2f} ms: {1 / patch.ratio:.2f} of it"
    )
    click.echo(
        f"coding     {coded['encode_s_per_million']:.3f} s to encode, {coded['decode_s_per_million']:.3f} s to decode "
        f"a million symbols; {100 * (coded['coded_over_ideal'] - 1):+.3f} % of the tables' ideal length"
    )


if __name__ == "__main__":
    main()
