"""The CLIP head of the predictive network: what the trunk knows of a patch, to the feature a teacher gives it.

It is trained on the video it belongs to and stored with its segment; its output layer begins as the mean feature.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bitstream import MalformedChunk, read_segment
from codec.network.predictive.transform import BLOCK
from codec.network.weights import check_tensors, dequantize
from codec.specs import Geometry, PredictiveSpec


class ClipHead(nn.Module):
    """Pooled trunk features -> features of unit length."""

    def __init__(self, features: int, rank: int, dim: int) -> None:
        super().__init__()
        self.clip_head = nn.Sequential(nn.Linear(features, rank), nn.GELU(), nn.Linear(rank, dim))

    def forward(self, pooled: Tensor) -> Tensor:
        """float32 [..., C] -> [..., D]."""
        return F.normalize(self.clip_head(pooled), dim=-1)

    @staticmethod
    def pool(trunk: Tensor, geometry: Geometry) -> Tensor:
        """Trunk features [B, C, H/8, W/8] -> means over the cells that each patch touches: float32 [B, patches, C]."""
        rows, columns = geometry.grid
        spans = [geometry.spans(r, c) for r in range(rows) for c in range(columns)]
        return torch.stack([trunk[..., _cells(y), _cells(x)].float().mean((-2, -1)) for y, x in spans], dim=1)


def _cells(pixels: tuple[int, int]) -> slice:
    return slice(pixels[0] // BLOCK, math.ceil(pixels[1] / BLOCK))


def load_head(weights: bytes, spec: PredictiveSpec, features: int) -> ClipHead | None:
    """The head that a segment holds; None where the file has none. Raises MalformedChunk for another one's weights."""
    if not spec.clip_dim:
        if weights:
            raise MalformedChunk("the segment holds weights of a head that the header does not have")
        return None
    with torch.device("meta"):
        head = ClipHead(features, spec.clip_rank, spec.clip_dim)
    tensors = read_segment(weights, "weights of the CLIP head").tensors
    check_tensors(tensors, head)
    dequantize(tensors, head)
    return head.eval()
