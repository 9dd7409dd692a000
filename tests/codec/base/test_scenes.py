"""Preparation: the same from the same, nothing share-alike in it, motion that shows frames, whole folders or none."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch

from codec import video
from codec.base import scenes as module
from codec.base.corpus import Corpus, read_corpus
from codec.base.scenes import (
    HELD,
    TRAINING,
    Frame,
    Scene,
    Scenes,
    SceneSettings,
    code,
    find_motion,
    open_scenes,
    prepare,
)
from codec.encoding.predictive.gop import GopSettings
from codec.errors import BaseError
from codec.network.predictive.motion import compensate, motion_size
from codec.network.predictive.transform import from_detail, from_layers
from tests.codec.base.conftest import SETTINGS
from tests.samples import moving_frames


def silent(text: str) -> None:
    pass


def contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir())}


def errors(scene: Scene) -> tuple[float, float]:
    """Mean squared error of what references show where motion points, and of what they show as they are."""
    moved: list[float] = []
    still: list[float] = []
    for t in np.flatnonzero(scene.references[:, 0] >= 0):
        references = scene.frames[scene.references[t].tolist()][None]
        sites = torch.cat(compensate(references, scene.motion[t][None], scene.sides[t][None, None]))
        shown = from_layers(from_detail(sites))[..., : references.shape[3], : references.shape[4]]
        for found, pictures in ((moved, shown), (still, references[0].float())):
            found.append(float((pictures.mean(0) - scene.frames[t])[:, 8:-8, 8:-8].square().mean()))
    return float(np.mean(moved)), float(np.mean(still))


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


def test_a_scene_is_the_same_from_the_same_whatever_the_others(corpus: Path, prepared: Path, tmp_path: Path) -> None:
    whole = read_corpus(corpus)
    prepare(Corpus(whole.clips[1:], (), whole.held), tmp_path / "again", SETTINGS, silent)
    assert contents(tmp_path / "again" / HELD) == contents(prepared / HELD)
    again, first = contents(tmp_path / "again" / TRAINING), contents(prepared / TRAINING)
    assert sorted(again) == ["scenes.json", "waves.mkv.frames.npy", "waves.mkv.motion.npz"]
    assert all(again[name] == first[name] for name in again if name.startswith("waves"))


def test_the_seed_decides(corpus: Path, scenes: Scenes, tmp_path: Path) -> None:
    prepare(Corpus(read_corpus(corpus).clips[1:], (), ()), tmp_path / "other", replace(SETTINGS, seed=2), silent)
    other, first = open_scenes(tmp_path / "other" / TRAINING).scenes[0], scenes.scenes[1]
    assert other.quality != first.quality
    assert not torch.equal(other.motion, first.motion)
    assert torch.equal(other.frames, first.frames)


def test_scenes_are_as_described(scenes: Scenes, held: Scenes) -> None:
    assert [tuple(s.frames.shape) for s in scenes.scenes] == [(6, 3, 49, 65), (6, 3, 48, 64)]
    assert [tuple(s.motion.shape) for s in scenes.scenes] == [(6, 2, 2, 7, 9), (6, 2, 2, 6, 8)]
    assert [tuple(s.sides.shape) for s in scenes.scenes] == [(6, 7, 9), (6, 6, 8)]
    assert len(held.scenes) == 1
    assert held.photos is None
    assert scenes.photos is not None
    assert scenes.photos.shape == (1, 3, 40, 40)
    assert scenes.size == 32
    for scene in scenes.scenes:
        assert scene.references.tolist() == [[-1, -1], [0, 2], [0, 0], [2, 4], [2, 2], [4, 4]]
        assert scene.anchor == 2
        assert SETTINGS.lowest <= scene.quality <= SETTINGS.highest
        assert not scene.sides[scene.references[:, 0] == scene.references[:, 1]].any()
    assert scenes.about["licences"]["clips"] == {"CC BY 4.0": 1, "MIT": 1}
    assert scenes.about["attributions"] == ["a name | with a bar"]
    assert "shared" not in json.dumps(scenes.about)


def test_frames_are_those_of_the_clip(corpus: Path, scenes: Scenes) -> None:
    shown = np.stack([*video.frames(corpus / "clips" / "waves.mkv")])
    assert np.array_equal(scenes.scenes[1].frames.permute(0, 2, 3, 1).numpy(), shown)


def test_motion_shows_the_frame(scenes: Scenes) -> None:
    """The clips pan by two and three pixels a frame; at a low quality motion is coarse, since it costs bits."""
    low, high = scenes.scenes
    assert low.quality < 40 < 55 < high.quality
    for scene, share, apart in ((low, 0.3, 6), (high, 0.05, 2)):
        moved, still = errors(scene)
        assert moved < share * still
        usual = scene.motion[4, 0].flatten(1).median(1).values  # frame 4, from frame 2, in quarter pixels
        assert (usual - torch.tensor([2 * 4 * 2, 2 * 4 * 3])).abs().max() <= apart


def test_a_frame_that_repeats_another_is_made_from_that_alone() -> None:
    a, b = moving_frames(1, 40, 48)[0], moving_frames(1, 40, 48)[0, ::-1]
    motion, sides, references = find_motion([a, a, a, b, b], GopSettings(anchor=2), 45.0, "ultrafast")
    assert references.tolist() == [[-1, -1], [0, 2], [0, 0], [4, 4], [2, 2]]
    assert np.array_equal(motion[3, 0], motion[3, 1])
    assert not sides[3].any()


@pytest.fixture
def unsearched(monkeypatch: pytest.MonkeyPatch) -> None:
    """No motion is looked for, which is what takes time."""

    def still(frames: Sequence[Frame], *args: object) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        count, grid = len(frames), motion_size(*frames[0].shape[:2])
        motion, sides = np.zeros((count, 2, 2, *grid), np.int16), np.zeros((count, *grid), np.int8)
        return motion, sides, np.zeros((count, 2), np.int16)

    monkeypatch.setattr(module, "find_motion", still)


@pytest.mark.usefixtures("unsearched")
def test_what_is_prepared_stays_unless_it_is_of_other_things(corpus: Path, tmp_path: Path) -> None:
    found, out = read_corpus(corpus), tmp_path / "scenes"
    prepare(found, out, SETTINGS, silent)
    before = (out / TRAINING / "scenes.json").stat().st_mtime_ns
    prepare(found, out, SETTINGS, silent)
    assert (out / TRAINING / "scenes.json").stat().st_mtime_ns == before
    with pytest.raises(BaseError, match="--force"):
        prepare(found, out, replace(SETTINGS, seed=9), silent)
    prepare(found, out, replace(SETTINGS, seed=9), silent, force=True)
    assert open_scenes(out / TRAINING).about["made_of"]["settings"]["seed"] == 9


@pytest.mark.usefixtures("unsearched")
def test_an_interrupted_preparation_leaves_nothing(corpus: Path, tmp_path: Path) -> None:
    written: list[str] = []

    def say(text: str) -> None:
        if text.startswith("1/2"):
            written.extend(p.name for p in (tmp_path / "scenes").rglob("*.npy"))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(read_corpus(corpus), tmp_path / "scenes", SETTINGS, say)
    assert written == ["drift.mkv.frames.npy"]
    assert list((tmp_path / "scenes").iterdir()) == []


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        *product(("waves.mkv.frames.npy", "waves.mkv.motion.npz"), ("missing", "empty", "cut", "of another clip")),
        *product(("scenes.json",), ("missing", "empty", "cut")),
        *product(("photos.npy",), ("empty", "cut")),
    ],
)
def test_damaged_scenes_are_named(prepared: Path, tmp_path: Path, name: str, damage: str) -> None:
    for file in (prepared / TRAINING).iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    path = tmp_path / name
    if damage == "missing":
        path.unlink()
    elif damage == "of another clip":
        path.write_bytes((prepared / TRAINING / name.replace("waves", "drift")).read_bytes())
    else:
        path.write_bytes(path.read_bytes()[: 40 if damage == "cut" else 0])
    with pytest.raises(BaseError, match=str(tmp_path)):
        open_scenes(tmp_path)


@pytest.mark.parametrize("size", [0, -32, 31, 48, 352])
def test_sizes_that_the_network_cannot_take_are_refused(size: int) -> None:
    with pytest.raises(BaseError, match="multiple of 32, 320 at most"):
        SceneSettings(size=size)


@pytest.mark.parametrize("settings", [replace(SETTINGS, size=64, photo=64), replace(SETTINGS, frames=4)])
def test_clips_too_small_or_short_are_named_and_alone_are_an_error(
    corpus: Path, tmp_path: Path, settings: SceneSettings
) -> None:
    said: list[str] = []
    with pytest.raises(BaseError, match=f"{settings.size} pixels and 5 frames or more: nothing to train on"):
        prepare(read_corpus(corpus), tmp_path / "scenes", settings, said.append)
    assert said[1:] == [
        f"{name}.mkv is smaller than a crop, or shorter than 5 frames: left out" for name in ("drift", "waves")
    ]
    assert list((tmp_path / "scenes").iterdir()) == []


@pytest.mark.usefixtures("unsearched")
def test_a_clip_takes_anchors_that_it_is_long_enough_for(corpus: Path, tmp_path: Path) -> None:
    prepare(read_corpus(corpus), tmp_path / "scenes", replace(SETTINGS, anchors=(2, 4, 4, 4)), silent)
    assert [s.anchor for s in open_scenes(tmp_path / "scenes" / TRAINING).scenes] == [2, 2]


@pytest.mark.parametrize(("height", "width"), [(48, 64), (49, 65), (40, 48), (33, 35)])
def test_x265_gives_back_frames_of_their_size(height: int, width: int) -> None:
    frames = list(moving_frames(3, height, width))
    good, bad = (code(frames, crf, "superfast") for crf in (20, 38))
    assert [f.shape for f in good] == [f.shape for f in frames]
    found = [np.square(np.stack(c).astype(float) - np.stack(frames)).mean() for c in (good, bad)]
    assert 0 < found[0] < found[1]
