"""The demo: its clip is the same every time and looks like footage, and the whole of it runs."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.demo import FPS, FRAMES, HEIGHT, WIDTH, demo, make_clip
from tests.tiny_clip import TinyClip


def read(path: Path) -> NDArray[np.int16]:
    with av.open(str(path)) as clip:
        assert clip.streams.video[0].average_rate == FPS
        return np.stack([frame.to_ndarray(format="rgb24") for frame in clip.decode(video=0)]).astype(np.int16)


def test_clip_is_the_same_every_time_and_has_texture_and_motion(tmp_path: Path) -> None:
    make_clip(tmp_path / "one.mp4")
    make_clip(tmp_path / "two.mp4")
    frames = read(tmp_path / "one.mp4")
    assert frames.shape == (FRAMES, HEIGHT, WIDTH, 3)
    assert np.array_equal(frames, read(tmp_path / "two.mp4"))
    assert np.abs(np.diff(frames, axis=2)).mean() > 2  # grey levels from pixel to pixel
    assert np.abs(np.diff(frames, axis=0)).mean(axis=(1, 2, 3)).min() > 2  # and from frame to frame


def test_demo_runs_and_says_what_came_out(
    tiny_clip: TinyClip, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    teacher = ("--clip", "on", "--clip-model", tiny_clip.model, "--clip-pretrained", tiny_clip.pretrained)
    demo(tmp_path, ["--preset", "grid", "--epochs", "1", *teacher])
    assert read(tmp_path / "decoded.mp4").shape == (FRAMES, HEIGHT, WIDTH, 3)
    printed = capsys.readouterr().out.splitlines()
    shown = {line[:12].strip(): line[13:] for line in printed}
    size = (tmp_path / "source.nerv").stat().st_size
    assert shown["file size"] == f"{size} bytes, for {FRAMES} frames of {WIDTH}x{HEIGHT}"
    assert float(shown["bpp"]) == pytest.approx(8 * size / (FRAMES * WIDTH * HEIGHT), abs=1e-4)
    assert shown["PSNR"].endswith(" dB")
    assert float(shown["PSNR"].removesuffix(" dB")) > 8
    assert -1 <= float(shown["clip_sim"]) <= 1
    for name in ("source", "compressed", "decoded", "report"):
        assert Path(shown[name]).is_file()
