"""One self-contained HTML page from the rows: plots, BD-rates, tables, and the same picture from every codec."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import jinja2
import numpy as np
from PIL import Image, ImageSequence

from benchmarks import others, plots, rows
from benchmarks.measure import frame_path, motion_path, source_frame_path
from benchmarks.rows import Row
from benchmarks.summary import (
    REFERENCES,
    Curve,
    Score,
    budgets,
    byte_kinds,
    common,
    curves,
    figures,
    is_ours,
    label,
    losses,
    median_of,
    number,
    order,
    scores,
    training_note,
)

CROP = 160  # pixels a side, shown at twice the size
LIMIT = 5_000_000  # bytes of the page
_QUALITIES = (88, 80, 70, 55, 40)  # of WebP: the best with which the page keeps to the limit
_WIDTH = 640  # pixels: whole frames are no wider
_MOTION_MS = 120  # milliseconds a frame: slow, so that artefacts can be followed


@dataclass(frozen=True)
class Picture:
    """One codec's middle frame beside the others'."""

    title: str
    caption: str
    frame: str  # data URI
    crop: str  # data URI


@dataclass(frozen=True)
class Pictures:
    """The same frame of one clip from every codec."""

    still: list[Picture] = field(default_factory=list)
    at: str = ""  # where they are from, in words
    moving: list[tuple[str, str]] = field(default_factory=list)  # (title, data URI)


@dataclass(frozen=True)
class Section:
    """What the page shows of one clip."""

    clip: str
    facts: str
    plots: list[tuple[str, str]]  # (title, data URI)
    found: Pictures
    curves: list[Curve]
    byte_kinds: dict[str, list[str]]  # what bytes are told apart by -> the names there are


@dataclass(frozen=True)
class Compared:
    """One codec against a reference, by each quality."""

    psnr: Score
    ms_ssim: Score
    vmaf: Score


def write(folder: Path, references: Sequence[str] = (), warn: Callable[[str], object] = print) -> Path:
    """Draw plots and write `folder`/report.html from `folder`/rows.jsonl and the tables in `folder`/curves.

    references: codecs that all are compared with, `REFERENCES` if none. warn: is told of each point of a table that
    cannot be shown. Returns the page. Raises ValueError for rows or tables that cannot be read, and for a
    reference that was not measured.
    """
    measured = rows.load(folder)
    good = rows.latest(measured)
    given, problems = others.rows_of(others.under(folder), good)
    for problem in problems:
        warn(f"not shown: {problem}")
    good += given
    by_clip = curves(good)
    names = order([row.codec for row in good])
    if unknown := [reference for reference in references if reference not in names]:
        raise ValueError(f"no codec {unknown[0]} was measured in {folder}; there are {', '.join(names) or 'none'}")
    compared = {reference: _compared(by_clip, reference) for reference in references or REFERENCES}
    first = next(iter(compared))
    drawn = [
        (
            f"Encoding time against BD-rate to {label(first)}",
            plots.time_against_rate(by_clip, first, folder / "plots/time"),
        ),
        ("Decoding speed", plots.decode_speed(by_clip, names, folder / "plots/decode")),
    ]
    means = [
        (metric.title, plots.mean_rd(by_clip, metric, folder / f"plots/mean-{metric.field}"))
        for metric in plots.METRICS
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
    template = environment.get_template("report.html.j2")
    out, sections = folder / "report.html", [_section(folder, clip, of) for clip, of in by_clip.items()]
    for quality in _QUALITIES:
        page = template.render(
            clips=list(by_clip),
            same_clips=list(common(by_clip)),
            budgets=budgets(by_clip),
            by_reference={reference: found for reference, found in compared.items() if found},
            losses=losses(by_clip),
            have_ours=any(is_ours(name) for name in names),
            plots=[(title, _svg(path)) for title, path in drawn if path],
            means=[(title, _svg(path)) for title, path in means if path],
            sections=[
                replace(section, found=_pictures(folder, by_clip[section.clip], first, quality)) for section in sections
            ],
            codecs=[_Codec.of(name, by_clip) for name in names],
            failures=rows.failures(measured),
            problems=problems,
            machines=sorted({row.machine for row in good} - {""}),
            crop=CROP,
            figures=figures,
            number=number,
        )
        out.write_text(page, encoding="utf-8")
        if out.stat().st_size <= LIMIT:
            return out
    warn(f"{out} has {out.stat().st_size:,} bytes, over the {LIMIT:,} it should keep to: its tables and plots alone do")
    return out


def _compared(by_clip: dict[str, dict[str, Curve]], reference: str) -> list[Compared]:
    by_metric = [scores(by_clip, reference, metric) for metric in ("psnr", "ms_ssim", "vmaf")]
    return [Compared(*found) for found in zip(*by_metric, strict=True)]


@dataclass(frozen=True)
class _Codec:
    """What a reader must know about one codec."""

    name: str
    trained: str  # how much of its training it had, for a baseline
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
            trained=training_note(by_clip, name),
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
    """All but the pictures."""
    row = next(iter(of.values())).rows[0]
    drawn = [(metric.title, plots.rd(of, metric, folder / f"plots/{clip}-{metric.field}")) for metric in plots.METRICS]
    return Section(
        clip=clip,
        facts=f"{row.width}x{row.height}, {row.frames} frames",
        plots=[(title, _svg(path)) for title, path in drawn if path],
        found=Pictures(),
        curves=list(of.values()),
        byte_kinds=byte_kinds([row for curve in of.values() for row in curve.rows]),
    )


def near(of: dict[str, Curve], bpp: float) -> list[Row]:
    """Of each codec the row nearest to `bpp`, on a log scale."""
    return [min(curve.rows, key=lambda row: abs(math.log((row.bpp or math.inf) / bpp))) for curve in of.values()]


def _pictures(folder: Path, of: dict[str, Curve], reference: str, quality: int) -> Pictures:
    """The source and every codec at about the same bpp: the middle point of our first codec, else of the first."""
    lead = next(iter(of.values())).rows  # `order` puts ours first
    source_path = source_frame_path(folder, lead[0].clip)
    if not source_path.exists():
        return Pictures()
    bpp = lead[(len(lead) - 1) // 2].bpp
    assert bpp is not None  # a good row has it
    shown = [(row, frame_path(folder, row)) for row in near(of, bpp)]
    shown = [(row, path) for row, path in shown if path.exists()]
    source = _load(source_path)
    frames = [_load(path) for _, path in shown]
    top, left = _worst_window(source, frames)
    pictures = [_picture("source", "not coded", source, top, left, quality)]
    for (row, _), frame in zip(shown, frames, strict=True):
        caption = f"{row.bpp:.4f} bpp, {row.psnr:.2f} dB ({row.settings})"
        pictures.append(_picture(label(row.codec), caption, frame, top, left, quality))
    moving = [("source", source_path)]
    for codec in dict.fromkeys([shown[0][0].codec if shown else reference, reference]):
        moving += [(label(codec), path) for row, path in shown if row.codec == codec]
    return Pictures(
        pictures,
        f"frame {lead[0].frames // 2}, each codec at its point nearest to {bpp:.4f} bpp",
        [
            (title, _moving(motion_path(path), top, left, quality))
            for title, path in moving
            if motion_path(path).exists()
        ],
    )


def _picture(title: str, caption: str, frame: np.ndarray, top: int, left: int, quality: int) -> Picture:
    whole = Image.fromarray(frame)
    if whole.width > _WIDTH:
        whole = whole.resize((_WIDTH, round(whole.height * _WIDTH / whole.width)))
    return Picture(
        title,
        caption,
        frame=_uri([whole], quality=quality),
        crop=_uri([Image.fromarray(frame[top : top + CROP, left : left + CROP])], quality=min(95, quality + 7)),
    )


def _moving(path: Path, top: int, left: int, quality: int) -> str:
    """The window of a moving picture, as an animation that goes round."""
    with Image.open(path) as picture:
        box = (left, top, min(left + CROP, picture.width), min(top + CROP, picture.height))
        frames = [frame.convert("RGB").crop(box) for frame in ImageSequence.Iterator(picture)]
    return _uri(frames, quality=quality, duration=_MOTION_MS, loop=0)


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


def _uri(frames: list[Image.Image], **options: int) -> str:
    file = io.BytesIO()
    frames[0].save(file, "webp", save_all=len(frames) > 1, append_images=frames[1:], **options)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"


def _svg(path: Path) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(path.read_bytes()).decode()}"


def _score_note(score: Score) -> str:
    """Why some clips of a score have no BD-rate, and which points were left out."""
    return "; ".join(f"{clip}: {delta.note}" for clip, delta in score.deltas.items() if delta.note)
