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
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from bitstream import FrameSegment
from codec.encoding.predictive.analysis import load_analysis
from codec.encoding.predictive.choices import search_quality
from codec.encoding.predictive.compiled import compiling
from codec.encoding.predictive.features import CodedFeatures, FeatureCoder
from codec.encoding.predictive.flow import Flows, luma, one_thread
from codec.encoding.predictive.frame import Encoded, FrameEncoder, Reference
from codec.encoding.predictive.gop import GopSettings, Planned, lineages, needed, scene_cuts
from codec.encoding.predictive.kept import Kept, Key
from codec.encoding.predictive.motion_search import SearchSettings
from codec.encoding.predictive.structures import Structures
from codec.encoding.predictive.temporal_filter import TemporalFilter
from codec.encoding.predictive.tries import Try, details
from codec.network.predictive.store import default, digest_of, load_network
from codec.settings import QUALITY, PredictiveSettings, Settings
from codec.side_by_side import as_they_can
from codec.specs import Geometry, PredictiveSpec
from codec.training.interrupts import deferred_interrupts
from codec.training.task import Coded, SegmentTask, Status, Warn, Watcher

LIKELY_TRIES = 4  # that a target takes
TIMED_FRAMES = 25  # before it is told how long the rest will take: the first are slower than most
COMPILING = "compiling the motion search for this machine: about 15 seconds, this once"


def plan(settings: Settings, geometry: Geometry, clip_dim: int, size: float | None, warn: Warn) -> PredictiveSpec:
    """What the header says of the network. Raises MissingBase where the base asked for is not there."""
    model: PredictiveSettings = settings.model
    base = Path(model.base) if model.base else default()
    return PredictiveSpec(digest_of(base), clip_dim)


def encode_frames(task: SegmentTask, watcher: Watcher, warn: Warn) -> Coded:
    """Encode a segment's frames. See `codec.encoding.segment`."""
    started = time.perf_counter()
    model: PredictiveSettings = task.settings.model
    path = Path(model.base) if model.base else default()
    network = load_network(path)
    watcher.begin(sum(p.numel() for p in network.parameters()))
    encoder = FrameEncoder(network, load_analysis(path), SearchSettings(turns=model.motion_turns))
    target = task.settings.rate
    with one_thread(), deferred_interrupts() as interrupted, compiling(lambda: watcher.note(COMPILING)):
        run = _Run(task, encoder, watcher, interrupted)
        best = search_quality(run.best, target.quality or QUALITY, task.target_bytes, target.psnr, warn)
    return Coded(
        FrameSegment.of(best.payload(task.start), "the coded segment"),
        parameters=sum(p.numel() for p in network.parameters()),
        epochs=0,
        frames=0.0,
        seconds=time.perf_counter() - started,
        details=details(best),
        advice=run.advice(best),
    )


class _Run:
    """Encodes a segment again and again, keeping what does not depend on the quality."""

    def __init__(
        self, task: SegmentTask, encoder: FrameEncoder, watcher: Watcher, interrupted: Callable[[], bool]
    ) -> None:
        self.task, self.encoder, self.watcher, self.interrupted = task, encoder, watcher, interrupted
        self.kept = Kept(task.state)
        self.planes = [luma(frame) for frame in task.frames]
        cuts = scene_cuts(self.planes)
        self.flows = Flows(self.planes)
        self.towards = TemporalFilter(task.frames, self.planes, cuts)
        self.features = None if task.features is None else FeatureCoder(task.features)
        self.structures = Structures(task.settings.model, len(task.frames), cuts)
        self.started = time.perf_counter()
        self.encoded = 0  # frames, in all tries
        self.planned = 0  # likewise, as far as can be told
        self.tries = 0

    def best(self, quality: float) -> Try:
        """The segment at a quality, in its best structure."""
        rate = self.task.settings.rate
        self.tries += 1
        further = max(LIKELY_TRIES - self.tries, 0) if self.task.target_bytes or rate.psnr is not None else 0
        self.planned = self.encoded + self.structures.likely + further * len(self.task.frames)
        return self.structures.best(quality, self._encode)

    def _encode(self, quality: float, structure: GopSettings, count: int, best: Try | None = None) -> Try:
        """The first `count` frames of the segment, or half of them where these are far behind those of the best."""
        groups = self.structures.order(structure, count)
        items = [replace(item, references=needed(item, self.planes)) for group in groups for item in group]
        keys = {number: Key(quality, structure, lineage) for number, lineage in lineages(items).items()}
        uses = Counter(r for item in items for r in item.references)
        done: dict[int, Encoded] = {}
        kept: dict[int, Reference] = {}  # the frames that others will refer to

        def encode(item: Planned, references: dict[int, Reference]) -> tuple[Encoded, Reference]:
            frame = self.task.frames[item.number]
            if known := self.kept.get(keys[item.number]):
                return known, self.encoder.decode(known.coded, references, *frame.shape[:2])
            index, wanted = structure.quality(quality, item), structure.wanted(quality, item)
            towards = self.towards(item, wanted, structure.temporal_filter)
            return self.encoder.encode(item.number, frame, references, index, self.flows, wanted, towards)

        half = set(range(count // 2 + 1))  # whichever frames are done when these are, a try is judged by these
        for item, (encoded, decoded) in as_they_can(items, encode, kept):
            done[item.number] = encoded
            if uses[item.number]:
                kept[item.number] = decoded
            uses.subtract(item.references)
            for number in item.references:
                if not uses[number]:
                    kept.pop(number, None)
            if self.kept.get(keys[item.number]):
                self.planned -= 1
            else:
                self.encoded += 1
            self.kept.add(keys[item.number], encoded, self.interrupted())
            if best and half <= done.keys():
                if self.structures.behind(Try(quality, structure, [done[n] for n in half], {}), best):
                    self.planned -= count - len(done)
                    items = [item for item in items if item.number in half]
                    break
                best = None
            self.watcher.status(self._status(Try(quality, structure, list(done.values()), {})))
        frames, levels = [done[item.number] for item in items], {item.number: item.level for item in items}
        found = Try(quality, structure, frames, levels)
        return replace(found, features=self._features_beside(found.record_bytes))

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
        part = self.encoded / max(1, self.planned)
        timed = self.encoded >= min(TIMED_FRAMES, len(self.task.frames))
        seconds = (time.perf_counter() - self.started) / part if timed else None
        size = self.structures.expected(done)
        size += len(features.payload) if (features := self._features_beside(size)) else 0
        return Status(0, None, part, done.psnr, 8 * size, seconds, self.encoded)
