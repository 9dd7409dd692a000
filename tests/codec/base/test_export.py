"""The file of a base: what is exported is what is loaded, integers exactly; what is missing is named."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from bitstream import MissingBase
from codec.base.card import card
from codec.base.export import export, read_about
from codec.base.loop import STATE, BaseSettings, train
from codec.base.model import Codec, load_codec, read_weights
from codec.base.scenes import Scenes
from codec.encoding.predictive.analysis import load_analysis
from codec.errors import BaseError, OutputError
from codec.network.predictive import store
from codec.network.predictive.base_file import read_base, write_base
from codec.network.predictive.scales import TrainedLayer
from codec.network.predictive.store import bases, default, digest_of, find, load_network
from tests.codec.base.conftest import SHAPE, tiny_codec
from tests.samples import full_disk


@pytest.fixture
def base(tmp_path: Path) -> Path:
    codec, path = tiny_codec(), tmp_path / "base-1.safetensors"
    write_base(path, codec.network, codec.analysis, {"note": "made for a test"})
    return path


def layers(codec: Codec) -> list[TrainedLayer]:
    return [m for m in codec.network.modules() if isinstance(m, TrainedLayer)]


def test_the_integers_of_a_base_are_those_of_the_training(base: Path) -> None:
    trained = tiny_codec()
    network = load_network(base)
    found = [m for m in network.modules() if isinstance(m, TrainedLayer)]
    assert len(found) == len(layers(trained)) == 2 * 2 + 1 + 4 * 2
    for one, other in zip(layers(trained), found, strict=True):
        np.testing.assert_array_equal(one.integers().weight, other.integers().weight)
        np.testing.assert_array_equal(one.integers().bias, other.integers().bias)
        assert one.integers().weight.any()
    stored = load_file(base)
    np.testing.assert_array_equal(stored["network.scales.0.1.weight"].numpy(), found[-7].integers().weight)
    assert {t.dtype for name, t in stored.items() if "scale" in name} == {torch.int8, torch.int32}
    assert {t.dtype for name, t in stored.items() if "scale" not in name} == {torch.float16}


@pytest.mark.parametrize("bias", [2**23 - 50_001, -(2**23) + 50_001, -1, 3])
def test_large_biases_come_back_exactly(tmp_path: Path, bias: int) -> None:
    codec, path = tiny_codec(), tmp_path / "b.safetensors"
    with torch.no_grad():
        codec.network.scale_context.weight.clamp_(-0.01, 0.01)
        codec.network.scale_context.bias.fill_(bias / 8192)
    write_base(path, codec.network, codec.analysis, {})
    assert set(load_network(path).scale_context.integers().bias.tolist()) == {bias}


def test_a_base_is_exact_but_for_float16_and_stable(base: Path, tmp_path: Path) -> None:
    """Loaded and written again it is the same file: nothing drifts from base to base."""
    codec = load_codec(base)
    for name, tensor in tiny_codec().state_dict().items():
        if "scale" not in name:
            assert torch.equal(codec.state_dict()[name], tensor.half().float())
    again = tmp_path / "again.safetensors"
    write_base(again, codec.network, codec.analysis, read_base(base).about)
    assert again.read_bytes() == base.read_bytes()
    analysis = load_analysis(base)
    assert all(torch.equal(p, codec.analysis.state_dict()[k]) for k, p in analysis.state_dict().items())


def test_a_training_becomes_a_base_with_a_card(scenes: Scenes, held: Scenes, tmp_path: Path) -> None:
    train([scenes], held, tmp_path, BaseSettings(steps=3, batch=2), lambda text: None, shape=SHAPE)
    out = tmp_path / "base-3.safetensors"
    digest = export(tmp_path / STATE, out, {"note": "Of waves and discs."})
    assert digest == hashlib.sha256(out.read_bytes()).digest()[:16] == digest_of(out)
    average = read_weights(tmp_path / STATE)
    for name, tensor in read_base(out).tensors.items():
        if "scale" not in name:
            assert torch.equal(tensor, average.tensors[name].half().float())
    with safe_open(out, "pt") as file:
        meta = json.loads(file.metadata()["base"])
    assert (meta["kind"], meta["version"], meta["shape"]["features"]) == ("predictive", 4, 8)
    assert meta["about"]["stages"][0]["steps"] == 3
    page = card(out)
    for words in (
        digest.hex(),
        "Of waves and discs.",
        "3 steps",
        "| CC BY 4.0 | 1 | 0 |",
        "a name | with a bar",
        "scenes: clips 2, photographs 1",
        "| leaf |",
    ):
        assert words in page
    assert str(tmp_path) not in page
    with pytest.raises(OutputError, match="exists already"):
        export(tmp_path / STATE, out)


def test_weights_without_a_word_about_them_are_taken_as_of_the_default_shape(tmp_path: Path) -> None:
    path = tmp_path / "plain.safetensors"
    save_file({k: v.contiguous() for k, v in tiny_codec().state_dict().items()}, path)
    with pytest.raises(BaseError, match="its shape"):
        load_codec(path)


@pytest.mark.parametrize("value", [1e6, float("nan")])
def test_weights_that_float16_cannot_hold_are_refused(tmp_path: Path, value: float) -> None:
    codec = tiny_codec()
    with torch.no_grad():
        codec.network.loop_out.weight[0, 0, 0, 0] = value
    with pytest.raises(BaseError, match=r"loop_out\.weight"):
        write_base(tmp_path / "b.safetensors", codec.network, codec.analysis, {})


def damages(base: Path) -> dict[str, bytes]:
    with safe_open(base, "pt") as file:
        meta, tensors = json.loads(file.metadata()["base"]), {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118

    def written(about: dict[str, object] | None, changed: dict[str, torch.Tensor]) -> bytes:
        path = base.with_name("damaged")
        save_file(changed, path, {"base": json.dumps(about)} if about is not None else {"x": "y"})
        return path.read_bytes()

    some = {k: v for k, v in tensors.items() if k != "network.loop.bias"}
    wrong = tensors | {"network.loop.bias": torch.full((4,), torch.nan).half()}
    return {
        "empty": b"",
        "text": b"no tensors at all",
        "cut": base.read_bytes()[:-100],
        "no metadata": written(None, tensors),
        "another kind": written(meta | {"kind": "grid"}, tensors),
        "a later version": written(meta | {"version": 9}, tensors),
        "a huge shape": written(meta | {"shape": meta["shape"] | {"features": 10**9}}, tensors),
        "another shape": written(meta | {"shape": meta["shape"] | {"features": 16}}, tensors),
        "no such width": written(meta | {"shape": {"width": 3}}, tensors),
        "a missing tensor": written(meta, some),
        "no numbers": written(meta, wrong),
    }


def test_damaged_bases_are_named(base: Path, tmp_path: Path) -> None:
    for damage, content in damages(base).items():
        path = tmp_path / f"{damage}.safetensors"
        path.write_bytes(content)
        with pytest.raises(BaseError, match=damage):
            load_network(path)
    with pytest.raises(BaseError, match=r"missing\.safetensors"):
        load_network(tmp_path / "missing.safetensors")


def test_a_base_is_found_by_digest_wherever_it_is(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = digest_of(base)
    monkeypatch.delenv("NVCODEC_BASES", raising=False)
    with pytest.raises(MissingBase, match=f"{digest.hex()}.*NVCODEC_BASES"):
        find(digest)
    assert find(digest, named=base) == base
    other = tmp_path / "folder"
    other.mkdir()
    (other / "mine.safetensors").write_bytes(base.read_bytes())
    monkeypatch.setenv("NVCODEC_BASES", f"/nowhere::{base}")
    assert find(digest) == base
    monkeypatch.setenv("NVCODEC_BASES", str(other))
    assert find(digest) == other / "mine.safetensors"
    with pytest.raises(MissingBase, match="00ff"):
        find(bytes.fromhex("00ff" * 8), named=base)


def test_the_newest_shipped_base_is_the_default(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NVCODEC_BASES", raising=False)
    monkeypatch.setattr(store, "SHIPPED", tmp_path / "shipped")
    with pytest.raises(BaseError, match="no base network"):
        default()
    monkeypatch.setenv("NVCODEC_BASES", str(base))
    assert default() == base
    (tmp_path / "shipped").mkdir()
    for number in (2, 10, 9):
        (tmp_path / "shipped" / f"base-{number}.safetensors").write_bytes(base.read_bytes())
    assert [p.stem for p in bases()] == ["base-10", "base-9", "base-2", "base-1"]
    assert default().stem == "base-10"


def test_every_shipped_base_is_whole_and_has_a_card() -> None:
    for path in store.SHIPPED.glob("*"):
        if path.suffix == ".safetensors":
            assert path.stat().st_size <= 3 * 2**20
            load_codec(path)
            assert digest_of(path).hex() in path.with_suffix(".md").read_text()


def test_what_weights_do_not_say_is_told_them(base: Path, tmp_path: Path) -> None:
    out = tmp_path / "told.safetensors"
    export(base, out, {"held": {"leaf": {"bpp": 0.5, "psnr": 33.0}}})
    assert read_base(out).about == {"note": "made for a test", "held": {"leaf": {"bpp": 0.5, "psnr": 33.0}}}
    assert "| leaf | 0.5000 | 33.00 |" in card(out)
    words = tmp_path / "about.json"
    for text in ("", "[1]", "{"):
        words.write_text(text)
        with pytest.raises(BaseError, match=r"about\.json"):
            read_about(words)


def test_a_full_disk_leaves_no_base(base: Path, tmp_path: Path) -> None:
    with full_disk(10_000), pytest.raises(OutputError, match="cannot write"):
        export(base, tmp_path / "full.safetensors")
    assert [p.name for p in tmp_path.iterdir()] == [base.name]
