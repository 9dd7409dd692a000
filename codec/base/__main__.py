"""`python -m codec.base`: options to settings, one command for each step from pictures to the file of a base."""

from __future__ import annotations

from pathlib import Path

import click

from cli import SAME_WITH_UNDERSCORES, failures

FOLDER = click.Path(file_okay=False, path_type=Path)
FILE = click.Path(dir_okay=False, path_type=Path)
SIZE, SIDES = 224, "Sides of the crops that a step takes of scenes; a multiple of 32."
SETTINGS = {**SAME_WITH_UNDERSCORES, "show_default": True}


def progress(line: str) -> None:
    click.echo(line, err=True)


@click.group(context_settings=SETTINGS)
def main() -> None:
    """Make a base: the weights that predictive files start from.

    \b
    train DATA --out run --minutes 120        prepares DATA, trains; again: goes on
    export run/state.safetensors --out run/base.safetensors
    refine DATA run/base.safetensors --out base-6.safetensors
    card base-6.safetensors > base-6.md

    The training codes scenes frame after frame in an encoder's order, each frame from what the base in training has
    itself decoded of those before: so it learns to mend the errors that it makes, as they add up. At the end the
    filters are trained once more, on frames as an encoder makes them.

    DATA is a folder with clips/, photos/ and CORPUS.md, whose tables have the columns name, licence and attribution.
    What is not listed there, or is under a share-alike licence, is not trained on. Three clips (soccer_juggle, vscode,
    face_man) are held back for the figures.

    To use a base that does not ship, name its file in NVCODEC_BASES.
    """


@main.command()
@click.argument("data", type=FOLDER)
@click.option("--out", required=True, type=FOLDER, help="Folder of the scenes: train/ and held/ in it.")
@click.option("--size", default=SIZE, metavar="PIXELS", help=f"{SIDES} Smaller clips are left out.")
@click.option("--seed", default=1, type=click.IntRange(0), metavar="N", help="Of the quality and anchors of each clip.")
@click.option("--force", is_flag=True, help="Replace scenes that were prepared of other things.")
def prepare(data: Path, out: Path, size: int, seed: int, force: bool) -> None:
    """Find the motion of the clips of DATA, once.

    A clip of 640x360 takes a quarter of a minute on one core, and 23 MB on disk.

    A scene is the frames of a clip, at most 33, and the motion of each of them, as an encoder searches it. It is
    searched in references of x265's at a like quality, not of a base's, so prepared scenes serve every training.
    """
    with failures():
        from codec.base.corpus import read_corpus
        from codec.base.scenes import SceneSettings
        from codec.base.scenes import prepare as run

        run(read_corpus(data), out, SceneSettings(size=size, seed=seed), progress, force)


@main.command()
@click.argument("data", type=FOLDER)
@click.argument("base", type=FILE)
@click.option("--clips", default=40, type=click.IntRange(1), metavar="N", help="How many, evenly over DATA.")
@click.option("--frames", default=17, type=click.IntRange(2), metavar="N", help="Of each.")
@click.option("--quality", "qualities", default=(34.0, 46.0), multiple=True, type=float, help="May be repeated.")
def rows(data: Path, base: Path, clips: int, frames: int, qualities: tuple[float, ...]) -> None:
    """Fit MOTION_ROWS and VALUE_ROWS of codec/rate to what BASE makes of the clips of DATA; print their tables.

    They are part of the format: whoever changes them changes FORMAT.md, too.
    """
    with failures():
        from itertools import islice

        from codec.base.corpus import read_corpus
        from codec.base.rows import fit_rows
        from codec.video import frames as read_frames

        every = read_corpus(data).clips
        chosen = every[:: max(1, len(every) // clips)]
        read = ([*islice(read_frames(clip.path), frames)] for clip in chosen)
        for name, table in fit_rows(base, read, qualities).items():
            click.echo(f"{name}={table.tolist()}")


@main.command()
@click.argument("data", type=FOLDER)
@click.option("--out", required=True, type=FOLDER, help="Folder of the checkpoint, the log and prepared scenes.")
@click.option("--minutes", default=60.0, type=click.FloatRange(0, min_open=True), metavar="X", help="Of training.")
@click.option("--steps", type=click.IntRange(1), metavar="N", help="Of training, instead of minutes.")
@click.option("--start", type=FILE, metavar="BASE", help="Begin with these weights: a base, or a training's state.")
@click.option(
    "--scenes", type=FOLDER, multiple=True, help="Train on these prepared folders, not on OUT/scenes; may be repeated."
)
@click.option("--size", default=SIZE, metavar="PIXELS", help=f"{SIDES} Prepared scenes have their own.")
@click.option("--batch", default=8, type=click.IntRange(1), metavar="N", help="Scenes a step.")
@click.option(
    "--rate", default=1.0, type=click.FloatRange(0, min_open=True), metavar="X", help="Of the learning rates."
)
@click.option("--seed", default=1, type=click.IntRange(0), metavar="N", help="Of first weights and choice of scenes.")
@click.option("--device", default="auto", metavar="NAME", help="auto, cpu, cuda, cuda:N or mps.")
@click.option("--force", is_flag=True, help="Start anew where a checkpoint of another training lies.")
def train(
    data: Path,
    out: Path,
    minutes: float,
    steps: int | None,
    start: Path | None,
    scenes: tuple[Path, ...],
    size: int,
    batch: int,
    rate: float,
    seed: int,
    device: str,
    force: bool,
) -> None:
    """Train a base on DATA, preparing what is missing. The same command again goes on from the last checkpoint.

    A step is a walk along several scenes at once: a key frame, two anchors, and frames between these down to one that
    no other is made from, each coded from those before as the training has just decoded them; then, where DATA has
    photographs, as many of these as key frames. The weights move after every frame.

    There is a checkpoint each minute, and one where it is interrupted (Ctrl-C). Each minute prints a line of JSON, kept
    in OUT/log.jsonl: loss, bits per pixel and PSNR by kind of frame (key, anchor, between, leaf, photo); every five
    minutes bits and PSNR of the clips held back ("held"). To train longer, give more --minutes.
    """
    with failures():
        from codec.base.corpus import read_corpus
        from codec.base.loop import STATE, BaseSettings
        from codec.base.loop import train as run
        from codec.base.scenes import HELD, TRAINING, SceneSettings, open_scenes
        from codec.base.scenes import prepare as prepare_scenes
        from codec.network.backend import pick_device

        chosen = pick_device(device)
        if not scenes:
            scenes = (out / "scenes",)
            prepare_scenes(read_corpus(data), scenes[0], SceneSettings(size=size), progress)
        sets = [open_scenes(folder / TRAINING) for folder in scenes]
        held = open_scenes(scenes[0] / HELD) if (scenes[0] / HELD).is_dir() else None
        out.mkdir(parents=True, exist_ok=True)
        if force:
            (out / STATE).unlink(missing_ok=True)
        settings = BaseSettings(minutes, steps, batch, rate=rate, seed=seed)
        run(sets, held, out, settings, click.echo, start, chosen)


@main.command()
@click.argument("data", type=FOLDER)
@click.argument("base", type=FILE)
@click.option("--out", required=True, type=FILE, help="The base to write, such as base-5.safetensors.")
@click.option("--minutes", default=8.0, type=click.FloatRange(0, min_open=True), metavar="X", help="Of training.")
@click.option("--steps", type=click.IntRange(1), metavar="N", help="Of training, instead of minutes.")
@click.option("--frames", default=17, type=click.IntRange(1), metavar="N", help="Of each clip.")
@click.option("--seed", default=1, type=click.IntRange(0), metavar="N", help="Of qualities, structures and crops.")
@click.option("--force", is_flag=True, help="Replace an existing file.")
def refine(
    data: Path, base: Path, out: Path, minutes: float, steps: int | None, frames: int, seed: int, force: bool
) -> None:
    """Train the filters of BASE once more, on what an encoder makes with it of DATA: clips and photographs.

    Encoding takes 3 seconds for each clip of 17 frames of 640x360 and 3 GB of memory for 109 of them; then the trunk
    and the loop filter are trained on a CPU. All else of the base stays as it is.
    """
    with failures():
        from codec.base.corpus import read_corpus
        from codec.base.refine import RefineSettings, refined

        settings = RefineSettings(minutes, steps, seed=seed)
        click.echo(refined(read_corpus(data), base, out, frames, settings, progress, force).hex())


@main.command()
@click.argument("state", type=FILE)
@click.option("--out", required=True, type=FILE, help="The base to write, such as base-5.safetensors.")
@click.option("--note", metavar="TEXT", help="A sentence for its card.")
@click.option("--about", type=FILE, help="JSON of what the weights do not say of themselves: stages, held, note.")
@click.option("--force", is_flag=True, help="Replace an existing file.")
def export(state: Path, out: Path, note: str | None, about: Path | None, force: bool) -> None:
    """Write the averaged weights of a training as a base, and print its digest.

    STATE is state.safetensors of a training, or a file of its tensors alone. Weights become float16; those of the
    networks that parsing depends on become the integers that they stand for, so that every machine parses alike.
    """
    with failures():
        from codec.base.export import export as run
        from codec.base.export import read_about

        said = read_about(about) if about is not None else {}
        if note is not None:
            said["note"] = note
        click.echo(run(state, out, said, force).hex())


@main.command()
@click.argument("base", type=FILE)
def card(base: Path) -> None:
    """Print the page that ships with a base: trainings, data and licences, figures."""
    with failures():
        from codec.base.card import card as text

        click.echo(text(base), nl=False)


if __name__ == "__main__":
    main(prog_name=f"python -m {__package__}")
