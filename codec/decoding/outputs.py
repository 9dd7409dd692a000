"""Decode: a .nerv file -> video, images, a pipe, or features; only what is asked for."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from numbers import Integral
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from bitstream import Limits
from codec import video
from codec.atomic import atomic_output, check_outputs
from codec.decoding.reader import NervReader
from codec.errors import DecodeError

Frames = tuple[int, int | None]  # A:B, B excluded; None: to the end
Patch = tuple[int, int]  # row, column


def decode(
    path: str | Path,
    output: str | Path | BinaryIO | None = None,
    *,
    frames: Frames = (0, None),
    patch: Patch | None = None,
    features: str | Path | None = None,
    crf: int | None = None,
    pipe_format: str = "rgb24",
    device: str = "auto",
    batch: int | None = None,
    limits: Limits = Limits(),
    skip_damaged: bool = False,
    force: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
    warn: Callable[[str], object] = warnings.warn,
) -> int:
    """Decode frames A..B-1 to `output` (see `video.write`; an open binary file gets `pipe_format`) and return how many.

    patch: only this one of every frame. features: write these to an .npz; with no `output` no pixels are computed.
    skip_damaged: leave out the frames of damaged segments. progress(done, total) is called as frames are decoded,
    warn(message) for what the output lacks.
    Raises BitstreamError for a damaged file, CodecError for anything else a user can mend, ValueError for an argument
    out of its range.
    """
    _check_arguments(frames, patch, crf, pipe_format)
    outputs: list[tuple[str | Path, str | None]] = [] if features is None else [(features, None)]
    if isinstance(output, str | Path):
        outputs.append((output, video.contents_of(output)))
    check_outputs(outputs, [path], force)
    reader = NervReader(path, device, batch, limits, salvage=skip_damaged)
    runs = _chosen(reader, frames, warn)
    count = sum(map(len, runs))
    if not skip_damaged:  # before anything is written; of a part, the segments that it lies in
        for problem in reader.file.problems() if count == len(reader) else reader.file.damaged(runs[0]):
            raise problem
    rows, columns = reader.header.grid
    if patch is not None and not (0 <= patch[0] < rows and 0 <= patch[1] < columns):
        raise DecodeError(
            f"patch {patch[0]},{patch[1]} is not on this file's grid of {rows} rows and {columns} columns"
        )
    if features is not None:
        _write_features(reader, runs, patch, features, force)
    if output is None:
        return count
    shown = reader.presentation
    if count < len(reader):
        shown = _cut(shown, runs)
    pictures = _counted(_pictures(reader, runs, patch), count, progress)
    if isinstance(output, str | Path):
        options = {} if crf is None else {"crf": crf}
        numbers = [number for run in runs for number in run]
        lost = video.write(output, pictures, shown, force=force, numbers=numbers, **options)
    else:
        lost = video.write_stream(output, pictures, shown, pipe_format)
    for message in lost:
        warn(message)
    return count


def _check_arguments(frames: Frames, patch: Patch | None, crf: int | None, pipe_format: str) -> None:
    for name, numbers in (("frames", frames), ("patch", patch)):
        last = (Integral, type(None)) if name == "frames" else Integral
        if numbers is not None and not (
            len(numbers) == 2 and isinstance(numbers[0], Integral) and isinstance(numbers[1], last)
        ):
            raise ValueError(f"{name} {numbers} are not two whole numbers")
    if crf is not None and crf not in range(video.WORST_CRF + 1):
        raise ValueError(f"crf {crf!r} is not a whole number from 0 to {video.WORST_CRF}")
    if pipe_format not in video.PIPE_FORMATS:
        raise ValueError(f"pipe_format {pipe_format!r} is none of {', '.join(video.PIPE_FORMATS)}")


def _chosen(reader: NervReader, frames: Frames, warn: Callable[[str], object]) -> list[range]:
    """The frames asked for that the file still holds, in runs without gaps."""
    total = len(reader)
    start, stop = frames[0], total if frames[1] is None else frames[1]
    if not 0 <= start < stop <= total:
        raise DecodeError(
            f"frames {start}:{stop} are not in this file of {total} frames: give A:B with 0 <= A < B <= {total}"
        )
    for run in reader.lost:
        warn(f"frames {run.start}..{run.stop - 1} are lost: their segment is damaged")
    firsts = (start, *(run.stop for run in reader.lost))
    stops = (*(run.start for run in reader.lost), stop)
    runs = [range(max(a, start), min(b, stop)) for a, b in zip(firsts, stops, strict=True)]
    if not any(runs):
        raise DecodeError(f"every one of the frames {start}:{stop} is lost")
    return [run for run in runs if run]


def _cut(shown: video.Presentation, runs: list[range]) -> video.Presentation:
    """The presentation of some frames, from time 0; frames that are left out between them leave a gap."""
    first, stop = runs[0].start, runs[-1].stop
    cut = shown.cut(first, stop)
    if len(runs) == 1:
        return cut
    times = cut.timestamps or range(stop - first)
    return replace(cut, timestamps=tuple(times[t - first] for run in runs for t in run))


def _pictures(reader: NervReader, runs: list[range], patch: Patch | None) -> Iterator[NDArray[np.uint8]]:
    for run in runs:
        if patch is None:
            batches: Iterable[NDArray[np.uint8]] = reader.frames(run.start, run.stop)
        else:
            batches = reader.patches(run, *patch)
        for batch in batches:
            yield from batch


def _counted(
    frames: Iterator[NDArray[np.uint8]], total: int, progress: Callable[[int, int], None]
) -> Iterator[NDArray[np.uint8]]:
    for done, frame in enumerate(frames, 1):
        yield frame
        progress(done, total)


def _write_features(reader: NervReader, runs: list[range], patch: Patch | None, path: str | Path, force: bool) -> None:
    """features float32 [n, patches, D], coords float32 [n, patches, 3], frames int64 [n], teacher str."""
    teacher = reader.header.teacher
    if teacher is None:
        raise DecodeError("this file holds no features: it was encoded without a teacher (--clip)")
    found = np.concatenate([reader.features(run.start, run.stop) for run in runs])
    chosen = np.concatenate([np.arange(run.start, run.stop) for run in runs])
    coords = reader.coords()[chosen]
    if patch is not None:
        number = patch[0] * reader.header.grid[1] + patch[1]
        found, coords = found[:, number : number + 1], coords[:, number : number + 1]
    name = f"{teacher.model} {teacher.pretrained}"
    with atomic_output(path, force) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, features=found, coords=coords, frames=chosen, teacher=np.array(name))
