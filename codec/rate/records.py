"""The integers of a frame <-> the record that a file holds of it.

    motion, then hyper-latents, then residuals of the latents: each where its flag is set, all zero where it is not

Every part is coded in passes, each value under the table row that earlier passes suggest; a value whose row is 0 is 0
and is not coded. One function walks each part for both directions: a `Port` takes the values of a pass and returns them
when it writes, and returns the ones of the file when it reads, so that both sides see the same contexts.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import nn

from bitstream import Decoder, Encoder, MalformedChunk, code_length
from codec.network.predictive.network import FIRST, GLOBALS, HYPER, SECOND, PredictiveNetwork
from codec.network.predictive.quality import KNOTS, QUALITIES
from codec.network.predictive.scales import MAGNITUDES, IntegerLayer
from codec.network.predictive.symbols import HYPERS, MOTION, PARTS, RESIDUALS, Integers, Symbols

COARSEST = 16  # cells between the motion vectors of the first pass
LARGEST_MOTION = 2**13  # quarter pixels


class Port(Protocol):
    """One direction of coding."""

    def __call__(self, values: Integers, rows: NDArray[np.uint8]) -> Integers:
        """Values of one pass under their rows; both of any one shape."""


class WritingPort:
    """Codes what it is given. Where the row is 0 the value is lost, and 0 is what it returns."""

    def __init__(self) -> None:
        self._coder = Encoder()
        self.bits = 0.0  # ideal, of all so far

    def __call__(self, values: Integers, rows: NDArray[np.uint8]) -> Integers:
        coded = rows > 0
        kept, used = values[coded], rows[coded]
        self._coder.put(kept, used)
        self.bits += code_length(kept, used)
        return np.where(coded, values, np.int16(0))

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
        coded = rows > 0
        out = np.zeros(rows.shape, np.int16)
        out[coded] = self._coder.get(rows[coded])
        return out

    def finish(self) -> None:
        """Raise MalformedChunk unless the record is exactly what an encoder writes."""
        if _trimmed(self._words) != self._record:
            raise MalformedChunk(f"{self._where}: zero bytes at the end of a record")
        self._coder.finish()


def _trimmed(words: bytes) -> bytes:
    """Words without the zero bytes that end the last of them; padding to a multiple of 4 puts them back."""
    return words[: max(len(words.rstrip(b"\0")), len(words) - 3)]


class FrameCoder:
    """Codes the integers of frames of one size with the integer networks of a base."""

    def __init__(self, network: PredictiveNetwork) -> None:
        self._context = network.scale_context.integers()
        self._hyper_scales = [_layers(n) for n in network.hyper_scales]
        self._scales = [_layers(n) for n in network.scales]

    def write(self, symbols: Symbols, quality: int, ratio: float | None) -> tuple[bytes, Symbols, dict[str, float]]:
        """-> record, the symbols as a decoder will read them, ideal bits by part."""
        port, bits = WritingPort(), {}
        flags, parts, before = symbols.flags, [], 0.0
        for flag, part in self._parts(symbols):
            parts.append(self._code(port, flag, part, quality, ratio, parts) if flags & flag else part)
            bits[PARTS[flag]] = port.bits - before
            before = port.bits
        return port.finish(), Symbols(*parts), bits

    def read(self, record: bytes, flags: int, empty: Symbols, quality: int, ratio: float | None, where: str) -> Symbols:
        """Inverse of `write`. empty: zeros of the shapes that the frame has. Raises MalformedChunk."""
        port, parts = ReadingPort(record, where), []
        for flag, part in self._parts(empty):
            parts.append(self._code(port, flag, part, quality, ratio, parts) if flags & flag else part)
        port.finish()
        return Symbols(*parts)

    @staticmethod
    def _parts(symbols: Symbols) -> tuple[tuple[int, Integers], ...]:
        return (MOTION, symbols.motion), (HYPERS, symbols.hyper), (RESIDUALS, symbols.residuals)

    def _code(
        self, port: Port, flag: int, part: Integers, quality: int, ratio: float | None, before: list[Integers]
    ) -> Integers:
        if flag == MOTION:
            return code_motion(port, part, ratio or 0.0)
        told = globals_of(quality, predicted=bool(len(before[0])))
        if flag == HYPERS:
            return self._code_hyper(port, part, told)
        return self._code_residuals(port, part, before[1], told)

    def _code_hyper(self, port: Port, hyper: Integers, told: NDArray[np.float32]) -> Integers:
        cells = hyper.transpose(1, 2, 0).copy()  # [h, w, hyper]
        first = checkerboard(*cells.shape[:2])
        rows = _run(self._hyper_scales[0], told[None])
        cells[first] = port(cells[first], np.broadcast_to(rows, cells[first].shape))
        near = around(np.where(first[..., None], MAGNITUDES[np.abs(cells)], 0))[~first]
        rows = _run(self._hyper_scales[1], np.concatenate((np.broadcast_to(told, (len(near), GLOBALS)), near), -1))
        cells[~first] = port(cells[~first], rows)
        return np.ascontiguousarray(cells.transpose(2, 0, 1))

    def _code_residuals(self, port: Port, residuals: Integers, hyper: Integers, told: NDArray[np.float32]) -> Integers:
        cells = residuals.transpose(1, 2, 0).copy()  # [h, w, LATENTS]
        first = checkerboard(*cells.shape[:2])
        context = self._seen(hyper)
        none = np.zeros((int(np.count_nonzero(first)), 0), np.float32)
        for board, near in ((first, lambda: none), (~first, lambda: around(_where(first, cells))[~first])):
            values = cells[board]  # [n, LATENTS]
            inputs = np.concatenate((context[board], np.broadcast_to(told, (len(values), GLOBALS)), near()), -1)
            networks = self._scales[:2] if board is first else self._scales[2:]
            values[:, FIRST] = port(values[:, FIRST], _run(networks[0], inputs))
            inputs = np.concatenate((inputs, MAGNITUDES[np.abs(values[:, FIRST])]), -1)
            values[:, SECOND] = port(values[:, SECOND], _run(networks[1], inputs))
            cells[board] = values
        return np.ascontiguousarray(cells.transpose(2, 0, 1))

    def _seen(self, hyper: Integers) -> NDArray[np.float32]:
        """What scale networks see of the hyper-latents: [hyper, h, w] -> integers [4 h, 4 w, context]."""
        _, h, w = hyper.shape
        signed = np.clip(hyper.astype(np.int32) * 16, -127, 127).astype(np.float32)
        padded = np.pad(signed, ((0, 0), (1, 1), (1, 1)))
        near = np.stack([padded[:, y : y + h, x : x + w] for y in range(3) for x in range(3)], -1)  # [hyper, h, w, 9]
        out = self._context(near.transpose(1, 2, 0, 3).reshape(h, w, -1)).reshape(h, w, -1, HYPER, HYPER)
        return out.transpose(0, 3, 1, 4, 2).reshape(h * HYPER, w * HYPER, -1)


def globals_of(quality: int, predicted: bool) -> NDArray[np.float32]:
    """What every scale network is told: the two knots beside a quality in 64ths, and 64 for a predicted frame."""
    place = quality * (KNOTS - 1)  # in units of 1 / (QUALITIES - 1) of a knot
    knots = np.arange(KNOTS) * (QUALITIES - 1)
    weights = np.maximum(0, (QUALITIES - 1) - np.abs(place - knots))
    scaled = (128 * weights + (QUALITIES - 1)) // (2 * (QUALITIES - 1))
    return np.append(scaled, 64 * predicted).astype(np.float32)


def checkerboard(height: int, width: int) -> NDArray[np.bool_]:
    """Cells of the first pass."""
    return (np.arange(height)[:, None] + np.arange(width)) % 2 == 0


def around(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """The rounded average of the four cells around each, zero beyond the edges: integers [h, w, C]."""
    p = np.pad(x, ((1, 1), (1, 1), (0, 0)))
    return np.floor((p[1:-1, :-2] + p[1:-1, 2:] + p[:-2, 1:-1] + p[2:, 1:-1] + 2) * np.float32(0.25))


def _where(board: NDArray[np.bool_], cells: Integers) -> NDArray[np.float32]:
    return np.where(board[..., None], MAGNITUDES[np.abs(cells)], np.float32(0))


def _layers(network: nn.Module) -> tuple[IntegerLayer, IntegerLayer]:
    first, second = network
    return first.integers(), second.integers()


def _run(layers: tuple[IntegerLayer, IntegerLayer], inputs: NDArray[np.float32]) -> NDArray[np.uint8]:
    return layers[1](layers[0](np.ascontiguousarray(inputs, np.float32))).astype(np.uint8)


# ---- motion: coarse to fine, each vector predicted from those around it ----


def code_motion(port: Port, motion: Integers, ratio: float) -> Integers:
    """Motion [references, 2, rows, columns]. ratio: how far the second reference lies, in units of the first's way."""
    coded = motion.copy()
    coded[1:] -= along(motion[:1], ratio)
    out = np.zeros_like(coded)
    residuals = np.zeros_like(coded)
    for stage, cells, offsets in motion_passes(*motion.shape[2:]):
        y, x = cells
        so_far = np.zeros(len(y), np.int64)
        for r in range(len(coded)):
            expected, spread = expect(out[r], cells, offsets)
            for axis in range(2):
                rows = motion_rows(stage, so_far, spread)
                found = port((coded[r, axis, y, x] - expected[axis]).astype(np.int16), rows)
                residuals[r, axis, y, x] = found
                out[r, axis, y, x] = found + expected[axis]
                so_far += np.abs(found)
    result = out.copy()
    result[1:] += along(out[:1], ratio)
    return result


def along(first: Integers, ratio: float) -> Integers:
    """Motion to the second reference where that to the first goes on steadily."""
    return np.floor(first * ratio + 0.5).astype(np.int16)


Cells = tuple[NDArray[np.intp], NDArray[np.intp]]


def motion_passes(rows: int, columns: int) -> list[tuple[int, Cells, tuple[tuple[int, int], ...]]]:
    """(stage, cells, where the vectors lie that they are predicted from) of each pass."""
    y, x = np.mgrid[:rows, :columns]
    passes = [(0, np.nonzero((y % COARSEST == 0) & (x % COARSEST == 0)), ())]
    step, stage = COARSEST // 2, 1
    while step:
        odd_y, odd_x = y % (2 * step) == step, x % (2 * step) == step
        on_grid = (y % step == 0) & (x % step == 0)
        corners = tuple((a * step, b * step) for a in (-1, 1) for b in (-1, 1))
        sides = ((-step, 0), (step, 0), (0, -step), (0, step))
        passes.append((stage, np.nonzero(on_grid & odd_y & odd_x), corners))
        passes.append((stage, np.nonzero(on_grid & (odd_y != odd_x)), sides))
        step, stage = step // 2, stage + 1
    return [p for p in passes if len(p[1][0])]


def expect(
    field: Integers, cells: Cells, offsets: tuple[tuple[int, int], ...]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """-> (expected vectors [2, n]: the middle of those around, how far those differ [n]).

    Of four neighbours the mean of the middle two, rounded down; one beyond the edges counts as the first that is not.
    """
    y, x = cells
    if not offsets:
        return np.zeros((2, len(y)), np.int64), np.zeros(len(y), np.int64)
    near = np.stack([_neighbour(field, y + a, x + b) for a, b in offsets])  # [4, 2, n]
    inside = np.stack([_inside(field, y + a, x + b) for a, b in offsets])  # [4, n]
    fallback = np.take_along_axis(near, inside.argmax(0)[None, None], 0)
    near = np.sort(np.where(inside[:, None], near, fallback), axis=0)
    return (near[1] + near[2]) >> 1, (near[3] - near[0]).sum(0)


def _neighbour(field: Integers, y: NDArray[np.intp], x: NDArray[np.intp]) -> NDArray[np.int64]:
    rows, columns = field.shape[1:]
    return field[:, np.clip(y, 0, rows - 1), np.clip(x, 0, columns - 1)].astype(np.int64)


def _inside(field: Integers, y: NDArray[np.intp], x: NDArray[np.intp]) -> NDArray[np.bool_]:
    rows, columns = field.shape[1:]
    return (y >= 0) & (y < rows) & (x >= 0) & (x < columns)


PREVIOUS_CLASSES = (1, 3)  # least magnitude of each class but the first: of components coded before at the same cell
SPREAD_CLASSES = (1, 2, 4, 7, 12, 20, 40)  # likewise of the spread of the vectors around


def motion_rows(stage: int, before: NDArray[np.int64], spread: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Table rows [n] of one component. before: summed magnitudes of the components coded before it at its cells."""
    previous = np.searchsorted(PREVIOUS_CLASSES, before, side="right")
    return MOTION_ROWS[stage, previous, np.searchsorted(SPREAD_CLASSES, spread, side="right")]


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
