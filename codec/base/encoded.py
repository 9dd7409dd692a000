"""Clips as files have them, frame by frame: what rows are fitted to and filters are trained on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from bitstream.frame_table import CodedFrame
from codec.base.scenes import Frame
from codec.encoding.predictive.flow import Flows, luma, one_thread
from codec.encoding.predictive.frame import FrameEncoder, Known, Reference, known_of
from codec.encoding.predictive.gop import GopSettings, needed, order
from codec.encoding.predictive.temporal_filter import TemporalFilter
from codec.network.predictive.symbols import Symbols


@dataclass(frozen=True, eq=False)
class EncodedFrame:
    """A frame as a file holds it, and what it was made of."""

    coded: CodedFrame
    known: Known
    symbols: Symbols  # of its record
    towards: Frame  # what it was to look like, RGB [H, W, 3]
    wanted: float  # quality that its errors were weighed at: see `GopSettings.wanted`


def encoded(
    encoder: FrameEncoder, frames: Sequence[Frame], structure: GopSettings, quality: float
) -> Iterator[EncodedFrame]:
    """The frames of a clip, one scene, in coding order."""
    height, width = frames[0].shape[:2]
    planes = [luma(frame) for frame in frames]
    flows, average = Flows(planes), TemporalFilter(np.stack(frames), planes, ())
    kept: dict[int, Reference] = {}
    for planned in (p for group in order(len(frames), structure) for p in group):
        n, references = planned.number, {r: kept[r] for r in needed(planned, planes)}
        index, wanted = structure.quality(quality, planned), structure.wanted(quality, planned)
        with one_thread():
            towards = average(planned, wanted, structure.temporal_filter)
            found, kept[n] = encoder.encode(n, frames[n], references, index, flows, wanted, towards)
            known = known_of(n, references)
            symbols = encoder.read(found.coded, known, height, width)
        yield EncodedFrame(found.coded, known, symbols, towards, wanted)
