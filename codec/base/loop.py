"""Training of a base: frames of every kind and quality index, from a checkpoint on if there is one.

A step is a walk (`codec.base.walks`): its frames are coded one after the other, each from what the codec has just made
of those before, and the weights move after each.
"""

from __future__ import annotations

import copy
import json
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from codec.base.evaluate import evaluate, kind_of
from codec.base.model import Codec, Seen, read_weights
from codec.base.moves import REPORTED, Mover
from codec.base.optimisers import optimisers
from codec.base.scenes import Say, Scenes
from codec.base.walks import Walks, seen_by
from codec.errors import BaseError, CheckpointError
from codec.network.backend import pick_dtype
from codec.network.predictive.base_file import load_part
from codec.network.predictive.network import Shape
from codec.network.predictive.store import digest_of
from codec.training import checkpoint
from codec.training.interrupts import deferred_interrupts
from codec.training.optim import optimizer_tensors, restore_optimizers

CPU, DEFAULT_SHAPE = torch.device("cpu"), Shape()
STATE, LOG = "state.safetensors", "log.jsonl"
CHECKPOINT_SECONDS, EVALUATION_SECONDS = 60.0, 300.0
DECAY = 0.9997  # of the moving average of the weights, which is what ships
DECAY_START = 20  # steps after which the average is one of half of all steps so far


@dataclass(frozen=True)
class BaseSettings:
    """One training."""

    minutes: float = 60.0
    steps: int | None = None  # instead of minutes: the same result on a machine of any speed
    batch: int = 8  # scenes of a walk
    rate: float = 1.0  # of the peak learning rates
    seed: int = 1


class Training:
    """A training between two steps."""

    def __init__(
        self, settings: BaseSettings, sets: Sequence[Scenes], shape: Shape, start: Path | None, device: torch.device
    ) -> None:
        """start: weights to begin from, whose shape is then taken; else those of the seed. Raises BaseError."""
        self.settings, self.device, self.dtype = settings, device, pick_dtype(device)
        self.walks = Walks([scenes.to(device) for scenes in sets], settings.batch, settings.seed)
        before = read_weights(start) if start is not None else None
        torch.manual_seed(settings.seed)  # here: what comes before may draw numbers of its own
        codec = Codec(before.shape if before is not None else shape)
        if start is not None and before is not None:
            load_part(codec, before.tensors, start)
        self.codec = codec.to(device)
        self.average = copy.deepcopy(self.codec).requires_grad_(False)
        self._moved: list[Tensor] = list(self.codec.parameters())
        self._averaged: list[Tensor] = list(self.average.parameters())
        self.optimisers = optimisers(self.codec, settings.rate)
        self._mover = Mover(self.codec, self.optimisers, self.dtype)
        self._ends: deque[torch.cuda.Event] = deque()  # of walks that a GPU may not have come to yet
        self.step, self.elapsed, self._moves = 0, 0.0, 0
        self.held: dict[str, dict[str, float]] = {}
        self._earlier = list(before.about.get("stages", ())) if before is not None else []
        self._start = digest_of(start).hex() if start is not None else None
        self._scenes = [scenes.about for scenes in sets]

    @property
    def progress(self) -> float:
        """Share of the training that is done."""
        if self.settings.steps is not None:
            return self.step / self.settings.steps
        return self.elapsed / (self.settings.minutes * 60)

    def advance(self) -> list[tuple[str, Tensor]]:
        """One walk -> for each of its frames, its kind and what is REPORTED of it."""
        began = time.perf_counter()
        decoded: list[Tensor] = []
        told: list[tuple[str, Tensor]] = []
        for step in self.walks[self.step]:
            frame, values = self._learn(step.frame, step.quality, seen_by(step, decoded))
            decoded.append(frame)
            told.append((kind_of(step), values))
        photos = self.walks.photos(self.step)
        if photos is not None:
            told.append(("photo", self._learn(*photos, None)[1]))
        self.step += 1
        self._keep_pace()
        self.elapsed += time.perf_counter() - began
        return told

    def _learn(self, frame: Tensor, quality: Tensor, seen: Seen | None) -> tuple[Tensor, Tensor]:
        """Code frames of one kind and move the weights: see `Mover`."""
        made = self._mover(frame, quality, seen, self.progress)
        self._moves += 1
        self._follow(min(DECAY, self._moves / (self._moves + DECAY_START)))
        return made

    def _keep_pace(self) -> None:
        """Wait for a GPU until only the last walk is before it: it never runs dry, and time is that of its work."""
        if self.device.type == "cuda":
            self._ends.append(torch.cuda.current_stream(self.device).record_event())
            if len(self._ends) > 1:
                self._ends.popleft().synchronize()

    @torch.no_grad()
    def _follow(self, decay: float) -> None:
        torch._foreach_lerp_(self._averaged, self._moved, 1 - decay)

    def about(self) -> dict[str, Any]:
        """Where the weights are from: what a base says of itself."""
        stage = {
            "script": "python -m codec.base train",
            "seconds": round(self.elapsed),
            "steps": self.step,
            "device": self.device.type,
            "settings": asdict(self.settings),
            "scenes": [_without_names(about) for about in self._scenes],
        }
        if self._start is not None:
            stage["start"] = self._start
        return {"stages": [*self._earlier, stage], "held": self.held}

    def save(self, path: Path) -> None:
        """Raises OutputError, and BaseError for weights that are no numbers."""
        if not all(p.isfinite().all() for p in self.codec.parameters()):
            raise BaseError(
                f"the training has diverged by step {self.step}; {path} is of before: go on at a lower --rate"
            )
        tensors = {f"codec.{k}": v for k, v in self.codec.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.average.state_dict().items()}
        tensors |= {f"optimizer.{k}": v for k, v in optimizer_tensors(self.optimisers).items()}
        meta = {"step": self.step, "moves": self._moves, "elapsed": self.elapsed, "earlier": self._earlier}
        meta |= {"start": self._start, "shape": asdict(self.codec.network.shape), "about": self.about()}
        checkpoint.save(path, tensors, meta)

    def restore(self, path: Path) -> None:
        """Inverse of `save`, on a new training. Raises CheckpointError."""
        tensors, meta = checkpoint.load(path)
        parts: dict[str, dict[str, Tensor]] = {"codec": {}, "average": {}, "optimizer": {}}
        try:
            for name, tensor in tensors.items():
                part, _, rest = name.partition(".")
                parts[part][rest] = tensor
            self.codec.load_state_dict(parts["codec"])
            self.average.load_state_dict(parts["average"])
            restore_optimizers(self.optimisers, parts["optimizer"])
            self.step, self._moves, self.elapsed = meta["step"], meta["moves"], meta["elapsed"]
            self._earlier, self._start, self.held = meta["earlier"], meta["start"], meta["about"]["held"]
        except (RuntimeError, LookupError, ValueError) as error:
            raise CheckpointError(f"{path} belongs to another network: choose a new folder, or --force") from error


def train(
    sets: Sequence[Scenes],
    held: Scenes | None,
    out: Path,
    settings: BaseSettings,
    say: Say,
    start: Path | None = None,
    device: torch.device = CPU,
    shape: Shape = DEFAULT_SHAPE,
) -> None:
    """Train into out/state.safetensors, a checkpoint each minute, and log into out/log.jsonl.

    Goes on from the checkpoint that lies in `out`. KeyboardInterrupt leaves one of that moment.
    Raises BaseError, CheckpointError, OutputError.
    """
    state = out / STATE
    if state.exists():  # its shape, not that of a start
        start, shape = None, Shape(**checkpoint.load(state)[1]["shape"])
    if device.type == "cuda":  # of float32, ten binary digits are multiplied: enough for products of integers here
        torch.set_float32_matmul_precision("high")
    held = None if held is None else held.to(device)
    training = Training(settings, sets, shape, start, device)
    if state.exists():
        training.restore(state)
    log = _Log(out / LOG, say)
    saved = evaluated = training.elapsed
    with deferred_interrupts() as interrupted:
        while training.progress < 1 and not interrupted():
            for kind, values in training.advance():
                log.add(kind, values)
            if training.elapsed - saved >= CHECKPOINT_SECONDS:
                if held is not None and training.elapsed - evaluated >= EVALUATION_SECONDS:
                    training.held = evaluate(training.average, held, device, training.dtype)
                    evaluated = training.elapsed
                    log.write(training, held=training.held)
                else:
                    log.write(training)
                training.save(state)
                saved = training.elapsed
        if training.progress >= 1 and held is not None:
            training.held = evaluate(training.average, held, device, training.dtype)
        log.write(training, held=training.held)
        training.save(state)
        if interrupted():
            raise KeyboardInterrupt


class _Log:
    """Means since the last line, one JSON object a line, by kind of frame."""

    def __init__(self, path: Path, say: Say) -> None:
        self._path, self._say = path, say
        self._told: dict[str, list[Tensor]] = {}

    def add(self, kind: str, values: Tensor) -> None:
        self._told.setdefault(kind, []).append(values)

    def write(self, training: Training, **more: Any) -> None:
        row: dict[str, Any] = {"step": training.step, "minutes": round(training.elapsed / 60, 2)}
        for kind, values in sorted(self._told.items()):
            row[kind] = dict(zip(REPORTED, torch.stack(values).mean(0).tolist(), strict=True))
        self._told.clear()
        line = json.dumps(_rounded(row | more))
        with self._path.open("a") as file:
            file.write(line + "\n")
        self._say(line)


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _rounded(v) for k, v in value.items()}
    return round(value, 4) if isinstance(value, float) else value


def _without_names(about: dict[str, Any]) -> dict[str, Any]:
    """What prepared scenes were made of, names counted: the list of all is in their folder."""
    made_of = {k: len(v) if k in ("clips", "photos") else v for k, v in about["made_of"].items()}
    return about | {"made_of": made_of}
