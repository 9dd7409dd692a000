"""Search from end to end: a drawn clip, a teacher that knows such pictures, a file, and what the command line finds."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from codec import NervReader
from codec.encoding.pipeline import encode
from codec.features.moments import timecode
from codec.settings import PRESETS
from tests.samples import Encoded, write_images
from tests.standin.pictures import Thing, draw, scenes
from tests.standin.train import write_standin
from tests.test_cli import refused, run
from tests.tiny_clip import TinyClip

LENGTH = 8  # frames of a scene, and of a second


@dataclass(frozen=True)
class Library:
    """A file of some scenes, what each shows, and the words that name its teacher."""

    path: Path
    captions: list[str]
    teacher: tuple[str, ...]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    folder = tmp_path_factory.mktemp("library")
    teacher = write_standin(folder)
    clip, captions = scenes(np.random.default_rng(3), 4, LENGTH, 48, 96)
    settings = PRESETS["grid"].override(
        fc_dim=8,
        epochs=50,
        pixel_loss_warmup_epochs=1,
        clip_loss_weight=1.0,
        clip="on",
        clip_model=teacher.model,
        clip_pretrained=teacher.pretrained,
    )
    path = folder / "clip.nerv"
    encode(write_images(folder / "frames", clip), path, settings, device="cpu", fps=Fraction(LENGTH))
    words = ("--clip-model", teacher.model, "--clip-pretrained", teacher.pretrained, "--device", "cpu")
    return Library(path, captions, words)


def test_every_caption_finds_its_scene(library: Library) -> None:
    for number, caption in enumerate(library.captions):
        moments = json.loads(run("search", caption, library.path, *library.teacher, "--json").stdout)
        assert moments[0]["frame"] // LENGTH == number, caption
        assert moments[0]["start"] < moments[0]["stop"]


def test_results_for_people(library: Library) -> None:
    lines = run("search", library.captions[1], library.path, "--top", 1, *library.teacher).stdout.splitlines()
    assert len(lines) == 1
    frame = int(lines[0].split(" frame ")[1].split()[0])
    assert f"{library.path}  {timecode(frame / LENGTH)}  frame {frame} (" in lines[0]


def test_a_directory_is_searched_as_one(library: Library, encoded: Encoded, tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    shutil.copy(library.path, tmp_path / "below" / "a.nerv")
    (tmp_path / "b.nerv").write_bytes(library.path.read_bytes()[:-40])
    result = run("search", library.captions[0], tmp_path, *library.teacher, "--json")
    assert {moment["name"] for moment in json.loads(result.stdout)} == {str(tmp_path / "below" / "a.nerv")}
    assert f"warning: {tmp_path / 'b.nerv'} is left out: " in result.stderr
    shutil.copy(encoded.path, tmp_path / "c.nerv")
    assert "have different teachers" in refused("search", "a dog", tmp_path, *library.teacher)


def test_a_picture_finds_its_scene_and_what_is_not_wanted_is_pushed_down(library: Library, tmp_path: Path) -> None:
    colour, shape = library.captions[2].split()[1:]
    query = tmp_path / "query.png"
    Image.fromarray(draw([Thing(colour, shape)], 40, 40, (40, 40, 40))).save(query)
    moments = json.loads(run("search", "--image", query, library.path, *library.teacher, "--json").stdout)
    assert moments[0]["frame"] // LENGTH == 2
    with_not = run("search", "--image", query, library.path, "--not", library.captions[2], *library.teacher, "--json")
    assert json.loads(with_not.stdout)[0]["score"] < moments[0]["score"]


def test_a_contact_sheet_shows_the_moments_and_decodes_no_other_frame(
    library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    item = NervReader.__getitem__

    def spy(reader: NervReader, key: int | slice) -> np.ndarray:
        read.append(key) if isinstance(key, int) else None
        return item(reader, key)

    monkeypatch.setattr(NervReader, "__getitem__", spy)
    sheet = tmp_path / "hits.png"
    result = run("search", library.captions[0], library.path, *library.teacher, "--sheet", sheet, "--json", "--top", 2)
    frames = [moment["frame"] for moment in json.loads(result.stdout)]
    assert read == frames
    picture = np.asarray(Image.open(sheet))
    assert (picture == (255, 210, 0)).all(-1).sum() > 100  # the frame round the patch
    assert "exists already" in refused("search", "a dog", library.path, *library.teacher, "--sheet", sheet)
    assert "ends in one of" in refused("search", "a dog", library.path, *library.teacher, "--sheet", tmp_path / "h.txt")


def test_labels_over_time(library: Library, tmp_path: Path) -> None:
    labels, plot = tmp_path / "labels.txt", tmp_path / "timeline.png"
    labels.write_text("\n".join(["", *library.captions, library.captions[0], ""]))
    lines = run("label", library.path, labels, "--plot", plot, *library.teacher).stdout.splitlines()
    table = [dict(zip(lines[0].split("\t"), line.split("\t"), strict=True)) for line in lines[1:]]
    assert table[0]["start"] == "0.000"
    assert table[-1]["stop"] == "4.000"
    shown = [row["label"] for row in table for _ in range(int(row["first_frame"]), int(row["last_frame"]) + 1)]
    right = [shown[t] == library.captions[t // LENGTH] for t in range(4 * LENGTH)]
    assert np.mean(right) > 0.7
    assert Image.open(plot).size[0] > 1200


def test_in_python(library: Library) -> None:
    from codec.features import search, teacher_of

    reader = NervReader(library.path, "cpu")
    teacher = teacher_of([reader], library.teacher[1], library.teacher[3])
    first = search([reader], library.captions[3], teacher=teacher)[0]
    assert first.frame // LENGTH == 3
    assert first.timecode.startswith("0:00:0")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "give a text and a file"),
        (("a dog",), "give a text and a file"),
        ((" ", "PATH"), "the text to look for is empty"),
        (("a dog", "PATH", "--top", "0"), "0 is not in the range"),
    ],
)
def test_wrong_usage(library: Library, words: tuple[str, ...], message: str) -> None:
    given = [str(library.path) if word == "PATH" else word for word in words]
    assert message in refused("search", *given, code=2)


def test_what_is_not_there_is_named(library: Library, tiny_clip: TinyClip, tmp_path: Path) -> None:
    path, empty = tmp_path / "none.nerv", tmp_path / "empty"
    empty.mkdir()
    assert refused("search", "a dog", path) == f"{path}: No such file or directory\n"
    assert f"no .nerv file in {empty}" in refused("search", "a dog", empty)
    assert "--clip-pretrained FILE" in refused("search", "a dog", library.path)
    missing = refused("search", "a dog", library.path, *library.teacher[:3], "nowhere.pt")
    assert "nowhere.pt: there is no such file" in missing
    assert "--clip off" not in missing
    other = ("--clip-model", tiny_clip.model, "--clip-pretrained", tiny_clip.pretrained)
    assert "not of tiny / tiny.safetensors" in refused("search", "a dog", library.path, *other)
    assert str(tmp_path / "no.jpg") in refused("search", "--image", tmp_path / "no.jpg", library.path, *library.teacher)
    labels = tmp_path / "labels.txt"
    assert str(labels) in refused("label", library.path, labels, *library.teacher)
    labels.write_bytes(b"\n \n")
    assert "holds no labels" in refused("label", library.path, labels, *library.teacher)
    labels.write_bytes(b"\xff\xfe\x00")
    assert "no text in UTF-8" in refused("label", library.path, labels, *library.teacher)


def test_a_file_without_features(tmp_path: Path) -> None:
    path = tmp_path / "off.nerv"
    frames = scenes(np.random.default_rng(0), 1, 3, 24, 40)[0]
    encode(
        write_images(tmp_path / "frames", frames),
        path,
        PRESETS["grid"].override(fc_dim=6, epochs=1, clip="off"),
        device="cpu",
    )
    assert f"{path} holds no features" in refused("search", "a dog", path)
    assert "no .nerv file with features" in refused("search", "a dog", tmp_path)
