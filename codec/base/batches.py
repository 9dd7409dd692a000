"""Prepared crops to batches: turned at random, each of one kind of frame."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from codec.base.crops import Crops
from codec.base.model import Batch
from codec.errors import BaseError
from codec.network.predictive.quality import QUALITIES

LOWEST_KEY = 20.0  # quality index that key frames are trained at
FLIPPED, TURNED, SWAPPED = 0.5, 0.3, 0.5  # shares of the batches


class Batches:
    """The batches of one training: a step's depends on the seed and its number alone, so that a resumed one goes on."""

    def __init__(self, sets: Sequence[Crops], count: int, key_share: float, seed: int) -> None:
        """count: crops of a batch. key_share: share of the batches that are of key frames. Raises BaseError."""
        if len({crops.size for crops in sets}) != 1:
            raise BaseError("the prepared crops are of several sizes: prepare all with the same --size")
        self._sets, self._count, self._key_share, self._seed = sets, count, key_share, seed

    def __getitem__(self, step: int) -> Batch:
        rng = np.random.default_rng((self._seed, step))
        predicted = bool(rng.random() >= self._key_share)
        planes, quality = self._predicted(rng) if predicted else self._keys(rng)
        if rng.random() < FLIPPED:
            planes = planes.flip(-1)
        if rng.random() < TURNED:
            planes = planes.mT
        if not predicted:
            return Batch(planes.contiguous(), None, quality)
        frame, *references = planes.split(3, 1)
        if rng.random() < SWAPPED:
            references.reverse()
        return Batch(frame.contiguous(), torch.cat(references, 1), quality)

    def _keys(self, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        planes = [crops.key[i] for crops, i in self._drawn([len(c.key) for c in self._sets], rng)]
        return _tensor(planes), torch.from_numpy(rng.uniform(LOWEST_KEY, QUALITIES - 1, self._count)).float()

    def _predicted(self, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        drawn = self._drawn([len(c.predicted) for c in self._sets], rng)
        quality = [crops.quality[i] - crops.spread[i] * rng.random() for crops, i in drawn]
        planes = [crops.predicted[i] for crops, i in drawn]
        return _tensor(planes), torch.tensor(quality).float().clamp(0, QUALITIES - 1)

    def _drawn(self, lengths: Sequence[int], rng: np.random.Generator) -> list[tuple[Crops, int]]:
        """Sets and places in them, every crop of all sets as likely."""
        ends = np.cumsum(lengths)
        found = np.sort(rng.integers(ends[-1], size=self._count))
        which = np.searchsorted(ends, found, side="right")
        return [(self._sets[k], int(i - ends[k] + lengths[k])) for k, i in zip(which, found, strict=True)]


def _tensor(planes: Sequence[NDArray[np.uint8]]) -> Tensor:
    return torch.from_numpy(np.stack(planes)).float()
