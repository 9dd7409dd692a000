"""Moments and labels from known features: what is found, in which order, and which teachers are refused."""

from __future__ import annotations

import itertools
import threading
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bitstream.header import Color, Teacher
from codec import NervReader
from codec.errors import TeacherError
from codec.features import label, search, teacher_of
from codec.features.index import unit_vectors
from codec.features.moments import timecode
from codec.video.timing import Presentation
from tests.samples import Encoded
from tests.tiny_clip import TinyClip, write_tiny_clip

AXES = {"x": (1, 0, 0), "y": (0, 1, 0), "z": (0, 0, 1)}


class Held:
    """Features without a file: float32 [T, 4, 3], two rows and two columns of patches, ten frames a second."""

    name = "held.nerv"

    def __init__(self, features: NDArray[np.float32], digest: str = "", header: Any = None) -> None:
        self._features, self.digest = features, digest
        self.header: Any = header or _Header()
        self.presentation = Presentation(Fraction(10), Fraction(1, 10), None, Fraction(1), Color())
        self.calls = 0

    def __len__(self) -> int:
        return len(self._features)

    def features(self, start: int = 0, stop: int | None = None) -> NDArray[np.float32]:
        self.calls += 1
        return self._features[start:stop]


class _Header:
    grid = (2, 2)
    fps = Fraction(10)
    teacher = Teacher("axes", "of space", 3)


class Axes:
    """A teacher that knows the three axes by name."""

    identity = _Header.teacher

    def text(self, queries: list[str]) -> NDArray[np.float32]:
        return np.array([AXES[query] for query in queries], np.float32)

    def image(self, picture: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.array(AXES["xyz"[int(picture.max())]], np.float32)


TEACHER: Any = Axes()


def clip(**things: tuple[range, int]) -> Held:
    """Sixty frames of z; during each range, one patch shows an axis."""
    features = np.tile(np.array(AXES["z"], np.float32), (60, 4, 1))
    for name, (frames, patch) in things.items():
        features[frames.start : frames.stop, patch] = AXES[name[0]]
    return Held(features)


def test_the_moment_is_the_run_of_frames_that_fit() -> None:
    (found,) = search([clip(x=(range(20, 30), 3))], "x", teacher=TEACHER)
    assert (found.start, found.stop, found.patch, found.score) == (20, 30, (1, 1), 1.0)
    assert found.frame in range(20, 30)
    assert found.timecode == timecode(found.frame / 10)


def test_runs_that_nearly_touch_are_one_moment_and_others_are_not() -> None:
    near = search([clip(x1=(range(10, 15), 0), x2=(range(18, 22), 0))], "x", teacher=TEACHER)
    assert [(m.start, m.stop) for m in near] == [(10, 22)]
    far = search([clip(x1=(range(10, 15), 0), x2=(range(35, 40), 0))], "x", teacher=TEACHER)
    assert sorted((m.start, m.stop) for m in far) == [(10, 15), (35, 40)]


def test_files_are_ranked_together_and_cut_to_top() -> None:
    weak, strong = clip(x=(range(10, 15), 0)), clip(x=(range(30, 35), 1))
    weak.name = "weak.nerv"
    weak._features[10:15, 0] = (0.8, 0, 0.6)
    found = search([weak, strong], "x", teacher=TEACHER)
    assert [m.name for m in found] == ["held.nerv", "weak.nerv"]
    assert found[1].score == pytest.approx(0.8, abs=1e-3)
    assert search([weak, strong], "x", top=1, teacher=TEACHER) == found[:1]


def test_what_is_not_wanted_lowers_the_score() -> None:
    held = clip(x=(range(10, 15), 0))
    held._features[30:35, 0] = (0.9, np.sqrt(1 - 0.81), 0)
    held._features[10:15, 0] = (0.95, 0, np.sqrt(1 - 0.95**2))
    first, second = search([held], "x", teacher=TEACHER)
    assert (first.start, second.start) == (10, 30)
    assert search([held], "x", without="z", teacher=TEACHER)[0].start == 30


def test_a_picture_is_a_query_too() -> None:
    held = clip(x=(range(10, 15), 0), y=(range(40, 45), 2))
    picture = np.ones((2, 2, 3), np.uint8)  # the teacher takes it for y
    assert search([held], image=picture, teacher=TEACHER)[0].start == 40
    assert {m.start for m in search([held], "x", image=picture, teacher=TEACHER)} == {10, 40}


def test_a_clip_of_one_picture_is_one_moment() -> None:
    (found,) = search([clip()], "x", teacher=TEACHER)
    assert (found.start, found.stop) == (0, 60)
    single = Held(np.array([[AXES["x"]] * 4], np.float32))
    assert [(m.start, m.stop, m.score) for m in search([single], "x", teacher=TEACHER)] == [(0, 1, 1.0)]


def test_an_empty_query_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing to look for"):
        search([clip()], teacher=TEACHER)
    with pytest.raises(ValueError, match="no labels"):
        label(clip(), [], teacher=TEACHER)


def test_labels_cover_the_clip_without_gaps() -> None:
    held = clip(x=(range(30), 1))
    held._features[30:] = AXES["y"]
    stretches, scores = label(held, ["x", "y"], teacher=TEACHER, window=Fraction(3, 10))
    assert [(s.label, s.start, s.stop) for s in stretches] == [("x", 0, 30), ("y", 30, 60)]
    assert scores.shape == (60, 2)
    assert stretches[0].score == pytest.approx(scores[:30, 0].mean())


@pytest.mark.parametrize("window", [Fraction(1, 10), Fraction(1, 2), Fraction(100)])
def test_a_score_is_the_mean_of_its_window(window: Fraction) -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(20, 4, 3)).astype(np.float32)
    _, scores = label(Held(features), ["x", "y"], teacher=TEACHER, window=window)
    plain = features.astype(np.float16).astype(np.float32)[..., :2].max(1)
    width = round(window * 10)
    for t in range(20):
        low, high = max(0, t - (width - 1) // 2), t + width // 2 + 1
        assert scores[t] == pytest.approx(plain[low:high].mean(0), abs=2e-3)


@pytest.mark.parametrize(("seconds", "shown"), [(0.0, "0:00:00.000"), (61.5, "0:01:01.500"), (7325.04, "2:02:05.040")])
def test_timecodes(seconds: float, shown: str) -> None:
    assert timecode(seconds) == shown


# The index


def test_an_index_is_made_once_and_mapped(tmp_path: Path) -> None:
    held = Held(clip(x=(range(5), 0))._features, digest="c0ffee")
    first = unit_vectors(held, tmp_path)
    again = unit_vectors(held, tmp_path)
    assert held.calls == 1
    assert isinstance(again, np.memmap)
    assert np.array_equal(first, again)
    assert np.array_equal(again.astype(np.float32), held._features)
    other = Held(held._features[:30], digest="beef")
    assert len(unit_vectors(other, tmp_path)) == 30


@pytest.mark.parametrize("damage", [b"", b"no numpy file", None])
def test_a_damaged_index_is_made_anew(tmp_path: Path, damage: bytes | None) -> None:
    held = Held(clip()._features, digest="c0ffee")
    unit_vectors(held, tmp_path)
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-100] if damage is None else damage)
    assert np.array_equal(unit_vectors(held, tmp_path).astype(np.float32), held._features)
    assert held.calls == 2


def test_without_a_place_for_it_the_index_is_held_in_memory(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    warnings: list[str] = []
    held = Held(clip()._features, digest="c0ffee")
    assert np.array_equal(
        unit_vectors(held, tmp_path / "file", warn=warnings.append).astype(np.float32), held._features
    )
    assert len(warnings) == 1
    assert "NVCODEC_CACHE" in warnings[0]


def test_two_that_build_one_index_at_once_both_get_it(tmp_path: Path) -> None:
    held = [Held(clip(x=(range(5), 0))._features, digest="c0ffee") for _ in range(4)]
    found: list[NDArray[np.float16]] = []
    threads = [threading.Thread(target=lambda h=h: found.append(unit_vectors(h, tmp_path))) for h in held]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(a, b) for a, b in itertools.pairwise(found))
    assert len(found) == 4
    assert len(list(tmp_path.iterdir())) == 1


# Teachers


def test_the_teacher_that_the_file_names_is_taken(encoded: Encoded, tiny_clip: TinyClip) -> None:
    reader = NervReader(encoded.path, "cpu")
    teacher = teacher_of([reader], tiny_clip.model, tiny_clip.pretrained)
    assert teacher.identity == reader.header.teacher
    assert len(search([reader], "a dog", teacher=teacher)) >= 1


def test_a_checkpoint_has_to_be_named(encoded: Encoded) -> None:
    with pytest.raises(TeacherError, match=r"tiny / tiny\.safetensors .*--clip-pretrained FILE"):
        NervReader(encoded.path, "cpu").search("a dog")


def test_another_teacher_is_refused(encoded: Encoded, tmp_path: Path) -> None:
    other = write_tiny_clip(tmp_path, seed=1)
    with pytest.raises(
        TeacherError, match=r"are those of tiny .* not of tiny .*the checkpoint that it was encoded with"
    ):
        teacher_of([NervReader(encoded.path, "cpu")], other.model, other.pretrained)


def test_files_of_different_teachers_are_refused() -> None:
    one, other = clip(), clip()
    other.name = "other.nerv"
    other.header = _Header()
    other.header.teacher = replace(_Header.teacher, pretrained="of time")
    with pytest.raises(TeacherError, match=r"held.nerv and other.nerv have different teachers, axes / of space and"):
        teacher_of([one, other])


def test_a_file_without_features_is_named() -> None:
    held = clip()
    held.header = _Header()
    held.header.teacher = None
    with pytest.raises(TeacherError, match=r"held.nerv holds no features: .*--clip on"):
        teacher_of([held])


def test_a_model_that_is_not_there_is_named_as_it_was_typed(encoded: Encoded) -> None:
    with pytest.raises(TeacherError, match=r"no CLIP teacher ViT-Q / nowhere.pt"):
        teacher_of([NervReader(encoded.path, "cpu")], "ViT-Q", "nowhere.pt")
