"""Which structure a segment gets: what may be chosen is compared on its first frames, for the whole of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from codec.encoding.predictive.choices import least
from codec.encoding.predictive.gop import GopSettings
from codec.encoding.predictive.structures import (
    APART,
    SLOPES,
    USUAL_SLOPE,
    Structures,
)
from codec.encoding.predictive.tries import Try
from codec.settings import PRESETS

SLOPE_TRIAL, FILTER_TRIAL, TRIAL = 17, 33, 65


def structures(
    frames: int,
    anchors: tuple[int, ...],
    drops: tuple[int, ...] = (100,),
    temporal_filter: tuple[int, ...] = (100,),
    trial: tuple[int, int, int] = (SLOPE_TRIAL, FILTER_TRIAL, TRIAL),
) -> Structures:
    chosen = PRESETS["fast"].override(anchor=anchors, level_drop=drops, keyint=96, temporal_filter=temporal_filter)
    model: Any = chosen.override(trial=trial).model
    return Structures(model, frames, ())


def tried(structure: GopSettings, count: int, other: int, error: float = 10.0, key: int = 1000) -> Try:
    """A key frame of `key` bytes, the other frames of `other`."""
    coded = [
        SimpleNamespace(number=t, references=(0,) if t else (), record=bytes(other if t else key)) for t in range(count)
    ]
    frames: Any = [SimpleNamespace(coded=c, error=error) for c in coded]
    return Try(40.0, structure, frames, {})


class Encodes:
    """Stands in for encodes, whose frames take as many bytes as is said of their structure."""

    def __init__(self, other: Callable[[GopSettings], int] = lambda _: 30) -> None:
        self.other = other
        self.asked: list[tuple[GopSettings, int]] = []  # structures, and how many frames

    def __call__(self, quality: float, structure: GopSettings, count: int, best: Try | None = None) -> Try:
        self.asked.append((structure, count))
        return tried(structure, count, self.other(structure))

    @property
    def frames(self) -> int:
        return sum(count for _, count in self.asked)


def test_key_frames_of_the_whole_segment_are_counted() -> None:
    found = structures(96, (4, 8))
    assert found.expected(tried(GopSettings(8), 17, 10)) == 1000 + 95 * 10
    assert found.expected(tried(GopSettings(4), 17, 10)) == 2 * 1000 + 94 * 10, "chains of 16 frames end after 53"
    assert found.expected(tried(GopSettings(8), 1, 10)) == 1000


@pytest.mark.parametrize(("saved", "chosen"), [(5, 8), (15, 4)])
def test_near_anchors_have_to_save_what_their_key_frames_take(saved: int, chosen: int) -> None:
    found, encodes = structures(96, (4, 8)), Encodes(lambda structure: 30 - saved * (structure.anchor == 4))
    likely = found.likely
    assert found.best(40.0, encodes).structure.anchor == chosen
    assert encodes.asked == [
        *[(GopSettings(8, 96), SLOPE_TRIAL)] * 2,
        (GopSettings(8, 96), TRIAL),
        (GopSettings(4, 96), TRIAL),
        (GopSettings(chosen, 96), 96),
    ]
    assert encodes.frames == likely
    likely = found.likely
    found.best(41.0, encodes)
    assert encodes.asked[5:] == [(GopSettings(chosen, 96), 96)], "what was found at the first quality stays"
    assert likely == 96


def test_a_long_segment_is_encoded_once_in_the_structure_that_its_beginning_chose() -> None:
    bytes_of = {(16, 1.0): 20, (16, 0.8): 10}
    found = structures(500, (4, 8, 16), (80, 100))
    encodes = Encodes(lambda structure: bytes_of.get((structure.anchor, structure.drop), 30))
    assert found.best(40.0, encodes).structure == GopSettings(16, 96, 0.8)
    assert [(s.anchor, s.drop, count) for s, count in encodes.asked] == [
        *[(8, 1.0, SLOPE_TRIAL)] * 2,
        (8, 1.0, TRIAL),
        (16, 1.0, TRIAL),
        (16, 0.8, TRIAL),
        (16, 0.8, 500),
    ]


@pytest.mark.parametrize(("filtered", "bare", "chosen"), [(20, 30, 1.0), (30, 20, 0.0)])
def test_the_temporal_filter_is_tried_on_the_beginning(filtered: int, bare: int, chosen: float) -> None:
    found = structures(96, (4, 8, 16), temporal_filter=(0, 100))
    encodes = Encodes(lambda structure: filtered if structure.temporal_filter else bare)
    assert found.best(40.0, encodes).structure.temporal_filter == chosen
    assert encodes.asked[2:4] == [(GopSettings(8, 96, temporal_filter=f), FILTER_TRIAL) for f in (1.0, 0.0)]
    assert all(s.temporal_filter == chosen and count in (TRIAL, 96) for s, count in encodes.asked[4:])
    found.best(41.0, encodes)
    assert encodes.asked[-1] == (found.structure, 96), "what was found at the first quality stays"


def test_all_of_a_segment_is_tried_where_that_is_asked_for() -> None:
    bytes_of = {(0.5, 16, 1.0): 28, (0.5, 16, 0.6): 27, (0.5, 16, 0.8): 26, (0.5, 8, 1.0): 29}
    found = structures(96, (8, 16, 32), (60, 80, 100), (0, 50, 100), trial=(0, 0, 0))
    encodes = Encodes(lambda s: bytes_of.get((s.temporal_filter, s.anchor, s.drop), 40))
    assert found.best(40.0, encodes).structure == GopSettings(16, 96, 0.8, 0.5)
    assert {count for _, count in encodes.asked} == {96}
    assert len(set(encodes.asked)) == len(encodes.asked) - 2, "once each, the first one at three qualities"


def test_what_a_short_segment_was_tried_with_is_not_encoded_again() -> None:
    encodes = Encodes()
    structures(20, (8,), temporal_filter=(0, 100)).best(40.0, encodes)
    assert encodes.asked[2:] == [(GopSettings(8, 96, temporal_filter=f), 20) for f in (1.0, 0.0)]


def test_what_is_tried_whole_is_not_encoded_again() -> None:
    found, encodes = structures(60, (4, 8)), Encodes()
    likely = found.likely
    found.best(40.0, encodes)
    assert encodes.asked[2:] == [(GopSettings(8, 96), 60), (GopSettings(4, 96), 60)]
    assert encodes.frames == likely


def test_the_least_of_a_row_is_found_from_its_middle() -> None:
    for row in ([3, 2, 1, 4], [1, 2, 3, 4, 5], [9, 1], [5], [4, 3, 2, 1]):
        assert least(row, float) == min(row)
    assert least([0.0, 1.0, 1.01], float, 0.05) == 1.0, "the next is close by: the least is taken to lie between"
    assert least([0.0, 1.0, 1.01], float) == 0.0


def test_a_structure_far_behind_half_way_is_given_up() -> None:
    found, best = structures(96, (8, 16)), tried(GopSettings(8), 96, 30)
    assert not found.behind(tried(GopSettings(16), 48, 31), best)
    assert found.behind(tried(GopSettings(16), 48, 40), best)


def compared(
    points: dict[float, tuple[float, int]], trial: tuple[int, int, int] = (SLOPE_TRIAL, FILTER_TRIAL, TRIAL)
) -> Structures:
    """What has compared structures, all of which have a PSNR and bytes of a frame by their quality."""

    def encode(quality: float, structure: GopSettings, count: int, best: Try | None = None) -> Try:
        psnr, size = points[quality]
        return tried(structure, count, size, 255**2 / 10 ** (psnr / 10))

    found = structures(96, (8, 16), trial=trial)
    found.best(40.0, encode)
    return found


def slope_of(low: float, high: float, other: int) -> float:
    """What a dB is found to take where quality 40 is `high` dB at a frame's 30 bytes, and lower is `low` at `other`."""
    below, above = compared({40.0: (high, 30), 40.0 - APART: (low, other)}).slopes
    assert below == above
    return below


def test_structures_are_compared_at_what_a_decibel_takes_in_the_segment() -> None:
    bytes_of = [1000 + 95 * other for other in (20, 30)]
    assert slope_of(30.0, 31.0, 20) == pytest.approx(math.log(bytes_of[1] / bytes_of[0]))
    assert slope_of(30.0, 30.1, 1) == SLOPES[1], "more than is believed"
    assert slope_of(30.0, 40.0, 29) == SLOPES[0]
    assert slope_of(30.0, 30.0, 20) == USUAL_SLOPE, "alike: nothing can be told"


def test_what_a_decibel_takes_is_measured_on_either_side_of_frames_that_are_compared() -> None:
    points = {40.0: (30.0, 30), 40.0 - APART: (29.0, 20), 40.0 + APART: (32.0, 50)}
    found = compared(points, (0, 0, 0))
    sizes = [1000 + 95 * size for size in (20, 30, 50)]
    assert found.slopes == pytest.approx((math.log(sizes[1] / sizes[0]), math.log(sizes[2] / sizes[1]) / 2))
    costs = {found.cost(tried(GopSettings(16), 96, size, 255**2 / 10 ** (psnr / 10))) for psnr, size in points.values()}
    assert max(costs) - min(costs) < 1e-9, "all are on the curve of one structure"


def test_segments_of_empty_frames_are_compared_too() -> None:
    found = structures(96, (4, 8), temporal_filter=(0, 100))

    def encode(quality: float, structure: GopSettings, count: int, best: Try | None = None) -> Try:
        assert best is None or not found.behind(tried(structure, count // 2, 0, key=0), best)
        return tried(structure, count, 0, 10.0 if quality == 40 else 20.0, key=0)

    assert found.best(40.0, encode).record_bytes == 0
    assert found.slopes == (SLOPES[0], SLOPES[0]), "a dB takes nothing"
