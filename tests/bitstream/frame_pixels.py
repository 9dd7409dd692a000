"""The pixels of a frame as FORMAT.md says them: a second implementation, to hold the first against.

In numpy and float64, slow and plain; it shares nothing with the codec but the tensors of a base.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

from tests.bitstream.frame_record import stands_for

Array = NDArray[np.float64]
Integers = NDArray[np.integer]

TAPS = (
    (0, 0, 0, 64, 0, 0, 0, 0),
    (-1, 4, -10, 58, 17, -5, 1, 0),
    (-1, 4, -11, 40, 40, -11, 4, -1),
    (0, 1, -5, 17, 58, -10, 4, -1),
)


class Pixels:
    """Frames of one quality index, by the tensors of a base."""

    def __init__(self, tensors: Mapping[str, NDArray[np.float32]], quality: int) -> None:
        self._tensors = {name: tensor.astype(np.float64) for name, tensor in tensors.items()}
        self._step = 1.15 * math.sqrt(18 / (math.log(2) * 0.00003 * 2 ** (quality / 4.5)))
        self._knots = [max(0.0, 1 - abs(7 * quality / 63 - i)) for i in range(8)]

    def frame(
        self,
        size: tuple[int, int],
        references: Sequence[NDArray[np.uint8]],
        motion: Integers,
        sides: Integers,
        hyper: Integers,
        residuals: Integers,
        transforms: Integers,
        flags: int,
    ) -> NDArray[np.uint8]:
        """references: [3, H, W] each; the integers as records have them, all of the sides in one axis more."""
        _, h, w = residuals.shape
        predicted = len(references) > 0
        if predicted:
            first, second = _pictures(references, motion, sides, bool(flags & 16))
            p, f = self.prediction(_padded(first, 8 * h, 8 * w), _padded(second, 8 * h, 8 * w))
        else:
            p, f = np.full((12, 4 * h, 4 * w), 128.0), np.zeros((len(self._tensors["trunk.bias"]), h, w))
        v = (
            self.latents(hyper, self._told(residuals, transforms, predicted), f, predicted)
            * np.exp(self._at("log_step", predicted))[:, None, None]
        )
        gain, bias = (self._at(name, predicted)[:, None, None] for name in ("gain", "bias"))
        t = _act(self._conv("trunk", v / 64, f) * np.exp(gain) + bias)
        for name in sorted({k.split(".")[1] for k in self._tensors if k.startswith("blocks.")}, key=int):
            t = self._res(f"blocks.{name}", t)
        s = p + shuffle(np.einsum("oc,chw->ohw", self._tensors["synthesis"], v), 4)
        o = self._conv("loop_out", _act(self._conv("loop", (s - 128) / 64, shuffle(self._conv("loop_guide", t), 4))))
        y = s + 64 * o
        if flags & 64:
            for row, column in product(range(h // 4), range(w // 4)):
                if not residuals[:, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4].any():
                    square = np.s_[:, 16 * row : 16 * row + 16, 16 * column : 16 * column + 16]
                    y[square] = p[square]
        pixels = shuffle(y, 2)[:, : size[0], : size[1]]
        return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)

    def prediction(self, first: Array, second: Array) -> tuple[Array, Array]:
        u0, u1 = unshuffle(first, 2), unshuffle(second, 2)
        d = (np.concatenate((u0, u1)) - 128) / 64
        f = self._res("predict", _act(self._conv("warped", unshuffle(d, 4))))
        return (u0 + u1) / 2, f

    def _told(self, residuals: Integers, transforms: Integers, predicted: bool) -> Array:
        """Residuals of latents, whatever the luma of cells is told as."""
        out = residuals.astype(np.float64)
        steps = np.exp(self._at("log_step", predicted))[:64]
        for y, x in zip(*np.nonzero(transforms), strict=True):
            out[:64, y, x] = residuals[:64, y, x] @ np.array(stands_for(int(transforms[y, x]))) * self._step / steps
        return out

    def latents(self, hyper: Integers, residuals: Array, f: Array, predicted: bool) -> Array:
        _, h, w = residuals.shape
        first = np.add.outer(np.arange(h), np.arange(w)) % 2 == 0
        e = shuffle(self._conv("expand", hyper / 4), 4)
        u = np.exp(self._at("log_unit", predicted))[:, None, None]
        mean = u * self._conv("mean_first_out", _act(self._conv("mean_first", e, f)))
        if not predicted:
            for n, channel in enumerate((0, 64, 79)):
                mean[channel] += 2 * _bilinear(hyper[n], h, w)
        z0 = (residuals + mean) * first
        hidden = self._conv("mean_second", e, f) + self._conv("mean_around", z0 / (4 * u))
        padded = np.pad(z0, ((0, 0), (1, 1), (1, 1)), mode="edge")
        near = (padded[:, :-2, 1:-1] + padded[:, 2:, 1:-1] + padded[:, 1:-1, :-2] + padded[:, 1:-1, 2:]) / 4
        around = self._tensors["around"][int(predicted)][:, None, None]
        mean = u * self._conv("mean_second_out", _act(hidden)) + around * near
        return np.where(first, z0, residuals + mean)

    def _at(self, name: str, predicted: bool) -> Array:
        return np.einsum("i,ic->c", self._knots, self._tensors[name][int(predicted)])

    def _res(self, name: str, x: Array) -> Array:
        return x + self._conv(f"{name}.second", _act(self._conv(f"{name}.first", x)))

    def _conv(self, name: str, *x: Array) -> Array:
        weight, bias = self._tensors[f"{name}.weight"], self._tensors[f"{name}.bias"]
        k = weight.shape[-1]
        padded = np.pad(np.concatenate(x), ((0, 0), (k // 2, k // 2), (k // 2, k // 2)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (k, k), (1, 2))  # [C, h, w, k, k]
        return np.einsum("chwij,ocij->ohw", windows, weight, optimize=True) + bias[:, None, None]


def moved(reference: NDArray[np.uint8], motion: Integers) -> Array:
    """What a reference [C, H, W] shows where motion [2, rows, columns] points."""
    _, height, width = reference.shape
    out = np.zeros(reference.shape)
    for y, x in product(range(height), range(width)):
        down, right = (int(v) for v in motion[:, y // 8, x // 8])
        ys = [min(max(y + math.floor(down / 4) + i - 3, 0), height - 1) for i in range(8)]
        xs = [min(max(x + math.floor(right / 4) + i - 3, 0), width - 1) for i in range(8)]
        taps = np.outer(TAPS[down % 4], TAPS[right % 4]) / 64**2
        out[:, y, x] = (reference[:, ys][:, :, xs] * taps).sum((1, 2))
    return out


def _pictures(
    references: Sequence[NDArray[np.uint8]], motion: Integers, sides: Integers, overlapping: bool
) -> tuple[Array, Array]:
    """Both pictures, mixed near the sides of blocks where they overlap."""
    own = _alone([moved(r, m) for r, m in zip(references, motion, strict=True)], sides)
    if not overlapping:
        return own
    mixed = [picture.copy() for picture in own]
    _, height, width = references[0].shape
    for dy, dx in ((-1, 0), (1, 0), (0, -1), (0, 1)):
        rows, columns = (np.clip(np.arange(n) + d, 0, n - 1) for n, d in zip(motion.shape[2:], (dy, dx), strict=True))
        shown = [moved(r, m[:, rows][:, :, columns]) for r, m in zip(references, motion, strict=True)]
        beyond = _alone(shown, sides[:, rows][:, :, columns])
        place = np.arange(max(height, width)) % 8
        inwards = place if dy + dx < 0 else 7 - place
        taken = np.array([6, 4, 2, 1, 0, 0, 0, 0])[inwards] / 16
        share = taken[:height, None] if dy else taken[None, :width]
        for picture, before, other in zip(mixed, own, beyond, strict=True):
            picture += share * (other - before)
    return mixed[0], mixed[1]


def _alone(shown: Sequence[Array], sides: Integers) -> tuple[Array, Array]:
    first, second = shown[0], shown[-1]
    if len(shown) == 1:
        return first, second
    side = sides[0].repeat(8, 0).repeat(8, 1)[: first.shape[1], : first.shape[2]]
    return np.where(side == -1, second, first), np.where(side == 1, first, second)


def shuffle(x: Array, n: int) -> Array:
    channels, h, w = x.shape
    out = np.zeros((channels // n**2, h * n, w * n))
    for c, i, j in product(range(len(out)), range(n), range(n)):
        out[c, i::n, j::n] = x[c * n * n + i * n + j]
    return out


def unshuffle(x: Array, n: int) -> Array:
    return np.stack([x[c, i::n, j::n] for c, i, j in product(range(len(x)), range(n), range(n))])


def _padded(x: Array, height: int, width: int) -> Array:
    return np.pad(x, ((0, 0), (0, height - x.shape[1]), (0, width - x.shape[2])), mode="edge")


def _bilinear(x: Integers, height: int, width: int) -> Array:
    """Half-pixel centres, edges repeated."""
    found = x.astype(np.float64)
    for axis, (count, cells) in enumerate(((height, x.shape[0]), (width, x.shape[1]))):
        place = np.clip((np.arange(count) + 0.5) * cells / count - 0.5, 0, cells - 1)
        low = np.floor(place).astype(int)
        share = np.expand_dims(place - low, 1 - axis)
        found = found.take(low, axis) * (1 - share) + found.take(np.minimum(low + 1, cells - 1), axis) * share
    return found


def _act(x: Array) -> Array:
    return np.where(x >= 0, x, 0.1 * x)
