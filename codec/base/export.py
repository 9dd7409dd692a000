"""A training to the file of a base."""

from __future__ import annotations

from pathlib import Path

from codec.atomic import atomic_output
from codec.base.model import Codec, read_weights
from codec.network.predictive.base_file import load_part, write_base
from codec.network.predictive.store import digest_of

LARGEST = 3 * 2**20  # bytes of a base that ships


def export(state: Path, out: Path, note: str = "", force: bool = False) -> bytes:
    """Write the averaged weights of a training as a base -> its digest.

    state: as in `read_weights`. note: a sentence for the card. Raises BaseError, CheckpointError, OutputError.
    """
    weights = read_weights(state)
    codec = Codec(weights.shape)
    load_part(codec, weights.tensors, state)
    about = weights.about | ({"note": note} if note else {})
    with atomic_output(out, force) as path:
        write_base(path, codec.network, codec.analysis, about)
    return digest_of(out)
