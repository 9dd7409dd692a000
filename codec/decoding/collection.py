"""Many .nerv files: those that are named, and those in directories that are."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from bitstream import BitstreamError, Limits
from codec.decoding.reader import NervReader
from codec.errors import CodecError

SUFFIX = ".nerv"


class CollectionError(CodecError):
    """There is nothing to read where a file or directory was named."""


def open_files(
    paths: Sequence[str | Path],
    device: str | torch.device = "auto",
    limits: Limits = Limits(),
    features: bool = False,
    warn: Callable[[str], object] = warnings.warn,
) -> list[NervReader]:
    """Readers of the files named and of all .nerv files in and below the directories named, each once.

    In a directory, what is damaged or (`features`) holds no features is left out with a warning.
    Raises CollectionError where a directory leaves nothing, and for a named file what `NervReader` raises.
    """
    readers: dict[Path, NervReader] = {}
    for path in map(Path, paths):
        if not path.is_dir():
            readers.setdefault(path.resolve(), NervReader(path, device, limits=limits))
            continue
        found = sorted(entry for entry in path.rglob(f"*{SUFFIX}") if entry.is_file())
        left_out = 0
        for entry in found:
            try:
                reader = NervReader(entry, device, limits=limits)
            except (BitstreamError, OSError) as error:
                warn(f"{entry} is left out: {error}")
                left_out += 1
                continue
            if features and reader.header.teacher is None:
                warn(f"{entry} is left out: it holds no features (--clip off)")
                left_out += 1
                continue
            readers.setdefault(entry.resolve(), reader)
        if left_out == len(found):
            what = "with features " if found else ""
            raise CollectionError(f"there is no {SUFFIX} file {what}in {path}: encode one with -o {path}/NAME{SUFFIX}")
    return list(readers.values())
