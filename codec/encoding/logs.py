"""TensorBoard logs of an encode: its settings, scalars, pictures of patches, and what became of every frame."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codec import patches
from codec.errors import OutputError
from codec.extras import missing


def check_log(directory: str | Path | None) -> None:
    """Raises OutputError where a log is asked for that cannot be written: before any work is done."""
    if directory is not None and (lack := missing("tensorboard")) is not None:
        raise OutputError(f"no log to {directory}: {lack}, or leave out --log-dir")


class Log:
    """A TensorBoard log in a directory, or none at all for None."""

    def __init__(self, directory: str | Path | None) -> None:
        self._writer: Any = None
        if directory is not None:
            from torch.utils.tensorboard import SummaryWriter  # seconds to import, for those who log

            self._writer = SummaryWriter(str(directory))

    def __enter__(self) -> Log:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.close()

    @property
    def active(self) -> bool:
        return self._writer is not None

    def scalars(self, scores: dict[str, float], prefix: str, step: int) -> None:
        if self._writer is not None:
            for name, value in scores.items():
                self._writer.add_scalar(f"{prefix}{name}", value, step)

    def settings(self, spelled: dict[str, Any]) -> None:
        """Settings by group, as a table."""
        if self._writer is not None:
            rows = [
                f"| {group} | {name} | {value} |"
                for group, values in spelled.items()
                for name, value in (values.items() if isinstance(values, dict) else [("", values)])
            ]
            self._writer.add_text("settings", "\n".join(["| group | setting | value |", "| --- | --- | --- |", *rows]))

    def frames(self, start: int, psnr: NDArray[np.float64], sizes: Sequence[int] | None) -> None:
        """PSNR in dB of the frames from `start` on as they are decoded, and their bytes where each has its own."""
        for number, value in enumerate(psnr, start):
            self.scalars({"frame_psnr": float(value)}, "", number)
        for number, size in enumerate(sizes or (), start):
            self.scalars({"frame_bytes": size}, "", number)

    def picture(
        self, decoded: NDArray[np.uint8], source: NDArray[np.uint8], grid: tuple[int, int], prefix: str, step: int
    ) -> None:
        """The patches of one frame, each above its source: uint8 [H, W, 3] both."""
        if self._writer is not None:
            pairs = np.concatenate([patches.split(f[None], grid)[0] for f in (decoded, source)], axis=1)
            self._writer.add_images(f"{prefix}patches", pairs, step, dataformats="NHWC")
