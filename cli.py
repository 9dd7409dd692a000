"""The nvcodec command line: options to settings, results to text. No logic of its own."""

from __future__ import annotations

import json
import re
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import fields, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar

import click

from bitstream import BitstreamError, Limits
from codec import console
from codec.errors import CodecError
from codec.help import GroupedCommand, GroupedOption, Program
from codec.options import Setting, Wholes, declared
from codec.settings import DEFAULT_PRESET, GROUPS, MODELS, PRESETS, PRESETS_HELP, Settings, SourceSettings
from codec.versions import installed

T = TypeVar("T", bound=Callable[..., Any])

SAME_WITH_UNDERSCORES = {
    "token_normalize_func": lambda token: token.replace("_", "-"),
    "help_option_names": ["-h", "--help"],
    "max_content_width": 110,
}


class Parsed(click.ParamType):  # type: ignore[type-arg]
    """A value in one of the family's spellings, parsed by `parse`, which raises ValueError."""

    def __init__(self, name: str, parse: Callable[[str], Any]) -> None:
        self.name, self._parse = name, parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return self._parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


PATCH = Wholes(0, 254, "R,C", "1,0, a row and a column", 2, 2)


def rate(text: str) -> Fraction:
    match = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)(?:/([1-9][0-9]{0,6}))?", text.strip())
    found = Fraction(match[1]) / int(match[2] or 1) if match else Fraction(0)
    if not 0 < found <= 10**6 or found.denominator > 10**6:
        raise ValueError(f"'{text}' is not a rate such as 30 or 30000/1001")
    return found


def frame_range(text: str) -> tuple[int, int | None]:
    if not (match := re.fullmatch("([0-9]{0,18})(:?)([0-9]{0,18})", text.strip())) or text.strip() in ("", ":"):
        raise ValueError(f"'{text}' is not a range of frames such as 10:20, 10:, :20 or 10")
    start, colon, stop = match.groups()
    if not colon:
        return int(start), int(start) + 1
    return int(start or 0), int(stop) if stop else None


def filename(text: str) -> str:
    if text in ("", "-"):
        raise ValueError(f"'{text}' is no name of a file: only decode -o writes to a pipe, and nothing reads from one")
    return text


def output_name(text: str) -> str:
    return text if text == "-" else filename(text)


def limits(changes: tuple[str, ...]) -> Limits:
    """--limit NAME=VALUE ... -> Limits."""
    found: dict[str, int] = {}
    for change in changes:
        name, _, value = change.partition("=")
        if name not in Limits.__dataclass_fields__ or not re.fullmatch("[0-9]{1,18}", value):
            raise click.UsageError(
                f"--limit {change}: give NAME=NUMBER with a NAME of {', '.join(Limits.__dataclass_fields__)}"
            )
        found[name] = int(value)
    return replace(Limits(), **found)


@contextmanager
def failures(encoding: str | None = None) -> Iterator[None]:
    """Errors that a user can mend end with their message and exit code 1, wrong values with 2, interrupts with 130.

    encoding: an output that an interrupt may leave half done.
    An interrupt is Ctrl-C, SIGTERM, or a terminal that goes away; not where whoever started us had it ignored.
    """

    def stop(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    heard = [s for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if signal.getsignal(s) is not signal.SIG_IGN]
    before = {number: signal.signal(number, stop) for number in heard}
    try:
        yield
    except (CodecError, BitstreamError) as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(f"{error.filename or 'input'}: {error.strerror or error}") from error
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and "memory" not in str(error):  # torch's is a RuntimeError
            raise
        raise click.ClickException("not enough memory: try a smaller --segment, --batch or --batch-size") from error
    except KeyboardInterrupt:
        click.echo("interrupted" + (how_to_go_on(encoding) if encoding else ""), err=True)
        sys.exit(130)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def how_to_go_on(output: str) -> str:
    from codec.encoding.job import is_resumable

    return ": give the same command with --resume to go on from here" if is_resumable(Path(output)) else ""


def show(result: dict[str, Any], as_json: bool, text: str) -> None:
    click.echo(json.dumps(result, indent=2) if as_json else console.fitted(text, sys.stdout))


@click.group(cls=Program, context_settings=SAME_WITH_UNDERSCORES)
@click.version_option(installed("nvcodec"), prog_name="nvcodec")
def main() -> None:
    """A video codec whose compressed file is a small neural network.

    \b
    nvcodec encode video.mp4 -o v.nerv     overfit a network to the video
    nvcodec decode v.nerv -o out.mp4       rebuild the frames
    nvcodec search "a dog" v.nerv          when it shows something
    nvcodec label v.nerv labels.txt        what it shows, over time
    nvcodec info v.nerv                    what is in it
    nvcodec verify v.nerv                  whether all of it is intact
    """


# Options of an encode that are no settings: they do not change what is encoded, or only how a source is read.
OTHER_OPTIONS = {
    "Source": (
        click.option(
            "--fps",
            type=Parsed("RATE", rate),
            help="Frame rate of a directory of images: 30 or 30000/1001.",
            cls=GroupedOption,
            group="Source",
        ),
    ),
    "Training": (
        click.option(
            "--log-dir",
            type=Parsed("DIRECTORY", filename),
            help="Write TensorBoard logs into this directory.",
            cls=GroupedOption,
            group="Training",
        ),
    ),
}


def encode_options(command: T) -> T:
    """Every setting as an option; what is not given, the preset decides."""
    groups = [
        kind for group in GROUPS for kind in (MODELS if group == "model" else (type(getattr(Settings(), group)),))
    ]
    seen: set[str] = set()
    for settings in reversed(groups):
        for add in OTHER_OPTIONS.get(settings.title, ()):
            command = add(command)
        for entry in reversed([e for e in map(declared, fields(settings)) if e.name not in seen]):
            seen.add(entry.name)
            command = option_of(entry, settings.title)(command)
    return command


def option_of(entry: Setting, group: str) -> Callable[[Any], Any]:
    """A setting as an option."""
    how: dict[str, Any] = {"is_flag": True, "default": None}
    if entry.kind.metavar:
        how = {"type": Parsed(entry.kind.metavar, entry.kind.parse), "metavar": entry.kind.metavar}
    return click.option(*entry.flags, entry.name, **how, help=entry.help, cls=GroupedOption, group=group)


def cut_options(command: T) -> T:
    """How a source is cut, as encode has it."""
    for entry in reversed([e for e in map(declared, fields(SourceSettings)) if e.name in ("crop", "resize")]):
        command = option_of(entry, "Options")(command)
    return command


def settings_of(preset: str, given: dict[str, Any]) -> Settings:
    """A preset with the options that were given; click.UsageError for values that are out of range or contradict."""
    try:
        return PRESETS[preset].override(**given)
    except ValueError as error:
        raise click.UsageError(str(error)) from error


@main.command(cls=GroupedCommand, context_settings=SAME_WITH_UNDERSCORES)
@click.argument("source", type=Parsed("SOURCE", filename))
@click.option("-o", "--output", type=Parsed("FILE", filename), help="The .nerv file to write.")
@click.option(
    "--preset",
    type=click.Choice(list(PRESETS)),
    default=DEFAULT_PRESET,
    show_default=True,
    metavar="NAME",
    help=PRESETS_HELP,
)
@click.option("--device", default="auto", metavar="NAME", show_default=True, help="auto, cpu, cuda, cuda:N or mps.")
@click.option("--resume", is_flag=True, help="Go on from where an interrupted encode of this output stopped.")
@click.option(
    "--force", is_flag=True, help="Replace an existing output, or an interrupted encode of it; take any suffix."
)
@click.option("--report", type=Parsed("FILE", filename), help="Write the report to this JSON file.")
@click.option("--json", "as_json", is_flag=True, help="Print the report instead of a summary.")
@click.option("--quiet", is_flag=True, help="No progress, no summary; warnings stay.")
@click.option("--dry-run", is_flag=True, help="Say what it takes, after some first steps, and write nothing.")
@encode_options
def encode(
    source: str,
    output: str | None,
    preset: str,
    fps: Fraction | None,
    device: str,
    resume: bool,
    force: bool,
    log_dir: str | None,
    report: str | None,
    as_json: bool,
    quiet: bool,
    dry_run: bool,
    **given: Any,
) -> None:
    """Encode SOURCE, a video file or a directory of images.

    What is not given, the preset decides. Options are spelled --dec-strds or --dec_strds, lists '5 3 2', 5,3,2 or
    5_3_2. --resume goes on with an interrupted encode, which loses a minute of training at most, or, where frames are
    predicted, the segment it was in. The report holds settings, measurements, bytes by part and seconds by phase.

    \b
    nvcodec encode video.mp4 -o v.nerv --quality 40
    nvcodec encode video.mp4 --preset slow --dry-run
    nvcodec encode video.mp4 -o v.nerv --preset fast --size 300k
    nvcodec encode frames/ -o v.nerv --preset reference --epochs 30
    nvcodec encode video.mp4 -o v.nerv --clip on --clip-pretrained weights.pt
    """
    if output is None and not dry_run:
        raise click.UsageError("Missing option '-o' / '--output': name the .nerv file to write")
    with failures(output):
        settings = settings_of(preset, given)
        from codec.bars import Bars
        from codec.encoding import pipeline
        from codec.encoding.progress import Silent

        with nullcontext(Silent()) if quiet else Bars() as progress:
            options: dict[str, Any] = {"device": device, "fps": fps, "progress": progress, "warn": console.warn}
            if output is None or dry_run:
                result = pipeline.estimate(source, settings, **options).as_json()
                text = console.foreseen(result, whole=True)
            else:
                options |= {"resume": resume, "force": force, "report": report, "log_dir": log_dir}
                result = pipeline.encode(source, output, settings, **options)
                text = "" if quiet else console.encoded(result, output)
    if as_json or not quiet:
        show(result, as_json, text)


READ_OPTIONS = (
    click.option("--device", default="auto", metavar="NAME", show_default=True, help="auto, cpu, cuda, cuda:N or mps."),
    click.option("--limit", "limit", multiple=True, metavar="NAME=N", help="Raise a limit on what a file may declare."),
)


def read_options(command: T) -> T:
    for add in reversed(READ_OPTIONS):
        command = add(command)
    return command


@main.command(cls=GroupedCommand, context_settings=SAME_WITH_UNDERSCORES)
@click.argument("path", type=Parsed("PATH", filename))
@click.option(
    "-o",
    "--output",
    type=Parsed("OUTPUT", output_name),
    help=".mp4, .mkv, .y4m, .png (one frame), a directory for PNGs (ending in /), or - for a pipe.",
)
@click.option(
    "--frames", type=Parsed("A:B", frame_range), default=(0, None), help="Only these frames: 10:20, 10:, :20, or 10."
)
@click.option(
    "--patch",
    type=Parsed("R,C", PATCH.parse),
    help="Only this patch of every frame: row,column, from 0.",
)
@click.option(
    "--features",
    type=Parsed("FILE", filename),
    help="Write CLIP features, coordinates and the teacher's name to this .npz; alone, no frame is decoded for it.",
)
@click.option("--crf", type=click.IntRange(0, 51), metavar="N", help="Quality of .mp4 and .mkv: 0, lossless, to 51.")
@click.option("--pipe-format", type=click.Choice(["rgb24", "y4m"]), help="What -o - writes; rgb24 if not given.")
@click.option("--batch", type=click.IntRange(1), metavar="N", help="Frames decoded together.")
@click.option("--skip-damaged", is_flag=True, help="Leave out the frames of damaged segments instead of stopping.")
@click.option("--force", is_flag=True, help="Replace an existing output.")
@click.option("--quiet", is_flag=True, help="No progress, no summary; warnings stay.")
@read_options
def decode(
    path: str,
    output: str | None,
    frames: tuple[int, int | None],
    patch: tuple[int, int] | None,
    features: str | None,
    crf: int | None,
    pipe_format: str | None,
    batch: int | None,
    skip_damaged: bool,
    force: bool,
    quiet: bool,
    device: str,
    limit: tuple[str, ...],
) -> None:
    """Decode PATH, a .nerv file: all of it, or what is asked for.

    Only what is asked for is computed: some frames, one patch, or the features, which do not need the pixels.

    \b
    nvcodec decode v.nerv -o out.mp4
    nvcodec decode v.nerv -o still.png --frames 40
    nvcodec decode v.nerv -o corner.mkv --patch 0,3
    nvcodec decode v.nerv -o - --pipe-format y4m | ffplay -
    nvcodec decode v.nerv --features v.npz
    """
    if output is None and features is None:
        raise click.UsageError("nothing to write: give -o OUTPUT, --features FILE.npz, or both")
    if crf is not None and not (output or "").lower().endswith((".mp4", ".mkv")):
        raise click.UsageError("--crf is the quality of .mp4 and .mkv alone")
    if pipe_format is not None and output != "-":
        raise click.UsageError("--pipe-format is what -o - writes")
    if output == "-" and sys.stdout.isatty():
        raise click.UsageError("standard output is a terminal: pipe it to a program or a file")
    from codec.bars import counting

    with failures(), counting("decoding", quiet) as progress:
        from codec.decoding.outputs import decode as run

        count = run(
            path,
            sys.stdout.buffer if output == "-" else output,
            frames=frames,
            patch=patch,
            features=features,
            crf=crf,
            pipe_format=pipe_format or "rgb24",
            device=device,
            batch=batch,
            limits=limits(limit),
            skip_damaged=skip_damaged,
            force=force,
            progress=progress,
            warn=console.warn,
        )
    if not quiet and output != "-":
        written = ", ".join(str(name) for name in (output, features) if name)
        click.echo(f"{written}: {count} frames")


@main.command(cls=GroupedCommand, context_settings=SAME_WITH_UNDERSCORES)
@click.argument("path", type=Parsed("PATH", filename))
@click.option("--json", "as_json", is_flag=True, help="For machines.")
@click.option("--limit", "limit", multiple=True, metavar="NAME=N", help="Raise a limit on what a file may declare.")
def info(path: str, as_json: bool, limit: tuple[str, ...]) -> None:
    """Say what PATH, a .nerv file, holds.

    Frames, size, rate, network, teacher, bytes by part, and the quality that the encoder measured.
    """
    with failures():
        from codec.decoding.info import info as run

        result = run(path, limits(limit))
    show(result, as_json, console.described(result, path))


@main.command(cls=GroupedCommand, context_settings=SAME_WITH_UNDERSCORES)
@click.argument("path", type=Parsed("PATH", filename))
@click.option(
    "--against", type=Parsed("SOURCE", filename), help="The source: measure PSNR and MS-SSIM of the decoded frames."
)
@cut_options
@click.option("--json", "as_json", is_flag=True, help="For machines.")
@click.option("--quiet", is_flag=True, help="No progress.")
@read_options
def verify(
    path: str,
    against: str | None,
    crop: Any,
    resize: Any,
    as_json: bool,
    quiet: bool,
    device: str,
    limit: tuple[str, ...],
) -> None:
    """Check PATH, a .nerv file: every checksum and frame.

    Exits with 0 only when all holds. The file does not record how its source was cut: with --against, repeat the
    --crop-list and --resize-list of its encode (the preset reference crops to 640_1280).
    """
    if (crop or resize) and against is None:
        raise click.UsageError("--crop-list and --resize-list cut the SOURCE of --against")
    from codec.bars import counting

    with failures(), counting("verifying", quiet) as progress:
        from codec.decoding.verify import verify as run

        result = run(
            path,
            against,
            crop=crop or None,
            resize=resize or None,
            device=device,
            limits=limits(limit),
            progress=progress,
        )
    show(result, as_json, console.verified(result, path))
    if not result["ok"]:
        sys.exit(1)


QUERY_OPTIONS = (
    click.option("--clip-model", metavar="NAME", help="The file's teacher, where open_clip has no model of its name."),
    click.option("--clip-pretrained", metavar="NAME", help="Its weights, where they are a checkpoint file."),
    click.option("--force", is_flag=True, help="Replace an existing picture."),
    click.option("--quiet", is_flag=True, help="No progress; warnings stay."),
    *READ_OPTIONS,
)


def query_options(command: T) -> T:
    for add in reversed(QUERY_OPTIONS):
        command = add(command)
    return command


@main.command(cls=GroupedCommand, context_settings=SAME_WITH_UNDERSCORES)
@click.argument("words", nargs=-1, metavar="[TEXT] PATH...")
@click.option("--image", type=Parsed("FILE", filename), help="A picture to look for; then TEXT may be left out.")
@click.option("--not", "without", metavar="TEXT", help="What is not wanted.")
@click.option("--top", type=click.IntRange(1), default=10, show_default=True, metavar="N", help="Moments at most.")
@click.option("--sheet", type=Parsed("FILE", filename), help="Write a contact sheet, found patches framed: .png, .jpg.")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
@query_options
def search(
    words: tuple[str, ...],
    image: str | None,
    without: str | None,
    top: int,
    sheet: str | None,
    as_json: bool,
    clip_model: str | None,
    clip_pretrained: str | None,
    force: bool,
    quiet: bool,
    device: str,
    limit: tuple[str, ...],
) -> None:
    """Find the moments of files that fit a text or picture.

    Best first. PATHs are .nerv files, or directories of them. The search reads the features in the files: CLIP runs on
    the query alone, and no frame is decoded but those of --sheet. With --image, TEXT may be left out.

    \b
    nvcodec search "a dog running" v.nerv more/ --top 5
    nvcodec search "a dog" v.nerv --not "a cat" --sheet hits.png
    nvcodec search --image query.jpg v.nerv
    """
    text, paths = split_query(words, image is not None)
    from codec.bars import counting

    with failures(), counting("indexing", quiet) as progress:
        from codec import video
        from codec.atomic import check_outputs
        from codec.decoding.collection import open_files
        from codec.features import search as run
        from codec.features import teacher_of
        from codec.features.pictures import check_picture_name, contact_sheet, write_picture

        readers = open_files(paths, device, limits(limit), features=True, warn=console.warn)
        if sheet is not None:
            check_picture_name(sheet)
            check_outputs([(sheet, None)], [*(reader.name for reader in readers), *([image] if image else [])], force)
        picture = next(iter(video.frames(image, stop=1))) if image else None
        teacher = teacher_of(readers, clip_model, clip_pretrained, readers[0].device, console.warn)
        found = run(
            readers,
            text,
            image=picture,
            without=without,
            top=top,
            teacher=teacher,
            progress=progress,
            warn=console.warn,
        )
        if sheet is not None:
            by_name = {reader.name: reader for reader in readers}
            frames = [by_name[moment.name][moment.frame] for moment in found]
            grids = [by_name[moment.name].header.grid for moment in found]
            write_picture(sheet, contact_sheet(found, frames, grids), force)
    click.echo(console.found_as_json(found) if as_json else console.found(found))


def split_query(words: tuple[str, ...], has_image: bool) -> tuple[str | None, list[str]]:
    """[TEXT] PATH... -> text, paths. With an image the first word is a text only if nothing of its name is there."""
    text, paths = (words[0], list(words[1:])) if words else (None, [])
    if text is not None and has_image and (Path(text).exists() or not paths):
        text, paths = None, list(words)
    if not paths:
        raise click.UsageError('give a text and a file: nvcodec search "a dog" v.nerv')
    if text is not None and not text.strip():
        raise click.UsageError("the text to look for is empty")
    return text, paths


@main.command(cls=GroupedCommand, context_settings=SAME_WITH_UNDERSCORES)
@click.argument("path", type=Parsed("PATH", filename))
@click.argument("labels", type=Parsed("LABELS", filename))
@click.option("--plot", type=Parsed("FILE", filename), help="Write the labels over time as a picture: .png, .jpg.")
@query_options
def label(
    path: str,
    labels: str,
    plot: str | None,
    clip_model: str | None,
    clip_pretrained: str | None,
    force: bool,
    quiet: bool,
    device: str,
    limit: tuple[str, ...],
) -> None:
    """Say which labels fit a file, over time.

    LABELS is a text file of one a line. Prints a table with tabs between the columns: start and stop (seconds), first
    and last frame, label, and score: the mean cosine of the label and the best patch of each frame.

    \b
    nvcodec label v.nerv labels.txt --plot timeline.png > labels.tsv
    """
    from codec.bars import counting

    with failures(), counting("indexing", quiet) as progress:
        from codec.atomic import check_outputs
        from codec.decoding.reader import NervReader
        from codec.features import label as run
        from codec.features import teacher_of
        from codec.features.pictures import check_picture_name, timeline, write_picture

        chosen = read_labels(labels)
        reader = NervReader(path, device, limits=limits(limit))
        if plot is not None:
            check_picture_name(plot)
            check_outputs([(plot, None)], [path, labels], force)
        teacher = teacher_of([reader], clip_model, clip_pretrained, reader.device, console.warn)
        stretches, _ = run(reader, chosen, teacher=teacher, progress=progress, warn=console.warn)
        if plot is not None:
            write_picture(plot, timeline(stretches, chosen, len(reader), float(reader.header.fps)), force)
    click.echo(console.labelled(stretches, reader.presentation, len(reader)))


def read_labels(path: str) -> list[str]:
    """The lines of a text file that hold something, each once."""
    with open(path, encoding="utf-8-sig") as file:  # noqa: PTH123 (the name as the user gave it, for the error)
        try:
            lines = [" ".join(line.split()) for line in file]
        except UnicodeDecodeError as error:
            raise click.ClickException(f"{path} is no text in UTF-8: give a text file of one label a line") from error
    found = list(dict.fromkeys(line for line in lines if line))
    if not found:
        raise click.ClickException(f"{path} holds no labels: give one a line")
    return found
