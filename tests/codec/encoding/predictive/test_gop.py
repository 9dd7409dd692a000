"""The order of frames: each once, from earlier ones, in chains that a reader takes, with a quality of its own."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitstream import MAX_DEPTH
from codec.encoding.predictive.gop import DROPS, GopSettings, Planned, lineages, order, scene_cuts
from tests.samples import moving_frames

structures = st.builds(GopSettings, st.sampled_from([1, 2, 4, 8, 16, 32, 64, 128]), st.integers(1, 300))


@given(st.integers(1, 300), structures, st.sets(st.integers(0, 299), max_size=5))
def test_frames_are_made_from_earlier_ones_in_chains_that_a_reader_takes(
    frames: int, structure: GopSettings, cuts: set[int]
) -> None:
    cuts = {cut for cut in cuts if cut < frames}
    groups = order(frames, structure, sorted(cuts))
    depth: dict[int, int] = {}
    for group in groups:
        assert all(reference in depth for item in group for reference in item.references), "none of its own group"
        for item in group:
            depth[item.number] = 1 + max((depth[r] for r in item.references), default=0)
            assert (item.level == 0) == (not item.references)
            assert len(set(item.references)) == len(item.references) <= 2
    numbers = [item.number for group in groups for item in group]
    assert sorted(numbers) == list(range(frames))
    assert max(depth.values()) <= MAX_DEPTH
    keys = sorted(item.number for group in groups for item in group if not item.references)
    assert {0, *cuts} <= set(keys)
    assert all(b - a <= structure.keyint for a, b in pairwise([*keys, frames]))


@given(st.integers(1, 200), structures, st.integers(1, 199))
def test_no_frame_refers_across_a_cut(frames: int, structure: GopSettings, cut: int) -> None:
    for group in order(frames, structure, (cut,) if cut < frames else ()):
        for item in group:
            assert all((reference < cut) == (item.number < cut) for reference in item.references)


@pytest.mark.parametrize("quality", [30.0, 40.25, 44.9])
def test_the_mean_over_frames_is_the_quality_asked_for(quality: float) -> None:
    settings = GopSettings()
    for level, drop in enumerate(DROPS[:4]):
        found = [settings.quality(quality, Planned(n, (), level)) for n in range(500)]
        assert np.mean(found) == pytest.approx(quality - drop, abs=0.01)
        assert max(found) - min(found) <= 1


@pytest.mark.parametrize("quality", [0.0, 63.0])
def test_qualities_stay_in_range(quality: float) -> None:
    found = {GopSettings().quality(quality, Planned(n, (), level)) for n in range(50) for level in range(4)}
    assert min(found) >= 0
    assert max(found) <= 63


def test_a_scene_begins_where_pictures_change() -> None:
    planes = [frame.mean(-1, dtype=np.float32) for frame in moving_frames(12, 48, 64)]
    assert scene_cuts(planes) == ()
    other = [255 - plane[::-1] for plane in planes]
    cut = scene_cuts(planes[:5] + other[5:])
    assert cut == (5,)
    keys = [item.number for group in order(12, GopSettings(), cut) for item in group if not item.references]
    assert keys == [0, 5]


def test_one_frame_has_no_cut() -> None:
    assert scene_cuts([np.zeros((1, 1), np.float32)]) == ()


def test_a_lineage_tells_how_a_frame_comes_to_be() -> None:
    """The first 20 frames of 40 end with an anchor that the 40 do not have; what is made from it is made otherwise."""
    part, whole = ([p for group in order(n, GopSettings(8)) for p in group] for n in (20, 40))
    some, all_of = lineages(part), lineages(whole)
    assert len(set(all_of.values())) == 40
    same = {n for n, lineage in some.items() if all_of[n] == lineage}
    assert same == set(range(17))
