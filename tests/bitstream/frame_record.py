"""The record of a frame as FORMAT.md says it, in plain Python: a second implementation, to hold the first against.

It shares nothing with the codec but the tensors of a base: tables and lists come from the page.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import bitstream
from tests.bitstream.range_coder import Decoding

TEXT = (Path(bitstream.__file__).parent / "FORMAT.md").read_text().split("\n## Predictive network\n")[1]
_TABLES = re.findall(r"```\n(.*?)```", TEXT, flags=re.DOTALL)
MAGNITUDES = [int(v) for v in _TABLES[0].split(",")]
MOTION_ROWS = [
    [int(v) for v in line.split()] for line in _TABLES[1].splitlines()
]  # [2 kind + axis][10 before + spread]
SIDE_ROWS = [[27, 21, 3], [28, 22, 15]]  # [whether a side is expected][alike - 2]
SPREADS = (1, 2, 4, 7, 12, 20, 40, 80, 160)
FIRST = [*range(13), *range(64, 67), *range(79, 82)]
SECOND = [c for c in range(94) if c not in FIRST]

Map = dict[tuple[int, ...], int]  # a value by its indices
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
        padded = record + bytes(-len(record) % 4)
        self._stream = Decoding(list(struct.unpack(f"<{len(padded) // 4}I", padded)))
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

    def motion(self, references: int, height: int, width: int, ways: list[int], carried: Map | None = None) -> Map:
        """carried: [axis, y, x], where the flag says so."""
        rows, columns = math.ceil(height / 8), math.ceil(width / 8)
        coded: Map = {}
        for cells, offsets in _passes(rows, columns):
            before = dict.fromkeys(cells, 0)
            for r in range(references):
                expected, spread = {}, {}
                for y, x in cells:
                    around = [(y + a, x + b) for a, b in offsets]
                    inside = [(v, u) for v, u in around if 0 <= v < rows and 0 <= u < columns]
                    around = [place if place in inside else inside[0] for place in around]
                    near = [sorted(coded[r, axis, place[0], place[1]] for place in around) for axis in (0, 1)]
                    expected[y, x] = [(n[1] + n[2]) >> 1 for n in near] if near[0] else [0, 0]
                    spread[y, x] = sum(n[3] - n[0] for n in near) if near[0] else 0
                for axis in (0, 1):
                    line = MOTION_ROWS[2 * (references - 1 + r) + axis]
                    classes = [10 * _class(before[c], (1, 3)) + _class(spread[c], SPREADS) for c in cells]
                    for c, value in zip(cells, self._whole([line[k] for k in classes]), strict=True):
                        coded[r, axis, c[0], c[1]] = min(max(value + expected[c][axis], -8192), 8192)
                        before[c] += abs(value)
        for axis, y, x in product((0, 1), range(rows), range(columns)):
            if carried is not None:
                coded[0, axis, y, x] += carried[axis, y, x]
            if references == 2:
                steady = math.floor(coded[0, axis, y, x] * (ways[1] / ways[0]) + 0.5)
                coded[1, axis, y, x] += min(max(steady, -8192), 8192)
        return coded

    def sides(self, height: int, width: int) -> Map:
        rows, columns = math.ceil(height / 8), math.ceil(width / 8)
        out: Map = {}
        for cells, offsets in _passes(rows, columns):
            told = []
            for y, x in cells:
                around = [(y + a, x + b) for a, b in offsets]
                inside = [(v, u) for v, u in around if 0 <= v < rows and 0 <= u < columns]
                near = [out[0, p[0], p[1]] for p in (place if place in inside else inside[0] for place in around)]
                expected = max((0, 1, -1), key=near.count)  # the first of the most common
                told.append((expected, near.count(expected) if near else 4))
            values = self.group([SIDE_ROWS[e != 0][alike - 2] for e, alike in told])
            for (y, x), (expected, _), value in zip(cells, told, values, strict=True):
                sign = min(max(value, -1), 1)
                out[0, y, x] = sign if expected == 0 else (expected, 0, -expected)[sign]
        return out

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

    def residuals(self, hyper: Map, channels: int, moving: dict[tuple[int, int], list[int]], told: list[int]) -> Map:
        """moving: of every cell of the latents; see `moving_of`."""
        out: Map = {}
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
        for parity in (0, 1):
            cells = [(y, x) for y, x in product(range(h), range(w)) if (y + x) % 2 == parity]
            inputs = {c: context[c] + moving[c] + told + (_around(out, range(94), *c) if parity else []) for c in cells}
            for name, group in ((f"scales.{2 * parity}", FIRST), (f"scales.{2 * parity + 1}", SECOND)):
                rows = [row for c in cells for row in scale_network(inputs[c], self._weights, name)]
                values = iter(self.group(rows))
                new: Map = {(c, y, x): next(values) for y, x in cells for c in group}
                inputs = {(y, x): inputs[y, x] + [MAGNITUDES[abs(new[c, y, x])] for c in group] for y, x in cells}
                out |= new
        return out


def carried_motion(
    t: int, references: list[int], earlier: dict[int, tuple[list[int], Map]], size: tuple[int, int]
) -> Map:
    """earlier: of each reference its own references, and its motion [reference, axis, y, x]."""
    grid = list(product(range(math.ceil(size[0] / 8)), range(math.ceil(size[1] / 8))))
    pairs = [(p, k, s) for p in references for k, s in enumerate(earlier[p][0])]
    if not pairs:
        return {(axis, y, x): 0 for axis in (0, 1) for y, x in grid}
    p, k, s = next((pair for pair in pairs if pair[2] in references), pairs[0])
    field = earlier[p][1]
    out: Map = {}
    for y, x in grid:
        v, u = (math.floor(field[k, axis, y, x] * ((p - t) / (s - p) / 32) + 0.5) for axis in (0, 1))
        at = min(max(y + v, 0), grid[-1][0]), min(max(x + u, 0), grid[-1][1])
        for axis in (0, 1):
            moved = math.floor(field[k, axis, at[0], at[1]] * ((references[0] - t) / (s - p)) + 0.5)
            out[axis, y, x] = min(max(moved, -8192), 8192)
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


def _passes(rows: int, columns: int) -> Iterator[tuple[list[tuple[int, int]], list[tuple[int, int]]]]:
    grid = list(product(range(rows), range(columns)))
    yield [(y, x) for y, x in grid if y % 16 == x % 16 == 0], []
    for s in (8, 4, 2, 1):
        odd = {(y, x): (y // s % 2) + (x // s % 2) for y, x in grid if y % s == x % s == 0}
        yield [c for c, n in odd.items() if n == 2], [(-s, -s), (-s, s), (s, -s), (s, s)]
        yield [c for c, n in odd.items() if n == 1], [(-s, 0), (s, 0), (0, -s), (0, s)]
