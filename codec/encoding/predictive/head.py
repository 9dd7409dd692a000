"""The CLIP head of a segment: trained on the decoded frames' trunk features, quantized, coded."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bitstream import QuantizedTensor, Segment, write_segment
from codec.network.predictive.head import ClipHead
from codec.network.weights import dequantize
from codec.rate.quantize import Quantizer
from codec.settings import RateSettings

STEPS = 300  # of Adam; the features of a segment are few
LEARNING_RATE = 3e-3


def fit_head(pooled: Tensor, features: Tensor, rank: int, rate: RateSettings, seed: int) -> bytes:
    """Weights of a head, coded. pooled: float32 [T, patches, C] of the trunk; features: the teacher's [T, patches, D].

    It begins as the mean feature, which is the best that one constant can do, and stays it where what was trained is,
    once quantized, no nearer.
    """
    with torch.inference_mode(False), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = ClipHead(pooled.shape[-1], rank, features.shape[-1])
        first, _, last = head.clip_head
        assert isinstance(first, nn.Linear)
        assert isinstance(last, nn.Linear)
        flat = pooled.flatten(0, 1)
        scale = flat.std(0).clamp_min(1e-3)
        first.weight.data = torch.randn_like(first.weight) / scale / flat.shape[1] ** 0.5
        first.bias.data = -first.weight.data @ flat.mean(0)
        torch.nn.init.zeros_(last.weight)
        last.bias.data = F.normalize(features.flatten(0, 1).mean(0), dim=0)
        constant = _quantized(head, rate)
        optimizer = torch.optim.Adam(head.parameters(), lr=LEARNING_RATE)
        for step in range(STEPS):
            for group in optimizer.param_groups:
                group["lr"] = LEARNING_RATE * (1 - step / STEPS)
            loss = 1 - (head(pooled) * features).sum(-1).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        trained = _quantized(head, rate)
        nearest = max(constant, trained, key=lambda tensors: _nearness(tensors, head, pooled, features))
    return write_segment(Segment(0, 1, nearest))


def _quantized(head: ClipHead, rate: RateSettings) -> tuple[QuantizedTensor, ...]:
    parameters = {n: p.detach() for n, p in head.named_parameters()}
    return Quantizer(parameters, rate).quantize(parameters)


def _nearness(tensors: tuple[QuantizedTensor, ...], head: ClipHead, pooled: Tensor, features: Tensor) -> float:
    """Mean cosine of the features that a decoder will show; the head is left with these weights."""
    dequantize(tensors, head)
    with torch.no_grad():
        return float((head(pooled) * features).sum(-1).mean())
