"""The CLIP head of a segment: trained on the decoded frames' trunk features, quantized, coded within a budget."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bitstream import Segment, read_segment, write_segment
from codec.network.predictive.head import ClipHead
from codec.network.weights import dequantize
from codec.rate.quantize import Quantizer
from codec.settings import RateSettings

STEPS = 300  # of Adam; the features of a segment are few
LEARNING_RATE = 3e-3

Parameters = Mapping[str, Tensor]


def fit_head(
    pooled: Tensor, features: Tensor, rank: int, rate: RateSettings, seed: int, budget: float = math.inf
) -> bytes:
    """Weights of a head, coded. pooled: float32 [T, patches, C] of the trunk; features: the teacher's [T, patches, D].

    budget: bytes. Where the head does not go into it, it is rounded to fewer bits, then made narrower. It begins as the
    mean feature, which is the best that one constant can do, and stays it where nothing else that the budget holds is
    nearer; that much it takes at least.
    """
    with torch.inference_mode(False), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = ClipHead(pooled.shape[-1], rank, features.shape[-1])
        found = [_coded(_constant(head, features), rate)]
        width = rank
        while width:
            trained = _padded(_trained(pooled, features, width), head)
            found += (weights := list(_by_bits(trained, rate)))
            width = 0 if len(weights[0]) <= budget else width // 2
        fitting = [weights for weights in found[1:] if len(weights) <= budget]
        return max([found[0], *fitting], key=lambda weights: _nearness(weights, head, pooled, features))


def _trained(pooled: Tensor, features: Tensor, rank: int) -> ClipHead:
    head = ClipHead(pooled.shape[-1], rank, features.shape[-1])
    first, _, last = head.clip_head
    assert isinstance(first, nn.Linear)
    assert isinstance(last, nn.Linear)
    flat = pooled.flatten(0, 1)
    scale = flat.std(0).clamp_min(1e-3)
    first.weight.data = torch.randn_like(first.weight) / scale / flat.shape[1] ** 0.5
    first.bias.data = -first.weight.data @ flat.mean(0)
    torch.nn.init.zeros_(last.weight)
    last.bias.data = _mean(features)
    optimizer = torch.optim.Adam(head.parameters(), lr=LEARNING_RATE)
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * (1 - step / STEPS)
        loss = 1 - (head(pooled) * features).sum(-1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return head


def _mean(features: Tensor) -> Tensor:
    """The best constant feature."""
    return F.normalize(features.flatten(0, 1).mean(0), dim=0)


def _constant(head: ClipHead, features: Tensor) -> Parameters:
    """A head that tells the mean, whatever it sees."""
    *others, bias = (name for name, _ in head.named_parameters())
    return {name: torch.zeros_like(head.get_parameter(name)) for name in others} | {bias: _mean(features)}


def _padded(narrow: ClipHead, head: ClipHead) -> Parameters:
    """A narrow head's parameters in the shapes of another, whose further channels are zero."""
    shapes = {name: p.shape for name, p in head.named_parameters()}
    found = {name: torch.zeros(shape) for name, shape in shapes.items()}
    for name, p in narrow.named_parameters():
        found[name][tuple(map(slice, p.shape))] = p.detach()
    return found


def _by_bits(parameters: Parameters, rate: RateSettings) -> Iterator[bytes]:
    """At the bits of the settings, and at fewer and fewer."""
    bits = rate.clip_bits
    while bits >= 1:
        yield _coded(parameters, replace(rate, clip_bits=bits))
        bits -= 1


def _coded(parameters: Parameters, rate: RateSettings) -> bytes:
    return write_segment(Segment(0, 1, Quantizer(parameters, rate).quantize(parameters)))


def _nearness(weights: bytes, head: ClipHead, pooled: Tensor, features: Tensor) -> float:
    """Mean cosine of the features that a decoder will show; the head is left with these weights."""
    dequantize(read_segment(weights, "the CLIP head").tensors, head)
    with torch.no_grad():
        return float((head(pooled) * features).sum(-1).mean())
