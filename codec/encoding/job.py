"""What an encode has done so far, kept beside the output until it is finished: OUTPUT.ckpt/.

job.json                 which source and settings it belongs to
lock                     locked by the encode that runs, and since when it does
training_K.safetensors   segment K at work: its training, or the frames encoded so far
segment_K.nervseg        segment K, coded; its check and what its training took in segment_K.json

Only a directory that holds nothing but these is ever written to or removed.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from codec.errors import CheckpointError, CodecError, OutputError
from codec.training import checkpoint

_OURS = re.compile(r"(job|segment_\d+)\.json|lock|training_\d+\.safetensors|segment_\d+\.nervseg|\w+\.partial")
_WORK = re.compile(r"training_\d+\.safetensors|segment_\d+\.nervseg")


def directory(output: Path) -> Path:
    """OUTPUT.ckpt. Raises OutputError where that name is too long."""
    path = output.with_name(output.name + ".ckpt")
    longest = os.pathconf(path.parent, "PC_NAME_MAX")
    if len(os.fsencode(path.name)) > longest:
        raise OutputError(
            f"cannot write {output}: the name is too long; with .ckpt, for checkpoints, it may have {longest} bytes"
        )
    return path


def is_resumable(output: Path) -> bool:
    """Whether an encode of that output was interrupted and left what it had done. Raises OutputError."""
    return directory(output).is_dir()


class Job:
    """One interrupted or running encode: a context that leaves its directory behind only if there is work in it.

    key: stands for source and settings. Raises OutputError where something else is in the way: another encode's state,
    an encode that still runs, a directory of someone else's; CheckpointError where `resume` finds a state with another
    key, or a damaged one: all of it is checked here, not after the hours that the rest takes.
    """

    def __init__(self, output: Path, key: str, resume: bool, force: bool) -> None:
        self.path = directory(output)
        self._lock: BinaryIO | None = None  # open and locked while the job runs
        self._check_ours()
        try:
            self._take_lock(output)
            if self._has_work():
                if resume:
                    self._check(key)
                elif force:
                    self._remove_files()
                else:
                    raise OutputError(
                        f"{self.path} holds an interrupted encode: go on with --resume, or start again with --force"
                    )
            _write(self.path / "job.json", json.dumps({"key": key}).encode())
        except OSError as error:
            self._leave()
            raise OutputError(f"cannot keep checkpoints in {self.path}: {error.strerror}") from error
        except CodecError:
            self._leave()
            raise

    def __enter__(self) -> Job:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave()

    def _check_ours(self) -> None:
        """Raise OutputError where the directory is not one that a job made."""
        try:
            stranger = next((entry.name for entry in self.path.iterdir() if not _is_ours(entry)), None)
        except FileNotFoundError:
            return
        except OSError as error:
            raise OutputError(f"cannot keep checkpoints in {self.path}: {error.strerror}") from error
        if stranger is not None:
            raise OutputError(
                f"{self.path}, where checkpoints would go, holds other things ({stranger}): "
                "choose another output, or move them"
            )

    def _take_lock(self, output: Path) -> None:
        """Lock the directory, which is made for it. The system forgets a lock with the process that holds it."""
        while self._lock is None:
            self.path.mkdir(exist_ok=True)
            file = (self.path / "lock").open("a+b")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                since = file.read(100).decode(errors="replace")
                raise OutputError(f"{output} is being encoded {since}: wait for it, or choose another output") from None
            if _is_at(file, self.path / "lock"):  # not removed by an encode that ended just now
                self._lock = file
                file.truncate(0)
                file.write(f"since {time.strftime('%Y-%m-%d %H:%M:%S')} by process {os.getpid()}".encode())
                file.flush()

    def _has_work(self) -> bool:
        return any(_WORK.fullmatch(entry.name) for entry in self.path.iterdir())

    def _check(self, key: str) -> None:
        """Raise CheckpointError unless the state is that of `key`, and whole."""
        file = self.path / "job.json"
        try:
            found = json.loads(file.read_text())["key"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise _damaged(file, error) from error
        if found != key:
            raise CheckpointError(
                f"{self.path} was made from another source or with other settings: "
                "give those to --resume, or start again with --force"
            )
        for entry in self.path.iterdir():
            if match := re.fullmatch(r"segment_(\d+)\.nervseg", entry.name):
                self.finished(int(match[1]))
            elif entry.suffix == ".safetensors":
                checkpoint.load(entry)

    def training(self, number: int) -> Path:
        """Where segment `number` keeps its training."""
        return self.path / f"training_{number}.safetensors"

    def finish(self, number: int, payload: bytes, facts: dict[str, Any]) -> None:
        """Keep a coded segment and what is to be known of it; its training is no longer needed. Raises OutputError."""
        kept = json.dumps({"facts": facts, "digest": _digest(payload, facts)})
        try:
            _write(self._facts(number), kept.encode())
            _write(self._segment(number), payload)
        except OSError as error:
            raise OutputError(f"cannot keep segment {number} in {self.path}: {error.strerror}; make room") from error
        self.training(number).unlink(missing_ok=True)

    def finished(self, number: int) -> tuple[bytes, dict[str, Any]] | None:
        """Inverse of `finish`; None where segment `number` is not yet done. Raises CheckpointError."""
        if not self._segment(number).exists():
            return None
        try:
            payload, kept = self._segment(number).read_bytes(), json.loads(self._facts(number).read_text())
            facts: dict[str, Any] = kept["facts"]
            if kept["digest"] != _digest(payload, facts):
                raise ValueError("its digest does not fit")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise _damaged(self._segment(number), error) from error
        return payload, facts

    def _segment(self, number: int) -> Path:
        return self.path / f"segment_{number}.nervseg"

    def _facts(self, number: int) -> Path:
        return self.path / f"segment_{number}.json"

    def remove(self) -> None:
        """Forget it all: the output is written."""
        self._remove_files()

    def _remove_files(self) -> None:
        for entry in self.path.iterdir():
            if _is_ours(entry) and entry.name != "lock":
                entry.unlink(missing_ok=True)

    def _leave(self) -> None:
        """Unlock the directory, and remove it if there is no work in it."""
        if self._lock is None:  # it is not ours to remove
            return
        with suppress(OSError):  # whatever ended the job is of more interest
            if not self._has_work():
                self._remove_files()
            (self.path / "lock").unlink(missing_ok=True)
            if not any(self.path.iterdir()):
                self.path.rmdir()
        self._lock.close()
        self._lock = None


def _is_ours(entry: Path) -> bool:
    return entry.is_file() and _OURS.fullmatch(entry.name) is not None


def _is_at(file: BinaryIO, path: Path) -> bool:
    """Whether an open file still has this name."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _digest(payload: bytes, facts: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode() + payload).hexdigest()


def _damaged(file: Path, error: Exception) -> CheckpointError:
    return CheckpointError(f"checkpoint {file} is damaged ({error}): start again with --force")


def _write(path: Path, data: bytes) -> None:
    temporary = path.with_suffix(".partial")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
