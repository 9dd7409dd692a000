"""A tiny corpus: clips and photographs made here, listed as the real ones are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from codec.base.corpus import read_corpus
from codec.base.model import Codec
from codec.base.scenes import HELD, TRAINING, Scenes, SceneSettings, open_scenes, prepare
from codec.network.predictive.network import Shape
from tests.samples import moving_frames, write_video

SHAPE = Shape(features=8, detail=4, guide=2, means=8, hyper=4, context=4, hidden=8, blocks=1)
SETTINGS = SceneSettings(size=32, photo=40, anchors=(2,))

LIST = """# Corpus

| class | clips |
|---|---|
| MIT | 1 |

## Clips

| name | size | licence | attribution |
|---|---|---|---|
| waves | 64x48 | MIT | nobody |
| drift | 65x49 | CC BY 4.0 | a name | with a bar |
| shared | 64x48 | CC BY-SA 4.0 (site footer) | others |
| vscode | 64x48 | MIT | nobody |

## Photographs

| name | size | kB | licence | attribution |
|---|---|---|---|---|
| p1.png | 40x40 | 1 | CC0 1.0 | none |
| p2.png | 40x40 | 1 | CC0 or CC BY-SA 2.5 | none |
"""


def write_corpus(folder: Path) -> Path:
    for kind in ("clips", "photos"):
        (folder / kind).mkdir(parents=True)
    for number, name in enumerate(("drift", "shared", "unlisted", "vscode", "waves")):
        height, width = (49, 65) if name == "drift" else (48, 64)
        whole = np.roll(moving_frames(1, height + 10, width + 15)[0], 7 * number, axis=1)
        frames = np.stack([whole[2 * t : 2 * t + height, 3 * t : 3 * t + width] for t in range(6)])  # a pan
        write_video(folder / "clips" / f"{name}.mkv", frames)
    for name in ("p1", "p2"):
        Image.fromarray(moving_frames(1, 40, 40)[0]).save(folder / "photos" / f"{name}.png")
    (folder / "CORPUS.md").write_text(LIST)
    return folder


def tiny_codec(seed: int = 0) -> Codec:
    """Weights as a training leaves them: none of them zero, rows and values spread."""
    torch.manual_seed(seed)
    codec = Codec(SHAPE)
    with torch.no_grad():
        for p in codec.parameters():
            p.add_(0.02 * torch.randn_like(p))
    return codec.eval()


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="session")
def prepared(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("prepared") / "scenes"
    prepare(read_corpus(corpus), out, SETTINGS, lambda text: None)
    return out


@pytest.fixture
def scenes(prepared: Path) -> Scenes:
    return open_scenes(prepared / TRAINING)


@pytest.fixture
def held(prepared: Path) -> Scenes:
    return open_scenes(prepared / HELD)
