"""The filters of a base are trained on what an encoder makes with it, and nothing else of it changes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from codec.base import crops as crops_module
from codec.base.corpus import Corpus, Item
from codec.base.crops import CropSettings, collect, whole_crop
from codec.base.encoded import encoded
from codec.base.model import load_codec
from codec.base.refine import RefineSettings, crops_loss, refined
from codec.encoding.predictive.frame import FrameEncoder, Reference
from codec.encoding.predictive.gop import GopSettings
from codec.encoding.predictive.motion_search import SearchSettings
from codec.errors import BaseError
from codec.network.predictive.base_file import read_base, write_base
from codec.network.predictive.frames import pictures_of
from codec.network.predictive.store import digest_of
from tests.codec.base.conftest import tiny_codec, write_corpus
from tests.samples import moving_frames, write_images, write_video

CROPS = CropSettings(lowest=50.0, highest=56.0, anchors=(4,))
SETTINGS = RefineSettings(steps=60, rate=1e-2, batch=6, crops=CROPS)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Crops that fit into tiny pictures."""
    monkeypatch.setattr(crops_module, "BLOCKS", 6)
    monkeypatch.setattr(crops_module, "MARGIN", 1)


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    write_video(tmp_path / "a.mkv", moving_frames(6, 64, 80))
    write_images(tmp_path / "photos", moving_frames(1, 70, 90))
    (photo,) = (tmp_path / "photos").iterdir()
    return Corpus((Item(tmp_path / "a.mkv", "MIT", ""),), (Item(photo, "MIT", ""),), ())


@pytest.fixture
def base(tmp_path: Path) -> Path:
    codec = tiny_codec()
    write_base(tmp_path / "tiny.safetensors", codec.network, codec.analysis, {"stages": [{"a": 1}], "held": {}})
    return tmp_path / "tiny.safetensors"


@pytest.mark.usefixtures("small")
def test_filters_learn_and_all_else_stays(corpus: Corpus, base: Path, tmp_path: Path) -> None:
    said: list[str] = []
    out = tmp_path / "out.safetensors"
    digest = refined(corpus, base, out, 5, SETTINGS, said.append)
    assert digest == digest_of(out)
    assert said[-1].startswith("2 clips and photographs")
    before, after = read_base(base), read_base(out)
    codec = load_codec(base)
    names = {id(p): name for name, p in codec.network.named_parameters()}
    filters = {f"network.{names[id(p)]}" for p in codec.network.filters}
    moved = {name for name, tensor in before.tensors.items() if not torch.equal(tensor, after.tensors[name])}
    assert moved <= filters
    assert {"network.trunk.weight", "network.loop.weight", "network.loop_out.bias"} <= moved
    first, stage = after.about["stages"]
    assert first == {"a": 1}
    assert (stage["steps"], stage["start"]) == (60, digest_of(base).hex())
    assert "held" not in after.about, "figures of other weights"

    clips = [[*moving_frames(5, 64, 80)]]
    crops = collect(codec, clips, CROPS, seed=1)
    assert {crop.predicted for crop in crops} == {False, True}
    for predicted in (False, True):
        own = [crop for crop in crops if crop.predicted == predicted]
        was, now = (float(crops_loss(c, own).detach()) for c in (codec, load_codec(out)))
        assert now < was


def test_what_is_trained_on_is_what_a_decoder_has(base: Path) -> None:
    """But for float16: where a frame counts, its filters make the very frame that others refer to."""
    codec, frames = load_codec(base), [*moving_frames(5, 45, 63)]
    encoder, kept = FrameEncoder(codec.network, codec.analysis, SearchSettings()), dict[int, Reference]()
    compared = 0
    for frame in encoded(encoder, frames, GopSettings(anchor=4), 54.0):
        whole, n = whole_crop(codec.network, frame), frame.coded.number
        kept[n] = encoder.decode(frame.coded, {r: kept[r] for r in frame.coded.references}, 45, 63)
        coded, values, features = (part[None].float() for part in (whole.coded, whole.values, whole.features))
        told = torch.tensor([float(whole.quality)])
        with torch.inference_mode():
            made = codec.network.filtered(coded, values, features, told, whole.predicted)
            pixels = pictures_of(made, 45, 63)[0].numpy().astype(int)
        counts = whole.counts.repeat_interleave(2, 0).repeat_interleave(2, 1)[:45, :63]
        apart = np.abs(pixels - kept[n].shown)[counts.numpy()]
        compared += apart.size
        assert apart.max(initial=0) <= 1
        assert not apart.size or apart.mean() < 0.1
    assert compared > 45 * 63 * 3, "more than the key frame"


def test_pictures_smaller_than_a_crop_are_an_error(tmp_path: Path, base: Path) -> None:
    write_corpus(tmp_path / "corpus")
    items = [Item(p, "MIT", "") for p in sorted((tmp_path / "corpus" / "clips").iterdir())]
    with pytest.raises(BaseError, match="as large as a crop: 128 pixels"):
        refined(Corpus(tuple(items[:1]), (), ()), base, tmp_path / "x", 3, replace(SETTINGS, steps=1), print)
    assert not (tmp_path / "x").exists()
