"""The command line: its contract, word for word, and that every failure is a message and an exit code."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

import cli
import codec.bars
import codec.console
import codec.encoding.pipeline
from cli import main
from codec import quality, video
from codec.decoding.reader import NervReader
from codec.settings import GROUPS, MODELS, PRESETS, Settings
from codec.specs import Output, PositionalSpec, parse_schedule
from tests.samples import Encoded, full_disk, moving_frames, write_images, write_video
from tests.tiny_clip import TinyClip

ROOT = Path(__file__).resolve().parents[1]
CLIPS = ROOT.parent / "shared" / "clips"
DATA = ROOT / "tests" / "data"
SMALL = ("--preset", "grid", "--epochs", 1, "--fc-dim", 6, "--clip", "off", "--device", "cpu")


def run(*words: object, code: int = 0) -> Result:
    """Run nvcodec in this process; it ends with the exit code, and by no exception."""
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result


def refused(*words: object, code: int = 1) -> str:
    """The message of a command that must fail: one line on standard error after `Error: `, and nothing on stdout."""
    result = run(*words, code=code)
    assert result.stdout == ""
    assert "Error: " in result.stderr
    return result.stderr.split("Error: ", 1)[1]


@pytest.fixture(scope="module")
def frames_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("source") / "frames", moving_frames(6, 24, 40))


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("source") / "clip.mkv", moving_frames(6, 24, 40))


# Words to settings


class Asked(Exception):
    """What `codec.encode` would have been called with."""


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Settings, dict[str, Any]]]:
    """A function from the words after `encode SOURCE -o FILE` to the settings and options they mean."""
    calls: list[tuple[Settings, dict[str, Any]]] = []

    def encode(source: str, output: str, chosen: Settings, **options: Any) -> dict[str, Any]:
        assert (source, output) == ("in.mp4", "out.nerv")
        calls.append((chosen, options))
        return {}

    monkeypatch.setattr(codec.encoding.pipeline, "encode", encode)

    def ask(*words: object) -> tuple[Settings, dict[str, Any]]:
        run("encode", "in.mp4", "-o", "out.nerv", "--quiet", *words)
        return calls[-1]

    return ask


OPTIONS: list[tuple[str, str, str, Any]] = [
    ("--epochs", "7", "train.epochs", 7),
    ("--minutes", "1.5", "train.minutes", 1.5),
    ("--batch-size", "3", "train.batch_size", 3),
    ("--batchSize", "3", "train.batch_size", 3),
    ("--lr", "0.002", "train.lr", 0.002),
    ("--lr-type", "cosine_0.2_1_0.3", "train.lr_type", parse_schedule("cosine_0.2_1_0.3")),
    ("--optimizer", "adam", "train.optimizer", "adam"),
    ("--loss", "Fusion6", "train.loss", "Fusion6"),
    ("--clip-loss-weight", "0.3", "train.clip_loss_weight", 0.3),
    ("--pixel-loss-warmup-epochs", "9", "train.pixel_loss_warmup_epochs", 9),
    ("--eval-freq", "4", "train.eval_freq", 4),
    ("--seed", "11", "train.seed", 11),
    ("--embed", "pe_1.25_80", "model.embed", PositionalSpec(1.25, 80)),
    ("--fc-dim", "48", "model.fc_dim", 48),
    ("--dec-strds", "5 3 2 2 2", "model.dec_strds", (5, 3, 2, 2, 2)),
    ("--dec-strds", "5,3,2,2,2", "model.dec_strds", (5, 3, 2, 2, 2)),
    ("--dec-strds", "5_3_2_2_2", "model.dec_strds", (5, 3, 2, 2, 2)),
    ("--num-blks", "1_2", "model.num_blks", (1, 2)),
    ("--num-blks", "1 2", "model.num_blks", (1, 2)),
    ("--conv-type", "convnext pshuffel", "model.conv_type", ("convnext", "pshuffel")),
    ("--conv-type", "conv,interpolate", "model.conv_type", ("conv", "interpolate")),
    ("--reduce", "1.5", "model.reduce", 1.5),
    ("--reduce", "-1", "model.reduce", -1.0),
    ("--lower-width", "24", "model.lower_width", 24),
    ("--act", "swish", "model.act", "swish"),
    ("--norm", "none", "model.norm", "none"),
    ("--ks", "0_1_5", "model.ks", (0, 1, 5)),
    ("--head-strd", "2", "model.head_strd", 2),
    ("--out-bias", "tanh", "model.out_bias", Output("tanh")),
    ("--clip-rank", "16", "model.clip_rank", 16),
    ("--crop-list", "640_1280", "source.crop", (640, 1280)),
    ("--crop-list", "-1", "source.crop", None),
    ("--resize-list", "320_640", "source.resize", (320, 640)),
    ("--resize-list", "480", "source.resize", 480),
    ("--resize-list", "-1", "source.resize", None),
    ("--data-split", "18_19_20", "source.split", (18, 19, 20)),
    ("--grid", "3x5", "source.grid", (3, 5)),
    ("--grid", "1 1", "source.grid", (1, 1)),
    ("--segment", "33", "source.segment", 33),
    ("--clip", "on", "teacher.clip", "on"),
    ("--clip", "auto", "teacher.clip", "auto"),
    ("--clip", "off", "teacher.clip", "off"),
    ("--clip-model", "ViT-L-14", "teacher.clip_model", "ViT-L-14"),
    ("--clip-pretrained", "weights.pt", "teacher.clip_pretrained", "weights.pt"),
    ("--anchor", "8_16", "model.anchor", (8, 16)),
    ("--keyint", "33", "model.keyint", 33),
    ("--level-drop", "80_100", "model.level_drop", (80, 100)),
    ("--motion-turns", "3", "model.motion_turns", 3),
    ("--temporal-filter", "50_100", "model.temporal_filter", (50, 100)),
    ("--trial", "0_0_65", "model.trial", (0, 0, 65)),
    ("--base", "base-2.safetensors", "model.base", "base-2.safetensors"),
    ("--quality", "31.5", "rate.quality", 31.5),
    ("--psnr", "36", "rate.psnr", 36.0),
    ("--prune", "0.15", "rate.prune", 0.15),
    ("--bpp", "0.07", "rate.bpp", 0.07),
    ("--size", "300k", "rate.size", 300_000),
    ("--quant-model-bit", "7", "rate.weight_bits", 7.0),
    ("--quant-embed-bit", "6.5", "rate.embed_bits", 6.5),
    ("--quant-clip-bit", "4", "rate.clip_bits", 4.0),
    ("--clip-budget", "0.1", "rate.clip_budget", 0.1),
    ("--qat-at", "0.6", "rate.qat_at", 0.6),
]


@pytest.mark.parametrize("command", ["encode", "verify", "decode"])
def test_help_of_forty_columns(monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    narrow = run(command, "--help").stdout
    monkeypatch.setenv("COLUMNS", "120")
    wide = run(command, "--help").stdout
    assert max(map(len, narrow.splitlines())) <= 40
    words = set(re.split(r"[\s-]+", wide))
    assert set(re.split(r"[\s-]+", narrow)) <= words, "no word is broken, but at its hyphens"


def test_every_setting_is_an_option_of_encode() -> None:
    groups = [type(getattr(Settings(), group)) for group in GROUPS if group != "model"]
    settings = {entry.name for group in (*groups, *MODELS) for entry in fields(group)}
    options = {parameter.name for parameter in cli.encode.params}
    assert settings <= options
    others = {"source", "output", "preset", "device", "resume", "force", "report", "as_json", "quiet", "fps", "log_dir"}
    others |= {"dry_run"}
    assert options - settings == others


@pytest.mark.parametrize(("name", "text", "where", "value"), OPTIONS, ids=[f"{n}={t}" for n, t, _, _ in OPTIONS])
def test_every_option_is_its_setting_with_hyphens_or_underscores(
    asked: Callable[..., Any], name: str, text: str, where: str, value: Any
) -> None:
    group, field = where.split(".")
    preset = next(name for name, preset in PRESETS.items() if preset.has(field))
    for spelling in (name, "--" + name[2:].replace("-", "_")):
        chosen, _ = asked("--preset", preset, spelling, text)
        assert getattr(getattr(chosen, group), field) == value


def test_the_stem_of_a_pe_embedding_has_its_option(asked: Callable[..., Any]) -> None:
    assert asked("--preset", "reference", "--fc-hw", "3_4")[0].model.fc_hw == (3, 4)
    assert asked("--preset", "reference", "--fc_hw", "auto")[0].model.fc_hw is None
    assert asked("--preset", "reference", "--crop-list", "-1")[0].source.crop is None


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_decides_what_is_not_given(asked: Callable[..., Any], preset: str) -> None:
    assert asked("--preset", preset)[0] == PRESETS[preset]


def test_medium_is_the_default(asked: Callable[..., Any]) -> None:
    assert asked()[0] == PRESETS["medium"]


def test_how_to_run_is_handed_on(asked: Callable[..., Any], tmp_path: Path) -> None:
    _, options = asked("--device", "cpu", "--resume", "--force", "--log-dir", tmp_path, "--fps", "30000/1001")
    wanted = {"device": "cpu", "resume": True, "force": True, "log_dir": str(tmp_path), "fps": Fraction(30000, 1001)}
    assert {name: options[name] for name in wanted} == wanted
    _, options = asked()
    wanted = {"device": "auto", "resume": False, "force": False, "log_dir": None, "fps": None}
    assert {name: options[name] for name in wanted} == wanted


def test_the_published_line_spelled_out_is_the_reference_preset(asked: Callable[..., Any]) -> None:
    chosen, _ = asked("--preset", "reference", *PUBLISHED)
    assert chosen == PRESETS["reference"]


PUBLISHED = (
    "--embed", "pe_1.25_80", "--fc_dim", 512, "--fc_hw", "9_16", "--dec_strds", "5 3 2 2 2", "--num_blks", "1_1",
    "--conv_type", "convnext pshuffel", "--reduce", 1.2, "--lower_width", 32, "--crop_list", "640_1280",
    "--data_split", "18_19_20", "--epochs", 300, "--batchSize", 8, "--lr", 0.001, "--lr_type", "cosine_0.1_1_0.1",
    "--loss", "L1", "--clip_loss_weight", 0.1, "--pixel_loss_warmup_epochs", 50, "--eval_freq", 10, "--grid", "2x4",
)  # fmt: skip


# Encoding


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_encodes(preset: str, frames_dir: Path, tmp_path: Path) -> None:
    small: tuple[object, ...] = ("--clip", "off", "--device", "cpu", "--crop-list", -1)
    if PRESETS[preset].has("epochs"):
        small += ("--epochs", 1, "--size", "20k", "--fc-hw", "auto")
    result = run("encode", frames_dir, "-o", tmp_path / "v.nerv", "--preset", preset, *small)
    assert result.stdout.startswith(f"{tmp_path / 'v.nerv'}: ")
    assert json.loads(run("verify", tmp_path / "v.nerv", "--json").stdout)["frames"] == 6


def test_the_published_line_runs_on_a_directory_of_frames(tmp_path: Path, tiny_clip: TinyClip) -> None:
    """All of it as the family spells it, with the epochs and the width that a test has time for."""
    source = write_images(tmp_path / "frames", moving_frames(2, 650, 1290))
    words = [*PUBLISHED, "--clip_model", tiny_clip.model, "--clip_pretrained", tiny_clip.pretrained, "--clip", "on"]
    words[words.index("--epochs") + 1] = 2
    words[words.index("--fc_dim") + 1] = 8
    words[words.index("--lower_width") + 1] = 8
    result = run(
        "encode", source, "-o", tmp_path / "v.nerv", "--preset", "reference", *words, "--json", "--device", "cpu"
    )
    report = json.loads(result.stdout)
    assert (report["frames"], report["height"], report["width"], report["grid"]) == (2, 640, 1280, [2, 4])
    assert report["ms_ssim"] is not None
    assert report["clip_sim"] is not None
    assert "warning: fc_hw 9_16 makes maps larger than the 320x320 patch: they are resized down to 3_3" in result.stderr
    assert report["settings"]["train"]["loss"] == "L1"


def test_results_on_stdout_and_progress_on_stderr(frames_dir: Path, tmp_path: Path) -> None:
    output = tmp_path / "v.nerv"
    result = run("encode", frames_dir, "-o", output, *SMALL)
    size = output.stat().st_size
    assert result.stdout.splitlines()[0] == f"{output}: {size:,} bytes, {8 * size / (6 * 24 * 40):.4f} bpp"
    assert "6 frames of 40x24, PSNR " in result.stdout
    assert "encoding, " not in result.stdout
    assert "encoding, " in result.stderr
    assert "parameters" in result.stderr
    assert list(tmp_path.iterdir()) == [output]


@pytest.mark.parametrize("preset", ["grid", "hnerv", "fast"])
@pytest.mark.parametrize("clip", ["off", "on"])
def test_a_dry_run_tells_what_an_encode_takes_and_writes_nothing(
    preset: str, clip: str, frames_dir: Path, tmp_path: Path, tiny_clip: TinyClip
) -> None:
    words = ["--preset", preset, "--clip", clip, "--clip-model", tiny_clip.model, "--device", "cpu"]
    words += ["--clip-pretrained", tiny_clip.pretrained, "--segment", "3"]
    words += [] if preset == "fast" else ["--epochs", "100000", "--size", "20k"]
    result = run("encode", frames_dir, "-o", tmp_path / "v.nerv", *words, "--dry-run", "--json")
    told = json.loads(result.stdout)
    assert told.keys() == {"seconds", "left", "bytes", "memory"}
    assert told["seconds"] >= told["left"] > (0 if preset == "fast" else 60)
    assert told["memory"] > 50e6, "torch alone takes more"
    if preset != "fast":
        assert told["bytes"] == 20_000
    assert list(tmp_path.iterdir()) == []
    shown = run("encode", frames_dir, *words, "--dry-run", "--quiet")
    assert shown.stdout == ""


def test_an_encode_begins_with_what_it_expects(frames_dir: Path, tmp_path: Path) -> None:
    dry = run("encode", frames_dir, "--preset", "fast", "--clip", "off", "--dry-run")
    line = r"about \d+:\d\d to go, [\d,]+ (bytes|kB), \d+\.\d\d GB of memory"
    assert re.fullmatch(line.replace(" to go", "") + "\n", dry.stdout)
    said = run("encode", frames_dir, "-o", tmp_path / "v.nerv", "--preset", "fast", "--clip", "off").stderr
    assert re.search(f"^expected: {line}$", said, re.MULTILINE)


def test_the_size_that_a_dry_run_expects_is_near(frames_dir: Path, tmp_path: Path) -> None:
    words = ("encode", frames_dir, "--preset", "fast", "--clip", "off", "--json")
    expected = json.loads(run(*words, "--dry-run").stdout)["bytes"]
    assert expected == pytest.approx(json.loads(run(*words, "-o", tmp_path / "v.nerv").stdout)["bytes"], rel=0.3)


def test_long_phases_are_told_where_there_is_no_terminal(
    frames_dir: Path, encoded: Encoded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_clip: TinyClip
) -> None:
    monkeypatch.setattr(codec.bars, "PLAIN_SECONDS", -1.0)
    clip = ("--clip", "on", "--clip-model", tiny_clip.model, "--clip-pretrained", tiny_clip.pretrained)
    monkeypatch.setenv("NVCODEC_CACHE", str(tmp_path / "cache"))
    said = run("encode", frames_dir, "-o", tmp_path / "v.nerv", *SMALL, *clip).stderr
    for line in ("reading the source:  6 frames", "loading CLIP", "CLIP features:  100%  6 of 6", "encoding:  100%",
                 "decoding and measuring:  100%  6 of 6"):  # fmt: skip
        assert f"\n{line}" in said
    assert "decoding:  100%  12 of 12" in run("decode", encoded.path, "-o", tmp_path / "v.mp4").stderr
    assert "verifying:  100%  12 of 12" in run("verify", encoded.path).stderr
    assert run("verify", encoded.path, "--quiet").stderr == ""


@pytest.mark.parametrize(("at", "reason"), [("0.5", "trained as a decoder will see it"), ("1", "rounded now")])
def test_why_the_quality_falls_is_said_once(frames_dir: Path, tmp_path: Path, at: str, reason: str) -> None:
    words = ("--preset", "grid", "--epochs", 4, "--fc-dim", 6, "--clip", "off", "--device", "cpu", "--qat-at", at)
    said = run("encode", frames_dir, "-o", tmp_path / "v.nerv", *words).stderr
    assert said.count(reason) == said.count("the quality shown falls") == 1


@pytest.mark.parametrize("columns", [40, 80])
def test_no_word_is_broken_on_a_terminal(
    encoded: Encoded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("FORCE_COLOR", "1")  # what rich takes for a terminal
    monkeypatch.setattr(
        codec.console, "fitted", lambda text, stream, taken=0: codec.console.broken(text, columns, taken)
    )
    monkeypatch.chdir(encoded.path.parent)
    runs = [
        run("info", "clip.nerv").output,
        run("verify", "clip.nerv").output,
        run("encode", "frames", "-o", tmp_path / "v.nerv", *SMALL, "--grid", "30x60", "--quiet").stderr,
        run("encode", "frames", "--preset", "fast", "--clip", "off", "--dry-run").output,
        run("encode", "frames", "-o", "v.mp4", code=1).stderr,
    ]
    for shown in runs:
        lines = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown).replace("\r", "\n").splitlines()
        assert lines
        assert max(map(len, lines)) <= columns


def test_quiet_leaves_warnings(frames_dir: Path, tmp_path: Path) -> None:
    words = ("--preset", "grid", "--size", 50, "--epochs", 1, "--clip", "off", "--device", "cpu")
    result = run("encode", frames_dir, "-o", tmp_path / "v.nerv", "--quiet", *words)
    assert result.stdout == ""
    early, late = result.stderr.splitlines()
    assert early.startswith("warning: a segment takes ")
    assert late.startswith("warning: the file has ")
    result = run("encode", frames_dir, "-o", tmp_path / "w.nerv", "--quiet", "--json", *SMALL)
    assert json.loads(result.stdout)["frames"] == 6
    assert result.stderr == ""


def test_report_info_and_verify_share_their_names(frames_dir: Path, tmp_path: Path) -> None:
    output = tmp_path / "v.nerv"
    result = run(
        "encode", frames_dir, "-o", output, *SMALL, "--data-split", "2_2_3", "--report", tmp_path / "r.json", "--json"
    )
    report = json.loads((tmp_path / "r.json").read_text())
    assert json.loads(result.stdout) == report
    names = {"frames", "height", "width", "fps", "bytes", "bpp", "psnr", "psnr_per_frame", "ms_ssim", "clip_sim",
             "train_psnr", "val_psnr", "train_clip_sim", "val_clip_sim", "seconds", "bytes_by_part"}  # fmt: skip
    assert names <= report.keys()
    info = json.loads(run("info", output, "--json").stdout)
    verified = json.loads(run("verify", output, "--against", frames_dir, "--json", "--device", "cpu").stdout)
    for name in names - {"psnr_per_frame", "seconds"}:
        assert info[name] == pytest.approx(report[name]), name
    for name in ("frames", "height", "width", "fps", "bytes", "bpp", "ms_ssim"):
        assert verified[name] == report[name]
    assert verified["psnr"] == pytest.approx(report["psnr"], abs=0.02)
    assert verified["psnr_per_frame"] == pytest.approx(report["psnr_per_frame"], abs=0.02)
    assert (verified["ok"], verified["problems"]) == (True, [])


def test_no_output_replaces_what_is_read_or_written(frames_dir: Path, clip: Path, tmp_path: Path) -> None:
    """By whatever name: the same path, a symbolic link, a hard link; even with --force."""
    source, image = tmp_path / "clip.mkv", tmp_path / "frames" / "003.png"
    shutil.copy(clip, source)
    shutil.copytree(frames_dir, tmp_path / "frames")
    (tmp_path / "soft").symlink_to("clip.mkv")
    (tmp_path / "hard").hardlink_to(source)
    output = tmp_path / "v.nerv"
    before = files(tmp_path)
    for name in ("clip.mkv", "./clip.mkv", "soft", "hard"):
        for words in ((f"{tmp_path}/{name}",), (output, "--report", f"{tmp_path}/{name}")):
            assert "is read: choose another output" in refused("encode", source, "-o", *words, "--force")
    assert "is read: choose another output" in refused("encode", tmp_path / "frames", "-o", image, "--force")
    assert "is read: choose another" in refused(
        "encode", source, "-o", output, "--clip-pretrained", tmp_path / "notes.pt", "--report", tmp_path / "notes.pt"
    )
    assert "is written too: give two names" in refused("encode", source, "-o", output, "--report", output)
    assert files(tmp_path) == before


def test_no_output_of_decode_replaces_what_is_read_or_written(encoded: Encoded, tmp_path: Path) -> None:
    source = tmp_path / "v.nerv.mp4"
    shutil.copy(encoded.path, source)
    (tmp_path / "link.mp4").hardlink_to(source)
    before = files(tmp_path)
    for words in (("-o", source), ("-o", tmp_path / "link.mp4"), ("--features", source)):
        assert "is read: choose another output" in refused("decode", source, *words, "--force")
    one = tmp_path / "out.mp4"
    assert "is written too: give two names" in refused("decode", source, "--features", one, "-o", one)
    (tmp_path / "out").mkdir()
    assert "is written too" in refused("decode", source, "-o", tmp_path / "out", "--features", tmp_path / "out/f.npz")
    (tmp_path / "out").rmdir()
    assert files(tmp_path) == before


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_an_encode_is_named_nerv_unless_forced(frames_dir: Path, tmp_path: Path) -> None:
    output = tmp_path / "v.mp4"
    assert refused("encode", frames_dir, "-o", output, *SMALL) == (
        f"{output} does not end in .nerv: name it v.mp4.nerv, or insist with --force\n"
    )
    assert list(tmp_path.iterdir()) == []
    run("encode", frames_dir, "-o", output, *SMALL, "--force")
    assert json.loads(run("info", output, "--json").stdout)["frames"] == 6


def test_existing_outputs_need_force(frames_dir: Path, tmp_path: Path) -> None:
    output = tmp_path / "v.nerv"
    output.write_bytes(b"precious")
    assert "exists already; choose another name, or replace it with --force" in refused(
        "encode", frames_dir, "-o", output
    )
    assert output.read_bytes() == b"precious"
    words = ("encode", frames_dir, "-o", tmp_path / "w.nerv", "--report", output)
    assert "exists already; choose another name, or replace it with --force" in refused(*words, *SMALL)
    assert list(tmp_path.iterdir()) == [output]
    run("encode", frames_dir, "-o", output, "--force", *SMALL)
    run("decode", output, "-o", tmp_path / "out.mp4", "--quiet")
    assert "--force" in refused("decode", output, "-o", tmp_path / "out.mp4")
    run("decode", output, "-o", tmp_path / "out.mp4", "--force")


def test_a_real_clip(tmp_path: Path) -> None:
    source = CLIPS / "bunny.mkv"
    if not source.exists():
        pytest.skip("the clips are not there")
    words = ("--preset", "grid", "--resize-list", "36_64", "--epochs", 3, "--clip", "off", "--device", "cpu", "--json")
    report = json.loads(run("encode", source, "-o", tmp_path / "v.nerv", *words).stdout)
    assert (report["frames"], report["height"], report["width"], report["fps"]) == (96, 36, 64, 25.0)
    run("decode", tmp_path / "v.nerv", "-o", tmp_path / "out.mp4", "--crf", 0)
    info = video.scan(tmp_path / "out.mp4")
    assert (info.frames, info.height, info.width, info.fps) == (96, 36, 64, Fraction(25))
    wanted = np.stack(list(video.frames(source, resize=(36, 64))))
    found = np.stack(list(video.frames(tmp_path / "out.mp4")))
    assert quality.psnr(found, wanted).mean() == pytest.approx(report["psnr"], abs=0.5)


# Interrupted


def child(setup: str, *words: object) -> subprocess.CompletedProcess[str]:
    """nvcodec in a process of its own, after a line of Python."""
    code = "import os, signal, sys, torch, codec.training.fit as fit; torch.set_num_threads(1); "
    code += f"{setup}; import nvcodec; nvcodec.main()"
    arguments = [sys.executable, "-c", code, *(str(word) for word in words)]
    return subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, check=False)


AT_STEP_9 = (
    "plain = fit.Trainer.train_step; "
    "fit.Trainer.train_step = lambda self: (plain(self), self.step == 9 and os.kill(os.getpid(), signal.{name}))"
)
INTERRUPTIBLE = (
    "--preset", "grid", "--epochs", 3, "--batch-size", 8, "--fc-dim", 6, "--prune", 0.2, "--clip", "off",
    "--device", "cpu",
)  # fmt: skip


@pytest.mark.parametrize(
    ("setup", "code"),
    [
        (AT_STEP_9.format(name="SIGINT"), 130),
        ("fit.CHECKPOINT_SECONDS = 0.0; " + AT_STEP_9.format(name="SIGKILL"), -signal.SIGKILL),
    ],
    ids=["Ctrl-C", "kill -9"],
)
def test_an_interrupted_encode_leaves_a_checkpoint_and_resumes(
    frames_dir: Path, tmp_path: Path, setup: str, code: int
) -> None:
    output = tmp_path / "v.nerv"
    words = ("encode", frames_dir, "-o", output, *INTERRUPTIBLE)
    ended = child(setup, *words)
    assert ended.returncode == code, ended.stderr
    assert "Traceback" not in ended.stderr
    assert ended.stdout == ""
    if code == 130:
        assert ended.stderr.endswith("interrupted: give the same command with --resume to go on from here\n")
    assert not output.exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["v.nerv.ckpt"]
    assert {"job.json", "training_0.safetensors"} <= {p.name for p in (tmp_path / "v.nerv.ckpt").iterdir()}
    assert "go on with --resume, or start again with --force" in refused(*words)
    run(*words, "--resume")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["v.nerv"]
    run("encode", frames_dir, "-o", tmp_path / "whole.nerv", *INTERRUPTIBLE)
    resumed, whole = (json.loads(run("info", tmp_path / n, "--json").stdout) for n in ("v.nerv", "whole.nerv"))
    assert resumed["psnr"] == pytest.approx(whole["psnr"], abs=0.3)


def test_an_interrupt_outside_of_training(frames_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*arguments: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(video, "scan", interrupted)
    result = run("encode", frames_dir, "-o", tmp_path / "v.nerv", *SMALL, code=130)
    assert result.stderr.endswith("interrupted\n")
    assert list(tmp_path.iterdir()) == []


# Bad input


def no_frames(folder: Path) -> Path:
    (folder / "empty.y4m").write_bytes(b"YUV4MPEG2 W16 H16 F25:1 Ip C444\n")
    return folder / "empty.y4m"


def only_sound(folder: Path) -> Path:
    with av.open(str(folder / "sound.mka"), "w") as container:
        stream = container.add_stream("aac", rate=44100, layout="mono")
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        silence.rate = 44100
        container.mux([*stream.encode(silence), *stream.encode()])
    return folder / "sound.mka"


def text(folder: Path) -> Path:
    (folder / "notes.mp4").write_text("This is no video.\n" * 50)
    return folder / "notes.mp4"


def damaged(folder: Path) -> Path:
    path = write_video(folder / "v.mkv", moving_frames(8, 48, 64))
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 400] = bytes(400)
    path.write_bytes(data)
    return path


def without_images(folder: Path) -> Path:
    (folder / "notes").mkdir()
    (folder / "notes" / "a.txt").write_text("a")
    return folder / "notes"


def of_two_sizes(folder: Path) -> Path:
    write_images(folder / "frames", moving_frames(2, 24, 40))
    Image.new("RGB", (41, 24)).save(folder / "frames" / "002.png")
    return folder / "frames"


BAD_SOURCES: list[tuple[Callable[[Path], Path], str]] = [
    (lambda folder: folder / "none.mp4", "no such file: "),
    (text, "is not a video that can be read"),
    (no_frames, "has no frames"),
    (only_sound, "holds only sound; give a file with a video stream"),
    (damaged, "cannot be decoded"),
    (without_images, "there are no images in "),
    (of_two_sizes, "002.png is 24x41 (height x width), but 000.png is 24x40"),
]


@pytest.mark.parametrize(("make", "message"), BAD_SOURCES, ids=[m for _, m in BAD_SOURCES])
def test_bad_sources(tmp_path: Path, make: Callable[[Path], Path], message: str) -> None:
    source = make(tmp_path)
    before = sorted(tmp_path.iterdir())
    assert message in refused("encode", source, "-o", tmp_path / "v.nerv", *SMALL)
    assert sorted(tmp_path.iterdir()) == before


def test_outputs_that_cannot_be_written(frames_dir: Path, encoded: Encoded, tmp_path: Path) -> None:
    assert "there is no directory" in refused("encode", frames_dir, "-o", tmp_path / "none" / "v.nerv", *SMALL)
    words = ("encode", frames_dir, "-o", tmp_path / "v.nerv", *SMALL)
    assert "there is no directory" in refused(*words, "--report", tmp_path / "none" / "r.json")
    assert "it is a directory; give the name of a file" in refused("encode", frames_dir, "-o", tmp_path, *SMALL)
    (tmp_path / "logs").write_text("a file")
    assert "logs" in refused(*words, "--log-dir", tmp_path / "logs")
    assert "is not supported" in refused("decode", encoded.path, "-o", tmp_path / "out.avi")
    assert "it is neither a file nor a directory" in refused("decode", encoded.path, "-o", "/dev/full")
    assert "it is neither a file nor a directory" in refused(*words, "--report", "/dev/null")
    name = "n" * 250 + ".nerv"
    assert "the name is too long" in refused("encode", frames_dir, "-o", tmp_path / name, *SMALL)
    assert [p.name for p in tmp_path.iterdir()] == ["logs"]


@pytest.mark.parametrize("size", [20, 700])
def test_a_full_disk(frames_dir: Path, encoded: Encoded, tmp_path: Path, size: int) -> None:
    with full_disk(size):
        encoding = run("encode", frames_dir, "-o", tmp_path / "v.nerv", *SMALL, code=1)
        decoding = run("decode", encoded.path, "-o", tmp_path / "out.mp4", code=1)
    for result in (encoding, decoding):
        assert "File too large" in result.stderr
        assert result.stdout == ""
    assert {p.name for p in tmp_path.iterdir()} <= {"v.nerv.ckpt"}, "what was trained is not lost"
    if size > 100:
        run("encode", frames_dir, "-o", tmp_path / "v.nerv", *SMALL, "--resume")


def test_devices_that_are_not_there(
    frames_dir: Path, encoded: Encoded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for words in (
        ("encode", frames_dir, "-o", tmp_path / "v.nerv"),
        ("decode", encoded.path, "-o", tmp_path / "out.mp4"),
        ("verify", encoded.path),
    ):
        message = refused(*words, "--device", "cuda")
        assert message == "device 'cuda' is not available here: use --device cpu, or auto for the best there is\n"
        assert "unknown device 'abacus': choose auto, cpu, cuda" in refused(*words, "--device", "abacus")
    assert list(tmp_path.iterdir()) == []


WRONG_USAGE: list[tuple[tuple[object, ...], str]] = [
    ((), "Missing argument 'SOURCE'"),
    (("in.mp4",), "Missing option '-o' / '--output'"),
    (("in.mp4", "-o", "v.nerv", "--nonsense", 3), "No such option"),
    (
        ("in.mp4", "-o", "v.nerv", "--bpp", 0.1, "--size", "3k"),
        "bpp and size all set the file's size: give one of them",
    ),
    (
        ("in.mp4", "-o", "v.nerv", "--preset", "grid", "--size", "3k", "--fc-dim", 9),
        "size and fc_dim all set the file's size",
    ),
    (
        ("in.mp4", "-o", "v.nerv", "--preset", "grid", "--epochs", 3, "--minutes", 1),
        "epochs and minutes both set how long training takes",
    ),
    (("in.mp4", "-o", "v.nerv", "--preset", "grid", "--fc-hw", "3_4"), "fc_hw sizes the stem of a pe embedding"),
    (
        ("in.mp4", "-o", "v.nerv", "--preset", "grid", "--dec-strds", "2 2", "--num-blks", "1_1_1_1"),
        "num_blks names 3 decoder stages",
    ),
    (("in.mp4", "-o", "v.nerv", "--data-split", "3_2_1"), "data_split 3_2_1 must rise"),
    (
        ("in.mp4", "-o", "v.nerv", "--epochs", 3),
        "epochs is no setting of preset medium, whose network is of another kind: it is one of --preset grid, hnerv",
    ),
    (
        ("in.mp4", "-o", "v.nerv", "--preset", "grid", "--quality", 3),
        "quality is no setting of preset grid, whose network is of another kind: it is one of --preset fast, medium",
    ),
    (("in.mp4", "-o", "v.nerv", "--quality", 3, "--psnr", 33), "quality and psnr all set the file's size"),
    (("in.mp4", "-o", "v.nerv", "--anchor", 6), "anchor 6: give powers of two"),
    (("in.mp4", "-o", "v.nerv", "--preset", "grid", "--epochs", 0), "epochs 0 is out of range: from 1"),
    (("in.mp4", "-o", "v.nerv", "--epochs", "many"), "'many' is not a whole number"),
    (("in.mp4", "-o", "v.nerv", "--preset", "grid", "--loss", "L7"), "loss 'L7' is unknown: choose from L1, L2, SSIM"),
    (("in.mp4", "-o", "v.nerv", "--preset", "best"), "'best' is not one of 'fast', 'medium', 'slow'"),
    (("in.mp4", "-o", "v.nerv", "--grid", "2"), "'2' is not 2 whole numbers"),
    (("in.mp4", "-o", "v.nerv", "--grid", "2.5x4"), "is not a list of whole numbers"),
    (
        ("in.mp4", "-o", "v.nerv", "--preset", "grid", "--conv-type", "conv"),
        "is not 2 names, such as 'convnext pshuffel'",
    ),
    (("in.mp4", "-o", "v.nerv", "--preset", "grid", "--num-blks", "1"), "is not 2 or more whole numbers such as 1_1"),
    (("in.mp4", "-o", "v.nerv", "--size", "big"), "is not a size such as 300k"),
    (("in.mp4", "-o", "v.nerv", "--fps", "0"), "'0' is not a rate such as 30 or 30000/1001"),
    (("in.mp4", "-o", "v.nerv", "--fps", "1/0"), "is not a rate"),
    (("in.mp4", "-o", "v.nerv", "--fps", "1e999999999"), "is not a rate"),
    (("in.mp4", "-o", "v.nerv", "--size", "9" * 400), "is not a size such as 300k"),
    (("in.mp4", "-o", "-"), "'-' is no name of a file: only decode -o writes to a pipe, and nothing reads from one"),
    (("in.mp4", "-o", ""), "'' is no name of a file"),
    (("", "-o", "v.nerv"), "'' is no name of a file"),
    (("in.mp4", "-o", "v.nerv", "--report", "-"), "'-' is no name of a file"),
]


@pytest.mark.parametrize(("words", "message"), WRONG_USAGE, ids=[m for _, m in WRONG_USAGE])
def test_wrong_usage_of_encode(words: tuple[object, ...], message: str) -> None:
    assert message in refused("encode", *words, code=2)


WRONG_DECODING: list[tuple[tuple[object, ...], str]] = [
    ((), "nothing to write: give -o OUTPUT, --features FILE.npz, or both"),
    (("-o", "out.y4m", "--crf", 3), "--crf is the quality of .mp4 and .mkv alone"),
    (("-o", "out.mp4", "--crf", 52), "52 is not in the range 0<=x<=51"),
    (("-o", "out.mp4", "--pipe-format", "y4m"), "--pipe-format is what -o - writes"),
    (("-o", "out.mp4", "--frames", "a:b"), "'a:b' is not a range of frames such as 10:20, 10:, :20 or 10"),
    (("-o", "out.mp4", "--frames", ":"), "is not a range of frames"),
    (("-o", "out.mp4", "--frames", "-3:"), "is not a range of frames"),
    (("-o", "out.mp4", "--patch", "0"), "'0' is not 2 whole numbers such as 1,0, a row and a column"),
    (("-o", ""), "'' is no name of a file"),
    (("--features", "-"), "'-' is no name of a file"),
    (("-o", "out.mp4", "--batch", 0), "0 is not in the range x>=1"),
    (("-o", "out.mp4", "--limit", "frames"), "--limit frames: give NAME=NUMBER with a NAME of file_bytes, "),
    (("-o", "out.mp4", "--limit", "colour=3"), "--limit colour=3: give NAME=NUMBER"),
    (("-o", "out.mp4", "--limit", "frames=²"), "--limit frames=²: give NAME=NUMBER"),
    (("-o", "out.mp4", "--limit", "frames=" + "9" * 5000), "give NAME=NUMBER"),
    (("-o", "out.mp4", "--frames", "9" * 5000), "is not a range of frames"),
    (("-o", "out.mp4", "--frames", "²"), "is not a range of frames"),
    (("-o", "out.mp4", "--patch", "²,0"), "is not a list of whole numbers"),
]


@pytest.mark.parametrize(("words", "message"), WRONG_DECODING, ids=[m for _, m in WRONG_DECODING])
def test_wrong_usage_of_decode(encoded: Encoded, words: tuple[object, ...], message: str) -> None:
    assert message in refused("decode", encoded.path, *words, code=2)


# Decoding


@pytest.fixture(scope="module")
def decoded(encoded: Encoded) -> np.ndarray:
    return NervReader(encoded.path, "cpu")[:]


def near(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape == b.shape and int(np.abs(a.astype(int) - b).max()) <= 1


@pytest.mark.parametrize("name", ["out.mp4", "out.mkv", "out.y4m", "out/"])
def test_decode_writes_what_its_name_says(encoded: Encoded, tmp_path: Path, name: str) -> None:
    output = f"{tmp_path}/{name}"
    result = run("decode", encoded.path, "-o", output, "--device", "cpu")
    assert result.stdout == f"{output}: 12 frames\n"
    assert result.stderr == ""
    info = video.scan(output)
    assert (info.frames, info.height, info.width) == (12, 45, 63)
    assert run("decode", encoded.path, "-o", output, "--force", "--quiet").stdout == ""


def test_crf_is_quality(encoded: Encoded, tmp_path: Path) -> None:
    for crf in (0, 51):
        run("decode", encoded.path, "-o", tmp_path / f"{crf}.mp4", "--crf", crf)
    assert (tmp_path / "0.mp4").stat().st_size > 2 * (tmp_path / "51.mp4").stat().st_size


def test_decode_to_a_pipe(encoded: Encoded, decoded: np.ndarray) -> None:
    result = run("decode", encoded.path, "-o", "-", "--frames", "4:6", "--batch", 1, "--device", "cpu")
    assert near(np.frombuffer(result.stdout_bytes, np.uint8).reshape(2, 45, 63, 3), decoded[4:6])
    assert run("decode", encoded.path, "-o", "-", "--pipe-format", "y4m").stdout_bytes.startswith(b"YUV4MPEG2 W63 H45 ")


def test_a_pipe_that_is_closed_early_ends_quietly(encoded: Encoded) -> None:
    command = [sys.executable, "-m", "nvcodec", "decode", str(encoded.path), "-o", "-"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert len(process.stdout.read(100)) == 100
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("words", "chosen"), [("3:5", slice(3, 5)), ("10:", slice(10, 12)), (":2", slice(0, 2)), ("7", slice(7, 8))]
)
def test_frames(encoded: Encoded, decoded: np.ndarray, words: str, chosen: slice) -> None:
    result = run("decode", encoded.path, "-o", "-", "--frames", words, "--device", "cpu")
    assert near(np.frombuffer(result.stdout_bytes, np.uint8).reshape(-1, 45, 63, 3), decoded[chosen])


def test_one_frame_as_a_picture(encoded: Encoded, decoded: np.ndarray, tmp_path: Path) -> None:
    still = tmp_path / "still.png"
    run("decode", encoded.path, "-o", still, "--frames", "7", "--device", "cpu")
    assert near(np.asarray(Image.open(still)), decoded[7])
    message = refused("decode", encoded.path, "-o", tmp_path / "two.png", "--frames", "3:5")
    assert ".png holds one picture; give one frame (--frames 40), or a directory" in message
    assert list(tmp_path.iterdir()) == [still]


def test_pictures_of_a_directory_are_named_by_the_number_of_their_frame(encoded: Encoded, tmp_path: Path) -> None:
    run("decode", encoded.path, "-o", f"{tmp_path}/out/", "--frames", "9:11", "--device", "cpu")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["000009.png", "000010.png"]


def test_patch(encoded: Encoded, decoded: np.ndarray) -> None:
    result = run("decode", encoded.path, "-o", "-", "--patch", "1,2", "--frames", "2:4", "--device", "cpu")
    assert near(np.frombuffer(result.stdout_bytes, np.uint8).reshape(2, 22, 16, 3), decoded[2:4, 23:45, 32:48])


def test_features(encoded: Encoded, tmp_path: Path) -> None:
    result = run("decode", encoded.path, "--features", tmp_path / "f.npz", "--frames", "1:11")
    assert result.stdout == f"{tmp_path / 'f.npz'}: 10 frames\n"
    with np.load(tmp_path / "f.npz", allow_pickle=False) as found:
        assert found["features"].shape == (10, 8, 32)
        assert found["coords"].shape == (10, 8, 3)
        assert str(found["teacher"]) == "tiny tiny.safetensors"


def test_what_the_file_does_not_hold(encoded: Encoded, frames_dir: Path, tmp_path: Path) -> None:
    decode = ("decode", encoded.path, "-o", tmp_path / "out.mp4")
    assert "frames 5:30 are not in this file of 12 frames" in refused(*decode, "--frames", "5:30")
    assert "patch 2,0 is not on this file's grid of 2 rows and 4 columns" in refused(*decode, "--patch", "2,0")
    run("encode", frames_dir, "-o", tmp_path / "plain.nerv", *SMALL)
    message = refused("decode", tmp_path / "plain.nerv", "--features", tmp_path / "f.npz")
    assert "this file holds no features" in message
    assert [p.name for p in tmp_path.iterdir()] == ["plain.nerv"]


def test_limits_can_be_raised_and_lowered(encoded: Encoded, tmp_path: Path) -> None:
    for words in (("info",), ("verify",), ("decode", "-o", tmp_path / "out.mp4")):
        said = run(words[0], encoded.path, *words[1:], "--limit", "frames=3", code=1).output
        assert "the file declares frames = 12, over the limit of 3; if you trust it, raise the limit: --limit" in said
        run(words[0], encoded.path, *words[1:], "--limit", "frames=12", "--limit", "width=63")


# Info and verify


def test_info_for_people(encoded: Encoded) -> None:
    lines = run("info", encoded.path).stdout.splitlines()
    assert lines[0] == str(encoded.path)
    facts = {line.split()[0]: line for line in lines[1:]}
    assert facts.keys() == {"format", "video", "size", "parts", "network", "segments", "teacher", "quality"}
    assert "12 frames of 63x45, 25.000 frames/s" in facts["video"]
    assert f"{encoded.path.stat().st_size:,} bytes" in facts["size"]
    assert "3, of 5 frames at most; patches 2x4" in facts["segments"]
    assert "tiny tiny.safetensors, 32 values a patch" in facts["teacher"]
    assert f"PSNR {encoded.report['psnr']:.2f} dB, clip_sim {encoded.report['clip_sim']:.4f}" in facts["quality"]


def test_info_for_machines(encoded: Encoded) -> None:
    info = json.loads(run("info", encoded.path, "--json").stdout)
    assert (info["format_version"], info["segments"], info["grid"]) == (1, 3, [2, 4])
    assert info["parameters"] == encoded.report["parameters"]
    assert info["bytes_by_part"] == encoded.report["bytes_by_part"]
    assert sum(info["bytes_by_part"].values()) == info["bytes"] == encoded.path.stat().st_size
    assert info["teacher"]["model"] == "tiny"


def test_verify_decodes_every_frame(encoded: Encoded) -> None:
    result = run("verify", encoded.path)
    only_encode = "  not measured: clip_sim (only an encode does, beside the teacher)\n"
    assert result.stdout == (
        f"{encoded.path}: intact, 12 frames decoded\n"
        "  not measured: PSNR, MS-SSIM (no source to compare with, give --against SOURCE)\n" + only_encode
    )
    result = run("verify", encoded.path, "--against", encoded.source)
    found = re.match(r".*: intact, 12 frames decoded, PSNR ([0-9.]+) dB\n", result.stdout)
    assert found is not None
    assert float(found[1]) == pytest.approx(encoded.report["psnr"], abs=0.02)
    assert result.stdout[found.end() :] == "  not measured: MS-SSIM (a side is under 161 pixels)\n" + only_encode


def test_verify_cuts_the_source_as_the_encode_did(frames_dir: Path, tmp_path: Path) -> None:
    output, cut = tmp_path / "v.nerv", ("--crop-list", "20_32", "--resize-list", "10_16")
    report = json.loads(run("encode", frames_dir, "-o", output, *SMALL, *cut, "--json").stdout)
    verify = ("verify", output, "--against", frames_dir)
    assert "cut as they were (--crop-list, --resize-list)" in refused(*verify)
    assert json.loads(run(*verify, *cut, "--json").stdout)["psnr"] == pytest.approx(report["psnr"], abs=0.02)
    assert "cut the SOURCE of --against" in refused("verify", output, *cut, code=2)


def test_verify_against_something_else(encoded: Encoded, clip: Path, tmp_path: Path) -> None:
    message = refused("verify", encoded.path, "--against", clip)
    assert "has frames of 24x40" in message
    assert "compare with what was encoded" in message
    assert "no such file" in refused("verify", encoded.path, "--against", tmp_path / "none.mp4")


# Damaged files


@pytest.mark.parametrize("path", sorted((DATA / "broken").glob("*.nerv")), ids=lambda path: path.stem)
def test_broken_files_are_refused_by_every_command(path: Path, tmp_path: Path) -> None:
    for words in (("info",), ("decode", "-o", tmp_path / "out.mp4"), ("decode", "--features", tmp_path / "f.npz")):
        if path.stem not in ("DigestMismatch", "ChecksumMismatch", "MalformedChunk") or words[0] != "info":
            assert len(refused(words[0], path, *words[1:]).splitlines()) == 1
    result = run("verify", path, code=1)
    assert result.stdout.startswith(f"{path}: damaged\n  ")
    result = run("verify", path, "--json", code=1)
    found = json.loads(result.stdout)
    assert found["ok"] is False
    assert found["problems"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["info", "verify", "decode"])
def test_files_that_are_not_there(command: str, tmp_path: Path) -> None:
    words = ("-o", tmp_path / "out.mp4") if command == "decode" else ()
    assert refused(command, tmp_path / "none.nerv", *words) == f"{tmp_path / 'none.nerv'}: No such file or directory\n"
    assert "Is a directory" in refused(command, tmp_path, *words)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_flipped_and_cut_files_end_with_a_message(encoded: Encoded, tmp_path: Path, data: st.DataObject) -> None:
    whole = encoded.path.read_bytes()
    place = data.draw(st.integers(0, len(whole) - 1))
    bit = data.draw(st.integers(0, 7))
    kind = data.draw(st.sampled_from(["flip", "cut", "append"]))
    flipped = whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :]
    path = tmp_path / "damaged.nerv"
    path.write_bytes({"flip": flipped, "cut": whole[:place], "append": whole + flipped[: place + 1]}[kind])
    assert run("verify", path, code=1).stdout.startswith(f"{path}: damaged\n  ")
    assert refused("decode", path, "-o", tmp_path / "out.y4m")
    assert [p.name for p in tmp_path.iterdir()] == ["damaged.nerv"]


def test_damage_costs_only_the_frames_of_its_segment(encoded: Encoded, decoded: np.ndarray, tmp_path: Path) -> None:
    whole = bytearray(encoded.path.read_bytes())
    whole[NervReader(encoded.path).file.index[1].offset + 30] ^= 1
    path = tmp_path / "damaged.nerv"
    path.write_bytes(whole)
    assert "segment 1, frames 5..9" in refused("decode", path, "-o", "-")
    result = run("decode", path, "-o", "-", "--skip-damaged", "--device", "cpu")
    assert near(np.frombuffer(result.stdout_bytes, np.uint8).reshape(-1, 45, 63, 3), decoded[[*range(5), 10, 11]])
    assert "warning: frames 5..9 are lost: their segment is damaged" in result.stderr


# Help


@pytest.mark.parametrize("columns", ["80", "120"])
@pytest.mark.parametrize("command", [(), ("encode",), ("decode",), ("search",), ("label",), ("info",), ("verify",)])
def test_help_fits_the_terminal(monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...], columns: str) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    lines = run(*command, "--help").stdout.splitlines()
    assert lines[0].startswith("Usage: main")
    assert max(map(len, lines)) <= int(columns)


def test_help_of_encode_is_in_groups_and_names_every_option() -> None:
    shown = run("encode", "--help").stdout
    headings = [line for line in shown.splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert headings == [
        "Options:",
        "Source:",
        "Rate:",
        "Training:",
        "Network:",
        "Prediction (fast, medium, slow):",
        "Teacher:",
    ]
    for name, _, _, _ in OPTIONS:
        assert f"{name} " in shown or f"{name}," in shown


def test_version() -> None:
    assert re.fullmatch(r"nvcodec, version \S+\n", run("--version").stdout)


def test_the_commands_are_listed() -> None:
    shown = run("--help").stdout
    for command in ("encode", "decode", "search", "label", "info", "verify"):
        assert f"\n  {command} " in shown
    assert "..." not in shown.split("Commands:")[1], "each says in a line what it does"
