"""Training: it improves, ends the same when it was interrupted, prunes, keeps to frames, sizes and times given."""

import signal
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from bitstream import Part, QuantizedTensor, Segment, write_segment
from codec import quality
from codec.encoding.plan import plan
from codec.errors import CheckpointError
from codec.network.dual_head import DualHeadHNeRV
from codec.network.interface import Network, load_network
from codec.network.weights import check_tensors, dequantize
from codec.settings import PRESETS, Settings
from codec.specs import Geometry
from codec.training import fit as fitting
from codec.training.fit import Trainer, encode_frames
from codec.training.interrupts import deferred_interrupts
from codec.training.task import Coded, SegmentTask, Status, Unwatched
from tests.samples import moving_frames

FRAMES = moving_frames(6, 21, 34)  # on a grid of 2x4 the last row and column of patches are smaller
GEOMETRY = Geometry(6, 21, 34, (2, 4))
BASE: dict[str, Any] = {"fc_dim": 8, "epochs": 6, "prune": 0.2, "batch_size": 16, "clip": "off"}
EMBEDS = {"grid": "grid_3.4.1_4.8.6", "pe": "pe_1.25_20", "hnerv": "hnerv_4"}


def settings(embed: str = "grid", preset: str = "grid", **changes: Any) -> Settings:
    return PRESETS[preset].override(**BASE | {"embed": EMBEDS[embed]} | changes)


@dataclass
class Recorder(Unwatched):
    """A watcher that keeps what it is told, and does something at every step."""

    at_step: Callable[[Status], None] = lambda status: None
    statuses: list[Status] = field(default_factory=list)
    evaluated: dict[int, NDArray[np.uint8]] = field(default_factory=dict)

    def status(self, status: Status) -> None:
        self.statuses.append(status)
        self.at_step(status)

    def evaluate(self, epoch: int, model: Network) -> None:
        with torch.no_grad():
            self.evaluated[epoch] = model.frames(torch.arange(model.geometry.frames)).numpy()


@pytest.fixture(autouse=True)
def status_at_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "STATUS_SECONDS", 0.0)


def task_of(chosen: Settings, features: NDArray[np.float32] | None = None) -> SegmentTask:
    spec = plan(chosen, GEOMETRY, 0 if features is None else features.shape[-1], None)
    return SegmentTask(0, GEOMETRY, spec, FRAMES, features, chosen)


def train(
    chosen: Settings,
    features: NDArray[np.float32] | None = None,
    watcher: Recorder | None = None,
    **options: Any,
) -> Coded:
    return encode_frames(replace(task_of(chosen, features), **options), watcher or Recorder(), lambda message: None)


def decoded(chosen: Settings, tensors: tuple[QuantizedTensor, ...]) -> NDArray[np.uint8]:
    """The frames that a decoder makes of the integers."""
    model = DualHeadHNeRV(plan(chosen, GEOMETRY, 0, None), GEOMETRY)
    check_tensors(tensors, model)
    dequantize(tensors, model)
    with torch.no_grad():
        return model.eval().frames(torch.arange(GEOMETRY.frames)).numpy()


def psnr(chosen: Settings, fitted: Coded) -> float:
    return float(quality.psnr(decoded(chosen, fitted.segment.tensors), FRAMES).mean())


def same(a: Coded, b: Coded) -> bool:
    pairs = zip(a.segment.tensors, b.segment.tensors, strict=True)
    return all(np.array_equal(x.values, y.values) and np.array_equal(x.steps, y.steps) for x, y in pairs)


@pytest.mark.parametrize(
    ("embed", "optimizer", "rate"), [("grid", "muon", 0.01), ("pe", "muon", 0.01), ("hnerv", "adam", 0.005)]
)
def test_training_improves(embed: str, optimizer: str, rate: float) -> None:
    found = []
    for epochs in (1, 30):
        chosen = settings(embed, epochs=epochs, optimizer=optimizer, lr=rate)
        found.append(psnr(chosen, train(chosen)))
    assert found[1] > found[0] + 2


@pytest.mark.parametrize("conv_type", ["pshuffel", "conv", "interpolate", "convnext", "residual"])
def test_every_kind_of_block_trains_and_decodes(conv_type: str) -> None:
    """The watcher's snapshot is what a decoder sees, and training moves both."""
    chosen = settings("hnerv", conv_type=(conv_type, conv_type), epochs=4, eval_freq=3, qat_at=1, prune=0)
    chosen = chosen.override(weight_bits=8, embed_bits=8)
    watcher = Recorder()
    frames = decoded(chosen, train(chosen, watcher=watcher).segment.tensors)
    assert frames.std() > 1
    assert watcher.evaluated[3].shape == frames.shape
    assert np.abs(watcher.evaluated[3].astype(int) - frames).mean() < 40


INTERRUPTED = {
    "float": ({}, 0.3),
    "pruned": ({}, 0.6),
    "quantized": ({}, 0.9),
    "last step": ({}, 1.0),
    "pe, float": ({"embed": "pe"}, 0.4),
    "pe, quantized": ({"embed": "pe"}, 0.9),
    "hnerv, with its encoder": ({"embed": "hnerv"}, 0.6),
    "hnerv, latents stored": ({"embed": "hnerv"}, 0.9),
    "adam, split": ({"optimizer": "adam", "split": (2, 2, 3)}, 0.7),
}


@pytest.mark.parametrize(("changes", "fraction"), INTERRUPTED.values(), ids=INTERRUPTED)
def test_an_interrupted_training_ends_as_an_uninterrupted_one(
    tmp_path: Path, changes: dict[str, Any], fraction: float
) -> None:
    chosen = settings(**changes)
    state = tmp_path / "training.safetensors"

    def interrupt(status: Status) -> None:
        if status.fraction >= fraction:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(chosen, watcher=Recorder(interrupt), state=state)
    assert state.exists()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    watcher = Recorder()
    resumed = train(chosen, watcher=watcher, state=state)
    assert min(s.fraction for s in watcher.statuses) >= fraction
    uninterrupted = train(chosen)
    assert same(resumed, uninterrupted)
    assert (resumed.epochs, resumed.frames) == (uninterrupted.epochs, uninterrupted.frames)


def test_a_checkpoint_is_kept_while_training_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is killed leaves the last checkpoint, and training goes on from there."""
    monkeypatch.setattr(fitting, "CHECKPOINT_SECONDS", 0.0)
    state = tmp_path / "training.safetensors"

    class Killed(BaseException):
        pass

    def kill(status: Status) -> None:
        if status.fraction >= 0.85:
            raise Killed

    with pytest.raises(Killed):
        train(settings(), watcher=Recorder(kill), state=state)
    assert [p.name for p in tmp_path.iterdir()] == [state.name]
    assert same(train(settings(), state=state), train(settings()))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_an_interrupt_of_any_kind_waits_for_the_end_of_a_step(number: signal.Signals) -> None:
    with deferred_interrupts() as came:
        assert not came()
        signal.raise_signal(number)
        assert came()


def test_a_second_interrupt_is_not_held_back() -> None:
    def interrupt(status: Status) -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        pytest.fail("the second one was held back")

    with pytest.raises(KeyboardInterrupt):
        train(settings(), watcher=Recorder(interrupt))


def test_checkpoints_of_another_network_and_damaged_ones_are_refused(tmp_path: Path) -> None:
    state = tmp_path / "training.safetensors"
    with pytest.raises(KeyboardInterrupt):
        train(settings(), watcher=Recorder(lambda status: signal.raise_signal(signal.SIGINT)), state=state)
    with pytest.raises(CheckpointError, match="belongs to another network"):
        train(settings(fc_dim=9), state=state)
    state.write_bytes(state.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"training.safetensors is damaged .* --force"):
        train(settings(), state=state)


@pytest.mark.parametrize("share", [0.15, 0.6])
def test_the_share_to_prune_is_pruned(share: float) -> None:
    fitted = train(settings(prune=share, qat_at=1, weight_bits=8))
    weights = [t.values for t in fitted.segment.tensors if t.part is Part.WEIGHT and len(t.values) > 1]
    zeros = sum((w == 0).sum() for w in weights) / sum(w.size for w in weights)
    assert share - 0.001 <= zeros <= share + 0.1  # rounding to integers makes some more


def test_the_same_seed_gives_the_same_integers() -> None:
    assert same(train(settings(seed=5)), train(settings(seed=5)))
    assert not same(train(settings(seed=5)), train(settings(seed=6)))


def test_frames_outside_of_the_training_part_have_no_influence() -> None:
    chosen = settings("grid", split=(2, 2, 3))
    others = FRAMES.copy()
    others[2::3] = 255 - others[2::3]
    assert same(train(chosen), train(chosen, frames=others))
    others[0] = 255 - others[0]
    assert not same(train(chosen), train(chosen, frames=others))


def test_minutes_take_the_place_of_epochs() -> None:
    changes = {k: v for k, v in BASE.items() if k != "epochs"} | {"embed": EMBEDS["grid"], "minutes": 0.01}
    watcher = Recorder()
    fitted = train(PRESETS["grid"].override(**changes), watcher=watcher)
    assert fitted.seconds >= 0.6
    assert fitted.frames == pytest.approx(2 * (len(watcher.statuses) - 1))  # two a step, and one status more at the end
    assert watcher.statuses[0].epochs is None


def test_progress_rises_to_the_end() -> None:
    watcher = Recorder()
    fitted = train(settings(), watcher=watcher)
    fractions = [s.fraction for s in watcher.statuses]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1
    assert (fitted.epochs, watcher.statuses[-1].epoch, watcher.statuses[-1].epochs) == (6, 6, 6)
    assert fitted.frames == 36
    assert watcher.statuses[-1].psnr > watcher.statuses[0].psnr
    coded = 8 * len(write_segment(Segment(0, 6, fitted.segment.tensors)))
    assert watcher.statuses[-1].bits == pytest.approx(coded, rel=0.25)


def test_evaluations_come_every_so_many_epochs() -> None:
    watcher = Recorder()
    train(settings(eval_freq=2), watcher=watcher)
    assert list(watcher.evaluated) == [2, 4]  # what comes after the last is the result itself


@pytest.mark.parametrize("changes", [{}, {"qat_at": 1.0}, {"qat_at": 0.0, "lr": 0.05}, {"prune": 0.5}], ids=str)
@pytest.mark.parametrize("embed", EMBEDS)
def test_the_size_asked_for_is_met(embed: str, changes: dict[str, Any]) -> None:
    chosen = settings(embed, **{"epochs": 8, "prune": 0.0} | changes)
    free = len(write_segment(Segment(0, 6, train(chosen).segment.tensors)))
    for share in (0.4, 0.8):
        fitted = train(chosen, target_bytes=share * free)
        assert 0.95 <= len(write_segment(Segment(0, 6, fitted.segment.tensors))) / (share * free) <= 1


def test_features_are_learned_once_the_warm_up_is_over() -> None:
    rng = np.random.default_rng(0)
    features = rng.standard_normal((6, 8, 5)).astype(np.float32)
    features /= np.linalg.norm(features, axis=-1, keepdims=True)
    chosen = settings(epochs=100, pixel_loss_warmup_epochs=2, prune=0.0)
    trainer = Trainer(task_of(chosen, features))

    def head() -> torch.Tensor:
        return torch.cat(
            [p.detach().flatten() for n, p in trainer.model.named_parameters() if n.startswith("clip_head")]
        )

    before = head()
    while trainer.epoch < 2:
        trainer.train_step()
    assert torch.equal(head(), before)
    trainer.train_step()
    assert not torch.equal(head(), before)


def test_features_begin_at_their_mean_and_get_no_worse() -> None:
    rng = np.random.default_rng(0)
    features = rng.standard_normal((6, 8, 5)).astype(np.float32) + np.array([3, 0, 0, 0, 0], np.float32)
    features /= np.linalg.norm(features, axis=-1, keepdims=True)
    constant = quality.best_constant(features)
    mean = features.mean((0, 1)) / np.linalg.norm(features.mean((0, 1)))
    assert constant == pytest.approx(quality.cosine(np.broadcast_to(mean, features.shape), features).mean())

    trainer = Trainer(task_of(settings(epochs=2, prune=0.0), features))
    with torch.no_grad():
        begun = trainer.model.features(torch.arange(6)).numpy()
    assert quality.cosine(begun, features).mean() == pytest.approx(constant, abs=0.02)
    coded = train(settings(epochs=2, prune=0.0), features=features)
    network = load_network(trainer.task.spec, GEOMETRY, coded.segment, torch.device("cpu"), torch.float32)
    with torch.no_grad():
        assert quality.cosine(network.features(torch.arange(6)).numpy(), features).mean() > constant - 0.02


def test_a_training_shorter_than_its_warm_up_learns_features_in_its_second_half() -> None:
    features = np.zeros((6, 8, 5), np.float32)
    features[:, :4, 2] = 1
    features[:, 4:, 3] = 1  # one for each row of patches, so that their mean is like neither

    def similarity(**changes: Any) -> float:
        chosen = settings(epochs=40, pixel_loss_warmup_epochs=50, **changes)
        model = DualHeadHNeRV(plan(chosen, GEOMETRY, 5, None), GEOMETRY)
        dequantize(train(chosen, features=features).segment.tensors, model)
        with torch.no_grad():
            return float(quality.cosine(model.features(torch.arange(6)).numpy(), features).mean())

    assert similarity() > similarity(clip_loss_weight=0) + 0.05


def test_a_loss_that_tiles_are_too_small_for_is_refused() -> None:
    with pytest.raises(ValueError, match="loss Fusion10 needs tiles of 33 pixels, these have 21: choose another loss"):
        train(settings(loss="Fusion10"))


def test_a_compiler_that_fails_costs_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    def compiler(function: Any) -> Any:
        def broken(*args: Any) -> Any:
            raise RuntimeError("no C compiler\nand a long trace")

        return broken

    monkeypatch.setattr(torch, "compile", compiler)
    warnings: list[str] = []
    chosen = settings(compile=True)
    assert same(encode_frames(task_of(chosen), Recorder(), warnings.append), train(settings()))
    assert warnings == ["torch.compile failed (no C compiler); training goes on without it"]
