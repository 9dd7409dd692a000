"""nvcodec through its command line, as the benchmark runs it."""

from pathlib import Path

import pytest
from rich.console import Console

from benchmarks import rd
from benchmarks.ours import Ours
from benchmarks.rows import load
from tests.tiny_clip import TinyClip


def test_presets_are_codecs_by_name() -> None:
    teacher = ("ViT-B-32", "weights.safetensors")
    grid, hnerv = rd.choose(["nvcodec-grid", "nvcodec-hnerv"], Ours("", (0.02, 0.1), 2.5, "cpu", teacher))
    assert (grid.name, hnerv.name) == ("nvcodec-grid", "nvcodec-hnerv")
    assert list(grid.points) == ["bpp=0.02 minutes=2.5 device=cpu", "bpp=0.1 minutes=2.5 device=cpu"]
    assert isinstance(grid, Ours)
    assert isinstance(hnerv, Ours)
    assert grid.teacher == teacher
    assert hnerv.teacher is None  # as published: no CLIP head to pay for


def test_a_preset_is_measured_from_its_file_alone(
    brief: Path, tmp_path: Path, tiny_clip: TinyClip, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NVCODEC_CACHE", str(tmp_path / "cache"))
    teacher = (tiny_clip.model, tiny_clip.pretrained)
    codecs = rd.choose(["nvcodec-grid"], Ours("", bpp=(0.5,), minutes=0.05, device="cpu", teacher=teacher))
    teaching = rd.Teaching.load(*teacher, "cpu")
    failed = rd.run([brief], codecs, tmp_path, Console(quiet=True), crop=(96, 128), teaching=teaching)
    (row,) = load(tmp_path)
    assert row.error == ""
    assert failed == 0
    assert row.bytes == next((tmp_path / "streams").glob("*.nerv")).stat().st_size
    assert row.psnr is not None
    assert 8 < row.psnr < 50
    assert row.clip_sim is not None
    assert row.clip_sim_decoded is not None
    assert row.note == "", "the encoder's own PSNR is not what its file decodes to"
    assert str(tmp_path) not in row.encode_command
