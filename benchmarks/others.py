"""Curves that were measured elsewhere: a researcher's own method as rows beside ours.

A table with tabs or commas between the columns and a line of names at its top:

    name      clip   bytes   psnr   ms_ssim
    mine      bunny  20480   31.2   0.951

name, clip, one of bytes and bpp, and one quality at least; all columns of `Row` that are figures may stand there.
"""

from __future__ import annotations

import csv
import dataclasses
import math
import shutil
from collections.abc import Sequence
from pathlib import Path

from benchmarks.rows import Row

FIGURES = tuple(f.name for f in dataclasses.fields(Row) if f.type in ("float | None", "int | None"))
QUALITIES = ("psnr", "ms_ssim", "vmaf", "clip_sim", "clip_sim_decoded")
FOLDER = "curves"  # under a folder of results: the tables that belong to it


@dataclasses.dataclass(frozen=True)
class Point:
    """One line of a table."""

    place: str  # file:line
    name: str
    clip: str
    figures: dict[str, float]


def read(path: Path) -> list[Point]:
    """The lines of a table. Raises ValueError that names every line and column that is not understood."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text in UTF-8") from error
    lines = text.splitlines()
    head = lines[0] if lines else ""
    table = csv.reader(lines, delimiter="\t" if "\t" in head else ",")
    columns = [name.strip() for name in next(table, [])]
    wrong = [f"column '{name}'" for name in columns if name not in ("name", "clip", *FIGURES)]
    missing = [name for name in ("name", "clip") if name not in columns]
    if missing or not {"bytes", "bpp"} & {*columns} or not {*QUALITIES} & {*columns} or wrong:
        known = f"name, clip, bytes or bpp, one of {', '.join(QUALITIES)}; and any of {', '.join(FIGURES)}"
        raise ValueError(f"{path}:1: {'; '.join(wrong) or 'columns are missing'}: give {known}")
    points = []
    for number, cells in enumerate(table, start=2):
        if not any(cell.strip() for cell in cells):
            continue
        try:
            points.append(_point(f"{path.name}:{number}", columns, cells))
        except ValueError as error:
            wrong.append(f"{path}:{number}: {error}")
    if wrong:
        raise ValueError("\n".join(wrong))
    if not points:
        raise ValueError(f"{path} holds no points")
    return points


def keep(path: Path, folder: Path) -> None:
    """Put a table that `read` understands under a folder of results. Raises ValueError, OSError."""
    read(path)
    (folder / FOLDER).mkdir(parents=True, exist_ok=True)
    target = folder / FOLDER / path.name
    if path.resolve() != target.resolve():
        shutil.copyfile(path, target)


def under(folder: Path) -> list[Point]:
    """The points of all tables under a folder of results. Raises ValueError."""
    tables = sorted((folder / FOLDER).iterdir()) if (folder / FOLDER).is_dir() else []
    return [point for table in tables for point in read(table)]


def rows_of(points: Sequence[Point], known: Sequence[Row]) -> tuple[list[Row], list[str]]:
    """Points as rows on the clips of `known`, and, in words, those that have no such clip or take a codec's name."""
    clips = {row.clip: row for row in known}
    codecs = {row.codec for row in known}
    found, problems = [], []
    for point in points:
        if point.clip not in clips:
            problems.append(f"{point.place}: clip '{point.clip}' is none of {', '.join(clips) or 'no clips'}")
        elif point.name in codecs:
            problems.append(
                f"{point.place}: '{point.name}' is the name of a codec that was measured here: take another"
            )
        else:
            found.append(_row(point, clips[point.clip]))
    return found, problems


def _point(place: str, columns: list[str], cells: list[str]) -> Point:
    if len(cells) != len(columns):
        raise ValueError(f"{len(cells)} cells under {len(columns)} columns")
    texts = dict(zip(columns, (cell.strip() for cell in cells), strict=True))
    figures = {}
    for name, text in texts.items():
        if name in FIGURES and text:
            try:
                value = float(text)
            except ValueError:
                value = math.nan
            if not math.isfinite(value):
                raise ValueError(f"{name} '{text}' is no number")
            figures[name] = value
    if not texts["name"] or not texts["clip"]:
        raise ValueError("name or clip is empty")
    if figures.get("bytes", figures.get("bpp", 0)) <= 0:
        raise ValueError("bytes and bpp are empty, or not more than 0")
    if not {*QUALITIES} & {*figures}:
        raise ValueError(f"there is none of {', '.join(QUALITIES)}")
    return Point(place, texts["name"], texts["clip"], figures)


def _row(point: Point, clip: Row) -> Row:
    pixels = clip.frames * clip.height * clip.width
    figures = dict(point.figures)
    figures.setdefault("bpp", 8 * figures.get("bytes", 0) / pixels)
    figures.setdefault("bytes", figures["bpp"] * pixels / 8)
    whole = {name: round(figures[name]) for name in ("bytes", "epochs", "epochs_wanted") if name in figures}
    return Row(
        clip=clip.clip,
        clip_hash=clip.clip_hash,
        frames=clip.frames,
        height=clip.height,
        width=clip.width,
        codec=point.name,
        settings=point.place,
        version="",
        container="as given",
        note="figures as given, not measured here",
        **(figures | whole),  # type: ignore[arg-type]
    )
