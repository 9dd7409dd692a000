"""Training state on disk: tensors in safetensors, all else as JSON in its header; nothing is executed on load."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from codec.errors import CodecError, OutputError


class CheckpointError(CodecError):
    """A checkpoint cannot be used."""


def save(path: Path, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
    """Write a checkpoint; an earlier one stays whole until the new one is complete. Raises OutputError."""
    temporary = path.with_suffix(".partial")
    try:
        # clones: safetensors refuses tensors that share memory, and wants them contiguous
        save_file(
            {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()},
            temporary,
            {"meta": json.dumps(meta)},
        )
        temporary.replace(path)
    except (SafetensorError, OSError) as error:
        temporary.unlink(missing_ok=True)
        raise OutputError(f"cannot write the checkpoint {path}: {error}; make room or choose another place") from error


def load(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Inverse of `save`. Raises CheckpointError for a damaged file."""
    try:
        with safe_open(path, framework="pt") as file:
            meta = json.loads((file.metadata() or {})["meta"])
            return {k: file.get_tensor(k) for k in file.keys()}, meta  # noqa: SIM118 (not a dict)
    except (SafetensorError, KeyError, json.JSONDecodeError, OSError) as error:
        raise CheckpointError(f"checkpoint {path} is damaged ({error}): start again with --force") from error
