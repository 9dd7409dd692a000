"""A file decoded in every way there is here: `python -m benchmarks.ways v.nerv video.mp4`.

Devices, number formats, numbers of threads and of frames at a time may change how fast a predictive file decodes, never
its symbols, and its pixels by a hair only: what one frame differs by is not to grow in those made from it.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice, product
from pathlib import Path
from unittest.mock import patch

import click
import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.machine import describe
from benchmarks.table import line
from codec import NervReader, video
from codec.network.predictive.symbols import Symbols
from codec.quality import psnr
from codec.rate.records import FrameCoder
from codec.side_by_side import torch_threads

FORMATS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
WIDEST = 20  # of the names of frames, which sort by number when as wide
LAST = 16  # frames at the end, where what differs has added up


@dataclass(frozen=True)
class Way:
    device: str
    dtype: str  # of FORMATS
    threads: int
    batch: int | None  # frames asked for together; None for as many as a reader takes

    def __str__(self) -> str:
        threads = f", {self.threads} thread{'s' * (self.threads > 1)}" if self.device == "cpu" else ""
        return f"{self.device}, {self.dtype}{threads}{f', {self.batch} at a time' if self.batch else ''}"


@dataclass(frozen=True, eq=False)
class Found:
    """What came of decoding a whole file."""

    frames: NDArray[np.uint8]  # [T, H, W, 3]
    symbols: int  # CRC-32 over those of all frames, by number
    fps: float


def ways() -> list[Way]:
    """All that this machine has; the first is what the others are held against."""
    most = torch.get_num_threads()
    cpu = [Way("cpu", dtype, n, None) for dtype, n in product(FORMATS, sorted({1, most}))]
    gpu = [Way("cuda", dtype, most, None) for dtype in FORMATS] if torch.cuda.is_available() else []
    return [*cpu, Way("cpu", "float32", most, 1), *gpu]


def decode(path: Path, way: Way) -> Found:
    """Decode all frames twice, the second time against the clock. Raises BitstreamError."""
    with torch_threads(way.threads):
        with _symbols() as parsed:
            frames = _frames(path, way)
        start = time.perf_counter()
        _frames(path, way)
        seconds = time.perf_counter() - start
    crc = 0
    for _, values in sorted(parsed.items()):
        crc = zlib.crc32(values, crc)
    return Found(frames, crc, len(frames) / seconds)


def _frames(path: Path, way: Way) -> NDArray[np.uint8]:
    reader = NervReader(path, way.device, batch=way.batch)
    reader.dtype = FORMATS[way.dtype]
    return np.concatenate([*reader.frames()])


@contextmanager
def _symbols() -> Iterator[dict[str, bytes]]:
    """The symbols of all frames that are parsed meanwhile, by the names that errors give them."""
    parsed: dict[str, bytes] = {}
    read = FrameCoder.read

    def noting(self: FrameCoder, record: bytes, *of: object) -> Symbols:
        found = read(self, record, *of)  # type: ignore[arg-type]
        parts = found.motion, found.sides, found.hyper, found.residuals
        parsed[str(of[4]).rjust(WIDEST)] = b"".join(part.tobytes() for part in parts)
        return found

    with patch.object(FrameCoder, "read", noting):
        yield parsed


def lines(chosen: Sequence[Way], found: Sequence[Found], source: NDArray[np.uint8]) -> Iterator[str]:
    """A table in Markdown. source: the frames that were encoded."""
    yield line(["way", "frames/s", "symbols", "PSNR, dB", f"of the last {LAST} frames"])
    yield line(["---", *["--:"] * 4])
    for way, of in zip(chosen, found, strict=True):
        each = psnr(of.frames, source)
        yield line([str(way), f"{of.fps:.1f}", f"{of.symbols:08x}", f"{each.mean():.4f}", f"{each[-LAST:].mean():.4f}"])


@click.command()
@click.argument("path", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("source", type=click.Path(exists=True, path_type=Path))
def main(path: Path, source: Path) -> None:
    """Decode PATH in every way there is here, and hold it against SOURCE; exits with 1 where symbols differ."""
    chosen = ways()
    found = [decode(path, way) for way in chosen]
    for row in lines(chosen, found, np.stack([*islice(video.frames(source), len(found[0].frames))])):
        click.echo(row)
    click.echo(f"\n{describe()}")
    if len({of.symbols for of in found}) > 1:
        raise SystemExit("the symbols differ")


if __name__ == "__main__":
    main()
