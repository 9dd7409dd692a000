"""The kind `predictive` as a decoder runs it: frames on demand, each from the frames it refers to, and features.

Only the chain of a wanted frame is read, parsed and computed; the frames last used are kept, since others will refer to
them. On a CPU a run of frames is decoded several at once, a thread each. A single frame's chain leaves no such
choice: there operators share their work among threads, and parsing, which needs no more of other frames than integers,
runs ahead of the network. On a GPU frames that do not refer to each other go through the network as one batch. Features
need no frame, and no base.
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

from bitstream import CodedFrame, FrameSegment, MalformedChunk, chain
from codec.network.predictive.features import Features, read_features
from codec.network.predictive.frames import alike, empty_symbols, predict, reconstruct
from codec.network.predictive.network import PredictiveNetwork
from codec.network.predictive.store import find, load_network
from codec.network.predictive.symbols import MOTION, Symbols
from codec.rate.carried import Moved, carry, way_ratio
from codec.rate.records import FrameCoder
from codec.side_by_side import as_they_can
from codec.specs import Geometry, PredictiveSpec

FRAMES_KEPT = 40  # more than any chain of references is long
TOGETHER = 8  # frames in one batch; a run of fewer is too short to be decoded side by side

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
    return spec.largest_map(geometry) // 3


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
        chains, have = [self._segment.coded[place] for place in chain(self._segment.coded, *numbers)], dict(self._shown)
        missing = [frame for frame in chains if frame.number not in have]
        if self._device.type == "cpu" and len(numbers) >= TOGETHER:
            self._base  # noqa: B018  # loaded once, not by each thread
            for frame, shown in as_they_can(missing, self._alone, have):
                have[frame.number] = shown
        else:
            moved = {n: shown.moved for n, shown in have.items()}
            for symbols in ahead(lambda part: {n: self._parsed(n, moved) for n in part}, batches(missing)):
                frames = self._made(symbols, have)
                have |= {n: Shown(frame, moved[n]) for n, frame in zip(symbols, frames, strict=True)}
        for n in (*(frame.number for frame in chains), *numbers):  # what is in a chain is likely to be in the next
            self._shown[n] = have[n]
            self._shown.move_to_end(n)
        while len(self._shown) > FRAMES_KEPT:
            self._shown.popitem(last=False)
        return [have[n] for n in numbers]

    @torch.inference_mode()
    def _alone(self, frame: CodedFrame, references: dict[int, Shown]) -> Shown:
        moved = {n: shown.moved for n, shown in references.items()}
        symbols = self._parsed(frame.number, moved)
        return Shown(self._made({frame.number: symbols}, references)[0], moved[frame.number])

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


def batches(frames: Sequence[CodedFrame]) -> list[list[int]]:
    """Frames in coding order -> numbers of those that are one batch of the network, in an order to decode them in."""
    depth: dict[int, int] = {}
    groups: dict[tuple[int, int, tuple[int, bool]], list[int]] = {}
    for frame in frames:
        depth[frame.number] = 1 + max((depth.get(r, 0) for r in frame.references), default=0)
        key = depth[frame.number], len(frame.references), alike(frame.flags)
        groups.setdefault(key, []).append(frame.number)
    return [
        group[first : first + TOGETHER]
        for _, group in sorted(groups.items())
        for first in range(0, len(group), TOGETHER)
    ]


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
