"""The run as a whole, through its command line, on a tiny clip."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from benchmarks import process, rd
from benchmarks.__main__ import main
from benchmarks.anchors import ANCHORS
from benchmarks.machine import ROOT
from benchmarks.rows import load
from tests.tiny_clip import TinyClip

TWO = ("x264-veryslow", "x265-medium")


def run(*words: object) -> Result:
    return CliRunner().invoke(main, ["rd", *map(str, words)])


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Anchors with two points each."""
    for name in TWO:
        monkeypatch.setitem(ANCHORS, name, replace(ANCHORS[name], values=(42, 32)))


@pytest.mark.usefixtures("short")
def test_two_codecs_give_rows_plots_and_report_and_a_second_run_measures_nothing(
    brief: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = run(brief, "--out", tmp_path, "--codecs", ",".join(TWO))
    assert done.exit_code == 0, done.output
    rows = load(tmp_path)
    assert [(row.codec, row.settings) for row in rows] == [(name, f"crf={q}") for name in TWO for q in (42, 32)]
    for row in rows:
        stream = (
            tmp_path / "streams" / f"mandel.{row.codec}.{row.settings.replace('=', '')}{ANCHORS[row.codec].extension}"
        )
        assert row.bytes == stream.stat().st_size
        assert row.bpp == pytest.approx(8 * row.bytes / (6 * 176 * 176))
        assert row.psnr is not None
        assert 15 < row.psnr < 50
        assert row.ms_ssim is not None
        assert row.vmaf is not None
        assert row.encode_seconds is not None
        assert row.encode_mib is not None
        assert row.clip_sim is row.clip_sim_decoded is None
        assert str(tmp_path) not in row.encode_command + row.decode_command
        assert row.commit
        assert row.machine
        assert row.version
    for codec in TWO:
        sizes, qualities = zip(*((row.bytes, row.psnr) for row in rows if row.codec == codec), strict=True)
        assert list(sizes) == sorted(sizes)
        assert list(qualities) == sorted(qualities)
    for kind in ("png", "svg"):
        assert {"mandel-psnr", "mandel-ms_ssim", "mandel-vmaf"} <= {
            path.stem for path in tmp_path.glob(f"plots/*.{kind}")
        }
    assert (tmp_path / "report.html").exists()

    before = (tmp_path / "rows.jsonl").read_bytes()
    monkeypatch.setattr(rd, "measure", lambda *_: pytest.fail("measured again"))
    done = run(brief, "--out", tmp_path, "--codecs", ",".join(TWO))
    assert done.exit_code == 0, done.output
    assert (tmp_path / "rows.jsonl").read_bytes() == before


@pytest.mark.skipif(sys.platform == "win32", reason="kills by signal")
def test_a_killed_run_goes_on_where_it_was(brief: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks", "rd", str(brief), "--out", str(tmp_path), "--codecs", TWO[0]]
    running = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while len(load(tmp_path)) < 2 and running.poll() is None:
        time.sleep(0.05)
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    stood = load(tmp_path)
    assert 2 <= len(stood) < len(ANCHORS[TWO[0]].points)

    done = run(brief, "--out", tmp_path, "--codecs", TWO[0])
    assert done.exit_code == 0, done.output
    rows = load(tmp_path)
    assert rows[: len(stood)] == stood
    assert [row.settings for row in rows] == list(ANCHORS[TWO[0]].points)


@pytest.mark.usefixtures("short")
def test_a_codec_that_fails_or_is_missing_does_not_end_the_run(
    brief: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ANCHORS, "broken", replace(ANCHORS[TWO[0]], name="broken", values=(30,), trim=("-level", "x")))
    monkeypatch.setitem(ANCHORS, "missing", replace(ANCHORS[TWO[0]], name="missing", values=(30,), encoder="libnone"))
    for _ in range(2):  # a point that fails again is not written down twice
        done = run(brief, "--out", tmp_path, "--codecs", f"broken,missing,{TWO[0]}")
        assert done.exit_code == 1
        assert "2 points failed" in done.output
        broken, missing, *good = load(tmp_path)
        assert "CommandError" in broken.error
        assert "has no libnone" in missing.error
        assert broken.psnr is None
        assert [row.error for row in good] == ["", ""]
    assert "has no libnone" in (tmp_path / "report.html").read_text()


@pytest.mark.usefixtures("short")
def test_with_a_teacher_the_features_of_decoded_frames_are_compared(
    brief: Path, tmp_path: Path, tiny_clip: TinyClip, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NVCODEC_CACHE", str(tmp_path / "cache"))
    teacher = ("--clip-model", tiny_clip.model, "--clip-pretrained", tiny_clip.pretrained, "--device", "cpu")
    done = run(brief, "--out", tmp_path, "--codecs", TWO[0], *teacher)
    assert done.exit_code == 0, done.output
    rows = load(tmp_path)
    for row in rows:
        assert row.clip_sim is None
        assert row.clip_sim_decoded is not None
        assert -1 <= row.clip_sim_decoded < 1
        assert row.teacher == "tiny tiny.safetensors"
    assert (tmp_path / "plots" / "mandel-clip_sim_decoded.svg").exists()


def test_a_decoder_that_loses_a_frame_is_an_error(brief: Path, tmp_path: Path) -> None:
    class Loses(type(ANCHORS[TWO[0]])):  # type: ignore[misc]
        def write_frames(self, stream: Path, clip: object, out: Path) -> int:
            return int(super().write_frames(stream, clip, out)) - 1

    fields = ANCHORS[TWO[0]].__dict__
    codec = Loses(**{name: fields[name] for name in ANCHORS[TWO[0]].__dataclass_fields__} | {"values": (40,)})
    assert rd.run([brief], [codec], tmp_path, Console(quiet=True)) == 1
    assert "decoded 5 frames of 6" in load(tmp_path)[0].error


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--codecs", "x266"], "no codec x266"),
        (["--points", "0.1,zero"], "no list of bits per pixel"),
        (["--crop", "352"], "HEIGHT_WIDTH"),
        (["--clip-model", "ViT-B-32"], "go together"),
    ],
)
def test_wrong_words_are_refused_with_what_would_be_right(
    brief: Path, tmp_path: Path, words: list[str], said: str
) -> None:
    done = run(brief, "--out", tmp_path, *words)
    assert done.exit_code == 2
    assert said in done.output


def test_what_is_no_video_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "text.mkv").write_text("no video")
    done = run(tmp_path / "text.mkv", "--out", tmp_path / "out", "--codecs", TWO[0])
    assert done.exit_code == 1
    assert "text.mkv cannot be prepared" in done.output
    assert "Invalid data found" in done.output
    assert "Traceback" not in done.output


def test_two_clips_of_one_name_are_refused(brief: Path, tmp_path: Path) -> None:
    other = tmp_path / brief.name
    process.run(["cp", str(brief), str(other)])
    assert run(brief, other, "--out", tmp_path / "out").exit_code == 2
