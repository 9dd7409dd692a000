"""Video in and out: files and directories of images to RGB frames and back.

source.py   scan, frames, segments, read: any source as uint8 RGB frames, each once, in order
sink.py     write, write_stream: frames to .mp4, .mkv, .y4m, PNGs or a pipe
timing.py   Presentation: rate, timestamps, pixel shape and colour; constant or variable rate
color.py    pictures to RGB and back with the source's own matrix and range
file.py, images.py   the two kinds of source
"""

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
