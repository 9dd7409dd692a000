"""Packages that one feature alone needs: what has to be installed where such a feature is asked for."""

from importlib.util import find_spec

EXTRAS = {"imageio": "imageio", "open_clip": "clip", "tensorboard": "tensorboard"}  # package -> extra that installs it


def missing(package: str) -> str | None:
    """What to do about a package that is not installed, in one line; None for one that is."""
    if find_spec(package) is not None:
        return None
    return f"{package} is not installed: pip install 'nvcodec[{EXTRAS[package]}]'"
