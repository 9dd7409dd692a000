"""One self-contained HTML page from the rows: plots, BD-rates, tables, and the same picture from every codec."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2
import numpy as np
from PIL import Image

from benchmarks import plots, rows
from benchmarks.measure import frame_path, source_frame_path
from benchmarks.rows import Row
from benchmarks.summary import (
    REFERENCES,
    X265,
    Curve,
    Score,
    budgets,
    curves,
    figures,
    is_ours,
    label,
    losses,
    median_of,
    number,
    order,
    scores,
)

CROP = 160  # pixels a side, shown at twice the size
_QUALITY = 88  # of WebP, for whole frames only; crops are lossless


@dataclass(frozen=True)
class Picture:
    """One codec's middle frame beside the others'."""

    title: str
    caption: str
    frame: str  # data URI
    crop: str  # data URI


@dataclass(frozen=True)
class Section:
    """What the page shows of one clip."""

    clip: str
    facts: str
    plots: list[tuple[str, str]]  # (title, data URI)
    pictures: list[Picture]
    pictures_at: str
    curves: list[Curve]


def write(folder: Path) -> Path:
    """Draw plots and write `folder`/report.html from `folder`/rows.jsonl. Returns the page."""
    measured = rows.load(folder)
    good = rows.latest(measured)
    by_clip = curves(good)
    by_reference = {reference: scores(by_clip, reference) for reference in REFERENCES}
    names = order([row.codec for row in good])
    drawn = [
        ("Encoding time against BD-rate", plots.time_against_rate(by_reference[X265], by_clip, folder / "plots/time")),
        ("Decoding speed", plots.decode_speed(by_clip, names, folder / "plots/decode")),
    ]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["label"] = label
    environment.filters["score_note"] = _score_note
    environment.tests["ours"] = is_ours
    page = environment.get_template("report.html.j2").render(
        clips=list(by_clip),
        budgets=budgets(by_clip),
        by_reference={reference: found for reference, found in by_reference.items() if found},
        losses=losses(by_clip),
        have_ours=any(is_ours(name) for name in names),
        plots=[(title, _svg(path)) for title, path in drawn if path],
        sections=[_section(folder, clip, of) for clip, of in by_clip.items()],
        codecs=[_Codec.of(name, by_clip) for name in names],
        failures=rows.failures(measured),
        machines=sorted({row.machine for row in good}),
        crop=CROP,
        figures=figures,
        number=number,
    )
    out = folder / "report.html"
    out.write_text(page, encoding="utf-8")
    return out


@dataclass(frozen=True)
class _Codec:
    """What a reader must know about one codec."""

    name: str
    versions: list[str]
    commits: list[str]
    containers: list[str]
    command: str
    notes: list[str]
    encode: float | None  # seconds a frame, median
    decode: float | None  # frames a second, median
    encode_mib: float | None
    decode_mib: float | None

    @classmethod
    def of(cls, name: str, by_clip: dict[str, dict[str, Curve]]) -> _Codec:
        mine = [row for of in by_clip.values() if name in of for row in of[name].rows]
        return cls(
            name=name,
            versions=sorted({row.version for row in mine}),
            commits=sorted({row.commit for row in mine}),
            containers=sorted({row.container for row in mine}),
            command=mine[len(mine) // 2].encode_command,
            notes=sorted({row.note for row in mine if row.note}),
            encode=median_of(by_clip, name, lambda row: row.encode_seconds_per_frame),
            decode=median_of(by_clip, name, lambda row: row.decode_fps),
            encode_mib=median_of(by_clip, name, lambda row: row.encode_mib),
            decode_mib=median_of(by_clip, name, lambda row: row.decode_mib),
        )


def _section(folder: Path, clip: str, of: dict[str, Curve]) -> Section:
    row = next(iter(of.values())).rows[0]
    drawn = [(metric.title, plots.rd(of, metric, folder / f"plots/{clip}-{metric.field}")) for metric in plots.METRICS]
    pictures, at = _pictures(folder, clip, of)
    return Section(
        clip=clip,
        facts=f"{row.width}x{row.height}, {row.frames} frames",
        plots=[(title, _svg(path)) for title, path in drawn if path],
        pictures=pictures,
        pictures_at=at,
        curves=list(of.values()),
    )


def near(of: dict[str, Curve], bpp: float) -> list[Row]:
    """Of each codec the row nearest to `bpp`, on a log scale."""
    return [min(curve.rows, key=lambda row: abs(math.log((row.bpp or math.inf) / bpp))) for curve in of.values()]


def _pictures(folder: Path, clip: str, of: dict[str, Curve]) -> tuple[list[Picture], str]:
    """The source and every codec at about the same bpp: the middle point of our first codec, else of the first."""
    reference = source_frame_path(folder, clip)
    if not reference.exists():
        return [], ""
    lead = next(iter(of.values())).rows  # `order` puts ours first
    bpp = lead[(len(lead) - 1) // 2].bpp
    assert bpp is not None  # a good row has it
    shown = [(row, frame_path(folder, row)) for row in near(of, bpp)]
    shown = [(row, path) for row, path in shown if path.exists()]
    source = _load(reference)
    frames = [_load(path) for _, path in shown]
    top, left = _worst_window(source, frames)
    pictures = [_picture("source", "not coded", source, top, left)]
    for (row, _), frame in zip(shown, frames, strict=True):
        caption = f"{row.bpp:.4f} bpp, {row.psnr:.2f} dB ({row.settings})"
        pictures.append(_picture(label(row.codec), caption, frame, top, left))
    return pictures, f"frame {lead[0].frames // 2}, each codec at its point nearest to {bpp:.4f} bpp"


def _picture(title: str, caption: str, frame: np.ndarray, top: int, left: int) -> Picture:
    return Picture(
        title,
        caption,
        frame=_uri(frame, quality=_QUALITY),
        crop=_uri(frame[top : top + CROP, left : left + CROP], lossless=True),
    )


def _worst_window(source: np.ndarray, frames: Sequence[np.ndarray]) -> tuple[int, int]:
    """Top and left of the CROP x CROP window where the codecs together err most: chosen by no one's taste."""
    height, width = source.shape[:2]
    error = sum(
        (np.square(frame.astype(np.float64) - source).sum(axis=2) for frame in frames), np.zeros((height, width))
    )
    total = np.pad(error.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))  # of all above and to the left
    tall, wide = min(CROP, height), min(CROP, width)
    windows = total[tall:, wide:] - total[:-tall, wide:] - total[tall:, :-wide] + total[:-tall, :-wide]
    top, left = np.unravel_index(windows.argmax(), windows.shape)
    return int(top), int(left)


def _load(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


def _uri(frame: np.ndarray, **options: int) -> str:
    file = io.BytesIO()
    Image.fromarray(frame).save(file, "webp", **options)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"


def _svg(path: Path) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(path.read_bytes()).decode()}"


def _score_note(score: Score) -> str:
    """Why some clips of a score have no BD-rate, and which points were left out."""
    return "; ".join(f"{clip}: {delta.note}" for clip, delta in score.deltas.items() if delta.note)
