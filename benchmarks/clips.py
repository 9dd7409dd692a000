"""A clip as every codec gets it: one lossless 4:2:0 file, and the RGB frames all outputs are compared with."""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from benchmarks import ffmpeg, process
from bitstream.header import Color
from codec.video import color_of, rgb_converter

CHUNK = 16  # frames in memory at a time

# Where chroma samples lie. Streams of H.264 and H.265 say left where those of AV1 and H.266 say nothing, and a
# converter that believed them would move the colours of one codec against another's by a quarter pixel.
_SITING = "chroma_location=left"
_EVEN = "crop=trunc(iw/2)*2:trunc(ih/2)*2:0:0:exact=1"  # encoders of 4:2:0 take no other sides


@dataclass(frozen=True)
class Clip:
    """One source, prepared. `video` and `rgb` hold the same frames."""

    name: str
    digest: str  # first 16 hex digits of SHA-256 over the bytes of `rgb`
    frames: int
    height: int
    width: int
    color: Color  # by which planes become RGB, for the source and for every codec's output
    video: Path  # FFV1, yuv420p
    rgb: Path  # raw rgb24 [T, H, W, 3]

    def reference(self) -> np.ndarray:
        """The frames, uint8 [T, H, W, 3], mapped from disk."""
        return map_rgb(self.rgb, self.height, self.width)


def prepare(source: Path, folder: Path, crop: tuple[int, int] | None = None) -> Clip:
    """Bring a video file into `folder`, centre crop (height, width) where given.

    What is not 8-bit 4:2:0 is converted once, here, so that all codecs start from the same planes; an odd row or column
    at the end is cut off.
    Raises process.CommandError where ffmpeg cannot read it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    name = source.stem if crop is None else f"{source.stem}_{crop[1]}x{crop[0]}"
    lossless, rgb = folder / f"{name}.mkv", folder / f"{name}.rgb"
    cut = "" if crop is None else f"crop={crop[1]}:{crop[0]},"
    _to_lossless(source, lossless, f"{cut}{_EVEN},setparams={_SITING},format=yuv420p")
    with av.open(str(lossless)) as container:
        first = next(container.decode(video=0))
        height, width, color = first.height, first.width, color_of(first)
    frames = _convert(lossless, rgb)
    return Clip(name, _digest(rgb), frames, height, width, color, lossless, rgb)


def write_rgb(stream: Path, out: Path, color: Color) -> int:
    """Decode `stream` to raw rgb24 by the codec's own conversion, its planes taken as `color`. Returns the frames."""
    with tempfile.TemporaryDirectory() as folder:
        lossless = Path(folder) / "decoded.mkv"
        tags = f"setparams=colorspace={color.matrix}:range={'pc' if color.full_range else 'tv'}:{_SITING}"
        _to_lossless(stream, lossless, tags)
        return _convert(lossless, out)


def _to_lossless(source: Path, out: Path, filters: str) -> None:
    command = [ffmpeg.binary(), "-loglevel", "error", "-nostdin", "-y", "-i", str(source.resolve()), "-an"]
    process.run([*command, "-fps_mode", "passthrough", "-vf", filters, "-c:v", "ffv1", str(out)])


def _convert(lossless: Path, out: Path) -> int:
    to_rgb = rgb_converter()
    frames = 0
    with av.open(str(lossless)) as container, out.open("wb") as file:
        for frame in container.decode(video=0):
            file.write(to_rgb(frame).tobytes())
            frames += 1
    return frames


def map_rgb(path: Path, height: int, width: int) -> np.ndarray:
    """A raw rgb24 file as uint8 [T, H, W, 3], mapped from disk."""
    return np.memmap(path, dtype=np.uint8, mode="r").reshape(-1, height, width, 3)


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()[:16]
