"""Decoded frames to files, directories of images and pipes."""

import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, count, islice, pairwise
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np
from av.codec.context import Flags
from av.video.stream import VideoStream
from numpy.typing import NDArray
from PIL import Image

from codec.atomic import atomic_output
from codec.errors import OutputError
from codec.video.color import range_code, untagged_color, yuv_color, yuv_converter
from codec.video.timing import Presentation

Frames = Iterable[NDArray[np.uint8]]  # RGB [H, W, 3] each, all of one size

PIPE_FORMATS = ("rgb24", "y4m")
WORST_CRF = 51  # of libx264; 0 is best
DEFAULT_CRF = 12  # adds little to the error of the decoded frames

_MUXERS = {".mp4": "mp4", ".mkv": "matroska"}
_STILL = ".png"
_PNG_NAMES = "[0-9]*.png"  # what `_write_pngs` writes, and all that a directory it replaces may hold


def contents_of(path: str | Path) -> str | None:
    """What `write` makes of such a name, as `contents` of `codec.atomic`: None for a file. Raises OutputError."""
    return None if _is_file(path) else _PNG_NAMES


def write(
    path: str | Path,
    frames: Frames,
    shown: Presentation,
    crf: int = DEFAULT_CRF,
    force: bool = False,
    numbers: Sequence[int] | None = None,
) -> tuple[str, ...]:
    """Write frames to `path`, complete or not at all; return in words what of `shown` such an output cannot hold.

    .mp4, .mkv  H.264 by libx264: 4:2:0 if both sides are even, else 4:4:4, so that the size is exact. Timestamps
                (in .mkv to the millisecond), pixel shape and colour tags are `shown`'s, and the frames are converted
                to YCbCr by the same matrix and range; an RGB source is stored as limited BT.709
    .y4m        4:4:4 with frame rate, pixel shape and range; it cannot name a matrix, so that it takes the one that
                readers assume: BT.709 for pictures at least 1280 wide or more than 576 high, else BT.601
    .png        one picture, and no more than one frame
    directory   000000.png, 000001.png, ...: no suffix, a trailing "/" or an existing directory

    An existing output is replaced only with `force`. numbers: of the frames, in names of PNGs; by default from 0.
    Raises OutputError.
    """
    if not _is_file(path):
        with atomic_output(path, force, _PNG_NAMES) as directory:
            for frame, number in zip(_some(frames), count() if numbers is None else numbers, strict=False):
                _save(directory / f"{number:06d}.png", frame)
        return _lost(shown, ("timestamps", "sar"))
    with atomic_output(path, force) as temporary:
        if _suffix(path) == _STILL:
            first, *more = islice(_some(frames), 2)
            if more:
                raise OutputError(
                    f"cannot write {path}: {_STILL} holds one picture; give one frame (--frames 40), or a directory "
                    "(ending in /) for all of them"
                )
            _save(temporary, first)
            return _lost(shown, ("sar",))
        if _suffix(path) == ".y4m":
            with temporary.open("wb") as file:
                _write_y4m(file, _some(frames), shown)
            return _lost(shown, ("timestamps",))
        try:
            _write_h264(temporary, _some(frames), shown, crf)
        except (av.FFmpegError, OverflowError) as error:
            if isinstance(error, OSError):
                raise  # a full disk and its like, for atomic_output to word
            raise OutputError(f"cannot write {path}: libx264 does not take these frames ({error})") from error
    return ()


def write_stream(file: BinaryIO, frames: Frames, shown: Presentation, pipe_format: str) -> tuple[str, ...]:
    """Write frames to an open binary file, e.g. standard output; return what it cannot hold, as `write` does.

    pipe_format: "rgb24", the bare bytes of each frame, or "y4m", as in `write`.
    A reader that closes the pipe early ends the writing quietly. Raises OutputError.
    """
    try:
        if pipe_format == "y4m":
            _write_y4m(file, _some(frames), shown)
        else:
            for frame in _some(frames):
                file.write(frame.tobytes())
        file.flush()
    except BrokenPipeError:
        # What is left in the buffer must go somewhere, or closing the file fails again.
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), file.fileno())
    except OSError as error:
        raise OutputError(f"cannot write the stream: {error.strerror or error}") from error
    return _lost(shown, ("timestamps",) if pipe_format == "y4m" else ("timestamps", "sar"))


def _save(path: Path, frame: NDArray[np.uint8]) -> None:
    # zlib level 1: a fifth of the time of the usual 6, files a tenth larger
    Image.fromarray(frame).save(path, compress_level=1)


def _is_file(path: str | Path) -> bool:
    """True for a video or picture file, False for a directory of images; raises OutputError for neither."""
    if str(path).endswith("/") or Path(path).is_dir() or (str(path) and not _suffix(path)):
        return False
    if _suffix(path) in (*_MUXERS, ".y4m", _STILL):
        return True
    raise OutputError(
        f"cannot write {path}: {_suffix(path)} is not supported; give a name ending in .mp4, .mkv or .y4m, "
        ".png for one frame, a directory (ending in /) for PNGs, or - for a pipe"
    )


def _suffix(path: str | Path) -> str:
    return Path(path).suffix.lower()


def _some(frames: Frames) -> Iterator[NDArray[np.uint8]]:
    """`frames`, of which there must be one."""
    iterator = iter(frames)
    first = next(iterator, None)
    if first is None:
        raise OutputError("there are no frames to write")
    return chain([first], iterator)


def _lost(shown: Presentation, facts: tuple[str, ...]) -> tuple[str, ...]:
    lost = []
    if "timestamps" in facts and shown.timestamps is not None:
        lost.append("the frame rate varies, but this output has no timestamps; .mp4 and .mkv keep them")
    if "sar" in facts and shown.sar != 1:
        lost.append(f"pixels are {shown.sar} as wide as high, but this output cannot say so; .mp4, .mkv and .y4m can")
    return tuple(lost)


def _write_h264(path: Path, frames: Iterator[NDArray[np.uint8]], shown: Presentation, crf: int) -> None:
    first = next(frames)
    height, width = first.shape[:2]
    pixel_format = "yuv444p" if height % 2 or width % 2 else "yuv420p"
    color = yuv_color(shown.color)
    to_yuv = yuv_converter(height, width, pixel_format, color)
    options = {"crf": str(crf)}
    if shown.timestamps is not None:
        options["bf"] = "0"  # .mp4 derives durations from the decoding order: uneven ones need it to be this order
    with av.open(str(path), "w", format=_MUXERS[_suffix(path)]) as container:
        stream: VideoStream = container.add_stream("libx264", rate=shown.fps, options=options)
        stream.height, stream.width, stream.pix_fmt = height, width, pixel_format
        context = stream.codec_context
        context.time_base = shown.time_base
        context.sample_aspect_ratio = shown.sar
        context.flags |= Flags.frame_duration
        context.colorspace, context.color_primaries, context.color_trc = color.matrix, color.primaries, color.transfer
        context.color_range = range_code(color)
        for rgb, (pts, duration) in _timed(chain([first], frames), shown):
            picture = to_yuv(rgb)
            picture.pts, picture.duration, picture.time_base = pts, duration, shown.time_base
            container.mux(stream.encode(picture))
        container.mux(stream.encode())


def _timed(
    frames: Iterator[NDArray[np.uint8]], shown: Presentation
) -> Iterator[tuple[NDArray[np.uint8], tuple[int, int]]]:
    """Each frame with its time and duration in ticks."""
    starts = shown.timestamps
    if starts is None:
        return zip(frames, ((tick, 1) for tick in count()), strict=False)
    end = max(round(len(starts) / (shown.fps * shown.time_base)), starts[-1] + 1)
    times = ((start, after - start) for start, after in pairwise((*starts, end)))
    return zip(frames, times, strict=True)


def _write_y4m(file: BinaryIO, frames: Iterator[NDArray[np.uint8]], shown: Presentation) -> None:
    first = next(frames)
    height, width = first.shape[:2]
    color = untagged_color(height, width, shown.color)
    to_yuv = yuv_converter(height, width, "yuv444p", color)
    file.write(
        f"YUV4MPEG2 W{width} H{height} F{shown.fps.numerator}:{shown.fps.denominator} Ip "
        f"A{shown.sar.numerator}:{shown.sar.denominator} C444 "
        f"XCOLORRANGE={'FULL' if color.full_range else 'LIMITED'}\n".encode()
    )
    for rgb in chain([first], frames):
        file.write(b"FRAME\n" + to_yuv(rgb).to_ndarray().tobytes())
