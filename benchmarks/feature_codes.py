"""Ways to hold the features of a clip in few bytes, measured as points of bytes and clip_sim.

Whatever a way holds are tensors as a segment has them, and its bytes are those of the coded segment. One number, the
*level*, sets all quantization steps of a point: an error of a value that n features share counts n times, so its step
is level / sqrt(n x the mean square of what it is multiplied with), and every bit saves the same error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from bitstream import (
    MAX_VALUE,
    Part,
    QuantizedTensor,
    Segment,
    nearest_step_index,
    read_segment,
    step,
    write_segment,
)
from codec.encoding.predictive.head import fit_head
from codec.network.predictive.head import ClipHead
from codec.network.weights import dequantize
from codec.quality import cosine
from codec.settings import RateSettings

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

LEVELS = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)
RANKS = (1, 2, 3, 4, 6, 8, 12, 16, 32)
HOLDS = (0.5, 1.0)  # a coefficient keeps its integer until it is further off, in steps; 0.5: is always rounded
HEAD_RANKS = (1, 2, 4, 8, 16, 32)
HEAD_BITS = (3.0, 4.0, 5.0)
PARTS = (1, 2, 4)  # of a vector, with a codebook each
WORDS = (2, 4, 8, 16, 32, 64)  # of a codebook
STAYS = (0.0, 0.05)  # a word stays until another's squared error is less by more
RIDGE = 1e-3  # of the mean square of the inputs
LEAST_GAIN = 0.001  # of clip_sim from one kept point to the next
PEAK = MAX_VALUE / 2 ** (1 / 16)  # of an integer, so that a step from the table fits too


@dataclass(frozen=True)
class Point:
    """One way at one setting."""

    method: str
    settings: str
    bytes: int
    clip_sim: float


@dataclass(frozen=True, eq=False)
class Sample:
    """A clip's features, and what a decoder of its frames knows beforehand."""

    features: Floats  # [T, patches, D], of unit length
    pooled: NDArray[np.float32]  # [T, patches, C], of the trunk

    @cached_property
    def flat(self) -> Floats:  # [N, D]
        return self.features.reshape(-1, self.features.shape[-1])

    @cached_property
    def inputs(self) -> Floats:
        """Pooled features less their mean, [N, C]."""
        flat = self.pooled.reshape(-1, self.pooled.shape[-1]).astype(np.float64)
        return flat - flat.mean(0)

    @cached_property
    def directions(self) -> Floats:
        """Unit vectors along which features spread most, [at most D, D]."""
        return _directions(self.flat - self.flat.mean(0))

    @cached_property
    def regression(self) -> Floats:
        """Features less their mean from inputs, by least squares with a ridge: [C, D]."""
        x = self.inputs
        ridge = RIDGE * len(x) * float(np.square(x).mean()) * np.eye(x.shape[1])
        return np.linalg.solve(x.T @ x + ridge, x.T @ (self.flat - self.flat.mean(0)))

    def point(self, method: str, settings: str, tensors: Iterable[QuantizedTensor], shown: Floats) -> Point:
        """shown: the features that a decoder makes of the tensors, [N, D] of any length."""
        size = len(write_segment(Segment(0, 1, tuple(tensors))))
        return Point(method, settings, size, self.similarity(shown))

    def similarity(self, shown: Floats) -> float:
        return float(cosine(shown.reshape(self.features.shape), self.features).mean())


def constant(sample: Sample) -> Iterator[Point]:
    """The mean."""
    for level in LEVELS:
        mean = _mean(sample, level)
        yield sample.point("mean", f"level={level:.3g}", [mean], np.broadcast_to(_restored(mean), sample.flat.shape))


def head(sample: Sample) -> Iterator[Point]:
    """What ships: a small network on pooled trunk features, trained."""
    pooled, features = torch.from_numpy(sample.pooled), torch.from_numpy(sample.features).float()
    for rank, bits in product(HEAD_RANKS, HEAD_BITS):
        weights = fit_head(pooled, features, rank, replace(RateSettings(), clip_bits=bits), seed=1)
        network = ClipHead(pooled.shape[-1], rank, features.shape[-1])
        dequantize(read_segment(weights, "weights of the head").tensors, network)
        with torch.no_grad():
            shown = network(pooled).double().numpy()
        yield Point("head", f"rank={rank} bits={bits:g}", len(weights), sample.similarity(shown))


def linear(sample: Sample) -> Iterator[Point]:
    """A head without its bend, in closed form: regression of reduced rank."""
    directions = _directions(sample.inputs @ sample.regression)
    for rank, level in product(RANKS, LEVELS):
        tensors, _, shown = _basis(sample, directions[:rank], level, predict=True)
        yield sample.point("linear head", f"rank={rank} level={level:.3g}", tensors, shown)


def basis(sample: Sample) -> Iterator[Point]:
    """The mean, and for every patch coefficients of a few vectors."""
    return _coefficients(sample, "basis", predict=False)


def linear_and_basis(sample: Sample) -> Iterator[Point]:
    """The same with coefficients predicted from pooled trunk features, so that only what is left is coded."""
    return _coefficients(sample, "linear head + basis", predict=True)


def codebooks(sample: Sample) -> Iterator[Point]:
    """Product quantization: for each part of every vector one of a few words."""
    frames, patches, dim = sample.features.shape
    for parts, words in product(PARTS, WORDS):
        if words > len(sample.flat) or dim % parts:
            continue
        pieces = np.split(sample.flat, parts, axis=1)
        found = [_means(piece, words) for piece in pieces]
        for level, stay in product(LEVELS[1:], STAYS):
            mean = _mean(sample, level)
            tensors, shown = [mean], []
            for piece, middle, (centres, counts) in zip(
                pieces, np.split(_restored(mean), parts, axis=1), found, strict=True
            ):
                book = _quantized(centres - middle, level / np.sqrt(counts))
                restored = _restored(book) + middle
                errors = np.square(restored).sum(1) - 2 * piece @ restored.T  # less the square of the piece
                codes = _staying(errors.reshape(frames, patches, words), stay)
                tensors += [book, QuantizedTensor(Part.CLIP, recency(codes, words)[None], np.zeros(1, np.uint8))]
                shown.append(restored[codes.ravel()])
            settings = f"parts={parts} words={words} level={level:.3g} stay={stay:g}"
            yield sample.point("product quantization", settings, tensors, np.concatenate(shown, axis=1))


METHODS: tuple[Callable[[Sample], Iterator[Point]], ...] = (
    constant,
    head,
    linear,
    basis,
    linear_and_basis,
    codebooks,
)


def front(points: Iterable[Point]) -> list[Point]:
    """The points that no smaller one comes near, by rising bytes."""
    kept: list[Point] = []
    for point in sorted(points, key=lambda p: (p.bytes, -p.clip_sim)):
        if not kept or point.clip_sim > kept[-1].clip_sim + LEAST_GAIN:
            kept.append(point)
    return kept


def widened(features: Floats, dim: int) -> Floats:
    """Features turned into more dimensions by a fixed map that keeps all cosines: [..., D] -> [..., dim]."""
    own = features.shape[-1]
    columns, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((dim, own)))
    return features @ columns.T


def _coefficients(sample: Sample, method: str, predict: bool) -> Iterator[Point]:
    frames, patches, _ = sample.features.shape
    for rank, level in product((r for r in RANKS if r <= len(sample.directions)), LEVELS):
        tensors, vectors, begun = _basis(sample, sample.directions[:rank], level, predict)
        rest = ((sample.flat - begun) @ np.linalg.pinv(vectors)).reshape(frames, patches, rank)
        for hold in HOLDS:
            coded, restored = _over_time(rest, level, hold)
            shown = begun + restored.reshape(-1, rank) @ vectors
            yield sample.point(method, f"rank={rank} level={level:.3g} hold={hold:g}", [*tensors, *coded], shown)


def _basis(
    sample: Sample, directions: Floats, level: float, predict: bool
) -> tuple[list[QuantizedTensor], Floats, Floats]:
    """Mean, vectors [rank, D] and, to predict, a map from inputs -> tensors, restored vectors, predictions [N, D]."""
    count = len(sample.flat)
    mean = _mean(sample, level)
    spread = sample.flat - _restored(mean)
    energy = np.square(spread @ directions.T).mean(0)
    basis = _quantized(directions, level / np.sqrt(count * energy + 1e-12))
    tensors, vectors = [mean, basis], _restored(basis)
    begun: Floats = np.broadcast_to(_restored(mean), sample.flat.shape)
    if predict:
        weights = sample.regression @ np.linalg.pinv(vectors)  # [C, rank]
        scale = np.square(sample.inputs).mean(0)
        mapped = _quantized(weights, level / np.sqrt(count * scale + 1e-12))
        # A decoder's inputs are not centred: what that adds to the coefficients is a vector of its own.
        offset = _quantized(sample.pooled.mean((0, 1))[None] @ _restored(mapped), level / count**0.5)
        inputs = sample.pooled.reshape(count, -1).astype(np.float64)
        begun = begun + (inputs @ _restored(mapped) - _restored(offset)) @ vectors
        tensors += [mapped, offset]
    return tensors, vectors, begun


def _over_time(values: Floats, level: float, hold: float) -> tuple[list[QuantizedTensor], Floats]:
    """Coefficients [T, patches, rank] -> tensors, restored: integers or their differences, whichever is shorter."""
    steps = nearest_step_index(max(level, float(np.abs(values).max()) / PEAK))[None]
    wanted = values / step(steps)
    integers = np.empty(values.shape, np.int64)
    integers[0] = np.rint(wanted[0])
    for t in range(1, len(values)):
        off = np.abs(wanted[t] - integers[t - 1])
        integers[t] = np.where(off <= hold, integers[t - 1], np.rint(wanted[t]))
    turned = integers.transpose(2, 1, 0)  # [rank, patches, T]
    ways = [[QuantizedTensor(Part.CLIP, turned, steps)]]
    changes = np.diff(turned)
    if changes.size and np.abs(changes).max() <= MAX_VALUE:
        ways.append([QuantizedTensor(Part.CLIP, part, steps) for part in (turned[..., 0], changes)])
    return min(ways, key=lambda way: sum(t.bits() for t in way)), integers.astype(np.float64) * step(steps)[0]


def _directions(spread: Floats) -> Floats:
    return np.linalg.svd(spread, full_matrices=False)[2]


def _mean(sample: Sample, level: float) -> QuantizedTensor:
    return _quantized(sample.flat.mean(0)[None], level / len(sample.flat) ** 0.5)


def _quantized(values: Floats, steps: float | Floats) -> QuantizedTensor:
    """Values [C, n] at steps near those asked for, one or one a channel, large enough that no integer is too large."""
    least = np.abs(values).max(1) / PEAK
    indices = nearest_step_index(np.maximum(np.broadcast_to(steps, len(values)), np.maximum(least, float(step(0)))))
    integers = np.rint(values / step(indices)[:, None]).clip(-MAX_VALUE, MAX_VALUE).astype(np.int16)
    return QuantizedTensor(Part.CLIP, integers, indices)


def _restored(tensor: QuantizedTensor) -> Floats:
    return tensor.values * step(tensor.steps).astype(np.float64)[:, None]


def _means(piece: Floats, words: int) -> tuple[Floats, Integers]:
    """k-means of vectors [N, d] -> centres [words, d], vectors of each."""
    cv2.setRNGSeed(0)
    stop = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 30, 1e-5)
    start = np.zeros((len(piece), 1), np.int32)  # not read: centres begin as k-means++ picks them
    _, labels, centres = cv2.kmeans(piece.astype(np.float32), words, start, stop, 1, cv2.KMEANS_PP_CENTERS)
    return centres.astype(np.float64), np.bincount(labels.ravel(), minlength=words).clip(1)


def _staying(errors: Floats, stay: float) -> Integers:
    """The word of each patch, [T, patches, words] -> [T, patches]."""
    codes = errors.argmin(-1)
    for t in range(1, len(codes)):
        kept = np.take_along_axis(errors[t], codes[t - 1][:, None], 1)[:, 0]
        codes[t] = np.where(kept <= errors[t].min(-1) + stay, codes[t - 1], codes[t])
    return codes


def recency(codes: Integers, words: int) -> NDArray[np.int16]:
    """Codes [T, patches] as how many other words a patch had since it last had this one: 0, 1, -1, 2, -2, ..."""
    often = np.argsort(-np.bincount(codes.ravel(), minlength=words), kind="stable").tolist()
    out = np.empty(codes.shape[::-1], np.int16)
    for patch, sequence in enumerate(codes.T.tolist()):
        order = list(often)
        for t, code in enumerate(sequence):
            place = order.index(code)
            order.insert(0, order.pop(place))
            out[patch, t] = (place + 1) // 2 * (1 if place % 2 else -1)
    return out
