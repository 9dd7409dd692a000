"""`python -m codec.base`: the whole way from pictures to a base, and errors in one line."""

from __future__ import annotations

from ast import literal_eval
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from bitstream import FLAGS, PEAKED, RANKS
from codec.base import loop, rows, scenes
from codec.base.__main__ import main
from codec.network.predictive.base_file import write_base
from codec.network.predictive.store import digest_of
from codec.rate.cell_values import VALUE_ROWS
from codec.rate.motion import MOTION_ROWS
from tests.codec.base.conftest import SETTINGS, SHAPE, tiny_codec


def run(*args: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in args])


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks of the shape, and scenes of the clips, that tests have."""
    monkeypatch.setattr(loop.train, "__defaults__", (*loop.train.__defaults__[:-1], SHAPE))  # type: ignore[index]
    short = partial(scenes.SceneSettings, photo=SETTINGS.photo, anchors=SETTINGS.anchors)
    monkeypatch.setattr(scenes, "SceneSettings", short)


@pytest.mark.usefixtures("tiny")
def test_from_pictures_to_a_card(corpus: Path, tmp_path: Path) -> None:
    command = ("train", corpus, "--out", tmp_path / "run", "--size", 32, "--batch", 2, "--device", "cpu")
    first = run(*command, "--steps", 2)
    assert first.exit_code == 0, first.output
    again = run(*command, "--steps", 3)
    assert again.exit_code == 0, again.output
    assert "prepared already" in again.stderr
    assert '"step": 3' in again.stdout.splitlines()[-1]
    base = tmp_path / "base-3.safetensors"
    exported = run("export", tmp_path / "run" / "state.safetensors", "--out", base)
    assert exported.stdout.strip() == digest_of(base).hex()
    page = run("card", base)
    assert page.exit_code == 0
    assert digest_of(base).hex() in page.stdout


@pytest.mark.usefixtures("tiny")
def test_prepared_scenes_serve_every_training(corpus: Path, prepared: Path, tmp_path: Path) -> None:
    again = run("prepare", corpus, "--out", prepared, "--size", 32)
    assert again.exit_code == 0, again.output
    assert again.stderr.splitlines() == ["train: prepared already", "held: prepared already"]
    command = ("train", corpus, "--out", tmp_path / "run", "--batch", 2, "--device", "cpu", "--steps", 1)
    trained = run(*command, "--scenes", prepared, "--scenes", prepared)
    assert trained.exit_code == 0, trained.output
    assert trained.stderr == ""
    assert '"held": {"key": {"bpp": ' in trained.stdout
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == ["log.jsonl", "state.safetensors"]


def test_rows_are_fitted_to_what_a_base_codes(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "FEWEST", 1)
    codec, base = tiny_codec(), tmp_path / "tiny.safetensors"
    write_base(base, codec.network, codec.analysis, {})
    found = run("rows", corpus, base, "--clips", 2, "--frames", 6)
    assert found.exit_code == 0, found.output
    tables = {name: np.array(literal_eval(text)) for name, text in (s.split("=") for s in found.stdout.splitlines())}
    shipped = vars(MOTION_ROWS) | vars(VALUE_ROWS)
    assert {name: t.shape for name, t in tables.items()} == {name: t.shape for name, t in shipped.items()}
    sizes = dict.fromkeys(vars(VALUE_ROWS), (1, FLAGS)) | {"other": (FLAGS, RANKS)}  # a row 0 is not coded
    for name, table in tables.items():
        first, end = (sizes | {"rank": (RANKS, 256), "vectors": (PEAKED, FLAGS)}).get(name, (FLAGS, RANKS))
        assert first <= table.min() <= table.max() < end
    assert np.unique(tables["own"]).size > 1, "some leaves have motion of their own"


@pytest.mark.parametrize("command", [[], ["prepare"], ["train"], ["rows"], ["export"], ["card"]])
def test_help_is_there(command: list[str]) -> None:
    found = run(*command, "--help")
    assert found.exit_code == 0
    assert "Usage: " in found.output


def test_errors_are_one_line(tmp_path: Path) -> None:
    text = tmp_path / "text.safetensors"
    text.write_text("no tensors")
    for args in (
        ("prepare", tmp_path, "--out", tmp_path / "scenes"),
        ("prepare", tmp_path, "--out", tmp_path / "scenes", "--size", 33),
        ("train", tmp_path / "none", "--out", tmp_path / "run"),
        ("train", tmp_path, "--out", tmp_path / "run", "--scenes", tmp_path / "none"),
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
