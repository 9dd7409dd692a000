"""What a .nerv file says of itself, without decoding it: no torch, no network, none of its integers."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from bitstream import VERSION, FileReader, Limits


def info(path: str | Path | bytes, limits: Limits = Limits()) -> dict[str, Any]:
    """What a file, or its bytes, says of itself, without decoding it. Raises BitstreamError, OSError."""
    reader = FileReader(path, limits)
    header = reader.header
    contents = reader.contents()
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
        "parameters": contents.values,
        "architecture": asdict(header.architecture),
        "base": header.base.hex(),
        "data_split": list(header.split),
        "teacher": asdict(header.teacher) if header.teacher else None,
        "bytes": reader.size,
        "bpp": 8 * reader.size / (header.frames * header.height * header.width),
        "bytes_by_part": contents.bytes_by_part,
        **quality,
    }
