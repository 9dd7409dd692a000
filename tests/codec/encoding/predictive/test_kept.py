"""An interrupted encode of predicted frames goes on from the frames that it has, to the same bytes."""

from __future__ import annotations

import os
import signal
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bitstream import CodedFrame
from codec.encoding.predictive import kept as module
from codec.encoding.predictive import structures
from codec.encoding.predictive.coder import encode_frames, plan
from codec.encoding.predictive.frame import Encoded, FrameEncoder, Reference
from codec.encoding.predictive.gop import GopSettings
from codec.encoding.predictive.kept import Kept, Key
from codec.errors import CheckpointError
from codec.settings import PRESETS
from codec.specs import Geometry
from codec.training import checkpoint
from codec.training.task import SegmentTask, Status, Unwatched
from tests.samples import moving_frames

FRAMES = 11


class Interrupting(Unwatched):
    """Sends a signal after so many frames."""

    def __init__(self, after: int) -> None:
        self._left = after

    def status(self, status: Status) -> None:
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGINT)


@pytest.fixture(scope="module")
def task() -> SegmentTask:
    """Of several structures, so that there are several tries."""
    settings = PRESETS["fast"].override(anchor=(2, 4), quality=45, clip="off")
    geometry = Geometry(FRAMES, 45, 63, (1, 1))
    spec = plan(settings, geometry, 0, None, lambda message: None)
    return SegmentTask(0, geometry, spec, moving_frames(FRAMES, 45, 63), None, settings)


@pytest.fixture
def searched(monkeypatch: pytest.MonkeyPatch) -> Counter[int]:
    """How often each frame is searched and encoded."""
    found: Counter[int] = Counter()
    encode = FrameEncoder.encode

    def counting(self: FrameEncoder, number: int, *of: Any) -> Any:
        found[number] += 1
        return encode(self, number, *of)

    monkeypatch.setattr(FrameEncoder, "encode", counting)
    return found


@pytest.mark.parametrize("after", [1, 8, 15])
def test_it_goes_on_from_where_it_was(after: int, task: SegmentTask, searched: Counter[int], tmp_path: Path) -> None:
    whole = encode_frames(task, Unwatched(), print).segment.payload()
    once = searched.total()
    task = replace(task, state=tmp_path / "state.safetensors")
    searched.clear()
    with pytest.raises(KeyboardInterrupt):
        encode_frames(task, Interrupting(after), print)
    assert after <= searched.total() <= after + 2
    again = encode_frames(task, Unwatched(), print).segment.payload()
    assert again == whole
    assert once <= searched.total() <= once + 2, "what ran when it was interrupted may run again"


def test_what_was_tried_of_the_beginning_is_not_taken_for_what_all_of_it_needs(
    task: SegmentTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The beginning ends with an anchor of its own, so what is made from that is made otherwise in the whole."""
    settings = task.settings.override(temporal_filter=(0,))
    whole = encode_frames(replace(task, settings=settings.override(anchor=(8,))), Unwatched(), print)
    monkeypatch.setattr(structures, "least", lambda row, cost, _: [cost(option) and option for option in row][-1])
    tried = encode_frames(replace(task, settings=settings.override(anchor=(4, 8), trial=(7, 7, 7))), Unwatched(), print)
    assert tried.segment.payload() == whole.segment.payload()


def test_without_a_state_an_interrupt_is_one(task: SegmentTask) -> None:
    with pytest.raises(KeyboardInterrupt):
        encode_frames(task, Interrupting(2), print)


def test_a_checkpoint_is_written_when_it_is_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SECONDS", 0.0)
    kept = Kept(tmp_path / "state")
    encoded = {Key(40.25, GopSettings(8), str(n)): frame(n) for n in range(3)}
    for key, value in encoded.items():
        kept.add(key, value, interrupted=False)
        again = Kept(tmp_path / "state")
        assert vars(again.get(key)) == vars(value)
    assert Kept(tmp_path / "state").get(Key(40.25, GopSettings(16), "0")) is None
    assert Kept(tmp_path / "state").get(Key(40.0, GopSettings(8), "0")) is None


def test_a_damaged_state_is_said(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        Kept(tmp_path / "state").add(Key(40.0, GopSettings(8), "0"), frame(0), interrupted=True)
    data = bytearray((tmp_path / "state").read_bytes())
    data[-3] ^= 1
    (tmp_path / "state").write_bytes(data)
    with pytest.raises(CheckpointError, match="is damaged"):
        Kept(tmp_path / "state")


def test_a_state_of_another_version_is_said(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        Kept(tmp_path / "state").add(Key(40.0, GopSettings(8), "0"), frame(0), interrupted=True)
    tensors, meta = checkpoint.load(tmp_path / "state")
    meta["frames"][0].pop("lineage")
    checkpoint.save(tmp_path / "state", tensors, meta)
    with pytest.raises(CheckpointError, match="another version"):
        Kept(tmp_path / "state")


def test_a_frame_is_decoded_as_it_was_encoded(task: SegmentTask, monkeypatch: pytest.MonkeyPatch) -> None:
    """Key frames, and frames of one reference and two, bit by bit: others are made from them."""
    encode, compared = FrameEncoder.encode, Counter[int]()

    def comparing(
        self: FrameEncoder, number: int, pixels: np.ndarray, references: dict[int, Reference], *of: Any
    ) -> tuple[Encoded, Reference]:
        encoded, made = encode(self, number, pixels, references, *of)
        again = self.decode(encoded.coded, references, *pixels.shape[:2])
        np.testing.assert_array_equal(again.shown, made.shown)
        np.testing.assert_array_equal(again.sides, made.sides)
        np.testing.assert_array_equal(again.moved.motion, made.moved.motion)
        assert again.moved.references == made.moved.references
        compared[len(references)] += 1
        return encoded, made

    monkeypatch.setattr(FrameEncoder, "encode", comparing)
    encode_frames(task, Unwatched(), print)
    assert set(compared) == {0, 1, 2}


def frame(number: int) -> Encoded:
    coded = CodedFrame(number, tuple(range(number)), 40 + number, 7, bytes(range(3 * number)))
    return Encoded(coded, {"motion": 1.25, "latents": 0.1}, 3.7 + number)
