"""Walks: frames in an encoder's order, references and motion those of the scene, however a walk is turned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch

from codec.base import walks as module
from codec.base.evaluate import kind_of
from codec.base.scenes import Scene, Scenes
from codec.base.walks import Step, Walks, quality_of, seen_by, walk
from codec.encoding.predictive.gop import GopSettings, Planned, order
from codec.errors import BaseError
from codec.network.predictive.motion import compensate
from codec.network.predictive.transform import from_detail, from_layers

CPU = torch.device("cpu")
SIZE = 32


def scene(count: int, anchor: int, seed: int, height: int = 56, width: int = 72) -> Scene:
    """Random frames and motion, with the references of an encoder; every third frame made from one alone."""
    draw = torch.Generator().manual_seed(seed)
    grid = height // 8, width // 8
    references = np.full((count, 2), -1, np.int16)
    for p in (p for group in order(count, GopSettings(anchor)) for p in group if p.references):
        references[p.number] = p.references[0] if p.number % 3 == 0 else (p.references[0], p.references[-1])
    alone = torch.from_numpy(references[:, 0] == references[:, 1])[:, None, None]
    frames = torch.randint(0, 256, (count, 3, height, width), generator=draw).byte()
    frames[:, 0, ::8, ::8] = torch.arange(count, dtype=torch.uint8)[:, None, None]  # its number, in every cell
    motion = torch.randint(-50, 51, (count, 2, 2, *grid), generator=draw).short()
    sides = torch.randint(-1, 2, (count, *grid), generator=draw).masked_fill(alone, 0).char()
    return Scene(frames, motion, sides, references, anchor, 45.0)


def scenes(*found: Scene, photos: torch.Tensor | None = None) -> Scenes:
    return Scenes(found, photos, SIZE, {})


def numbers(frame: torch.Tensor) -> list[int]:
    """Which frames of their scenes these are."""
    return frame[:, 0, 0, 0].tolist()


def turned(monkeypatch: pytest.MonkeyPatch, flipped: bool, turned: bool) -> None:
    monkeypatch.setattr(module, "FLIPPED", float(flipped))
    monkeypatch.setattr(module, "TURNED", float(turned))


def shown(steps: Sequence[Step]) -> list[torch.Tensor]:
    """What the references of each predicted frame show where its motion points, where all is coded without loss."""
    found = []
    for place, step in enumerate(steps):
        seen = seen_by(step, [s.frame for s in steps[:place]])
        if seen is not None:
            found.append(
                torch.stack([from_layers(from_detail(x)) for x in compensate(seen.references, seen.motion, seen.sides)])
            )
    return found


@pytest.mark.parametrize("anchor", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("anchors", [2, 4])
def test_a_walk_goes_down_to_a_leaf(anchor: int, anchors: int) -> None:
    planned = {p.number: p for group in order(anchors * anchor + 1, GopSettings(anchor)) for p in group}
    leaves = set()
    for seed in range(8):
        found = walk(anchor, anchors, np.random.default_rng(seed))
        assert [p.number for p in found[: 1 + anchors]] == [n * anchor for n in range(1 + anchors)]
        assert all(p == planned[p.number] for p in found)  # an encoder makes it from the same, at the same level
        for place, p in enumerate(found):
            assert {q.number for q in found[:place]}.issuperset(p.references)
        assert len(found) == 1 + anchors + anchor.bit_length() - 1
        leaves.add(found[-1].number)
    assert len(leaves) > 1 or anchor < 4


@pytest.mark.parametrize("anchor", [2, 8])
def test_references_and_motion_are_those_of_the_scene(monkeypatch: pytest.MonkeyPatch, anchor: int) -> None:
    turned(monkeypatch, False, False)
    whole = scene(3 * anchor + 1, anchor, 1)
    starts, alone = set(), 0
    for number in range(12):
        steps = Walks([scenes(whole)], 2, 5)[number]
        starts.update(numbers(steps[0].frame))
        assert [step.references is None for step in steps] == [True] + [False] * (len(steps) - 1)
        for place, step in enumerate(steps):
            seen = seen_by(step, [s.frame for s in steps[:place]])
            if seen is None:
                continue
            for k, t in enumerate(numbers(step.frame)):
                assert numbers(seen.references[k]) == whole.references[t].tolist()
                alone += int(whole.references[t, 0] == whole.references[t, 1])
                rows = [
                    (y, x)
                    for y in range(4)
                    for x in range(6)
                    if torch.equal(whole.frames[t, :, 8 * y : 8 * y + SIZE, 8 * x : 8 * x + SIZE], step.frame[k])
                ]
                ((y, x),) = rows  # where it was cut
                assert torch.equal(seen.motion[k], whole.motion[t, ..., y : y + 4, x : x + 4])
                assert torch.equal(seen.sides[k, 0], whole.sides[t, y : y + 4, x : x + 4])
    assert starts == {0, anchor}
    assert alone > 0


def test_frames_are_made_from_what_the_codec_made_of_others() -> None:
    steps = Walks([scenes(scene(9, 4, 1))], 2, 5)[0]
    decoded = [torch.full_like(step.frame, place) for place, step in enumerate(steps)]
    for place, step in enumerate(steps[1:], 1):
        seen = seen_by(step, decoded[:place])
        assert seen is not None
        assert step.references is not None
        assert torch.equal(seen.references[..., 0, 0, 0].long(), step.references)


@pytest.mark.parametrize(("flipped", "transposed"), [(True, False), (False, True), (True, True)])
def test_turned_walks_keep_their_motion(monkeypatch: pytest.MonkeyPatch, flipped: bool, transposed: bool) -> None:
    """What references show of a turned walk is what they show of the same walk, turned."""

    def turn(pixels: torch.Tensor) -> torch.Tensor:
        pixels = pixels.flip(-1) if flipped else pixels
        return pixels.mT if transposed else pixels

    walks = Walks([scenes(scene(9, 4, 1), scene(17, 4, 2))], 3, 7)
    for number in range(3):
        turned(monkeypatch, False, False)
        plain = walks[number]
        turned(monkeypatch, flipped, transposed)
        found = walks[number]
        for one, other in zip(plain, found, strict=True):
            assert torch.equal(turn(one.frame), other.frame)
            assert torch.equal(one.quality, other.quality)
        for a, b in zip(shown(plain), shown(found), strict=True):
            torch.testing.assert_close(turn(a), b, atol=1e-3, rtol=0)
            assert not torch.allclose(a, b, atol=1.0)


def test_a_walk_depends_on_seed_and_number_alone() -> None:
    sets = [scenes(scene(9, 4, 1), scene(17, 8, 2)), scenes(scene(9, 4, 3))]
    walks, again, other = (Walks(sets, 3, seed) for seed in (3, 3, 4))
    lengths = set()
    for number in (5, 1, 7, 2, 30, 31):
        steps = walks[number]
        lengths.add(len(steps))
        for one, same in zip(steps, again[number], strict=True):
            assert one.frame.shape == (3, 3, SIZE, SIZE)
            assert one.motion.shape == (3, 2, 2, SIZE // 8, SIZE // 8)
            assert one.sides.shape == (3, 1, SIZE // 8, SIZE // 8)
            assert all(torch.equal(getattr(one, part), getattr(same, part)) for part in ("frame", "motion", "sides"))
            assert torch.equal(one.quality, same.quality)
            assert 0 <= one.quality.min() <= one.quality.max() <= 63
        assert not torch.equal(steps[0].frame, other[number][0].frame)
    assert lengths == {5, 6}  # of both distances of anchors


def test_frames_are_as_good_as_an_encoder_makes_them() -> None:
    for anchor in (4, 16):
        for p in walk(anchor, 2, np.random.default_rng(1)):
            for top in (20.0, 41.3, 60.0, 63.0):
                wanted = GopSettings(anchor).quality(top, replace(p, number=0))  # without dither: rounded down
                assert 0 <= float(quality_of(torch.tensor([top]), p)) - wanted < 1
    assert float(quality_of(torch.tensor([5.0]), Planned(1, (0, 2), 5))) == 0


def test_kinds_of_frames_have_names() -> None:
    steps = Walks([scenes(scene(17, 8, 1))], 1, 0)[0]
    assert [kind_of(step) for step in steps] == ["key", "anchor", "anchor", "between", "between", "leaf"]


def test_photographs_are_cut_anywhere_and_of_any_quality() -> None:
    photos = torch.randint(0, 256, (2, 3, 40, 40), generator=torch.Generator().manual_seed(1)).byte()
    walks = Walks([scenes(scene(9, 4, 1), photos=photos)], 4, 1)
    found = [walks.photos(number) for number in range(6)]
    again = walks.photos(3)
    assert again is not None
    assert found[3] is not None
    assert all(torch.equal(a, b) for a, b in zip(again, found[3], strict=True))
    qualities = torch.cat([f[1] for f in found if f is not None])
    assert len(qualities) == 6 * 4
    assert qualities.min() < 30
    assert qualities.max() > 53
    for planes, _ in (f for f in found if f is not None):
        assert planes.shape == (4, 3, SIZE, SIZE)
        for plane in planes:
            cuts = photos.unfold(2, SIZE, 1).unfold(3, SIZE, 1)  # [2, 3, 9, 9, SIZE, SIZE]
            same = [(cuts == p[:, None, None]).all(5).all(4).all(1) for p in (plane, plane.flip(-1))]
            assert int(torch.stack(same).sum()) == 1
    assert Walks([scenes(scene(9, 4, 1))], 4, 1).photos(0) is None


def test_scenes_of_several_sizes_are_refused() -> None:
    one = scenes(scene(9, 4, 1))
    with pytest.raises(BaseError, match="several sizes"):
        Walks([one, replace(one, size=16)], 2, 1)


def test_scenes_too_short_for_a_walk_are_passed_over_and_alone_are_an_error() -> None:
    short, whole = scene(8, 4, 1), scene(9, 4, 2)
    with pytest.raises(BaseError, match="shorter than two gaps"):
        Walks([scenes(short)], 2, 1)
    alone, beside = Walks([scenes(whole)], 2, 1), Walks([scenes(short), scenes(whole)], 2, 1)
    for number in range(4):
        for one, other in zip(alone[number], beside[number], strict=True):
            assert torch.equal(one.frame, other.frame)
