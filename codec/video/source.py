"""Sources of frames: scan one for its facts, then read its frames, each exactly once and in order."""

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from codec.errors import VideoError
from codec.video.image_directory import DEFAULT_FPS, ImageDirectory
from codec.video.timing import Presentation
from codec.video.video_file import VideoFile

Frame = NDArray[np.uint8]  # RGB [H, W, 3]
Size = tuple[int, int]  # height, width


@dataclass(frozen=True)
class SourceInfo(Presentation):
    """A source as its frames come out of `frames`: turned upright, cropped, resized."""

    frames: int
    height: int  # pixels
    width: int  # pixels
    has_audio: bool
    digest: str  # BLAKE2b of size and frames, 32 hexadecimal digits: the same pixels, the same digest
    described: str  # where the frames come from, in words: which images, in which order
    warnings: tuple[str, ...]  # what of the source is not kept, in words

    @property
    def duration(self) -> Fraction:
        """Seconds from the start of the first frame to the end of the last."""
        return self.frames / self.fps


def scan(
    path: str | Path,
    crop: Size | None = None,
    resize: Size | int | None = None,
    fps: Fraction | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> SourceInfo:
    """The facts of a source, from one pass over all of its frames that holds only one at a time.

    path: a video file or a directory of images. crop, resize: as in `frames`; both or none of `scan` and `frames`.
    fps: frame rate of a directory of images, 25 unless given. progress: is called with the number of frames so far.
    Raises VideoError.
    """
    source = _open(path, fps)
    digest = hashlib.blake2b(digest_size=16)
    count, height, width, sar_change = 0, 0, 0, Fraction(1)
    for _, whole in _alike(path, source.pictures()):
        frame = _fit(whole, crop, resize)
        if not count:
            height, width = frame.shape[:2]
            sar_change = _sar_change(whole.shape[0], whole.shape[1], crop, resize)
            digest.update(f"{height}x{width} ".encode())
        digest.update(frame.tobytes())
        count += 1
        progress(count)
    if not count:
        raise VideoError(f"{path} has no frames")
    shown = source.presentation()
    return SourceInfo(
        fps=shown.fps,
        time_base=shown.time_base,
        timestamps=shown.timestamps,
        sar=(shown.sar * sar_change).limit_denominator(10_000),
        color=shown.color,
        frames=count,
        height=height,
        width=width,
        has_audio=source.has_audio,
        digest=digest.hexdigest(),
        described=source.described,
        warnings=tuple(dict.fromkeys(source.warnings)),
    )


def files(path: str | Path) -> list[Path]:
    """The files that a source is read from: itself, or the images of a directory. Raises VideoError."""
    source = _open(path)
    return source.paths if isinstance(source, ImageDirectory) else [source.path]


def frames(
    path: str | Path,
    crop: Size | None = None,
    resize: Size | int | None = None,
    start: int = 0,
    stop: int | None = None,
) -> Iterator[Frame]:
    """The frames start..stop-1 of a source, RGB uint8 [H, W, 3], in presentation order, as they are decoded.

    A video is decoded from its beginning whatever `start` is: for all of it, take consecutive frames from one iterator.
    crop: (height, width) cut from the centre, as HNeRV's crop_list; then resize: to (height, width), or with one
    number the shorter side to it and the longer in proportion, as its resize_list; bicubic, antialiased.
    Raises VideoError.
    """
    for _, picture in _alike(path, _open(path).pictures(start, stop)):
        yield _fit(picture, crop, resize)


def segments(
    path: str | Path, length: int, crop: Size | None = None, resize: Size | int | None = None
) -> Iterator[NDArray[np.uint8]]:
    """All frames in runs of `length`, the last one shorter: uint8 [T, H, W, 3] each. See `frames`."""
    remaining = frames(path, crop, resize)
    while (run := _stack(islice(remaining, length), length)) is not None:
        yield run


def read(
    path: str | Path, start: int, stop: int, crop: Size | None = None, resize: Size | int | None = None
) -> NDArray[np.uint8]:
    """The frames start..stop-1 in one array: uint8 [stop-start, H, W, 3]. See `frames`.

    Raises VideoError if the source does not have them all.
    """
    if not 0 <= start < stop:
        raise VideoError(f"cannot read the frames {start}:{stop}: give a range A:B with 0 <= A < B")
    run = _stack(frames(path, crop, resize, start, stop), stop - start)
    if run is None or len(run) < stop - start:
        raise VideoError(f"cannot read the frames {start}:{stop}: {path} has not so many")
    return run


def _open(path: str | Path, fps: Fraction | None = None) -> VideoFile | ImageDirectory:
    if not os.fspath(path):
        raise VideoError("the name of the source is empty: give a video file or a directory of images")
    path = Path(path)
    try:
        is_directory = path.is_dir()
    except OSError as error:  # a name too long, a directory above that may not be searched
        raise VideoError(f"cannot read {path}: {error.strerror}") from error
    if is_directory:
        return ImageDirectory(path, fps or DEFAULT_FPS)
    if fps is not None:
        raise VideoError(f"{path} is not a directory of images: a frame rate cannot be given, a video has its own")
    return VideoFile(path)


def _alike(path: str | Path, pictures: Iterator[tuple[str, Frame]]) -> Iterator[tuple[str, Frame]]:
    """`pictures`, as long as they all have the size of the first."""
    first = None
    for label, picture in pictures:
        height, width = picture.shape[:2]
        first = first or (label, height, width)
        if (height, width) != first[1:]:
            raise VideoError(
                f"{path}: {label} is {height}x{width} (height x width), but {first[0]} is {first[1]}x{first[2]}; "
                "a source must have one size, so bring all to it first"
            )
        yield label, picture


def _fit(picture: Frame, crop: Size | None, resize: Size | int | None) -> Frame:
    height, width = picture.shape[:2]
    if crop is not None:
        h, w = crop
        if not (1 <= h <= height and 1 <= w <= width):
            raise VideoError(
                f"cannot crop {h}x{w} (height x width) from frames of {height}x{width}: give a smaller --crop-list, or "
                "--crop-list -1 for all of them (the preset reference crops to 640_1280)"
            )
        top, left = round((height - h) / 2), round((width - w) / 2)  # as torchvision's center_crop rounds
        picture = picture[top : top + h, left : left + w]
    if resize is not None:
        h, w = _resized(picture.shape[0], picture.shape[1], resize)
        picture = np.asarray(Image.fromarray(picture).resize((w, h), Image.Resampling.BICUBIC))
    return picture


def _resized(height: int, width: int, resize: Size | int) -> Size:
    if isinstance(resize, int):
        short = min(height, width)
        resize = (resize, resize * width // short) if height == short else (resize * height // short, resize)
    if min(resize) < 1:
        raise VideoError(f"cannot resize to {resize[0]}x{resize[1]} (height x width): give at least 1x1")
    return resize


def _sar_change(height: int, width: int, crop: Size | None, resize: Size | int | None) -> Fraction:
    """How resizing changes the shape of a pixel, so that the picture keeps its own; a size in proportion does not."""
    if resize is None or isinstance(resize, int):
        return Fraction(1)
    h, w = crop or (height, width)
    return Fraction(w * resize[0], h * resize[1])


def _stack(pictures: Iterator[Frame], length: int) -> NDArray[np.uint8] | None:
    """At most `length` pictures in one array [T, H, W, 3]; None for none."""
    run, count = None, 0
    for picture in pictures:
        if run is None:
            run = np.empty((length, *picture.shape), np.uint8)  # filled in place: a list would hold all frames twice
        run[count] = picture
        count += 1
    return None if run is None else run[:count]
