"""Scale networks fitted to an encoder's integers: the same frames in fewer bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from codec.base.model import load_codec
from codec.base.parsed import Parsed, Parser
from codec.base.scales import bits_of, example, fit_scales
from codec.network.predictive.base_file import read_base, write_base
from codec.network.predictive.store import default, digest_of
from codec.rate.records import FrameCoder
from tests.codec.base.conftest import tiny_codec
from tests.samples import moving_frames

QUALITIES = (52.0, 44.0)


def clips() -> list[list[np.ndarray]]:
    return [list(moving_frames(5, 48, 64)), [moving_frames(1, 40, 72)[0]]]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    codec, path = tiny_codec(), tmp_path_factory.mktemp("base") / "tiny.safetensors"
    write_base(path, codec.network, codec.analysis, {"note": "tiny", "held": {"key": {"bpp": 1.0, "psnr": 30.0}}})
    return path


@pytest.fixture(scope="module")
def coded(base: Path) -> list[Parsed]:
    parser = Parser(load_codec(base))
    return [parsed for frames, quality in zip(clips(), QUALITIES, strict=True) for parsed in parser(frames, quality)]


def test_bits_are_those_of_the_records() -> None:
    """Of the shipped base, which has rows as tables tell them, and frames whose luma is all told as latents."""
    codec = load_codec(default())
    coder, compared = FrameCoder(codec.network), 0
    for parsed in Parser(codec)(clips()[0], QUALITIES[0]):
        if parsed.symbols.transforms.any() or not parsed.symbols.residuals.any():
            continue
        _, _, bits = coder.write(parsed.symbols, parsed.quality, parsed.ratio, parsed.carried)
        with torch.no_grad():
            found = float(bits_of(codec.network, [example(parsed)]))
        assert found == pytest.approx(bits["hyper-latents"] + bits["latents"], rel=0.01)
        compared += 1
    assert compared >= 2


def test_fitted_rows_take_fewer_bits_for_the_same_frames(base: Path, coded: list[Parsed], tmp_path: Path) -> None:
    out, said = tmp_path / "fitted.safetensors", list[str]()
    assert fit_scales(base, out, clips(), clips(), QUALITIES, 60, said.append) == digest_of(out)
    before, after = load_codec(base), load_codec(out)
    frames = [example(parsed) for parsed in coded if parsed.symbols.residuals.any()]
    with torch.no_grad():
        was, now = (sum(float(bits_of(codec.network, [e])) for e in frames) for codec in (before, after))
    assert now < 0.97 * was
    assert said[-1].startswith(f"held: {len(frames)} frames, bits {was:,.0f} to {now:,.0f}")
    moved = {name for name, p in after.state_dict().items() if not torch.equal(p, before.state_dict()[name])}
    assert moved
    assert all("scale" in name for name in moved), "what frames show is computed by the same weights"
    about = read_base(out).about
    assert about["note"] == "tiny"
    assert "held" not in about, "its figures were of other rows"
    (stage,) = about["stages"]
    assert (stage["steps"], stage["start"]) == (60, digest_of(base).hex())
