"""What cells whose luma is not coded as latents hold <-> passes of integers (see `network.predictive.cell_transforms`).

    the share of SKIP among such cells; then with each half of all cells:
    which these are, and which of the two each has
    values of SKIP: pixels of even rows and columns, of odd rows and columns, all others
    values of DCT4: the mean of every quarter, the next two frequencies, all others

The rows of the latents that would be coded instead say how much there is to expect of a cell, values coded before the
rest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bitstream import FLAGS, RANKS
from codec.network.predictive.cell_transforms import DCT4, SKIP
from codec.network.predictive.symbols import Integers
from codec.network.predictive.transform import BLOCK
from codec.rate.ports import Port, Table
from codec.rate.squares import Numbers

Places = NDArray[np.intp]  # in a map or grid whose rows follow each other

SHARES = 32  # of SKIP
SHARE_ROW = RANKS + 31
FINE, COARSE = 52, 117  # of the sum of the rows of a cell's low luma latents, to a class
FINES, COARSES = 12, 4
BEFORE = (1, 2, 3, 5, 9)  # magnitudes coded before, in all, least of each class but the first
UNTOLD = 5  # for the number of neighbours with other transforms, where none is known


@dataclass(frozen=True, eq=False)
class ValueRows:
    """Table rows by context; coarse: class of what is to be expected; before: of magnitudes coded before."""

    other: Table  # [fine, neighbours]: whether the luma of a cell is not coded as latents
    skip_first: Table  # [coarse]
    skip_odd: Table  # [coarse, before]: of the four pixels at the corners
    skip_rest: Table  # [coarse, before]: of the four pixels beside
    dct4_mean: Table  # [coarse]
    dct4_low: Table  # [coarse]
    dct4_rest: Table  # [frequency, coarse, before]: of mean and next two frequencies of the quarter


def expected(rows: Table) -> Numbers:
    """How much is expected of cells, by the rows [n, m] of their low luma latents."""
    return rows.sum(1, dtype=np.int64)


def fine(expected: Numbers) -> Numbers:
    """Classes 0..11 of what is expected."""
    return np.minimum(expected // FINE, FINES - 1)


def coarse(expected: Numbers) -> Numbers:
    """Classes 0..3."""
    return np.minimum(expected // COARSE, COARSES - 1)


def code_share(port: Port, transforms: Integers) -> int:
    """The share of SKIP among cells with other transforms, in `SHARES`: the row of which of the two a cell has."""
    others = np.count_nonzero(transforms)
    share = min(SHARES * np.count_nonzero(transforms == SKIP) // max(others, 1), SHARES - 1)
    return int(np.clip(port(np.array([share], np.int16), np.array([SHARE_ROW], np.uint8))[0], 0, SHARES - 1))


def code_transforms(
    port: Port, transforms: Integers, expected: Numbers, near: Numbers, share: int, table: ValueRows | None = None
) -> Integers:
    """Transforms of some cells [n]. near: how many of the four cells around have others than DCT8, or UNTOLD.

    table: VALUE_ROWS, unless contexts are counted.
    """
    rows = (table or VALUE_ROWS).other[fine(expected), near]
    other = port((transforms != 0).astype(np.int16), rows) != 0
    skip = port((transforms[other] == SKIP).astype(np.int16), np.full(np.count_nonzero(other), FLAGS + share, np.uint8))
    out = np.zeros(len(transforms), np.int16)
    out[other] = np.where(skip != 0, SKIP, DCT4)
    return out


class CellValues:
    """Codes the values of cells with other transforms, some cells of a frame after others."""

    def __init__(self, port: Port, height: int, width: int, table: ValueRows | None = None) -> None:
        """height, width: of the frame in cells. table: VALUE_ROWS, unless contexts are counted."""
        self._port, self._size, self._rows = port, (height, width), table or VALUE_ROWS
        self._found = np.zeros((height * BLOCK + 2, width * BLOCK + 2), np.int16)  # magnitudes of pixels, 0 around them

    def code(self, values: Integers, cells: Places, transforms: Integers, expected: Numbers) -> Integers:
        """Values [n, VALUES] of cells.

        cells: their numbers [n]. transforms: [n], none DCT8. expected: as of `expected`, [n].
        """
        out = np.empty_like(values)
        classes = coarse(expected)
        skip, dct4 = transforms == SKIP, transforms == DCT4
        y, x = np.divmod(cells[skip], self._size[1])
        out[skip] = self._code_skip(values[skip], y, x, classes[skip])
        out[dct4] = self._code_dct4(values[dct4], classes[dct4])
        return out

    def _code_skip(self, values: Integers, y: Numbers, x: Numbers, classes: Numbers) -> Integers:
        height, width = self._size
        cells, found = values.reshape(-1, BLOCK, BLOCK), self._found
        inside = found[1:-1, 1:-1].reshape(height, BLOCK, width, BLOCK)
        out = np.zeros_like(cells)

        def code(rows: slice, columns: slice, table: Table) -> None:
            """table: rows of all pixels [n, 8, 8]."""
            out[:, rows, columns] = self._port(cells[:, rows, columns], table[:, rows, columns])
            inside[y, :, x] = np.abs(out)

        def around(*shifts: tuple[int, int]) -> Numbers:
            """Classes of the sums of magnitudes at places beside each pixel, [n, 8, 8]."""
            bottom, right = found.shape[0] - 1, found.shape[1] - 1
            total = np.sum([found[1 + v : bottom + v, 1 + h : right + h] for v, h in shifts], 0)
            return before(total.reshape(height, BLOCK, width, BLOCK)[y, :, x])

        even, odd = slice(0, None, 2), slice(1, None, 2)
        rows, wide = self._rows, classes[:, None, None]
        code(even, even, rows.skip_first[wide + np.zeros_like(cells)])
        code(odd, odd, rows.skip_odd[wide, around((-1, -1), (-1, 1), (1, -1), (1, 1))])
        rest = rows.skip_rest[wide, around((-1, 0), (1, 0), (0, -1), (0, 1))]
        code(even, odd, rest)
        code(odd, even, rest)
        return out.reshape(values.shape)

    def _code_dct4(self, cells: Integers, classes: Numbers) -> Integers:
        half = BLOCK // 2
        values = cells.reshape(-1, 2, half, 2, half).transpose(0, 1, 3, 2, 4).reshape(-1, 4, half * half)  # by quarter
        out, rows, wide = np.zeros_like(values), self._rows, classes[:, None, None]
        for places, table in (([0], rows.dct4_mean), ([1, half], rows.dct4_low)):
            part = values[..., places]
            out[..., places] = self._port(part, table[wide + np.zeros_like(part)])
        low = before(np.abs(out).sum(2, dtype=np.int64))[..., None]
        places = [v * half + h for v in range(half) for h in range(half) if v + h > 1]
        frequency = np.array([min(p // half + p % half, half) - 2 for p in places])
        out[..., places] = self._port(values[..., places], rows.dct4_rest[frequency, wide, low])
        return out.reshape(-1, 2, 2, half, half).transpose(0, 1, 3, 2, 4).reshape(cells.shape)


def before(magnitudes: NDArray[np.signedinteger]) -> Numbers:
    """Classes of sums of magnitudes."""
    return np.searchsorted(BEFORE, magnitudes, side="right")


VALUE_ROWS = ValueRows(
    other=np.array(
        [
            [1, 1, 1, 1, 1, 1],
            [192, 192, 192, 192, 192, 192],
            [192, 193, 193, 194, 192, 192],
            [193, 194, 194, 194, 193, 193],
            [193, 195, 196, 195, 194, 194],
            [194, 197, 199, 200, 195, 195],
            [195, 200, 205, 207, 201, 197],
            [197, 201, 207, 210, 204, 199],
            [198, 204, 209, 211, 202, 202],
            [198, 203, 208, 208, 206, 203],
            [204, 201, 207, 204, 204, 203],
            [202, 202, 202, 202, 203, 204],
        ],
        np.uint8,
    ),
    skip_first=np.array([20, 20, 21, 136], np.uint8),
    skip_odd=np.array(
        [[160, 24, 28, 31, 35, 38], [17, 24, 28, 31, 35, 38], [152, 25, 28, 31, 34, 38], [152, 136, 29, 32, 35, 38]],
        np.uint8,
    ),
    skip_rest=np.array(
        [[11, 24, 27, 31, 36, 41], [13, 23, 27, 31, 35, 41], [10, 24, 28, 31, 35, 40], [168, 23, 28, 32, 36, 41]],
        np.uint8,
    ),
    dct4_mean=np.array([29, 29, 31, 39], np.uint8),
    dct4_low=np.array([19, 23, 25, 136], np.uint8),
    dct4_rest=np.array(
        [
            [[3, 13, 17, 22, 30, 36], [11, 18, 21, 23, 29, 36], [11, 19, 23, 26, 28, 35], [15, 19, 23, 27, 31, 36]],
            [[1, 4, 11, 17, 26, 33], [184, 9, 14, 17, 25, 32], [6, 14, 17, 22, 24, 31], [12, 14, 19, 23, 27, 33]],
            [[1, 1, 4, 11, 21, 28], [1, 2, 3, 7, 19, 27], [1, 3, 9, 15, 18, 26], [2, 8, 11, 18, 23, 28]],
        ],
        np.uint8,
    ),
)
