"""Where caches lie."""

import os
from pathlib import Path


def cache_directory(kind: str) -> Path:
    """$NVCODEC_CACHE/KIND; where that is not set nvcodec/KIND in the user's cache ($XDG_CACHE_HOME, ~/.cache)."""
    if own := os.environ.get("NVCODEC_CACHE"):
        return Path(own) / kind
    return Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()) / "nvcodec" / kind
