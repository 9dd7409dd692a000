"""What is told of an encode while it runs, and the evaluations in between."""

from __future__ import annotations

from typing import Protocol

import torch

from codec.encoding.estimate import Estimate, Forecast, Whole
from codec.encoding.logs import Log
from codec.network.interface import Network
from codec.quality import compare, cosine, split_mean
from codec.training.task import SegmentTask, Status

EVALUATED_TOGETHER = 8  # frames


class Progress(Protocol):
    """What is told of an encode while it runs."""

    def phase(self, name: str) -> None:
        """Another phase begins: scan, load, teacher, train, code or check."""

    def source(self, described: str) -> None:
        """What the frames are read from, once it has been scanned."""

    def segment(self, start: int, total: int, frames: int, parameters: int) -> None:
        """Training of a network for `frames` frames from frame `start` of `total` begins."""

    def expected(self, estimate: Estimate) -> None:
        """What the encode takes: of each segment, after its first steps."""

    def training(self, status: Status, left: float | None) -> None:
        """About once a second while training. left: seconds of the whole encode, None where they cannot be told yet."""

    def counted(self, done: int, total: int | None) -> None:
        """So many frames of a phase without training are done; total: None where it is not known."""

    def note(self, message: str) -> None:
        """Something that explains what is seen from now on."""

    def evaluated(self, epoch: int, scores: dict[str, float]) -> None:
        """Every eval_freq epochs."""


class Silent:
    """Progress that nobody watches."""

    def phase(self, name: str) -> None:
        pass

    def source(self, described: str) -> None:
        pass

    def segment(self, start: int, total: int, frames: int, parameters: int) -> None:
        pass

    def expected(self, estimate: Estimate) -> None:
        pass

    def training(self, status: Status, left: float | None) -> None:
        pass

    def counted(self, done: int, total: int | None) -> None:
        pass

    def note(self, message: str) -> None:
        pass

    def evaluated(self, epoch: int, scores: dict[str, float]) -> None:
        pass


class Watching:
    """Passes on what is told of one segment's encoding, and evaluates its snapshots."""

    def __init__(
        self, task: SegmentTask, whole: Whole, number: int, progress: Progress, log: Log, prepared: float = 0.0
    ) -> None:
        """number: of the segment; prepared: seconds that it took so far."""
        self._task, self._total, self._progress, self._log = task, whole.frames, progress, log
        self._prefix = f"segment_{number}/" if number else ""
        self._forecast, self._told = Forecast(task, whole, prepared), False

    def phase(self, name: str) -> None:
        self._progress.phase(name)

    def begin(self, parameters: int) -> None:
        self._progress.segment(self._task.start, self._total, self._task.geometry.frames, parameters)

    def note(self, message: str) -> None:
        self._progress.note(message)

    def counted(self, done: int, total: int) -> None:
        self._progress.counted(done, total)

    def status(self, status: Status) -> None:
        estimate = self._forecast.of(status)
        if estimate is not None and not self._told:
            self._told = True
            self._progress.expected(estimate)
        self._progress.training(status, None if estimate is None else estimate.left)
        shown = {"batch_psnr": status.psnr, "estimated_bits": status.bits, **status.scalars}
        self._log.scalars(shown, self._prefix, status.step)

    @torch.no_grad()
    def evaluate(self, epoch: int, model: Network) -> None:
        """Every frame, all patches, as a decoder would see them now."""
        task, device = self._task, torch.device(self._task.device)
        numbers = torch.arange(len(task.frames), device=device).split(EVALUATED_TOGETHER)
        measured = compare((model.frames(t).cpu().numpy() for t in numbers), iter(task.frames), device)
        similarity = None
        if task.features is not None:
            found = torch.cat([model.features(t) for t in numbers]).cpu().numpy()
            similarity = cosine(found, task.features)
        means = {
            name: split_mean(values, task.settings.source.split, part, len(task.frames))
            for name, values, part in (
                ("train_psnr", measured.psnr, "train"),
                ("val_psnr", measured.psnr, "val"),
                ("ms_ssim", measured.ms_ssim, "all"),
                ("train_clip_sim", similarity, "train"),
                ("val_clip_sim", similarity, "val"),
            )
        }
        scores = {name: mean for name, mean in means.items() if mean is not None}
        self._progress.evaluated(epoch, scores)
        if self._log.active:
            self._log.scalars(scores, self._prefix, epoch)
            middle = len(task.frames) // 2
            shown = model.frames(torch.tensor([middle], device=device))[0].cpu().numpy()
            self._log.picture(shown, task.frames[middle], model.geometry.grid, self._prefix, epoch)
