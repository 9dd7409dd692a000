"""Video <-> payload. `encode`, `decode` and `NervReader` are what most programs need, who find them in `nvcodec` too.

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
    from codec.settings import PRESETS

__all__ = ["PRESETS", "NervDataset", "NervReader", "decode", "encode", "estimate", "register_imageio"]

_HOMES = {
    "PRESETS": ".settings",
    "NervDataset": ".decoding.dataset",
    "NervReader": ".decoding.reader",
    "decode": ".decoding.outputs",
    "encode": ".encoding.pipeline",
    "estimate": ".encoding.pipeline",
}


def register_imageio() -> None:
    """Let imageio read .nerv files, by index and one after another. Raises ImportError where imageio is missing."""
    from codec.extras import missing

    if (lack := missing("imageio")) is not None:
        raise ImportError(lack)
    from codec.decoding.imageio_plugin import register

    register()


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name], __name__), name)
