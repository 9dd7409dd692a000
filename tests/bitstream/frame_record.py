"""The record of a frame as FORMAT.md says it, in plain Python: a second implementation, to hold the first against.

It shares nothing with the codec but the tensors of a base: tables and lists come from the page.
"""

from __future__ import annotations

import math
import re
from functools import cache
from itertools import product
from operator import mul
from pathlib import Path

import bitstream
from tests.bitstream.range_coder import Decoding, words_of

TEXT = (Path(bitstream.__file__).parent / "FORMAT.md").read_text().split("\n## Predictive network\n")[1]
_TABLES = re.findall(r"```\n(.*?)```", TEXT, flags=re.DOTALL)
MAGNITUDES = [int(v) for v in _TABLES[0].split(",")]
MOTION_ROWS = {
    name: [int(v) for v in numbers.split()] for name, numbers in re.findall(r"([a-z]+)([\d\s]+)", _TABLES[1])
}  # by name, the last index the fastest
VALUE_ROWS: dict[str, list[int]] = {}  # likewise
for line in _TABLES[2].splitlines():
    name, *numbers = re.findall(r"[a-z]\w*|\d+", line)
    if name.isdigit():  # goes on
        name, numbers = [*VALUE_ROWS][-1], [name, *numbers]
    VALUE_ROWS.setdefault(name, []).extend(map(int, numbers))
LEVELS = {8: 0, 4: 1, 2: 2, 1: 3}  # of squares, by their width in blocks
BEFORE = (1, 2, 3, 5, 9)
FIRST = [*range(13), *range(64, 67), *range(79, 82)]
SECOND = [c for c in range(94) if c not in FIRST]

Map = dict[tuple[int, ...], int]  # a value by its indices
Square = tuple[int, int, int]  # first block (y, x), width in blocks
Motion = tuple[int, ...]  # y, x; of two references y, x, y, x, side
Layer = tuple[list[list[int]], list[int]]  # weight [inputs][outputs], bias


def layer(x: list[int], weights: Layer, shift: int, most: int) -> list[int]:
    weight, bias = weights
    sums = [sum(a * row[o] for a, row in zip(x, weight, strict=True)) + b for o, b in enumerate(bias)]
    return [min(max((s + 2 ** (shift - 1)) >> shift, 0), most) for s in sums]


def scale_network(x: list[int], weights: dict[str, Layer], name: str) -> list[int]:
    return layer(layer(x, weights[f"{name}.0"], 7, 255), weights[f"{name}.1"], 9, 63)


class Page:
    """One record, being read."""

    def __init__(self, record: bytes, weights: dict[str, Layer]) -> None:
        self._stream = Decoding(words_of(record))
        self._weights = weights

    def group(self, rows: list[int]) -> list[int]:
        """The values of a pass: the lowest row first, those of one row in their order; those of row 0 are not coded."""
        values = [0] * len(rows)
        for place in sorted((i for i, row in enumerate(rows) if row), key=lambda i: rows[i]):
            values[place] = self._stream.value(rows[place])
        return values

    def _whole(self, rows: list[int]) -> list[int]:
        """Values of any size: what one of the largest magnitude lacks follows, in groups of their own."""
        values = self.group(rows)
        further = [i for i, v in enumerate(values) if abs(v) == 127]
        while further:
            more = self.group([135] * len(further))
            for i, v in zip(further, more, strict=True):
                values[i] += v
            further = [i for i, v in zip(further, more, strict=True) if abs(v) == 127 and abs(values[i]) < 16384]
        return values

    def motion(
        self, references: int, height: int, width: int, ways: list[int], carried: Map | None = None
    ) -> tuple[Map, Map]:
        """-> vectors [reference, axis, y, x], sides [0, y, x] of two. carried: [axis, y, x], where there is any."""
        size = math.ceil(height / 8), math.ceil(width / 8)
        two, q = references - 1, ways[-1] / ways[0]
        leaves = self._leaves(two, size, carried)
        blocks: dict[tuple[int, int], Motion] = {}
        for leaf, (rank, own) in zip(leaves, self._told(two, [LEVELS[n] for _, _, n in leaves]), strict=True):
            candidates = _candidates(leaf, size, blocks, _going(leaf, size, carried, two, q))
            motion = candidates[min(rank, len(candidates) - 1)]
            if own is not None:
                motion = _moved(motion, *own, q)
            blocks |= dict.fromkeys(_inside(leaf, size), motion)
        grid = list(product(range(size[0]), range(size[1])))
        vectors: Map = {(r, a, *c): blocks[c][2 * r + a] for r, a, c in product(range(references), (0, 1), grid)}
        return vectors, {(0, *c): blocks[c][4] for c in grid if two}

    def _leaves(self, two: int, size: tuple[int, int], carried: Map | None) -> list[Square]:
        """Squares that are not split, in the order in which their motion is put together."""
        first = [(y, x, 8) for y, x in product(range(0, size[0], 8), range(0, size[1], 8))]
        squares, split = first, set()
        for level in range(3):
            rows = [MOTION_ROWS["split"][12 * two + 4 * level + _unrest(s, size, carried)] for s in squares]
            found = [s for s, value in zip(squares, self.group(rows), strict=True) if value]
            squares = [quarter for s in found for quarter in _quarters(s, size)]
            split |= set(found)

        def under(square: Square) -> list[Square]:
            return [leaf for part in _quarters(square, size) for leaf in under(part)] if square in split else [square]

        return [leaf for square in first for leaf in under(square)]

    def _told(self, two: int, levels: list[int]) -> list[tuple[int, tuple[int, list[int]] | None]]:
        """Of leaves the rank of a candidate, and of those with motion of their own the side and D1 y, x, D2 y, x."""
        own = [value % 2 for value in self.group([MOTION_ROWS["own"][4 * two + level] for level in levels])]
        rows = [MOTION_ROWS["rank"][8 * two + 4 * o + level] for o, level in zip(own, levels, strict=True)]
        ranks = [min(max(value, 0), 5) for value in self.group(rows)]
        mine = [n for n, o in enumerate(own) if o]
        sides = dict.fromkeys(mine, 0)
        if two:
            alone = self.group([MOTION_ROWS["alone"][levels[n]] for n in mine])
            picked = [n for n, value in zip(mine, alone, strict=True) if value]
            second = self.group(MOTION_ROWS["second"] * len(picked))
            sides |= {n: -1 if value else 1 for n, value in zip(picked, second, strict=True)}
        coded: dict[int, list[int]] = {n: [] for n in mine}
        for k in range(two + 1):
            here = [n for n in mine if k == 0 or sides[n] == 0]
            for axis in (0, 1):
                before = [_class(sum(abs(v) for v in coded[n]), (1, 3)) for n in here]
                line = MOTION_ROWS["vectors"][12 * (2 * (two + k) + axis) :]
                values = self._whole([line[4 * b + levels[n]] for n, b in zip(here, before, strict=True)])
                for n, value in zip(here, values, strict=True):
                    coded[n].append(value)
        return [(rank, (sides[n], coded[n]) if n in sides else None) for n, rank in enumerate(ranks)]

    def hypers(self, channels: int, h: int, w: int, told: list[int]) -> Map:
        out: Map = {}
        for parity, name in ((0, "hyper_scales.0"), (1, "hyper_scales.1")):
            cells = [(y, x) for y, x in product(range(h), range(w)) if (y + x) % 2 == parity]
            rows = []
            for y, x in cells:
                near = _around(out, range(channels), y, x) if parity else []
                rows += scale_network(told + near, self._weights, name)
            values = iter(self.group(rows))
            out.update({(c, y, x): next(values) for y, x in cells for c in range(channels)})
        return out

    def residuals(
        self,
        hyper: Map,
        channels: int,
        moving: dict[tuple[int, int], list[int]],
        told: list[int],
        otherwise: bool = False,
    ) -> tuple[Map, Map]:
        """-> residuals, or other values of luma, [channel, y, x], and transforms [y, x].

        moving: of every cell of the latents; see `moving_of`. otherwise: flag 8.
        """
        out: Map = {}  # as what is coded after sees them
        values: Map = {}
        transforms: Map = {}
        pixels: Map = {}  # of SKIP cells
        h, w = (1 + max(place) for place in zip(*moving, strict=True))
        context = {}
        for y, x in product(range(h // 4), range(w // 4)):
            seen = [
                min(max(16 * hyper.get((c, y + b - 1, x + a - 1), 0), -127), 127)
                for c, b, a in product(range(channels), range(3), range(3))
            ]
            outputs = layer(seen, self._weights["scale_context"], 7, 255)
            for b, a in product(range(4), range(4)):
                context[4 * y + b, 4 * x + a] = outputs[4 * b + a :: 16]
        share = min(max(self.group([255])[0], 0), 31) if otherwise else 0
        for parity in (0, 1):
            cells = [(y, x) for y, x in product(range(h), range(w)) if (y + x) % 2 == parity]
            inputs = {c: context[c] + moving[c] + told + (_around(out, range(94), *c) if parity else []) for c in cells}
            for name, group in ((f"scales.{2 * parity}", FIRST), (f"scales.{2 * parity + 1}", SECOND)):
                rows = {c: scale_network(inputs[c], self._weights, name) for c in cells}
                if group is FIRST:
                    hopes: Map = {c: sum(rows[c][:13]) for c in cells}
                    here: Map = self._transforms(hopes, transforms, parity, share) if otherwise else {}
                masked = [
                    0 if here.get(c) and channel < 64 else row
                    for c in cells
                    for channel, row in zip(group, rows[c], strict=True)
                ]
                found = iter(self.group(masked))
                new: Map = {(c, y, x): next(found) for y, x in cells for c in group}
                if group is FIRST:
                    others: Map = {c: k for c, k in here.items() if k}
                    squares = self._values(others, hopes, pixels)
                for (y, x), square in squares.items():
                    luma = seen_for(square, here[y, x])
                    new |= {(c, y, x): luma[c] for c in group if c < 64}
                inputs = {(y, x): inputs[y, x] + [MAGNITUDES[abs(new[c, y, x])] for c in group] for y, x in cells}
                out |= new
            transforms |= here
            values |= {(n, y, x): v for (y, x), square in squares.items() for n, v in enumerate(square)}
        return out | values, {(y, x): transforms.get((y, x), 0) for y, x in product(range(h), range(w))}

    def _transforms(self, hopes: Map, known: Map, parity: int, share: int) -> Map:
        near = {c: sum(known.get(p, 0) != 0 for p in _beside(*c)) if parity else 5 for c in hopes}
        rows = [VALUE_ROWS["other"][6 * min(hope // 52, 11) + near[c]] for c, hope in hopes.items()]
        other = [c for c, value in zip(hopes, self.group(rows), strict=True) if value]
        which = self.group([192 + share] * len(other))
        return dict.fromkeys(hopes, 0) | {c: 2 if value else 1 for c, value in zip(other, which, strict=True)}

    def _values(self, transforms: Map, hopes: Map, pixels: Map) -> dict[tuple[int, ...], list[int]]:
        """The 64 values of each cell. pixels: magnitudes of SKIP cells before, by their places; added to."""
        squares = {c: [0] * 64 for c in transforms}
        classes = {c: min(hopes[c] // 117, 3) for c in transforms}
        grid = list(product(range(8), range(8)))
        corners, sides = [(-1, -1), (-1, 1), (1, -1), (1, 1)], _beside(0, 0)
        for odd_row, odd_column, name, shifts in (
            (0, 0, "skip_first", []),
            (1, 1, "skip_odd", corners),
            (0, 1, "skip_rest", sides),
            (1, 0, "skip_rest", sides),
        ):
            skip = [c for c, k in transforms.items() if k == 2]
            places = [(c, r, k) for c in skip for r, k in grid if (r % 2, k % 2) == (odd_row, odd_column)]
            rows = []
            for (y, x), r, k in places:
                near = sum(pixels.get((8 * y + r + a, 8 * x + k + b), 0) for a, b in shifts)
                row = VALUE_ROWS[name][(6 * classes[y, x] + _class(near, BEFORE)) if shifts else classes[y, x]]
                rows.append(row)
            for ((y, x), r, k), value in zip(places, self.group(rows), strict=True):
                squares[y, x][8 * r + k] = value
                pixels[8 * y + r, 8 * x + k] = abs(value)
        quarters = [(c, a, b) for c, k in transforms.items() if k == 1 for a, b in product((0, 1), (0, 1))]
        low = dict.fromkeys(quarters, 0)
        for sums in ((0,), (1,), range(2, 7)):
            parts = [(*q, v, u) for q in quarters for v, u in product(range(4), range(4)) if v + u in sums]
            rows = []
            for c, a, b, v, u in parts:
                if v + u < 2:
                    rows.append(VALUE_ROWS[("dct4_mean", "dct4_low")[v + u]][classes[c]])
                else:
                    place = 6 * (4 * (min(v + u, 4) - 2) + classes[c]) + _class(low[c, a, b], BEFORE)
                    rows.append(VALUE_ROWS["dct4_rest"][place])
            for (c, a, b, v, u), value in zip(parts, self.group(rows), strict=True):
                squares[c][8 * (4 * a + v) + 4 * b + u] = value
                low[c, a, b] += abs(value) if v + u < 2 else 0
        return squares


def seen_for(square: list[int], transform: int) -> list[int]:
    """What is coded after sees of a cell's luma."""
    sums = [128] * 64
    for value, row in zip(square, stands_for(transform), strict=True):
        if value:
            sums = [s + value * math.floor(256 * 1.15 * b + 0.5) for s, b in zip(sums, row, strict=True)]
    return [min(max(s >> 8, -127), 127) for s in sums]


@cache
def stands_for(transform: int) -> list[list[float]]:
    """B: coefficients of 8 x 8 pixels that each value alone stands for."""
    waves = {n: [[_wave(k, i, n) for i in range(n)] for k in range(n)] for n in (4, 8)}
    order = sorted(product(range(8), range(8)), key=lambda f: (sum(f), max(f), f[0]))
    out = []
    for r, c in product(range(8), range(8)):
        if transform == 2:
            rows, columns = ([float(i == n) for i in range(8)] for n in (r, c))
        else:
            rows, columns = ([0.0] * (n // 4 * 4) + waves[4][n % 4] + [0.0] * (4 - n // 4 * 4) for n in (r, c))
        down, across = ([sum(map(mul, waves[8][k], line)) for k in range(8)] for line in (rows, columns))
        out.append([down[v] * across[u] for v, u in order])
    return out


def _wave(k: int, i: int, n: int) -> float:
    return math.cos(math.pi * (2 * i + 1) * k / (2 * n)) * math.sqrt((2 if k else 1) / n)


def carried_motion(
    t: int, references: list[int], earlier: dict[int, tuple[list[int], Map]], size: tuple[int, int]
) -> Map | None:
    """earlier: of each reference its own references, and its motion [reference, axis, y, x]."""
    grid = list(product(range(math.ceil(size[0] / 8)), range(math.ceil(size[1] / 8))))
    pairs = [(p, k, s) for p in references for k, s in enumerate(earlier[p][0])]
    if not pairs:
        return None
    p, k, s = next((pair for pair in pairs if pair[2] in references), pairs[0])
    field = earlier[p][1]
    out: Map = {}
    for y, x in grid:
        v, u = (math.floor(field[k, axis, y, x] * ((p - t) / (s - p) / 32) + 0.5) for axis in (0, 1))
        at = min(max(y + v, 0), grid[-1][0]), min(max(x + u, 0), grid[-1][1])
        for axis in (0, 1):
            out[axis, y, x] = _steady(field[k, axis, at[0], at[1]], (references[0] - t) / (s - p))
    return out


def moving_of(motion: Map, sides: Map, references: int, size: tuple[int, int]) -> dict[tuple[int, int], list[int]]:
    """What scale networks see of motion, [reference, axis, y, x], and sides, by cell of the latents of a frame."""
    rows, columns = math.ceil(size[0] / 8), math.ceil(size[1] / 8)
    out = {c: [0] * 5 for c in product(range(4 * math.ceil(size[0] / 32)), range(4 * math.ceil(size[1] / 32)))}
    for y, x in product(range(rows), range(columns)) if references else ():
        beside = [(v, u) for v, u in _beside(y, x) if 0 <= v < rows and 0 <= u < columns]
        far, rough = [0, 0], [0, 0]
        for k, axis in product(range(2), range(2)):
            here, *others = (motion.get((min(k, references - 1), axis, *c), 0) for c in ((y, x), *beside))
            far[k] += abs(here)
            rough[k] += sum(abs(here - other) for other in others)
        alone = 64 if sides.get((0, y, x)) else 0
        out[y, x] = [*(MAGNITUDES[min(127, value)] for value in far + rough), alone]
    return out


def globals_of(quality: int, predicted: bool) -> list[int]:
    knots = [(128 * max(0, 63 - abs(7 * quality - 63 * i)) + 63) // 126 for i in range(8)]
    return [*knots, 64 if predicted else 0]


def _around(values: Map, channels: range, y: int, x: int) -> list[int]:
    """Second cells are not there yet: what is missing counts 0."""
    return [(sum(MAGNITUDES[abs(values.get((c, *p), 0))] for p in _beside(y, x)) + 2) >> 2 for c in channels]


def _beside(y: int, x: int) -> list[tuple[int, int]]:
    return [(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]


def _class(value: int, least: tuple[int, ...]) -> int:
    return sum(value >= v for v in least)


def _quarters(square: Square, size: tuple[int, int]) -> list[Square]:
    y, x, n = square
    n //= 2
    return [(v, u, n) for v, u in product((y, y + n), (x, x + n)) if v < size[0] and u < size[1]]


def _inside(square: Square, size: tuple[int, int]) -> list[tuple[int, int]]:
    """The blocks of a square."""
    y, x, n = square
    return list(product(range(y, min(y + n, size[0])), range(x, min(x + n, size[1]))))


def _unrest(square: Square, size: tuple[int, int], carried: Map | None) -> int:
    """Its class."""
    if carried is None:
        return 3
    values = [[carried[axis, y, x] for y, x in _inside(square, size)] for axis in (0, 1)]
    return _class(sum(max(v) - min(v) for v in values), (1, 4))


def _going(leaf: Square, size: tuple[int, int], carried: Map | None, two: int, q: float) -> Motion:
    """What goes on at a leaf."""
    y, x, n = leaf
    at = min(y + n // 2, size[0] - 1), min(x + n // 2, size[1] - 1)
    first = [carried[axis, at[0], at[1]] if carried is not None else 0 for axis in (0, 1)]
    return (*first, *(_steady(v, q) for v in first), 0) if two else tuple(first)


def _candidates(
    leaf: Square, size: tuple[int, int], blocks: dict[tuple[int, int], Motion], going: Motion
) -> list[Motion]:
    """blocks: those of leaves before."""
    y, x, n = leaf
    b, r = _inside(leaf, size)[-1]
    found = []
    for place in ((b, x - 1), (y - 1, r), None, (y - 1, x + n), (y + n, x - 1), (y - 1, x - 1)):
        motion = going if place is None else blocks.get(place)
        if motion is not None and motion not in found:
            found.append(motion)
    still = (0,) * len(going)
    return [*found, *([] if still in found else [still])][:6]


def _moved(candidate: Motion, side: int, d: list[int], q: float) -> Motion:
    """Motion of a leaf's own. d: D1 y, x, D2 y, x."""
    if len(candidate) == 2:
        return tuple(_clamp(candidate[axis] + d[axis]) for axis in (0, 1))
    if side < 0:
        second = [_clamp(candidate[2 + axis] + d[axis]) for axis in (0, 1)]
        return (*(_steady(v, 1 / q) for v in second), *second, side)
    first = [_clamp(candidate[axis] + d[axis]) for axis in (0, 1)]
    second = [_steady(v, q) for v in first]
    if side == 0:
        going = [_clamp(second[axis] + candidate[2 + axis] - _steady(candidate[axis], q)) for axis in (0, 1)]
        second = [_clamp(going[axis] + d[2 + axis]) for axis in (0, 1)]
    return (*first, *second, side)


def _steady(v: int, q: float) -> int:
    return _clamp(math.floor(v * q + 0.5))


def _clamp(v: int) -> int:
    return min(max(v, -8192), 8192)
