"""Rows fitted to what a base makes are the cheapest of what they may be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bitstream import FLAGS, MAX_VALUE, RANKS, bit_costs
from codec.base.encoded import encoded
from codec.base.model import load_codec
from codec.base.rows import FAMILIES, cheapest, fit_rows, names_of
from codec.encoding.predictive.frame import FrameEncoder
from codec.encoding.predictive.gop import GopSettings
from codec.encoding.predictive.motion_search import SearchSettings
from codec.network.predictive.base_file import write_base
from codec.rate.cell_values import VALUE_ROWS, ValueRows
from codec.rate.motion import MOTION_ROWS, MotionRows
from codec.rate.records import FrameCoder
from tests.codec.base.conftest import tiny_codec
from tests.samples import moving_frames

QUALITY = 54.0


@pytest.mark.parametrize("row", [FLAGS, FLAGS + 7, RANKS - 1])
def test_values_of_a_row_find_it_again(row: int) -> None:
    counts = np.rint(10_000 * 2.0 ** -bit_costs()[row]).astype(np.int64)
    few = np.zeros_like(counts)
    few[MAX_VALUE] = 3
    assert cheapest(np.stack([few, counts, few]), FLAGS, RANKS).tolist() == [FLAGS, row, row], "of few: as before"


def test_fitted_rows_take_fewer_bits(tmp_path: Path) -> None:
    codec, frames = tiny_codec(), [*moving_frames(9, 96, 128)]
    write_base(tmp_path / "tiny.safetensors", codec.network, codec.analysis, {})
    codec = load_codec(tmp_path / "tiny.safetensors")
    tables = fit_rows(tmp_path / "tiny.safetensors", [frames], [QUALITY])
    for now in (MOTION_ROWS, VALUE_ROWS):
        for name in names_of(now):
            first, end = FAMILIES.get(name, (1, RANKS))
            assert tables[name].shape == getattr(now, name).shape
            assert first <= tables[name].min() <= tables[name].max() < end
    motion = MotionRows(**{name: tables[name] for name in names_of(MOTION_ROWS)})
    values = ValueRows(**{name: tables[name] for name in names_of(VALUE_ROWS)})
    fitted, bits = FrameCoder(codec.network, motion, values), {"now": 0.0, "fitted": 0.0}
    encoder = FrameEncoder(codec.network, codec.analysis, SearchSettings())
    for frame in encoded(encoder, frames, GopSettings(), QUALITY):
        told = frame.symbols, frame.coded.quality, frame.known.ratio, frame.known.carried
        assert encoder.coder.write(*told)[0] == frame.coded.record
        bits["now"] += sum(encoder.coder.write(*told)[2].values())
        bits["fitted"] += sum(fitted.write(*told)[2].values())
    assert bits["fitted"] < bits["now"]
