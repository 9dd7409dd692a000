"""Ways to hold the features of a clip in few bytes, measured as points of bytes and clip_sim.

Whatever a way holds are tensors as a segment has them, and its bytes are those of the coded segment. Mean and basis are
the encoder's own; what stands beside them is quantized as it quantizes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import cv2
import numpy as np
from numpy.typing import NDArray

from bitstream import Part, QuantizedTensor
from codec.encoding.predictive.features import (
    HOLDS,
    LEVELS,
    RANKS,
    CodedFeatures,
    FeatureCoder,
    Floats,
    quantized,
    restored,
)
from codec.network.predictive.features import write_features
from codec.quality import cosine

Integers = NDArray[np.int64]

PARTS = (1, 2, 4)  # of a vector, with a codebook each
WORDS = (2, 4, 8, 16, 32, 64)  # of a codebook
STAYS = (0.0, 0.05)  # a word stays until another's squared error is less by more
LEAST_GAIN = 0.001  # of clip_sim from one kept point to the next


@dataclass(frozen=True)
class Point:
    """One way at one setting."""

    method: str
    settings: str
    bytes: int
    clip_sim: float


@dataclass(frozen=True, eq=False)
class Sample:
    """A clip's features."""

    features: Floats  # [T, patches, D], of unit length

    @cached_property
    def flat(self) -> Floats:  # [N, D]
        return self.features.reshape(-1, self.features.shape[-1])

    @cached_property
    def coder(self) -> FeatureCoder:
        return FeatureCoder(self.features)

    def point(self, method: str, settings: str, tensors: Iterable[QuantizedTensor], shown: Floats) -> Point:
        """shown: the features that a decoder makes of the tensors, [N, D] of any length."""
        similarity = float(cosine(shown.reshape(self.features.shape), self.features).mean())
        return Point(method, settings, len(write_features(tuple(tensors))), similarity)


def constant(sample: Sample) -> Iterator[Point]:
    """The mean."""
    for level in LEVELS:
        yield _point("mean", f"level={level:.3g}", sample.coder.coded(0, level))


def basis(sample: Sample) -> Iterator[Point]:
    """What ships: the mean, and for every patch coefficients of a few vectors, as changes from frame to frame."""
    ranks = [rank for rank in RANKS if 0 < rank <= sample.coder.most]
    for rank, level, hold in product(ranks, LEVELS, HOLDS):
        settings = f"rank={rank} level={level:.3g} hold={hold:g}"
        yield _point("basis", settings, sample.coder.coded(rank, level, hold))


def _point(method: str, settings: str, coded: CodedFeatures) -> Point:
    return Point(method, settings, len(coded.payload), coded.clip_sim)


def codebooks(sample: Sample) -> Iterator[Point]:
    """Product quantization: for each part of every vector one of a few words."""
    frames, patches, dim = sample.features.shape
    for parts, words in product(PARTS, WORDS):
        if words > len(sample.flat) or dim % parts:
            continue
        pieces = np.split(sample.flat, parts, axis=1)
        found = [_means(piece, words) for piece in pieces]
        for level, stay in product(LEVELS[1:], STAYS):
            mean = quantized(sample.flat.mean(0)[None], level / len(sample.flat) ** 0.5)
            tensors, shown = [mean], []
            for piece, middle, (centres, counts) in zip(
                pieces, np.split(restored(mean), parts, axis=1), found, strict=True
            ):
                book = quantized(centres - middle, level / np.sqrt(counts))
                entries = restored(book) + middle
                errors = np.square(entries).sum(1) - 2 * piece @ entries.T  # less the square of the piece
                codes = _staying(errors.reshape(frames, patches, words), stay)
                tensors += [book, QuantizedTensor(Part.CLIP, recency(codes, words)[None], np.zeros(1, np.uint8))]
                shown.append(entries[codes.ravel()])
            settings = f"parts={parts} words={words} level={level:.3g} stay={stay:g}"
            yield sample.point("product quantization", settings, tensors, np.concatenate(shown, axis=1))


METHODS: tuple[Callable[[Sample], Iterator[Point]], ...] = (constant, basis, codebooks)


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
