"""A training to the file of a base."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from codec.atomic import atomic_output
from codec.base.model import Codec, read_weights
from codec.errors import BaseError
from codec.network.predictive.base_file import load_part, write_base
from codec.network.predictive.store import digest_of

LARGEST = 3 * 2**20  # bytes of a base that ships


def export(state: Path, out: Path, about: dict[str, Any] | None = None, force: bool = False) -> bytes:
    """Write the averaged weights of a training as a base -> its digest.

    state: as in `read_weights`. about: to be said of them beside what they say themselves: note (a sentence), stages,
    held. Raises BaseError, CheckpointError, OutputError.
    """
    weights = read_weights(state)
    codec = Codec(weights.shape)
    load_part(codec, weights.tensors, state)
    with atomic_output(out, force) as path:
        write_base(path, codec.network, codec.analysis, weights.about | (about or {}))
        if (size := path.stat().st_size) > LARGEST:
            raise BaseError(f"a base of {size:,} bytes is too large to ship: {LARGEST:,} at most")
    return digest_of(out)


def read_about(path: Path) -> dict[str, Any]:
    """What a file of JSON says of weights. Raises BaseError."""
    try:
        about = json.loads(path.read_text())
        if not isinstance(about, dict):
            raise ValueError("it is no object")
        return about
    except (OSError, ValueError) as error:
        raise BaseError(f"cannot read {path}: {error}") from error
