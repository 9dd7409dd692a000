"""Which distance of anchors a segment gets: compared on its first frames, for the whole of it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from codec.encoding.predictive.coder import Try, _Run
from codec.settings import PRESETS


def run_of(frames: int, anchors: tuple[int, ...]) -> Any:
    """What the choice looks at of a run, with stand-ins for its encodes: key frames of 1000 bytes."""
    run: Any = object.__new__(_Run)
    settings = PRESETS["fast"].override(anchor=anchors, keyint=96)
    run.task = SimpleNamespace(frames=[None] * frames, settings=settings, target_bytes=None)
    run.encoded = run.planned = run.tries = 0
    run.cuts, run.anchors = (), anchors
    return run


def tried(anchor: int, count: int, other: int) -> Try:
    """A key frame of 1000 bytes, the other frames of `other`."""
    coded = [SimpleNamespace(references=(0,) if t else (), record=bytes(other if t else 1000)) for t in range(count)]
    frames: Any = [SimpleNamespace(coded=c, error=10.0) for c in coded]
    return Try(40.0, anchor, frames, {})


def test_key_frames_of_the_whole_segment_are_counted() -> None:
    run = run_of(96, (4, 8))
    assert run._expected(tried(8, 17, 10)) == 1000 + 95 * 10
    assert run._expected(tried(4, 17, 10)) == 2 * 1000 + 94 * 10, "chains of 16 frames end after 53"
    assert run._expected(tried(8, 1, 10)) == 1000


@pytest.mark.parametrize(("saved", "chosen"), [(5, 8), (15, 4)])
def test_near_anchors_have_to_save_what_their_key_frames_take(
    saved: int, chosen: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, asked = run_of(96, (4, 8)), []

    def encode(quality: float, anchor: int, count: int) -> Try:
        asked.append((anchor, count))
        return tried(anchor, count, 30 - saved if anchor == 4 else 30)

    monkeypatch.setattr(run, "_encode", encode)
    assert run.best(40.0).anchor == chosen
    assert asked == [(4, 17), (8, 17), (chosen, 96)]
    run.best(41.0)
    assert asked[3:] == [(chosen, 96)], "what was found at the first quality stays"
