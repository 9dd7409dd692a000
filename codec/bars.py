"""Progress for people, on standard error: a line that moves on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from codec import console

if TYPE_CHECKING:
    from codec.encoding.estimate import Estimate
    from codec.training.task import Status

PHASES = {
    "scan": "reading the source",
    "load": "loading CLIP",
    "teacher": "CLIP features",
    "train": "encoding",
    "code": "coding",
    "check": "decoding and measuring",
}
PLAIN_SECONDS = 20.0  # between lines where standard error is not a terminal
BAR = 20  # columns, where there is room


class Bars:
    """Progress of an encode, or with `begin` and `counted` of anything that counts."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._title = ""
        self._share: float | None = None  # done, 0 to 1; None where it cannot be told
        self._facts: Sequence[str] = ()  # the most telling first
        self._started = self._printed = time.monotonic()
        self._live = Live(get_renderable=self._line, console=self._console, transient=True, refresh_per_second=4)

    def __enter__(self) -> Bars:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *details: object) -> None:
        self._live.stop()

    def begin(self, title: str) -> None:
        """Work of another kind."""
        self._title, self._share, self._facts, self._started = title, None, (), time.monotonic()

    def phase(self, name: str) -> None:
        self.begin(PHASES[name])
        self._plain(self._title)

    def source(self, described: str) -> None:
        self._say(f"source: {described}")

    def expected(self, estimate: Estimate) -> None:
        self._say(f"expected: {console.foreseen(estimate.as_json())}")

    def note(self, message: str) -> None:
        self._say(message)

    def segment(self, start: int, total: int, frames: int, parameters: int) -> None:
        self.begin("encoding" if frames == total else f"encoding frames {start}..{start + frames - 1} of {total}")
        self._plain(f"{self._title}, {parameters:,} parameters")

    def training(self, status: Status, left: float | None) -> None:
        facts = [f"{console.clock(left)} left"] if left is not None else []
        facts += [f"{status.psnr:.2f} dB", f"~{status.bits / 8e3:,.0f} kB"]
        if status.epoch or status.epochs:  # not every kind has them
            facts.append(f"epoch {status.epoch}" + ("" if status.epochs is None else f"/{status.epochs}"))
        self._show(status.fraction, facts)

    def counted(self, done: int, total: int | None) -> None:
        self._show(done / total if total else None, [f"{done:,} frames" if total is None else f"{done:,} of {total:,}"])

    def evaluated(self, epoch: int, scores: dict[str, float]) -> None:
        self._say(f"epoch {epoch}: " + ", ".join(f"{k} {v:.4g}" for k, v in scores.items()))

    def _show(self, share: float | None, facts: Sequence[str]) -> None:
        self._share, self._facts = share, facts
        if time.monotonic() - self._printed > PLAIN_SECONDS:
            self._plain("  ".join((f"{self._title}:", *self._percent(), *facts)))

    def _say(self, text: str) -> None:
        """A line that stays."""
        if self._console.is_terminal:  # a file's lines are as long as they are
            text = console.broken(text, self._console.width)
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def _plain(self, text: str) -> None:
        if not self._console.is_terminal:
            self._printed = time.monotonic()
            print(text, file=sys.stderr, flush=True)

    def _percent(self) -> list[str]:
        return [] if self._share is None else [f"{100 * self._share:.0f}%"]

    def _line(self) -> Table:
        """All of it in one line: what there is no room for is left out, and no word is cut."""
        width = self._console.width - 1
        passed = console.clock(time.monotonic() - self._started)
        texts = fitting([self._title, *self._percent(), *self._facts, passed], width)
        row: list[str | ProgressBar] = list(texts)
        if sum(map(len, texts)) + len(texts) + BAR <= width and self._share is not None:
            row.insert(1, ProgressBar(1.0, self._share, BAR))
        table = Table.grid(padding=(0, 1, 0, 0))
        table.add_row(*row)
        return table


def fitting(texts: Sequence[str], width: int) -> list[str]:
    """As many of the texts, in their order, as go in a line with spaces between; the first ones count most."""
    found: list[str] = []
    for text in texts:
        if text and sum(map(len, found)) + len(found) + len(text) <= width:
            found.append(text)
    return found


@contextmanager
def counting(title: str, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """Progress of work that counts: the value is called with (done, total)."""
    if quiet:
        yield lambda done, total: None
        return
    with Bars() as bars:
        bars.begin(title)
        yield bars.counted
