"""Overfit one network to one segment: train, prune, train on quantized, hand over integers.

    float training --prune_at--> weights below a magnitude held at zero --qat_at--> trained as a decoder will see it

Every step runs the network on *effective* parameters: pruned, quantized once that has begun, cast to the
compute type. Float32 masters are what the optimisers move.
"""

from __future__ import annotations

import copy
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call

from bitstream import Part, QuantizedTensor, Segment, write_segment
from codec.network.backend import pick_dtype
from codec.network.dual_head import DualHeadHNeRV, freeze_norms, stays_float32
from codec.network.weights import part_of
from codec.rate.quantize import Quantizer, estimated_bits, sensitivities
from codec.settings import Settings
from codec.specs import LOSSES, DualHeadSpec, Geometry, parse_schedule
from codec.training import checkpoint
from codec.training.content_encoder import ContentEncoder
from codec.training.losses import feature_loss, pixel_loss
from codec.training.optim import optimizers
from codec.training.tiles import Tiles

CHECKPOINT_SECONDS = 60.0
FRAMES_A_STEP = 2  # where no batch size is given
STATUS_SECONDS = 1.0
SENSITIVITY_TILES = 16  # that the cost of quantization errors is measured on
GAIN_OCTAVES = (-40.0, 10.0)  # between which the common gain of all steps is searched
GAIN_HALVINGS = 14


@dataclass(frozen=True)
class Status:
    """How far a training is, for a progress bar."""

    epoch: int
    epochs: int | None  # None: trained for a time
    fraction: float  # of this training, 0 to 1
    psnr: float  # dB, of the last batch
    bits: float  # estimated, of this segment
    seconds_left: float


StepFunction = Callable[..., tuple[Tensor, Tensor, Tensor | None]]  # Trainer._losses, as it is or compiled


class Watcher(Protocol):
    """What is told of a training while it runs."""

    def status(self, status: Status) -> None:
        """About once a second."""

    def evaluate(self, epoch: int, model: DualHeadHNeRV) -> None:
        """Every eval_freq epochs: the network as a decoder would see it now."""


@dataclass(frozen=True)
class Fitted:
    """A trained segment."""

    tensors: tuple[QuantizedTensor, ...]
    epochs: int
    steps: int
    frames: float  # trained on, over all steps, patches counted as parts of one
    seconds: float  # of training steps alone


def fit(
    spec: DualHeadSpec,
    geometry: Geometry,
    frames: np.ndarray,
    features: np.ndarray | None,
    settings: Settings,
    device: torch.device,
    watcher: Watcher,
    target_bytes: float | None = None,
    state: Path | None = None,
    warn: Callable[[str], None] = lambda message: None,
) -> Fitted:
    """Train on frames uint8 [T, H, W, 3] and features float32 [T, patches, D] or None.

    target_bytes: what the coded segment should come to (None: whatever the bits of the settings give); state: where the
    checkpoint is kept and, if it is there, training goes on from. KeyboardInterrupt leaves a checkpoint of that moment.
    """
    trainer = Trainer(spec, geometry, frames, features, settings, device, target_bytes, warn)
    if state is not None and state.exists():
        trainer.restore(*checkpoint.load(state))
    return trainer.run(watcher, state)


class Trainer:
    """The state of one training and its steps."""

    def __init__(
        self,
        spec: DualHeadSpec,
        geometry: Geometry,
        frames: np.ndarray,
        features: np.ndarray | None,
        settings: Settings,
        device: torch.device,
        target_bytes: float | None,
        warn: Callable[[str], None] = lambda message: None,
    ) -> None:
        self.settings, self.device, self.target_bytes = settings, device, target_bytes
        self.mix = LOSSES[settings.train.loss]
        self.schedule = parse_schedule(settings.train.lr_type)
        self.dtype = pick_dtype(device)
        torch.manual_seed(settings.train.seed)
        self.model = DualHeadHNeRV(spec, geometry).to(device)
        self.encoder: ContentEncoder | None = None
        if spec.embed.from_pixels:
            model, channels = settings.model, self.model.embedding.channels
            self.encoder = ContentEncoder(spec, channels, model.conv_type[0], model.num_blks[0], model.ks[0]).to(device)
        self.model.cast(torch.float32)
        self.tiles = Tiles(self.model, frames, device)
        side = min(self.model.tile)
        if side < self.mix.smallest_side:
            raise ValueError(
                f"loss {settings.train.loss} needs tiles of {self.mix.smallest_side} pixels, these have {side}: "
                "choose another loss or a coarser grid"
            )
        self.features = None if features is None else self._tile_features(features)
        self.train_tiles = self._train_tiles()
        batch = settings.train.batch_size or FRAMES_A_STEP * geometry.patches
        self.batch = max(1, batch * self.tiles.per_frame // geometry.patches)
        self.optimizers = self._optimizers()
        self.masks: dict[str, Tensor] = {}
        self.quantizer: Quantizer | None = None
        self.frozen = self.pruned = False
        self.step = 0
        self.elapsed = 0.0  # seconds of training so far
        self._last: tuple[Tensor, Tensor, Tensor | None] | None = None  # cells, target and mask of the last step
        self._step_function: StepFunction = self._losses
        if settings.train.compile:
            self._step_function = self._compiled(warn)

    def _tile_features(self, features: np.ndarray) -> Tensor:
        """[T, patches, D] -> [tiles, patches of a tile, D]."""
        dim = features.shape[-1]
        return torch.from_numpy(features).to(self.device).reshape(len(self.tiles.cells), -1, dim)

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

    def effective(self) -> dict[str, Tensor]:
        """Every parameter as the network runs on it now."""
        parameters: dict[str, Tensor] = {}
        for name, master in self.model.named_parameters():
            p = master * self.masks[name] if name in self.masks else master
            p = self.quantizer.fake(name, p) if self.quantizer is not None else p
            parameters[name] = p if stays_float32(name) else p.to(self.dtype)
        return parameters

    def _losses(
        self, coords: Tensor, target: Tensor, mask: Tensor | None, latents: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Pixel loss, cells and features of a batch of tiles."""
        cells, features = functional_call(self.model, self.effective(), (coords, latents))
        return pixel_loss(self.mix, cells, target, mask, self.tiles.stride), cells, features

    def _compiled(self, warn: Callable[[str], None]) -> StepFunction:
        compiled = torch.compile(self._losses)

        def attempt(*args: Any) -> tuple[Tensor, Tensor, Tensor | None]:
            try:
                return compiled(*args)
            except Exception as error:  # whatever a compiler can throw: plain torch is always there
                reason = str(error).strip().splitlines() or [type(error).__name__]
                warn(f"torch.compile failed ({reason[0][:120]}); training goes on without it")
                self._step_function = self._losses
                return self._losses(*args)

        return attempt

    def train_step(self) -> None:
        """One optimiser step on the next batch of this epoch's order."""
        self._phases()
        place = self.step % self.steps_per_epoch * self.batch
        index = self._order()[place : place + self.batch].to(self.device)
        target, mask = self.tiles.cells[index], self.tiles.masks(index)
        latents = self.encoder(self.tiles.pixels(index)) if self.encoder is not None else None
        loss, cells, features = self._step_function(self.tiles.coords[index], target, mask, latents)
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
        self._last = (cells, target, mask)

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
        if rate.prune and not self.pruned and progress >= rate.prune_at:
            self.prune()
        if self.quantizer is None and progress >= rate.qat_at:
            self.freeze()
            self.quantizer = self._fitting_quantizer()

    def prune(self) -> None:
        """Hold the smallest weights of all layers together at zero (global magnitude pruning, Han et al., 2015)."""
        weights = {n: p for n, p in self.model.named_parameters() if part_of(n) is Part.WEIGHT and p.ndim > 1}
        # relative to each layer's own size, or the widest layers would lose everything
        scores = {n: p.detach().abs() / p.detach().square().mean().sqrt() for n, p in weights.items()}
        flat = torch.cat([s.flatten() for s in scores.values()])
        count = int(self.settings.rate.prune * len(flat))
        if count:
            threshold = flat.kthvalue(count).values
            self.masks = {n: (s > threshold).to(torch.float32) for n, s in scores.items()}
        self.pruned = True

    @torch.no_grad()
    def freeze(self) -> None:
        """Turn what only training has into stored parameters: latents instead of the encoder, affine maps for norms."""
        if self.frozen:
            return
        self.frozen = True
        changed = self.encoder is not None or self.settings.model.norm == "bn"
        if self.encoder is not None:
            self._store_latents(self.model)
            self.encoder = None
        freeze_norms(self.model)
        if changed:
            with torch.enable_grad():
                self.optimizers = self._optimizers()

    @torch.no_grad()
    def _store_latents(self, model: DualHeadHNeRV) -> None:
        assert self.encoder is not None
        for index in torch.arange(len(self.tiles.cells), device=self.device).split(self.batch):
            model.embedding.store(index, self.encoder(self.tiles.pixels(index)))

    def _fitting_quantizer(self) -> Quantizer:
        """The quantizer of the settings; where a size is asked for and training goes on, the one that meets it."""
        rate = self.settings.rate
        parameters = self._masked()
        if self.target_bytes is None or rate.qat_at >= 1:
            return Quantizer(parameters, rate)
        sensitivity = sensitivities(self._gradients())
        low, high = GAIN_OCTAVES
        for _ in range(GAIN_HALVINGS):
            middle = (low + high) / 2
            tensors = Quantizer(parameters, rate, sensitivity, 2**middle).quantize(parameters)
            size = len(write_segment(Segment(0, self.model.geometry.frames, tensors)))
            low, high = (middle, high) if size > self.target_bytes else (low, middle)
        return Quantizer(parameters, rate, sensitivity, 2**high)

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

    def _masked(self) -> dict[str, Tensor]:
        named = self.model.named_parameters()
        return {n: (p * self.masks[n] if n in self.masks else p).detach() for n, p in named}

    # ---- the whole training ----

    def run(self, watcher: Watcher, state: Path | None = None) -> Fitted:
        """Train to the end. See `fit`."""
        train = self.settings.train
        saved = reported = clock = time.perf_counter()
        with _deferred_interrupts() as interrupted:
            while self.progress() < 1:
                self.train_step()
                now = time.perf_counter()
                self.elapsed += now - clock
                if now - reported > STATUS_SECONDS:
                    watcher.status(self._status())
                    reported = now
                if interrupted() or now - saved > CHECKPOINT_SECONDS:
                    if state is not None:
                        checkpoint.save(state, *self.state())
                    saved = time.perf_counter()
                    if interrupted():
                        raise KeyboardInterrupt
                at_epoch_end = self.step % self.steps_per_epoch == 0
                if at_epoch_end and self.epoch % train.eval_freq == 0 and self.progress() < 1:
                    watcher.evaluate(self.epoch, self.snapshot())
                clock = time.perf_counter()  # saving and evaluating are not training
        if not self.pruned and self.settings.rate.prune:
            self.prune()
        self.freeze()
        if self.quantizer is None:
            self.quantizer = self._fitting_quantizer()
        watcher.status(self._status())
        tensors = self.quantizer.quantize(self._masked())
        epochs = self.step / self.steps_per_epoch
        frames = epochs * len(self.train_tiles) / self.tiles.per_frame
        return Fitted(tensors, self.epoch, self.step, frames, self.elapsed)

    def _status(self) -> Status:
        psnr = float("nan")  # of a training that had ended before it was resumed
        if self._last is not None:
            cells, target, mask = self._last
            error = (cells.detach().clamp(0, 1) * 255 - target).square()
            mse = float(error.mean() if mask is None else error[mask.expand_as(error)].mean())
            psnr = 10 * float(np.log10(255**2 / max(mse, 1e-9)))
        parameters = self._masked()
        bits = estimated_bits(self.quantizer or Quantizer(parameters, self.settings.rate), parameters)
        fraction = min(self.progress(), 1.0)
        left = self.elapsed / max(fraction, 1e-6) * (1 - fraction)
        epochs = None if self.settings.train.minutes is not None else self.settings.train.epochs
        return Status(self.epoch, epochs, fraction, psnr, bits, left)

    @torch.no_grad()
    def snapshot(self) -> DualHeadHNeRV:
        """A copy of the network as a decoder would see it now, in evaluation mode."""
        model = copy.deepcopy(self.model)
        if self.encoder is not None:
            self._store_latents(model)
        for name, p in self.effective().items():
            if self.encoder is None or part_of(name) is not Part.EMBEDDING:
                model.get_parameter(name).data = p.detach()
        freeze_norms(model)
        return model.eval()

    # ---- checkpoints: state and restore are mirror images ----

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """All that `restore` needs to go on as if nothing had happened: tensors, and JSON."""
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        if self.encoder is not None:
            tensors |= {f"encoder.{k}": v for k, v in self.encoder.state_dict().items()}
        tensors |= {f"mask.{k}": v for k, v in self.masks.items()}
        if self.quantizer is not None:
            tensors |= {f"index.{k}": torch.from_numpy(v) for k, v in self.quantizer.indices.items()}
        for i, optimizer in enumerate(self.optimizers):
            for j, entries in optimizer.state_dict()["state"].items():
                tensors |= {f"optimizer.{i}.{j}.{k}": v for k, v in entries.items()}
        meta = {"step": self.step, "elapsed": self.elapsed, "frozen": self.frozen, "pruned": self.pruned}
        return tensors, meta

    def restore(self, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
        """Go on from `state`. Raises CheckpointError where it belongs to another network."""
        groups: dict[str, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            group, rest = name.split(".", 1)
            groups.setdefault(group, {})[rest] = tensor
        if meta["frozen"]:
            self.freeze()
        try:
            self.model.load_state_dict(groups["model"])
            if self.encoder is not None:
                self.encoder.load_state_dict(groups["encoder"])
            for i, optimizer in enumerate(self.optimizers):
                own = optimizer.state_dict()
                moved = [p for group in optimizer.param_groups for p in group["params"]]
                for name, tensor in groups.get("optimizer", {}).items():
                    number, parameter, key = name.split(".")
                    if int(number) == i:
                        p = moved[int(parameter)]
                        # laid out in memory as the parameter is: fused optimisers go through both side by side
                        like = torch.empty_like(p).copy_(tensor) if tensor.shape == p.shape else tensor
                        own["state"].setdefault(int(parameter), {})[key] = like
                optimizer.load_state_dict(own)
        except (RuntimeError, LookupError, ValueError) as error:
            raise checkpoint.CheckpointError(
                "the checkpoint belongs to another network: give the settings it was made with, or --force a new start"
            ) from error
        self.masks = {k: v.to(self.device) for k, v in groups.get("mask", {}).items()}
        if "index" in groups:
            indices = {k: v.numpy() for k, v in groups["index"].items()}
            self.quantizer = Quantizer.from_indices(indices, dict(self.model.named_parameters()))
        self.step, self.elapsed, self.pruned = meta["step"], meta["elapsed"], meta["pruned"]


@contextmanager
def _deferred_interrupts() -> Iterator[Callable[[], bool]]:
    """Hold back SIGINT and SIGTERM inside the block; the value tells whether one came. A second one is not held back.

    An interrupt in the middle of an optimiser step would leave a state that no uninterrupted training passes through.
    """
    came = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield came.is_set  # signals go to the main thread, whoever that is
        return

    def note(number: int, frame: Any) -> None:
        if came.is_set():
            raise KeyboardInterrupt
        came.set()

    heard = (s for s in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(s) is not signal.SIG_IGN)  # not under nohup
    before = {s: signal.signal(s, note) for s in heard}
    try:
        yield came.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
