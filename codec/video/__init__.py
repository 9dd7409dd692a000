"""Video in and out: files and directories of images to RGB frames and back.

source.py   scan, frames, segments, read: any source as uint8 RGB frames, each once, in order
sink.py     write, write_stream: frames to .mp4, .mkv, .y4m, PNGs or a pipe
timing.py   Presentation: rate, timestamps, pixel shape and colour; constant or variable rate
color.py    pictures to RGB and back with the source's own matrix and range
video_file.py, image_directory.py   the two kinds of source

Each name is imported when it is first asked for: a reader of frames needs neither PyAV nor Pillow.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from codec.video.color import color_of, rgb_converter
    from codec.video.sink import PIPE_FORMATS, WORST_CRF, contents_of, write, write_stream
    from codec.video.source import SourceInfo, files, frames, read, scan, segments
    from codec.video.timing import Presentation

__all__ = [
    "PIPE_FORMATS",
    "WORST_CRF",
    "Presentation",
    "SourceInfo",
    "color_of",
    "contents_of",
    "files",
    "frames",
    "read",
    "rgb_converter",
    "scan",
    "segments",
    "write",
    "write_stream",
]

_HOMES = {
    "PIPE_FORMATS": ".sink",
    "Presentation": ".timing",
    "SourceInfo": ".source",
    "WORST_CRF": ".sink",
    "color_of": ".color",
    "contents_of": ".sink",
    "files": ".source",
    "frames": ".source",
    "read": ".source",
    "rgb_converter": ".color",
    "scan": ".source",
    "segments": ".source",
    "write": ".sink",
    "write_stream": ".sink",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name], __name__), name)
