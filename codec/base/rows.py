"""Rows for motion and sides: of every context the one that takes the fewest bits on clips that a base encodes.

The rows are part of the format and of no base: they stand in `codec.rate`, and FORMAT.md repeats them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bitstream import MAX_VALUE, PEAKED, bit_costs
from bitstream.frames import CodedFrame
from codec.base.model import load_codec
from codec.base.scenes import Frame
from codec.encoding.predictive.flow import Flows, luma, one_thread
from codec.encoding.predictive.frame import FrameEncoder, Reference
from codec.encoding.predictive.gop import GopSettings, order
from codec.encoding.predictive.motion_search import SearchSettings
from codec.network.predictive.scales import LAST_ROW
from codec.network.predictive.symbols import CARRIED, Integers
from codec.rate.motion import MOTION_ROWS, Table, carry, code_motion
from codec.rate.sides import SIDE_ROWS, code_sides

FIRST_CONTEXT = 256  # contexts are told from rows by their numbers
FEWEST = 20  # values of a context that say something


class _Counts:
    """A port that counts what would be coded: contexts stand where rows do."""

    def __init__(self, contexts: int) -> None:
        self.counts = np.zeros((contexts, 2 * MAX_VALUE + 1), np.int64)

    def __call__(self, values: Integers, rows: Table) -> Integers:
        told = rows.ravel().astype(np.int64) - FIRST_CONTEXT
        np.add.at(self.counts, (told[told >= 0], values.ravel()[told >= 0].astype(np.int64) + MAX_VALUE), 1)
        return values


def fit_rows(base: Path, clips: Iterable[Sequence[Frame]], qualities: Sequence[float]) -> tuple[Table, Table]:
    """MOTION_ROWS and SIDE_ROWS for what a base makes of clips, each at the next of some qualities.

    Raises BaseError.
    """
    codec = load_codec(base)
    encoder = FrameEncoder(codec.network, codec.analysis, SearchSettings())
    motion, sides = _Counts(MOTION_ROWS.size), _Counts(SIDE_ROWS.size)
    motion_table, sides_table = (
        (FIRST_CONTEXT + np.arange(t.size)).reshape(t.shape).astype(np.int16) for t in (MOTION_ROWS, SIDE_ROWS)
    )
    for number, frames in enumerate(clips):
        with one_thread():
            for frame in _encoded(encoder, frames, qualities[number % len(qualities)]):
                if not frame.references:
                    continue
                coded, decoded, carried = frame.coded, frame.decoded, None
                if coded.flags & CARRIED:
                    earlier = {n: r.moved for n, r in frame.references.items()}
                    carried = carry(coded.number, coded.references, earlier)
                ways = [r - coded.number for r in coded.references]
                code_motion(motion, decoded.moved.motion, ways[-1] / ways[0], carried, motion_table)
                if len(coded.references) == 2:
                    code_sides(sides, decoded.sides, sides_table)
    return (
        _cheapest(motion.counts, PEAKED, len(bit_costs()) - 1).reshape(MOTION_ROWS.shape),
        _cheapest(sides.counts, 1, LAST_ROW).reshape(SIDE_ROWS.shape),
    )


@dataclass(frozen=True, eq=False)
class _EncodedFrame:
    coded: CodedFrame
    references: dict[int, Reference]
    decoded: Reference


def _encoded(encoder: FrameEncoder, frames: Sequence[Frame], quality: float) -> Iterator[_EncodedFrame]:
    """Frames of a clip in coding order."""
    flows, structure = Flows([luma(f) for f in frames]), GopSettings()
    kept: dict[int, Reference] = {}
    for p in (p for group in order(len(frames), structure) for p in group):
        references = {r: kept[r] for r in p.references}
        index = structure.quality(quality, p)
        encoded, kept[p.number] = encoder.encode(p.number, frames[p.number], references, index, flows)
        yield _EncodedFrame(encoded.coded, references, kept[p.number])


def _cheapest(counts: NDArray[np.int64], first: int, last: int) -> NDArray[np.uint8]:
    """The row of first..last for each context: where little is counted, that of the context before."""
    rows = first + (counts @ bit_costs()[first : last + 1].T).argmin(1)
    for k in np.flatnonzero(counts.sum(1) < FEWEST):
        rows[k] = rows[k - 1] if k else first
    return rows.astype(np.uint8)
