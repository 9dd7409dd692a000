"""Records: the integers of a frame come back as they were written, and what no encoder wrote is refused."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from bitstream import PEAKED, MalformedChunk, frequencies
from codec.network.predictive import network as twins
from codec.network.predictive.frames import empty_symbols, moving_of
from codec.network.predictive.network import FIRST, GLOBALS, MOVING, SECOND, PredictiveNetwork, Shape
from codec.network.predictive.scales import LARGEST_VALUE, MAGNITUDES, TrainedLayer, scale_network
from codec.network.predictive.symbols import BARE, CARRIED, HYPERS, MEAN, MOTION, RESIDUALS, SIDES, Integers, Symbols
from codec.network.predictive.transform import LATENTS
from codec.rate import records
from codec.rate.motion import LARGEST_MOTION, MOTION_ROWS, Moved, carry, code_motion, motion_passes
from codec.rate.records import FrameCoder, ReadingPort, WritingPort
from codec.rate.sides import SIDE_ROWS
from tests.bitstream import frame_record as page

SMALL = Shape(features=8, means=8, hyper=4, context=3, hidden=8, blocks=1)
SIZES = [(1, 1), (8, 8), (33, 70), (130, 97), (45, 300)]


def random_network(seed: int, shape: Shape = SMALL) -> PredictiveNetwork:
    """A network whose rows reach from 0, where nothing is coded, to wide ones."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = PredictiveNetwork(shape)
        with torch.no_grad():
            for layer in network.modules():
                if isinstance(layer, TrainedLayer):
                    layer.bias.add_(torch.empty_like(layer.bias).uniform_(-1.5, 1))
        return network


NETWORK = random_network(0)
CODER = FrameCoder(NETWORK)


def random_symbols(rng: np.random.Generator, height: int, width: int, references: int, spread: float) -> Symbols:
    """Integers of a frame: mostly small, some at the ends of their range."""
    empty = empty_symbols(NETWORK, height, width, references)

    def drawn(like: Integers) -> Integers:
        values = np.rint(rng.laplace(0, spread, like.shape)).clip(-127, 127)
        return np.where(rng.random(like.shape) < 0.01, rng.choice([-127, 127], like.shape), values).astype(np.int16)

    motion = np.rint(rng.laplace(0, 4 * spread, empty.motion.shape) * rng.choice((1, 1, 60), empty.motion.shape))
    motion = motion.clip(-2000, 2000).astype(np.int16)
    sides = rng.integers(-1, 2, empty.sides.shape).astype(np.int16)
    return Symbols(motion, sides, drawn(empty.hyper), drawn(empty.residuals))


def same(a: Symbols, b: Symbols) -> bool:
    parts = ("motion", "sides", "hyper", "residuals")
    return a.made == b.made and all(np.array_equal(getattr(a, part), getattr(b, part)) for part in parts)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("references", [0, 1, 2])
@pytest.mark.parametrize("spread", [0.0, 0.4, 3.0])
def test_what_is_written_is_read(size: tuple[int, int], references: int, spread: float) -> None:
    symbols = random_symbols(np.random.default_rng(references), *size, references, spread)
    ratio = [None, 1.0, -2 / 3][references]
    record, kept, _ = CODER.write(symbols, 17, ratio)
    empty = empty_symbols(NETWORK, *size, references)
    back = CODER.read(record, symbols.flags, empty, 17, ratio, "frame 0")
    assert same(back, kept)
    again, twice, _ = CODER.write(kept, 17, ratio)
    if kept.flags == symbols.flags:
        assert again == record
        assert same(twice, kept)


def test_what_is_kept_differs_only_where_nothing_is_coded() -> None:
    symbols = random_symbols(np.random.default_rng(5), 130, 97, 2, 1.0)
    _, kept, _ = CODER.write(symbols, 40, 1.0)
    assert np.array_equal(kept.motion, symbols.motion), "every row of motion codes all values"
    assert np.array_equal(kept.sides, symbols.sides), "and every row of sides"
    for part in ("hyper", "residuals"):
        true, found = getattr(symbols, part), getattr(kept, part)
        assert set(np.unique(found[found != true])) <= {0}
        assert (found != true).any(), "this network has rows of 0"
        assert (found[found == true] != 0).any()


def test_only_the_parts_of_the_flags_are_coded() -> None:
    rng = np.random.default_rng(2)
    symbols, empty = random_symbols(rng, 64, 64, 2, 1.0), empty_symbols(NETWORK, 64, 64, 2)
    for flags in (*range(8), *range(16, 24), 32, 64 + 7, 96 + 23):
        parts = [
            part if flags & flag else none
            for flag, part, none in (
                (MOTION, symbols.motion, empty.motion),
                (SIDES, symbols.sides, empty.sides),
                (HYPERS, symbols.hyper, empty.hyper),
                (RESIDUALS, symbols.residuals, empty.residuals),
            )
        ]
        motion, sides, hyper, residuals = parts
        chosen = Symbols(motion, sides, hyper, residuals, flags & (MEAN | BARE))
        assert chosen.flags == flags
        record, kept, bits = CODER.write(chosen, 30, 1.0)
        assert same(CODER.read(record, flags, empty, 30, 1.0, "frame"), kept)
        assert [name for name, b in bits.items() if b] == [
            name for flag, name in ((1, "motion"), (16, "sides"), (2, "hyper-latents"), (4, "latents")) if flags & flag
        ]
    assert CODER.write(empty, 30, 1.0)[0] == b""


@pytest.mark.parametrize("references", [1, 2])
def test_motion_is_coded_as_the_difference_from_what_is_carried(references: int) -> None:
    symbols = random_symbols(np.random.default_rng(4), 96, 64, references, 0.8)
    empty, ratio = empty_symbols(NETWORK, 96, 64, references), [None, None, -1.0][references]
    flags = symbols.flags | CARRIED
    record, kept, _ = CODER.write(symbols, 17, ratio, symbols.motion[0])
    assert np.array_equal(kept.motion, symbols.motion)
    assert same(CODER.read(record, flags, empty, 17, ratio, "frame", symbols.motion[0]), kept)
    assert len(record) < len(CODER.write(symbols, 17, ratio)[0])
    with pytest.raises(MalformedChunk, match=f"flags {flags - MOTION} name"):
        CODER.read(record, flags - MOTION, empty, 17, ratio, "frame", symbols.motion[0])


numbers = st.integers(0, 40)


@given(st.data(), st.sampled_from([(1, 1), (5, 3), (9, 14)]))
@settings(deadline=None, max_examples=60)
def test_carried_motion_is_what_the_page_says(data: st.DataObject, size: tuple[int, int]) -> None:
    t, *references = data.draw(st.lists(numbers, min_size=2, max_size=3, unique=True))
    rng = np.random.default_rng(data.draw(numbers))
    earlier = {}
    for p in references:
        known = [n for n in range(41) if n not in (p, t)]
        others = data.draw(st.lists(st.sampled_from(known), max_size=2, unique=True))
        field = np.rint(rng.laplace(0, 60, (len(others), 2, *size))).astype(np.int16)
        earlier[p] = Moved(tuple(others), field)
    found = carry(t, references, earlier)
    told = {
        p: (list(m.references), {place: int(v) for place, v in np.ndenumerate(m.motion)}) for p, m in earlier.items()
    }
    wanted = page.carried_motion(t, references, told, (8 * size[0], 8 * size[1]))
    if found is None:
        assert not any(wanted.values())
    else:
        assert {place: int(v) for place, v in np.ndenumerate(found)} == wanted


def test_steady_motion_is_carried_on() -> None:
    motion = np.broadcast_to(np.array([8, -16], np.int16)[:, None, None], (1, 2, 6, 7))
    earlier = {0: Moved((), motion[:0]), 8: Moved((0,), motion)}
    assert (carry(4, (0, 8), earlier) == motion[0] // 2).all()
    assert (carry(16, (8,), earlier) == motion[0]).all()
    assert (carry(4, (8, 0), earlier) == -motion[0] // 2).all()
    assert carry(8, (0,), earlier) is None


@pytest.mark.parametrize("references", [0, 2])
def test_ideal_bits_are_those_of_the_record(references: int) -> None:
    symbols = random_symbols(np.random.default_rng(7), 180, 320, references, 0.8)
    record, _, bits = CODER.write(symbols, 50, 1.0 if references else None)
    assert len(record) > 3000
    assert 8 * len(record) == pytest.approx(sum(bits.values()), rel=0.01, abs=64)


@given(
    arrays(np.int16, (2, 2, 5, 17), elements=st.integers(-LARGEST_MOTION, LARGEST_MOTION) | st.integers(-130, 130)),
    st.sampled_from([-1.0, 1.0, 2.0]),
)
def test_motion_of_any_size_comes_back(motion: Integers, ratio: float) -> None:
    motion[1] = np.clip(motion[1], -100, 100)  # so that what it lacks of steady motion is within the range
    motion[0] = np.where(np.abs(motion[0] * ratio) > LARGEST_MOTION - 100, 0, motion[0])
    port = WritingPort()
    assert np.array_equal(code_motion(port, motion, ratio), motion)
    back = code_motion(ReadingPort(port.finish(), "frame"), np.zeros_like(motion), ratio)
    assert np.array_equal(back, motion)


def test_motion_out_of_range_is_coded_as_the_nearest() -> None:
    motion = np.full((1, 2, 3, 3), 30000, np.int16)
    port = WritingPort()
    kept = code_motion(port, motion, 1.0)
    assert (kept == LARGEST_MOTION).all()
    back = code_motion(ReadingPort(port.finish(), "frame"), np.zeros_like(motion), 1.0)
    assert np.array_equal(back, kept)


# ---- files of others ----


@given(st.binary(max_size=200), st.integers(0, 15), st.integers(0, 2), st.sampled_from(SIZES[:3]), st.integers(0, 63))
@settings(deadline=None, max_examples=150)
def test_any_bytes_are_refused_or_a_record(
    data: bytes, flags: int, references: int, size: tuple[int, int], quality: int
) -> None:
    empty = empty_symbols(NETWORK, *size, references)
    try:
        symbols = CODER.read(data, flags, empty, quality, 1.0, "frame 9")
    except MalformedChunk:
        return
    if symbols.flags == flags:
        assert CODER.write(symbols, quality, 1.0)[0] == data


@given(st.integers(0, 2**20), st.integers(0, 255), st.sampled_from(["set", "cut", "more"]), st.integers(0, 2))
@settings(deadline=None, max_examples=100)
def test_a_changed_record_is_refused_or_another(place: int, byte: int, kind: str, references: int) -> None:
    symbols = random_symbols(np.random.default_rng(3), 64, 48, references, 0.6)
    record, kept, _ = CODER.write(symbols, 25, -1.0)
    place %= len(record)
    changed = {
        "set": record[:place] + bytes([byte]) + record[place + 1 :],
        "cut": record[:place],
        "more": record + bytes([byte]) * (1 + place % 9),
    }[kind]
    empty = empty_symbols(NETWORK, 64, 48, references)
    try:
        found = CODER.read(changed, symbols.flags, empty, 25, -1.0, "frame")
    except MalformedChunk:
        assert changed != record
        return
    assert (changed == record) == same(found, kept)


@pytest.mark.parametrize(
    ("record", "flags", "references", "message"),
    [
        (b"", 16, 1, "flags 16 name parts that this frame does not have"),
        (b"", 8, 1, "flags 8 name parts that this frame does not have"),
        (b"", MOTION, 0, "flags 1 name parts"),
        (b"", MEAN, 0, "flags 32 name parts"),
        (b"", BARE, 0, "flags 64 name parts"),
        (b"", 128, 1, "flags 128 name parts"),
        (b"\1", 0, 1, "words are not those"),
        (b"\1\0", 0, 1, "zero bytes at the end"),
        (b"\0", 0, 1, "words are not those"),
        (b"", RESIDUALS, 0, "words are not those"),
    ],
)
def test_records_of_no_encoder(record: bytes, flags: int, references: int, message: str) -> None:
    with pytest.raises(MalformedChunk, match=f"frame 3: .*{message}"):
        CODER.read(record, flags, empty_symbols(NETWORK, 32, 32, references), 0, 1.0, "frame 3")


@pytest.mark.parametrize("ratio", [0.0, 1e9, -1e9, 2.0**-40])
def test_motion_stays_in_range_whatever_the_distances(ratio: float) -> None:
    """Every value the largest: sums over all passes, and the second reference however far beyond the first."""

    class Port:
        def __call__(self, values: Integers, rows: np.ndarray) -> Integers:
            return np.full(rows.shape, 127, np.int16)

    motion = code_motion(Port(), np.zeros((2, 2, 70, 50), np.int16), ratio)
    assert motion[0].max() <= LARGEST_MOTION
    assert np.abs(motion[1].astype(int)).max() <= 2 * LARGEST_MOTION
    assert (motion[1] > 0).all() or ratio < 0


# ---- contexts ----


def rows_of(coder: FrameCoder, symbols: Symbols, quality: int, ratio: float | None) -> list[np.ndarray]:
    """The table rows of every pass."""
    seen: list[np.ndarray] = []

    class Spy(WritingPort):
        def __call__(self, values: Integers, rows: np.ndarray) -> Integers:
            seen.append(rows.copy())
            return super().__call__(values, rows)

    coder._code(Spy(), symbols, symbols.flags, quality, ratio, None)
    return seen


@pytest.mark.parametrize("references", [0, 1, 2])
@pytest.mark.parametrize("quality", [0, 31, 63])
def test_rows_are_those_of_the_network_in_training(quality: int, references: int) -> None:
    """The decoder's arithmetic on numpy and its twin on torch: the same row for every value."""
    symbols = random_symbols(np.random.default_rng(quality), 72, 200, references, 0.7)
    predicted = references > 0
    _, kept, _ = CODER.write(symbols, quality, 1.0)
    passes = rows_of(CODER, kept, quality, 1.0)[-6:]
    q = torch.tensor([float(quality)])
    hyper = torch.from_numpy(kept.hyper)[None].float()
    residuals = torch.from_numpy(kept.residuals)[None].float()
    told = twins.globals_of(q, predicted)
    assert np.array_equal(told[0].numpy(), records.globals_of(quality, predicted))

    def cells(x: torch.Tensor) -> torch.Tensor:
        return twins._cells(x)[0]

    with torch.no_grad():
        board = twins.checkerboard(*hyper.shape[2:], hyper.device)
        near = cells(twins._around(twins._magnitudes(hyper * board)))
        n = len(near)
        all_told = told.expand(n, -1)
        expected = [
            NETWORK.hyper_scales[0](all_told[board.flatten()]),
            NETWORK.hyper_scales[1](torch.cat((all_told, near), -1)[~board.flatten()]),
        ]
        board = twins.checkerboard(*residuals.shape[2:], residuals.device)
        moved = cells(moving_of(kept)) if predicted else torch.zeros(board.numel(), MOVING)
        inputs = torch.cat((NETWORK.context(hyper)[0].flatten(0, 1), moved, told.expand(board.numel(), -1)), -1)
        magnitudes = cells(twins._magnitudes(residuals))
        near = cells(twins._around(twins._magnitudes(residuals * board)))
        for where, seen, nets in (
            (board.flatten(), inputs, NETWORK.scales[:2]),
            (~board.flatten(), torch.cat((inputs, near), -1), NETWORK.scales[2:]),
        ):
            expected.append(nets[0](seen)[where])
            expected.append(nets[1](torch.cat((seen, magnitudes[:, list(FIRST)]), -1))[where])
    assert len(passes) == len(expected)
    for found, wanted in zip(passes, expected, strict=True):
        assert np.array_equal(found, wanted.numpy())
    assert len(np.unique(np.concatenate([p.ravel() for p in passes]))) > 10


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(0, 9))
@settings(deadline=None, max_examples=40)
def test_a_layer_is_exact_in_every_form(seed: int, outputs: int, place: int) -> None:
    """In integers, in float32, with inputs folded into the bias, and in another order: one and the same."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layer = scale_network(GLOBALS + 9, outputs, 3)[0]
    assert isinstance(layer, TrainedLayer)
    exact, rng = layer.integers(), np.random.default_rng(seed)
    x = rng.integers(-127, LARGEST_VALUE + 1, (50, GLOBALS + 9))
    sums = x @ exact.weight.astype(np.int64) + exact.bias + (1 << (exact.shift - 1))
    wanted = np.clip(sums >> exact.shift, 0, exact.most)
    assert np.array_equal(exact(x.astype(np.float32)), wanted)
    with torch.no_grad():
        assert np.array_equal(layer(torch.from_numpy(x).float()).numpy(), wanted)
    order = rng.permutation(x.shape[1])
    assert np.array_equal(exact.reordered(order.tolist())(x[:, order].astype(np.float32)), wanted)
    known = x[0, place : place + GLOBALS]
    others = np.delete(x, slice(place, place + GLOBALS), axis=1).astype(np.float32)
    x[:, place : place + GLOBALS] = known
    assert np.array_equal(exact.given(known, place)(others), exact(x.astype(np.float32)))


def test_a_layer_whose_sums_could_be_inexact_is_refused() -> None:
    layer = TrainedLayer(600, 2, start=0.0)
    with torch.no_grad():
        layer.weight.fill_(10.0)
    with pytest.raises(ValueError, match=r"2\*\*23"):
        layer.integers()


def test_channels_are_coded_once_each() -> None:
    assert sorted(FIRST + SECOND) == list(range(LATENTS))
    assert (len(FIRST), len(SECOND)) == (19, 75)


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (17, 16), (33, 35)])
def test_motion_passes_reach_every_cell_once_from_cells_before(size: tuple[int, int]) -> None:
    done = np.zeros(size, bool)
    for _, (y, x), near in motion_passes(*size):
        assert not done[y, x].any()
        if near is not None:
            assert done.ravel()[near].all()
        done[y, x] = True
    assert done.all()


def test_every_row_of_motion_codes_every_value() -> None:
    assert MOTION_ROWS.shape == (3, 2, 3, 10)
    assert MOTION_ROWS.min() >= PEAKED
    assert (frequencies()[MOTION_ROWS.ravel()] > 0).all()


@contextmanager
def threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def test_records_are_the_same_under_any_number_of_threads() -> None:
    found = []
    for count in (1, 2):
        with threads(count):
            network = random_network(4)
            coder = FrameCoder(network)
            symbols = random_symbols(np.random.default_rng(4), 130, 97, 2, 0.7)
            record, kept, bits = coder.write(symbols, 33, 0.5)
            back = coder.read(record, symbols.flags, empty_symbols(network, 130, 97, 2), 33, 0.5, "frame")
            assert same(back, kept)
            found.append((record, math.fsum(bits.values())))
    assert found[0] == found[1]


# ---- against the page ----


def integer_tensors(network: PredictiveNetwork) -> dict[str, page.Layer]:
    layers = {name: m.integers() for name, m in network.named_modules() if isinstance(m, TrainedLayer)}
    return {name: (layer.weight.tolist(), layer.bias.tolist()) for name, layer in layers.items()}


@pytest.mark.parametrize(("size", "references", "quality"), [((40, 33), 0, 63), ((33, 65), 1, 7), ((150, 9), 2, 30)])
def test_a_record_says_what_the_page_says(size: tuple[int, int], references: int, quality: int) -> None:
    ways = [-3, 2][:references]
    ratio = ways[-1] / ways[0] if ways else None
    symbols = random_symbols(np.random.default_rng(quality), *size, references, 0.8)
    record, kept, _ = CODER.write(symbols, quality, ratio)
    told = page.globals_of(quality, bool(references))
    reader = page.Page(record, integer_tensors(NETWORK))
    channels, h, w = kept.hyper.shape
    motion = reader.motion(references, *size, ways) if symbols.flags & MOTION else {}
    sides = reader.sides(*size) if symbols.flags & SIDES else {}
    hyper = reader.hypers(channels, h, w, told)
    moving = page.moving_of(motion, sides, references, size)
    residuals = reader.residuals(hyper, channels, moving, told)
    for found, wanted in ((motion, kept.motion), (sides, kept.sides), (hyper, kept.hyper), (residuals, kept.residuals)):
        assert found == {place: int(value) for place, value in np.ndenumerate(wanted)}


def test_tables_of_the_page_are_those_of_the_code() -> None:
    assert MAGNITUDES.tolist() == page.MAGNITUDES
    assert MOTION_ROWS.reshape(6, 30).tolist() == page.MOTION_ROWS
    assert (list(FIRST), list(SECOND)) == (page.FIRST, page.SECOND)
    assert SIDE_ROWS.tolist() == page.SIDE_ROWS
    assert "Channels 0..12, 64..66 and 79..81 are FIRST" in page.TEXT
