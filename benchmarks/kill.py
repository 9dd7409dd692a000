"""Kill an encode at random moments, resume it, compare: `python -m benchmarks.kill --times 30`.

SIGKILL leaves no time to tidy up. Whatever it hits, `--resume` must give the very bytes of an encode that nothing hit.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import click
import numpy as np
from PIL import Image

from benchmarks.machine import ROOT
from benchmarks.process import processor_seconds

CHECKPOINT_SECONDS = 0.3  # so that encodes of seconds have checkpoints to go on from
PROGRAM = (
    "import torch; torch.set_num_threads(1); import nvcodec; "
    "from codec.training import fit; from codec.encoding.predictive import kept; "
    f"fit.CHECKPOINT_SECONDS = kept.SECONDS = {CHECKPOINT_SECONDS}; nvcodec.main()"
)
ENCODES = {
    "overfitted": ("--preset", "grid", "--epochs", "12", "--size", "12k"),
    "predictive": ("--preset", "fast", "--quality", "50"),
}
ALWAYS = ("--segment", "4", "--clip", "off", "--device", "cpu", "--quiet")


def source(folder: Path) -> Path:
    """A directory of eleven small images: three segments, the last one shorter."""
    folder.mkdir()
    y, x = np.mgrid[0:48, 0:72]
    for t in range(11):
        waves = [127 + 100 * np.sin((x + 3 * t) / (5 + c)) * np.cos((y - t) / (7 + c)) for c in range(3)]
        Image.fromarray(np.stack(waves, -1).astype(np.uint8)).save(folder / f"{t}.png")
    return folder


def start(kind: str, frames: Path, output: Path, *words: str) -> subprocess.Popen[bytes]:
    """kind: of ENCODES."""
    options = (*ENCODES[kind], *ALWAYS, *words)
    command = [sys.executable, "-c", PROGRAM, "encode", str(frames), "-o", str(output), *options]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE)


def finish(process: subprocess.Popen[bytes]) -> None:
    """Wait for the end. Raises RuntimeError where it is no good one."""
    _, errors = process.communicate()
    if process.returncode:
        raise RuntimeError(errors.decode(errors="replace"))


def found_in(checkpoints: Path) -> str:
    """What a killed encode left, in words."""
    if not checkpoints.exists():
        return "nothing"
    names = [entry.name for entry in checkpoints.iterdir()]
    segments = sum(name.endswith(".nervseg") for name in names)
    training = any(name.endswith(".safetensors") for name in names)
    return f"{segments} segments{' and a training' if training else ''}"


def kills(kind: str, times: int, seed: int, folder: Path) -> Iterator[tuple[float, str, bool]]:
    """Processor seconds after which each was killed, what it left, and whether resuming gave the whole one's bytes.

    Moments are counted in the encode's own processor time, which does not depend on what else the machine does.
    """
    frames, whole = source(folder / "frames"), folder / "whole.nerv"
    process = start(kind, frames, whole)
    beginning = _run(process, until=lambda spent: (folder / "whole.nerv.ckpt").exists())
    end = _run(process, until=lambda spent: False)
    finish(process)
    random = Random(seed)
    for number in range(times):
        output = folder / f"{number}.nerv"
        moment = random.uniform(beginning if number % 4 else 0, end)  # one of four while it starts, or wherever
        process = start(kind, frames, output)
        _run(process, until=lambda spent, moment=moment: spent >= moment)  # type: ignore[misc]
        process.kill()
        process.communicate()
        left = "the file" if output.exists() else found_in(folder / f"{number}.nerv.ckpt")
        if not output.exists():
            finish(start(kind, frames, output, "--resume"))
        rest = {entry.name for entry in folder.iterdir()} - {"frames", "whole.nerv"}
        yield moment, left, output.read_bytes() == whole.read_bytes() and rest <= {output.name, f"{output.name}.ckpt"}
        output.unlink()


def _run(process: subprocess.Popen[bytes], until: Callable[[float], bool]) -> float:
    """Let a process run until something holds of its processor seconds, or it ends; those seconds."""
    spent = 0.0
    while process.poll() is None and not until(spent):
        time.sleep(0.005)
        spent = processor_seconds(process.pid) or spent  # 0 where it has just ended
    return spent


@click.command()
@click.option("--times", type=click.IntRange(min=1), default=30, show_default=True, help="For each kind.")
@click.option(
    "--kind", "kinds", type=click.Choice(list(ENCODES)), multiple=True, default=list(ENCODES), show_default=True
)
@click.option("--seed", type=int, default=1, show_default=True, help="Of the moments.")
def main(times: int, kinds: tuple[str, ...], seed: int) -> None:
    """Kill TIMES encodes, resume each; exits with 1 unless all files are those of the uninterrupted encode."""
    if sum(_report(kind, times, seed) for kind in kinds):
        raise SystemExit(1)


def _report(kind: str, times: int, seed: int) -> int:
    """Kill encodes of one kind and say what became of them. -> how many files are others."""
    tally: Counter[str] = Counter()
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        for moment, left, same in kills(kind, times, seed, Path(folder)):
            tally[left] += 1
            wrong += not same
            click.echo(f"killed after {moment:5.2f} s, left {left}: {'the same file' if same else 'ANOTHER FILE'}")
    for left, count in sorted(tally.items()):
        click.echo(f"{count:4} left {left}")
    click.echo(f"{kind}: {times - wrong} of {times} files are byte-identical to that of the uninterrupted encode")
    return wrong


if __name__ == "__main__":
    main()
