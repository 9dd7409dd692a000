"""What an extra installs, asked for where it is not there: left out with a word, or refused with the extra's name."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import nvcodec
from codec import NervReader
from tests.samples import Encoded, moving_frames, write_images
from tests.test_cli import SMALL, refused, run


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    return write_images(tmp_path / "frames", moving_frames(3, 24, 40))


def without(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if it were not installed."""
    monkeypatch.setitem(sys.modules, package, None)


def test_features_where_open_clip_is_missing(frames: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without("open_clip", monkeypatch)
    words = ("encode", frames, "-o", tmp_path / "v.nerv", *SMALL)
    message = refused(*words, "--clip", "on")
    assert "open_clip is not installed: pip install 'nvcodec[clip]'" in message
    assert "--clip off" in message
    assert not (tmp_path / "v.nerv").exists()
    said = run(*words, "--clip", "auto").stderr
    assert "warning: the file will hold no features" in said
    assert "pip install 'nvcodec[clip]'" in said
    assert NervReader(tmp_path / "v.nerv").header.teacher is None


@pytest.mark.parametrize("command", ["search", "label"])
def test_queries_where_open_clip_is_missing(
    encoded: Encoded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    without("open_clip", monkeypatch)
    labels = tmp_path / "labels.txt"
    labels.write_text("a dog\n")
    words = ("a dog", encoded.path) if command == "search" else (encoded.path, labels)
    assert "open_clip is not installed: pip install 'nvcodec[clip]'" in refused(command, *words)


def test_a_log_where_tensorboard_is_missing(frames: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without("tensorboard", monkeypatch)
    message = refused("encode", frames, "-o", tmp_path / "v.nerv", "--log-dir", tmp_path / "logs", *SMALL)
    assert "tensorboard is not installed: pip install 'nvcodec[tensorboard]', or leave out --log-dir" in message
    assert sorted(path.name for path in tmp_path.iterdir()) == ["frames"]


def test_imageio_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    without("imageio", monkeypatch)
    with pytest.raises(ImportError, match=r"pip install 'nvcodec\[imageio\]'"):
        nvcodec.register_imageio()
