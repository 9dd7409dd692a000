"""The README's results, written between two markers from the committed rows: nothing in it is typed by hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks import rows
from benchmarks.summary import (
    DASH,
    REFERENCES,
    X265,
    Curve,
    Score,
    budgets,
    common,
    curves,
    figures,
    label,
    median_of,
    number,
    order,
    scores,
    training_note,
)

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"


def render(folder: Path) -> str:
    """Markdown of the results under `folder`. Raises ValueError where it holds no good row.

    One table of the codecs that were measured on every clip. Where others were not, another of all codecs on the clips
    that they share: means over different clips would say nothing beside each other.
    """
    measured = curves(rows.latest(rows.load(folder)))
    if not measured:
        raise ValueError(f"no results in {folder}: run `python -m benchmarks rd CLIP... --out {folder}` first")
    everywhere = set.intersection(*map(set, measured.values()))
    parts = []
    if len(everywhere) > 1:
        parts.append({clip: {c: curve for c, curve in of.items() if c in everywhere} for clip, of in measured.items()})
    if common(measured) != measured:
        parts.append(common(measured) or measured)
    return "\n\n".join(map(_table, parts or [measured]))


def _table(by_clip: dict[str, dict[str, Curve]]) -> str:
    good = [row for of in by_clip.values() for curve in of.values() for row in curve.rows]
    against = {reference: {score.codec: score for score in scores(by_clip, reference)} for reference in REFERENCES}
    references = [reference for reference in REFERENCES if against[reference]]
    head = [
        "codec",
        *(f"BD-rate, BD-PSNR to {label(reference)} (clips)" for reference in references),
        "encode, s/frame",
        "decode, frames/s",
    ]
    lines = [line(head), line(["---", *["--:"] * (len(head) - 1)])]
    for codec in order([row.codec for row in good]):
        cells = [_rate(codec, reference, against[reference].get(codec)) for reference in references]
        speeds = (
            median_of(by_clip, codec, lambda row: row.encode_seconds_per_frame),
            median_of(by_clip, codec, lambda row: row.decode_fps),
        )
        lines.append(line([label(codec) + training_note(by_clip, codec), *cells, *map(figures, speeds)]))
    text = (
        f"BD-rate: bits for the same RGB PSNR, mean over clips; negative means fewer. In brackets the number of clips "
        f"where it exists, of those measured; {DASH}: none, the curves share no PSNR. "
        "BD-PSNR: dB at the same bits. Speeds: median over all points; encoding is the whole process, its start "
        "included, decoding counts from the second frame on. "
        f"Clips{', the same in every row' if common(by_clip) == by_clip else ''}: {', '.join(by_clip)}. "
        f"{budgets(by_clip)} Measured on {'; '.join(sorted({row.machine for row in good}))}."
    )
    return "\n".join([*lines, "", text, *_by_clip(by_clip)])


def _by_clip(by_clip: dict[str, dict[str, Curve]]) -> list[str]:
    """BD-rates on every clip, a line each codec; nothing where there is none to compare with."""
    found = scores(by_clip, X265)
    if not found:
        return []
    lines = [line([f"BD-rate to {label(X265)}", *by_clip]), line(["---", *["--:"] * len(by_clip)])]
    for score in found:
        deltas = (score.deltas.get(clip) for clip in by_clip)
        rates = (None if delta is None else delta.rate for delta in deltas)
        lines.append(line([label(score.codec), *map(_percent, rates)]))
    return ["", *lines]


def write(folder: Path, readme: Path) -> None:
    """Put the results under `folder` between the markers of `readme`.

    Raises ValueError where a marker is missing.
    """
    text = readme.read_text(encoding="utf-8")
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{readme} lacks the lines {BEGIN} and {END}, between which the results go")
    readme.write_text(f"{head}{BEGIN}\n{render(folder)}\n{END}{tail}", encoding="utf-8")


def line(cells: Sequence[str]) -> str:
    """A row of a table in Markdown."""
    return f"| {' | '.join(cells)} |"


def _rate(codec: str, reference: str, score: Score | None) -> str:
    if codec == reference:
        return "0 %"
    if score is None:
        return DASH
    quality = "" if score.quality is None else f", {number(score.quality, 1, signed=True)} dB"
    return f"{_percent(score.rate)}{quality} ({score.clips_with_rate} of {len(score.deltas)})"


def _percent(rate: float | None) -> str:
    return DASH if rate is None else f"{number(rate, 1, signed=True)} %"
