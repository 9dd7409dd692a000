"""Whether all of a .nerv file holds: every checksum, every frame, and how near they are to a source."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitstream import BitstreamError, Limits
from bitstream import verify as verify_file
from codec import video
from codec.decoding.reader import NervReader
from codec.errors import VideoError
from codec.quality import MS_SSIM_MIN_SIDE, compare


def verify(
    path: str | Path,
    against: str | Path | None = None,
    *,
    crop: tuple[int, int] | None = None,
    resize: tuple[int, int] | int | None = None,
    device: str = "auto",
    limits: Limits = Limits(),
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Check every checksum, decode every frame and, with `against`, measure them against their source.

    crop, resize: what the encode did to the source, which the file does not record; see `video.frames`.
    The result's "ok" says whether all held; "problems" names what did not, "not_measured" why a figure is missing.
    Raises OSError where the file cannot be read, VideoError where `against` cannot.
    """
    source = None if against is None else Source(against, crop, resize)
    try:
        reader = NervReader(path, device, limits=limits)
        for problem in reader.file.problems():
            raise problem
        return {"ok": True, "problems": [], **_decoded(reader, source, progress)}
    except BitstreamError as error:  # one of perhaps several
        problems = verify_file(path, limits).problems or (error,)
        return {"ok": False, "problems": [str(problem) for problem in problems]}


@dataclass(frozen=True)
class Source:
    """A source, and how it was cut before it was encoded."""

    path: str | Path
    crop: tuple[int, int] | None
    resize: tuple[int, int] | int | None


def _decoded(reader: NervReader, source: Source | None, progress: Callable[[int, int], None]) -> dict[str, Any]:
    """Facts of an intact file, from one pass over its frames and those of its source. BitstreamError, VideoError."""
    header, size = reader.header, reader.file.size
    result: dict[str, Any] = {
        "frames": header.frames,
        "height": header.height,
        "width": header.width,
        "fps": float(header.fps),
        "bytes": size,
        "bpp": 8 * size / (header.frames * header.height * header.width),
    }

    def decoded() -> Iterator[NDArray[np.uint8]]:
        done = 0
        for batch in reader.frames():
            yield batch
            done += len(batch)
            progress(done, header.frames)

    unmeasured = {} if header.teacher is None else {"clip_sim": "only an encode does, beside the teacher"}
    if source is None:
        for _ in decoded():
            pass
        without = "no source to compare with, give --against SOURCE"
        return result | {"not_measured": {"psnr": without, "ms_ssim": without} | unmeasured}
    measured = compare(decoded(), _frames(source, header.frames, header.height, header.width), reader.device)
    if measured.ms_ssim is None:
        unmeasured = {"ms_ssim": f"a side is under {MS_SSIM_MIN_SIDE} pixels"} | unmeasured
    return result | {
        "psnr": float(measured.psnr.mean()),
        "psnr_per_frame": [round(v, 4) for v in measured.psnr.tolist()],
        "ms_ssim": None if measured.ms_ssim is None else float(np.mean(measured.ms_ssim)),
        "not_measured": unmeasured,
    }


def _frames(source: Source, count: int, height: int, width: int) -> Iterator[NDArray[np.uint8]]:
    """The frames of a video that must have so many of this size. Raises VideoError as soon as it is seen to be another.

    Its last frame comes only when it is known to be the last.
    """
    path = source.path
    wanted = (
        f"compare with what was encoded, {count} frames of {height}x{width} (height x width), cut as they were "
        "(--crop-list, --resize-list)"
    )
    number, waiting = 0, None
    for number, frame in enumerate(video.frames(path, source.crop, source.resize), 1):
        if frame.shape[:2] != (height, width):
            raise VideoError(f"{path} has frames of {frame.shape[0]}x{frame.shape[1]}: {wanted}")
        if number > count:
            raise VideoError(f"{path} has more than {count} frames: {wanted}")
        if waiting is not None:
            yield waiting
        waiting = frame
    if number < count or waiting is None:
        raise VideoError(f"{path} has {number} frames: {wanted}")
    yield waiting
