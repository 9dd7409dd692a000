"""The README's examples, run as they stand: on a small clip, with short trainings, and a stand-in for the teacher."""

from __future__ import annotations

import json
import math
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
from PIL import Image

from codec.settings import PRESETS, ModelSettings
from tests.samples import write_video
from tests.standin.pictures import scenes
from tests.standin.train import write_standin
from tests.test_cli import run

README = Path(__file__).resolve().parents[1] / "README.md"
INSTALLING = ("make", "pip", "python3")  # not run: they set up an environment; tests/test_wheel.py installs
OVERFITTED, PREDICTED = {"epochs": 1, "fc_dim": 8}, {"motion_turns": 1, "anchor": (8,), "keyint": 48}
SCENES, LENGTH, FRAME = 2, 22, (32, 64)
COMMIT = "0" * 40


def blocks(language: str) -> list[str]:
    """The fenced blocks of a language, which is "" for those of none."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", README.read_text(), flags=re.MULTILINE | re.DOTALL)
    return [text for name, text in found if name == language]


def commands() -> list[list[str]]:
    """The words of every line of shell; a block is shell that begins with a program."""
    shell = [text for text in blocks("") if text.split()[0] in ("nvcodec", *INSTALLING)]
    return [shlex.split(line, comments=True) for text in shell for line in text.splitlines()]


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hub's cache that holds the stand-in's weights; its configuration lies beside it."""
    folder = tmp_path_factory.mktemp("hub")
    teacher = write_standin(folder)
    kept = folder / "models--someone--standin"
    (kept / "refs").mkdir(parents=True)
    (kept / "refs" / "main").write_text(COMMIT)
    (kept / "snapshots" / COMMIT).mkdir(parents=True)
    shutil.move(teacher.pretrained, kept / "snapshots" / COMMIT / "open_clip_model.safetensors")
    return folder


@pytest.fixture
def workplace(hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory of the examples. Presets are small and have the stand-in, by name, for a teacher."""
    open_clip.add_model_config(hub / "standin.json")
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "standin", {"drawn": {"hf_hub": "someone/standin/"}})
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(hub))
    for name, preset in PRESETS.items():
        small: dict[str, Any] = OVERFITTED if isinstance(preset.model, ModelSettings) else PREDICTED
        monkeypatch.setitem(
            PRESETS, name, preset.override(clip_model="standin", clip_pretrained="drawn", clip="on", **small)
        )
    frames = scenes(np.random.default_rng(3), SCENES, LENGTH, *FRAME)[0]
    write_video(tmp_path / "video.mp4", frames)
    (tmp_path / "labels.txt").write_text("a red square\na blue circle\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_shell(workplace: Path) -> None:
    ran = []
    for words in commands():
        if words[0] in INSTALLING:
            continue
        if "more/" in words:
            Path("more").mkdir()
            shutil.copy("v.nerv", "more/other.nerv")
        assert words[0] == "nvcodec"
        again = ["--force"] if words[1] == "encode" else []  # all encode to one name
        run(*words[1:], *again)
        ran.append(words[1])
    assert set(ran) == {"encode", "decode", "search", "label", "info", "verify"}
    assert len(ran) >= 11
    written = {"out.mp4", "still.png", "corner.mkv", "v.npz", "hits.png", "timeline.png", "v.json"}
    assert written <= {path.name for path in workplace.iterdir()}
    assert json.loads(Path("v.json").read_text())["frames"] == SCENES * LENGTH
    assert Image.open("still.png").size == FRAME[::-1]


def test_python(workplace: Path) -> None:
    """One program after the other, with the file that the first makes; what its comments say of results holds."""
    first, probe = blocks("python")
    seen: dict[str, Any] = {}
    exec(compile(first, str(README), "exec"), seen)
    assert seen["report"]["bytes"] == Path("v.nerv").stat().st_size
    reader = seen["reader"]
    (rows, columns), (height, width) = reader.header.grid, FRAME
    sizes = {"H": height, "W": width, "h": height // rows, "w": width // columns, "patches": rows * columns, "D": 64}
    told = re.findall(r"^(reader.*?)  # (\w+) \[(.*?)\]", first, flags=re.MULTILINE)
    assert len(told) == 4
    for expression, kind, shape in told:
        found = eval(expression, seen)
        assert found.dtype == kind
        assert list(found.shape) == [sizes.get(side) or int(side) for side in shape.split(", ")]
    exec(compile(probe, str(README), "exec"), seen)
    assert seen["loss"].item() < math.log(2), "it tells the halves better than a guess"
