"""One segment, from frames to bytes that have been read back and measured: `encode_segment(task) -> result`.

    frames --coder of the network's kind--> integers --write_segment--> payload
           --read_segment, compared--> network --frames, features--> quality

A task and its result are values that can be pickled, and nothing else goes in or out, so that segments can be encoded
in any order, by other processes or on other machines.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib import import_module
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from codec.decoding.reader import frames_at_once
from codec.errors import EncodeError
from codec.kinds import kind_of
from codec.network.backend import pick_dtype
from codec.network.interface import Network, load_network
from codec.quality import Measured, best_constant, compare, cosine
from codec.training.task import Coded, SegmentTask, Unwatched, Warn, Watcher


@dataclass
class Clock:
    """Seconds by phase."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[phase] = self.seconds.get(phase, 0.0) + time.perf_counter() - start


FACTS = ("parameters", "epochs", "frames_trained", "training_seconds", "seconds", "details")


@dataclass(frozen=True, eq=False)
class SegmentResult:
    """A coded segment and what the report wants to know of it."""

    payload: bytes  # of its SEGM chunk
    parameters: int
    epochs: int
    frames_trained: float
    training_seconds: float  # of steps alone
    seconds: dict[str, float]  # by phase
    measured: Measured
    details: dict[str, Any] = field(default_factory=dict)  # of the coder; see `Coded`

    def facts(self) -> dict[str, Any]:
        """All but the payload, as JSON has it."""
        lists = {k: None if v is None else v.tolist() for k, v in asdict(self.measured).items()}
        own = {k: getattr(self, k) for k in FACTS}
        return own | {"measured": lists}

    @classmethod
    def of(cls, payload: bytes, facts: dict[str, Any]) -> SegmentResult:
        """Inverse of `facts`. Raises LookupError, TypeError or ValueError for what are none."""
        arrays: Any = {k: None if v is None else np.array(v, np.float64) for k, v in facts["measured"].items()}
        return cls(payload, **facts | {"measured": Measured(**arrays)})


def encode_segment(
    task: SegmentTask, watcher: Watcher = Unwatched(), warn: Warn = lambda message: None
) -> SegmentResult:
    """Encode one segment. Raises EncodeError where its settings do not fit it, or it does not decode to what was coded.

    KeyboardInterrupt leaves a checkpoint of that moment in `task.state`.
    """
    clock = Clock()
    watcher.phase("train")
    with clock("train"):
        try:
            coded: Coded = import_module(kind_of(task.spec).coder).encode_frames(task, watcher, warn)
        except ValueError as error:
            raise EncodeError(str(error)) from error
    watcher.phase("code")
    with clock("code"):
        payload = coded.segment.payload()
    watcher.phase("check")
    device = torch.device(task.device)
    with clock("decode_symbols"):
        back = type(coded.segment).of(payload, "the coded segment")
        if back != coded.segment:
            raise EncodeError(f"the segment at frame {task.start} does not decode to what was coded")
        network = load_network(task.spec, task.geometry, back, device, pick_dtype(device))
    with clock("measure"):
        measured = _measured(task, network, device, clock, watcher)
    _warn_of_features(task, measured, coded.advice, warn)
    clock.seconds["measure"] -= clock.seconds["decode"] + clock.seconds.get("decode_features", 0.0)
    return SegmentResult(
        payload=payload,
        parameters=coded.parameters,
        epochs=coded.epochs,
        frames_trained=coded.frames,
        training_seconds=coded.seconds,
        seconds=clock.seconds,
        measured=measured,
        details=coded.details,
    )


def _warn_of_features(task: SegmentTask, measured: Measured, advice: str | None, warn: Warn) -> None:
    """Say where features are of little use. advice: of the coder; see `Coded`."""
    if task.features is None or measured.clip_sim is None:
        return
    held, constant = measured.clip_sim.mean(), best_constant(task.features)
    if advice is None and held < constant:
        advice = (
            f"they may take {task.settings.rate.clip_budget:.1%} of the file: give them more of it (--clip-budget), a "
            "larger file or more training, or leave them out (--clip off)"
        )
    if advice:
        warn(
            f"the features of the segment at frame {task.start} are of little use: clip_sim {held:.3f}, where one "
            f"constant vector has {constant:.3f}; {advice}"
        )


@torch.inference_mode()
def _measured(task: SegmentTask, network: Network, device: torch.device, clock: Clock, watcher: Watcher) -> Measured:
    """Every frame as a decoder gives it, against its source."""
    numbers = torch.arange(task.geometry.frames, device=device).split(frames_at_once(task.spec, task.geometry))

    def decoded() -> Iterator[NDArray[np.uint8]]:
        for t in numbers:
            with clock("decode"):
                batch = network.frames(t).cpu().numpy()
            yield batch
            watcher.counted(int(t[-1]) + 1, task.geometry.frames)

    measured = compare(decoded(), iter(task.frames), device)
    if task.features is None:
        return measured
    with clock("decode_features"):
        found = torch.cat([network.features(t) for t in numbers]).cpu().numpy()
    return Measured(measured.psnr, measured.ms_ssim, cosine(found, task.features))
