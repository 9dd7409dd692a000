"""Run a command and measure it: wall seconds and peak memory of that process alone.

Linux counts the memory of the process that forks into the peak of the forked one, so a benchmark that
holds a clip in memory would report its own size for every encoder. A small launcher, this file run as a
script, stands between the two.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_LINES = 2  # of stderr, from its start and from its end, in an error message
_ADDRESS = re.compile(r" @ 0x[0-9a-f]+")  # ffmpeg's: differs from run to run


class CommandError(RuntimeError):
    """A command ended with a non-zero exit code; the message holds its first and last words."""


@dataclass(frozen=True)
class Finished:
    """What one finished process cost and said."""

    seconds: float  # wall time, start of the process included
    peak_mib: float  # peak resident memory
    stderr: str


def run(command: Sequence[str], stdout: Path | None = None, cwd: Path | None = None) -> Finished:
    """Run `command`, its output into the file `stdout` or nowhere.

    Raises CommandError where it fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        bill = Path(folder) / "cost.json"
        launcher = [sys.executable, "-S", str(Path(__file__).resolve()), str(bill), *command]
        with Path(stdout or os.devnull).open("wb") as sink:
            done = subprocess.run(launcher, stdin=subprocess.DEVNULL, stdout=sink, stderr=subprocess.PIPE, cwd=cwd)
        stderr = done.stderr.decode("utf-8", "replace")
        if done.returncode:
            raise CommandError(f"{Path(command[0]).name} failed ({done.returncode}): {_gist(stderr)}")
        cost = json.loads(bill.read_text(encoding="utf-8"))
    return Finished(cost["seconds"], cost["peak_mib"], stderr)


def median_run(command: Sequence[str], times: int, enough: float, cwd: Path | None = None) -> Finished:
    """Run `command` up to `times` times, or until `enough` seconds have gone by: the run of median wall time."""
    runs: list[Finished] = []
    while len(runs) < times and sum(done.seconds for done in runs) < enough:
        runs.append(run(command, cwd=cwd))
    middle = statistics.median_low(done.seconds for done in runs)
    return next(done for done in runs if done.seconds == middle)


def shown(command: Sequence[str]) -> str:
    """The command as one line for a reader: absolute paths cut down to their last part."""
    return shlex.join(Path(word).name if Path(word).is_absolute() else word for word in command)


def _gist(stderr: str) -> str:
    """ffmpeg says the cause first and then who else gave up; Python says it last."""
    lines = [_ADDRESS.sub("", line).strip() for line in stderr.replace("\r", "\n").splitlines() if line.strip()]
    if len(lines) > 2 * _LINES:
        lines = [*lines[:_LINES], "...", *lines[-_LINES:]]
    return " / ".join(lines) or "it said nothing"


def _launch(bill: Path, command: list[str]) -> int:
    """Run `command` and write what it cost to `bill`, as JSON. Returns its exit code, or 128 + signal."""
    start = time.perf_counter()
    try:
        child = subprocess.Popen(command)
    except OSError as error:
        print(error, file=sys.stderr)
        return 127
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - start
    code = os.waitstatus_to_exitcode(status)
    unit = 2**20 if sys.platform == "darwin" else 2**10  # ru_maxrss counts bytes there, KiB elsewhere
    bill.write_text(json.dumps({"seconds": seconds, "peak_mib": usage.ru_maxrss / unit}), encoding="utf-8")
    return code if code >= 0 else 128 - code


def processor_seconds(pid: int) -> float:
    """What a running process has taken of the processors, whatever else the machine does; 0 once it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    sys.exit(_launch(Path(sys.argv[1]), sys.argv[2:]))
