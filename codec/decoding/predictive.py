"""The kind `predictive` as a decoder runs it: frames on demand, each from the frames it refers to, and features.

Only the chain of a wanted frame is read, parsed and computed; frames that do not refer to each other go through the
network as one batch; the newest decoded frames are kept, since others will refer to them. Features need no frame, and
no base.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import torch
from torch import Tensor

from bitstream import CodedFrame, FrameSegment, MalformedChunk
from codec.network.predictive.features import Features, read_features
from codec.network.predictive.frames import alike, empty_symbols, predict, reconstruct
from codec.network.predictive.network import PredictiveNetwork
from codec.network.predictive.store import find, load_network
from codec.network.predictive.symbols import MOTION, Symbols
from codec.rate.carried import Moved, carry
from codec.rate.records import FrameCoder
from codec.specs import Geometry, PredictiveSpec

FRAMES_KEPT = 40  # more than any chain of references is long
TOGETHER = 8  # frames in one batch


@lru_cache(2)
def _base(digest: bytes, device: torch.device, dtype: torch.dtype) -> tuple[PredictiveNetwork, FrameCoder]:
    """A base, and the coder of its records. Raises MissingBase."""
    with torch.inference_mode(False):
        network = load_network(find(digest))
        return network.to(device).eval().cast(dtype), FrameCoder(network)


def load(
    spec: PredictiveSpec, geometry: Geometry, segment: FrameSegment, device: torch.device, dtype: torch.dtype
) -> PredictiveDecoder:
    """A segment, ready to decode. Raises MalformedChunk for features of another shape."""
    features = None
    if spec.clip_dim:
        features = read_features(segment.features, (geometry.frames, geometry.patches, spec.clip_dim)).to(device)
    elif segment.features:
        raise MalformedChunk("the segment holds features that the header does not have")
    return PredictiveDecoder(lambda: _base(spec.base, device, dtype), features, geometry, segment, device)


def stored_values(spec: PredictiveSpec, geometry: Geometry) -> int:
    """Integers that one frame holds at most: what is in memory at once."""
    return spec.values_of_a_frame(geometry)


@dataclass(frozen=True, eq=False)
class Shown:
    """A decoded frame."""

    frame: Tensor  # uint8 [H, W, 3]
    moved: Moved


class PredictiveDecoder:
    """The frames of one segment. See `codec.network.interface.Network`."""

    def __init__(
        self,
        base: Callable[[], tuple[PredictiveNetwork, FrameCoder]],
        features: Features | None,
        geometry: Geometry,
        segment: FrameSegment,
        device: torch.device,
    ) -> None:
        """base: called when the first frame is asked for."""
        self._load_base, self._features, self._segment = base, features, segment
        self._geometry, self._device = geometry, device
        self._place_of = {frame.number: place for place, frame in enumerate(segment.coded)}
        self._shown: OrderedDict[int, Shown] = OrderedDict()  # by number

    @property
    def geometry(self) -> Geometry:
        return self._geometry

    @cached_property
    def _base(self) -> tuple[PredictiveNetwork, FrameCoder]:
        return self._load_base()

    def references(self, t: int) -> tuple[int, ...]:
        """The frames that frame t is made from, which are decoded before it."""
        return self._segment.coded[self._place_of[t]].references

    @torch.inference_mode()
    def frames(self, t: Tensor) -> Tensor:
        """Frame numbers int64 [B] -> uint8 [B, height, width, 3]. Raises MissingBase."""
        found = self._decoded(t.tolist())
        return torch.stack([shown.frame for shown in found])

    def patch(self, t: Tensor, row: int, column: int) -> Tensor:
        """One patch of frames int64 [B] -> uint8 [B, h, w, 3], real pixels only; their whole chains are decoded."""
        y, x = self._geometry.spans(row, column)
        return self.frames(t)[:, slice(*y), slice(*x)]

    @torch.inference_mode()
    def features(self, t: Tensor) -> Tensor:
        """Frame numbers int64 [B] -> float32 [B, patches, D], of unit length. ValueError where it has none."""
        if self._features is None:
            raise ValueError("this segment holds no features")
        return self._features.at(t)

    def _decoded(self, numbers: Sequence[int]) -> list[Shown]:
        """The frames asked for, with whatever of their chains is not at hand decoded first."""
        table = self._segment.coded
        missing: set[int] = set()
        waiting = list(numbers)
        while waiting:
            n = waiting.pop()
            if n not in missing and n not in self._shown:
                missing.add(n)
                waiting += table[self._place_of[n]].references
        depth: dict[int, int] = {}
        for place in sorted(self._place_of[n] for n in missing):
            frame = table[place]
            depth[frame.number] = 1 + max((depth.get(r, 0) for r in frame.references), default=0)
        groups: dict[tuple[int, int, tuple[bool, bool]], list[int]] = {}
        for n, d in depth.items():
            frame = table[self._place_of[n]]
            groups.setdefault((d, len(frame.references), alike(frame.flags)), []).append(n)
        have = dict(self._shown)
        for (_, count, _), group in sorted(groups.items()):
            for first in range(0, len(group), TOGETHER):
                have |= self._batch(group[first : first + TOGETHER], count, have)
        for n in (*missing, *numbers):
            self._shown[n] = have[n]
            self._shown.move_to_end(n)
        while len(self._shown) > FRAMES_KEPT:
            self._shown.popitem(last=False)
        return [have[n] for n in numbers]

    def _batch(self, numbers: list[int], references: int, have: dict[int, Shown]) -> dict[int, Shown]:
        """Frames of the same number of references, all of them at hand, and made alike."""
        height, width = self._geometry.height, self._geometry.width
        coded = [self._segment.record(self._place_of[n]) for n in numbers]
        symbols = [self._parsed(frame, have) for frame in coded]
        quality = torch.tensor([float(frame.quality) for frame in coded], device=self._device)
        shown = None
        if references:
            shown = torch.stack([have[r].frame for frame in coded for r in frame.references])
            shown = shown.unflatten(0, (-1, references)).permute(0, 1, 4, 2, 3)
        network, _ = self._base
        prediction = predict(network, shown, symbols, height, width)
        frames = reconstruct(network, symbols, prediction, quality, bool(references), height, width)
        moved = [Moved(frame.references, s.motion) for frame, s in zip(coded, symbols, strict=True)]
        return {n: Shown(*parts) for n, *parts in zip(numbers, frames, moved, strict=True)}

    def _parsed(self, frame: CodedFrame, have: dict[int, Shown]) -> Symbols:
        network, coder = self._base
        height, width = self._geometry.height, self._geometry.width
        ways = [r - frame.number for r in frame.references]
        where = f"frame {self._segment.start + frame.number}"
        empty = empty_symbols(network, height, width, len(ways))
        ratio = ways[-1] / ways[0] if ways else None
        carried = None
        if frame.flags & MOTION:
            carried = carry(frame.number, frame.references, {r: have[r].moved for r in frame.references})
        return coder.read(frame.record, frame.flags, empty, frame.quality, ratio, where, carried)
