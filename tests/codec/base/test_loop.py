"""Training: interrupted and resumed it comes to the same; a checkpoint is whole or the one before."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from codec.base.evaluate import evaluate
from codec.base.loop import LOG, STATE, BaseSettings, Training, train
from codec.base.losses import loss_of
from codec.base.model import Codec, Outcome, Seen, read_weights
from codec.base.optimisers import optimisers, rate_at
from codec.base.scenes import Scenes
from codec.base.walks import seen_by
from codec.errors import BaseError, CheckpointError
from codec.network.predictive.base_file import write_base
from codec.network.predictive.network import Shape
from tests.codec.base.conftest import SHAPE, tiny_codec

CPU = torch.device("cpu")
SETTINGS = BaseSettings(steps=6, batch=2)


def run(
    scenes: Scenes, held: Scenes | None, out: Path, settings: BaseSettings = SETTINGS, start: Path | None = None
) -> list[str]:
    out.mkdir(exist_ok=True)
    said: list[str] = []
    train([scenes], held, out, settings, said.append, start, CPU, SHAPE)
    return said


def same(a: Path, b: Path) -> bool:
    one, other = load_file(a), load_file(b)
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def test_a_resumed_training_is_the_uninterrupted_one(
    scenes: Scenes, held: Scenes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(scenes, held, tmp_path / "whole")
    advance = Training.advance

    def interrupted(self: Training) -> object:
        if self.step == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return advance(self)

    with monkeypatch.context() as patch:
        patch.setattr(Training, "advance", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(scenes, held, tmp_path / "parts")
    assert not same(tmp_path / "whole" / STATE, tmp_path / "parts" / STATE)
    run(scenes, held, tmp_path / "parts")
    assert same(tmp_path / "whole" / STATE, tmp_path / "parts" / STATE)
    rows = [json.loads(line) for line in (tmp_path / "parts" / LOG).read_text().splitlines()]
    assert [row["step"] for row in rows] == [3, 6]
    assert sorted(p.name for p in (tmp_path / "parts").iterdir()) == [LOG, STATE]


def test_the_seed_decides(scenes: Scenes, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run(scenes, None, tmp_path / name, BaseSettings(steps=2, batch=2, seed=seed))
    assert same(tmp_path / "a" / STATE, tmp_path / "b" / STATE)
    assert not same(tmp_path / "a" / STATE, tmp_path / "c" / STATE)


def test_training_lowers_the_loss(scenes: Scenes) -> None:
    training = Training(BaseSettings(steps=8, batch=2, rate=3.0), [scenes], SHAPE, None, CPU)

    def loss() -> float:
        total = 0.0
        for number in range(1000, 1003):
            decoded: list[torch.Tensor] = []
            for step in training.walks[number]:
                with torch.no_grad():
                    outcome = training.codec(step.frame, step.quality, seen_by(step, decoded))
                decoded.append(outcome.frame)
                total += float(loss_of(outcome, step.quality, 32 * 32))
        return total

    before = loss()
    for _ in range(8):
        training.advance()
    assert loss() < 0.99 * before  # it starts as a codec already


def test_a_step_goes_along_a_walk_of_its_own_frames(scenes: Scenes, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a frame is made from is what became of those before, as a decoder has them."""
    training = Training(SETTINGS, [scenes], SHAPE, None, CPU)
    seen: list[Seen | None] = []
    made: list[torch.Tensor] = []
    forward = Codec.forward

    def watched(self: Codec, frame: torch.Tensor, quality: torch.Tensor, given: Seen | None) -> Outcome:
        outcome = forward(self, frame, quality, given)
        seen.append(given)
        made.append(outcome.frame)
        return outcome

    monkeypatch.setattr(Codec, "forward", watched)
    told = training.advance()
    assert [kind for kind, _ in told] == ["key", "anchor", "anchor", "leaf", "photo"]
    walk = training.walks[0]
    assert seen[0] is None
    assert seen[4] is None
    for place in (1, 2, 3):
        references, given = walk[place].references, seen[place]
        assert references is not None
        assert given is not None
        wanted = [[made[i][k] for i in row] for k, row in enumerate(references.tolist())]
        assert torch.equal(given.references, torch.stack([torch.stack(row) for row in wanted]))
        assert torch.equal(given.motion, walk[place].motion)
    for step, frame in zip(walk, made, strict=False):
        assert not torch.equal(step.frame, frame)


def test_log_lines_tell_of_every_kind_of_frame(scenes: Scenes, held: Scenes, tmp_path: Path) -> None:
    said = run(scenes, held, tmp_path / "run", BaseSettings(steps=2, batch=2))
    row = json.loads(said[-1])
    told = {"bpp", "hyper_bpp", "psnr", "predicted_psnr"}
    for kind in ("key", "anchor", "leaf", "photo"):
        assert set(row[kind]) == told | {"loss"}
    assert set(row["held"]) == {"key", "anchor", "leaf"}
    assert all(set(found) == told for found in row["held"].values())
    assert row["held"]["leaf"]["bpp"] < row["held"]["key"]["bpp"]


def test_a_training_starts_from_the_weights_of_a_base(scenes: Scenes, tmp_path: Path) -> None:
    codec, path = tiny_codec(7), tmp_path / "base.safetensors"
    write_base(path, codec.network, codec.analysis, {"stages": [{"script": "earlier"}]})
    training = Training(SETTINGS, [scenes], Shape(), path, CPU)
    stored = read_weights(path)
    assert training.codec.network.shape == SHAPE
    for name, p in training.codec.state_dict().items():
        assert torch.equal(p, stored.tensors[name])
    assert [stage["script"] for stage in training.about()["stages"]] == ["earlier", "python -m codec.base train"]
    run(scenes, None, tmp_path / "run", start=path)
    run(scenes, None, tmp_path / "run", BaseSettings(steps=7, batch=2), start=path)  # resumed, not started again
    assert len(read_weights(tmp_path / "run" / STATE).about["stages"]) == 2


def test_a_damaged_checkpoint_is_named(scenes: Scenes, tmp_path: Path) -> None:
    run(scenes, None, tmp_path / "run", BaseSettings(steps=1, batch=2))
    state = tmp_path / "run" / STATE
    damaged = bytearray(state.read_bytes())
    damaged[-9] ^= 1
    state.write_bytes(damaged)
    with pytest.raises(CheckpointError, match="damaged"):
        run(scenes, None, tmp_path / "run")


def test_weights_that_are_no_numbers_never_replace_a_checkpoint(scenes: Scenes, tmp_path: Path) -> None:
    training = Training(SETTINGS, [scenes], SHAPE, None, CPU)
    state = tmp_path / STATE
    training.save(state)
    before = state.read_bytes()
    with torch.no_grad():
        training.codec.network.log_step[0, 0, 0] = torch.nan
    with pytest.raises(BaseError, match="diverged"):
        training.save(state)
    assert state.read_bytes() == before


def test_every_parameter_is_moved_once() -> None:
    codec = tiny_codec()
    moved = [id(p) for o in optimisers(codec, 1.0) for group in o.param_groups for p in group["params"]]
    assert sorted(moved) == sorted(id(p) for p in codec.parameters())


def test_the_rate_rises_then_falls() -> None:
    rates = [rate_at(k / 200) for k in range(201)]
    peak = rates.index(max(rates))
    assert 0 < rates[0] < 0.05
    assert 2 <= peak <= 6
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert 0 < rates[-1] < 0.01
    assert rate_at(1.5) == rates[-1]


def test_evaluation_leaves_the_weights_alone(held: Scenes) -> None:
    codec = tiny_codec()
    before = {k: v.clone() for k, v in codec.state_dict().items()}
    found = evaluate(codec, held, CPU, torch.float32)
    assert found == evaluate(codec, held, CPU, torch.float32)
    assert found.keys() == {"key", "anchor", "leaf"}
    assert all(torch.equal(v, before[k]) for k, v in codec.state_dict().items())
