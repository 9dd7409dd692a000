"""The same commands on a GPU; skipped where there is none."""

from pathlib import Path

import numpy as np
import pytest
import torch

from codec import NervReader, encode
from codec.settings import PRESETS
from tests.samples import Encoded, moving_frames, write_images

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")


def test_a_file_decodes_to_the_same_frames_on_both(encoded: Encoded) -> None:
    on_cpu, on_gpu = NervReader(encoded.path, "cpu"), NervReader(encoded.path, "cuda")
    difference = np.abs(on_cpu[:].astype(int) - on_gpu[:].astype(int))
    assert difference.max() <= 4
    assert difference.mean() < 0.5
    assert np.abs(on_cpu.features() - on_gpu.features()).max() < 0.05


def test_encode_on_a_gpu(tmp_path: Path) -> None:
    source = write_images(tmp_path / "frames", moving_frames(8, 48, 64))
    settings = PRESETS["grid"].override(fc_dim=8, epochs=40, clip="off")
    report = encode(source, tmp_path / "v.nerv", settings, device="cuda")
    again = NervReader(tmp_path / "v.nerv", "cpu")
    assert report["device"].startswith("cuda")
    assert report["psnr"] > 15
    assert len(again[:]) == 8
