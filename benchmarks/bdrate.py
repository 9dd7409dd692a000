"""Bjontegaard deltas between two rate-distortion curves, over the range they share and nowhere else.

Method: piecewise cubic Hermite interpolation of log rate over quality, as in the JCT-VC common test
conditions (Bjontegaard, VCEG-M33, 2001; Bossen, JCTVC-L1100, 2013), by the `bjontegaard` package.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import bjontegaard

Point = tuple[float, float]  # (rate, quality): any unit of rate, the same in both curves


@dataclass(frozen=True)
class Delta:
    """Test against anchor. A figure is None where the curves share no range, and `note` says so."""

    rate: float | None  # percent; negative: the test codec saves bits
    quality: float | None  # BD-PSNR in dB where quality is PSNR; positive: the test codec is better
    shared: tuple[float, float] | None  # lowest and highest quality the rate was averaged over
    note: str = ""


def delta(anchor: Sequence[Point], test: Sequence[Point]) -> Delta:
    """BD-rate and BD-PSNR of `test` against `anchor`, each over their common range."""
    ours, theirs = front(test), front(anchor)
    if min(len(ours), len(theirs)) < 2:
        return Delta(None, None, None, f"a curve needs 2 points, these have {len(theirs)} and {len(ours)}")
    notes = []
    dropped = len(test) - len(ours) + len(anchor) - len(theirs)
    if dropped:
        notes.append(f"points left out, another of the same codec being better at fewer bits: {dropped}")

    shared = _common([quality for _, quality in theirs], [quality for _, quality in ours])
    if shared is None:
        low, high = ours[0][1], ours[-1][1]
        notes.append(f"no common quality: {low:.2f} to {high:.2f} against {theirs[0][1]:.2f} to {theirs[-1][1]:.2f}")
    shared_rate = _common([rate for rate, _ in theirs], [rate for rate, _ in ours])
    if shared_rate is None:
        notes.append("no common rate")

    curves = (*map(list, zip(*theirs, strict=True)), *map(list, zip(*ours, strict=True)))
    options = {"method": "pchip", "require_matching_points": False, "min_overlap": 0}
    return Delta(
        rate=float(bjontegaard.bd_rate(*curves, **options)) if shared else None,
        quality=float(bjontegaard.bd_psnr(*curves, **options)) if shared_rate else None,
        shared=shared,
        note="; ".join(notes),
    )


def front(points: Sequence[Point]) -> list[Point]:
    """The points that no other beats at fewer or equal bits, by rising rate: interpolation needs a rising curve."""
    rising: list[Point] = []
    for rate, quality in sorted(points, key=lambda point: (point[0], -point[1])):
        if not rising or quality > rising[-1][1]:
            rising.append((rate, quality))
    return rising


def _common(a: list[float], b: list[float]) -> tuple[float, float] | None:
    low, high = max(min(a), min(b)), min(max(a), max(b))
    return (low, high) if low < high else None
