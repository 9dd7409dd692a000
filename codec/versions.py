"""Versions of what is installed."""

from importlib.metadata import PackageNotFoundError, version


def installed(package: str) -> str:
    """The version of an installed package; "unknown" for one that runs from its source alone."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"
