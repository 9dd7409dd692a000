"""Encode: a video or a directory of images -> a .nerv file whose every segment has been read back and measured.

    scan -> header -> per segment: teacher, encode_segment -> assemble -> check -> write

Nothing is written to the output before all of that has held; what has been trained lies in OUTPUT.ckpt until then.
"""

from __future__ import annotations

import hashlib
import json
import time
import warnings
from dataclasses import dataclass, replace
from fractions import Fraction
from numbers import Rational
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bitstream import FileReader, Header, assemble
from codec import video
from codec.atomic import atomic_output, check_outputs
from codec.decoding.collection import SUFFIX
from codec.decoding.reader import operations_over
from codec.encoding.estimate import Estimate, Whole
from codec.encoding.header import LIMITS, overhead, plan_header, segment_length
from codec.encoding.job import Job, directory
from codec.encoding.logs import Log, check_log
from codec.encoding.plan import SIZE_REACHED, is_asked_for, target_bytes
from codec.encoding.progress import Progress, Silent, Watching
from codec.encoding.report import measured_together, quality_of, report_of
from codec.encoding.segment import Clock, SegmentResult, encode_segment
from codec.errors import OutputError
from codec.features.teacher import CLIPManager, load_teacher
from codec.network.backend import pick_device
from codec.settings import Settings
from codec.specs import Geometry, NetworkSpec
from codec.training.task import SegmentTask, Warn

TIMED_FEATURES = 4  # frames


def encode(
    source: str | Path,
    output: str | Path,
    settings: Settings = Settings(),
    *,
    device: str = "auto",
    force: bool = False,
    resume: bool = False,
    report: str | Path | None = None,
    log_dir: str | Path | None = None,
    fps: Fraction | None = None,
    progress: Progress = Silent(),
    warn: Warn = warnings.warn,
) -> dict[str, Any]:
    """Encode a video file or a directory of images; returns the report: settings, measurements, bytes and seconds.

    resume: go on from OUTPUT.ckpt where an earlier encode with the same settings stopped. force: replace `output` and
    `report` where they exist, and take an `output` of another suffix than .nerv. report: write it to this JSON file as
    well. log_dir: for TensorBoard. fps: of a directory of images. warn(message) is called for what does not go as
    planned and is no error. Raises CodecError (and its kinds) for anything a user can mend, ValueError for settings
    that do not fit together.
    """
    _check_arguments(settings, fps)
    output, teacher = Path(output), settings.teacher
    written = [path for path in (output, report) if path is not None]
    read: list[str | Path] = [*video.files(source), teacher.clip_model, teacher.clip_pretrained]
    check_outputs([(path, None) for path in written], read, force)
    if output.suffix.lower() != SUFFIX and not force:
        raise OutputError(f"{output} does not end in {SUFFIX}: name it {output.name}{SUFFIX}, or insist with --force")
    check_log(log_dir)
    directory(output)  # has a name, or the work of hours could not be kept
    result = _encode(source, output, settings, pick_device(device), force, resume, log_dir, fps, progress, warn)
    if report is not None:
        with atomic_output(report, force) as temporary:
            temporary.write_text(json.dumps(result, indent=2) + "\n")
    return result


def estimate(
    source: str | Path,
    settings: Settings = Settings(),
    *,
    device: str = "auto",
    fps: Fraction | None = None,
    progress: Progress = Silent(),
    warn: Warn = warnings.warn,
) -> Estimate:
    """What `encode` with these arguments will take, from its first steps, which are timed; no output is written.

    Raises what `encode` raises.
    """
    _check_arguments(settings, fps)
    watcher = _UntilExpected(progress)
    prepared = _prepare(source, settings, pick_device(device), fps, watcher, warn, Clock())
    frames = next(video.segments(source, prepared.length, **prepared.cut))
    features, seconds = None, 0.0
    if prepared.teacher is not None:  # of a few frames; for what is timed the others may have the same
        began = time.perf_counter()
        some = prepared.teacher.features(frames[:TIMED_FEATURES], prepared.header.grid)
        seconds = (time.perf_counter() - began) * len(frames) / len(some)
        features = np.resize(some, (len(frames), *some.shape[1:]))
    task = prepared.task(0, frames, features, None)
    try:
        encode_segment(task, Watching(task, prepared.whole, 0, watcher, Log(None), seconds), warn)
    except _Enough as enough:
        told = enough.estimate
        return replace(told, seconds=told.seconds + seconds, left=told.left + seconds)
    raise AssertionError("an encoder that never told how far it was")


class _Enough(Exception):
    """The estimate is there."""

    def __init__(self, estimate: Estimate) -> None:
        super().__init__()
        self.estimate = estimate


class _UntilExpected(Silent):
    """Passes on what is told of an encode up to its estimate, which it raises."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def phase(self, name: str) -> None:
        self._progress.phase(name)

    def source(self, described: str) -> None:
        self._progress.source(described)

    def counted(self, done: int, total: int | None) -> None:
        self._progress.counted(done, total)

    def expected(self, estimate: Estimate) -> None:
        raise _Enough(estimate)


def _check_arguments(settings: Settings, fps: Fraction | None) -> None:
    settings.check()
    if fps is not None and not (isinstance(fps, Rational) and 0 < fps <= 10**6):
        raise ValueError(f"fps {fps!r} is not a rate: give a Fraction, such as Fraction(30000, 1001)")


@dataclass(frozen=True, eq=False)
class _Prepared:
    """A source that has been scanned, and what is to become of it."""

    settings: Settings
    device: torch.device
    info: video.SourceInfo
    length: int  # frames of a segment
    teacher: CLIPManager | None
    header: Header
    spec: NetworkSpec
    whole: Whole

    @property
    def cut(self) -> dict[str, Any]:
        return {"crop": self.settings.source.crop, "resize": self.settings.source.resize}

    @property
    def key(self) -> str:
        """Stands for source and settings."""
        return hashlib.sha256(repr((self.settings, self.header, self.info.digest)).encode()).hexdigest()

    def task(
        self, number: int, frames: NDArray[np.uint8], features: NDArray[np.float32] | None, state: Path | None
    ) -> SegmentTask:
        """Segment `number`."""
        size, header = self.whole.size, self.header
        return SegmentTask(
            start=number * self.length,
            geometry=Geometry(len(frames), header.height, header.width, header.grid),
            spec=self.spec,
            frames=frames,
            features=features,
            settings=self.settings,
            device=str(self.device),
            target_bytes=size and max(size - self.whole.overhead, 1.0) * len(frames) / header.frames,
            state=state,
        )


def _prepare(
    source: str | Path,
    settings: Settings,
    device: torch.device,
    fps: Fraction | None,
    progress: Progress,
    warn: Warn,
    clock: Clock,
) -> _Prepared:
    started = time.perf_counter()
    progress.phase("scan")
    with clock("scan"):
        info = video.scan(
            source,
            settings.source.crop,
            settings.source.resize,
            fps,
            progress=lambda done: progress.counted(done, None),
        )
    progress.source(info.described)
    for warning in info.warnings:
        warn(warning)
    length = segment_length(settings.source.segment, info)
    chosen = settings.teacher
    if chosen.clip != "off":
        progress.phase("load")
    with clock("teacher"):
        teacher = load_teacher(chosen.clip, chosen.clip_model, chosen.clip_pretrained, device, warn=warn)  # type: ignore[arg-type]
    header, spec = plan_header(settings, info, length, teacher.identity if teacher else None, warn)
    size = target_bytes(settings, info.frames, info.height, info.width)
    whole = Whole(info.frames, size, overhead(header, length, info.timestamps), started)
    return _Prepared(settings, device, info, length, teacher, header, spec, whole)


def _encode(
    source: str | Path,
    output: Path,
    settings: Settings,
    device: torch.device,
    force: bool,
    resume: bool,
    log_dir: str | Path | None,
    fps: Fraction | None,
    progress: Progress,
    warn: Warn,
) -> dict[str, Any]:
    """See `encode`, which has checked where its results go."""
    clock = Clock()
    prepared = _prepare(source, settings, device, fps, progress, warn, clock)
    info, length, header, size = prepared.info, prepared.length, prepared.header, prepared.whole.size

    results: list[SegmentResult] = []
    with Job(output, prepared.key, resume, force) as job:
        with Log(log_dir) as log:
            log.settings(settings.spelled())
            for number, frames in enumerate(video.segments(source, length, **prepared.cut)):
                if (done := job.finished(number)) is not None:
                    results.append(SegmentResult.of(*done))
                    continue
                features, begun = None, time.perf_counter()
                if prepared.teacher is not None:
                    progress.phase("teacher")
                    with clock("teacher"):
                        place = f"{number * length}+{len(frames)}"
                        features = prepared.teacher.features(
                            frames, header.grid, info.digest, place, progress=progress.counted
                        )
                task = prepared.task(number, frames, features, job.training(number))
                seconds = time.perf_counter() - begun
                watching = Watching(task, prepared.whole, number, progress, log, seconds)
                result = encode_segment(task, watching, warn)
                log.frames(task.start, result.measured.psnr, result.details.get("bytes_per_frame"))
                job.finish(number, result.payload, result.facts())
                results.append(result)
        quality = quality_of(measured_together(results), header, length)
        data = assemble(header, [result.payload for result in results], info.timestamps, quality)
        file = FileReader(data)
        for problem in file.problems():
            raise problem
        with atomic_output(output, force) as temporary:
            temporary.write_bytes(data)
        job.remove()
    if size and is_asked_for(settings) and not SIZE_REACHED <= len(data) / size <= 1:
        warn(f"the file has {len(data):,} bytes where {round(size):,} were asked for")
    parts, budget = file.contents().bytes_by_part, settings.rate.clip_budget
    clip = parts.get("clip_head", parts.get("features", 0))
    if clip > budget * len(data):
        warn(
            f"the features take {clip:,} bytes, {clip / len(data):.0%} of the file, and cannot be told in the "
            f"{budget:.0%} of --clip-budget: ask for a larger file, or leave them out with --clip off"
        )
    operations = operations_over(prepared.spec, Geometry(length, info.height, info.width, header.grid), len(data))
    if operations > LIMITS.operations:
        warn(f"a frame takes so long to decode that readers must be told --limit operations={operations}")
    clock.seconds["total"] = time.perf_counter() - prepared.whole.started
    return report_of(Path(source).name, file, results, settings, clock.seconds, str(device))
