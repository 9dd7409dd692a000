"""The program as a process: its standard streams, and interrupts from its first moment on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = ROOT / "tests" / "data" / "golden_v1.nerv"


def shell(command: str, *words: str) -> subprocess.CompletedProcess[bytes]:
    """A line of sh in which `nvcodec` is the program; "$1" and so on are the words."""
    program = f'nvcodec() {{ "{sys.executable}" -m nvcodec "$@"; }}; '
    return subprocess.run(
        ["sh", "-c", program + command, "sh", *map(os.fsencode, words)], cwd=ROOT, capture_output=True
    )


def test_a_full_standard_output() -> None:
    for command in (
        "nvcodec --version > /dev/full",
        'nvcodec info "$1" > /dev/full',
        'nvcodec info "$1" --json >/dev/full',
    ):
        ended = shell(command, str(GOLDEN))
        assert ended.stderr == b"Error: cannot write to standard output: No space left on device\n"
        assert ended.returncode == 1


def test_a_closed_standard_output() -> None:
    ended = shell('nvcodec info "$1" >&-', str(GOLDEN))
    assert ended.stderr == b"Error: cannot write to standard output: Bad file descriptor\n"
    assert ended.returncode == 1


def test_closed_streams_are_not_taken_for_files(tmp_path: Path) -> None:
    """The first file opened would get the number of a closed stream, and with it all that is printed there."""
    check = (
        "import os, nvcodec, cli; cli.main = lambda **words: os._exit(min(os.open('/dev/null', 0), 9)); nvcodec.main()"
    )
    ended = shell(f'"{sys.executable}" -c "{check}" <&- >&- 2>&-')
    assert ended.returncode > 2


def test_a_message_without_standard_error_is_lost_and_printed_nowhere_else() -> None:
    ended = shell('nvcodec info "$1.none" 2>&-', str(GOLDEN))
    assert (ended.returncode, ended.stdout) == (1, b"")


def test_names_that_are_no_text_are_printed_byte_for_byte(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"\xff.nerv")
    path.write_bytes(GOLDEN.read_bytes())
    ended = shell('nvcodec info "$1"', str(path))
    assert ended.stdout.startswith(bytes(tmp_path) + b"/\xff.nerv\n")
    assert (ended.returncode, ended.stderr) == (0, b"")


@pytest.mark.parametrize("module", ["click", "bitstream.file", "torch", "codec.decoding.verify"])
def test_an_interrupt_while_the_program_starts(module: str) -> None:
    """SIGINT in the middle of the import of a module."""
    code = (
        "import os, signal, sys, nvcodec\n"
        "class Interrupting:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name == {module!r}: os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Interrupting())\n"
        "nvcodec.main()\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, "verify", str(GOLDEN)],
        cwd=ROOT,
        capture_output=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, b"", b"interrupted\n")
