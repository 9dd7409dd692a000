"""What a base makes of clips: the integers of each frame, as an encoder codes them and a decoder will read them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from codec.base.model import Codec
from codec.base.scenes import Frame
from codec.encoding.predictive.flow import Flows, luma, one_thread
from codec.encoding.predictive.frame import Encoded, FrameEncoder, Reference
from codec.encoding.predictive.gop import GopSettings, Planned, needed, order
from codec.encoding.predictive.motion_search import SearchSettings
from codec.encoding.predictive.temporal_filter import TemporalFilter
from codec.network.predictive.frames import empty_symbols
from codec.network.predictive.symbols import Integers, Symbols
from codec.rate.carried import carry, way_ratio
from codec.side_by_side import as_they_can

STRUCTURE = GopSettings(anchor=16)


@dataclass(frozen=True, eq=False)
class Parsed:
    """The integers of one frame, and what is known of it before they are read."""

    symbols: Symbols
    quality: int
    ratio: float | None
    carried: Integers | None


class Parser:
    """Encodes sequences of frames with a base and reads what comes of them."""

    def __init__(self, codec: Codec) -> None:
        self._encoder = FrameEncoder(codec.network, codec.analysis, SearchSettings())

    def __call__(self, frames: Sequence[Frame], quality: float) -> Iterator[Parsed]:
        """Frames of a clip, RGB [H, W, 3], or a single one, as soon as each is coded."""
        planes = [luma(frame) for frame in frames]
        flows, towards = Flows(planes), TemporalFilter(np.stack(frames), planes, ())
        groups = order(len(frames), STRUCTURE)
        items = [replace(item, references=needed(item, planes)) for group in groups for item in group]
        kept: dict[int, Reference] = {}

        def encode(item: Planned, references: dict[int, Reference]) -> tuple[Reference, Parsed]:
            index, wanted = STRUCTURE.quality(quality, item), STRUCTURE.wanted(quality, item)
            target = towards(item, wanted, STRUCTURE.temporal_filter)
            frame = frames[item.number]
            encoded, decoded = self._encoder.encode(item.number, frame, references, index, flows, wanted, target)
            return decoded, self._read(encoded, references, frame)

        with one_thread():
            for item, (decoded, parsed) in as_they_can(items, encode, kept):
                kept[item.number] = decoded
                yield parsed

    def _read(self, encoded: Encoded, references: dict[int, Reference], frame: Frame) -> Parsed:
        coded, (height, width) = encoded.coded, frame.shape[:2]
        ratio = carried = None
        if references:
            carried = carry(coded.number, coded.references, {n: r.moved for n, r in references.items()})
            ratio = way_ratio(coded.number, coded.references)
        empty = empty_symbols(self._encoder.network, height, width, len(coded.references))
        where = f"frame {coded.number}"
        symbols = self._encoder.coder.read(coded.record, coded.flags, empty, coded.quality, ratio, where, carried)
        return Parsed(symbols, coded.quality, ratio, carried)
