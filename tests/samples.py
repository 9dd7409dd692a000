"""Frames for tests: made here, so that they are the same on every machine."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image


def moving_frames(count: int, height: int, width: int) -> NDArray[np.uint8]:
    """Smooth colour waves that drift and a disc that crosses them: uint8 [count, height, width, 3]."""
    t, y, x = np.meshgrid(np.arange(count), np.arange(height), np.arange(width), indexing="ij")
    waves = [np.sin(x / 9 + t / 5 + c) * np.cos(y / 7 - t / 8 + 2 * c) for c in range(3)]
    frames = 128 + 90 * np.stack(waves, axis=-1)
    disc = (y - height / 2) ** 2 + (x - width * (t + 1) / (count + 1)) ** 2 < (height / 5) ** 2
    frames[disc] = (230, 60, 40)
    return frames.astype(np.uint8)


def write_images(folder: Path, frames: NDArray[np.uint8]) -> Path:
    """Frames as 000.png, 001.png, ... in a new folder."""
    folder.mkdir()
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / f"{number:03d}.png")
    return folder


def write_video(
    path: Path,
    frames: NDArray[np.uint8],
    rate: Fraction = Fraction(25),
    prepare: Callable[[Any], None] = lambda s: None,
) -> Path:
    """Frames in a video file without loss (4:4:4, qp 0); `prepare` sees the stream before the first of them."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264rgb", rate=rate, options={"qp": "0", "preset": "ultrafast"})
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "rgb24"
        prepare(stream)
        for number, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(frame, "rgb24")
            picture.pts, picture.time_base = number, 1 / rate
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return path


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """No file can grow past `size` bytes: what a full disk looks like. Nothing else may be written meanwhile."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@dataclass(frozen=True)
class Encoded:
    """A file made once for many tests, and what it was made from."""

    path: Path
    source: Path  # a directory of images
    frames: NDArray[np.uint8]  # [T, H, W, 3]
    report: dict[str, Any]
