"""Overfit one network to one segment: train, prune, train on quantized, hand over integers.

    float training --prune_at--> weights below a magnitude held at zero --qat_at--> trained as a decoder will see it

Every step runs the network on *effective* parameters: pruned, quantized once that has begun, cast to the
compute type. Float32 masters are what the optimisers move.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call

from bitstream import Part, Segment
from codec.network.backend import pick_dtype
from codec.network.dual_head import DualHeadHNeRV
from codec.network.weights import part_of
from codec.specs import LOSSES, DualHeadSpec
from codec.training import checkpoint
from codec.training.content_encoder import ContentEncoder
from codec.training.effective import EffectiveParameters
from codec.training.interrupts import deferred_interrupts
from codec.training.losses import feature_loss, pixel_loss
from codec.training.optim import optimizers
from codec.training.state import restore_state, training_state
from codec.training.task import Coded, SegmentTask, Status, Warn, Watcher
from codec.training.tiles import Tiles

CHECKPOINT_SECONDS = 60.0
FRAMES_A_STEP = 2  # where no batch size is given
STATUS_SECONDS = 1.0
TIMED_STEPS = 3  # after the first, before it is told how long the rest will take
QUANTIZED = (
    "from now on the network is trained as a decoder will see it, with rounded weights: the quality shown falls at "
    "first, and recovers"
)
ROUNDED = "the weights are rounded now, as a decoder will see them: the quality shown falls"
HEAD_START = 0.1  # times the usual initial weights of the CLIP head's output, so that its bias decides at first
SENSITIVITY_TILES = 16  # that the cost of quantization errors is measured on

StepFunction = Callable[..., tuple[Tensor, Tensor, Tensor | None]]  # Trainer._losses, as it is or compiled


def encode_frames(task: SegmentTask, watcher: Watcher, warn: Warn) -> Coded:
    """Overfit a network to the frames of a segment, from its checkpoint on if there is one.

    Raises ValueError for settings that do not fit the frames, CheckpointError for a checkpoint of another training.
    KeyboardInterrupt leaves a checkpoint of that moment.
    """
    trainer = Trainer(task, warn)
    watcher.begin(sum(p.numel() for p in trainer.model.parameters()))
    if task.state is not None and task.state.exists():
        restore_state(trainer, *checkpoint.load(task.state))
    return trainer.run(watcher)


class Trainer:
    """The state of one training and its steps."""

    def __init__(self, task: SegmentTask, warn: Warn = lambda message: None) -> None:
        spec, settings = task.spec, task.settings
        assert isinstance(spec, DualHeadSpec)
        self.task, self.settings, self.device = task, settings, torch.device(task.device)
        self.mix = LOSSES[settings.train.loss]
        self.schedule = settings.train.lr_type
        self.encoder: ContentEncoder | None = None
        with torch.random.fork_rng(devices=[]):  # the seed is this training's alone
            torch.manual_seed(settings.train.seed)
            self.model = DualHeadHNeRV(spec, task.geometry).to(self.device)
            if spec.embed.from_pixels:
                model, channels = settings.model, self.model.embedding.channels
                encoder = ContentEncoder(spec, channels, model.conv_type[0], model.num_blks[0], model.ks[0])
                self.encoder = encoder.to(self.device)
        self.model.cast(torch.float32)
        self.parameters = EffectiveParameters(self.model, settings.rate, pick_dtype(self.device), task.target_bytes)
        self.tiles = Tiles(self.model, task.frames, self.device)
        side = min(self.model.tile)
        if side < self.mix.smallest_side:
            raise ValueError(
                f"loss {settings.train.loss} needs tiles of {self.mix.smallest_side} pixels, these have {side}: "
                "choose another loss or a coarser grid"
            )
        self.features = None if task.features is None else self._tile_features(task.features)
        if self.features is not None:
            self._start_at_mean(self.features)
        self.train_tiles = self._train_tiles()
        batch = settings.train.batch_size or FRAMES_A_STEP * task.geometry.patches
        self.batch = max(1, batch * self.tiles.per_frame // task.geometry.patches)
        self.optimizers = self._optimizers()
        self.frozen = False
        self.step = 0
        self.elapsed = 0.0  # seconds of training so far
        self._last: tuple[Tensor, Tensor, Tensor | None] | None = None  # cells, target and mask of the last step
        self._loss: Tensor | None = None  # of the last step
        self._since: tuple[int, float] | None = None  # step and `elapsed` from which on steps are timed
        self._compiled: StepFunction | None = self._compile(warn) if settings.train.compile else None

    def _tile_features(self, features: np.ndarray) -> Tensor:
        """[T, patches, D] -> [tiles, patches of a tile, D]."""
        dim = features.shape[-1]
        return torch.from_numpy(features).to(self.device).reshape(len(self.tiles.cells), -1, dim)

    @torch.no_grad()
    def _start_at_mean(self, features: Tensor) -> None:
        """Begin with the best constant feature, the mean, as the CLIP head's bias: what is learned comes on top."""
        assert isinstance(self.model.clip_head, torch.nn.Sequential)
        output = self.model.clip_head[-1]
        assert isinstance(output, torch.nn.Linear)
        output.weight.mul_(HEAD_START)
        output.bias.copy_(torch.nn.functional.normalize(features.mean((0, 1)), dim=0))

    def _train_tiles(self) -> Tensor:
        """Numbers of the tiles to train on, int64: all patches of a frame go the same way."""
        frames = torch.arange(self.model.geometry.frames)
        a, _, c = self.settings.source.split
        chosen = frames[frames % c < a]
        per_frame = self.tiles.per_frame
        return (chosen[:, None] * per_frame + torch.arange(per_frame)).flatten()

    def _optimizers(self) -> list[torch.optim.Optimizer]:
        train = self.settings.train
        built = optimizers(self.model, train.optimizer, train.lr)
        if self.encoder is not None:
            built.append(torch.optim.Adam(self.encoder.parameters(), lr=train.lr))
        for optimizer in built:
            for group in optimizer.param_groups:
                group["peak"] = group["lr"]
        return built

    # ---- how far ----

    @property
    def steps_per_epoch(self) -> int:
        return -(-len(self.train_tiles) // self.batch)

    @property
    def epoch(self) -> int:
        return self.step // self.steps_per_epoch

    def progress(self) -> float:
        """Share of training that is done, 0 to 1 and over."""
        train = self.settings.train
        if train.minutes is not None:
            return self.elapsed / (60 * train.minutes)
        return self.step / (train.epochs * self.steps_per_epoch)

    # ---- one step ----

    def _losses(
        self, coords: Tensor, target: Tensor, mask: Tensor | None, latents: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Pixel loss, cells and features of a batch of tiles."""
        cells, features = functional_call(self.model, self.parameters.effective(), (coords, latents))
        return pixel_loss(self.mix, cells, target, mask, self.tiles.stride), cells, features

    def _compile(self, warn: Warn) -> StepFunction:
        compiled = torch.compile(self._losses)

        def attempt(*args: Any) -> tuple[Tensor, Tensor, Tensor | None]:
            try:
                return compiled(*args)
            except Exception as error:  # whatever a compiler can throw: plain torch is always there
                reason = str(error).strip().splitlines() or [type(error).__name__]
                warn(f"torch.compile failed ({reason[0][:120]}); training goes on without it")
                self._compiled = None
                return self._losses(*args)

        return attempt

    def train_step(self) -> None:
        """One optimiser step on the next batch of this epoch's order."""
        self._phases()
        place = self.step % self.steps_per_epoch * self.batch
        index = self._order()[place : place + self.batch].to(self.device)
        target, mask = self.tiles.cells[index], self.tiles.masks(index)
        latents = self.encoder(self.tiles.pixels(index)) if self.encoder is not None else None
        loss, cells, features = (self._compiled or self._losses)(self.tiles.coords[index], target, mask, latents)
        train = self.settings.train
        if features is not None and self.features is not None and self._warm():
            loss = loss + train.clip_loss_weight * feature_loss(features, self.features[index])
        loss.backward()
        multiplier = self.schedule.multiplier(min(self.progress(), 1.0))
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * multiplier
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.step += 1
        self._last, self._loss = (cells, target, mask), loss.detach()

    def _warm(self) -> bool:
        """Whether the CLIP term counts yet; a training shorter than its warm-up learns features in its second half."""
        train = self.settings.train
        warmup = train.pixel_loss_warmup_epochs
        if train.minutes is None:
            warmup = min(warmup, train.epochs // 2)
        return self.epoch >= warmup

    def _order(self) -> Tensor:
        """This epoch's order of tiles, the same whenever it is asked for: a resumed epoch goes on where it stopped."""
        if getattr(self, "_order_epoch", None) != self.epoch:
            generator = torch.Generator().manual_seed(self.settings.train.seed * 1_000_003 + self.epoch)
            self._order_of_epoch = self.train_tiles[torch.randperm(len(self.train_tiles), generator=generator)]
            self._order_epoch = self.epoch
        return self._order_of_epoch

    # ---- phases ----

    def _phases(self) -> None:
        progress, rate = self.progress(), self.settings.rate
        if rate.prune and progress >= rate.prune_at:
            self._prune()
        if progress >= rate.qat_at:
            self._quantize()

    def _prune(self) -> None:
        if not self.parameters.pruned:
            self.parameters.prune()

    def _quantize(self) -> None:
        """From now on as a decoder will see it."""
        self.freeze()
        if self.parameters.quantizer is None:
            self.parameters.start_quantizing(self._gradients)

    @torch.no_grad()
    def freeze(self) -> None:
        """Turn what only training has into stored parameters: latents instead of the encoder."""
        if self.frozen:
            return
        self.frozen = True
        if self.encoder is not None:
            self._store_latents(self.model)
            self.encoder = None
            with torch.enable_grad():
                self.optimizers = self._optimizers()

    @torch.no_grad()
    def _store_latents(self, model: DualHeadHNeRV) -> None:
        assert self.encoder is not None
        for index in torch.arange(len(self.tiles.cells), device=self.device).split(self.batch):
            model.embedding.store(index, self.encoder(self.tiles.pixels(index)))

    def _gradients(self) -> Iterator[dict[str, Tensor]]:
        """Gradients of the loss on single tiles, spread evenly over the segment."""
        spread = torch.linspace(0, len(self.train_tiles) - 1, SENSITIVITY_TILES).round().long()
        parameters = dict(self.model.named_parameters())
        for index in self.train_tiles[spread.unique()].to(self.device).split(1):
            target, mask = self.tiles.cells[index], self.tiles.masks(index)
            loss, _, features = self._losses(self.tiles.coords[index], target, mask, None)
            if features is not None and self.features is not None:
                loss = loss + self.settings.train.clip_loss_weight * feature_loss(features, self.features[index])
            found = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
            yield {
                n: torch.zeros_like(p) if g is None else g for (n, p), g in zip(parameters.items(), found, strict=True)
            }

    # ---- the whole training ----

    def run(self, watcher: Watcher) -> Coded:
        """Train to the end. See `encode_frames`."""
        train, state = self.settings.train, self.task.state
        saved = reported = clock = time.perf_counter()
        quantized = self.parameters.quantizer is not None
        with deferred_interrupts() as interrupted:
            while self.progress() < 1:
                self.train_step()
                now = time.perf_counter()
                self.elapsed += now - clock
                self._since = self._since or (self.step, self.elapsed)
                if not quantized and self.parameters.quantizer is not None:
                    quantized = True
                    watcher.note(QUANTIZED)
                if now - reported > STATUS_SECONDS:
                    watcher.status(self._status())
                    reported = now
                if interrupted() or now - saved > CHECKPOINT_SECONDS:
                    if state is not None:
                        checkpoint.save(state, *training_state(self))
                    saved = time.perf_counter()
                    if interrupted():
                        raise KeyboardInterrupt
                at_epoch_end = self.step % self.steps_per_epoch == 0
                if at_epoch_end and self.epoch % train.eval_freq == 0 and self.progress() < 1:
                    watcher.evaluate(self.epoch, self.snapshot())
                clock = time.perf_counter()  # saving and evaluating are not training
        if self.settings.rate.prune:
            self._prune()
        self._quantize()
        if not quantized:
            watcher.note(ROUNDED)
        watcher.status(self._status())
        segment = Segment(self.task.start, self.task.geometry.frames, self.parameters.integers())
        frames = self.step / self.steps_per_epoch * len(self.train_tiles) / self.tiles.per_frame
        return Coded(segment, sum(t.values.size for t in segment.tensors), self.epoch, frames, self.elapsed)

    def _status(self) -> Status:
        psnr = float("nan")  # of a training that had ended before it was resumed
        if self._last is not None:
            cells, target, mask = self._last
            error = (cells.detach().clamp(0, 1) * 255 - target).square()
            mse = float(error.mean() if mask is None else error[mask.expand_as(error)].mean())
            psnr = 10 * float(np.log10(255**2 / max(mse, 1e-9)))
        fraction = min(self.progress(), 1.0)
        train = self.settings.train
        epochs = None if train.minutes is not None else train.epochs
        scalars = {} if self._loss is None else {"loss": float(self._loss)}
        for optimizer in self.optimizers:
            scalars[f"lr_{type(optimizer).__name__.lower()}"] = optimizer.param_groups[0]["lr"]
        return Status(self.epoch, epochs, fraction, psnr, self.parameters.bits(), self._seconds(), self.step, scalars)

    def _seconds(self) -> float | None:
        """That the whole training takes; the first step, which sets things up, tells nothing of the others."""
        if (minutes := self.settings.train.minutes) is not None:
            return 60 * minutes
        left = self.settings.train.epochs * self.steps_per_epoch - self.step
        if left <= 0:
            return self.elapsed
        if self._since is None or self.step - self._since[0] < TIMED_STEPS:
            return None
        pace = (self.elapsed - self._since[1]) / (self.step - self._since[0])
        return self.elapsed + pace * left

    @torch.no_grad()
    def snapshot(self) -> DualHeadHNeRV:
        """A copy of the network as a decoder would see it now, in evaluation mode."""
        model = copy.deepcopy(self.model)
        if self.encoder is not None:
            self._store_latents(model)
        for name, p in self.parameters.effective().items():
            if self.encoder is None or part_of(name) is not Part.EMBEDDING:
                model.get_parameter(name).data = p.detach()
        return model.eval()
