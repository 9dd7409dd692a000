"""The ffmpeg binary that imageio-ffmpeg ships, and what it can do."""

from __future__ import annotations

import subprocess
from functools import cache

import imageio_ffmpeg


@cache
def binary() -> str:
    """Path of the binary. Raises RuntimeError where there is none."""
    return str(imageio_ffmpeg.get_ffmpeg_exe())


@cache
def version() -> str:
    return f"ffmpeg {_ask('-version').split()[2]}"


@cache
def encoders() -> frozenset[str]:
    return _names(_ask("-encoders"))


@cache
def has_vmaf() -> bool:
    return "libvmaf" in _names(_ask("-filters"))


def _ask(option: str) -> str:
    return subprocess.run([binary(), "-hide_banner", option], capture_output=True, text=True, check=True).stdout


def _names(listing: str) -> frozenset[str]:
    """Second word of each line, as in ' V....D libx264   description'."""
    return frozenset(words[1] for line in listing.splitlines() if len(words := line.split()) > 1)
