"""Records: the integers of a frame come back as they were written, and what no encoder wrote is refused."""

from __future__ import annotations

import math
from dataclasses import fields

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bitstream import MalformedChunk
from codec.network.predictive import network as twins
from codec.network.predictive.cell_transforms import as_latents_seen
from codec.network.predictive.frames import empty_symbols, moving_of
from codec.network.predictive.network import FIRST, FIRST_LUMA, GLOBALS, MOVING, SECOND, PredictiveNetwork, Shape
from codec.network.predictive.scales import LARGEST_VALUE, MAGNITUDES, TrainedLayer, scale_network
from codec.network.predictive.symbols import (
    BARE,
    HYPERS,
    MADE,
    MOTION,
    OVERLAP,
    RESIDUALS,
    TRANSFORMS,
    Integers,
    Symbols,
)
from codec.network.predictive.transform import LATENTS, LUMA
from codec.rate import records
from codec.rate.carried import LARGEST_MOTION, all_along
from codec.rate.cell_values import VALUE_ROWS
from codec.rate.ports import WritingPort
from codec.rate.records import FrameCoder
from codec.side_by_side import torch_threads
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


def random_symbols(
    rng: np.random.Generator, height: int, width: int, references: int, spread: float, others: float = 0.3
) -> Symbols:
    """Integers of a frame: mostly small, some at the ends of their range.

    others: share of the cells whose luma is not coded as latents.
    """
    empty = empty_symbols(NETWORK, height, width, references)

    def drawn(like: Integers) -> Integers:
        values = np.rint(rng.laplace(0, spread, like.shape)).clip(-127, 127)
        return np.where(rng.random(like.shape) < 0.01, rng.choice([-127, 127], like.shape), values).astype(np.int16)

    motion = np.rint(rng.laplace(0, 4 * spread, empty.motion.shape) * rng.choice((1, 1, 60), empty.motion.shape))
    motion = motion.clip(-2000, 2000).astype(np.int16)
    sides = rng.integers(-1, 2, empty.sides.shape).astype(np.int16)
    hyper, residuals = drawn(empty.hyper), drawn(empty.residuals)
    transforms = rng.choice(3, empty.transforms.shape, p=(1 - others, others / 2, others / 2)).astype(np.int16)
    return Symbols(motion, sides, hyper, residuals, transforms)


def same(a: Symbols, b: Symbols) -> bool:
    """Whether all is alike that counts: transforms of nothing do not."""
    parts = ["motion", "sides", "hyper", "residuals", *["transforms"] * bool(a.residuals.any())]
    return a.made == b.made and all(np.array_equal(getattr(a, part), getattr(b, part)) for part in parts)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("references", [0, 1, 2])
@pytest.mark.parametrize(("spread", "others"), [(0.0, 0.3), (0.4, 0.0), (0.4, 0.3), (3.0, 1.0)])
def test_what_is_written_is_read(size: tuple[int, int], references: int, spread: float, others: float) -> None:
    symbols = random_symbols(np.random.default_rng(references), *size, references, spread, others)
    assert bool(symbols.flags & TRANSFORMS) == (others > 0)
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
    (first, second), sides = symbols.motion, symbols.sides
    seen = np.stack((np.where(sides < 0, all_along(second, 1.0), first), np.where(sides > 0, first, second)))
    assert np.array_equal(kept.motion, seen), "every row of motion codes all values"
    assert np.array_equal(kept.sides, sides)
    assert np.array_equal(kept.transforms, symbols.transforms)
    there = symbols.transforms != 0
    values = symbols.residuals[:LUMA, there]
    assert np.array_equal(kept.residuals[:LUMA, there], values), "and so does every row of other values than latents"
    for part in ("hyper", "residuals"):
        true, found = getattr(symbols, part), getattr(kept, part)
        assert set(np.unique(found[found != true])) <= {0}
        assert (found != true).any(), "this network has rows of 0"
        assert (found[found == true] != 0).any()


def test_only_the_parts_of_the_flags_are_coded() -> None:
    rng = np.random.default_rng(2)
    symbols, empty = random_symbols(rng, 64, 64, 2, 1.0), empty_symbols(NETWORK, 64, 64, 2)
    for flags in (*range(8), 12, 15, 16 + 1, 64 + 7, 80 + 5, 16 + 13, 95):
        parts = [
            part if flags & flag else none
            for flag, part, none in (
                (MOTION, symbols.motion, empty.motion),
                (MOTION, symbols.sides, empty.sides),
                (HYPERS, symbols.hyper, empty.hyper),
                (RESIDUALS, symbols.residuals, empty.residuals),
                (TRANSFORMS, symbols.transforms, empty.transforms),
            )
        ]
        motion, sides, hyper, residuals, transforms = parts
        chosen = Symbols(motion, sides, hyper, residuals, transforms, flags & MADE)
        assert chosen.flags == flags
        record, kept, bits = CODER.write(chosen, 30, 1.0)
        assert same(CODER.read(record, flags, empty, 30, 1.0, "frame"), kept)
        assert [name for name, b in bits.items() if b] == [
            name for flag, name in ((1, "motion"), (2, "hyper-latents"), (4, "latents")) if flags & flag
        ]
    assert CODER.write(empty, 30, 1.0)[0] == b""


def test_transforms_of_nothing_are_not_coded() -> None:
    empty = empty_symbols(NETWORK, 64, 64, 0)
    symbols = Symbols(empty.motion, empty.sides, empty.hyper, empty.residuals, empty.transforms + np.int16(1))
    assert symbols.flags == 0
    assert CODER.write(symbols, 30, None)[0] == b""


def test_of_latents_alone_nothing_more_is_coded() -> None:
    """No flag, and neither a share nor a pass of transforms: records are as they were before there were others."""
    symbols = random_symbols(np.random.default_rng(6), 64, 48, 0, 0.6, others=0.0)
    assert symbols.flags == HYPERS | RESIDUALS
    channels, h, w = symbols.hyper.shape
    hyper = [(h * w // 2, channels)] * 2
    assert [p.shape for p in rows_of(CODER, symbols, 30, None)] == [*hyper, *[(h * w * 8, n) for n in (19, 75)] * 2]


def test_sides_alone_are_motion() -> None:
    empty = empty_symbols(NETWORK, 64, 64, 2)
    sides = empty.sides.copy()
    sides[0, 3] = -1
    symbols = Symbols(empty.motion, sides, empty.hyper, empty.residuals, empty.transforms)
    assert symbols.flags == MOTION
    record, kept, _ = CODER.write(symbols, 30, -1.0)
    assert same(kept, symbols)
    assert same(CODER.read(record, MOTION, empty, 30, -1.0, "frame"), symbols)


@pytest.mark.parametrize("references", [1, 2])
def test_motion_that_goes_on_takes_little(references: int) -> None:
    symbols = random_symbols(np.random.default_rng(4), 96, 64, references, 0.8)
    empty, ratio = empty_symbols(NETWORK, 96, 64, references), [None, None, -1.0][references]
    going = symbols.motion[0]
    motion = np.stack((going, all_along(going, ratio))) if ratio is not None else going[None]
    symbols = Symbols(motion, empty.sides, symbols.hyper, symbols.residuals, symbols.transforms)
    record, kept, _ = CODER.write(symbols, 17, ratio, going)
    assert np.array_equal(kept.motion, motion)
    assert same(CODER.read(record, symbols.flags, empty, 17, ratio, "frame", going), kept)
    assert len(record) < len(CODER.write(symbols, 17, ratio)[0])


@pytest.mark.parametrize("references", [0, 2])
def test_ideal_bits_are_those_of_the_record(references: int) -> None:
    symbols = random_symbols(np.random.default_rng(7), 180, 320, references, 0.8)
    record, _, bits = CODER.write(symbols, 50, 1.0 if references else None)
    assert len(record) > 3000
    assert 8 * len(record) == pytest.approx(sum(bits.values()), rel=0.01, abs=64)


def test_motion_out_of_range_is_coded_as_the_nearest() -> None:
    empty = empty_symbols(NETWORK, 24, 24, 1)
    motion = empty.motion + np.int16(30000)
    symbols = Symbols(motion, empty.sides, empty.hyper, empty.residuals, empty.transforms)
    record, kept, _ = CODER.write(symbols, 17, None)
    assert (kept.motion == LARGEST_MOTION).all()
    assert same(CODER.read(record, MOTION, empty, 17, None, "frame"), kept)


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
    record, kept, _ = CODER.write(symbols, quality, 1.0)
    assert same(kept, symbols)
    assert same(CODER.read(record, symbols.flags, empty, quality, 1.0, "frame 9"), symbols)
    if symbols.flags == flags and not flags & (MOTION | TRANSFORMS):
        assert record == data, "motion and transforms alone can be said in several ways"


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
    if changed == record or not references:
        assert (changed == record) == same(found, kept)


@pytest.mark.parametrize(
    ("record", "flags", "references", "message"),
    [
        (b"", 8 + MOTION, 1, "flags 9 name parts that this frame does not have"),
        (b"", TRANSFORMS, 0, "flags 8 name parts"),
        (b"", TRANSFORMS | HYPERS, 0, "flags 10 name parts"),
        (b"", MOTION, 0, "flags 1 name parts"),
        (b"", OVERLAP, 0, "flags 16 name parts"),
        (b"", 32, 2, "flags 32 name parts that this frame does not have"),
        (b"", BARE, 0, "flags 64 name parts"),
        (b"", 128, 1, "flags 128 name parts"),
        (b"\1", 0, 1, "bytes are not those"),
        (b"\1\0", 0, 1, "bytes are not those"),
        (b"\0", 0, 1, "bytes are not those"),
        (b"\0", RESIDUALS, 0, "bytes are not those"),
    ],
)
def test_records_of_no_encoder(record: bytes, flags: int, references: int, message: str) -> None:
    with pytest.raises(MalformedChunk, match=f"frame 3: .*{message}"):
        CODER.read(record, flags, empty_symbols(NETWORK, 32, 32, references), 0, 1.0, "frame 3")


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
@pytest.mark.parametrize(("quality", "others"), [(0, 0.0), (31, 0.3), (63, 0.6)])
def test_rows_are_those_of_the_network_in_training(quality: int, others: float, references: int) -> None:
    """The decoder's arithmetic on numpy and its twin on torch: the same row for every value."""
    symbols = random_symbols(np.random.default_rng(quality), 72, 200, references, 0.7, others)
    predicted = references > 0
    _, kept, _ = CODER.write(symbols, quality, 1.0)
    passes = [p for p in rows_of(CODER, kept, quality, 1.0) if p.ndim == 2][-6:]  # those of latents and before
    q = torch.tensor([float(quality)])
    hyper = torch.from_numpy(kept.hyper)[None].float()
    residuals = torch.from_numpy(kept.residuals)[None].float()
    transforms = torch.from_numpy(kept.transforms)
    y, x = transforms.nonzero(as_tuple=True)
    residuals[0, :LUMA, y, x] = as_latents_seen(residuals[0, :LUMA, y, x].T, transforms[y, x]).T
    told = twins.globals_of(q, predicted)
    assert np.array_equal(told[0].numpy(), records.globals_of(quality, predicted))

    def cells(x: torch.Tensor) -> torch.Tensor:
        return twins.as_cells(x)[0]

    with torch.no_grad():
        board = twins.checkerboard(*hyper.shape[2:], hyper.device)
        near = cells(twins.around(twins.magnitudes(hyper * board)))
        n = len(near)
        all_told = told.expand(n, -1)
        expected = [
            NETWORK.hyper_scales[0](all_told[board.flatten()]),
            NETWORK.hyper_scales[1](torch.cat((all_told, near), -1)[~board.flatten()]),
        ]
        board = twins.checkerboard(*residuals.shape[2:], residuals.device)
        moved = cells(moving_of(kept)) if predicted else torch.zeros(board.numel(), MOVING)
        inputs = torch.cat((NETWORK.context(hyper)[0].flatten(0, 1), moved, told.expand(board.numel(), -1)), -1)
        magnitudes = cells(twins.magnitudes(residuals))
        near = cells(twins.around(twins.magnitudes(residuals * board)))
        for where, seen, nets in (
            (board.flatten(), inputs, NETWORK.scales[:2]),
            (~board.flatten(), torch.cat((inputs, near), -1), NETWORK.scales[2:]),
        ):
            rows = nets[0](seen), nets[1](torch.cat((seen, magnitudes[:, list(FIRST)]), -1))
            for found, luma in zip(rows, (FIRST_LUMA, LUMA - FIRST_LUMA), strict=True):
                found[transforms.flatten() != 0, :luma] = 0  # not coded as latents
                expected.append(found[where])
    assert len(passes) == len(expected)
    for coded, wanted in zip(passes, expected, strict=True):
        assert np.array_equal(coded, wanted.numpy())
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


def test_records_are_the_same_under_any_number_of_threads() -> None:
    found = []
    for count in (1, 2):
        with torch_threads(count):
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
    motion, sides = reader.motion(references, *size, ways) if symbols.flags & MOTION else ({}, {})
    hyper = reader.hypers(channels, h, w, told)
    moving = page.moving_of(motion, sides, references, size)
    residuals, transforms = reader.residuals(hyper, channels, moving, told, bool(symbols.flags & TRANSFORMS))
    wanted = (kept.motion, kept.sides, kept.hyper, kept.residuals, kept.transforms)
    for found, part in zip((motion, sides, hyper, residuals, transforms), wanted, strict=True):
        assert found == {place: int(value) for place, value in np.ndenumerate(part)}


def test_tables_of_the_page_are_those_of_the_code() -> None:
    assert MAGNITUDES.tolist() == page.MAGNITUDES
    assert (list(FIRST), list(SECOND)) == (page.FIRST, page.SECOND)
    for name, rows in page.VALUE_ROWS.items():
        assert np.ravel(getattr(VALUE_ROWS, name)).tolist() == rows
    assert len(page.VALUE_ROWS) == len(fields(VALUE_ROWS))
    assert "Channels 0..12, 64..66 and 79..81 are FIRST" in page.TEXT
