"""The index of a file: the features it holds as unit vectors, computed once, cached on disk and memory-mapped.

It takes 2 bytes a value: 108,000 frames of 8 patches of 512 values, an hour at 30 frames a second, are 885 MB.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from bitstream.header import Header
from codec.atomic import atomic_output
from codec.errors import OutputError
from codec.features.cache import cache_directory

INDEX_VERSION = 1  # counts up when the same file comes to give other vectors
FRAMES_AT_ONCE = 1024  # whose features are held in memory while an index is built

Progress = Callable[[int, int], None]
Warn = Callable[[str], object]


class Featured(Protocol):
    """What has an index: a `NervReader`."""

    @property
    def header(self) -> Header: ...

    @property
    def digest(self) -> str:
        """Of the file's bytes; "" where it has none that holds."""

    def __len__(self) -> int: ...

    def features(self, start: int = 0, stop: int | None = None) -> NDArray[np.float32]:
        """Raises ValueError where the file holds none."""


def unit_vectors(
    reader: Featured,
    cache_dir: str | Path | None = None,
    progress: Progress = lambda done, total: None,
    warn: Warn = warnings.warn,
) -> NDArray[np.float16]:
    """The features of a file: float16 [T, patches, D], each of unit length, from the cache where they are there.

    cache_dir: default: `cache_directory("index")`. Raises ValueError where the file holds no features.
    """
    rows, columns = reader.header.grid
    teacher = reader.header.teacher
    if teacher is None:
        raise ValueError("it holds no features: it was encoded without a teacher (--clip off)")
    shape = (len(reader), rows * columns, teacher.dim)
    if reader.digest:
        path = (Path(cache_dir) if cache_dir else cache_directory("index")) / f"{reader.digest}-{INDEX_VERSION}.npy"
        if (held := _mapped(path, shape)) is not None:
            return held
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_output(path, force=True) as temporary:
                _fill(np.lib.format.open_memmap(temporary, "w+", np.float16, shape), reader, progress)
            if (held := _mapped(path, shape)) is not None:
                return held
        except (OSError, OutputError) as error:
            warn(f"the index is not cached: {str(error).splitlines()[0]} (NVCODEC_CACHE=DIR names another place)")
    return _fill(np.empty(shape, np.float16), reader, progress)


def _fill(vectors: NDArray[np.float16], reader: Featured, progress: Progress) -> NDArray[np.float16]:
    for start in range(0, len(vectors), FRAMES_AT_ONCE):
        stop = min(start + FRAMES_AT_ONCE, len(vectors))
        vectors[start:stop] = reader.features(start, stop)
        progress(stop, len(vectors))
    return vectors


def _mapped(path: Path, shape: tuple[int, ...]) -> NDArray[np.float16] | None:
    """An index of this shape from disk, None where there is none; a cut or foreign file is none."""
    try:
        held = np.load(path, mmap_mode="c", allow_pickle=False)  # copy on write: torch takes no read-only memory
    except (OSError, ValueError, EOFError):
        return None
    return held if held.dtype == np.float16 and held.shape == shape else None
