"""The kind `predictive` as a decoder runs it: frames on demand, each from the frames it refers to, and features.

Only the chain of a wanted frame is read, parsed and computed; frames that do not refer to each other go through the
network as one batch; the newest decoded frames are kept, since others will refer to them. What the parse of a frame
needs of others is integers alone, so for a single frame it runs in a thread ahead of the network. Features need no
frame, and no base.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TypeVar

import torch
from torch import Tensor

from bitstream import FrameSegment, MalformedChunk
from codec.network.predictive.features import Features, read_features
from codec.network.predictive.frames import alike, empty_symbols, predict, reconstruct
from codec.network.predictive.network import PredictiveNetwork
from codec.network.predictive.store import find, load_network
from codec.network.predictive.symbols import MOTION, Symbols
from codec.rate.carried import Moved, carry, way_ratio
from codec.rate.records import FrameCoder
from codec.specs import Geometry, PredictiveSpec

FRAMES_KEPT = 40  # more than any chain of references is long
TOGETHER = 8  # frames in one batch

Item = TypeVar("Item")
Result = TypeVar("Result")


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
        parts, have = self._parts(numbers), dict(self._shown)
        moved = {n: shown.moved for n, shown in have.items()}
        # One frame's chain leaves a core idle; a run of frames does not, and a thread more would only be in the way.
        in_turn = ahead if len(numbers) == 1 else map
        for symbols in in_turn(lambda part: {n: self._parsed(n, moved) for n in part}, parts):
            frames = self._made(symbols, have)
            have |= {n: Shown(frame, moved[n]) for n, frame in zip(symbols, frames, strict=True)}
        for n in (*have.keys() - self._shown, *numbers):
            self._shown[n] = have[n]
            self._shown.move_to_end(n)
        while len(self._shown) > FRAMES_KEPT:
            self._shown.popitem(last=False)
        return [have[n] for n in numbers]

    def _parts(self, numbers: Sequence[int]) -> list[list[int]]:
        """What of the chains of frames is not at hand, in an order to decode it in: frames that make one batch."""
        table = self._segment.coded
        missing: set[int] = set()
        waiting = list(numbers)
        while waiting:
            n = waiting.pop()
            if n not in missing and n not in self._shown:
                missing.add(n)
                waiting += self.references(n)
        depth: dict[int, int] = {}
        groups: dict[tuple[int, int, tuple[bool, bool]], list[int]] = {}
        for place in sorted(self._place_of[n] for n in missing):
            frame = table[place]
            depth[frame.number] = 1 + max((depth.get(r, 0) for r in frame.references), default=0)
            key = depth[frame.number], len(frame.references), alike(frame.flags)
            groups.setdefault(key, []).append(frame.number)
        return [
            group[first : first + TOGETHER]
            for _, group in sorted(groups.items())
            for first in range(0, len(group), TOGETHER)
        ]

    def _made(self, symbols: dict[int, Symbols], have: dict[int, Shown]) -> Tensor:
        """Frames of the same number of references, all of them at hand, and made alike: uint8 [B, H, W, 3]."""
        height, width = self._geometry.height, self._geometry.width
        coded, parsed = [self._segment.coded[self._place_of[n]] for n in symbols], list(symbols.values())
        quality = torch.tensor([float(frame.quality) for frame in coded], device=self._device)
        shown, references = None, len(coded[0].references)
        if references:
            shown = torch.stack([have[r].frame for frame in coded for r in frame.references])
            shown = shown.unflatten(0, (-1, references)).permute(0, 1, 4, 2, 3)
        network, _ = self._base
        prediction = predict(network, shown, parsed, height, width)
        return reconstruct(network, parsed, prediction, quality, bool(references), height, width)

    def _parsed(self, n: int, moved: dict[int, Moved]) -> Symbols:
        """The integers of frame n, whose references are in `moved`; it is then there as well."""
        network, coder = self._base
        frame = self._segment.record(self._place_of[n])
        where = f"frame {self._segment.start + n}"
        empty = empty_symbols(network, self._geometry.height, self._geometry.width, len(frame.references))
        carried = carry(n, frame.references, moved) if frame.flags & MOTION else None
        ratio = way_ratio(n, frame.references)
        symbols = coder.read(frame.record, frame.flags, empty, frame.quality, ratio, where, carried)
        moved[n] = Moved(frame.references, symbols.motion)
        return symbols


def ahead(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """`map`, each result but the first worked out in a thread while the caller uses the one before; no more are held.

    Raises what the function raises, in its turn.
    """
    with ThreadPoolExecutor(1) as thread:
        waiting = None
        for item in items:
            found, waiting = waiting, thread.submit(function, item)
            if found is not None:
                yield found.result()
        if waiting is not None:
            yield waiting.result()
