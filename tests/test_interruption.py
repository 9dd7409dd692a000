"""Every output of every command, interrupted: nothing is left that looks whole, and nothing that was there is lost."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

import codec.atomic
import codec.decoding.outputs
from cli import main
from tests.samples import Encoded, full_disk, moving_frames, write_images

ENCODE = ("--preset", "grid", "--epochs", "1", "--fc-dim", "6", "--clip", "off", "--device", "cpu")
OUTPUTS = ("out.mp4", "out.mkv", "out.y4m", "out/", "f.npz")  # of decode
DISKS = (0, 1, 700, 3000)  # bytes that fit


def run(*words: object) -> Result:
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
    assert "Traceback" not in result.output
    return result


def decoding(encoded: Encoded, folder: Path, name: str) -> list[object]:
    return ["decode", encoded.path, "--features" if name == "f.npz" else "-o", f"{folder}/{name}", "--device", "cpu"]


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(params=["nothing there", "an output there"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Where to write: with --force, what is there must outlive an interruption."""
    if request.param == "an output there":
        for name in (*OUTPUTS, "v.nerv", "r.json"):
            path = tmp_path / name
            if name.endswith("/"):
                path.mkdir()
                path = path / "000000.png"
            path.write_bytes(b"precious")
    return tmp_path


@pytest.mark.parametrize("name", OUTPUTS)
@pytest.mark.parametrize("size", DISKS)
def test_a_full_disk_while_decoding(encoded: Encoded, folder: Path, name: str, size: int) -> None:
    before = everything(folder)
    with full_disk(size):
        result = run(*decoding(encoded, folder, name), "--force")
    if result.exit_code == 0:  # it was small enough
        assert size > 0
        return
    assert result.exit_code == 1
    assert "File too large" in result.stderr
    assert everything(folder) == before


@pytest.fixture(params=[signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def interrupt(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Send this process a signal that a user would."""
    return lambda *arguments, **options: os.kill(os.getpid(), request.param)


@pytest.mark.parametrize("name", OUTPUTS)
@pytest.mark.parametrize("where", ["in the middle", "at the very end"])
def test_a_signal_while_decoding(
    encoded: Encoded,
    folder: Path,
    name: str,
    where: str,
    interrupt: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = everything(folder)
    if where == "at the very end":  # all is written, nothing yet renamed
        monkeypatch.setattr(codec.atomic, "_replace_directory" if name == "out/" else "_flush_to_disk", interrupt)
    elif name == "f.npz":
        monkeypatch.setattr(np, "savez_compressed", interrupt)
    else:
        plain = codec.decoding.outputs._counted

        def counted(frames: Iterator[Any], total: int, progress: Any) -> Iterator[Any]:
            for number, frame in enumerate(plain(frames, total, progress)):
                if number == 7:
                    interrupt()
                yield frame

        monkeypatch.setattr(codec.decoding.outputs, "_counted", counted)
    result = run(*decoding(encoded, folder, name), "--force")
    assert (result.exit_code, result.stderr) == (130, "interrupted\n")
    assert everything(folder) == before


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("source") / "frames", moving_frames(3, 24, 40))


@pytest.mark.parametrize("size", [0, 1, 100, 700, 2000, 4000, 5000])
def test_a_full_disk_while_encoding(frames: Path, folder: Path, size: int) -> None:
    before = everything(folder)
    words = ("encode", frames, "-o", folder / "v.nerv", "--report", folder / "r.json", "--quiet", "--force", *ENCODE)
    with full_disk(size):
        result = run(*words)
    after = {name: data for name, data in everything(folder).items() if not name.startswith("v.nerv.ckpt/")}
    if result.exit_code:
        assert (result.exit_code, "File too large" in result.stderr) == (1, True)
        assert after.pop("r.json", None) == before.pop("r.json", None)
    if after.get("v.nerv") != before.get("v.nerv"):  # there was room for it, if not for the report
        assert run("verify", folder / "v.nerv", "--device", "cpu").exit_code == 0
        after.pop("v.nerv"), before.pop("v.nerv", None)
        after.pop("r.json", None), before.pop("r.json", None)
    assert after == before
    assert run(*words).exit_code == 0, "and then it is in nobody's way"


@pytest.mark.parametrize("output", ["v.nerv", "r.json"])
def test_a_signal_while_an_encode_writes(
    frames: Path, folder: Path, output: str, interrupt: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = everything(folder)
    plain = codec.atomic._flush_to_disk

    def flush(path: Path) -> None:
        plain(path)
        if path.suffix == Path(output).suffix:
            interrupt()

    monkeypatch.setattr(codec.atomic, "_flush_to_disk", flush)
    words = ("encode", frames, "-o", folder / "v.nerv", "--report", folder / "r.json", "--quiet", "--force", *ENCODE)
    result = run(*words)
    assert result.exit_code == 130
    go_on = ": give the same command with --resume to go on from here" if output == "v.nerv" else ""
    assert result.stderr == f"interrupted{go_on}\n"
    after = {name: data for name, data in everything(folder).items() if not name.startswith("v.nerv.ckpt/")}
    if output == "r.json":
        after.pop("v.nerv"), before.pop("v.nerv", None)
    assert after == before
