"""Search in the features that files hold: a query's vector against every patch, as moments or as labels over time."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from bitstream.header import Teacher
from codec.errors import TeacherError
from codec.extras import missing
from codec.features.index import Featured, Progress, Warn, unit_vectors
from codec.features.teacher import CLIPManager

GAP = Fraction(1, 2)  # seconds: frames that fit and lie no further apart belong to one moment
WINDOW = Fraction(1)  # seconds over which the scores of a label are averaged


class _Timed(Protocol):
    def seconds(self, frame: int) -> Fraction: ...


class Searched(Featured, Protocol):
    """What is searched: a `NervReader`."""

    @property
    def name(self) -> str: ...

    @property
    def presentation(self) -> _Timed: ...


@dataclass(frozen=True)
class Moment:
    """A run of neighbouring frames that fit a query, and the best patch among them."""

    name: str  # of the file
    seconds: float  # when `frame` is shown
    frame: int  # of the best patch
    patch: tuple[int, int]  # its row, column
    score: float  # cosine of the query and the best patch; less that with what is not wanted
    start: int  # frames start..stop-1 fit
    stop: int

    @property
    def timecode(self) -> str:
        return timecode(self.seconds)


@dataclass(frozen=True)
class Stretch:
    """Frames start..stop-1, which one label fits better than the others."""

    start: int
    stop: int
    label: str
    score: float  # cosine of the label and the best patch of each frame, averaged


def timecode(seconds: float) -> str:
    """h:mm:ss.mmm, rounded down."""
    ms = int(seconds * 1000 + 1e-6)
    return f"{ms // 3_600_000}:{ms // 60_000 % 60:02d}:{ms // 1000 % 60:02d}.{ms % 1000:03d}"


def teacher_of(
    readers: Sequence[Searched],
    model: str | None = None,
    pretrained: str | None = None,
    device: str | torch.device = "cpu",
    warn: Warn = warnings.warn,
) -> CLIPManager:
    """The teacher whose features the files hold, for queries. model, pretrained: where the files' names do not find it.

    Raises TeacherError where the files hold no features or those of different teachers, where the teacher cannot be
    had, and where the one that is given is another.
    """
    named = [(reader.name, reader.header.teacher) for reader in readers]
    for name, teacher in named:
        if teacher is None:
            raise TeacherError(f"{name} holds no features: encode it with --clip on to search in it")
    name, wanted = named[0]
    assert wanted is not None
    for other, teacher in named:
        if teacher is not None and not _same(teacher, wanted):
            raise TeacherError(
                f"{name} and {other} have different teachers, {_words(wanted)} and {_words(teacher)}: "
                "no score compares the two; search one at a time"
            )
    if (lack := missing("open_clip")) is not None:
        raise TeacherError(f"a query needs the teacher of {name}, {_words(wanted)}: {lack}")
    if wanted.digest and pretrained is None:
        raise TeacherError(
            f"the features of {name} are those of {_words(wanted)}, a checkpoint file: "
            f"name it with --clip-pretrained FILE, and its configuration with --clip-model where open_clip has no "
            f"{wanted.model}"
        )
    manager = CLIPManager(model or wanted.model, pretrained or wanted.pretrained, device, warn=warn)
    if not _same(manager.identity, wanted):
        raise TeacherError(
            f"the features of {name} are those of {_words(wanted)}, not of {_words(manager.identity)}: "
            + (
                "give the checkpoint that it was encoded with as --clip-pretrained"
                if wanted.digest
                else "leave out --clip-model and --clip-pretrained"
            )
        )
    return manager


def search(
    readers: Sequence[Searched],
    text: str | None = None,
    *,
    image: NDArray[np.uint8] | None = None,
    without: str | None = None,
    top: int = 10,
    teacher: CLIPManager | None = None,
    progress: Progress = lambda done, total: None,
    warn: Warn = warnings.warn,
) -> list[Moment]:
    """The `top` moments of all files that fit best, best first.

    text, image (uint8 [H, W, 3]): what to look for, both: what fits the two. without: what is not wanted.
    teacher: from `teacher_of`, which is asked where it is not given. Runs the teacher's text tower, and its image tower
    for `image`; never on the video. Raises TeacherError as `teacher_of`, ValueError for an empty query.
    """
    if text is None and image is None:
        raise ValueError("nothing to look for: give a text, an image, or both")
    teacher = teacher or teacher_of(readers, warn=warn)
    query = _query(teacher, text, image, without)
    found: list[Moment] = []
    for reader in readers:
        scores = _scores(unit_vectors(reader, progress=progress, warn=warn), query)
        found += _moments(reader, scores, top)
    return sorted(found, key=lambda moment: -moment.score)[:top]


def label(
    reader: Searched,
    labels: Sequence[str],
    *,
    teacher: CLIPManager | None = None,
    window: Fraction = WINDOW,
    progress: Progress = lambda done, total: None,
    warn: Warn = warnings.warn,
) -> tuple[list[Stretch], NDArray[np.float32]]:
    """What each part of a file shows: stretches of frames with their label, and all scores, float32 [T, labels].

    The score of a label in a frame is that of its best patch, averaged over `window` seconds around the frame.
    Raises TeacherError as `teacher_of`, ValueError for no labels.
    """
    if not labels:
        raise ValueError("no labels: give one a line")
    teacher = teacher or teacher_of([reader], warn=warn)
    vectors = unit_vectors(reader, progress=progress, warn=warn)
    scores = np.stack([_scores(vectors, query).max(1) for query in teacher.text(labels)], axis=1)
    scores = _smoothed(scores, round(window * reader.header.fps))
    best = scores.argmax(1)
    edges = [0, *(np.flatnonzero(np.diff(best)) + 1).tolist(), len(best)]
    stretches = [
        Stretch(start, stop, labels[best[start]], float(scores[start:stop, best[start]].mean()))
        for start, stop in pairwise(edges)
    ]
    return stretches, scores


def _query(
    teacher: CLIPManager, text: str | None, image: NDArray[np.uint8] | None, without: str | None
) -> NDArray[np.float32]:
    """float32 [D]: the mean of what is wanted, of unit length, less what is not."""
    wanted = np.zeros(teacher.identity.dim, np.float32)
    if text is not None:
        wanted += teacher.text([text])[0]
    if image is not None:
        wanted += teacher.image(image)
    wanted /= max(float(np.linalg.norm(wanted)), 1e-6)
    return wanted if without is None else wanted - teacher.text([without])[0]


def _scores(vectors: NDArray[np.float16], query: NDArray[np.float32]) -> NDArray[np.float32]:
    """float16 [T, patches, D] times [D] -> [T, patches]: one product that reads the index once, as it lies on disk."""
    flat = torch.from_numpy(vectors.reshape(-1, vectors.shape[-1]))
    scores: NDArray[np.float32] = (flat @ torch.from_numpy(query).half()).float().numpy()
    return scores.reshape(vectors.shape[:2])


def _moments(reader: Searched, scores: NDArray[np.float32], top: int) -> list[Moment]:
    """Peaks over time. A moment reaches as far as frames score better than halfway from the file's median to its peak.

    Frames below the median are no moments: `top` may bring fewer.
    """
    best, gap = scores.max(1), max(1, round(GAP * reader.header.fps))
    usual = float(np.median(best))
    free = np.ones(len(best), bool)
    found: list[Moment] = []
    while len(found) < top and free.any():
        frame = int(np.where(free, best, -np.inf).argmax())
        if found and best[frame] <= usual:
            break
        fits = np.flatnonzero(free & (best >= (best[frame] + usual) / 2))  # `frame` is one of them
        place = int(fits.searchsorted(frame))
        breaks = np.flatnonzero(np.diff(fits) > gap)  # a run ends with each of these and begins after it
        after = int(breaks.searchsorted(place))
        first = breaks[after - 1] + 1 if after else 0
        last = breaks[after] if after < len(breaks) else len(fits) - 1
        start, stop = int(fits[first]), int(fits[last]) + 1
        patch = divmod(int(scores[frame].argmax()), reader.header.grid[1])
        seconds = float(reader.presentation.seconds(frame))
        found.append(Moment(reader.name, seconds, frame, patch, float(best[frame]), start, stop))
        free[max(0, start - gap) : stop + gap] = False
    return found


def _smoothed(scores: NDArray[np.float32], width: int) -> NDArray[np.float32]:
    """Mean of [T, n] over `width` frames around each, fewer at the ends."""
    before, after = (width - 1) // 2 if width else 0, width // 2
    sums = np.concatenate([np.zeros((1, scores.shape[1])), scores.cumsum(0, dtype=np.float64)])
    t = np.arange(len(scores))
    low, high = np.maximum(t - before, 0), np.minimum(t + after + 1, len(scores))
    return ((sums[high] - sums[low]) / (high - low)[:, None]).astype(np.float32)


def _same(one: Teacher, other: Teacher) -> bool:
    """Whether two teachers give the same features: published weights by name, a checkpoint by its digest."""
    if (one.model, one.dim, one.digest) != (other.model, other.dim, other.digest):
        return False
    return bool(one.digest) or one.pretrained == other.pretrained


def _words(teacher: Teacher) -> str:
    return f"{teacher.model} / {teacher.pretrained}" + (f" (SHA-256 {teacher.digest}...)" if teacher.digest else "")
