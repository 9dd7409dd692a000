"""Which structure a segment gets: distances of anchors compared on its first frames, for the whole of it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from codec.encoding.predictive.choices import least
from codec.encoding.predictive.coder import FILTER_TRIAL, TRIAL, _Run
from codec.encoding.predictive.gop import GopSettings
from codec.encoding.predictive.tries import Try
from codec.settings import PRESETS

Asked = list[tuple[int, float, int]]  # distance of anchors, drop, frames


def run_of(frames: int, anchors: tuple[int, ...], drops: tuple[int, ...] = (100,), temporal_filter: str = "on") -> Any:
    """What the choice looks at of a run, with stand-ins for its encodes: key frames of 1000 bytes."""
    run: Any = object.__new__(_Run)
    settings = PRESETS["fast"].override(anchor=anchors, level_drop=drops, keyint=96, temporal_filter=temporal_filter)
    run.task = SimpleNamespace(frames=[None] * frames, settings=settings, target_bytes=None)
    run.encoded = run.planned = run.tries = 0
    run.cuts = ()
    run.choices_of(settings.model)
    return run


def tried(structure: GopSettings, count: int, other: int) -> Try:
    """A key frame of 1000 bytes, the other frames of `other`."""
    coded = [
        SimpleNamespace(number=t, references=(0,) if t else (), record=bytes(other if t else 1000))
        for t in range(count)
    ]
    frames: Any = [SimpleNamespace(coded=c, error=10.0) for c in coded]
    return Try(40.0, structure, frames, {})


def test_key_frames_of_the_whole_segment_are_counted() -> None:
    run = run_of(96, (4, 8))
    assert run._expected(tried(GopSettings(8), 17, 10)) == 1000 + 95 * 10
    assert run._expected(tried(GopSettings(4), 17, 10)) == 2 * 1000 + 94 * 10, "chains of 16 frames end after 53"
    assert run._expected(tried(GopSettings(8), 1, 10)) == 1000


def encodes(run: Any, monkeypatch: pytest.MonkeyPatch, other: dict[tuple[int, float], int]) -> Asked:
    """Let frames take so many bytes by distance and drop, 30 where nothing is said. -> what is asked for."""
    asked: Asked = []

    def encode(quality: float, structure: GopSettings, count: int, best: Try | None = None) -> Try:
        asked.append((structure.anchor, structure.drop, count))
        return tried(structure, count, other.get((structure.anchor, structure.drop), 30))

    monkeypatch.setattr(run, "_encode", encode)
    return asked


@pytest.mark.parametrize(("saved", "chosen"), [(5, 8), (15, 4)])
def test_near_anchors_have_to_save_what_their_key_frames_take(
    saved: int, chosen: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_of(96, (4, 8))
    asked = encodes(run, monkeypatch, {(4, 1.0): 30 - saved})
    assert run.best(40.0).structure.anchor == chosen
    assert asked == [(8, 1.0, 96), (4, 1.0, 96)], "what was encoded whole is not encoded again"
    run.best(41.0)
    assert asked[2:] == [(chosen, 1.0, 96)], "what was found at the first quality stays"


def test_a_long_segment_is_encoded_once_in_the_structure_that_its_beginning_chose(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = run_of(500, (4, 8, 16), (80, 100))
    asked = encodes(run, monkeypatch, {(16, 1.0): 20, (16, 0.8): 10})
    assert run.best(40.0).structure == GopSettings(16, 96, 0.8)
    part = TRIAL
    assert asked == [(8, 1.0, part), (16, 1.0, part), (16, 0.8, part), (16, 0.8, 500)]


@pytest.mark.parametrize(("filtered", "bare", "chosen"), [(20, 30, True), (30, 20, False)])
def test_the_temporal_filter_is_tried_on_the_beginning(
    filtered: int, bare: int, chosen: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_of(96, (4, 8, 16), temporal_filter="auto")
    asked: list[tuple[GopSettings, int]] = []

    def encode(quality: float, structure: GopSettings, count: int, best: Try | None = None) -> Try:
        asked.append((structure, count))
        return tried(structure, count, filtered if structure.filtered else bare)

    monkeypatch.setattr(run, "_encode", encode)
    assert run.best(40.0).structure.filtered == chosen
    assert asked[:2] == [(GopSettings(8, 96, filtered=f), FILTER_TRIAL) for f in (True, False)]
    assert all(structure.filtered == chosen and count == 96 for structure, count in asked[2:])
    run.best(41.0)
    assert asked[-1] == (run.structures[0], 96), "what was found at the first quality stays"


def test_what_a_short_segment_was_tried_with_is_not_encoded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_of(20, (8,), temporal_filter="auto")
    asked = encodes(run, monkeypatch, {})
    run.best(40.0)
    assert asked == [(8, 1.0, 20)] * 2


def test_the_least_of_a_row_is_found_from_its_middle() -> None:
    for row in ([3, 2, 1, 4], [1, 2, 3, 4, 5], [9, 1], [5], [4, 3, 2, 1]):
        assert least(row, float) == min(row)
    assert least([0.0, 1.0, 1.01], float) == 1.0, "the next is close by: the least is taken to lie between"


def test_a_structure_far_behind_half_way_is_given_up() -> None:
    run = run_of(96, (8, 16))
    best = tried(GopSettings(8), 96, 30)
    assert not run._behind(tried(GopSettings(16), 48, 31), best)
    assert run._behind(tried(GopSettings(16), 48, 40), best)
