"""The integers of a frame <-> the record that a file holds of it.

    motion with sides, hyper-latents, residuals of the latents: each where its flag is set, all zero where it is not

Where some cells have their luma in other values than latents, these are coded with those of the same half of the cells.
Every part is coded in passes, each value under the table row that earlier passes suggest; a value whose row is 0 is 0
and is not coded. One function walks each part for both directions, through a `Port` (`codec.rate.ports`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from bitstream import MalformedChunk
from codec.network.predictive.cell_transforms import as_latents_seen
from codec.network.predictive.frames import moving_of
from codec.network.predictive.network import CODED, FIRST, FIRST_LUMA, GLOBALS, HYPER, MOVING, SECOND, PredictiveNetwork
from codec.network.predictive.quality import KNOTS, QUALITIES
from codec.network.predictive.scales import MAGNITUDES, IntegerLayer, TrainedLayer
from codec.network.predictive.symbols import (
    HYPERS,
    MADE,
    MOTION,
    PARTS,
    RESIDUALS,
    TRANSFORMS,
    Integers,
    Symbols,
)
from codec.network.predictive.transform import LATENTS, LUMA
from codec.rate.cell_values import UNTOLD, CellValues, Places, ValueRows, code_share, code_transforms, expected
from codec.rate.motion import MotionRows, code_motion
from codec.rate.ports import Port, ReadingPort, WritingPort

Layers = tuple[IntegerLayer, IntegerLayer]

_MAGNITUDES = MAGNITUDES.astype(np.uint16)


class FrameCoder:
    """Codes the integers of frames with the integer networks of a base."""

    def __init__(
        self, network: PredictiveNetwork, motion_rows: MotionRows | None = None, value_rows: ValueRows | None = None
    ) -> None:
        """motion_rows, value_rows: MOTION_ROWS and VALUE_ROWS, unless contexts are counted."""
        self._motion_rows, self._value_rows = motion_rows, value_rows
        self._context = network.scale_context.integers()
        hyper = [_layers(n) for n in network.hyper_scales]
        scales = [_layers(n) for n in network.scales]
        told = network.shape.context + MOVING  # where the globals begin
        near = told + GLOBALS  # and what is around, in the order of CODED here
        order = [*range(near), *(near + c for c in CODED), *range(near + LATENTS, near + LATENTS + len(FIRST))]
        scales[2:] = [(first.reordered(order[: len(first.weight)]), second) for first, second in scales[2:]]
        self._networks = [(n, 0) for n in hyper] + [(n, told) for n in scales]
        self._told: dict[tuple[int, bool], list[Layers]] = {}

    def write(
        self, symbols: Symbols, quality: int, ratio: float | None, carried: Integers | None = None
    ) -> tuple[bytes, Symbols, dict[str, float]]:
        """-> record, the symbols as a decoder will read them, ideal bits by part.

        ratio, carried: of `code_motion`; None for what the frame does not have.
        """
        port = WritingPort()
        bits: dict[str, float] = {}

        def count(flag: int) -> None:
            bits[PARTS[flag]] = port.bits - sum(bits.values())

        kept = self._code(port, symbols, symbols.flags, quality, ratio, carried, count)
        return port.finish(), kept, bits

    def walk(self, port: Port, symbols: Symbols, quality: int, ratio: float | None, carried: Integers | None) -> None:
        """`write` through another port."""
        self._code(port, symbols, symbols.flags, quality, ratio, carried)

    def read(
        self,
        record: bytes,
        flags: int,
        empty: Symbols,
        quality: int,
        ratio: float | None,
        where: str,
        carried: Integers | None = None,
    ) -> Symbols:
        """Inverse of `write`. empty: zeros of the shapes that the frame has. Raises MalformedChunk."""
        check_flags(flags, len(empty.motion), where)
        port = ReadingPort(record, where)
        symbols = self._code(port, empty, flags, quality, ratio, carried)
        port.finish()
        return symbols

    def _code(
        self,
        port: Port,
        symbols: Symbols,
        flags: int,
        quality: int,
        ratio: float | None,
        carried: Integers | None,
        done: Callable[[int], None] = lambda flag: None,
    ) -> Symbols:
        """Walk the parts of a frame; done: called after each."""
        motion, sides, hyper = symbols.motion, symbols.sides, symbols.hyper
        residuals, transforms = symbols.residuals, symbols.transforms
        networks = self._networks_for(quality, bool(len(motion)))
        if flags & MOTION:
            motion, sides = code_motion(port, motion, sides, ratio or 1.0, carried, self._motion_rows)
        done(MOTION)
        if flags & HYPERS:
            hyper = _code_hyper(port, hyper, networks[:2])
        done(HYPERS)
        if flags & RESIDUALS:
            seen = [self._seen(hyper), _moved(replace(symbols, motion=motion, sides=sides))]
            context, otherwise = np.concatenate(seen, -1), bool(flags & TRANSFORMS)
            residuals, transforms = _code_residuals(
                port, residuals, transforms, context, networks[2:], otherwise, self._value_rows
            )
        done(RESIDUALS)
        return Symbols(motion, sides, hyper, residuals, transforms, flags & MADE)

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


def check_flags(flags: int, references: int, where: str) -> None:
    """Raise MalformedChunk for parts that a frame of so many references does not have."""
    without = (flags & (MOTION | MADE) and not references) or (flags & TRANSFORMS and not flags & RESIDUALS)
    if flags & ~(sum(PARTS) | TRANSFORMS | MADE) or without:
        raise MalformedChunk(f"{where}: flags {flags} name parts that this frame does not have")


def _code_hyper(port: Port, hyper: Integers, networks: list[Layers]) -> Integers:
    channels, h, w = hyper.shape
    first, second = checkerboard(h, w)
    cells = _cells(hyper)
    values = port(cells[first], np.repeat(_run(networks[0], np.zeros((1, 0), np.float32)), len(first), axis=0))
    near = _around(values, first, (h, w))[second]
    out = np.empty_like(cells)
    out[first], out[second] = values, port(cells[second], _run(networks[1], near))
    return np.ascontiguousarray(out.T).reshape(channels, h, w)


def _code_residuals(
    port: Port,
    residuals: Integers,
    transforms: Integers,
    context: NDArray[np.float32],
    networks: list[Layers],
    otherwise: bool,
    table: ValueRows | None,
) -> tuple[Integers, Integers]:
    """-> residuals and transforms.

    context: of the hyper-latents and of motion, [h w, context + MOVING]. otherwise: whether some cells have their luma
    in other values than latents, by `table`. Then their latents are not coded, and networks see what values come to.
    """
    channels, h, w = residuals.shape
    cells = _cells(residuals[list(CODED)])  # FIRST channels, then SECOND
    values, chosen = _cells(residuals[:LUMA]), transforms.ravel()
    out = np.empty_like(cells)
    found, others = np.zeros(h * w, np.int16), np.full(h * w, UNTOLD)
    near = np.zeros((h * w, 0), np.float32)
    share = code_share(port, transforms) if otherwise else 0
    in_cells = CellValues(port, h, w, table) if otherwise else None
    for number, board in enumerate(checkerboard(h, w)):
        low, high = networks[2 * number : 2 * number + 2]
        inputs = np.concatenate((context[board], near[board]), -1)
        rows = _run(low, inputs)
        here = np.zeros(0, np.intp)  # of the cells of this pass, those with other values
        if otherwise:
            hopes = expected(rows[:, :FIRST_LUMA])
            found[board] = code_transforms(port, chosen[board], hopes, others[board], share, table)
            here = np.flatnonzero(found[board])
            rows[here, :FIRST_LUMA] = 0
        begun = port(cells[board, : len(FIRST)], rows)
        luma = np.zeros((0, LUMA), np.int16)  # of `here`, in place of what is not coded
        if in_cells is not None and len(here):
            there = board[here]
            values[there] = in_cells.code(values[there], there, found[there], hopes[here])
            seen = as_latents_seen(torch.from_numpy(values[there]).float(), torch.from_numpy(found[there]))
            luma = seen.numpy().astype(np.int16)
        seen_low = begun.copy()
        seen_low[here, :FIRST_LUMA] = luma[:, list(FIRST[:FIRST_LUMA])]
        rows = _run(high, np.concatenate((inputs, MAGNITUDES[np.abs(seen_low)]), -1))
        rows[here, : LUMA - FIRST_LUMA] = 0
        rest = port(cells[board, len(FIRST) :], rows)
        out[board] = np.concatenate((begun, rest), -1)
        if number == 0:
            seen_high = rest.copy()
            seen_high[here, : LUMA - FIRST_LUMA] = luma[:, list(SECOND[: LUMA - FIRST_LUMA])]
            near = _around(np.concatenate((seen_low, seen_high), -1), board, (h, w))
            others = _beside(found.reshape(h, w) != 0).ravel()
    result = np.empty((channels, h * w), np.int16)
    result[list(CODED)] = out.T
    result[:LUMA, found != 0] = values[found != 0].T
    return result.reshape(channels, h, w), found.reshape(h, w)


def _moved(symbols: Symbols) -> NDArray[np.float32]:
    """What scale networks see of motion: integers [h w, MOVING], 0 for a key frame."""
    if not len(symbols.motion):
        return np.zeros((symbols.residuals[0].size, MOVING), np.float32)
    return np.ascontiguousarray(moving_of(symbols)[0].flatten(1).mT.numpy())


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


def _beside(cells: NDArray[np.bool_]) -> NDArray[np.int64]:
    """How many of the four cells around each are set: [h, w]."""
    p = np.pad(cells, 1).astype(np.int64)
    return p[1:-1, :-2] + p[1:-1, 2:] + p[:-2, 1:-1] + p[2:, 1:-1]


def _layers(network: nn.Module) -> Layers:
    assert isinstance(network, nn.Sequential)
    first, second = network
    assert isinstance(first, TrainedLayer)
    assert isinstance(second, TrainedLayer)
    return first.integers(), second.integers()


def _run(layers: Layers, inputs: NDArray[np.float32]) -> NDArray[np.uint8]:
    return layers[1](layers[0](inputs)).astype(np.uint8)
