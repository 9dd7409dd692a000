"""Look at a .nerv file: what it holds (`info`), and whether all of it holds (`verify`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitstream import VERSION, BitstreamError, Limits, Reader
from bitstream import verify as verify_file
from codec import video
from codec.decoding.reader import NervReader
from codec.errors import VideoError
from codec.quality import compare


def info(path: str | Path, limits: Limits = Limits()) -> dict[str, Any]:
    """What a file says of itself, without decoding it. Raises BitstreamError, OSError."""
    reader = Reader(path, limits)
    header = reader.header
    quality = asdict(reader.quality) if reader.quality else {}
    return {
        "format_version": VERSION,
        "encoder": header.encoder,
        "frames": header.frames,
        "height": header.height,
        "width": header.width,
        "fps": float(header.fps),
        "fps_exact": str(header.fps),
        "duration": float(header.frames / header.fps),
        "variable_rate": reader.timestamps is not None,
        "sar": str(header.sar),
        "color": asdict(header.color),
        "grid": list(header.grid),
        "segments": len(reader.index),
        "segment_frames": [entry.frames for entry in reader.index],
        "parameters": sum(t.values.size for s in reader.segments() for t in s.tensors),
        "architecture": asdict(header.architecture),
        "data_split": list(header.split),
        "teacher": asdict(header.teacher) if header.teacher else None,
        "bytes": reader.size,
        "bpp": 8 * reader.size / (header.frames * header.height * header.width),
        "bytes_by_part": reader.bytes_by_part(),
        **quality,
    }


def verify(
    path: str | Path,
    against: str | Path | None = None,
    *,
    device: str = "auto",
    limits: Limits = Limits(),
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Check every checksum, decode every frame and, with `against`, measure them against their source.

    The result's "ok" says whether all held; "problems" names what did not. Raises OSError where the file cannot be
    read, VideoError where `against` cannot.
    """
    found = verify_file(path, limits)
    result: dict[str, Any] = {"ok": found.ok, "problems": [str(p) for p in found.problems]}
    if not found.ok:
        return result
    try:
        reader = NervReader(path, device, limits=limits)
        header = reader.header
        result |= {
            "frames": header.frames,
            "height": header.height,
            "width": header.width,
            "fps": float(header.fps),
            "bytes": reader.file.size,
            "bpp": 8 * reader.file.size / (header.frames * header.height * header.width),
        }

        def decoded() -> Iterator[NDArray[np.uint8]]:
            done = 0
            for batch in reader.frames():
                yield batch
                done += len(batch)
                progress(done, header.frames)

        if against is None:
            for _ in decoded():
                pass
            return result
        source = video.scan(against)
        if (source.frames, source.height, source.width) != (header.frames, header.height, header.width):
            raise VideoError(
                f"{against} has {source.frames} frames of {source.height}x{source.width}, "
                f"{path} {header.frames} of {header.height}x{header.width}: compare with what was encoded"
            )
        measured = compare(decoded(), video.frames(against), reader.device)
    except BitstreamError as error:
        return result | {"ok": False, "problems": [str(error)]}
    result |= {
        "psnr": float(measured.psnr.mean()),
        "psnr_per_frame": [round(v, 4) for v in measured.psnr.tolist()],
        "ms_ssim": None if measured.ms_ssim is None else float(np.mean(measured.ms_ssim)),
    }
    return result
