"""An encode from source to file: what it reports is what the file holds, and what fails leaves nothing behind."""

import json
import re
import weakref
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import bitstream
from bitstream import Limits, MalformedChunk, Segment
from codec import encode, quality, video
from codec.decoding.reader import NervReader
from codec.encoding import header
from codec.encoding.progress import Silent
from codec.errors import CodecError, EncodeError, OutputError, TeacherError
from codec.features.teacher import CLIPManager
from codec.settings import PRESETS, Settings
from codec.training.task import Status
from tests.samples import Encoded, moving_frames, write_images, write_video
from tests.tiny_clip import TinyClip


def settings(preset: str = "grid", **changes: Any) -> Settings:
    return PRESETS[preset].override(**{"fc_dim": 8, "epochs": 3, "clip": "off"} | changes)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("source") / "frames", moving_frames(7, 24, 40))


@dataclass
class Spy(Silent):
    """Progress that is written down; `at` can interrupt."""

    phases: list[str] = field(default_factory=list)
    segments: list[tuple[int, int, int]] = field(default_factory=list)
    scores: list[dict[str, float]] = field(default_factory=list)
    interrupt_at: int | None = None  # frame with which the segment begins

    def phase(self, name: str) -> None:
        self.phases.append(name)

    def source(self, described: str) -> None:
        pass

    def segment(self, start: int, total: int, frames: int, parameters: int) -> None:
        self.segments.append((start, total, frames))
        if start == self.interrupt_at:
            raise KeyboardInterrupt

    def training(self, status: Status, left: float | None) -> None:
        assert 0 <= status.fraction <= 1

    def evaluated(self, epoch: int, scores: dict[str, float]) -> None:
        self.scores.append(scores)


# What is reported


def test_the_report_is_of_the_file_on_disk(encoded: Encoded, tiny_clip: TinyClip) -> None:
    report, reader = encoded.report, NervReader(encoded.path, "cpu")
    size = encoded.path.stat().st_size
    assert (report["frames"], report["height"], report["width"], report["fps"]) == (12, 45, 63, 25.0)
    assert (report["bytes"], report["bpp"]) == (size, 8 * size / (12 * 45 * 63))
    assert sum(report["bytes_by_part"].values()) == size
    assert report["bytes_by_part"].keys() == {"header", "weights", "embeddings", "clip_head", "overhead"}

    psnr = quality.psnr(reader[:], encoded.frames)
    assert report["psnr_per_frame"] == pytest.approx(psnr.tolist(), abs=0.02)
    assert report["psnr"] == pytest.approx(psnr.mean(), abs=0.02)
    trained = np.array([0, 1, 3, 4, 5, 6, 8, 9, 10, 11])  # segments of 5; of every 3 frames the third validates
    assert report["train_psnr"] == pytest.approx(psnr[trained].mean(), abs=0.02)
    assert report["val_psnr"] == pytest.approx(psnr[[2, 7]].mean(), abs=0.02)
    assert report["ms_ssim"] is None, "frames are too small for five scales"

    teacher = CLIPManager(tiny_clip.model, tiny_clip.pretrained)
    similarity = quality.cosine(reader.features(), teacher.features(encoded.frames, (2, 4)))
    assert report["clip_sim"] == pytest.approx(similarity.mean(), abs=0.01)
    assert report["val_clip_sim"] == pytest.approx(similarity[[2, 7]].mean(), abs=0.01)

    assert reader.file.quality is not None
    for name in ("psnr", "clip_sim", "train_psnr", "val_psnr", "train_clip_sim", "val_clip_sim"):
        assert getattr(reader.file.quality, name) == pytest.approx(report[name])
    assert report["parameters"] == sum(t.values.size for s in reader.file.segments() for t in s.tensors)
    assert {"scan", "teacher", "train", "code", "decode", "measure", "total"} <= report["seconds"].keys()
    assert all(v >= 0 for v in report["seconds"].values())
    assert report["settings"]["train"]["epochs"] == report["epochs"] == 30
    json.dumps(report, allow_nan=False)


def test_facts_of_a_video_are_kept(tmp_path: Path) -> None:
    def wide_pixels(stream: Any) -> None:
        stream.codec_context.sample_aspect_ratio = Fraction(4, 3)

    frames = moving_frames(5, 16, 24)
    path = write_video(tmp_path / "v.mkv", frames, Fraction(30000, 1001), wide_pixels)
    encode(path, tmp_path / "v.nerv", settings(grid=(1, 2)), device="cpu")
    header, info = NervReader(tmp_path / "v.nerv").header, video.scan(path)
    assert (header.frames, header.height, header.width) == (5, 16, 24)
    assert (header.fps, header.sar, header.color) == (info.fps, info.sar, info.color)
    assert (header.fps, header.sar) == (Fraction(30000, 1001), Fraction(4, 3))
    assert (header.teacher, header.grid) == (None, (1, 2))


def test_timestamps_of_a_variable_rate_are_kept(tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scan = video.scan
    ticks = (0, 40, 80, 200, 240, 280, 900)

    def variable(*arguments: Any, **options: Any) -> video.SourceInfo:
        return replace(scan(*arguments, **options), timestamps=ticks, time_base=Fraction(1, 1000))

    monkeypatch.setattr(video, "scan", variable)
    encode(source, tmp_path / "v.nerv", settings(), device="cpu")
    shown = NervReader(tmp_path / "v.nerv").presentation
    assert (shown.timestamps, shown.time_base) == (ticks, Fraction(1, 1000))


def test_cropping_and_resizing_come_first(tmp_path: Path, source: Path) -> None:
    report = encode(source, tmp_path / "v.nerv", settings(crop=(20, 30), resize=(10, 15)), device="cpu")
    assert (report["height"], report["width"]) == (10, 15)
    wanted = np.stack(list(video.frames(source, crop=(20, 30), resize=(10, 15))))
    assert quality.psnr(NervReader(tmp_path / "v.nerv", "cpu")[:], wanted).mean() == pytest.approx(
        report["psnr"], abs=0.05
    )


def test_a_frame_rate_for_images(tmp_path: Path, source: Path) -> None:
    encode(source, tmp_path / "v.nerv", settings(), fps=Fraction(24000, 1001), device="cpu")
    assert NervReader(tmp_path / "v.nerv").header.fps == Fraction(24000, 1001)


def test_progress_and_evaluations(tmp_path: Path, source: Path, tiny_clip: TinyClip) -> None:
    spy = Spy()
    chosen = settings(segment=5, eval_freq=1, split=(1, 1, 2), clip="on", clip_model=tiny_clip.model,
                      clip_pretrained=tiny_clip.pretrained)  # fmt: skip
    encode(source, tmp_path / "v.nerv", chosen, progress=spy, device="cpu")
    assert spy.phases == ["scan", "load", *["teacher", "train", "code", "check"] * 2]
    assert spy.segments == [(0, 7, 5), (5, 7, 2)]
    assert [set(s) for s in spy.scores] == [{"train_psnr", "val_psnr", "train_clip_sim", "val_clip_sim"}] * 4


def test_tensorboard_logs(tmp_path: Path, source: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # type: ignore[import-untyped]

    chosen = settings(eval_freq=1, segment=5)
    encode(source, tmp_path / "v.nerv", chosen, log_dir=tmp_path / "logs", device="cpu")
    events = EventAccumulator(str(tmp_path / "logs")).Reload()
    tags = events.Tags()
    assert {"train_psnr", "batch_psnr", "estimated_bits", "segment_1/train_psnr"} <= set(tags["scalars"])
    assert {"loss", "lr_muon", "lr_adam"} <= set(tags["scalars"])
    assert [e.step for e in events.Scalars("frame_psnr")] == list(range(7))
    table = events.Tensors("settings/text_summary")[0].tensor_proto.string_val[0].decode()
    assert "| train | epochs | 3 |" in table
    assert {"patches", "segment_1/patches"} <= set(tags["images"])
    assert [e.step for e in events.Scalars("train_psnr")] == [1, 2]


def test_tensorboard_logs_of_predicted_frames(tmp_path: Path, source: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    chosen = PRESETS["fast"].override(clip="off", segment=5)
    report = encode(source, tmp_path / "v.nerv", chosen, log_dir=tmp_path / "logs", device="cpu")
    events = EventAccumulator(str(tmp_path / "logs")).Reload()
    assert {"batch_psnr", "estimated_bits"} <= set(events.Tags()["scalars"])
    assert [e.value for e in events.Scalars("frame_psnr")] == pytest.approx(report["psnr_per_frame"], abs=1e-3)
    sizes = [e.value for e in events.Scalars("frame_bytes")]
    assert (len(sizes), sizes[0] > sizes[1], sum(sizes) < report["bytes"]) == (7, True, True)


# Any size, any count


@pytest.mark.parametrize("embed", ["grid_2.8.1_2.4.4", "pe_1.25_6", "hnerv_2", None])
@pytest.mark.parametrize(("count", "height", "width"), [(1, 1, 1), (1, 5, 3), (3, 1, 9), (2, 17, 2)])
def test_tiny_sources(tmp_path: Path, embed: str | None, count: int, height: int, width: int) -> None:
    """Frames smaller than the grid get the finest grid whose patches all hold pixels."""
    source = write_images(tmp_path / "frames", moving_frames(count, height, width))
    warnings: list[str] = []
    report = encode(source, tmp_path / "v.nerv", settings(embed=embed, epochs=2), warn=warnings.append, device="cpu")
    assert (report["frames"], report["height"], report["width"]) == (count, height, width)
    assert NervReader(tmp_path / "v.nerv", "cpu")[:].shape == (count, height, width, 3)
    rows, columns = report["grid"]
    assert 1 <= rows <= min(2, height)
    assert 1 <= columns <= min(4, width)
    assert any("a grid of 2x4 leaves patches" in w for w in warnings) == ([rows, columns] != [2, 4])


@pytest.mark.parametrize(("asked", "lengths"), [(1, [1] * 7), (3, [3, 3, 1]), (7, [7]), (100, [7]), (None, [7])])
def test_segments(tmp_path: Path, source: Path, asked: int | None, lengths: list[int]) -> None:
    encode(source, tmp_path / "v.nerv", settings(segment=asked, epochs=1, split=(2, 3, 4)), device="cpu")
    assert [e.frames for e in NervReader(tmp_path / "v.nerv").file.index] == lengths


def test_long_sources_are_cut_into_segments_of_one_length(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, source: Path
) -> None:
    monkeypatch.setattr(header, "SEGMENT_FRAMES", 5)
    encode(source, tmp_path / "v.nerv", settings(epochs=1), device="cpu")
    assert [e.frames for e in NervReader(tmp_path / "v.nerv").file.index] == [4, 3]


def test_frames_of_one_segment_at_a_time_are_held(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    segments, held, alive = video.segments, [], []

    def watched(*arguments: Any, **options: Any) -> Iterator[NDArray[np.uint8]]:
        for frames in segments(*arguments, **options):
            held.append(weakref.ref(frames))
            yield frames
            del frames
            alive.append(sum(reference() is not None for reference in held))

    monkeypatch.setattr(video, "segments", watched)
    encode(source, tmp_path / "v.nerv", settings(segment=1, epochs=1), device="cpu")
    assert len(alive) == 7
    assert max(alive) <= 1


# Size


@pytest.mark.parametrize(
    ("preset", "changes"),
    [
        ("grid", {"size": 3_000}),
        ("grid", {"size": 8_000, "segment": 2}),
        ("grid", {"bpp": 2.0, "qat_at": 1.0}),
        ("grid", {"size": 6_000, "prune": 0.4, "optimizer": "adam"}),
        ("grid", {"size": 6_000, "weight_bits": 8.0, "embed": "pe_1.25_8"}),
        ("hnerv", {"size": 9_000, "segment": 5}),
        ("hnerv", {"bpp": 3.0}),
    ],
    ids=str,
)
def test_the_size_asked_for_comes_out(tmp_path: Path, preset: str, changes: dict[str, Any]) -> None:
    """Within 5 % below, never above, whatever the options."""
    source = write_images(tmp_path / "frames", moving_frames(8, 45, 63))
    warnings: list[str] = []
    chosen = PRESETS[preset].override(epochs=6, clip="off", **changes)
    report = encode(source, tmp_path / "v.nerv", chosen, warn=warnings.append, device="cpu")
    size = changes.get("size") or changes["bpp"] * 8 * 45 * 63 / 8
    assert 0.95 <= report["bytes"] / size <= 1
    assert warnings == []


def test_a_size_that_is_missed_is_said(tmp_path: Path, source: Path) -> None:
    warnings: list[str] = []
    chosen = PRESETS["grid"].override(size=50, epochs=1, clip="off")
    report = encode(source, tmp_path / "v.nerv", chosen, warn=warnings.append, device="cpu")
    early, late = warnings
    assert re.match(r"a segment takes \d+ bytes with every weight at zero", early)
    assert late == f"the file has {report['bytes']:,} bytes where 50 were asked for"


def test_of_a_size_that_nobody_asked_for_nothing_is_said(tmp_path: Path, source: Path) -> None:
    warnings: list[str] = []
    report = encode(source, tmp_path / "v.nerv", PRESETS["grid"].override(epochs=1, clip="off"), warn=warnings.append)
    assert report["bytes"] > 0.04 * 7 * report["height"] * report["width"] / 8
    assert warnings == []


# Stems that do not fit


def test_a_stem_larger_than_the_patch_warns_and_names_the_one_that_fits(tmp_path: Path, source: Path) -> None:
    warnings: list[str] = []
    chosen = settings("reference", crop=(), fc_hw=(3, 4), dec_strds=(2, 2), num_blks=(1, 1), split=(1, 1, 1))
    encode(source, tmp_path / "v.nerv", chosen, warn=warnings.append, device="cpu")
    assert warnings == [
        "fc_hw 3_4 makes maps larger than the 12x10 patch: they are resized down to 3_3; "
        "--fc-hw 3_3 fits, with fewer weights"
    ]


def test_warnings_go_to_the_warnings_module_by_default(tmp_path: Path, source: Path) -> None:
    with pytest.warns(UserWarning, match="a grid of 30x4 leaves patches of 24x40 frames empty"):
        encode(source, tmp_path / "v.nerv", settings(grid=(30, 4), epochs=1), device="cpu")


def test_a_stem_smaller_than_the_patch_is_an_error(tmp_path: Path, source: Path) -> None:
    chosen = settings("reference", crop=(), fc_hw=(2, 3), dec_strds=(2, 2), num_blks=(1, 1))
    with pytest.raises(EncodeError, match="fc_hw 2_3 does not cover a patch of 12x10 pixels: 3_3 does"):
        encode(source, tmp_path / "v.nerv", chosen, device="cpu")
    assert list(tmp_path.iterdir()) == []


# The teacher


def test_without_weights_auto_warns_once_on_fails_and_off_is_silent(tmp_path: Path, source: Path) -> None:
    missing = {"clip_model": "ViT-B-32", "clip_pretrained": "no_such_weights"}
    warnings: list[str] = []
    encode(source, tmp_path / "v.nerv", settings(clip="auto", **missing), warn=warnings.append, device="cpu")
    assert len(warnings) == 1
    assert "the file will hold no features" in warnings[0]
    assert NervReader(tmp_path / "v.nerv").header.teacher is None
    with pytest.raises(TeacherError, match=r"--clip-pretrained FILE[\s\S]*download it beforehand[\s\S]*--clip off"):
        encode(source, tmp_path / "w.nerv", settings(clip="on", **missing), device="cpu")
    warnings.clear()
    encode(source, tmp_path / "u.nerv", settings(clip="off", **missing), warn=warnings.append, device="cpu")
    assert warnings == []


def test_the_clip_term_brings_features_nearer(tmp_path: Path, source: Path, tiny_clip: TinyClip) -> None:
    teacher = {"clip": "on", "clip_model": tiny_clip.model, "clip_pretrained": tiny_clip.pretrained}
    found = [
        encode(
            source, tmp_path / f"{weight}.nerv", settings(epochs=15, clip_loss_weight=weight, **teacher), device="cpu"
        )
        for weight in (0.0, 0.1)
    ]
    apart = [1 - report["clip_sim"] for report in found]
    assert apart[1] < apart[0] / 2, "without the term the head stays at the mean feature that it starts from"
    assert found[1]["psnr"] > found[0]["psnr"] - 1
    identity = NervReader(tmp_path / "0.1.nerv").header.teacher
    assert identity is not None
    assert (identity.model, identity.pretrained, identity.dim, len(identity.digest)) == (
        "tiny",
        "tiny.safetensors",
        32,
        16,
    )


@pytest.mark.parametrize("preset", ["fast", "grid"])
@pytest.mark.parametrize("budget", [0.05, 0.4])
def test_features_keep_to_their_share_of_the_file(
    tmp_path: Path, tiny_clip: TinyClip, preset: str, budget: float
) -> None:
    source = write_images(tmp_path / "frames", moving_frames(6, 90, 120))
    changes: dict[str, Any] = {"clip": "on", "clip_model": tiny_clip.model, "clip_pretrained": tiny_clip.pretrained}
    changes |= {"clip_budget": budget} | ({"epochs": 4, "fc_dim": 24} if preset == "grid" else {"quality": 60})
    warnings: list[str] = []
    report = encode(source, tmp_path / "v.nerv", PRESETS[preset].override(**changes), warn=warnings.append)
    parts = report["bytes_by_part"]
    assert 0 < parts["clip_head" if preset == "grid" else "features"] <= budget * report["bytes"]
    assert not any("--clip-budget: ask" in warning for warning in warnings)


@pytest.mark.parametrize("preset", ["fast", "grid"])
def test_a_share_that_is_too_small_for_features_is_said(
    tmp_path: Path, source: Path, tiny_clip: TinyClip, preset: str
) -> None:
    changes: dict[str, Any] = {"clip": "on", "clip_model": tiny_clip.model, "clip_pretrained": tiny_clip.pretrained}
    changes |= {"epochs": 2, "fc_dim": 8} if preset == "grid" else {"quality": 20}
    warnings: list[str] = []
    chosen = PRESETS[preset].override(clip_budget=0.001, **changes)
    encode(source, tmp_path / "v.nerv", chosen, warn=warnings.append, device="cpu")
    said = next(warning for warning in warnings if "are of little use" in warning)
    assert any("of --clip-budget: ask for a larger file" in warning for warning in warnings)
    if preset == "grid":
        assert "give them more of it (--clip-budget)" in said
        return
    assert "they are one constant vector, as no more goes into 0.1% of the file" in said
    told = re.search(r"--clip-budget ([\d.]+) would hold ones of ([\d.]+)", said)
    assert told is not None
    warnings.clear()
    again = chosen.override(clip_budget=told[1])
    report = encode(source, tmp_path / "w.nerv", again, warn=warnings.append, device="cpu")
    assert report["clip_sim"] >= float(told[2]) - 0.001
    assert not any("are of little use" in warning for warning in warnings)


# Nothing lost


def test_an_interrupted_encode_goes_on_with_the_segment_it_stopped_in(tmp_path: Path, source: Path) -> None:
    chosen = settings(segment=3, prune=0.2)
    encode(source, tmp_path / "whole.nerv", chosen, device="cpu")
    output = tmp_path / "v.nerv"
    with pytest.raises(KeyboardInterrupt):
        encode(source, output, chosen, progress=Spy(interrupt_at=3), device="cpu")
    assert not output.exists()
    assert sorted(p.name for p in (tmp_path / "v.nerv.ckpt").iterdir()) == [
        "job.json",
        "segment_0.json",
        "segment_0.nervseg",
    ]
    spy = Spy()
    encode(source, output, chosen, progress=spy, resume=True, device="cpu")
    assert [start for start, _, _ in spy.segments] == [3, 6]
    assert bitstream.read(output).segments == bitstream.read(tmp_path / "whole.nerv").segments
    assert sorted(p.name for p in tmp_path.iterdir()) == ["v.nerv", "whole.nerv"]


def test_resuming_with_other_settings_or_another_source_is_refused(tmp_path: Path, source: Path) -> None:
    output = tmp_path / "v.nerv"
    with pytest.raises(KeyboardInterrupt):
        encode(source, output, settings(segment=3), progress=Spy(interrupt_at=3), device="cpu")
    other = write_images(tmp_path / "other", moving_frames(7, 24, 41))
    for arguments in ((source, output, settings(segment=3, lr=0.02)), (other, output, settings(segment=3))):
        with pytest.raises(CodecError, match="made from another source or with other settings"):
            encode(*arguments, resume=True, device="cpu")
    with pytest.raises(
        OutputError, match="holds an interrupted encode: go on with --resume, or start again with --force"
    ):
        encode(source, output, settings(segment=3), device="cpu")
    encode(source, output, settings(segment=4), force=True, device="cpu")
    assert not (tmp_path / "v.nerv.ckpt").exists()


def test_resume_without_anything_to_resume_begins(tmp_path: Path, source: Path) -> None:
    encode(source, tmp_path / "v.nerv", settings(epochs=1), resume=True, device="cpu")
    assert len(NervReader(tmp_path / "v.nerv")) == 7


@pytest.mark.parametrize("fps", [25.0, "25", 0, -1, 10**9])
def test_a_rate_that_is_none_is_named(tmp_path: Path, source: Path, fps: Any) -> None:
    with pytest.raises(ValueError, match=f"fps {fps!r} is not a rate"):
        encode(source, tmp_path / "v.nerv", settings(), fps=fps, device="cpu")


def test_outputs_that_are_there_stay_without_force(tmp_path: Path, source: Path) -> None:
    output = tmp_path / "v.nerv"
    output.write_bytes(b"precious")
    with pytest.raises(OutputError, match="exists already"):
        encode(source, output, settings(), device="cpu")
    assert output.read_bytes() == b"precious"
    encode(source, output, settings(epochs=1), force=True, device="cpu")
    assert len(NervReader(output)) == 7


def test_the_source_is_never_the_output(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mkv", moving_frames(2, 16, 16))
    before = path.read_bytes()
    with pytest.raises(OutputError, match="which is read: choose another output"):
        encode(path, path, settings(), force=True, device="cpu")
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"loss": "Fusion12", "embed": "pe_1.25_4"}, "loss Fusion12 needs tiles of 33 pixels, these have 10"),
        ({"embed": "grid_" + "_".join(["111.222.333"] * 6)}, "no .nerv file can hold this: .*embed"),
        ({"split": (1, 1, 70000)}, "no .nerv file can hold this: .*split"),
    ],
)
def test_what_cannot_work_fails_before_training_and_leaves_nothing(
    tmp_path: Path, source: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(EncodeError, match=message):
        encode(source, tmp_path / "v.nerv", settings(**changes), device="cpu")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["frames", "height", "values", "activations"])
def test_what_no_reader_would_take_is_not_begun(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(header, "LIMITS", Limits(**{name: 6}))
    with pytest.raises(EncodeError, match=rf"{name} are more than the 6 that readers take: use smaller frames"):
        encode(source, tmp_path / "v.nerv", settings(), device="cpu")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_does_not_read_back_is_not_written(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The integers are compared with those that were coded, and the network is built and run."""

    def no_network(*arguments: Any) -> None:
        raise MalformedChunk("no network")

    def other(payload: bytes, where: str) -> Segment:
        return replace(bitstream.read_segment(payload, where), start=1)

    with monkeypatch.context() as patch:
        patch.setattr(Segment, "of", other)
        with pytest.raises(EncodeError, match="the segment at frame 0 does not decode to what was coded"):
            encode(source, tmp_path / "v.nerv", settings(), device="cpu")
    assert not (tmp_path / "v.nerv").exists()
    with monkeypatch.context() as patch:
        patch.setattr("codec.encoding.segment.load_network", no_network)
        with pytest.raises(MalformedChunk, match="no network"):
            encode(source, tmp_path / "v.nerv", settings(), force=True, device="cpu")
    assert not (tmp_path / "v.nerv").exists()


def test_decoding_first_does_not_break_a_training_of_the_same_size(tmp_path: Path, source: Path) -> None:
    """What decoding keeps for later calls is no tensor of its inference mode."""
    encode(source, tmp_path / "v.nerv", settings(embed="grid_2.8.1_2.4.4"), device="cpu")
    NervReader(tmp_path / "v.nerv", "cpu")[0]
    NervReader(tmp_path / "v.nerv", "cpu").patch(0, 0, 0)
    encode(source, tmp_path / "w.nerv", settings(embed="grid_2.8.1_2.4.4"), device="cpu")
    assert (tmp_path / "v.nerv").read_bytes() == (tmp_path / "w.nerv").read_bytes()


def test_no_randomness_leaves_an_encode(tmp_path: Path, source: Path) -> None:
    """Nothing random of the caller's changes the file, and the file changes nothing random of the caller's."""
    found = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        encode(source, tmp_path / f"{seed}.nerv", settings(epochs=1), device="cpu")
        found.append(torch.rand(1).item())
    assert (tmp_path / "1.nerv").read_bytes() == (tmp_path / "2.nerv").read_bytes()
    torch.manual_seed(1)
    assert found[0] == torch.rand(1).item()
