"""Decode: a .nerv file -> video, images, a pipe, or features; only what is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
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
    warn: Callable[[str], None] = lambda message: None,
) -> int:
    """Decode frames A..B-1 to `output` (see `video.write`; an open binary file gets `pipe_format`) and return how many.

    patch: only this one of every frame. features: write these to an .npz; with no `output` the RGB head does not run.
    skip_damaged: leave out the frames of damaged segments. progress(done, total) is called as frames are decoded.
    Raises BitstreamError for a damaged file, CodecError for anything else a user can mend.
    """
    outputs: list[tuple[str | Path, str | None]] = [] if features is None else [(features, None)]
    if isinstance(output, str | Path):
        outputs.append((output, video.contents_of(output)))
    check_outputs(outputs, [path], force)
    reader = NervReader(path, device, batch, limits, salvage=skip_damaged)
    if not skip_damaged:
        for problem in reader.file.problems():
            raise problem
    chosen = _chosen(reader, frames, warn)
    rows, columns = reader.header.grid
    if patch is not None and not (0 <= patch[0] < rows and 0 <= patch[1] < columns):
        raise DecodeError(
            f"patch {patch[0]},{patch[1]} is not on this file's grid of {rows} rows and {columns} columns"
        )
    if features is not None:
        _write_features(reader, chosen, patch, features, force)
    if output is None:
        return len(chosen)
    shown = reader.presentation
    if chosen != list(range(len(reader))):
        shown = _cut(shown, chosen)
    pictures = _counted(_pictures(reader, chosen, patch), len(chosen), progress)
    if isinstance(output, str | Path):
        options = {} if crf is None else {"crf": crf}
        lost = video.write(output, pictures, shown, force=force, **options)
    else:
        lost = video.write_stream(output, pictures, shown, pipe_format)
    for message in lost:
        warn(message)
    return len(chosen)


def _chosen(reader: NervReader, frames: Frames, warn: Callable[[str], None]) -> list[int]:
    """The numbers of the frames asked for that the file still holds."""
    total = len(reader)
    start, stop = frames[0], total if frames[1] is None else frames[1]
    if not 0 <= start < stop <= total:
        raise DecodeError(
            f"frames {start}:{stop} are not in this file of {total} frames: give A:B with 0 <= A < B <= {total}"
        )
    for run in reader.lost:
        warn(f"frames {run.start}..{run.stop - 1} are lost: their segment is damaged")
    lost = {t for run in reader.lost for t in run}
    chosen = [t for t in range(start, stop) if t not in lost]
    if not chosen:
        raise DecodeError(f"every one of the frames {start}:{stop} is lost")
    return chosen


def _cut(shown: video.Presentation, chosen: list[int]) -> video.Presentation:
    """The presentation of `chosen` frames, from time 0; frames that are left out between them leave a gap."""
    first, last = chosen[0], chosen[-1]
    cut = shown.cut(first, last + 1)
    if len(chosen) == last + 1 - first:
        return cut
    times = cut.timestamps or tuple(range(last + 1 - first))
    return replace(cut, timestamps=tuple(times[t - first] for t in chosen))


def _pictures(reader: NervReader, chosen: list[int], patch: Patch | None) -> Iterator[NDArray[np.uint8]]:
    for run in _runs(chosen):
        if patch is None:
            batches: Iterable[NDArray[np.uint8]] = reader.frames(run.start, run.stop)
        else:
            batches = reader.patches(run, *patch)
        for batch in batches:
            yield from batch


def _runs(numbers: list[int]) -> Iterator[range]:
    """Rising numbers as runs without gaps."""
    start = 0
    for i in range(1, len(numbers) + 1):
        if i == len(numbers) or numbers[i] != numbers[i - 1] + 1:
            yield range(numbers[start], numbers[i - 1] + 1)
            start = i


def _counted(
    frames: Iterator[NDArray[np.uint8]], total: int, progress: Callable[[int, int], None]
) -> Iterator[NDArray[np.uint8]]:
    for done, frame in enumerate(frames, 1):
        yield frame
        progress(done, total)


def _write_features(reader: NervReader, chosen: list[int], patch: Patch | None, path: str | Path, force: bool) -> None:
    """features float32 [n, patches, D], coords float32 [n, patches, 3], frames int64 [n], teacher str."""
    teacher = reader.header.teacher
    if teacher is None:
        raise DecodeError("this file holds no features: it was encoded without a teacher (--clip)")
    found = np.concatenate([reader.features(run.start, run.stop) for run in _runs(chosen)])
    coords = reader.coords()[chosen]
    if patch is not None:
        number = patch[0] * reader.header.grid[1] + patch[1]
        found, coords = found[:, number : number + 1], coords[:, number : number + 1]
    name = f"{teacher.model} {teacher.pretrained}"
    with atomic_output(path, force) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, features=found, coords=coords, frames=np.array(chosen), teacher=np.array(name))
