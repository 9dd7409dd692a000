"""The coder of the kind `predictive`: `plan` what a file says of it, `encode_frames` a segment.

    frames --gop.plan--> groups of frames --FrameEncoder--> records, each from the decoded frames it refers to
    quality given, or found: by bisection, until the size or the PSNR asked for is met from below

An encode takes seconds, so a target is met by encoding again at another quality. The quality of a segment is a real
number: frames take the integer below or above it in such shares that their mean is it.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from bitstream import FrameSegment, write_frames
from codec.encoding.predictive.analysis import load_analysis
from codec.encoding.predictive.features import CodedFeatures, FeatureCoder
from codec.encoding.predictive.flow import Flows, luma, one_thread
from codec.encoding.predictive.frame import Encoded, FrameEncoder, Reference
from codec.encoding.predictive.gop import GopSettings, Planned, needed, order, scene_cuts
from codec.encoding.predictive.motion_search import SearchSettings
from codec.network.predictive.store import default, digest_of, load_network
from codec.settings import QUALITY, PredictiveSettings, Settings
from codec.specs import Geometry, PredictiveSpec
from codec.training.task import Coded, SegmentTask, Status, Warn, Watcher

Result = TypeVar("Result")
Option = TypeVar("Option")

LOWEST, HIGHEST = 0.0, 63.0  # quality
NEAR, AIM = 0.96, 0.98  # of the size asked for: near enough, and what is aimed at
CLOSE = 0.05  # dB over the PSNR asked for, likewise
RESOLUTION = 0.05  # quality indices
TRIES = 10
LIKELY_TRIES = 4  # that a target takes
TIMED_FRAMES = 9  # before it is told how long the rest will take
TRIAL = 97  # frames on which structures are compared: with fewer, the key frame would still tell for near anchors
LIKELY_STRUCTURES = 3  # that are tried of several distances of anchors
GIVEN_UP = 0.06  # of log bytes behind the best, half way, at which a structure is given up
CLOSE_BY = 0.05  # of log bytes: where the next structure is no further behind, the one on the other side is not tried
LOG_BYTES_PER_DB = 0.19  # at which sizes at different PSNR are compared; measured around 30 dB
LEAST_ERROR = 1e-4  # so that a perfect frame has a PSNR


def plan(settings: Settings, geometry: Geometry, clip_dim: int, size: float | None, warn: Warn) -> PredictiveSpec:
    """What the header says of the network. Raises MissingBase where the base asked for is not there."""
    model: PredictiveSettings = settings.model
    base = Path(model.base) if model.base else default()
    return PredictiveSpec(digest_of(base), clip_dim)


@dataclass(frozen=True, eq=False)
class Try:
    """A segment encoded at one quality."""

    quality: float
    structure: GopSettings
    frames: list[Encoded]  # in coding order
    levels: dict[int, int]  # by frame number: 0 key frames, 1 anchors, 2.. between them
    features: CodedFeatures | None = None

    def payload(self, start: int) -> bytes:
        """The segment, its first frame `start` of the file."""
        return write_frames(start, [e.coded for e in self.frames], self.features.payload if self.features else b"")

    @property
    def record_bytes(self) -> int:
        """Bytes of its frames."""
        return sum(len(e.coded.record) for e in self.frames)

    @cached_property
    def size(self) -> int:
        """Bytes of the segment."""
        return len(self.payload(0))

    @property
    def psnr(self) -> float:
        return mean_psnr(self.frames)


def mean_psnr(frames: Sequence[Encoded]) -> float:
    """Mean over frames, dB."""
    return float(np.mean([10 * math.log10(255**2 / max(e.error, LEAST_ERROR)) for e in frames]))


def encode_frames(task: SegmentTask, watcher: Watcher, warn: Warn) -> Coded:
    """Encode a segment's frames. See `codec.encoding.segment`."""
    started = time.perf_counter()
    model: PredictiveSettings = task.settings.model
    path = Path(model.base) if model.base else default()
    network = load_network(path)
    watcher.begin(sum(p.numel() for p in network.parameters()))
    run = _Run(task, FrameEncoder(network, load_analysis(path), SearchSettings(turns=model.motion_turns)), watcher)
    target = task.settings.rate
    with one_thread():
        best = search_quality(run.best, target.quality or QUALITY, task.target_bytes, target.psnr, warn)
    return Coded(
        FrameSegment.of(best.payload(task.start), "the coded segment"),
        parameters=sum(p.numel() for p in network.parameters()),
        epochs=0,
        frames=0.0,
        seconds=time.perf_counter() - started,
        details=_details(best),
        advice=run.advice(best),
    )


class _Run:
    """Encodes a segment again and again, keeping what does not depend on the quality."""

    def __init__(self, task: SegmentTask, encoder: FrameEncoder, watcher: Watcher) -> None:
        self.task, self.encoder, self.watcher = task, encoder, watcher
        planes = [luma(frame) for frame in task.frames]
        self.planes, self.flows, self.cuts = planes, Flows(planes), scene_cuts(planes)
        self.features = None if task.features is None else FeatureCoder(task.features)
        self.choices_of(task.settings.model)
        self.started = time.perf_counter()
        self.encoded = 0  # frames, in all tries
        self.planned = 0  # likewise, as far as can be told
        self.tries = 0

    def choices_of(self, model: PredictiveSettings) -> None:
        """What is to be chosen from, once for all qualities."""
        self.drops = [percent / 100 for percent in sorted(model.level_drop)]
        usual = self.drops[len(self.drops) // 2]
        self.structures = [GopSettings(anchor, model.keyint, usual) for anchor in sorted(model.anchor)]

    def best(self, quality: float) -> Try:
        """The segment at a quality, in whichever structure takes the fewest bytes for its PSNR.

        Structures are compared at the first quality asked for, on as many frames as show what each is worth: distances
        of anchors, from the middle one to where they get no better, then likewise what levels differ by.
        """
        frames, rate = len(self.task.frames), self.task.settings.rate
        part = min(frames, TRIAL)
        trials = min(len(self.structures), LIKELY_STRUCTURES) + len(self.drops) - 1
        self.tries += 1
        further = max(LIKELY_TRIES - self.tries, 0) if self.task.target_bytes or rate.psnr is not None else 0
        self.planned = self.encoded + (trials * part if trials > 1 else 0)
        self.planned += (frames if trials == 1 or part < frames else 0) + further * frames
        done: dict[GopSettings, Try] = {}

        def cost(structure: GopSettings) -> float:
            if structure not in done:
                whole = [found for found in done.values() if len(found.frames) == part]
                best = min(whole, key=self._cost, default=None)
                done[structure] = self._encode(quality, structure, part, best)
            found = done[structure]
            return self._cost(found) if len(found.frames) == part else math.inf

        if len(self.structures) > 1:
            self.structures = [least(self.structures, cost)]
        if len(self.drops) > 1:
            self.structures = [least([replace(self.structures[0], drop=drop) for drop in self.drops], cost)]
            self.drops = self.drops[:1]
        [structure] = self.structures
        if structure in done and len(done[structure].frames) == frames:
            return done[structure]
        return self._encode(quality, structure, frames)

    def _cost(self, part: Try) -> float:
        """What structures are compared by: log bytes, at like PSNR."""
        return math.log(self._expected(part)) - LOG_BYTES_PER_DB * part.psnr

    def _expected(self, part: Try) -> float:
        """Bytes of the whole segment by those of its first frames; the nearer the anchors, the more key frames."""
        key: list[int] = []
        other: list[int] = []
        for e in part.frames:
            (other if e.coded.references else key).append(len(e.coded.record))
        items = [item for group in self._order(part.structure, len(self.task.frames)) for item in group]
        keys = sum(not item.references for item in items)
        return float(np.mean(key)) * keys + (float(np.mean(other)) * (len(items) - keys) if other else 0.0)

    def _order(self, structure: GopSettings, count: int) -> list[list[Planned]]:
        """The first `count` frames, in groups in coding order."""
        return order(count, structure, [cut for cut in self.cuts if cut < count])

    def _encode(self, quality: float, structure: GopSettings, count: int, best: Try | None = None) -> Try:
        """The first `count` frames of the segment, or half of them where these are far behind those of the best."""
        groups = self._order(structure, count)
        items = [replace(item, references=needed(item, self.planes)) for group in groups for item in group]
        uses = Counter(r for item in items for r in item.references)
        done: dict[int, Encoded] = {}
        kept: dict[int, Reference] = {}  # the frames that others will refer to

        def encode(item: Planned, references: dict[int, Reference]) -> tuple[Encoded, Reference]:
            index, wanted = structure.quality(quality, item), structure.wanted(quality, item)
            return self.encoder.encode(
                item.number, self.task.frames[item.number], references, index, self.flows, wanted
            )

        half = set(range(count // 2 + 1))  # whichever frames are done when these are, a try is judged by these
        for item, (encoded, decoded) in _as_they_can(items, encode, kept):
            done[item.number] = encoded
            if uses[item.number]:
                kept[item.number] = decoded
            uses.subtract(item.references)
            for number in item.references:
                if not uses[number]:
                    kept.pop(number, None)
            self.encoded += 1
            if best and half <= done.keys():
                if self._behind(Try(quality, structure, [done[n] for n in half], {}), best):
                    self.planned -= count - len(done)
                    items = [item for item in items if item.number in half]
                    break
                best = None
            self.watcher.status(self._status(Try(quality, structure, list(done.values()), {})))
        frames, levels = [done[item.number] for item in items], {item.number: item.level for item in items}
        found = Try(quality, structure, frames, levels)
        return replace(found, features=self._features_beside(found.record_bytes))

    def _behind(self, part: Try, best: Try) -> bool:
        """Whether a part of the frames is far behind the same frames of another try."""
        numbers = {e.coded.number for e in part.frames}
        same = replace(best, frames=[e for e in best.frames if e.coded.number in numbers])
        behind = math.log(part.record_bytes / same.record_bytes) - LOG_BYTES_PER_DB * (part.psnr - same.psnr)
        return behind > GIVEN_UP

    def _features_beside(self, size: float) -> CodedFeatures | None:
        """The features that keep to their share of a file whose frames take so many bytes."""
        if self.features is None:
            return None
        share = self.task.settings.rate.clip_budget
        return self.features.within(size * share / (1 - share) if share < 1 else math.inf)

    def advice(self, best: Try) -> str:
        """On features that make good little of what one constant vector misses, if more bytes would make good more."""
        held = best.features
        if self.features is None or held is None or held.clip_sim >= self.features.wanted:
            return ""
        if (more := self.features.useful).clip_sim <= held.clip_sim:
            return ""
        budget, share = self.task.settings.rate.clip_budget, len(more.payload) / (len(more.payload) + best.record_bytes)
        held_to = "they may take" if held.rank else "they are one constant vector, as no more goes into"
        return (
            f"{held_to} {budget:.1%} of the file: --clip-budget {math.ceil(1000 * share) / 1000:g} would hold ones of "
            f"{more.clip_sim:.3f}, --clip off leaves them out"
        )

    def _status(self, done: Try) -> Status:
        part = self.encoded / self.planned
        timed = self.encoded >= min(TIMED_FRAMES, len(self.task.frames))
        seconds = (time.perf_counter() - self.started) / part if timed else None
        size = self._expected(done)
        size += len(features.payload) if (features := self._features_beside(size)) else 0
        return Status(0, None, part, done.psnr, 8 * size, seconds, self.encoded)


def least(options: Sequence[Option], cost: Callable[[Option], float]) -> Option:
    """The option of least cost, of a row in which it falls to one and rises from it: tried from the middle one on.

    Where the next is close by, the least lies between: then what is before the middle one is not tried.
    """
    place = len(options) // 2
    known = {place: cost(options[place])}

    def at(n: int) -> float:
        if n not in known:
            known[n] = cost(options[n]) if 0 <= n < len(options) else math.inf
        return known[n]

    way = 1 if at(place + 1) < at(place) + CLOSE_BY else -1
    while at(place + way) < at(place):
        place += way
    return options[place]


def _as_they_can(
    items: Sequence[Planned],
    encode: Callable[[Planned, dict[int, Reference]], Result],
    kept: Mapping[int, Reference],
) -> Iterator[tuple[Planned, Result]]:
    """Encode frames, each as soon as all that it refers to are in `kept`, several at once; in the order they are done.

    What becomes of a frame depends on its references alone, and so on no number of threads.
    """
    waiting = list(items)
    running: dict[Future[Result], Planned] = {}
    workers = torch.get_num_threads()
    with ThreadPoolExecutor(workers) as pool:
        try:
            while waiting or running:
                while len(running) < workers:
                    ready = next((i for i in waiting if all(r in kept for r in i.references)), None)
                    if ready is None:
                        break
                    waiting.remove(ready)
                    running[pool.submit(encode, ready, {r: kept[r] for r in ready.references})] = ready
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    yield running.pop(future), future.result()
        finally:
            for future in running:
                future.cancel()


def _details(best: Try) -> dict[str, Any]:
    """Bytes by part and by level of the frames, from ideal code lengths; what is rounded up counts to no part."""
    parts: dict[str, float] = {}
    levels: dict[int, dict[str, float]] = {}
    for e in best.frames:
        for part, bits in e.bits.items():
            parts[part] = parts.get(part, 0.0) + bits / 8
        level = levels.setdefault(best.levels[e.coded.number], {"frames": 0, "bytes": 0, "error": 0.0})
        level["frames"] += 1
        level["bytes"] += len(e.coded.record)
        level["error"] += e.error
    return {
        "quality": best.quality,
        "anchor": best.structure.anchor,
        "level_drop": best.structure.drop,
        "bytes_per_frame": [len(c.record) for c in sorted((e.coded for e in best.frames), key=lambda c: c.number)],
        "bytes_by_part": {part: round(size) for part, size in parts.items()},
        "levels": [
            {"level": n, "frames": v["frames"], "bytes": v["bytes"], "mse": round(v["error"] / v["frames"], 3)}
            for n, v in sorted(levels.items())
        ],
    }


def search_quality(
    attempt: Callable[[float], Try], quality: float, size: float | None, psnr: float | None, warn: Warn
) -> Try:
    """The largest segment within a size, the smallest that reaches a PSNR, or else the one at a quality.

    The logarithm of the size and the PSNR rise nearly evenly with the quality: each try is where the line through the
    nearest ones, on either side of the goal if there are, meets it; every third halves what the tries so far have left.
    """
    if size is None and psnr is None:
        return attempt(quality)
    goal = math.log(size * AIM) if size is not None else float(psnr or 0) + CLOSE / 2
    slope = 0.08 if size is not None else 0.45  # per index, to begin with

    def value(found: Try) -> float:
        return math.log(found.size) if size is not None else found.psnr

    def fits(found: Try) -> bool:
        return found.size <= size if size is not None else found.psnr >= float(psnr or 0)

    def near(found: Try) -> bool:
        return fits(found) and (
            found.size >= NEAR * size if size is not None else found.psnr <= float(psnr or 0) + CLOSE
        )

    low, high, tries = LOWEST, HIGHEST, [attempt(quality)]
    while len(tries) < TRIES and not near(tries[-1]):
        below = [t for t in tries if value(t) <= goal]
        above = [t for t in tries if value(t) > goal]
        low = max((t.quality for t in below), default=LOWEST)
        high = min((t.quality for t in above), default=HIGHEST)
        ends = sorted(tries, key=lambda t: abs(value(t) - goal))[:2]
        if below and above:
            ends = [max(below, key=value), min(above, key=value)]
        if len(ends) > 1 and (apart := ends[0].quality - ends[1].quality):
            slope = max((value(ends[0]) - value(ends[1])) / apart, slope / 4)
        wanted = ends[0].quality + (goal - value(ends[0])) / slope
        if len(tries) % 3 == 0:  # a line may creep towards the goal from one side: halve what is left
            wanted = (low + high) / 2
        inside = min(max(wanted, low + RESOLUTION), high - RESOLUTION)
        # an end of the range is worth a try of its own, and only one
        if wanted <= LOWEST or wanted >= HIGHEST:
            inside = LOWEST if wanted <= LOWEST else HIGHEST
        if high - low < 2 * RESOLUTION or any(abs(t.quality - inside) < RESOLUTION / 2 for t in tries):
            break
        tries.append(attempt(inside))
    if fitting := [t for t in tries if fits(t)]:
        return max(fitting, key=lambda t: t.size) if size is not None else min(fitting, key=lambda t: t.size)
    if size is not None:
        best = min(tries, key=lambda t: t.size)
        warn(f"{best.size:,} bytes are the fewest that this can be coded in, {round(size):,} were asked for")
    else:
        best = max(tries, key=lambda t: t.psnr)
        warn(f"{best.psnr:.2f} dB are the most that this can be coded at, {psnr:g} were asked for")
    return best
