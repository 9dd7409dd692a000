"""The coder of the kind `predictive`: `plan` what a file says of it, `encode_frames` a segment.

    frames --gop.plan--> groups of frames --FrameEncoder--> records, each from the decoded frames it refers to
    quality given, or found: by bisection, until the size or the PSNR asked for is met from below

An encode takes seconds, so a target is met by encoding again at another quality. The quality of a segment is a real
number: frames take the integer below or above it in such shares that their mean is it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from bitstream import FrameSegment, write_frames
from codec.encoding.predictive.analysis import load_analysis
from codec.encoding.predictive.frame import Encoded, FrameEncoder
from codec.encoding.predictive.gop import GopSettings, order, scene_cuts
from codec.encoding.predictive.head import fit_head
from codec.encoding.predictive.motion_search import Flows, SearchSettings, luma
from codec.network.predictive.head import ClipHead
from codec.network.predictive.store import default, digest_of, load_network
from codec.settings import PredictiveSettings, Settings
from codec.specs import Geometry, PredictiveSpec
from codec.training.task import Coded, SegmentTask, Status, Warn, Watcher

LOWEST, HIGHEST = 0.0, 63.0  # quality
NEAR, NEAR_MIDDLE = 0.96, 0.985  # of the size asked for: near enough, and what to aim at
RESOLUTION = 0.05  # quality indices, of the search
CLOSE = 0.05  # dB over the PSNR asked for, likewise
TRIES = 9


def plan(settings: Settings, geometry: Geometry, clip_dim: int, size: float | None, warn: Warn) -> PredictiveSpec:
    """What the header says of the network. Raises MissingBase where the base asked for is not there."""
    model: PredictiveSettings = settings.model
    base = Path(model.base) if model.base else default()
    return PredictiveSpec(digest_of(base), clip_dim, model.clip_rank if clip_dim else 0)


@dataclass(frozen=True)
class _Try:
    """A segment encoded at one quality."""

    quality: float
    frames: list[Encoded]  # in coding order
    size: int  # bytes of its records

    @property
    def psnr(self) -> float:
        """Mean over frames, dB."""
        return float(np.mean([10 * math.log10(255**2 / max(e.error, 1e-4)) for e in self.frames]))


def encode_frames(task: SegmentTask, watcher: Watcher, warn: Warn) -> Coded:
    """Encode a segment's frames. See `codec.encoding.segment`."""
    started = time.perf_counter()
    model: PredictiveSettings = task.settings.model
    path = Path(model.base) if model.base else default()
    network = load_network(path).eval()
    encoder = FrameEncoder(network, load_analysis(path).eval(), SearchSettings())
    planes = [luma(frame) for frame in task.frames]
    structure = GopSettings(model.anchor, model.keyint)
    groups = order(len(planes), structure, scene_cuts(planes))
    flows = Flows(planes)
    watcher.begin(sum(p.numel() for p in network.parameters()))

    def attempt(quality: float) -> _Try:
        done: dict[int, Encoded] = {}
        for item in (item for group in groups for item in group):
            shown = {r: done[r].shown for r in item.references}
            q = structure.quality(quality, item)
            done[item.number] = encoder.encode(item.number, task.frames[item.number], shown, q, flows)
            watcher.status(_status(list(done.values()), len(planes), time.perf_counter() - started))
        frames = list(done.values())
        return _Try(quality, frames, len(write_frames(task.start, [e.coded for e in frames])))

    weights = b""
    target = task.settings.rate
    best = search_quality(attempt, target.quality, task.target_bytes, target.psnr, warn)
    if task.features is not None:
        inorder = sorted(best.frames, key=lambda e: e.coded.number)
        pooled = torch.cat([ClipHead.pool(e.trunk[None], task.geometry) for e in inorder])
        features = torch.from_numpy(task.features)
        weights = fit_head(pooled.clone(), features, model.clip_rank, target, task.settings.train.seed)
    payload = write_frames(task.start, [e.coded for e in best.frames], weights)
    segment = FrameSegment.of(payload, "the coded segment")
    return Coded(segment, 0, float(len(planes)), time.perf_counter() - started)


def _status(done: list[Encoded], frames: int, seconds: float) -> Status:
    part = len(done) / frames
    bits = sum(8.0 * len(e.coded.record) for e in done)
    return Status(0, None, part, _Try(0, done, 0).psnr, bits, seconds / part * (1 - part))


def search_quality(
    attempt: Callable[[float], _Try], quality: float, size: float | None, psnr: float | None, warn: Warn
) -> _Try:
    """The best segment that keeps to a size, the smallest that reaches a PSNR, or the one at a quality.

    Sizes grow and PSNR rises with the quality nearly evenly on their log scales: each try is where the line through the
    two nearest ones meets the target, kept inside the bounds found so far.
    """
    if size is None and psnr is None:
        return attempt(quality)
    goal = math.log(NEAR_MIDDLE * size) if size is not None else float(psnr or 0) + CLOSE / 2

    def value(found: _Try) -> float:
        return math.log(found.size) if size is not None else found.psnr

    def fits(found: _Try) -> bool:
        return found.size <= size if size is not None else found.psnr >= float(psnr or 0)

    def near(found: _Try) -> bool:
        if size is not None:
            return NEAR * size <= found.size <= size
        return 0 <= found.psnr - float(psnr or 0) <= CLOSE

    low, high = LOWEST, HIGHEST
    tries: list[_Try] = []
    q = quality
    slope = 0.08 if size is not None else 0.45  # per index: of log bytes, of dB
    for _ in range(TRIES):
        tries.append(attempt(q))
        last = tries[-1]
        if near(last):
            break
        if value(last) > goal:
            high = min(high, q)
        else:
            low = max(low, q)
        if high - low < RESOLUTION:
            break
        if len(tries) > 1:
            a, b = sorted(tries, key=lambda t: abs(value(t) - goal))[:2]
            if abs(a.quality - b.quality) > RESOLUTION and value(a) != value(b):
                slope = max((value(a) - value(b)) / (a.quality - b.quality), slope / 4)
            last = a
        margin = RESOLUTION / 2
        q = min(max(last.quality + (goal - value(last)) / slope, low + margin), high - margin)
        if low == LOWEST and q < LOWEST + 2 * margin:
            q = LOWEST
        if high == HIGHEST and q > HIGHEST - 2 * margin:
            q = HIGHEST
        if any(abs(t.quality - q) < RESOLUTION / 4 for t in tries):
            break
    fitting = [t for t in tries if fits(t)]
    if fitting:
        return max(fitting, key=lambda t: t.size) if size is not None else min(fitting, key=lambda t: t.size)
    best = min(tries, key=lambda t: t.size) if size is not None else max(tries, key=lambda t: t.psnr)
    if size is not None:
        warn(f"{best.size:,} bytes are the fewest that this segment can be coded in, {round(size):,} were asked for")
    else:
        warn(f"{best.psnr:.2f} dB are the most that this segment can be coded at, {psnr} were asked for")
    return best
