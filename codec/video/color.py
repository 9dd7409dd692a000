"""Decoded pictures to 8-bit RGB and back, with the colour matrix and range of the source.

Both directions go through libswscale with bicubic chroma resampling, chroma at full resolution, accurate rounding and
the same result on every processor; on flat colour they stay within one level of the exact formula. All that is
compared with each other should come through here, other codecs' pictures included.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import cast

import av
import numpy as np
from av.video.reformatter import ColorRange, VideoReformatter
from numpy.typing import NDArray

from bitstream.header import Color
from codec.errors import VideoError

SRGB = Color(matrix=0, primaries=1, transfer=13, full_range=True)  # of images
HDR_TRANSFERS = {16: "PQ", 18: "HLG"}

# H.273 code points used by name.
_RGB, _BT709, _UNSPECIFIED, _RESERVED, _BT601 = 0, 1, 2, 3, 6
_MATRICES = (1, 4, 5, 6, 7, 9)  # the YCbCr matrices libswscale computes: BT.709, FCC, BT.601 (twice), 240M, BT.2020
# libswscale's SWS_BICUBIC, SWS_FULL_CHR_H_INT, SWS_FULL_CHR_H_INP, SWS_ACCURATE_RND, SWS_BITEXACT
_FLAGS = 0x4 | 0x2000 | 0x4000 | 0x40000 | 0x80000
_FULL = int(ColorRange.JPEG)
_LIMITED = int(ColorRange.MPEG)


def color_of(frame: av.VideoFrame) -> Color:
    """The colour description by which `frame` is converted: its own, and where it says nothing, what players assume.

    Without a matrix: BT.709 for pictures at least 1280 wide or more than 576 high, else BT.601 (SMPTE 170M). Without
    a range: full for greyscale, else limited. RGB pictures are (0, primaries, transfer, full).
    Raises VideoError for matrices that cannot be converted (YCgCo, ICtCp, constant luminance, ...).
    """
    primaries, transfer = frame.color_primaries, frame.color_trc
    if _is_rgb(frame):
        return Color(_RGB, primaries, transfer, True)
    matrix = frame.colorspace
    if matrix in (_RGB, _UNSPECIFIED, _RESERVED):
        matrix = _assumed_matrix(frame.height, frame.width)
    if matrix not in _MATRICES:
        raise VideoError(
            f"its colour matrix (H.273 code {matrix}) cannot be converted to RGB here; convert the video first, "
            "e.g. with ffmpeg's zscale filter"
        )
    full_range = frame.color_range == _FULL or (frame.color_range != _LIMITED and _is_grey(frame))
    return Color(matrix, primaries, transfer, full_range)


def rgb_converter() -> Callable[[av.VideoFrame], NDArray[np.uint8]]:
    """A function from a decoded picture of any pixel format to RGB: uint8 [H, W, 3], as `color_of` describes it.

    Only matrix and range are undone: primaries and transfer stay those of the source. Alpha is dropped. One converter
    is for one thread, and fastest while size and pixel format stay the same.
    """
    reformatter = VideoReformatter()

    def to_rgb(frame: av.VideoFrame) -> NDArray[np.uint8]:
        color = color_of(frame)
        try:
            if _is_grey(frame) and not color.full_range:
                # libswscale takes grey for full range whatever its tag says; it heeds the tag of YCbCr.
                frame = reformatter.reformat(frame, format="yuv444p", src_color_range=_FULL, dst_color_range=_FULL)
            converted = reformatter.reformat(
                frame,
                format="rgb24",
                src_colorspace=None if color.matrix == _RGB else color.matrix,
                src_color_range=range_code(color),
                dst_color_range=_FULL,
                interpolation=_FLAGS,
                threads=1,
            )
        except av.FFmpegError as error:
            raise VideoError(f"its pixel format {frame.format.name} cannot be converted to RGB") from error
        return cast(NDArray[np.uint8], converted.to_ndarray())

    return to_rgb


def yuv_converter(
    height: int, width: int, pixel_format: str, color: Color
) -> Callable[[NDArray[np.uint8]], av.VideoFrame]:
    """A function from RGB, uint8 [height, width, 3], to pictures in yuv420p or yuv444p, coded and tagged as `color`.

    `color` must be one that `yuv_color` gives. Subsampled chroma is sited left, the default of H.264.
    """
    graph = av.filter.Graph()
    # The reformatter above would place subsampled chroma in the centre; the scale filter can be told.
    graph.link_nodes(
        graph.add("buffer", f"video_size={width}x{height}:pix_fmt=rgb24:time_base=1/1:colorspace=gbr:range=pc"),
        graph.add(
            "scale",
            f"out_color_matrix={color.matrix}:out_range={range_code(color)}:out_chroma_loc=left:flags={_FLAGS}",
        ),
        graph.add("format", pixel_format),
        graph.add("buffersink"),
    )
    graph.configure()

    def to_yuv(rgb: NDArray[np.uint8]) -> av.VideoFrame:
        graph.vpush(av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), "rgb24"))
        return graph.vpull()

    return to_yuv


def yuv_color(color: Color) -> Color:
    """The colour description to store `color`'s RGB with as YCbCr: itself, or limited BT.709 for an RGB source."""
    if color.matrix in _MATRICES:
        return color
    return Color(_BT709, color.primaries, color.transfer, False)


def untagged_color(height: int, width: int, color: Color) -> Color:
    """As `yuv_color`, for an output that names no matrix: with the one that readers will assume."""
    return replace(yuv_color(color), matrix=_assumed_matrix(height, width))


def _assumed_matrix(height: int, width: int) -> int:
    """Which matrix players take where a stream names none."""
    return _BT709 if width >= 1280 or height > 576 else _BT601


def range_code(color: Color) -> int:
    """`color`'s range as FFmpeg's AVColorRange."""
    return _FULL if color.full_range else _LIMITED


def has_alpha(frame: av.VideoFrame) -> bool:
    """Whether pictures of this pixel format can be transparent."""
    return any(component.is_alpha for component in frame.format.components)


def _is_rgb(frame: av.VideoFrame) -> bool:
    return frame.format.is_rgb or frame.format.has_palette


def _is_grey(frame: av.VideoFrame) -> bool:
    return len(frame.format.components) <= 2 and not _is_rgb(frame)
