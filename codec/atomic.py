"""Outputs that appear complete or not at all: written beside the target, then renamed onto it."""

import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import permutations
from pathlib import Path

from codec.errors import OutputError


def check_output(path: str | Path, force: bool = False, contents: str | None = None) -> None:
    """Raise OutputError where `atomic_output` with the same arguments would refuse to start.

    For long work: ask before it, not after.
    """
    with _worded(path):
        _check(path, _real(path), force, contents)


def check_outputs(
    outputs: Sequence[tuple[str | Path, str | None]], inputs: Sequence[str | Path], force: bool = False
) -> None:
    """Raise OutputError where one of a command's outputs would be refused, or would replace what the command needs.

    outputs: path and contents of each, as in `atomic_output`. Even with `force`, none may be one of the `inputs`, by
    whatever name or link, be another output, or be a directory that holds either: it is replaced as a whole.
    """
    for path, contents in outputs:
        check_output(path, force, contents)
        for source in inputs:
            if _replaces(path, source):
                raise OutputError(f"{path} would replace {source}, which is read: choose another output")
    for (one, _), (other, _) in permutations(outputs, 2):
        if _replaces(one, other):
            raise OutputError(f"{one} would replace {other}, which is written too: give two names")


def _replaces(path: str | Path, other: str | Path) -> bool:
    """Whether writing `path` would replace `other`: they are one, by name or as links to one file, or it holds it."""
    target, place = _real(path), _real(other)
    if target == place or target in place.parents:
        return True
    try:
        return target.samefile(place)
    except OSError:  # one of them is not there
        return False


@contextmanager
def atomic_output(path: str | Path, force: bool = False, contents: str | None = None) -> Iterator[Path]:
    """Give a temporary path in the directory of `path`; rename it onto `path` at the end of the block.

    contents: None for a file, which the block creates; for a directory, the glob pattern of the files it is to hold:
    the temporary directory is made here, and an existing one is replaced only if all in it matches the pattern.
    The temporary name keeps the extension. An existing output needs `force`; an empty directory does not.
    Whatever ends the block early, interrupts included, leaves the target as it was and no temporary behind.
    Raises OutputError where the output may not or cannot be written; an OSError in the block becomes one.
    """
    check_output(path, force, contents)
    target = _real(path)
    temporary = _beside(target)
    try:
        with _worded(path):
            if contents is not None:
                temporary.mkdir()
            yield temporary
            if contents is None:
                _flush_to_disk(temporary)
                temporary.replace(target)
            else:
                _replace_directory(temporary, target)
    finally:
        _remove(temporary)


@contextmanager
def _worded(path: str | Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        why = error.strerror or error
        raise OutputError(f"cannot write {path}: {why}; make room or choose another place") from error


def _check(path: str | Path, target: Path, force: bool, contents: str | None) -> None:
    if not os.fspath(path):
        raise OutputError("the name of an output is empty: give one")
    if target.is_symlink():  # all links are resolved: what is left goes round in a circle
        raise OutputError(f"cannot write {path}: it is a link that leads back to itself; give another name")
    if not target.parent.is_dir():
        raise OutputError(f"cannot write {path}: there is no directory {target.parent}; create it first")
    if not os.access(target.parent, os.W_OK | os.X_OK):
        raise OutputError(f"cannot write {path}: no permission to write in {target.parent}; choose another place")
    if not target.exists():
        return
    if not target.is_file() and not target.is_dir():
        raise OutputError(f"cannot write {path}: it is neither a file nor a directory, such as can be replaced")
    if contents is None:
        if target.is_dir():
            raise OutputError(f"cannot write {path}: it is a directory; give the name of a file")
    else:
        if not target.is_dir():
            raise OutputError(f"cannot write {path}: it is a file; give the name of a directory")
        if not any(target.iterdir()):
            return
        # Replacing a directory removes what is in it: only what an earlier run put there may go.
        stranger = next((entry.name for entry in target.iterdir() if not entry.match(contents)), None)
        if stranger is not None:
            raise OutputError(f"cannot write {path}: it holds other things ({stranger}); choose a new directory")
    if not force:
        raise OutputError(f"{path} exists already; choose another name, or replace it with --force")


def _real(path: str | Path) -> Path:
    """The path behind any links, so that a link to an output is followed rather than replaced."""
    return Path(os.path.realpath(path))


def _beside(target: Path) -> Path:
    # 40 characters of the name keep the whole below the 255 bytes a name may have.
    return target.with_name(f".{target.stem[:40]}.{secrets.token_hex(4)}.partial{target.suffix[:16]}")


def _flush_to_disk(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _replace_directory(temporary: Path, target: Path) -> None:
    if not target.exists():
        temporary.rename(target)
        return
    old = _beside(target)
    target.rename(old)  # a directory with files cannot be renamed over
    try:
        temporary.rename(target)
    except BaseException:
        old.rename(target)
        raise
    shutil.rmtree(old)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
