"""What each part of the predictive recipe is worth: `python -m benchmarks.ablation CLIP...`.

The first frames of each clip are encoded with all parts, then with one of them off at a time. Bytes are compared at the
PSNR of the encode with all parts, by that clip's own slope between both qualities. The base is not trained anew for
what is off: where it was trained with a part, that part counts for more than it brought.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any
from unittest.mock import patch

import click
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.machine import describe
from benchmarks.table import line
from codec import video
from codec.encoding.predictive import cell_transforms, frame
from codec.encoding.predictive.coder import encode_frames, plan
from codec.network.predictive import quantization
from codec.network.predictive.frames import shown_by
from codec.network.predictive.motion import Pictures
from codec.network.predictive.network import PredictiveNetwork
from codec.network.predictive.scales import LARGEST_SYMBOL
from codec.network.predictive.store import load_network
from codec.network.predictive.symbols import Symbols
from codec.settings import PRESETS
from codec.specs import Geometry
from codec.training.task import SegmentTask, Status, Unwatched

FRAMES = 33
QUALITIES = (36.0, 46.0)
USUAL: dict[str, Any] = {"clip": "off", "anchor": (16,), "temporal_filter": (100,)}  # no tries, so that seconds compare
EQUAL = 14.0  # indices that frames lie below the quality of a segment, about: levels that are equal would all take it

Patches = Callable[[], Sequence[AbstractContextManager[Any]]]


@dataclass(frozen=True)
class Lever:
    """One part of the recipe, off."""

    name: str
    options: dict[str, Any] = field(default_factory=dict)  # other than `USUAL`
    lower: float = 0.0  # indices of quality, for about the same bytes
    patches: Patches = tuple  # what is put in its place


@dataclass(frozen=True)
class Point:
    """One encode."""

    size: int  # bytes
    psnr: float  # dB, mean over frames
    seconds: float


def _zeroed(name: str) -> Patches:
    """A part of the network that changes nothing where its parameters are 0."""

    def zeroed(path: Path) -> PredictiveNetwork:
        network = load_network(path)
        part = getattr(network, name)
        for values in [part] if isinstance(part, Tensor) else part.parameters():
            values.data.zero_()
        return network

    return lambda: [patch("codec.encoding.predictive.coder.load_network", zeroed)]


def _rounded(x: Tensor, rows: Tensor, weight: Tensor) -> Tensor:
    """Nearest integers, whatever they take."""
    return x.round().clamp(-LARGEST_SYMBOL, LARGEST_SYMBOL) * (rows > 0)


def _plain(references: Tensor, symbols: Sequence[Symbols]) -> tuple[Pictures, Pictures]:
    """The same twice."""
    shown = shown_by(references, symbols)
    return shown, shown


ALL = Lever("nothing")
LEVERS = (
    Lever("temporal filter", {"temporal_filter": (0,)}),
    Lever("far anchors: 4 frames apart", {"anchor": (4,)}),
    Lever("levels: all of one quality", {"level_drop": (0,)}, lower=EQUAL),
    Lever("motion that goes on", patches=lambda: [patch.object(frame, "carry", lambda *of: None)]),
    Lever("blocks that overlap", patches=lambda: [patch.object(frame, "shown_both_ways", _plain)]),
    Lever(
        "frames left as predicted",
        patches=lambda: [patch.object(frame, "min", lambda tries, key: tries[0], create=True)],
    ),
    Lever("rounding by what it takes", patches=lambda: [patch.object(quantization, "_nearest_in_cost", _rounded)]),
    Lever("transforms of 4x4 pixels, and none", patches=lambda: [patch.object(cell_transforms, "WORTH", math.inf)]),
    Lever("dead zone of hyper-latents", patches=lambda: [patch.object(frame, "DEAD", 0.0)]),
    Lever("loop filter", patches=_zeroed("loop_out")),
    Lever("units of means", patches=_zeroed("log_unit")),
    Lever("one turn of motion: two, as `medium`", {"motion_turns": 2}),
)


class _Last(Unwatched):
    """Keeps what was said last: of all frames."""

    psnr = math.nan

    def status(self, status: Status) -> None:
        self.psnr = status.psnr


def encode(frames: NDArray[np.uint8], quality: float, lever: Lever) -> Point:
    """frames: RGB [T, H, W, 3]."""
    settings = PRESETS["fast"].override(**{**USUAL, **lever.options, "quality": quality - lever.lower})
    (count, height, width), last = frames.shape[:3], _Last()
    geometry = Geometry(count, height, width, (1, 1))
    with ExitStack() as stack:
        for replaced in lever.patches():
            stack.enter_context(replaced)
        spec = plan(settings, geometry, 0, None, lambda message: None)
        started = time.perf_counter()
        coded = encode_frames(SegmentTask(0, geometry, spec, frames, None, settings), last, lambda message: None)
    seconds = time.perf_counter() - started
    return Point(sum(coded.details["bytes_per_frame"]), last.psnr, seconds)


def more(points: Sequence[Point], of_all: Sequence[Point]) -> float:
    """Bytes that points take over those with all parts at the same PSNR: the mean over them, as a share.

    of_all: at the same qualities, the slope between whose first and last tells what a dB is worth.
    """
    first, *_, last = of_all
    slope = math.log(last.size / first.size) / (last.psnr - first.psnr)
    logs = [math.log(a.size / b.size) - slope * (a.psnr - b.psnr) for a, b in zip(points, of_all, strict=True)]
    return math.expm1(sum(logs) / len(logs))


def lines(clips: dict[str, NDArray[np.uint8]], qualities: Sequence[float], levers: Sequence[Lever]) -> Iterator[str]:
    """A table in Markdown, each line as soon as it is known."""
    yield line(["off", *clips, "mean", "seconds"])
    yield line(["---", *["--:"] * (len(clips) + 2)])
    of_all: dict[str, list[Point]] = {}
    for lever in (ALL, *levers):
        found = {name: [encode(frames, q, lever) for q in qualities] for name, frames in clips.items()}
        of_all = of_all or found
        shares = [more(points, of_all[name]) for name, points in found.items()]
        cells = [f"{100 * share:+.1f} %" for share in (*shares, sum(shares) / len(shares))]
        seconds = sum(point.seconds for points in found.values() for point in points)
        yield line([lever.name, *cells, f"{seconds / sum(map(len, found.values())):.1f}"])


@click.command()
@click.argument("clips", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--frames", default=FRAMES, show_default=True, type=click.IntRange(2), help="Of each clip, the first.")
@click.option("--quality", multiple=True, default=QUALITIES, show_default=True, type=float, help="Two or more.")
def main(clips: Sequence[Path], frames: int, quality: Sequence[float]) -> None:
    """Bytes at equal PSNR, and seconds of an encode, with one part of the recipe off at a time."""
    if len(quality) < 2:
        raise click.UsageError("the slope takes two qualities: --quality 36 --quality 46")
    held = {clip.stem: np.stack([*islice(video.frames(clip), frames)]) for clip in clips}
    first = next(iter(held.values()))
    encode(first[:3], quality[0], ALL)  # compiles, which no row is to be charged for
    for row in lines(held, sorted(quality), LEVERS):
        click.echo(row)
    click.echo(f"\n{describe()}, {torch.get_num_threads()} threads")


if __name__ == "__main__":
    main()
