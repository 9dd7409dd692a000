"""`python -m benchmarks rd CLIP... --out DIR` measures; `python -m benchmarks table` writes the README's results."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import click
from rich.console import Console

from benchmarks import features as features_run
from benchmarks import others, report
from benchmarks import rd as rd_run
from benchmarks import table as readme_table
from benchmarks.anchors import ANCHORS
from benchmarks.machine import ROOT
from benchmarks.ours import DEFAULT_BPP, DEFAULT_QUALITIES, PREFIX, Ours
from benchmarks.process import CommandError
from codec.errors import CodecError
from codec.features.teacher import DEFAULT_MODEL, DEFAULT_PRETRAINED, CLIPManager
from codec.settings import QUALITY

T = TypeVar("T")

RESULTS = ROOT / "benchmarks" / "results"


def _words(context: click.Context, option: click.Parameter, value: str | None) -> tuple[str, ...] | None:
    return None if value is None else tuple(word.strip() for word in value.split(",") if word.strip())


def _rates(context: click.Context, option: click.Parameter, value: str) -> tuple[float, ...]:
    try:
        rates = tuple(float(word) for word in value.split(","))
    except ValueError:
        rates = ()
    if not rates or min(rates) <= 0:
        raise click.BadParameter(f"{value!r} is no list of bits per pixel, such as 0.02,0.04")
    return rates


def _crop(context: click.Context, option: click.Parameter, value: str | None) -> tuple[int, int] | None:
    if value is None:
        return None
    height, _, width = value.partition("_")
    if not (height.isdigit() and width.isdigit()):
        raise click.BadParameter(f"{value!r} is not HEIGHT_WIDTH, such as 352_640")
    return int(height), int(width)


_SHOW_OPTIONS = (
    click.option(
        "--curve",
        "tables",
        multiple=True,
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="Points measured elsewhere, beside these: a .tsv or .csv of name, clip, bytes or bpp, psnr, ...",
    ),
    click.option("--reference", "references", multiple=True, metavar="CODEC", help="Compare all codecs with this one."),
)


def _show_options(command: T) -> T:
    for add in reversed(_SHOW_OPTIONS):
        command = add(command)  # type: ignore[type-var]
    return command


def _keep(tables: tuple[Path, ...], out: Path) -> None:
    try:
        for path in tables:
            others.keep(path, out)
    except ValueError as error:
        raise click.ClickException(str(error)) from error


def _report(folder: Path, references: tuple[str, ...]) -> None:
    try:
        click.echo(report.write(folder, references, lambda message: click.echo(f"warning: {message}", err=True)))
    except ValueError as error:
        raise click.ClickException(str(error)) from error


@click.group()
def main() -> None:
    """Benchmarks of nvcodec."""


@main.command()
@click.argument("clips", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="Rows, plots and report.")
@click.option("--codecs", callback=_words, help=f"Of {', '.join(ANCHORS)}, {PREFIX}PRESET. Default: all anchors.")
@click.option("--preset", "presets", callback=_words, help="Presets of ours to add. Default: medium, without --codecs.")
@click.option(
    "--points",
    callback=_rates,
    default=",".join(map(str, DEFAULT_BPP)),
    show_default=True,
    help="Bits per pixel asked of grid, hnerv and reference.",
)
@click.option(
    "--qualities",
    callback=_rates,
    default=",".join(f"{quality:g}" for quality in DEFAULT_QUALITIES),
    show_default=True,
    help="Qualities asked of fast, medium and slow.",
)
@click.option("--minutes", type=click.FloatRange(min=0, min_open=True), help="Training time of each point of theirs.")
@click.option("--device", default="auto", show_default=True, help="For ours and for the teacher.")
@click.option("--clip-model", help="open_clip model: measure clip_sim as well.")
@click.option("--clip-pretrained", help="Its weights, by name or path.")
@click.option("--crop", callback=_crop, help="Centre crop of every clip, HEIGHT_WIDTH.")
@_show_options
def rd(
    clips: tuple[Path, ...],
    out: Path,
    codecs: tuple[str, ...] | None,
    presets: tuple[str, ...] | None,
    points: tuple[float, ...],
    qualities: tuple[float, ...],
    minutes: float | None,
    device: str,
    clip_model: str | None,
    clip_pretrained: str | None,
    crop: tuple[int, int] | None,
    tables: tuple[Path, ...],
    references: tuple[str, ...],
) -> None:
    """Measure rate and distortion of codecs on CLIPS. Points that stand under --out are not measured again."""
    if (clip_model is None) != (clip_pretrained is None):
        raise click.UsageError("--clip-model and --clip-pretrained go together")
    if len({clip.stem for clip in clips}) < len(clips):
        raise click.UsageError("two clips have the same name: rows could not be told apart")
    if presets is None:
        presets = ("medium",) if codecs is None else ()
    names = [*(ANCHORS if codecs is None else codecs), *(PREFIX + preset for preset in presets)]
    _keep(tables, out)
    teacher = (clip_model, clip_pretrained) if clip_model and clip_pretrained else None
    try:
        chosen = rd_run.choose(names, Ours("", points, minutes, device, teacher, qualities=qualities))
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    try:
        teaching = rd_run.Teaching.load(*teacher, device) if teacher else None
        failed = rd_run.run(clips, chosen, out, Console(stderr=True), crop, teaching)
    except (CodecError, CommandError) as error:
        raise click.ClickException(str(error)) from error
    _report(out, references)
    if failed:
        raise click.ClickException(f"{failed} points failed; their rows say why")


@main.command(name="report")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@_show_options
def render(folder: Path, tables: tuple[Path, ...], references: tuple[str, ...]) -> None:
    """Draw plots and page of the results in FOLDER again, without measuring."""
    if not (folder / "rows.jsonl").exists():
        raise click.ClickException(f"{folder} holds no results: there is no rows.jsonl in it")
    _keep(tables, folder)
    _report(folder, references)


@main.command()
@click.argument("clips", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="For table and plot.")
@click.option("--clip-model", default=DEFAULT_MODEL, show_default=True, help="The teacher, as of nvcodec encode.")
@click.option("--clip-pretrained", default=DEFAULT_PRETRAINED, show_default=True, help="Its weights, by name or path.")
@click.option("--frames", default=96, show_default=True, type=click.IntRange(min=2), help="Of each clip, the first.")
@click.option(
    "--dim", "dims", multiple=True, type=click.IntRange(min=1), help="Measure them turned into so many values too."
)
@click.option("--quality", default=QUALITY, show_default=True, type=click.FloatRange(0, 63), help="Of the clip.")
def features(
    clips: tuple[Path, ...],
    out: Path,
    clip_model: str,
    clip_pretrained: str,
    frames: int,
    dims: tuple[int, ...],
    quality: float,
) -> None:
    """Measure ways to hold the CLIP features of CLIPS: their bytes against clip_sim."""
    try:
        teacher = CLIPManager(clip_model, clip_pretrained)
        if any(dim <= teacher.identity.dim for dim in dims):
            raise click.UsageError(f"--dim is for more values than the teacher's own {teacher.identity.dim}")
        features_run.run(clips, teacher, out, frames, dims, quality, Console(stderr=True))
    except CodecError as error:
        raise click.ClickException(str(error)) from error


@main.command()
@click.option("--results", default=RESULTS, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--readme", default=ROOT / "README.md", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def table(results: Path, readme: Path) -> None:
    """Write the README's results table from the committed rows."""
    try:
        readme_table.write(results, readme)
    except ValueError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
