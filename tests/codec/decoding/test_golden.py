"""The decoder, pinned: files of version 1 that stay, and a second decoder that was written from FORMAT.md alone.

Integers are exact. Pixels of the two decoders differ by one level at most where the network runs in float32, and
features by less than 1e-4; in bfloat16 pixels stay within 35 dB.
"""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import bitstream
from codec import NervReader, encode, quality
from codec.decoding.verify import verify
from codec.settings import PRESETS
from tests import reference_decoder
from tests.samples import moving_frames, write_images
from tests.tiny_clip import TinyClip

GOLDEN = Path(__file__).resolve().parents[2] / "data" / "golden"
# What each embedding's file was encoded with, and the SHA-256 of its integers and steps without and with a CLIP head.
FILES: dict[str, tuple[dict[str, Any], tuple[str, str]]] = {
    "grid": (
        {"embed": "grid_3.4.1_4.8.3_2.16.9", "num_blks": (1, 2, 1), "dec_strds": (1, 2)},
        ("8f74bf32034255ee", "9728e8ab1a1ccca3"),
    ),
    "pe": (
        {"embed": "pe_1.25_4", "fc_hw": (4, 5), "dec_strds": (2, 1), "conv_type": "convnext convnext", "head_strd": 2},
        ("9d29a2930e9c8f79", "022a25fcf4a6d6ad"),
    ),
    "hnerv": (
        {"embed": "hnerv_4", "dec_strds": (3, 2), "conv_type": "convnext pshuffel", "head_strd": 1, "out_bias": "tanh"},
        ("76bbe953ca7d4a7d", "924f760d98fb6e36"),
    ),
}
CASES = [(name, clip) for name in FILES for clip in (False, True)]


def path_of(name: str, clip: bool) -> Path:
    return GOLDEN / f"{name}{'_clip' if clip else ''}.nerv"


@pytest.mark.parametrize(("name", "clip"), CASES)
def test_files_of_this_version_stay_readable(
    name: str, clip: bool, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    changes, digests = FILES[name]
    path = path_of(name, clip)
    if request.config.getoption("--regenerate-golden"):
        tiny_clip: TinyClip = request.getfixturevalue("tiny_clip")
        teacher = {"clip": "on", "clip_model": tiny_clip.model, "clip_pretrained": tiny_clip.pretrained}
        chosen = changes | {"fc_dim": 10, "epochs": 40, "grid": (2, 3), "lower_width": 6, "segment": 4, "clip_rank": 4}
        settings = PRESETS["grid"].override(**chosen | (teacher if clip else {"clip": "off"}))
        source = write_images(tmp_path / "frames", moving_frames(6, 21, 34))
        encode(source, path, settings, device="cpu", force=True)
    nerv = bitstream.read(path)
    digest = hashlib.sha256()
    for segment in nerv.segments:
        for tensor in segment.tensors:
            digest.update(tensor.values.astype("<i2").tobytes() + tensor.steps.tobytes())
    assert digest.hexdigest()[:16] == digests[clip]
    assert bitstream.write(nerv) == path.read_bytes()
    assert verify(path, device="cpu")["ok"]


@pytest.mark.parametrize(("name", "clip"), CASES)
def test_the_decoder_does_what_the_format_says(name: str, clip: bool) -> None:
    path = path_of(name, clip)
    frames, features = reference_decoder.decode(bitstream.read(path))
    assert frames.std() > 20, "flat pictures would show nothing"
    for dtype in (torch.float32, torch.bfloat16):
        reader = NervReader(path, "cpu")
        reader.dtype = dtype
        found = reader[:]
        if dtype is torch.float32:
            assert np.abs(found.astype(int) - frames).max() <= 1
            assert (found != frames).mean() < 0.01
        assert quality.psnr(found, frames).min() > 35
        for t, row, column in ((0, 0, 0), (5, 1, 2)):
            y, x = reader.geometry(4).spans(row, column)
            patch = reader.patch(t, row, column).astype(int)
            assert np.abs(patch - found[t, slice(*y), slice(*x)]).max() <= (1 if dtype is torch.float32 else 6)
        assert (features is not None) == clip
        if features is not None:
            assert np.abs(reader.features() - features).max() < (1e-4 if dtype is torch.float32 else 0.05)
