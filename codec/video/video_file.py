"""A video file as a source of frames."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from itertools import islice, pairwise
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.container import InputContainer
from av.sidedata.sidedata import SideDataContainer, Type
from av.stream import Disposition
from av.video.stream import VideoStream
from numpy.typing import NDArray

from codec.errors import VideoError
from codec.video.color import HDR_TRANSFERS, color_of, has_alpha, rgb_converter
from codec.video.timing import Presentation, constant, timed

# Decoders with which libavformat would show a text file as a film of its letters.
_TEXT_DECODERS = ("ansi", "bintext", "xbin", "idf")
# Demuxers that open files, or places in a network, that the file given names: nothing is read that was not given.
_FOLLOWERS = {"concat", "dash", "hls", "image2", "imf", "rtsp", "sdp", "vapoursynth", "vobsub", "webm_dash_manifest"}
_OPENING_OPTIONS = {"format_whitelist": ",".join(sorted(av.formats_available - _FOLLOWERS))}
_DECODER_OPTIONS = {
    "err_detect": "explode",  # damage is an error, not a patched-up picture
    "chroma_sample_location": "left",  # where the stream does not say: as players assume; libswscale would centre it
}
_UNKNOWN_RATE = Fraction(25)  # frames per second where neither container nor timestamps tell; ffmpeg's own choice


class VideoFile:
    """The first video stream of a file. Decoding stops at damage: VideoError names the frame."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.described = path.name
        self.has_audio = False  # this and the rest is known after a pass over all frames
        self.warnings: list[str] = []
        self._pts: list[int | None] = []
        self._first: av.VideoFrame | None = None
        self._last_duration = Fraction(0)  # seconds, 0 where unknown

    def pictures(self, start: int = 0, stop: int | None = None) -> Iterator[tuple[str, NDArray[np.uint8]]]:
        """Label and RGB, uint8 [H, W, 3], of the frames start..stop-1 in presentation order, turned upright."""
        to_rgb = rgb_converter()
        with self._opened() as (container, stream):
            for index, frame in islice(enumerate(self._decode(container, stream)), start, stop):
                self._note(frame)
                try:
                    picture = to_rgb(frame)
                except VideoError as error:
                    raise VideoError(f"{self.path}: {error}") from error
                yield f"frame {index}", _upright(picture, _display_matrix(frame))

    def presentation(self) -> Presentation:
        """How the frames are shown; after a pass over all of them, of which there was at least one."""
        assert self._first is not None
        color = color_of(self._first)
        sar = 1 / self._sar if _turns(_display_matrix(self._first)) else self._sar
        times = [tick for tick in self._pts if tick is not None]
        if len(times) == 1:
            return constant(self._rates[0], sar, color)
        if len(times) < len(self._pts) or any(b <= a for a, b in pairwise(times)):
            self.warnings.append("its timestamps are missing or do not rise: a constant rate is assumed")
            return constant(self._rates[0], sar, color)
        end = times[-1] * self._time_base + self._last_duration
        interval = (times[-1] - times[0]) * self._time_base / (len(times) - 1)
        if self._declared_end - end > 2 * interval:
            self.warnings.append(
                f"it declares {float(self._declared_end):.3f} s of video but its frames end at {float(end):.3f} s: "
                "it may have been cut off"
            )
        return timed(times, self._time_base, self._last_duration, self._rates, sar, color)

    @contextmanager
    def _opened(self) -> Iterator[tuple[InputContainer, VideoStream]]:
        path = self.path
        if not path.exists():
            raise VideoError(f"no such file: {path}")
        if not path.is_file():
            raise VideoError(f"{path} is not a regular file; it is read more than once, so save it to a file first")
        try:
            # an absolute path is never taken for a protocol, as "a:b" is
            container = av.open(str(path.absolute()), options=_OPENING_OPTIONS)
        except PermissionError as error:
            raise VideoError(f"no permission to read {path}") from error
        except (av.FFmpegError, OSError) as error:
            raise VideoError(
                f"{path} is not a video that can be read ({error.strerror}): it is of an unknown format, or damaged, "
                "or was never finished, or is a list of other files, which are not followed"
            ) from error
        with container:
            stream = self._choose(container)
            stream.thread_type = "AUTO"
            stream.codec_context.options = _DECODER_OPTIONS
            yield container, stream

    def _choose(self, container: InputContainer) -> VideoStream:
        """The first video stream that is no cover picture, its facts noted."""
        streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
        self.has_audio = bool(container.streams.audio)
        if not streams:
            what = "only sound" if self.has_audio else "no video"
            raise VideoError(f"{self.path} holds {what}; give a file with a video stream")
        stream = streams[0]
        if stream.codec_context is None:
            raise VideoError(f"{self.path}: there is no decoder for its video; convert it to another format first")
        if stream.codec_context.name in _TEXT_DECODERS:
            raise VideoError(f"{self.path} is text, not a video")
        if len(streams) > 1:
            self.warnings.append(f"it has {len(streams)} video streams: only the first is kept")
        if self.has_audio:
            self.warnings.append("sound is not kept: the format holds pictures only")
        self._time_base = stream.time_base or Fraction(1, 1000)
        self._sar = stream.sample_aspect_ratio or Fraction(1)
        rates = (stream.guessed_rate, stream.average_rate, stream.base_rate)
        self._rates = [rate for rate in rates if rate] or [_UNKNOWN_RATE]
        self._declared_end = _declared_end(stream)
        return stream

    def _decode(self, container: InputContainer, stream: VideoStream) -> Iterator[av.VideoFrame]:
        done = 0
        try:
            for packet in container.demux(stream):
                if packet.is_corrupt:
                    raise self._damaged(done, "its data is incomplete")
                for frame in packet.decode():
                    if frame.is_corrupt:
                        raise self._damaged(done, "its data is damaged")
                    yield frame
                    done += 1
        except (av.FFmpegError, OSError) as error:
            if "webp" in container.format.name:
                raise VideoError(
                    f"{self.path} is WebP, of which only still pictures are read, from a directory of images: "
                    "convert an animation to a video first"
                ) from error
            raise self._damaged(done, error.strerror) from error

    def _damaged(self, index: int, reason: str | None) -> VideoError:
        return VideoError(
            f"{self.path}: frame {index}, or one soon after it, cannot be decoded ({reason}); "
            "repair the file or cut it off before"
        )

    def _note(self, frame: av.VideoFrame) -> None:
        if self._first is None:
            self._first = frame
            bits = max(component.bits for component in frame.format.components)
            if bits > 8:
                self.warnings.append(f"{bits}-bit samples are reduced to 8 bits")
            if frame.color_trc in HDR_TRANSFERS:
                curve = HDR_TRANSFERS[frame.color_trc]
                self.warnings.append(f"HDR ({curve}) is kept as it is coded, without tone mapping, at 8 bits")
            if has_alpha(frame):
                self.warnings.append("transparency is dropped")
            matrix = _display_matrix(frame)
            if matrix is not None and not _is_right_angled(matrix):
                self.warnings.append(
                    f"a rotation by {frame.rotation} degrees is ignored: only right angles are applied"
                )
            if frame.interlaced_frame:
                self.warnings.append("it is interlaced: the two fields of a frame are kept woven together")
        self._pts.append(frame.pts)
        self._last_duration = (frame.duration or 0) * self._time_base


def _declared_end(stream: VideoStream) -> Fraction:
    """Where the video ends by the tag that Matroska files carry, in seconds, 0 without one.

    Other containers either notice themselves that they were cut off, or declare nothing to compare with.
    """
    match = re.fullmatch(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)", stream.metadata.get("DURATION", ""))
    return 3600 * Fraction(match[1]) + 60 * Fraction(match[2]) + Fraction(match[3]) if match else Fraction(0)


def _display_matrix(frame: av.VideoFrame) -> NDArray[np.int32] | None:
    """How to turn the picture: a pixel at (x, y) is shown at (x, y) @ matrix, but for a scale and a shift; [2, 2]."""
    side_data = cast(SideDataContainer, frame.side_data)  # PyAV declares only a part of what it is
    if Type.DISPLAYMATRIX not in side_data:
        return None
    return np.frombuffer(bytes(side_data[Type.DISPLAYMATRIX]), np.int32).reshape(3, 3)[:2, :2]


def _is_right_angled(matrix: NDArray[np.int32]) -> bool:
    on, off = np.diag(matrix), np.diag(matrix[::-1])
    return bool(on.all() and not off.any()) or bool(off.all() and not on.any())


def _turns(matrix: NDArray[np.int32] | None) -> bool:
    """Whether width and height change places."""
    return matrix is not None and _is_right_angled(matrix) and not matrix[0, 0]


def _upright(picture: NDArray[np.uint8], matrix: NDArray[np.int32] | None) -> NDArray[np.uint8]:
    if matrix is None or not _is_right_angled(matrix):
        return picture
    if _turns(matrix):
        picture = picture.transpose(1, 0, 2)
    to_x, to_y = matrix.sum(axis=0)  # of each column, one entry is not zero
    return np.ascontiguousarray(picture[:: 1 if to_y > 0 else -1, :: 1 if to_x > 0 else -1])
