"""nvcodec as the benchmark sees it: its command line, at any preset, and nothing of its inside."""

from __future__ import annotations

import json
import re
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import process
from benchmarks.clips import Clip
from benchmarks.machine import ROOT
from codec.settings import PRESETS, PredictiveSettings

PREFIX = "nvcodec-"  # of the names; what follows is the preset
DEFAULT_BPP = (0.02, 0.04, 0.08, 0.16)
DEFAULT_QUALITIES = (32.0, 39.0, 46.0, 53.0)
_PROGRAM = (sys.executable, "-m", "nvcodec")


@dataclass(frozen=True)
class Ours:
    """One preset of nvcodec over a ladder of rates."""

    preset: str
    bpp: tuple[float, ...] = DEFAULT_BPP  # asked of overfitted networks; what comes out is measured
    minutes: float | None = None  # training time a point; None: as long as the preset takes
    device: str = "auto"
    teacher: tuple[str, str] | None = None  # open_clip model and weights; None: no CLIP head
    extension: str = ".nerv"
    container: str = "nerv file"
    note: str = ""
    qualities: tuple[float, ...] = DEFAULT_QUALITIES  # asked of predictive networks

    @property
    def name(self) -> str:
        return PREFIX + self.preset

    @property
    def points(self) -> tuple[str, ...]:
        if isinstance(PRESETS[self.preset].model, PredictiveSettings):  # it has no training to be given time
            return tuple(f"quality={quality:g} device={self.device}" for quality in self.qualities)
        budget = "" if self.minutes is None else f" minutes={self.minutes:g}"
        return tuple(f"bpp={bpp:g}{budget} device={self.device}" for bpp in self.bpp)

    @property
    def version(self) -> str:
        """Of the checkout, which need not be installed."""
        found = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
        return f"nvcodec {found[1] if found else 'of unknown version'}"

    def encode(self, settings: str, clip: Clip, stream: Path) -> list[str]:
        wanted = dict(word.split("=") for word in settings.split())
        options = [f"--{name}={value}" for name, value in wanted.items()]
        if self.teacher is None:
            options += ["--clip=off"]
        else:
            model, weights = self.teacher
            options += ["--clip=on", "--clip-model", model, "--clip-pretrained", weights]
        # All of it, whatever the preset would cut or leave out.
        options += [f"--crop-list={clip.height}_{clip.width}", "--data-split=1_1_1"]
        report = ["--report", str(_report(stream)), "--force", "--quiet"]
        return [*_PROGRAM, "encode", str(clip.video), "-o", str(stream), "--preset", self.preset, *options, *report]

    def decode(self, stream: Path, first_only: bool = False) -> list[str]:
        limit = ["--frames", "0:1"] if first_only else []
        return [*_PROGRAM, "decode", str(stream), "-o", "-", *limit, *self._device(), "--quiet"]

    def write_frames(self, stream: Path, clip: Clip, out: Path) -> int:
        process.run(self.decode(stream), stdout=out, cwd=ROOT)
        return out.stat().st_size // (clip.height * clip.width * 3)

    def features(self, stream: Path, clip: Clip) -> np.ndarray | None:
        if self.teacher is None:
            return None
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "features.npz"
            process.run(
                [*_PROGRAM, "decode", str(stream), "--features", str(out), *self._device(), "--quiet"], cwd=ROOT
            )
            with np.load(out) as held:
                features: np.ndarray = held["features"]
        return features.reshape(clip.frames, -1, features.shape[-1])

    def report(self, stream: Path) -> dict[str, Any]:
        """The encoder's own report."""
        found: dict[str, Any] = json.loads(_report(stream).read_text(encoding="utf-8"))
        return found

    def _device(self) -> list[str]:
        return ["--device", self.device]


def _report(stream: Path) -> Path:
    return stream.with_suffix(".json")
