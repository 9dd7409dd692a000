"""Every kind of network, a line each: what stands for it in a header, and which modules decode and encode it.

Another kind is a record in bitstream/header.py, a spec that parses it, a module of network/ that decodes it, one that
makes it of frames, and a line here. Modules are named, so that a reader loads those of its file's kind alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bitstream import Architecture, Predictive
from codec.settings import ModelSettings, PredictiveSettings
from codec.specs import DualHeadSpec, NetworkSpec, PredictiveSpec


@dataclass(frozen=True)
class Kind:
    """One kind of network."""

    architecture: type  # its record in a file's header
    spec: type[NetworkSpec]  # the same as values: spec.parse(architecture), spec.architecture()
    settings: type  # what an encode is told of it: the `model` of its presets
    network: str  # module of decoding: load(spec, geometry, segment, device, dtype), stored_values(spec, geometry)
    coder: str  # module of encoding: plan(settings, geometry, clip_dim, size, warn), encode_frames(task, watcher, warn)


KINDS = (
    Kind(
        Architecture,
        DualHeadSpec,
        ModelSettings,
        network=f"{__package__}.network.dual_head",
        coder=f"{__package__}.encoding.dual_head",
    ),
    Kind(
        Predictive,
        PredictiveSpec,
        PredictiveSettings,
        network=f"{__package__}.decoding.predictive",
        coder=f"{__package__}.encoding.predictive.coder",
    ),
)


def parse_architecture(architecture: Any, base: bytes = b"") -> NetworkSpec:
    """The spec of whichever network a header describes, of a base or of none. Raises ValueError where it is none."""
    kind = next(kind for kind in KINDS if kind.architecture is type(architecture))
    return kind.spec.parse(architecture, base)


def kind_for(model: Any) -> Kind:
    """The kind that model settings are of."""
    return next(kind for kind in KINDS if kind.settings is type(model))


def kind_of(spec: NetworkSpec) -> Kind:
    """The kind that a spec belongs to."""
    return next(kind for kind in KINDS if kind.spec is type(spec))
