"""What an encode has done so far, kept beside the output until it is finished: OUTPUT.ckpt/.

job.json                 which source and settings it belongs to
training_K.safetensors   segment K in training
segment_K.nervseg        segment K, coded; its check and what its training took in segment_K.json
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import TracebackType
from typing import Any

from codec.errors import OutputError
from codec.training.checkpoint import CheckpointError


class Job:
    """One interrupted or running encode: a context that leaves its directory behind only if there is work in it.

    key: stands for source and settings. Raises OutputError where another encode's state is in the way, CheckpointError
    where `resume` finds one with another key.
    """

    def __init__(self, output: Path, key: str, resume: bool, force: bool) -> None:
        self.path = output.with_name(output.name + ".ckpt")
        if self.path.exists():
            if resume:
                self._check(key)
            elif force:
                shutil.rmtree(self.path)
            else:
                raise OutputError(
                    f"{self.path} holds an interrupted encode: go on with --resume, or start again with --force"
                )
        try:
            self.path.mkdir(exist_ok=True)
            _write(self.path / "job.json", json.dumps({"key": key}).encode())
        except OSError as error:
            if not resume:
                self.remove()
            raise OutputError(f"cannot keep checkpoints in {self.path}: {error.strerror}") from error

    def __enter__(self) -> Job:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if [entry.name for entry in self.path.glob("*")] == ["job.json"]:
            self.remove()

    def _check(self, key: str) -> None:
        try:
            found = json.loads((self.path / "job.json").read_text())["key"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise self._damaged(error) from error
        if found != key:
            raise CheckpointError(
                f"{self.path} was made from another source or with other settings: "
                "give those to --resume, or start again with --force"
            )

    def training(self, number: int) -> Path:
        """Where segment `number` keeps its training."""
        return self.path / f"training_{number}.safetensors"

    def finish(self, number: int, payload: bytes, facts: dict[str, Any]) -> None:
        """Keep a coded segment and what is to be known of it; its training is no longer needed. Raises OutputError."""
        try:
            _write(self._segment(number).with_suffix(".json"), json.dumps(facts).encode())
            _write(self._segment(number), payload)
        except OSError as error:
            raise OutputError(f"cannot keep segment {number} in {self.path}: {error.strerror}; make room") from error
        self.training(number).unlink(missing_ok=True)

    def finished(self, number: int) -> tuple[bytes, dict[str, Any]] | None:
        """Inverse of `finish`; None where segment `number` is not yet done."""
        if not self._segment(number).exists():
            return None
        try:
            facts = json.loads(self._segment(number).with_suffix(".json").read_text())
            return self._segment(number).read_bytes(), facts
        except (OSError, ValueError) as error:
            raise self._damaged(error) from error

    def _damaged(self, error: Exception) -> CheckpointError:
        return CheckpointError(f"{self.path} is damaged ({error}): start again with --force")

    def _segment(self, number: int) -> Path:
        return self.path / f"segment_{number}.nervseg"

    def remove(self) -> None:
        """Forget it all: the output is written."""
        shutil.rmtree(self.path, ignore_errors=True)


def _write(path: Path, data: bytes) -> None:
    temporary = path.with_suffix(".partial")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
