"""Training: interrupted and resumed it comes to the same; a checkpoint is whole or the one before."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from codec.base.batches import Batches
from codec.base.crops import Crops
from codec.base.evaluate import evaluate
from codec.base.loop import LOG, STATE, BaseSettings, Training, train
from codec.base.losses import loss_of
from codec.base.model import read_weights
from codec.base.optimisers import optimisers, rate_at
from codec.errors import BaseError, CheckpointError
from codec.network.predictive.base_file import write_base
from codec.network.predictive.network import Shape
from tests.codec.base.conftest import SHAPE, tiny_codec

CPU = torch.device("cpu")
SETTINGS = BaseSettings(steps=6, batch=2)


def run(
    crops: Crops, held: Crops | None, out: Path, settings: BaseSettings = SETTINGS, start: Path | None = None
) -> list[str]:
    out.mkdir(exist_ok=True)
    said: list[str] = []
    train([crops], held, out, settings, said.append, start, CPU, SHAPE)
    return said


def same(a: Path, b: Path) -> bool:
    one, other = load_file(a), load_file(b)
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def test_a_resumed_training_is_the_uninterrupted_one(
    crops: Crops, held: Crops, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(crops, held, tmp_path / "whole")
    advance = Training.advance

    def interrupted(self: Training) -> object:
        if self.step == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return advance(self)

    with monkeypatch.context() as patch:
        patch.setattr(Training, "advance", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(crops, held, tmp_path / "parts")
    assert not same(tmp_path / "whole" / STATE, tmp_path / "parts" / STATE)
    run(crops, held, tmp_path / "parts")
    assert same(tmp_path / "whole" / STATE, tmp_path / "parts" / STATE)
    rows = [json.loads(line) for line in (tmp_path / "parts" / LOG).read_text().splitlines()]
    assert [row["step"] for row in rows] == [3, 6]
    assert sorted(p.name for p in (tmp_path / "parts").iterdir()) == [LOG, STATE]


def test_the_seed_decides(crops: Crops, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run(crops, None, tmp_path / name, BaseSettings(steps=2, batch=2, seed=seed))
    assert same(tmp_path / "a" / STATE, tmp_path / "b" / STATE)
    assert not same(tmp_path / "a" / STATE, tmp_path / "c" / STATE)


def test_training_lowers_the_loss(crops: Crops) -> None:
    training = Training(BaseSettings(steps=60, batch=2, rate=3.0), [crops], SHAPE, None, CPU)

    def loss() -> float:
        total = 0.0
        for step in range(1000, 1016):
            batch = training.batches[step]
            with torch.no_grad():
                total += float(loss_of(training.codec(batch), batch.quality, 32 * 32))
        return total

    before = loss()
    for _ in range(60):
        training.advance()
    assert loss() < 0.99 * before  # it starts as a codec already


def test_log_lines_tell_of_both_kinds_of_frame(crops: Crops, held: Crops, tmp_path: Path) -> None:
    said = run(crops, held, tmp_path / "run", BaseSettings(steps=8, batch=2))
    row = json.loads(said[-1])
    for kind in ("key", "predicted"):
        assert set(row[kind]) == {"loss", "bpp", "hyper_bpp", "psnr", "predicted_psnr"}
    assert set(row["held"]["key 42"]) == {"bpp", "psnr"}
    assert row["held"]["key 30"]["psnr"] < row["held"]["key 54"]["psnr"]
    assert row["held"]["key 30"]["bpp"] < row["held"]["key 54"]["bpp"]


def test_a_training_starts_from_the_weights_of_a_base(crops: Crops, tmp_path: Path) -> None:
    codec, path = tiny_codec(7), tmp_path / "base.safetensors"
    write_base(path, codec.network, codec.analysis, {"stages": [{"script": "earlier"}]})
    training = Training(SETTINGS, [crops], Shape(), path, CPU)
    stored = read_weights(path)
    assert training.codec.network.shape == SHAPE
    for name, p in training.codec.state_dict().items():
        assert torch.equal(p, stored.tensors[name])
    assert [stage["script"] for stage in training.about()["stages"]] == ["earlier", "python -m codec.base train"]
    run(crops, None, tmp_path / "run", start=path)
    run(crops, None, tmp_path / "run", BaseSettings(steps=7, batch=2), start=path)  # resumed, not started again
    assert len(read_weights(tmp_path / "run" / STATE).about["stages"]) == 2


def test_a_damaged_checkpoint_is_named(crops: Crops, tmp_path: Path) -> None:
    run(crops, None, tmp_path / "run", BaseSettings(steps=1, batch=2))
    state = tmp_path / "run" / STATE
    damaged = bytearray(state.read_bytes())
    damaged[-9] ^= 1
    state.write_bytes(damaged)
    with pytest.raises(CheckpointError, match="damaged"):
        run(crops, None, tmp_path / "run")


def test_weights_that_are_no_numbers_never_replace_a_checkpoint(crops: Crops, tmp_path: Path) -> None:
    training = Training(SETTINGS, [crops], SHAPE, None, CPU)
    state = tmp_path / STATE
    training.save(state)
    before = state.read_bytes()
    with torch.no_grad():
        training.codec.network.log_step[0, 0, 0] = torch.nan
    with pytest.raises(BaseError, match="diverged"):
        training.save(state)
    assert state.read_bytes() == before


def test_batches_of_a_step_are_always_the_same(crops: Crops) -> None:
    batches, again = (Batches([crops, crops], 4, 0.5, 3) for _ in range(2))
    kinds = set()
    for step in (5, 1, 7, 2, 30, 31):
        one, other = batches[step], again[step]
        assert torch.equal(one.frame, other.frame)
        assert torch.equal(one.quality, other.quality)
        assert one.frame.shape == (4, 3, 32, 32)
        assert 0 <= one.quality.min() <= one.quality.max() <= 63
        kinds.add(one.references is None)
        if one.references is not None:
            assert one.references.shape == (4, 6, 32, 32)
            assert (one.references[:, :3] - one.frame).abs().mean() < 20  # turned alike
    assert kinds == {True, False}


def test_crops_of_several_sizes_are_refused(crops: Crops) -> None:
    other = Crops(crops.key[..., :16, :16], crops.predicted, crops.quality, crops.spread, {})
    with pytest.raises(BaseError, match="several sizes"):
        Batches([crops, other], 2, 0.5, 1)


def test_every_parameter_is_moved_once(crops: Crops) -> None:
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


def test_evaluation_leaves_the_weights_alone(held: Crops) -> None:
    codec = tiny_codec()
    before = {k: v.clone() for k, v in codec.state_dict().items()}
    found = evaluate(codec, held, CPU, torch.float32)
    assert found == evaluate(codec, held, CPU, torch.float32)
    assert len(found) == 6
    assert all(torch.equal(v, before[k]) for k, v in codec.state_dict().items())
