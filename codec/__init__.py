"""Video <-> payload. `encode`, `decode` and `NervReader` are what most programs need.

Each is imported when it is first asked for: decoding never loads the training side.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from codec.decoding.dataset import NervDataset
    from codec.decoding.outputs import decode
    from codec.decoding.reader import NervReader
    from codec.encoding.pipeline import encode, estimate

__all__ = ["NervDataset", "NervReader", "decode", "encode", "estimate", "register_imageio"]

_HOMES = {
    "NervDataset": "codec.decoding.dataset",
    "NervReader": "codec.decoding.reader",
    "decode": "codec.decoding.outputs",
    "encode": "codec.encoding.pipeline",
    "estimate": "codec.encoding.pipeline",
}


def register_imageio() -> None:
    """Let imageio read .nerv files, by index and one after another; needs the extra `nvcodec[imageio]`."""
    from codec.decoding.imageio_plugin import register

    register()


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'codec' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)
