"""`python -m codec.base`: the whole way from pictures to a base, and errors in one line."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from codec.base import loop
from codec.base.__main__ import main
from codec.network.predictive.store import digest_of
from tests.codec.base.conftest import SHAPE


def run(*args: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in args])


def test_from_pictures_to_a_card(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop.train, "__defaults__", (*loop.train.__defaults__[:-1], SHAPE))  # type: ignore[index]
    command = ("train", corpus, "--out", tmp_path / "run", "--size", 32, "--batch", 2, "--device", "cpu")
    first = run(*command, "--steps", 2)
    assert first.exit_code == 0, first.output
    again = run(*command, "--steps", 3)
    assert again.exit_code == 0, again.output
    assert "prepared already" in again.stderr
    assert '"step": 3' in again.stdout.splitlines()[-1]
    base = tmp_path / "base-1.safetensors"
    exported = run("export", tmp_path / "run" / "state.safetensors", "--out", base)
    assert exported.stdout.strip() == digest_of(base).hex()
    page = run("card", base)
    assert page.exit_code == 0
    assert digest_of(base).hex() in page.stdout


@pytest.mark.parametrize("command", [[], ["prepare"], ["train"], ["export"], ["card"]])
def test_help_is_there(command: list[str]) -> None:
    found = run(*command, "--help")
    assert found.exit_code == 0
    assert "Usage: " in found.output


def test_errors_are_one_line(tmp_path: Path) -> None:
    text = tmp_path / "text.safetensors"
    text.write_text("no tensors")
    for args in (
        ("prepare", tmp_path, "--out", tmp_path / "crops"),
        ("prepare", tmp_path, "--out", tmp_path / "crops", "--size", 33),
        ("train", tmp_path / "none", "--out", tmp_path / "run"),
        ("train", tmp_path, "--out", tmp_path / "run", "--crops", tmp_path / "none"),
        ("train", tmp_path, "--out", tmp_path / "run", "--device", "abacus"),
        ("export", tmp_path / "none", "--out", tmp_path / "b.safetensors"),
        ("export", text, "--out", tmp_path / "b.safetensors"),
        ("card", text),
        ("card", tmp_path / "none"),
    ):
        found = run(*args)
        assert found.exit_code == 1, (args, found.output)
        assert found.stderr.startswith("Error: "), (args, found.stderr)
        assert len(found.stderr.strip().splitlines()) == 1, (args, found.stderr)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["text.safetensors"]
