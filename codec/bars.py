"""Progress for people, on standard error: bars on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    from codec.training.task import Status

PHASES = {
    "scan": "reading the source",
    "teacher": "CLIP features",
    "train": "encoding",
    "code": "coding",
    "check": "decoding and measuring",
}
PLAIN_SECONDS = 20.0  # between lines where standard error is not a terminal


class Bars:
    """Progress of an encode: a bar on a terminal, a line now and then elsewhere."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            TextColumn("{task.fields[facts]}"),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._task: TaskID | None = None
        self._title = ""
        self._printed = 0.0

    def __enter__(self) -> Bars:
        self._bars.start()
        return self

    def __exit__(self, *details: object) -> None:
        self._bars.stop()

    def phase(self, name: str) -> None:
        self._title = PHASES[name]
        self._next(None)

    def source(self, described: str) -> None:
        self._console.print(f"source: {described}", highlight=False, markup=False, soft_wrap=True)

    def segment(self, start: int, total: int, frames: int, parameters: int) -> None:
        place = "" if frames == total else f" frames {start}..{start + frames - 1} of {total}"
        self._title = f"encoding{place}"
        self._next(100, f", {parameters:,} parameters")

    def _next(self, total: int | None, details: str = "") -> None:
        if self._task is not None:
            self._bars.remove_task(self._task)
        self._task = self._bars.add_task(self._title, total=total, facts="")
        self._line(self._title + details, force=True)

    def training(self, status: Status) -> None:
        epochs = "" if status.epochs is None else f"/{status.epochs}"
        epoch = f"epoch {status.epoch}{epochs}  " if status.epoch or epochs else ""  # not every kind has them
        left = f"{int(status.seconds_left) // 60}:{int(status.seconds_left) % 60:02d} left"
        size = f"~{status.bits / 8e3:,.0f} kB"
        facts = f"{epoch}{status.psnr:.2f} dB  {size}  {left}"
        if self._task is not None:
            self._bars.update(self._task, completed=100 * status.fraction, facts=facts)
        self._line(f"{100 * status.fraction:3.0f}%  {facts}")

    def evaluated(self, epoch: int, scores: dict[str, float]) -> None:
        text = f"epoch {epoch}: " + ", ".join(f"{k} {v:.4g}" for k, v in scores.items())
        self._console.print(text, highlight=False, markup=False)

    def _line(self, text: str, force: bool = False) -> None:
        now = time.monotonic()
        if not self._console.is_terminal and (force or now - self._printed > PLAIN_SECONDS):
            self._printed = now
            print(text, file=sys.stderr, flush=True)


@contextmanager
def counting(title: str, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error for work that counts: the value is called with (done, total)."""
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=quiet or not console.is_terminal) as bars:
        task = bars.add_task(title, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)
