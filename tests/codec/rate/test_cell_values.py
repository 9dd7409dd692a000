"""Values of cells that are not coded as latents: what is written is read, under rows that what came before suggests."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitstream import FLAGS, MalformedChunk
from codec.network.predictive.cell_transforms import DCT4, SKIP, VALUES
from codec.network.predictive.scales import LARGEST_SYMBOL
from codec.network.predictive.symbols import HYPERS, MOTION, RESIDUALS, TRANSFORMS, Integers
from codec.rate.cell_values import (
    BEFORE,
    COARSE,
    COARSES,
    FINES,
    SHARE_ROW,
    SHARES,
    UNTOLD,
    VALUE_ROWS,
    CellValues,
    Places,
    code_share,
    code_transforms,
    expected,
)
from codec.rate.ports import Port, ReadingPort, Table, WritingPort
from codec.rate.records import check_flags
from codec.rate.squares import Numbers

HEIGHT, WIDTH = 3, 4  # cells


class Spy(WritingPort):
    """Keeps the rows of every pass that has values."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[Table] = []

    def __call__(self, values: Integers, rows: Table) -> Integers:
        if rows.size:
            self.rows.append(rows.copy())
        return super().__call__(values, rows)


class Case:
    """All cells of a frame, coded in two passes."""

    def __init__(self, seed: int, spread: float, skip: float) -> None:
        rng, count = np.random.default_rng(seed), HEIGHT * WIDTH
        self.passes: list[Places] = np.split(rng.permutation(count), [int(rng.integers(count + 1))])
        self.transforms = rng.choice(3, count, p=(0.3, 0.7 * (1 - skip), 0.7 * skip)).astype(np.int16)
        values = np.rint(rng.laplace(0, spread, (count, VALUES)))
        values[rng.random(values.shape) < 0.01] = rng.choice((-LARGEST_SYMBOL, LARGEST_SYMBOL))
        self.values = values.clip(-LARGEST_SYMBOL, LARGEST_SYMBOL).astype(np.int16)
        self.values[self.transforms == 0] = 0
        self.hopes: Numbers = rng.integers(0, 13 * 63 + 1, count)
        self.near: Numbers = rng.integers(0, UNTOLD + 1, count)

    def code(self, port: Port, transforms: Integers, values: Integers) -> tuple[Integers, Integers]:
        found, out, in_cells = np.zeros_like(transforms), np.zeros_like(values), CellValues(port, HEIGHT, WIDTH)
        share = code_share(port, transforms)
        for cells in self.passes:
            found[cells] = code_transforms(port, transforms[cells], self.hopes[cells], self.near[cells], share)
            others = cells[found[cells] != 0]
            out[others] = in_cells.code(values[others], others, found[others], self.hopes[others])
        return found, out


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.3, 3.0]), st.sampled_from([0.0, 0.5, 1.0]))
def test_what_is_written_is_read(seed: int, spread: float, skip: float) -> None:
    case, port = Case(seed, spread, skip), WritingPort()
    kept = case.code(port, case.transforms, case.values)
    assert np.array_equal(kept[0], case.transforms)
    assert np.array_equal(kept[1], case.values), "no row leaves a value out"
    reading = ReadingPort(port.finish(), "frame")
    found = case.code(reading, np.zeros_like(case.transforms), np.zeros_like(case.values))
    reading.finish()
    assert np.array_equal(found[0], case.transforms)
    assert np.array_equal(found[1], case.values)


def test_tables_have_a_row_for_every_context() -> None:
    classes = len(BEFORE) + 1
    shapes = {
        "other": (FINES, UNTOLD + 1),
        "skip_first": (COARSES,),
        "skip_odd": (COARSES, classes),
        "skip_rest": (COARSES, classes),
        "dct4_mean": (COARSES,),
        "dct4_low": (COARSES,),
        "dct4_rest": (3, COARSES, classes),
    }
    assert [field.name for field in fields(VALUE_ROWS)] == [*shapes]
    for name, shape in shapes.items():
        table = getattr(VALUE_ROWS, name)
        assert table.shape == shape
        assert table.dtype == np.uint8
        assert table.min() > 0, "a value under row 0 is not coded"
        assert name == "other" or table.max() < FLAGS, "a value may be more than 0 or 1"


# ---- contexts ----


def rows_of(values: Integers, cells: list[int], transforms: list[int], hopes: list[int]) -> list[Table]:
    """Of the passes of some cells, coded one after another."""
    port = Spy()
    in_cells = CellValues(port, HEIGHT, WIDTH)
    for value, cell, transform, hope in zip(values, cells, transforms, hopes, strict=True):
        port.rows.clear()
        in_cells.code(value[None], np.array([cell]), np.array([transform], np.int16), np.array([hope]))
    return port.rows


def square(values: dict[tuple[int, int], int]) -> Integers:
    out = np.zeros((8, 8), np.int16)
    for place, value in values.items():
        out[place] = value
    return out.ravel()


def test_pixels_tell_of_those_beside_them() -> None:
    bright = square({(2, 2): 3, (3, 3): -4})
    first, odd, even_odd, odd_even = rows_of(bright[None], [5], [SKIP], [COARSE])
    assert (first == VALUE_ROWS.skip_first[1]).all()
    wanted = np.full((4, 4), VALUE_ROWS.skip_odd[1, 0])
    wanted[:2, :2] = VALUE_ROWS.skip_odd[1, 3]  # 3 is the class of 3 and 4
    assert np.array_equal(odd[0], wanted)
    wanted = np.full((4, 4), VALUE_ROWS.skip_rest[1, 0])
    wanted[1, 0], wanted[1, 1], wanted[2, 1] = VALUE_ROWS.skip_rest[1, [3, 4, 3]]  # at (2, 1), (2, 3), (4, 3)
    assert np.array_equal(even_odd[0], wanted)
    wanted = np.full((4, 4), VALUE_ROWS.skip_rest[1, 0])
    wanted[0, 1], wanted[1, 1], wanted[1, 2] = VALUE_ROWS.skip_rest[1, [3, 4, 3]]  # at (1, 2), (3, 2), (3, 4)
    assert np.array_equal(odd_even[0], wanted)


def test_pixels_tell_of_those_of_cells_beside() -> None:
    """Also where the cell beside was coded before; one coded as DCT4 has no pixels."""
    values = np.stack((square({(1, 7): 9, (5, 7): 1}), square({})))
    for transform, seen in ((SKIP, {0: 5, 2: 1}), (DCT4, {})):
        *_, found = rows_of(values, [4, 5], [transform, SKIP], [0, 0])
        wanted = np.full((4, 4), VALUE_ROWS.skip_rest[0, 0])
        for row, before in seen.items():
            wanted[row, 0] = VALUE_ROWS.skip_rest[0, before]
        assert np.array_equal(found[0], wanted)
    *_, found = rows_of(values, [3, 4], [SKIP, SKIP], [0, 0])
    assert (found == VALUE_ROWS.skip_rest[0, 0]).all(), "the end of a row is not beside the beginning of the next"


def test_means_and_low_frequencies_tell_of_the_rest_of_their_quarter() -> None:
    values = square({(0, 4): -2, (0, 5): 1, (1, 4): 2, (6, 6): 50})
    mean, low, rest = rows_of(values[None], [0], [DCT4], [10 * COARSE])
    assert (mean == VALUE_ROWS.dct4_mean[3]).all()
    assert (low == VALUE_ROWS.dct4_low[3]).all()
    table = VALUE_ROWS.dct4_rest[:, 3]
    by_frequency = [0, 1, 0, 1, 2, 0, 1, 2, 2, 1, 2, 2, 2]  # of rows and columns of a quarter, without the first three
    for quarter, before in enumerate((0, 4, 0, 0)):
        assert rest[0, quarter].tolist() == table[by_frequency, before].tolist()


def test_transforms_are_told_by_what_is_expected_and_by_cells_around() -> None:
    port = Spy()
    transforms, hopes = np.array([0, SKIP, DCT4, 0], np.int16), expected(np.full((4, 13), 20, np.uint8))
    found = code_transforms(port, transforms, hopes, np.array([0, 3, UNTOLD, 4]), share=9)
    assert np.array_equal(found, transforms)
    other, skip = port.rows
    assert other.tolist() == VALUE_ROWS.other[5, [0, 3, UNTOLD, 4]].tolist()
    assert skip.tolist() == [FLAGS + 9] * 2


@pytest.mark.parametrize(
    ("dct4", "skip", "share"), [(0, 0, 0), (5, 0, 0), (0, 5, SHARES - 1), (3, 1, 8), (99, 1, 0), (1, 99, 31)]
)
def test_the_share_of_pixels_is_told(dct4: int, skip: int, share: int) -> None:
    port = Spy()
    assert code_share(port, np.repeat(np.array([0, DCT4, SKIP], np.int16), (7, dct4, skip))) == share
    assert [r.tolist() for r in port.rows] == [[SHARE_ROW]]


@pytest.mark.parametrize("told", [32, LARGEST_SYMBOL, -LARGEST_SYMBOL])
def test_a_share_out_of_range_is_the_nearest(told: int) -> None:
    def other_encoder(values: Integers, rows: Table) -> Integers:
        return np.full(rows.shape, told, np.int16)

    other_encoder.reading = True  # type: ignore[attr-defined]
    found = code_share(other_encoder, np.zeros(0, np.int16))  # type: ignore[arg-type]
    assert found == np.clip(told, 0, SHARES - 1)


@pytest.mark.parametrize("flags", [TRANSFORMS, TRANSFORMS | HYPERS, TRANSFORMS | MOTION | HYPERS])
def test_transforms_without_residuals_are_refused(flags: int) -> None:
    with pytest.raises(MalformedChunk, match=f"frame 3: flags {flags} name parts"):
        check_flags(flags, 1, "frame 3")
    check_flags(flags | RESIDUALS, 1, "frame 3")
