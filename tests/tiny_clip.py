"""A teacher for tests: a tiny open_clip configuration and a checkpoint of seeded random weights, both as files."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file

EMBED_DIM = 32
CONFIG = {
    "embed_dim": EMBED_DIM,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


@dataclass(frozen=True)
class TinyClip:
    """What a user gives as --clip-model and --clip-pretrained."""

    model: str
    pretrained: str


def write_tiny_clip(folder: Path, seed: int = 0) -> TinyClip:
    """Write tiny.json and tiny.safetensors into the folder; the seed decides the weights."""
    import open_clip

    config, checkpoint = folder / "tiny.json", folder / "tiny.safetensors"
    config.write_text(json.dumps(CONFIG))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = open_clip.CLIP(**CONFIG)
    save_file(net.state_dict(), checkpoint)
    return TinyClip(str(config), str(checkpoint))
