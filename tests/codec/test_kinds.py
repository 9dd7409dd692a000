"""Another kind of network, added as docs/architecture.md says: a record, a spec, two modules and a line each."""

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from bitstream import Part, QuantizedTensor, Segment, header
from bitstream.fields import Record, Text, Uint
from codec import NervReader, encode, kinds
from codec.console import described
from codec.decoding.info import info
from codec.decoding.verify import verify
from codec.kinds import Kind
from codec.settings import PRESETS, Settings
from codec.specs import Geometry
from codec.training.task import Coded, SegmentTask, Warn, Watcher
from tests.samples import moving_frames, write_images


@dataclass(frozen=True)
class FlatArchitecture:
    """Every frame is of one grey."""

    kind: str
    levels: int
    clip_dim: int = 0

    base_bytes: ClassVar = 0

    def check(self) -> None:
        pass


@dataclass(frozen=True)
class FlatSpec:
    levels: int
    clip_dim: int = 0
    base: bytes = b""

    @classmethod
    def parse(cls, architecture: FlatArchitecture, base: bytes) -> "FlatSpec":
        return cls(architecture.levels)

    def architecture(self) -> FlatArchitecture:
        return FlatArchitecture("flat", self.levels)

    def largest_map(self, geometry: Geometry) -> int:
        return 3 * geometry.height * geometry.width

    def operations(self, geometry: Geometry) -> int:
        return self.largest_map(geometry)

    def values_of_a_frame(self, geometry: Geometry) -> int:
        return self.largest_map(geometry)


@dataclass(frozen=True)
class FlatSettings:
    """It has none."""

    title = "Flat"

    def check(self) -> None:
        pass


class FlatNetwork:
    def __init__(self, geometry: Geometry, greys: NDArray[np.int16]) -> None:
        self.geometry, self.greys = geometry, torch.from_numpy(greys[0].astype(np.uint8))

    def frames(self, t: Tensor) -> Tensor:
        size = (self.geometry.height, self.geometry.width, 3)
        return self.greys[t].view(-1, 1, 1, 1).expand(-1, *size)

    def patch(self, t: Tensor, row: int, column: int) -> Tensor:
        y, x = self.geometry.spans(row, column)
        return self.frames(t)[:, slice(*y), slice(*x)]

    def features(self, t: Tensor) -> Tensor:
        raise ValueError("it has none")


def load(spec: FlatSpec, geometry: Geometry, segment: Segment, *where: Any) -> FlatNetwork:
    return FlatNetwork(geometry, segment.tensors[0].values)


def encode_frames(task: SegmentTask, watcher: Watcher, warn: Warn) -> Coded:
    watcher.begin(len(task.frames))
    greys = np.minimum(task.frames.reshape(len(task.frames), -1).mean(1).round(), 127).astype(np.int16)
    tensor = QuantizedTensor(Part.EMBEDDING, greys[None], np.zeros(1, np.uint8))
    return Coded(Segment(task.start, len(greys), (tensor,)), greys.size, 1, len(greys), 0.0)


@pytest.fixture
def flat(monkeypatch: pytest.MonkeyPatch) -> Settings:
    network, coder = ModuleType("flat_network"), ModuleType("flat_coder")
    vars(network).update(load=load, stored_values=lambda spec, geometry: geometry.frames)
    vars(coder).update(encode_frames=encode_frames, plan=lambda *_: FlatSpec(128))
    monkeypatch.setitem(sys.modules, "flat_network", network)
    monkeypatch.setitem(sys.modules, "flat_coder", coder)
    record = Record(FlatArchitecture, (("kind", Text(64)), ("levels", Uint(1, 128))))
    monkeypatch.setitem(header.ARCHITECTURES.named, "flat", record)
    kind = Kind(FlatArchitecture, FlatSpec, FlatSettings, "flat_network", "flat_coder")
    monkeypatch.setattr(kinds, "KINDS", (*kinds.KINDS, kind))
    settings = PRESETS["grid"].override(clip="off", segment=3)
    return replace(settings, preset="flat", model=FlatSettings())


def test_a_kind_goes_all_the_way(tmp_path: Path, flat: Settings) -> None:
    frames = moving_frames(5, 20, 36) // 2
    report = encode(write_images(tmp_path / "frames", frames), tmp_path / "v.nerv", flat, device="cpu")
    reader = NervReader(tmp_path / "v.nerv", "cpu")
    greys = frames.reshape(5, -1).mean(1).round().astype(np.uint8)
    assert reader.spec == FlatSpec(128)
    assert (reader[:] == greys[:, None, None, None]).all()
    assert reader.patch(4, 1, 3).shape == (10, 9, 3)
    assert (report["segments"], report["parameters"]) == (2, 5)
    assert verify(tmp_path / "v.nerv", tmp_path / "frames", device="cpu")["psnr"] == pytest.approx(report["psnr"])
    facts = info(tmp_path / "v.nerv")
    assert facts["architecture"] == {"kind": "flat", "levels": 128, "clip_dim": 0}
    assert "5 parameters, kind flat, levels 128" in described(facts, "v.nerv")
