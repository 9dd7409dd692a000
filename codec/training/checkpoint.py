"""Training state on disk: tensors in safetensors, all else as JSON in its header; nothing is executed on load."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from codec.errors import CheckpointError, OutputError


def save(path: Path, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
    """Write a checkpoint; an earlier one stays whole until the new one is complete. Raises OutputError."""
    temporary = path.with_suffix(".partial")
    # clones: safetensors refuses tensors that share memory, and wants them contiguous
    copies = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
    try:
        save_file(copies, temporary, {"meta": json.dumps(meta), "digest": _digest(copies, meta)})
        temporary.replace(path)
    except (SafetensorError, OSError) as error:
        temporary.unlink(missing_ok=True)
        raise OutputError(f"cannot write the checkpoint {path}: {error}; make room or choose another place") from error


def load(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Inverse of `save`. Raises CheckpointError for a damaged file."""
    try:
        with safe_open(path, framework="pt") as file:
            about = file.metadata() or {}
            tensors, meta = {k: file.get_tensor(k) for k in file.keys()}, json.loads(about["meta"])  # noqa: SIM118 (not a dict)
            if about["digest"] != _digest(tensors, meta):
                raise ValueError("its digest does not fit")
            return tensors, meta
    except (SafetensorError, KeyError, ValueError, OSError) as error:
        raise CheckpointError(f"checkpoint {path} is damaged ({error}): start again with --force") from error


def _digest(tensors: dict[str, Tensor], meta: dict[str, Any]) -> str:
    """Stands for all of a checkpoint: safetensors has no checksum, and a flipped bit would be trained on."""
    digest = hashlib.sha256(json.dumps(meta, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
