"""What a decoder asks of a network, whatever its kind."""

from __future__ import annotations

from importlib import import_module
from typing import Protocol

import torch
from torch import Tensor

from bitstream import FrameSegment, Segment
from codec.kinds import kind_of
from codec.specs import Geometry, NetworkSpec


class Network(Protocol):
    """The network of one segment. Frames are counted from the segment's first.

    Frames may be asked for in any order; a network that makes frames from others keeps what it needs of those.
    """

    @property
    def geometry(self) -> Geometry: ...

    def frames(self, t: Tensor) -> Tensor:
        """Frame numbers int64 [B] -> uint8 [B, height, width, 3]."""

    def patch(self, t: Tensor, row: int, column: int) -> Tensor:
        """One patch of frames int64 [B] -> uint8 [B, h, w, 3], real pixels only."""

    def features(self, t: Tensor) -> Tensor:
        """Frame numbers int64 [B] -> float32 [B, patches, D], of unit length. ValueError where it has none."""


def load_network(
    spec: NetworkSpec, geometry: Geometry, segment: Segment | FrameSegment, device: torch.device, dtype: torch.dtype
) -> Network:
    """The network that a segment holds. Raises MalformedChunk where it holds none of this spec."""
    network: Network = import_module(kind_of(spec).network).load(spec, geometry, segment, device, dtype)
    return network
