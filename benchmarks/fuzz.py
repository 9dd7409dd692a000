"""Every promise of the reader against files that break one: `python -m benchmarks.fuzz --minutes N`.

`read_file` is what a fuzzer calls: bytes -> None, whatever they are; what it raises is a defect of ours.
"""

from __future__ import annotations

import json
import multiprocessing
import resource
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import count
from multiprocessing.connection import Connection
from pathlib import Path

import click
import torch

from benchmarks import wild
from benchmarks.process import processor_seconds
from bitstream import BitstreamError, Limits, verify
from codec import console
from codec.decoding.info import info
from codec.decoding.reader import NervReader

SLOW = 2.0  # seconds a file; all times of files are of the processor, so that a busy machine does not count
PATIENCE = 100  # seconds by the clock for each of the processor's, before a file is given up
# A decoder's own limits let a file ask for a few gigabytes and seconds. Here all that is checked against a limit is
# refused far below it, so that thousands of files a minute can be read; the code that runs is the same.
LIMITS = Limits(values=2**20, activations=2**22, operations=2**28)


def read_file(data: bytes, limits: Limits = LIMITS) -> None:
    """All that a decoder does with a file: checks, facts, frames, a patch, features; then what can be salvaged."""
    _opened(lambda: verify(data, limits))
    _opened(lambda: console.described(info(data, limits), "file"))
    if not _opened(lambda: _decode(NervReader(data, "cpu", limits=limits))):
        _opened(lambda: _decode(NervReader(data, "cpu", limits=limits, salvage=True)))


def _decode(reader: NervReader) -> None:
    rows, columns = reader.header.grid
    for entry in {reader.file.index[0], reader.file.index[-1]} if reader.file.index else ():
        t = entry.stop - 1
        assert reader[t].shape == (reader.header.height, reader.header.width, 3)
        assert reader.patch(t, rows - 1, columns - 1).size > 0
        if reader.spec.clip_dim:
            assert reader.features(t, t + 1).shape == (1, rows * columns, reader.spec.clip_dim)
        reader.presentation.cut(t, t + 1)


def _opened(work: Callable[[], object]) -> bool:
    """Whether it came to its end; a BitstreamError, with a message, is the other end it may come to."""
    try:
        work()
    except BitstreamError as error:
        if not str(error):
            raise RuntimeError("an error without a message") from error
        return False
    return True


@dataclass
class Tally:
    """What came of the files of one family."""

    files: int = 0
    wrong: int = 0  # raised what is no BitstreamError, was killed at a limit, or ended the process
    slow: int = 0
    seconds: float = 0.0  # of the slowest
    mib: float = 0.0  # the most that was added to the process's memory


@dataclass
class Found:
    """A file that is to be looked at."""

    family: str
    seed: int
    what: str


@dataclass
class Report:
    """A whole run."""

    tallies: dict[str, Tally] = field(default_factory=lambda: {name: Tally() for name in wild.FAMILIES})
    found: list[Found] = field(default_factory=list)
    seconds: float = 0.0

    def note(self, family: str, seed: int, seconds: float, mib: float, error: str) -> None:
        tally = self.tallies[family]
        tally.files += 1
        tally.seconds, tally.mib = max(tally.seconds, seconds), max(tally.mib, mib)
        if error:
            tally.wrong += 1
            self.found.append(Found(family, seed, error))
        elif seconds > SLOW:
            tally.slow += 1
            self.found.append(Found(family, seed, f"took {seconds:.1f} s"))

    def text(self) -> str:
        rows = [("family", "files", "wrong", "slow", "slowest, s", "memory, MiB")]
        total = Tally()
        for name, t in [*self.tallies.items(), ("all", total)]:
            rows.append((name, f"{t.files:,}", str(t.wrong), str(t.slow), f"{t.seconds:.2f}", f"{t.mib:.0f}"))
            total.files, total.wrong, total.slow = total.files + t.files, total.wrong + t.wrong, total.slow + t.slow
            total.seconds, total.mib = max(total.seconds, t.seconds), max(total.mib, t.mib)
        lines = [f"{a:<10}{b:>10}{c:>7}{d:>6}{e:>12}{f:>13}" for a, b, c, d, e, f in rows]
        return "\n".join([*lines, *(f"{f.family} {f.seed}: {f.what}" for f in self.found[:50])])


class Worker:
    """A process that reads one file at a time, under limits; another takes its place where it does not come back."""

    def __init__(self, seconds: float, mib: int, limits: Limits) -> None:
        self.seconds, self.mib, self.limits = seconds, mib, limits
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, self.mib, self.limits), daemon=True)
        self._process.start()
        theirs.close()
        self._pipe.recv()  # it is ready

    def read(self, family: str, seed: int) -> tuple[float, float, str]:
        """Seconds, MiB and what went wrong, "" for nothing."""
        pid = self._process.pid or 0
        before = processor_seconds(pid)
        self._pipe.send((family, seed))
        try:
            end = time.monotonic() + PATIENCE * self.seconds  # a process that waits takes no processor time
            while processor_seconds(pid) - before < self.seconds and time.monotonic() < end:
                if self._pipe.poll(0.2):
                    found: tuple[float, float, str] = self._pipe.recv()
                    return found
            error = f"took more than {self.seconds:.0f} s"
        except EOFError:
            self._process.join()
            error = f"ended the process ({self._process.exitcode})"
        self._process.kill()
        self._process.join()
        self._start()
        return self.seconds, 0.0, error

    def close(self) -> None:
        self._process.kill()
        self._process.join()


def _serve(pipe: Connection, mib: int, limits: Limits) -> None:
    torch.set_num_threads(1)
    read_file(wild.file("right", 0))  # loads all that is loaded lazily
    used = _memory("VmSize")
    resource.setrlimit(resource.RLIMIT_AS, ((used + mib) * 2**20, resource.RLIM_INFINITY))
    pipe.send(None)
    while True:
        family, seed = pipe.recv()
        data = wild.file(family, seed)
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
        before, start, error = _memory("VmRSS"), time.process_time(), ""
        try:
            read_file(data, limits)
        except Exception as raised:  # whatever it is, it is what is looked for
            error = f"{type(raised).__name__}: {raised}"
        pipe.send((time.process_time() - start, _memory("VmHWM") - before, error))


def _memory(name: str) -> int:
    """A line of this process's status, in MiB."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) // 1024


def run(
    minutes: float, files: int | None, first: int, seconds: float, mib: int, limits: Limits = LIMITS
) -> Iterator[Report]:
    """Read files of all families in turn; the report so far, after each round of them."""
    report, worker, started = Report(), Worker(seconds, mib, limits), time.perf_counter()
    try:
        for seed in count(first):
            for family in wild.FAMILIES:
                report.note(family, seed, *worker.read(family, seed))
            report.seconds = time.perf_counter() - started
            yield report
            done = (seed - first + 1) * len(wild.FAMILIES)
            if report.seconds > 60 * minutes or (files is not None and done >= files):
                return
    finally:
        worker.close()


@click.command()
@click.option("--minutes", type=click.FloatRange(min=0), default=10.0, show_default=True)
@click.option("--files", type=click.IntRange(min=1), help="Stop after so many files, if that comes first.")
@click.option("--first", type=int, default=0, show_default=True, help="Seed of the first files.")
@click.option("--seconds", type=float, default=20.0, show_default=True, help="Limit of a file.")
@click.option("--mib", type=int, default=2048, show_default=True, help="Likewise, memory.")
@click.option("--whole", is_flag=True, help="Under a decoder's own limits, which allow gigabytes and seconds.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Report, and the files to be looked at.")
def main(
    minutes: float, files: int | None, first: int, seconds: float, mib: int, whole: bool, out: Path | None
) -> None:
    """Read wild files for some minutes; exits with 1 if one raised what is no BitstreamError, or passed a limit."""
    report = Report()
    for report in run(minutes, files, first, seconds, mib, Limits() if whole else LIMITS):  # noqa: B007 (the last is wanted)
        pass
    click.echo(f"{sum(t.files for t in report.tallies.values()):,} files in {report.seconds:.0f} s")
    click.echo(report.text())
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / "report.json").write_text(json.dumps(asdict(report), indent=2) + "\n")
        for found in report.found:
            (out / f"{found.family}-{found.seed}.nerv").write_bytes(wild.file(found.family, found.seed))
    if any(tally.wrong for tally in report.tallies.values()):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
