"""Video <-> payload. `encode`, `decode` and `NervReader` are what most programs need.

Each is imported when it is first asked for: decoding never loads the training side.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from codec.decoding.outputs import decode
    from codec.decoding.reader import NervDataset, NervReader
    from codec.encoding.pipeline import encode

__all__ = ["NervDataset", "NervReader", "decode", "encode"]

_HOMES = {
    "NervDataset": "codec.decoding.reader",
    "NervReader": "codec.decoding.reader",
    "decode": "codec.decoding.outputs",
    "encode": "codec.encoding.pipeline",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'codec' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)
