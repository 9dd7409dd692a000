"""The CLIP features of a segment: their mean, vectors along which they leave it, and how far each patch is along these.

A patch changes little from frame to frame, so its coefficients are held as changes. No decoded frame is needed, nor the
base that frames are decoded with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bitstream import MAX_VALUE, MalformedChunk, Part, QuantizedTensor, Segment, read_segment, step, write_segment

WHERE = "the features of the segment"


@dataclass(frozen=True, eq=False)
class Features:
    """Features of every patch of a segment."""

    mean: Tensor  # float32 [D]
    vectors: Tensor  # float32 [r, D], for a coefficient of one step; r may be 0
    coefficients: Tensor  # int8 [T, patches, r], in steps

    def at(self, t: Tensor) -> Tensor:
        """Frame numbers int64 [B] -> float32 [B, patches, D], of unit length."""
        return F.normalize(self.mean + self.coefficients[t].float() @ self.vectors, dim=-1)

    def to(self, device: torch.device) -> Features:
        """The same on a device."""
        return Features(self.mean.to(device), self.vectors.to(device), self.coefficients.to(device))


def write_features(tensors: Sequence[QuantizedTensor]) -> bytes:
    """What a segment holds of features, of the tensors that `features_of` takes."""
    return write_segment(Segment(0, 1, tuple(tensors)))


def read_features(payload: bytes, shape: tuple[int, int, int]) -> Features:
    """The features [T, patches, D] that a segment holds. Raises MalformedChunk where it holds none of that shape."""
    segment = read_segment(payload, WHERE)
    if (segment.start, segment.frames) != (0, 1):
        raise MalformedChunk(f"{WHERE} are numbered {segment.start}, {segment.frames}, where 0, 1 belong")
    return features_of(segment.tensors, shape)


def features_of(tensors: Sequence[QuantizedTensor], shape: tuple[int, int, int]) -> Features:
    """The features [T, patches, D] that tensors stand for: the mean [1, D] and, where r > 0, vectors [r, D],
    coefficients of the first frame [r, patches] and, where there are more frames, changes [r, patches, T - 1].

    Raises MalformedChunk for any others, and for coefficients over 127 steps.
    """
    frames, patches, dim = shape
    rank = len(tensors[1].values) if len(tensors) > 1 else 0
    wanted: list[tuple[int, ...]] = [(1, dim)]
    if rank:
        wanted += [(rank, dim), (rank, patches)] + [(rank, patches, frames - 1)] * (frames > 1)
    found = [tensor.values.shape for tensor in tensors]
    if found != wanted:
        raise MalformedChunk(f"{WHERE} are tensors of {found}, where {wanted} belong")
    if rank > min(dim, frames * patches):
        raise MalformedChunk(f"{WHERE} have {rank} vectors, more than they can need")
    if any(tensor.part != Part.CLIP for tensor in tensors):
        raise MalformedChunk(f"{WHERE} count to another part than CLIP")
    mean = _restored(tensors[0])[0]
    if not rank:
        return Features(mean, torch.empty(0, dim), torch.empty(frames, patches, 0, dtype=torch.int8))
    first = tensors[2]
    if any((tensor.steps != first.steps).any() for tensor in tensors[3:]):
        raise MalformedChunk(f"{WHERE} change by other steps than they begin with")
    changes = np.concatenate([first.values[..., None], *(tensor.values for tensor in tensors[3:])], -1)
    integers = changes.cumsum(-1, dtype=np.int64)
    if np.abs(integers).max() > MAX_VALUE:
        raise MalformedChunk(f"{WHERE} have coefficients over {MAX_VALUE} steps")
    vectors = _restored(tensors[1]) * torch.from_numpy(step(first.steps))[:, None]
    coefficients = np.ascontiguousarray(integers.transpose(2, 1, 0), np.int8)
    return Features(mean, vectors, torch.from_numpy(coefficients))


def _restored(tensor: QuantizedTensor) -> Tensor:
    return torch.from_numpy(tensor.values * step(tensor.steps)[:, None])
