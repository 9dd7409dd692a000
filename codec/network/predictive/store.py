"""Which bases are here, and which of them a file needs.

The package brings its own, base-5.safetensors and on, each with a card (base-5.md). Released ones stay: a file needs
the very base that it was made with, and names it by digest. NVCODEC_BASES lists further files and folders of them,
separated as in PATH.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from bitstream import MissingBase
from codec.errors import BaseError
from codec.network.predictive.base_file import load_part, read_base
from codec.network.predictive.network import PredictiveNetwork

SHIPPED = Path(__file__).parent / "bases"
VARIABLE = "NVCODEC_BASES"
DIGEST_BYTES = 16


def digest_of(path: Path) -> bytes:
    """What a file names a base by: the first 16 bytes of its file's SHA-256. Raises BaseError."""
    try:
        return hashlib.sha256(path.read_bytes()).digest()[:DIGEST_BYTES]
    except OSError as error:
        raise BaseError(f"cannot read the base {path}: {error.strerror or error}") from error


def bases() -> Iterator[Path]:
    """All bases that are here: shipped ones, the newest first, then those that NVCODEC_BASES names."""
    yield from sorted(SHIPPED.glob("base-*.safetensors"), key=_number, reverse=True)
    for place in os.environ.get(VARIABLE, "").split(os.pathsep):
        path = Path(place)
        if place and path.is_dir():
            yield from sorted(path.glob("*.safetensors"))
        elif place and path.is_file():
            yield path


def default() -> Path:
    """The base that an encode starts from where none is named. Raises BaseError."""
    if (path := next(bases(), None)) is None:
        raise BaseError(f"no base network is installed: train one (python -m codec.base) and name it in {VARIABLE}")
    return path


def find(digest: bytes, named: Path | None = None) -> Path:
    """The base of that digest; `named`, where given, is looked at first. Raises MissingBase."""
    for path in ([named] if named is not None else []) + list(bases()):
        if digest_of(path) == digest:
            return path
    raise MissingBase(
        f"the file needs the base network {digest.hex()}, which is not here: install a version of nvcodec that ships "
        f"it, or name its .safetensors file in {VARIABLE}"
    )


def load_network(path: Path) -> PredictiveNetwork:
    """The decoder's half of a base, in float32, ready to decode. Raises BaseError."""
    base = read_base(path)
    network = PredictiveNetwork(base.shape)
    load_part(network, base.part("network"), path)
    return network.eval().requires_grad_(False)


def _number(path: Path) -> int:
    """base-12.safetensors -> 12; names without a number come first."""
    digits = path.stem.rpartition("-")[2]
    return int(digits) if digits.isdecimal() else 0
