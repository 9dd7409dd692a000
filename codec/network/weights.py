"""Integers of a file to the weights of a network. Names and order of its tensors are those of `named_parameters`."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from bitstream import MalformedChunk, Part, QuantizedTensor, step


def part_of(name: str) -> Part:
    """Which part of the file a parameter counts to."""
    if name.startswith("embedding."):
        return Part.EMBEDDING
    return Part.CLIP if name.startswith("clip_head.") else Part.WEIGHT


def dequantize(tensors: tuple[QuantizedTensor, ...], model: nn.Module) -> None:
    """Load integers into a network, from the meta device to memory: value = integer x step. See `check_tensors`."""
    values = {}
    for (name, p), tensor in zip(model.named_parameters(), tensors, strict=True):
        steps = torch.from_numpy(step(tensor.steps)).view(-1, *[1] * (tensor.values.ndim - 1))
        values[name] = (torch.from_numpy(tensor.values.astype(np.float32)) * steps).view(p.shape)
    model.load_state_dict(values, assign=True)


def check_tensors(tensors: tuple[QuantizedTensor, ...], model: nn.Module) -> None:
    """Raise MalformedChunk where integers are not those of a network, which may lie on the meta device."""
    named = list(model.named_parameters())
    if len(named) != len(tensors):
        raise MalformedChunk(f"the segment holds {len(tensors)} tensors, the network of the header has {len(named)}")
    for (name, p), tensor in zip(named, tensors, strict=True):
        shape = (1, *p.shape) if p.ndim == 1 else tuple(p.shape)
        if tensor.values.shape != shape or tensor.part != part_of(name):
            raise MalformedChunk(
                f"tensor {name} of the network is {part_of(name).name} {shape}, "
                f"the file holds {tensor.part.name} {tensor.values.shape}"
            )
