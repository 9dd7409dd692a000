"""Train the stand-in teacher: `python -m tests.standin.train`, about a minute on one core.

A tiny open_clip model of both towers learns, by CLIP's contrastive loss, which caption belongs to which drawn picture.
Of the tokenizer's 49,408 tokens, the captions use a few dozen: only their embeddings are kept, as float16.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.numpy import load_file, save_file
from torch import Tensor

from tests.standin.pictures import captioned
from tests.tiny_clip import TinyClip

STORED = Path(__file__).parents[1] / "data" / "standin.safetensors"
SIDE = 32
CONFIG = {
    "embed_dim": 64,
    "vision_cfg": {"image_size": SIDE, "layers": 3, "width": 64, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}
TOKENS = "token_embedding.weight"


def train(steps: int, seed: int = 0, batch: int = 128) -> dict[str, Tensor]:
    """The state of a trained model. It says now and then how many captions of a batch find their picture."""
    import open_clip

    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    net = open_clip.CLIP(**CONFIG)
    tokenize = open_clip.get_tokenizer("ViT-B-32", context_length=16)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD))
    optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=0.0)
    for step in range(steps):
        spent = step / steps
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * min(1.0, 20 * spent + 0.02, 2.5 * (1 - spent))
        pictures, captions = captioned(rng, batch, SIDE)
        images = (torch.from_numpy(pictures).permute(0, 3, 1, 2) / 255 - mean) / std
        image, text, scale = net(images, tokenize(captions))
        # Equal captions are no mistake of each other's: the target is shared among them.
        same = torch.tensor([[float(a == b) for b in captions] for a in captions])
        target = same / same.sum(1, keepdim=True)
        logits = scale * image @ text.T
        loss = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 50 == 49:
            right = same[torch.arange(batch), logits.argmax(1)].mean()
            print(f"step {step + 1} of {steps}: loss {loss.item():.3f} right {right:.2f}", flush=True)
    return dict(net.state_dict())


def store(state: dict[str, Tensor]) -> None:
    """Write what `write_standin` needs, as float16: a few hundred kB."""
    import open_clip

    words = captioned(np.random.default_rng(1), 4000, 4)[1]
    used = open_clip.get_tokenizer("ViT-B-32", context_length=16)(words).unique()
    kept = {name: value.half().numpy() for name, value in state.items() if name not in (TOKENS, "attn_mask")}
    save_file(kept | {TOKENS: state[TOKENS][used].half().numpy(), "used": used.numpy()}, STORED)


def write_standin(folder: Path) -> TinyClip:
    """Write the trained model into a folder, as a user has one: standin.json and standin.safetensors."""
    state = load_file(STORED)
    used, rows = state.pop("used"), state.pop(TOKENS)
    tokens = np.zeros((CONFIG["text_cfg"]["vocab_size"], rows.shape[1]), np.float16)  # type: ignore[index]
    tokens[used] = rows
    config, checkpoint = folder / "standin.json", folder / "standin.safetensors"
    config.write_text(json.dumps(CONFIG))
    save_file({name: value.astype(np.float32) for name, value in (state | {TOKENS: tokens}).items()}, checkpoint)
    return TinyClip(str(config), str(checkpoint))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=600)
    store(train(parser.parse_args().steps))
    print(f"{STORED.name}: {STORED.stat().st_size:,} bytes")
