"""Encode: a video or a directory of images -> a .nerv file whose every segment has been read back and measured.

    scan -> header -> per segment: teacher, encode_segment -> assemble -> check -> write

Nothing is written to the output before all of that has held; what has been trained lies in OUTPUT.ckpt until then.
"""

from __future__ import annotations

import hashlib
import json
import time
from fractions import Fraction
from numbers import Rational
from pathlib import Path
from typing import Any

import torch

from bitstream import FileReader, assemble
from codec import video
from codec.atomic import atomic_output, check_outputs
from codec.decoding.reader import operations_over
from codec.encoding.header import LIMITS, overhead, plan_header, segment_length
from codec.encoding.job import Job, directory
from codec.encoding.logs import Log, check_log
from codec.encoding.plan import SIZE_REACHED, is_asked_for, target_bytes
from codec.encoding.progress import Progress, Silent, Watching
from codec.encoding.report import measured_together, quality_of, report_of
from codec.encoding.segment import Clock, SegmentResult, encode_segment
from codec.features.teacher import load_teacher
from codec.network.backend import pick_device
from codec.settings import Settings
from codec.specs import Geometry
from codec.training.task import SegmentTask, Warn


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
    warn: Warn = lambda message: None,
) -> dict[str, Any]:
    """Encode a video file or a directory of images; returns the report: settings, measurements, bytes and seconds.

    resume: go on from OUTPUT.ckpt where an earlier encode with the same settings stopped. force: replace `output` and
    `report` where they exist. report: write it to this JSON file as well. log_dir: for TensorBoard. fps: of a directory
    of images. Raises CodecError (and its kinds) for anything a user can mend, ValueError for settings that do not fit
    together.
    """
    settings.check()
    if fps is not None and not (isinstance(fps, Rational) and 0 < fps <= 10**6):
        raise ValueError(f"fps {fps!r} is not a rate: give a Fraction, such as Fraction(30000, 1001)")
    output, teacher = Path(output), settings.teacher
    written = [path for path in (output, report) if path is not None]
    read: list[str | Path] = [*video.files(source), teacher.clip_model, teacher.clip_pretrained]
    check_outputs([(path, None) for path in written], read, force)
    check_log(log_dir)
    directory(output)  # has a name, or the work of hours could not be kept
    result = _encode(source, output, settings, pick_device(device), force, resume, log_dir, fps, progress, warn)
    if report is not None:
        with atomic_output(report, force) as temporary:
            temporary.write_text(json.dumps(result, indent=2) + "\n")
    return result


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
    clock, started = Clock(), time.perf_counter()
    cut: dict[str, Any] = {"crop": settings.source.crop, "resize": settings.source.resize}
    progress.phase("scan")
    with clock("scan"):
        info = video.scan(source, fps=fps, **cut)
    progress.source(info.described)
    for warning in info.warnings:
        warn(warning)
    length = segment_length(settings.source.segment, info)
    chosen = settings.teacher
    if chosen.clip != "off":
        progress.phase("teacher")
    with clock("teacher"):
        teacher = load_teacher(chosen.clip, chosen.clip_model, chosen.clip_pretrained, device, warn=warn)  # type: ignore[arg-type]
    header, spec = plan_header(settings, info, length, teacher.identity if teacher else None, warn)
    size = target_bytes(settings, info.frames, info.height, info.width)
    beside = overhead(header, length, info.timestamps)
    key = hashlib.sha256(repr((settings, header, info.digest)).encode()).hexdigest()

    results: list[SegmentResult] = []
    with Job(output, key, resume, force) as job:
        with Log(log_dir) as log:
            for number, frames in enumerate(video.segments(source, length, **cut)):
                if (done := job.finished(number)) is not None:
                    results.append(SegmentResult.of(*done))
                    continue
                features = None
                if teacher is not None:
                    progress.phase("teacher")
                    with clock("teacher"):
                        place = f"{number * length}+{len(frames)}"
                        features = teacher.features(frames, header.grid, info.digest, place)
                task = SegmentTask(
                    start=number * length,
                    geometry=Geometry(len(frames), header.height, header.width, header.grid),
                    spec=spec,
                    frames=frames,
                    features=features,
                    settings=settings,
                    device=str(device),
                    target_bytes=size and max(size - beside, 1.0) * len(frames) / header.frames,
                    state=job.training(number),
                )
                result = encode_segment(task, Watching(task, header.frames, number, progress, log), warn)
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
    operations = operations_over(spec, Geometry(length, info.height, info.width, header.grid), len(data))
    if operations > LIMITS.operations:
        warn(f"a frame takes so long to decode that readers must be told --limit operations={operations}")
    clock.seconds["total"] = time.perf_counter() - started
    return report_of(Path(source).name, file, results, settings, clock.seconds, str(device))
