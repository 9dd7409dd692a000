"""The report of an encode: what the coders tell of their bytes."""

from typing import Any

import numpy as np

from codec.encoding.report import _coded_bytes
from codec.encoding.segment import SegmentResult
from codec.quality import Measured


def result(details: dict[str, Any]) -> SegmentResult:
    return SegmentResult(b"", 0, 0, 0.0, 0.0, {}, Measured(np.zeros(1), None, None), details)


def test_bytes_by_symbol_and_level_are_those_of_all_segments() -> None:
    first: dict[str, Any] = {"bytes_by_part": {"motion": 3, "latents": 10}, "levels": [{"level": 0, "bytes": 9}]}
    second: dict[str, Any] = {
        "bytes_by_part": {"latents": 5},
        "levels": [{"level": 0, "bytes": 1}, {"level": 2, "bytes": 4}],
    }
    assert _coded_bytes([result(first), result(second)]) == {
        "bytes_by_symbol": {"motion": 3, "latents": 15},
        "bytes_by_level": {"0": 10, "2": 4},
    }
    assert _coded_bytes([result({})]) == {}
