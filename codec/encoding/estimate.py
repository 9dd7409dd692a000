"""What an encode will take, told from its first steps on."""

from __future__ import annotations

import resource
import sys
import time
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from codec.quality import compare
from codec.training.task import SegmentTask, Status


@dataclass(frozen=True)
class Estimate:
    """What an encode takes, as far as can be told."""

    seconds: float  # in all, from its start
    left: float  # seconds, from now on
    bytes: int  # of the file
    memory: int  # bytes that the process, and its device beside it, have held at most so far

    def as_json(self) -> dict[str, Any]:
        return {name: round(value, 1) for name, value in asdict(self).items()}


@dataclass(frozen=True)
class Whole:
    """The file that segments belong to."""

    frames: int
    size: float | None  # bytes asked for
    overhead: int  # bytes beside its segments
    started: float = field(default_factory=time.perf_counter)


class Forecast:
    """The estimate of a whole encode, by what one segment of it has taken so far."""

    def __init__(self, task: SegmentTask, whole: Whole, prepared: float) -> None:
        """prepared: seconds that went into the segment before its encoding: its features."""
        self._task, self._whole, self._prepared = task, whole, prepared
        self._checking: float | None = None  # seconds for measuring the segment

    def of(self, status: Status) -> Estimate | None:
        """None while too little has been timed."""
        if status.seconds is None:
            return None
        if self._checking is None:
            self._checking = len(self._task.frames) * _seconds_to_measure(self._task)
        task, whole = self._task, self._whole
        frames = task.geometry.frames
        later = whole.frames - task.start - frames
        left = status.seconds * (1 - status.fraction) + self._checking
        left += later / frames * (self._prepared + status.seconds + self._checking)
        size = whole.size or whole.overhead + status.bits / 8 * whole.frames / frames
        passed = time.perf_counter() - whole.started
        return Estimate(passed + left, left, round(size), memory(torch.device(task.device)))


def _seconds_to_measure(task: SegmentTask) -> float:
    """Of one frame."""
    start = time.perf_counter()
    compare([task.frames[:1]], iter(task.frames[:1]), task.device)
    return time.perf_counter() - start


def memory(device: torch.device) -> int:
    """Bytes that this process has held at most, and on a GPU what it has held there."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    most *= 1 if sys.platform == "darwin" else 1024
    return most + (torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0)
