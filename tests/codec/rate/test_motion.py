"""Motion in squares: what is written is read, whatever it is, and a second reader, of the page alone, agrees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitstream import FLAGS, PEAKED, RANKS, MalformedChunk
from codec.network.predictive.symbols import Integers
from codec.rate.carried import LARGEST_MOTION, Moved, along, carry
from codec.rate.merging import CANDIDATES, difference, moved
from codec.rate.motion import MOTION_ROWS, code_motion
from codec.rate.ports import ReadingPort, Table, WritingPort
from codec.rate.squares import SIZES, unrest
from tests.bitstream import frame_record as page

distances = st.integers(-9, 9).filter(bool)
ratios = st.builds(lambda a, b: b / a, distances, distances)


@dataclass(frozen=True)
class Case:
    """What a frame has of motion; see `code_motion`."""

    motion: Integers
    sides: Integers
    ways: list[int]
    carried: Integers | None

    @property
    def ratio(self) -> float:
        return self.ways[-1] / self.ways[0]

    def code(self, port: Any) -> tuple[Integers, Integers]:
        return code_motion(port, self.motion, self.sides, self.ratio, self.carried)

    def kept(self) -> tuple[Integers, Integers]:
        """What a reader has: steady motion to a reference that does not show a block."""
        motion = self.motion.copy()
        for _, *place in np.argwhere(self.sides).tolist():
            y, x = place
            first = self.sides[0, y, x] > 0
            ratio = self.ratio if first else 1 / self.ratio
            motion[int(first), :, y, x] = [along(int(v), ratio) for v in motion[int(not first), :, y, x]]
        return motion, self.sides

    def read(self, record: bytes) -> tuple[Integers, Integers]:
        port, empty = ReadingPort(record, "frame"), Case(0 * self.motion, 0 * self.sides, self.ways, self.carried)
        found = empty.code(port)
        port.finish()
        return found

    def read_by_page(self, record: bytes) -> tuple[Integers, Integers]:
        carried = None if self.carried is None else {at: int(v) for at, v in np.ndenumerate(self.carried)}
        _, _, rows, columns = self.motion.shape
        found = page.Page(record, {}).motion(len(self.motion), 8 * rows, 8 * columns, self.ways, carried)
        out = np.zeros_like(self.motion), np.zeros_like(self.sides)
        for array, values in zip(out, found, strict=True):
            assert len(values) == array.size
            for place, value in values.items():
                array[place] = value
        return out


def field(rng: np.random.Generator, kinds: int, size: tuple[int, int], spread: int, values: int) -> Integers:
    """Squares of blocks that are alike, and odd blocks: [values, rows, columns], -spread..spread."""
    palette = rng.integers(-spread, spread + 1, (kinds, values))
    side = int(rng.choice(SIZES))
    picked = rng.integers(0, kinds, [-(-n // side) for n in size]).repeat(side, 0).repeat(side, 1)
    odd = rng.random(size) < rng.choice((0, 0.1, 1))
    own = rng.integers(-spread, spread + 1, (*size, values))
    return np.where(odd[..., None], own, palette[picked[: size[0], : size[1]]]).transpose(2, 0, 1).astype(np.int16)


@st.composite
def cases(draw: st.DrawFn, spreads: tuple[int, ...] = (0, 1, 5, 140, LARGEST_MOTION)) -> Case:
    references, size = draw(st.integers(1, 2)), draw(st.tuples(st.integers(1, 19), st.integers(1, 19)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    spread = draw(st.sampled_from(spreads))
    motion = field(rng, draw(st.integers(1, 4)), size, spread, 2 * references).reshape(references, 2, *size)
    sides = field(rng, 3, size, draw(st.integers(0, 1)), references - 1)
    ways = [draw(distances) for _ in range(references)]
    carried = {
        "none": None,
        "still": np.zeros((2, *size), np.int16),
        "other": field(rng, 2, size, spread, 2),
        "same": motion[0],
    }[draw(st.sampled_from(["none", "still", "other", "same"]))]
    return Case(motion, sides, ways, carried)


def same(a: tuple[Integers, Integers], b: tuple[Integers, Integers]) -> bool:
    return all(x.dtype == y.dtype and np.array_equal(x, y) for x, y in zip(a, b, strict=True))


@given(cases())
@settings(max_examples=150)
def test_any_motion_comes_back(case: Case) -> None:
    port = WritingPort()
    kept = case.code(port)
    assert same(kept, case.kept())
    record = port.finish()
    assert same(case.read(record), kept)
    assert same(case.read_by_page(record), kept)
    again = WritingPort()
    assert same(Case(*kept, case.ways, case.carried).code(again), kept)
    assert again.finish() == record


class WildPort(WritingPort):
    """Writes other values than it is given."""

    def __init__(self, rng: np.random.Generator, share: float) -> None:
        super().__init__()
        self._rng, self._share = rng, share

    def __call__(self, values: Integers, rows: Table) -> Integers:
        small, any_at_all = self._rng.integers(-3, 8, rows.shape), self._rng.integers(-127, 128, rows.shape)
        wild = np.where(self._rng.random(rows.shape) < 0.5, small, any_at_all)
        ends = self._rng.choice((-127, 127), rows.shape)
        wild = np.where(self._rng.random(rows.shape) < self._rng.choice((0, 0.98)), ends, wild)
        mixed = np.where(self._rng.random(rows.shape) < self._share, wild, values).astype(np.int16)
        return super().__call__(mixed, rows)


@given(cases(), st.integers(0, 2**32 - 1), st.sampled_from([0.02, 0.5, 1.0]))
@settings(max_examples=150)
def test_what_no_encoder_writes_is_read_all_the_same(case: Case, seed: int, share: float) -> None:
    """Splits in vain, flags of any value, ranks beyond a list, vectors beyond the range."""
    port = WildPort(np.random.default_rng(seed), share)
    motion, sides = found = case.code(port)
    record = port.finish()
    assert same(case.read(record), found)
    assert same(case.read_by_page(record), found)
    assert np.abs(motion.astype(int)).max() <= LARGEST_MOTION
    assert np.isin(sides, (-1, 0, 1)).all()
    right, writing = Case(motion, sides, case.ways, case.carried), WritingPort()
    assert same(right.kept(), found), "where one side shows a block, the other moves steadily"
    assert same(right.code(writing), found)
    assert same(right.read(writing.finish()), found)


@given(cases((0, 140)), st.binary(max_size=60))
@settings(max_examples=150)
def test_any_bytes_are_refused_or_motion(case: Case, data: bytes) -> None:
    try:
        found = case.read(data)
    except MalformedChunk:
        return
    assert same(case.read_by_page(data), found)
    assert same(Case(*found, case.ways, case.carried).kept(), found)


@pytest.mark.parametrize("references", [1, 2])
@pytest.mark.parametrize("ratio", [1.0, 2.0**32, -(2.0**32), 2.0**-32])
def test_motion_stays_in_range_whatever_the_distances(ratio: float, references: int) -> None:
    """Every value the largest."""

    class Port:
        reading = True

        def __call__(self, values: Integers, rows: Table) -> Integers:
            return np.full(rows.shape, 127, np.int16)

    empty = np.zeros((references, 2, 13, 7), np.int16), np.zeros((references - 1, 13, 7), np.int16)
    motion, sides = code_motion(Port(), *empty, ratio)
    assert np.abs(motion.astype(int)).max() == LARGEST_MOTION
    assert (sides == -1).all()


# ---- squares and candidates ----


class CountingPort(WritingPort):
    """How many values each pass has."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: list[int] = []

    def __call__(self, values: Integers, rows: Table) -> Integers:
        self.counts.append(len(rows))
        return super().__call__(values, rows)


def counts(motion: Integers, carried: Integers | None = None) -> list[int]:
    port = CountingPort()
    code_motion(port, motion, np.zeros((0, *motion.shape[2:]), np.int16), 1.0, carried)
    return port.counts


def test_what_moves_as_one_is_one_square() -> None:
    """Passes: splits of three levels, own, rank, and vectors down and across."""
    motion = np.zeros((1, 2, 16, 24), np.int16)
    assert counts(motion) == [6, 0, 0, 6, 6, 0, 0]
    motion += np.array([[[3]], [[-4]]], np.int16)
    assert counts(motion) == [6, 0, 0, 6, 6, 1, 1], "all but the first take it from beside them"
    assert counts(motion, motion[0]) == [6, 0, 0, 6, 6, 0, 0], "it goes on"
    motion[..., 8:12, 4:8] += 1
    assert counts(motion) == [6, 4, 0, 9, 9, 2, 2]
    motion[..., 2, 2] += 5
    assert counts(motion) == [6, 8, 4, 9 + 3 + 3 + 3, 18, 3, 3]


def test_squares_end_where_the_frame_does() -> None:
    motion = np.arange(2 * 9 * 3, dtype=np.int16).reshape(1, 2, 9, 3)
    assert counts(motion)[:4] == [2, 2 + 1, 4 + 4 + 2, 27]


def test_unrest_is_how_much_carried_motion_differs() -> None:
    assert [classes.tolist() for classes in unrest(None, (9, 3))] == [
        [[3], [3]],
        [[3]] * 3,
        [[3, 3]] * 5,
        [[3] * 3] * 9,
    ]
    carried = np.full((2, 9, 3), 70, np.int16)
    carried[0, 1, 1], carried[1, 3, 0] = 71, 67
    eights, fours, twos, ones = unrest(carried, (9, 3))
    assert eights.tolist() == [[2], [0]]
    assert fours.tolist() == [[2], [0], [0]]
    assert twos.tolist() == [[1, 0], [1, 0], [0, 0], [0, 0], [0, 0]]
    assert not ones.any()


numbers = st.integers(-LARGEST_MOTION, LARGEST_MOTION) | st.integers(-9, 9)
pairs, fours = st.tuples(numbers, numbers), st.tuples(numbers, numbers, numbers, numbers)


@given(fours, fours, st.integers(-1, 1), st.integers(-1, 1), ratios)
def test_differences_are_undone(motion: Any, candidate: Any, side: int, other: int, ratio: float) -> None:
    assert moved(candidate[:2], difference(motion[:2], candidate[:2], ratio), 0, ratio) == motion[:2]
    y, x, v, u = motion
    if side > 0:
        v, u = along(y, ratio), along(x, ratio)
    if side < 0:
        y, x = along(v, 1 / ratio), along(u, 1 / ratio)
    vectors = difference((y, x, v, u, side), (*candidate, other), ratio)
    assert not side or vectors[2:] == (0, 0)
    assert max(map(abs, vectors)) <= 2 * LARGEST_MOTION, "no more than what is coded"
    assert moved((*candidate, other), vectors, side, ratio) == (y, x, v, u, side)


@given(fours, fours, st.integers(-1, 1), ratios)
def test_a_steady_change_has_no_second_vector(motion: Any, candidate: Any, other: int, ratio: float) -> None:
    small = tuple(v % 200 for v in motion[:2])
    start = (*candidate[:2], *(along(v, ratio) for v in candidate[:2]), other)
    goal = (*small, *(along(v, ratio) for v in small), 0)
    assert difference(goal, start, ratio)[2:] == (0, 0)


def test_rows_are_of_their_families() -> None:
    shapes = {name: table.shape for name, table in vars(MOTION_ROWS).items()}
    assert shapes == {
        "split": (2, 3, 4),
        "own": (2, 4),
        "rank": (2, 2, 4),
        "alone": (4,),
        "second": (1,),
        "vectors": (3, 2, 3, 4),
    }
    for name, table in vars(MOTION_ROWS).items():
        first, end = {"rank": (RANKS, 256), "vectors": (PEAKED, FLAGS)}.get(name, (FLAGS, RANKS))
        assert table.min() >= first
        assert table.max() < end
    assert CANDIDATES == 6


def test_rows_of_the_page_are_those_of_the_code() -> None:
    assert {name: table.ravel().tolist() for name, table in vars(MOTION_ROWS).items()} == page.MOTION_ROWS


# ---- motion that goes on ----


@given(st.data(), st.sampled_from([(1, 1), (5, 3), (9, 14)]))
@settings(max_examples=60)
def test_carried_motion_is_what_the_page_says(data: st.DataObject, size: tuple[int, int]) -> None:
    frames = st.integers(0, 40)
    t, *references = data.draw(st.lists(frames, min_size=2, max_size=3, unique=True))
    rng = np.random.default_rng(data.draw(frames))
    earlier = {}
    for p in references:
        known = [n for n in range(41) if n not in (p, t)]
        others = data.draw(st.lists(st.sampled_from(known), max_size=2, unique=True))
        motion = np.rint(rng.laplace(0, 60, (len(others), 2, *size))).astype(np.int16)
        earlier[p] = Moved(tuple(others), motion)
    found = carry(t, references, earlier)
    told = {
        p: (list(m.references), {place: int(v) for place, v in np.ndenumerate(m.motion)}) for p, m in earlier.items()
    }
    wanted = page.carried_motion(t, references, told, (8 * size[0], 8 * size[1]))
    if found is None:
        assert wanted is None
    else:
        assert {place: int(v) for place, v in np.ndenumerate(found)} == wanted


def test_steady_motion_is_carried_on() -> None:
    motion = np.broadcast_to(np.array([8, -16], np.int16)[:, None, None], (1, 2, 6, 7))
    earlier = {0: Moved((), motion[:0]), 8: Moved((0,), motion)}
    assert (carry(4, (0, 8), earlier) == motion[0] // 2).all()
    assert (carry(16, (8,), earlier) == motion[0]).all()
    assert (carry(4, (8, 0), earlier) == -motion[0] // 2).all()
    assert carry(8, (0,), earlier) is None
