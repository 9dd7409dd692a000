"""One segment to be encoded, and what comes of it: what every coder takes and gives, whatever its kind of network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from codec.network.interface import Network
from codec.settings import Settings
from codec.specs import Geometry, NetworkSpec

Warn = Callable[[str], object]


@dataclass(frozen=True, eq=False)
class SegmentTask:
    """All that the encoding of one segment depends on. It can be pickled, and encoded anywhere."""

    start: int  # of its frames in the file, the first
    geometry: Geometry
    spec: NetworkSpec
    frames: NDArray[np.uint8]  # [T, H, W, 3]
    features: NDArray[np.float32] | None  # of the teacher, [T, patches, D]; None: no CLIP head
    settings: Settings
    device: str = "cpu"
    target_bytes: float | None = None  # that it should be coded in; None: whatever the settings give
    state: Path | None = None  # where an interrupted encoding leaves a checkpoint, and goes on from one


@dataclass(frozen=True)
class Coded:
    """A segment as integers, and what it took to find them."""

    segment: Any  # Segment or FrameSegment, by the kind of network
    parameters: int  # values of the network that decodes it
    epochs: int
    frames: float  # trained on, over all steps, patches counted as parts of one
    seconds: float  # of training steps alone
    details: dict[str, Any] = field(default_factory=dict)  # what else the report says of it, as JSON has it
    advice: str | None = None  # on features that are of little use; "": they are not; None: the coder cannot tell


@dataclass(frozen=True)
class Status:
    """How far the encoding of a segment is."""

    epoch: int
    epochs: int | None  # None: trained for a time
    fraction: float  # of this training, 0 to 1
    psnr: float  # dB, of the last batch
    bits: float  # estimated, of this segment
    seconds: float | None  # that all of it takes, as far as can be told; None while too little has been timed
    step: int = 0  # of training, or frames encoded
    scalars: dict[str, float] = field(default_factory=dict)  # what else a log shows


class Watcher(Protocol):
    """What is told of an encoding while it runs."""

    def phase(self, name: str) -> None:
        """Another phase begins: train, code or check."""

    def begin(self, parameters: int) -> None:
        """Once, before it starts: how many values the network has."""

    def status(self, status: Status) -> None:
        """About once a second."""

    def evaluate(self, epoch: int, model: Network) -> None:
        """Every eval_freq epochs: the network as a decoder would see it now."""

    def note(self, message: str) -> None:
        """Something that explains what is seen from now on."""

    def counted(self, done: int, total: int) -> None:
        """So many frames of a phase without status are done."""


class Unwatched:
    """A watcher that takes no notice."""

    def phase(self, name: str) -> None:
        pass

    def begin(self, parameters: int) -> None:
        pass

    def status(self, status: Status) -> None:
        pass

    def evaluate(self, epoch: int, model: Network) -> None:
        pass

    def note(self, message: str) -> None:
        pass

    def counted(self, done: int, total: int) -> None:
        pass
