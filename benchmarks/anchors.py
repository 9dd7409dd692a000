"""The codecs we measure ourselves against, run from the ffmpeg binary that imageio-ffmpeg ships.

All get the same lossless 4:2:0 source, one intra frame at the start and none after it, as ours has, and
are tuned for PSNR. Text that an encoder writes about itself into the stream is left out: it is no picture.
"""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import av
import numpy as np

from benchmarks import ffmpeg, process
from benchmarks.clips import Clip, write_rgb
from benchmarks.codecs import UnavailableError

_FRAME_BY_FRAME = ("h264", "hevc")  # containers that hold one frame in every packet
_TYPES = {1: "I", 2: "P", 3: "B"}  # ffmpeg's numbers of them
_PROBE = ("-f", "lavfi", "-i", "testsrc2=size=128x128:rate=25", "-frames:v", "3", "-pix_fmt", "yuv420p")


@dataclass(frozen=True)
class Anchor:
    """One encoder at one effort. Rate is set by `quality` (an ffmpeg option), one value a point."""

    name: str
    label: str
    encoder: str  # ffmpeg's name of it
    options: tuple[str, ...]  # preset, tuning, one intra frame
    quality: str
    values: tuple[int, ...]  # rising rate
    muxer: str  # ffmpeg's name of the container
    extension: str
    container: str  # the same in words
    version_pattern: str  # what the encoder calls itself, in its log or its stream
    trim: tuple[str, ...] = ()  # a bitstream filter that drops text from the stream
    note: str = ""

    @property
    def points(self) -> tuple[str, ...]:
        return tuple(f"{self.quality}={value}" for value in self.values)

    @cached_property
    def version(self) -> str:
        """Encoder and ffmpeg version. Raises UnavailableError where the binary cannot run this encoder."""
        if self.encoder not in ffmpeg.encoders():
            raise UnavailableError(
                f"{ffmpeg.version()} has no {self.encoder}; install the imageio-ffmpeg that ships it"
            )
        with tempfile.TemporaryDirectory() as folder:
            stream = Path(folder) / f"probe{self.extension}"
            rate = (f"-{self.quality}", str(self.values[0]))
            probe = replace(self, trim=())
            command = [ffmpeg.binary(), "-hide_banner", "-y", *_PROBE, *probe._output(rate), str(stream)]
            try:
                said = process.run(command).stderr
            except process.CommandError as error:
                raise UnavailableError(f"{self.encoder} does not run: {error}") from error
            found = re.search(self.version_pattern, said + stream.read_bytes().decode("latin-1"))
        return f"{found[1] if found else self.encoder} in {ffmpeg.version()}"

    def encode(self, settings: str, clip: Clip, stream: Path) -> list[str]:
        """The command that encodes `clip` into `stream` at one of `points`."""
        option, value = settings.split("=")
        source = ["-loglevel", "error", "-nostdin", "-y", "-i", str(clip.video), "-an", "-fps_mode", "passthrough"]
        return [ffmpeg.binary(), *source, *self._output((f"-{option}", value)), str(stream)]

    def decode(self, stream: Path, first_only: bool = False) -> list[str]:
        """The command that decodes `stream` to planes and throws them away, for timing."""
        limit = ["-frames:v", "1"] if first_only else []
        source = ["-loglevel", "error", "-nostdin", "-i", str(stream), "-fps_mode", "passthrough"]
        return [ffmpeg.binary(), *source, *limit, "-f", "null", "-"]

    def write_frames(self, stream: Path, clip: Clip, out: Path) -> int:
        """Decode to raw rgb24, by the conversion the source went through. Returns the number of frames."""
        return write_rgb(stream, out, clip.color)

    def features(self, stream: Path, clip: Clip) -> np.ndarray | None:
        """None: these files hold no features."""
        return None

    def report(self, stream: Path) -> dict[str, Any]:
        """Bytes by type of frame, where a packet is one. No PSNR: what these encoders measure are planes, not RGB."""
        return {"bytes_by_type": _bytes_by_type(stream)} if self.muxer in _FRAME_BY_FRAME else {}

    def _output(self, rate: tuple[str, ...]) -> list[str]:
        return ["-c:v", self.encoder, *self.options, *rate, *self.trim, "-f", self.muxer]


def _bytes_by_type(stream: Path) -> dict[str, int]:
    """Bytes of intra frames, of those predicted from one side, and of those from both."""
    sizes: list[int] = []  # in coding order
    found = dict.fromkeys(_TYPES.values(), 0)
    with av.open(str(stream)) as container:
        video = container.streams.video[0]
        for packet in container.demux(video):
            if packet.size:
                packet.pts = packet.dts = len(sizes)  # so that a frame says which packet it was
                sizes.append(packet.size)
            for frame in packet.decode():
                found[_TYPES[int(frame.pict_type)]] += sizes[frame.pts]
    return found


def _x265(effort: str) -> Anchor:
    return Anchor(
        name=f"x265-{effort}",
        label=f"x265 {effort}",
        encoder="libx265",
        options=("-preset", effort, "-tune", "psnr", "-x265-params", "keyint=-1:scenecut=0:info=0"),
        quality="crf",
        values=(44, 40, 36, 32, 28),
        muxer="hevc",
        extension=".265",
        container="raw H.265 stream",
        version_pattern=r"HEVC encoder version (\S+)",
    )


ANCHORS: dict[str, Anchor] = {
    anchor.name: anchor
    for anchor in (
        Anchor(
            name="x264-veryslow",
            label="x264 veryslow",
            encoder="libx264",
            options=("-preset", "veryslow", "-tune", "psnr", "-x264-params", "keyint=infinite:scenecut=0"),
            quality="crf",
            values=(42, 38, 34, 30, 26),
            muxer="h264",
            extension=".264",
            container="raw H.264 stream without SEI text",
            version_pattern=r"x264 - (core \d+ \S+)",
            trim=("-bsf:v", "filter_units=remove_types=6"),
        ),
        _x265("medium"),
        _x265("veryslow"),
        Anchor(
            name="svtav1-p4",
            label="SVT-AV1 preset 4",
            encoder="libsvtav1",
            options=("-preset", "4", "-g", "9999", "-svtav1-params", "tune=1"),  # tune 1: PSNR
            quality="crf",
            values=(63, 60, 54, 46, 38),
            muxer="obu",
            extension=".obu",
            container="AV1 low-overhead OBU stream",
            version_pattern=r"SVT-AV1 Encoder Lib (\S+)",
        ),
        Anchor(
            name="vvenc-medium",
            label="VVenC medium",
            encoder="libvvenc",
            options=("-preset", "medium", "-qpa", "0", "-period", "9999", "-pix_fmt", "yuv420p10le"),
            quality="qp",
            values=(44, 40, 36, 32, 28),
            muxer="vvc",
            extension=".266",
            container="raw H.266 stream",
            version_pattern=r"libvvenc version: (\S+)",
            note="codes at 10 bits, the only depth its ffmpeg encoder takes",
        ),
    )
}
