"""The CLIP features of a segment, coded in a budget of bytes. See `codec.network.predictive.features`.

One number, the *level*, sets all steps: an error of a value that n features share counts n times, so its step is
level / sqrt(n x the mean square of what it is multiplied with), and every bit saves the same error.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray

from bitstream import MAX_VALUE, Part, QuantizedTensor, nearest_step_index, step
from codec.network.predictive.features import features_of, write_features
from codec.quality import best_constant

Floats = NDArray[np.float64]

LEVELS = (1.0, 1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32)
RANKS = (0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
HOLDS = (1.0, 0.5)  # a coefficient keeps its integer until it is further off, in steps; 0.5: is always rounded
PEAK = (MAX_VALUE - 2) / 2 ** (1 / 16)  # of an integer, so that it fits at a step from the table, rounded or held
NEAR = 0.0005  # of clip_sim: what comes so near to the best is as good, and the smallest of it is taken
LOSS = 0.001  # of clip_sim, that rounding takes at most from a mean that stands alone
USEFUL = 0.75  # of what one constant vector misses: with half of it made good, a search finds next to nothing
GOOD = 0.99  # clip_sim that is enough whatever one constant vector has


@dataclass(frozen=True)
class CodedFeatures:
    """The features of a segment in some bytes."""

    payload: bytes
    rank: int  # vectors beside the mean
    clip_sim: float  # mean cosine with the teacher's


class FeatureCoder:
    """Codes the features of one segment in as many bytes as asked for."""

    def __init__(self, features: NDArray[np.floating]) -> None:
        """features: the teacher's, [T, patches, D], of unit length."""
        self._features = np.ascontiguousarray(features, np.float32)
        self._flat = self._features.reshape(-1, features.shape[-1])
        self._mean: Floats = self._flat.mean(0, keepdims=True, dtype=np.float64)
        self.coded = lru_cache(None)(self._coded)

    def within(self, budget: float) -> CodedFeatures:
        """The nearest to the teacher's that `budget` bytes hold. The mean is held in any case."""
        fitting = [self.constant, *self._tries(budget)]
        enough = max(found.clip_sim for found in fitting) - NEAR
        return min((f for f in fitting if f.clip_sim >= enough), key=lambda f: len(f.payload))

    @cached_property
    def constant(self) -> CodedFeatures:
        """The mean alone, in the fewest bytes that keep it as near as one constant vector can be, but for LOSS."""
        for level in (2.0**-n for n in range(16)):
            found = self.coded(0, level)
            if found.clip_sim >= best_constant(self._features) - LOSS:
                break
        return found

    @property
    def wanted(self) -> float:
        """The clip_sim that makes good USEFUL of what one constant vector misses, or is GOOD."""
        return min(1 - (1 - USEFUL) * (1 - self.constant.clip_sim), GOOD)

    @cached_property
    def useful(self) -> CodedFeatures:
        """The fewest bytes that reach `wanted`; where none do, the nearest."""
        found = list(self._tries(np.inf))
        wanted = min(self.wanted, max(f.clip_sim for f in found))
        return min((f for f in found if f.clip_sim >= wanted), key=lambda f: len(f.payload))

    @property
    def most(self) -> int:
        """Vectors that there can be."""
        return len(self._directions)

    def _tries(self, budget: float) -> Iterator[CodedFeatures]:
        """All that fit."""
        for level, hold in product(LEVELS, HOLDS):
            for rank in RANKS:
                if rank > self.most:
                    break
                found = self.coded(rank, level, hold)
                if len(found.payload) > budget:
                    break  # more vectors take more
                yield found

    @cached_property
    def _directions(self) -> Floats:
        """Unit vectors along which features leave their mean, the longest way first: [n, D]."""
        spread = self._flat - self._mean
        _, sizes, directions = np.linalg.svd(spread, full_matrices=False)
        return directions[: int((sizes > 1e-6 * len(spread) ** 0.5).sum())][: max(RANKS)]

    def _coded(self, rank: int, level: float, hold: float = HOLDS[0]) -> CodedFeatures:
        """With so many vectors, at a level."""
        frames, patches, _ = shape = self._features.shape
        count = len(self._flat)
        tensors = [quantized(self._mean, level / count**0.5)]
        if rank:
            spread, directions = self._flat - np.float32(restored(tensors[0])), self._directions[:rank]
            energy = np.square(spread @ np.float32(directions.T)).mean(0)
            tensors.append(quantized(directions, level / np.sqrt(count * energy + 1e-12)))
            along = spread @ np.float32(np.linalg.pinv(restored(tensors[1])))
            tensors += _over_time(along.reshape(frames, patches, rank), level, hold)
        shown = features_of(tensors, shape).at(torch.arange(frames)).numpy()
        near = np.einsum("tpd,tpd->tp", shown, self._features)
        return CodedFeatures(write_features(tensors), rank, float(near.mean(dtype=np.float64)))


def quantized(values: Floats, steps: float | Floats) -> QuantizedTensor:
    """Values [C, n] at steps near those asked for, one or one a channel, large enough that no integer is too large."""
    least = np.abs(values).max(1) / PEAK
    indices = nearest_step_index(np.maximum(np.broadcast_to(steps, len(values)), np.maximum(least, float(step(0)))))
    integers = np.rint(values / step(indices)[:, None]).clip(-MAX_VALUE, MAX_VALUE).astype(np.int16)
    return QuantizedTensor(Part.CLIP, integers, indices)


def restored(tensor: QuantizedTensor) -> Floats:
    """Inverse of `quantized`."""
    return tensor.values * step(tensor.steps).astype(np.float64)[:, None]


def _over_time(values: Floats, level: float, hold: float) -> list[QuantizedTensor]:
    """Coefficients [T, patches, rank] -> those of the first frame, and changes from frame to frame if there are any."""
    largest = max(np.abs(values).max(), np.abs(np.diff(values, axis=0)).max(initial=0.0))
    steps = nearest_step_index(max(level, float(largest) / PEAK))[None]
    wanted = values / step(steps)
    integers = np.rint(wanted).astype(np.int64)
    for before, now, exact in zip(integers[:-1], integers[1:], wanted[1:], strict=True):
        np.copyto(now, before, where=np.abs(exact - before) <= hold)
    turned = integers.transpose(2, 1, 0)  # [rank, patches, T]
    changes = np.diff(turned)
    return [QuantizedTensor(Part.CLIP, part, steps) for part in (turned[..., 0], changes) if part.size]
