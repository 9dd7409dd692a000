"""Walks along prepared scenes: frames in the order in which an encoder codes them, each made from those before it.

A walk begins at a key frame, passes a few anchors and then halves the gap between the last two down to a leaf, in crops
at one place of each of several scenes. References are what the codec in training has made of the frames before, so it
meets its own errors, as they add up, and those of no other codec.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from codec.base.model import Seen
from codec.base.scenes import Scene, Scenes
from codec.encoding.predictive.gop import DROPS, TOP, Planned
from codec.errors import BaseError
from codec.network.predictive.motion import CELL
from codec.network.predictive.quality import QUALITIES

LOWEST = 20.0  # quality index asked for
AROUND = 8.0  # quality indices from the one that motion was searched at
MOST_ANCHORS = 4  # of a walk
FLIPPED, TURNED = 0.5, 0.3  # shares of the walks


@dataclass(frozen=True, eq=False)
class Step:
    """One frame of each scene of a walk."""

    frame: Tensor  # uint8 [B, 3, S, S]
    quality: Tensor  # float32 [B]
    references: Tensor | None  # int64 [B, 2]: places in the walk; None for key frames
    motion: Tensor  # int16 [B, 2, 2, S/8, S/8]
    sides: Tensor  # int8 [B, 1, S/8, S/8]
    level: int  # see `Planned`
    leaf: bool  # no other is made from it


@dataclass(frozen=True, eq=False)
class Crop:
    """Where a walk goes in one scene."""

    scene: Scene
    start: int  # the number of its key frame
    row: int  # of the motion grid, the first
    column: int
    top: float  # quality asked for


class Walks:
    """The walks of one training: each depends on the seed and its number alone, so that a resumed one goes on.

    They are on the device of the scenes.
    """

    def __init__(self, sets: Sequence[Scenes], count: int, seed: int) -> None:
        """count: scenes of a walk. Raises BaseError."""
        if len({s.size for s in sets}) != 1:
            raise BaseError("the prepared scenes are of several sizes: prepare all with the same --size")
        self.size, self._count, self._seed = sets[0].size, count, seed
        scenes = [scene for s in sets for scene in s.scenes]
        self._by_anchor: dict[int, list[Scene]] = {}
        for scene in scenes:
            if len(scene.frames) > 2 * scene.anchor:
                self._by_anchor.setdefault(scene.anchor, []).append(scene)
        if not self._by_anchor:
            raise BaseError("the prepared scenes are shorter than two gaps between anchors: nothing to train on")
        counts = np.array([len(found) for found in self._by_anchor.values()])
        self._shares = counts / counts.sum()
        self._photos = [s.photos for s in sets if s.photos is not None]

    def photos(self, number: int) -> tuple[Tensor, Tensor] | None:
        """Crops of photographs, uint8 [B, 3, S, S], and their qualities; None where there are none."""
        if not self._photos:
            return None
        rng = np.random.default_rng((self._seed, number, 1))
        found = []
        for _ in range(self._count):
            photo = self._photos[rng.integers(len(self._photos))]
            y, x = rng.integers(photo.shape[-1] - self.size + 1, size=2)
            found.append(photo[rng.integers(len(photo)), :, y : y + self.size, x : x + self.size])
        planes = torch.stack(found)
        if rng.random() < FLIPPED:
            planes = planes.flip(-1)
        quality = torch.from_numpy(rng.uniform(LOWEST, QUALITIES - 1, self._count)).float()
        return planes, quality.to(planes.device, non_blocking=True)

    def __getitem__(self, number: int) -> list[Step]:
        rng = np.random.default_rng((self._seed, number))
        anchor = int(rng.choice(list(self._by_anchor), p=self._shares))
        scenes = self._by_anchor[anchor]
        shortest = min(len(scene.frames) for scene in scenes) - 1
        planned = walk(anchor, int(rng.integers(2, max(3, min(MOST_ANCHORS, shortest // anchor) + 1))), rng)
        flipped, turned = rng.random() < FLIPPED, rng.random() < TURNED
        crops = [self._crop(scenes[rng.integers(len(scenes))], planned, rng) for _ in range(self._count)]
        device = scenes[0].frames.device
        tops = torch.tensor([crop.top for crop in crops]).to(device, non_blocking=True)
        places = torch.from_numpy(_places(crops, planned)).to(device, non_blocking=True)
        return [
            self._step(crops, p, quality_of(tops, p), place, flipped, turned, p is planned[-1])
            for p, place in zip(planned, places, strict=True)
        ]

    def _crop(self, scene: Scene, planned: Sequence[Planned], rng: np.random.Generator) -> Crop:
        last = max(p.number for p in planned)
        start = int(rng.choice(range(0, len(scene.frames) - last, scene.anchor)))
        row, column = (int(rng.integers((side - self.size) // CELL + 1)) for side in scene.frames.shape[2:])
        top = float(np.clip(scene.quality + rng.uniform(-AROUND, AROUND), LOWEST, QUALITIES - 1))
        return Crop(scene, start, row, column, top)

    def _step(
        self,
        crops: Sequence[Crop],
        planned: Planned,
        quality: Tensor,
        places: Tensor,
        flipped: bool,
        turned: bool,
        leaf: bool,
    ) -> Step:
        """One frame of a walk: its pixels and motion in every crop. flipped: left to right; turned: rows to columns."""
        parts = [self._cut(crop, crop.start + planned.number) for crop in crops]
        frame, motion, sides = (torch.stack(found) for found in zip(*parts, strict=True))
        if flipped:
            frame, motion, sides = frame.flip(-1), motion.flip(-1), sides.flip(-1)
            motion = torch.stack((motion[:, :, 0], -motion[:, :, 1]), 2)
        if turned:
            frame, motion, sides = frame.mT, motion.mT.flip(2), sides.mT
        references = places if planned.references else None
        return Step(frame, quality, references, motion, sides[:, None], planned.level, leaf)

    def _cut(self, crop: Crop, number: int) -> tuple[Tensor, Tensor, Tensor]:
        """A frame of a scene, its motion and sides, where the crop is."""
        scene, cells = crop.scene, self.size // CELL
        rows, columns = slice(crop.row, crop.row + cells), slice(crop.column, crop.column + cells)
        y, x = (slice(s.start * CELL, s.stop * CELL) for s in (rows, columns))
        return (
            scene.frames[number, :, y, x],
            scene.motion[number, :, :, rows, columns],
            scene.sides[number, rows, columns],
        )


def _places(crops: Sequence[Crop], planned: Sequence[Planned]) -> NDArray[np.int64]:
    """Where in the walk the references of each of its frames are, 0 where there are none: [frames, crops, 2]."""
    place_of = {p.number: place for place, p in enumerate(planned)}

    def places(crop: Crop, number: int) -> list[int]:
        return [place_of.get(int(r) - crop.start, 0) for r in crop.scene.references[crop.start + number]]

    return np.array([[places(crop, p.number) for crop in crops] for p in planned])


def seen_by(step: Step, decoded: Sequence[Tensor]) -> Seen | None:
    """What the frames of a step are made from. decoded: of the steps before, uint8 [B, 3, S, S] each."""
    if step.references is None:
        return None
    every = torch.stack(list(decoded))
    each = torch.arange(len(step.frame), device=every.device)
    references = torch.stack([every[places, each] for places in step.references.T], 1)
    return Seen(references, step.motion, step.sides)


def walk(anchor: int, anchors: int, rng: np.random.Generator) -> list[Planned]:
    """A key frame, anchors, and frames between the last two of these down to one beside its references."""
    planned = [Planned(0, (), 0), *(Planned((i + 1) * anchor, (i * anchor,), 1) for i in range(anchors))]
    left, right = (anchors - 1) * anchor, anchors * anchor
    while right - left > 1:
        middle = (left + right) // 2
        planned.append(Planned(middle, (left, right), planned[-1].level + 1))
        left, right = (left, middle) if rng.random() < 0.5 else (middle, right)
    return planned


def quality_of(top: Tensor, planned: Planned) -> Tensor:
    """`GopSettings.wanted`: qualities asked for [B] -> those of a frame [B]."""
    return (top - DROPS[planned.level] * ((QUALITIES - 1 - top) / TOP).clamp_max(1)).clamp_min(0)
