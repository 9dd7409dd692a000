"""Preparation: the same from the same, nothing share-alike in it, whole folders or none."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from codec.base.corpus import Corpus, read_corpus
from codec.base.crops import HELD, TRAINING, Crops, CropSettings, open_crops, prepare
from codec.base.references import BaseCoder, Frame, Sample, X265Coder, code, coder_of
from codec.errors import BaseError
from codec.network.predictive.base_file import write_base
from tests.codec.base.conftest import SETTINGS, tiny_codec
from tests.samples import moving_frames


def silent(text: str) -> None:
    pass


class Plain:
    """Frames beside themselves: no coder."""

    def about(self) -> dict[str, Any]:
        return {"coder": "plain"}

    def samples(self, frames: Sequence[Frame], rng: np.random.Generator) -> Iterator[Sample]:
        planes = np.ascontiguousarray(frames[int(rng.integers(len(frames)))].transpose(2, 0, 1))
        yield Sample(np.concatenate([planes] * 3), 40, 10)


def contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir())}


def test_the_corpus_is_what_is_listed_under_free_licences(corpus: Path) -> None:
    found = read_corpus(corpus)
    assert [item.path.name for item in found.clips] == ["drift.mkv", "waves.mkv"]
    assert [item.path.name for item in found.held] == ["vscode.mkv"]
    assert [item.path.name for item in found.photos] == ["p1.png"]
    assert found.clips[0].attribution == "a name | with a bar"


@pytest.mark.parametrize(
    "licence", ["CC BY-SA 4.0", "CC0 or CC BY-SA 2.5", "cc by-nc-sa 3.0", "some ShareAlike terms", "share-alike"]
)
def test_every_spelling_of_share_alike_is_left_out(corpus: Path, tmp_path: Path, licence: str) -> None:
    (tmp_path / "clips").symlink_to(corpus / "clips")
    (tmp_path / "CORPUS.md").write_text(
        f"| name | licence | attribution |\n|---|---|---|\n| waves | {licence} | a |\n| drift | MIT | b |\n"
    )
    assert [item.path.stem for item in read_corpus(tmp_path).clips] == ["drift"]


@pytest.mark.parametrize("text", [None, "", "| name | licence |\n|---|---|\n| shared | CC BY-SA 4.0 |\n"])
def test_a_folder_without_material_is_said_to_be_that(corpus: Path, tmp_path: Path, text: str | None) -> None:
    (tmp_path / "clips").symlink_to(corpus / "clips")
    if text is not None:
        (tmp_path / "CORPUS.md").write_text(text)
    with pytest.raises(BaseError, match=r"CORPUS\.md"):
        read_corpus(tmp_path)


def test_crops_are_the_same_from_the_same(corpus: Path, prepared: Path, tmp_path: Path) -> None:
    prepare(read_corpus(corpus), tmp_path / "again", X265Coder(targets=3), SETTINGS, silent)
    for part in (TRAINING, HELD):
        assert contents(tmp_path / "again" / part) == contents(prepared / part)
    prepare(read_corpus(corpus), tmp_path / "other", X265Coder(targets=3), replace(SETTINGS, seed=2), silent)
    assert contents(tmp_path / "other" / TRAINING) != contents(prepared / TRAINING)


def test_crops_are_as_described(crops: Crops, held: Crops) -> None:
    assert crops.key.shape == (2 * 2 + 2, 3, 32, 32)  # two clips, one photograph
    assert crops.predicted.shape == (2 * 3 * 2, 9, 32, 32)
    assert held.predicted.shape == (3 * 2, 9, 32, 32)
    assert crops.key.dtype == crops.predicted.dtype == np.uint8
    assert (crops.quality <= 63).all()
    assert (crops.spread > 0).all()
    frames, moved = crops.predicted[:, :3].astype(float), crops.predicted[:, 3:].astype(float)
    assert 0 < np.abs(moved - np.concatenate([frames, frames], 1)).mean() < 20  # coded, and moved to the frame
    assert crops.about["licences"]["clips"] == {"CC BY 4.0": 1, "MIT": 1}
    assert crops.about["attributions"] == ["a name | with a bar"]
    assert not any("shared" in str(value) for value in crops.about.values())


def test_crops_of_a_clip_do_not_depend_on_the_others(corpus: Path, tmp_path: Path) -> None:
    whole = read_corpus(corpus)
    prepare(whole, tmp_path / "two", Plain(), SETTINGS, silent)
    prepare(Corpus(whole.clips[1:], (), whole.held), tmp_path / "one", Plain(), SETTINGS, silent)
    two, one = (open_crops(tmp_path / name / TRAINING) for name in ("two", "one"))
    np.testing.assert_array_equal(two.predicted[-len(one.predicted) :], one.predicted)


def test_what_is_prepared_stays_unless_it_is_of_other_things(corpus: Path, tmp_path: Path) -> None:
    found, out = read_corpus(corpus), tmp_path / "crops"
    prepare(found, out, Plain(), SETTINGS, silent)
    before = (out / TRAINING / "key.npy").stat().st_mtime_ns
    prepare(found, out, Plain(), SETTINGS, silent)
    assert (out / TRAINING / "key.npy").stat().st_mtime_ns == before
    with pytest.raises(BaseError, match="--force"):
        prepare(found, out, Plain(), replace(SETTINGS, seed=9), silent)
    prepare(found, out, Plain(), replace(SETTINGS, seed=9), silent, force=True)
    assert open_crops(out / TRAINING).about["made_of"]["settings"]["seed"] == 9


def test_an_interrupted_preparation_leaves_nothing(corpus: Path, tmp_path: Path) -> None:
    class Interrupted(Plain):
        def samples(self, frames: Sequence[Frame], rng: np.random.Generator) -> Iterator[Sample]:
            yield from super().samples(frames, rng)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(read_corpus(corpus), tmp_path / "crops", Interrupted(), SETTINGS, silent)
    assert list((tmp_path / "crops").iterdir()) == []


@pytest.mark.parametrize("name", ["key.npy", "quality.npy", "crops.json"])
@pytest.mark.parametrize("damage", ["missing", "cut", "other"])
def test_damaged_crops_are_named(prepared: Path, tmp_path: Path, name: str, damage: str) -> None:
    for file in (prepared / TRAINING).iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    path = tmp_path / name
    if damage == "missing":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:40])
    else:
        path.write_bytes((prepared / TRAINING / "spread.npy").read_bytes()[:-4])
    with pytest.raises(BaseError, match=str(tmp_path)):
        open_crops(tmp_path)


@pytest.mark.parametrize("size", [0, -32, 31, 48])
def test_sizes_that_the_network_cannot_take_are_refused(size: int) -> None:
    with pytest.raises(BaseError, match="multiple of 32"):
        CropSettings(size=size)


def test_clips_smaller_than_a_crop_are_left_out_and_alone_are_an_error(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(BaseError, match="nothing to train on"):
        prepare(read_corpus(corpus), tmp_path / "crops", Plain(), replace(SETTINGS, size=64), silent)


@pytest.mark.parametrize(("height", "width"), [(48, 64), (49, 65)])
def test_x265_gives_back_frames_of_their_size(height: int, width: int) -> None:
    frames = list(moving_frames(3, height, width))
    good, bad = (code(frames, crf, "superfast") for crf in (20, 38))
    assert [f.shape for f in good] == [f.shape for f in frames]
    errors = [np.square(np.stack(c).astype(float) - np.stack(frames)).mean() for c in (good, bad)]
    assert 0 < errors[0] < errors[1]


def test_a_base_codes_references_of_known_quality(corpus: Path, tmp_path: Path) -> None:
    codec, path = tiny_codec(), tmp_path / "base.safetensors"
    write_base(path, codec.network, codec.analysis, {})
    coder = coder_of(str(path))
    assert isinstance(coder, BaseCoder)
    prepare(
        read_corpus(corpus), tmp_path / "own", replace(coder, anchors=(4,), share=1.0, leaves=1.0), SETTINGS, silent
    )
    found = open_crops(tmp_path / "own" / TRAINING)
    assert found.predicted.shape == (2 * 5 * 2, 9, 32, 32)  # all frames of both clips but the first
    assert set(found.spread) == {2 * coder.jitter}
    assert len(set(found.quality)) > 3
    assert found.about["made_of"]["coder"] == "base"
    assert json.dumps(found.about)
    assert str(tmp_path) not in json.dumps(found.about)


def test_an_unknown_coder_is_named() -> None:
    with pytest.raises(BaseError, match="no coder 'x264'"):
        coder_of("x264")
