"""The integers of a frame <-> the record that a file holds of it.

    motion, then hyper-latents, then residuals of the latents: each where its flag is set, all zero where it is not

Every part is coded in passes, each value under the table row that earlier passes suggest; a value whose row is 0 is 0
and is not coded. One function walks each part for both directions: a `Port` takes the values of a pass and returns them
when it writes, and returns the ones of the file when it reads, so that both sides see the same contexts.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import nn

from bitstream import Decoder, Encoder, MalformedChunk, bit_costs
from codec.network.predictive.network import FIRST, GLOBALS, HYPER, SECOND, PredictiveNetwork
from codec.network.predictive.quality import KNOTS, QUALITIES
from codec.network.predictive.scales import LARGEST_SYMBOL, MAGNITUDES, IntegerLayer, TrainedLayer
from codec.network.predictive.symbols import HYPERS, MOTION, PARTS, RESIDUALS, Integers, Symbols
from codec.network.predictive.transform import LATENTS

Layers = tuple[IntegerLayer, IntegerLayer]
Places = NDArray[np.intp]  # in a map or grid whose rows follow each other
Cells = tuple[Places, Places]  # y, x

CODED = (*FIRST, *SECOND)  # channels of the latents as they are coded
_MAGNITUDES = MAGNITUDES.astype(np.uint16)

COARSEST = 16  # cells between the motion vectors of the first pass
LARGEST_MOTION = 2**13  # quarter pixels


class Port(Protocol):
    """One direction of coding."""

    def __call__(self, values: Integers, rows: NDArray[np.uint8]) -> Integers:
        """Values of one pass under their rows; both of any one shape."""


class WritingPort:
    """Codes what it is given, and returns what a reader will: 0 where the row is 0, and -127..127 everywhere."""

    def __init__(self) -> None:
        self._coder = Encoder()
        self.bits = 0.0  # ideal, of all so far

    def __call__(self, values: Integers, rows: NDArray[np.uint8]) -> Integers:
        coded = np.flatnonzero(rows)
        used = rows.ravel()[coded]
        kept = np.clip(values.ravel()[coded], -LARGEST_SYMBOL, LARGEST_SYMBOL)
        self._coder.put(kept, used)
        self.bits += float(bit_costs()[used, kept + LARGEST_SYMBOL].sum())
        return _scattered(kept, coded, rows.shape)

    def finish(self) -> bytes:
        """The record: the coder's words, up to three zero bytes at the end left out."""
        return _trimmed(self._coder.finish())


class ReadingPort:
    """Returns what a record holds."""

    def __init__(self, record: bytes, where: str) -> None:
        self._where, self._record = where, record
        self._words = record + bytes(-len(record) % 4)
        self._coder = Decoder(self._words, where)

    def __call__(self, values: Integers, rows: NDArray[np.uint8]) -> Integers:
        coded = np.flatnonzero(rows)
        return _scattered(self._coder.get(rows.ravel()[coded]), coded, rows.shape)

    def finish(self) -> None:
        """Raise MalformedChunk unless the record is exactly what an encoder writes."""
        if _trimmed(self._words) != self._record:
            raise MalformedChunk(f"{self._where}: zero bytes at the end of a record")
        self._coder.finish()


def _trimmed(words: bytes) -> bytes:
    """Words without the zero bytes that end the last of them; padding to a multiple of 4 puts them back."""
    return words[: max(len(words.rstrip(b"\0")), len(words) - 3)]


def _scattered(values: Integers, places: NDArray[np.intp], shape: tuple[int, ...]) -> Integers:
    """Values [n] at flat places of an array of zeros."""
    out = np.zeros(shape, np.int16)
    out.reshape(-1)[places] = values
    return out


class FrameCoder:
    """Codes the integers of frames with the integer networks of a base."""

    def __init__(self, network: PredictiveNetwork) -> None:
        self._context = network.scale_context.integers()
        hyper = [_layers(n) for n in network.hyper_scales]
        scales = [_layers(n) for n in network.scales]
        near = network.shape.context + GLOBALS  # where these inputs begin: what is around, in the order of CODED here
        order = [*range(near), *(near + c for c in CODED), *range(near + LATENTS, near + LATENTS + len(FIRST))]
        scales[2:] = [(first.reordered(order[: len(first.weight)]), second) for first, second in scales[2:]]
        self._networks = [(n, 0) for n in hyper] + [(n, network.shape.context) for n in scales]
        self._told: dict[tuple[int, bool], list[Layers]] = {}

    def write(self, symbols: Symbols, quality: int, ratio: float | None) -> tuple[bytes, Symbols, dict[str, float]]:
        """-> record, the symbols as a decoder will read them, ideal bits by part."""
        port = WritingPort()
        bits: dict[str, float] = {}

        def count(flag: int) -> None:
            bits[PARTS[flag]] = port.bits - sum(bits.values())

        kept = self._code(port, symbols, symbols.flags, quality, ratio, count)
        return port.finish(), kept, bits

    def read(self, record: bytes, flags: int, empty: Symbols, quality: int, ratio: float | None, where: str) -> Symbols:
        """Inverse of `write`. empty: zeros of the shapes that the frame has. Raises MalformedChunk."""
        if flags & ~sum(PARTS) or (flags & MOTION and not len(empty.motion)):
            raise MalformedChunk(f"{where}: flags {flags} name parts that this frame does not have")
        port = ReadingPort(record, where)
        symbols = self._code(port, empty, flags, quality, ratio)
        port.finish()
        return symbols

    def _code(
        self,
        port: Port,
        symbols: Symbols,
        flags: int,
        quality: int,
        ratio: float | None,
        done: Callable[[int], None] = lambda flag: None,
    ) -> Symbols:
        """Walk the parts of a frame; done: called after each."""
        motion, hyper, residuals = symbols.motion, symbols.hyper, symbols.residuals
        networks = self._networks_for(quality, bool(len(motion)))
        if flags & MOTION:
            motion = code_motion(port, motion, ratio or 0.0)
        done(MOTION)
        if flags & HYPERS:
            hyper = _code_hyper(port, hyper, networks[:2])
        done(HYPERS)
        if flags & RESIDUALS:
            residuals = _code_residuals(port, residuals, self._seen(hyper), networks[2:])
        done(RESIDUALS)
        return Symbols(motion, hyper, residuals)

    def _networks_for(self, quality: int, predicted: bool) -> list[Layers]:
        """All scale networks, told the globals: two of hyper-latents, then four of residuals."""
        if (quality, predicted) not in self._told:
            told = globals_of(quality, predicted)
            layers = [(first.given(told, place), second) for (first, second), place in self._networks]
            self._told[quality, predicted] = layers
        return self._told[quality, predicted]

    def _seen(self, hyper: Integers) -> NDArray[np.float32]:
        """What scale networks see of the hyper-latents: [hyper, h, w] -> integers [4 h 4 w, context]."""
        _, h, w = hyper.shape
        signed = np.clip(hyper.astype(np.int32) * 16, -127, 127).astype(np.float32)
        padded = np.pad(signed, ((0, 0), (1, 1), (1, 1)))
        near = np.stack([padded[:, y : y + h, x : x + w] for y in range(3) for x in range(3)], -1)  # [hyper, h, w, 9]
        out = self._context(near.transpose(1, 2, 0, 3).reshape(h * w, -1)).reshape(h, w, -1, HYPER, HYPER)
        return out.transpose(0, 3, 1, 4, 2).reshape(h * HYPER * w * HYPER, -1)


def _code_hyper(port: Port, hyper: Integers, networks: list[Layers]) -> Integers:
    channels, h, w = hyper.shape
    first, second = checkerboard(h, w)
    cells = _cells(hyper)
    values = port(cells[first], np.repeat(_run(networks[0], np.zeros((1, 0), np.float32)), len(first), axis=0))
    near = _around(values, first, (h, w))[second]
    out = np.empty_like(cells)
    out[first], out[second] = values, port(cells[second], _run(networks[1], near))
    return np.ascontiguousarray(out.T).reshape(channels, h, w)


def _code_residuals(port: Port, residuals: Integers, context: NDArray[np.float32], networks: list[Layers]) -> Integers:
    """context: of the hyper-latents, [h w, context]."""
    channels, h, w = residuals.shape
    boards = checkerboard(h, w)
    cells = _cells(residuals[list(CODED)])  # FIRST channels, then SECOND
    out = np.empty_like(cells)
    near = np.zeros((len(cells), 0), np.float32)
    for board, (low, high) in zip(boards, (networks[:2], networks[2:]), strict=True):
        values = cells[board]
        inputs = np.concatenate((context[board], near[board]), -1)
        begun = port(values[:, : len(FIRST)], _run(low, inputs))
        inputs = np.concatenate((inputs, MAGNITUDES[np.abs(begun)]), -1)
        rest = port(values[:, len(FIRST) :], _run(high, inputs))
        out[board] = np.concatenate((begun, rest), -1)
        if board is boards[0]:
            near = _around(out[board], board, (h, w))
    result = np.empty((channels, h * w), np.int16)
    result[list(CODED)] = out.T
    return result.reshape(channels, h, w)


def globals_of(quality: int, predicted: bool) -> NDArray[np.int64]:
    """What every scale network is told: the two knots beside a quality in 64ths, and 64 for a predicted frame."""
    place = quality * (KNOTS - 1)  # in units of 1 / (QUALITIES - 1) of a knot
    knots = np.arange(KNOTS) * (QUALITIES - 1)
    weights = np.maximum(0, (QUALITIES - 1) - np.abs(place - knots))
    scaled = (128 * weights + (QUALITIES - 1)) // (2 * (QUALITIES - 1))
    return np.append(scaled, 64 * predicted)


@lru_cache(8)
def checkerboard(height: int, width: int) -> tuple[Places, Places]:
    """Cells of the first and of the second pass, by their places in a map."""
    board = (np.arange(height)[:, None] + np.arange(width)) % 2
    return np.flatnonzero(board == 0), np.flatnonzero(board)


def _cells(x: Integers) -> Integers:
    """[C, h, w] -> [h w, C]."""
    return np.ascontiguousarray(x.reshape(len(x), -1).T)


def _around(values: Integers, places: Places, size: tuple[int, int]) -> NDArray[np.float32]:
    """Of magnitudes [n, C] at some cells of a map, 0 elsewhere: the rounded averages of the four cells around each.

    Cells beyond the edges are 0. Returns integers [h w, C].
    """
    h, w = size
    seen = np.zeros((h * w, values.shape[1]), np.uint16)
    seen[places] = _MAGNITUDES[np.abs(values)]
    p = np.zeros((h + 2, w + 2, values.shape[1]), np.uint16)
    p[1:-1, 1:-1] = seen.reshape(h, w, -1)
    sums = p[1:-1, :-2] + p[1:-1, 2:] + p[:-2, 1:-1] + p[2:, 1:-1]  # up to 896
    return ((sums + 2) >> 2).astype(np.float32).reshape(h * w, -1)


def _layers(network: nn.Module) -> Layers:
    assert isinstance(network, nn.Sequential)
    first, second = network
    assert isinstance(first, TrainedLayer)
    assert isinstance(second, TrainedLayer)
    return first.integers(), second.integers()


def _run(layers: Layers, inputs: NDArray[np.float32]) -> NDArray[np.uint8]:
    return layers[1](layers[0](inputs)).astype(np.uint8)


# ---- motion: coarse to fine, each vector predicted from those around it ----


def code_motion(port: Port, motion: Integers, ratio: float) -> Integers:
    """Motion [references, 2, rows, columns]. ratio: how far the second reference lies, in units of the first's way."""
    coded = motion.copy()
    coded[1:] -= along(motion[:1], ratio)
    out = np.zeros_like(coded)
    for stage, cells, near in motion_passes(*motion.shape[2:]):
        y, x = cells
        so_far = np.zeros(len(y), np.int64)
        for r in range(len(coded)):
            expected, spread = expect(out[r], cells, near)
            for axis in range(2):
                rows = motion_rows(stage, so_far, spread)
                found = port((coded[r, axis, y, x] - expected[axis]).astype(np.int16), rows)
                out[r, axis, y, x] = found + expected[axis]
                so_far += np.abs(found)
    out[1:] += along(out[:1], ratio)
    return out


def along(first: Integers, ratio: float) -> Integers:
    """Motion to the second reference where that to the first goes on steadily."""
    return np.clip(np.floor(first * float(ratio) + 0.5), -LARGEST_MOTION, LARGEST_MOTION).astype(np.int16)


@lru_cache(8)
def motion_passes(rows: int, columns: int) -> list[tuple[int, Cells, Places | None]]:
    """(stage, cells, which vectors each is predicted from) of each pass.

    The last are places [4, n] in the grid, None in the first pass; for one beyond the edges the first that is not.
    """
    y, x = np.mgrid[:rows, :columns]
    passes: list[tuple[int, Cells, Places | None]] = []

    def add(stage: int, chosen: NDArray[np.bool_], offsets: tuple[tuple[int, int], ...]) -> None:
        cells = np.nonzero(chosen)
        near = np.stack([(cells[0] + a, cells[1] + b) for a, b in offsets]) if offsets else None  # [4, 2, n]
        if not len(cells[0]):
            return
        if near is None:
            passes.append((stage, (cells[0], cells[1]), None))
            return
        inside = ((near >= 0) & (near < [[rows], [columns]])).all(1)
        places = near[:, 0] * columns + near[:, 1]
        fallback = np.take_along_axis(places, inside.argmax(0)[None], 0)
        passes.append((stage, (cells[0], cells[1]), np.where(inside, places, fallback)))

    add(0, (y % COARSEST == 0) & (x % COARSEST == 0), ())
    step, stage = COARSEST // 2, 1
    while step:
        odd_y, odd_x = y % (2 * step) == step, x % (2 * step) == step
        on_grid = (y % step == 0) & (x % step == 0)
        add(stage, on_grid & odd_y & odd_x, tuple((a * step, b * step) for a in (-1, 1) for b in (-1, 1)))
        add(stage, on_grid & (odd_y != odd_x), ((-step, 0), (step, 0), (0, -step), (0, step)))
        step, stage = step // 2, stage + 1
    return passes


def expect(field: Integers, cells: Cells, near: Places | None) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """-> (expected vectors [2, n]: the middle of those around, how far those differ [n]).

    Of four neighbours the mean of the middle two, rounded down. cells, near: of `motion_passes`.
    """
    if near is None:
        return np.zeros((2, len(cells[0])), np.int64), np.zeros(len(cells[0]), np.int64)
    around = field.reshape(2, -1)[:, near].astype(np.int64)  # [2, 4, n]
    most, least = around.max(1), around.min(1)
    return (around.sum(1) - most - least) >> 1, (most - least).sum(0)


PREVIOUS_CLASSES = (1, 3)  # least magnitude of each class but the first: of components coded before at the same cell
SPREAD_CLASSES = (1, 2, 4, 7, 12, 20, 40)  # likewise of the spread of the vectors around
_PREVIOUS = np.searchsorted(PREVIOUS_CLASSES, np.arange(PREVIOUS_CLASSES[-1] + 1), side="right")
_SPREAD = np.searchsorted(SPREAD_CLASSES, np.arange(SPREAD_CLASSES[-1] + 1), side="right")


def motion_rows(stage: int, before: NDArray[np.int64], spread: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Table rows [n] of one component. before: summed magnitudes of the components coded before it at its cells."""
    previous = _PREVIOUS[np.minimum(before, PREVIOUS_CLASSES[-1])]
    return MOTION_ROWS[stage, previous, _SPREAD[np.minimum(spread, SPREAD_CLASSES[-1])]]


# Rows by stage, class of what is coded before at the cell, class of the spread; fitted to motion of training clips.
MOTION_ROWS = np.array(
    [
        [[15, 42, 46, 50, 54, 58, 60, 60], [40, 50, 54, 58, 60, 60, 60, 60], [56, 58, 60, 60, 60, 60, 60, 60]],
        [[2, 13, 17, 21, 21, 27, 27, 43], [22, 26, 30, 34, 42, 42, 48, 55], [53, 44, 44, 44, 45, 50, 53, 59]],
        [[4, 13, 17, 18, 21, 25, 26, 40], [31, 32, 32, 33, 36, 42, 45, 53], [45, 43, 43, 44, 44, 46, 50, 59]],
        [[2, 13, 16, 19, 22, 24, 27, 41], [30, 30, 31, 35, 37, 40, 44, 52], [41, 41, 41, 41, 42, 44, 49, 57]],
        [[1, 12, 16, 18, 20, 22, 26, 42], [26, 27, 29, 32, 35, 40, 44, 52], [32, 32, 33, 38, 39, 43, 46, 56]],
    ],
    np.uint8,
)
