"""What the benchmark asks of a codec: commands to run, and the frames that come out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from benchmarks.clips import Clip


class UnavailableError(RuntimeError):
    """This codec cannot run here; the message says what is missing."""


class Codec(Protocol):
    """One encoder with its options; `points` are the settings it is measured at."""

    @property
    def name(self) -> str: ...

    @property
    def extension(self) -> str:
        """Of its files, dot included."""

    @property
    def container(self) -> str:
        """What the bytes on disk are, in words."""

    @property
    def note(self) -> str:
        """What a reader of its rows must know, or nothing."""

    @property
    def points(self) -> Sequence[str]: ...

    @property
    def version(self) -> str:
        """Raises UnavailableError."""

    def encode(self, settings: str, clip: Clip, stream: Path) -> list[str]: ...

    def decode(self, stream: Path, first_only: bool = False) -> list[str]: ...

    def write_frames(self, stream: Path, clip: Clip, out: Path) -> int:
        """Decode into `out` as raw rgb24 [T, H, W, 3]. Returns T."""

    def features(self, stream: Path, clip: Clip) -> np.ndarray | None:
        """Features held by the file, float32 [T, patches, D]; None where it holds none."""

    def report(self, stream: Path) -> dict[str, Any]:
        """What the encoder itself reported, {} where it reports nothing.

        psnr: in dB by the benchmark's definition. epochs: how long it trained; settings.train.epochs: of how many.
        bytes_by_X: bytes of the file by X, such as part or level.
        """
