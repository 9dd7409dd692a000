"""The integers of a frame <-> the record that a file holds of it.

    motion with sides, hyper-latents, residuals of the latents: each where its flag is set, all zero where it is not

Every part is coded in passes, each value under the table row that earlier passes suggest; a value whose row is 0 is 0
and is not coded. One function walks each part for both directions, through a `Port` (`codec.rate.ports`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from torch import nn

from bitstream import MalformedChunk
from codec.network.predictive.frames import moving_of
from codec.network.predictive.network import FIRST, GLOBALS, HYPER, MOVING, SECOND, PredictiveNetwork
from codec.network.predictive.quality import KNOTS, QUALITIES
from codec.network.predictive.scales import MAGNITUDES, IntegerLayer, TrainedLayer
from codec.network.predictive.symbols import (
    BARE,
    HYPERS,
    MEAN,
    MOTION,
    PARTS,
    RESIDUALS,
    Integers,
    Symbols,
)
from codec.network.predictive.transform import LATENTS
from codec.rate.motion import code_motion
from codec.rate.ports import Port, ReadingPort, WritingPort

Layers = tuple[IntegerLayer, IntegerLayer]
Places = NDArray[np.intp]  # in a map or grid whose rows follow each other

CODED = (*FIRST, *SECOND)  # channels of the latents as they are coded
_MAGNITUDES = MAGNITUDES.astype(np.uint16)


class FrameCoder:
    """Codes the integers of frames with the integer networks of a base."""

    def __init__(self, network: PredictiveNetwork) -> None:
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
        motion, sides, hyper, residuals = symbols.motion, symbols.sides, symbols.hyper, symbols.residuals
        networks = self._networks_for(quality, bool(len(motion)))
        if flags & MOTION:
            motion, sides = code_motion(port, motion, sides, ratio or 1.0, carried)
        done(MOTION)
        if flags & HYPERS:
            hyper = _code_hyper(port, hyper, networks[:2])
        done(HYPERS)
        if flags & RESIDUALS:
            seen = [self._seen(hyper), _moved(Symbols(motion, sides, hyper, residuals))]
            residuals = _code_residuals(port, residuals, np.concatenate(seen, -1), networks[2:])
        done(RESIDUALS)
        return Symbols(motion, sides, hyper, residuals, flags & (MEAN | BARE))

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
    if flags & ~(sum(PARTS) | MEAN | BARE) or (flags & (MOTION | MEAN | BARE) and not references):
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


def _code_residuals(port: Port, residuals: Integers, context: NDArray[np.float32], networks: list[Layers]) -> Integers:
    """context: of the hyper-latents and of motion, [h w, context + MOVING]."""
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


def _layers(network: nn.Module) -> Layers:
    assert isinstance(network, nn.Sequential)
    first, second = network
    assert isinstance(first, TrainedLayer)
    assert isinstance(second, TrainedLayer)
    return first.integers(), second.integers()


def _run(layers: Layers, inputs: NDArray[np.float32]) -> NDArray[np.uint8]:
    return layers[1](layers[0](inputs)).astype(np.uint8)
