"""What the rows say, computed once for the plots, the report and the README: curves, deltas, speeds, losses."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.anchors import ANCHORS
from benchmarks.bdrate import Delta, delta
from benchmarks.ours import PREFIX
from benchmarks.rows import Row

X265 = "x265-veryslow"
HNERV = PREFIX + "hnerv"
REFERENCES = (X265, HNERV)  # every codec is compared with each of these
BASELINES = (HNERV, PREFIX + "reference")  # ours to run, but not what we stand for
DASH = "\N{EN DASH}"  # where there is no figure
_WORTH_SAYING = 1.05  # times as long


@dataclass(frozen=True)
class Curve:
    """One codec on one clip, by rising rate."""

    clip: str
    codec: str
    rows: tuple[Row, ...]

    def points(self, metric: str = "psnr") -> list[tuple[float, float]]:
        """(bpp, metric) of the rows that have it."""
        values = [(row.bpp, getattr(row, metric)) for row in self.rows]
        return [(bpp, value) for bpp, value in values if bpp is not None and value is not None]

    def even_points(self, metric: str) -> list[tuple[float, float]]:
        """The same, on a scale where equal steps look about equal: MS-SSIM as -10 log10(1 - x)."""
        if metric != "ms_ssim":
            return self.points(metric)
        return [(bpp, -10 * math.log10(max(1 - value, 1e-6))) for bpp, value in self.points(metric)]

    def middle(self, get: Callable[[Row], float | None]) -> float | None:
        """Median over the points."""
        return _median(get(row) for row in self.rows)


@dataclass(frozen=True)
class Score:
    """One codec against one reference: per clip, and the mean over the clips where the delta exists."""

    codec: str
    reference: str
    deltas: dict[str, Delta]  # by clip

    @property
    def rate(self) -> float | None:
        return _mean(delta.rate for delta in self.deltas.values())

    @property
    def quality(self) -> float | None:
        return _mean(delta.quality for delta in self.deltas.values())

    @property
    def clips_with_rate(self) -> int:
        return sum(delta.rate is not None for delta in self.deltas.values())


def label(codec: str) -> str:
    """A codec's name for a reader."""
    if codec in ANCHORS:
        return ANCHORS[codec].label
    if not codec.startswith(PREFIX):
        return codec
    preset = codec.removeprefix(PREFIX)
    return {"hnerv": "HNeRV (in-house)", "reference": "patch HNeRV (reference)"}.get(preset, f"nvcodec {preset}")


def is_ours(codec: str) -> bool:
    """Whether this is a preset we stand for: not an anchor, not a baseline."""
    return codec.startswith(PREFIX) and codec not in BASELINES


def order(codecs: Sequence[str]) -> list[str]:
    """Ours first, then the baselines, then those of others by name, then the anchors as listed."""
    known = set(codecs)
    ours = sorted(codec for codec in known if is_ours(codec))
    others = sorted(known - {*ours, *BASELINES, *ANCHORS})
    return [
        *ours,
        *(name for name in BASELINES if name in known),
        *others,
        *(name for name in ANCHORS if name in known),
    ]


def curves(rows: Sequence[Row]) -> dict[str, dict[str, Curve]]:
    """Good rows as curves: clip -> codec -> Curve, codecs in `order`."""
    found: dict[str, dict[str, list[Row]]] = {}
    for row in rows:
        found.setdefault(row.clip, {}).setdefault(row.codec, []).append(row)
    return {
        clip: {
            codec: Curve(clip, codec, tuple(sorted(by_codec[codec], key=lambda row: row.bpp or 0)))
            for codec in order(list(by_codec))
        }
        for clip, by_codec in found.items()
    }


def common(by_clip: dict[str, dict[str, Curve]]) -> dict[str, dict[str, Curve]]:
    """The clips that every codec was measured on."""
    codecs = {codec for of in by_clip.values() for codec in of}
    return {clip: of for clip, of in by_clip.items() if set(of) == codecs}


def mean_curves(
    by_clip: dict[str, dict[str, Curve]], metric: str, count: int = 24
) -> dict[str, list[tuple[float, float]]]:
    """Codec -> (bpp, mean over the clips of the metric at that bpp), where the codec's curves of all clips reach.

    Clips are the `common` ones. Between points: straight lines over log bpp. Codecs whose curves share no bpp: none.
    """
    shared = common(by_clip)
    found: dict[str, list[tuple[float, float]]] = {}
    for codec in order([codec for of in shared.values() for codec in of]):
        curves = [sorted(of[codec].even_points(metric)) for of in shared.values()]
        if not all(curves):
            continue
        low, high = max(curve[0][0] for curve in curves), min(curve[-1][0] for curve in curves)
        if low >= high:
            continue
        bpp = np.geomspace(low, high, count)
        values = [np.interp(np.log(bpp), np.log([b for b, _ in curve]), [v for _, v in curve]) for curve in curves]
        found[codec] = list(zip(bpp.tolist(), np.mean(values, axis=0).tolist(), strict=True))
    return found


def training_note(by_clip: dict[str, dict[str, Curve]], codec: str) -> str:
    """How many of its epochs a baseline of ours had, " (12 of 300 epochs)"; nothing for the others."""
    if codec not in BASELINES:
        return ""
    had = median_of(by_clip, codec, lambda row: row.epochs)
    wanted = median_of(by_clip, codec, lambda row: row.epochs_wanted)
    if had is None or wanted is None:
        return ""
    return f" ({had:.0f} of its {wanted:.0f} epochs)"


def byte_kinds(rows: Sequence[Row]) -> dict[str, list[str]]:
    """What bytes are told apart by -> the names there are, in the order of the reports: {"part": [...], ...}."""
    found: dict[str, list[str]] = {}
    for row in rows:
        for kind, sizes in (row.bytes_by or {}).items():
            names = found.setdefault(kind, [])
            names += [name for name in sizes if name not in names]
    return found


def scores(by_clip: dict[str, dict[str, Curve]], reference: str, metric: str = "psnr") -> list[Score]:
    """Every codec but the reference itself, on the clips that have both."""
    codecs = order([codec for clip in by_clip.values() for codec in clip])
    found = []
    for codec in codecs:
        deltas = {
            clip: delta(of[reference].even_points(metric), of[codec].even_points(metric))
            for clip, of in by_clip.items()
            if codec in of and reference in of
        }
        if deltas and codec != reference:
            found.append(Score(codec, reference, deltas))
    return found


def median_of(by_clip: dict[str, dict[str, Curve]], codec: str, get: Callable[[Row], float | None]) -> float | None:
    """Median over all rows of one codec."""
    return _median(get(row) for of in by_clip.values() if codec in of for row in of[codec].rows)


def budgets(by_clip: dict[str, dict[str, Curve]]) -> str:
    """What the points of a curve share beside the rate, in one sentence; nothing where no codec has such settings."""
    codecs: dict[str, list[str]] = {}
    for codec in order([codec for of in by_clip.values() for codec in of]):
        found = {row.budget for of in by_clip.values() if codec in of for row in of[codec].rows} - {""}
        if found:
            codecs.setdefault(" or ".join(sorted(found)), []).append(label(codec))
    said = [f"{', '.join(names)}: {words}" for words, names in codecs.items()]
    return f"Budget of every point: {'; '.join(said)}." if said else ""


def losses(by_clip: dict[str, dict[str, Curve]]) -> list[str]:
    """In plain words, where our presets are behind, and by how much.

    Against x265 veryslow: bits clip by clip, then time. Against the other anchors: bits, on average.
    """
    said: list[str | None] = []
    for score in scores(by_clip, X265):
        if is_ours(score.codec):
            both = {clip: by_clip[clip] for clip in score.deltas}
            said += [_behind(score.codec, clip, found) for clip, found in score.deltas.items()]
            said.append(_slower(score.codec, "encoding", both, lambda row: row.encode_seconds_per_frame))
            said.append(_slower(score.codec, "decoding", both, lambda row: row.decode_fps and 1 / row.decode_fps))
    for other in ANCHORS:
        if other != X265:
            said += [_behind_on_average(score) for score in scores(by_clip, other) if is_ours(score.codec)]
    return [line for line in said if line]


def _behind(codec: str, clip: str, found: Delta) -> str | None:
    """One clip where `codec` needs more bits than x265 veryslow, or where that cannot be said."""
    name, other = label(codec), label(X265)
    if found.rate is not None and found.shared is not None:
        low, high = found.shared
        more = f"{clip}: {name} needs {found.rate:.0f} % more bits than {other} ({low:.1f} to {high:.1f} dB)"
        lower = "" if found.quality is None else f"; at equal bits it is {-found.quality:.1f} dB below"
        return f"{more}{lower}." if found.rate > 0 else None
    if found.quality is not None:
        less = f"{clip}: {name} is {-found.quality:.1f} dB below {other} at equal bits; they share no PSNR."
        return less if found.quality < 0 else None
    return f"{clip}: {name} and {other} cannot be compared: {found.note}."


def _behind_on_average(score: Score) -> str | None:
    name, other = label(score.codec), label(score.reference)
    if score.rate is None:
        return f"{name} and {other} share no PSNR on any clip."
    more = (
        f"{name} needs {score.rate:.0f} % more bits than {other}, mean over {counted(score.clips_with_rate, 'clip')}."
    )
    return more if score.rate > 0 else None


def _slower(
    codec: str, what: str, by_clip: dict[str, dict[str, Curve]], seconds: Callable[[Row], float | None]
) -> str | None:
    ours, theirs = median_of(by_clip, codec, seconds), median_of(by_clip, X265, seconds)
    if not ours or not theirs or ours / theirs < _WORTH_SAYING:
        return None
    return (
        f"{label(codec)} takes {figures(ours / theirs)} times as long as {label(X265)} for {what} (median over points)."
    )


def counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def number(value: float | None, digits: int = 1, signed: bool = False) -> str:
    """A figure as text; a dash where there is none."""
    if value is None:
        return DASH
    return f"{value:{'+' if signed else ''},.{digits}f}".replace("-", "\N{MINUS SIGN}")


def figures(value: float | None) -> str:
    """A positive figure to three significant digits; a dash where there is none."""
    return number(value, 0 if value is None else max(0, 2 - math.floor(math.log10(value))))


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None
