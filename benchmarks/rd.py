"""The benchmark run: every codec at every point on every clip, skipping what stands already."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from benchmarks import ffmpeg
from benchmarks.anchors import ANCHORS
from benchmarks.clips import Clip, prepare
from benchmarks.codecs import Codec, UnavailableError
from benchmarks.measure import Extract, blank, measure, save_frame, save_motion, source_frame_path
from benchmarks.ours import PREFIX, Ours
from benchmarks.process import CommandError
from benchmarks.rows import Row, RowFile
from benchmarks.summary import HNERV
from codec.features.teacher import CLIPManager
from codec.network.backend import pick_device

GRID = (2, 4)  # rows and columns of the patches that have features: the codec's default


@dataclass(frozen=True)
class Teaching:
    """A teacher by name, and its features of frames."""

    name: str
    extract: Extract

    @classmethod
    def load(cls, model: str, pretrained: str, device: str) -> Teaching:
        """Raises codec.errors.CodecError where device or weights cannot be had."""
        manager = CLIPManager(model, pretrained, pick_device(device))
        identity = manager.identity
        return cls(f"{identity.model} {identity.pretrained}", lambda frames: manager.features(frames, GRID))


def choose(names: Sequence[str], ours: Ours) -> list[Codec]:
    """Codecs by name: an anchor, or `nvcodec-PRESET`, which is `ours` with that preset.

    Raises ValueError for any other, and names those there are.
    """
    codecs: list[Codec] = []
    for name in dict.fromkeys(names):
        if name in ANCHORS:
            codecs.append(ANCHORS[name])
        elif name.startswith(PREFIX):
            headless = name == HNERV  # as published, it has no CLIP head to pay for
            teacher = None if headless else ours.teacher
            codecs.append(replace(ours, preset=name.removeprefix(PREFIX), teacher=teacher))
        else:
            raise ValueError(f"no codec {name}; there are {', '.join(ANCHORS)} and {PREFIX}PRESET")
    return codecs


def run(
    sources: Sequence[Path],
    codecs: Sequence[Codec],
    out: Path,
    console: Console,
    crop: tuple[int, int] | None = None,
    teaching: Teaching | None = None,
) -> int:
    """Measure what does not stand yet and append its rows under `out`. Returns how many points failed.

    `crop` is (height, width) of a centre crop of every clip. Raises CommandError for a clip that cannot be read.
    """
    out = out.resolve()
    file = RowFile(out)
    if not ffmpeg.has_vmaf():
        console.print(f"no VMAF: {ffmpeg.version()} is built without libvmaf")
    versions = {codec.name: _version(codec) for codec in codecs}
    points = [(codec, settings) for codec in codecs for settings in codec.points]
    failed = 0
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress, tempfile.TemporaryDirectory(prefix="nvcodec-rd-") as work:
        task = progress.add_task("", total=len(sources) * len(points))
        for source in sources:
            progress.update(task, description=f"{source.stem}: preparing")
            try:
                clip = prepare(source, Path(work), crop)
            except CommandError as error:
                raise CommandError(f"{source} cannot be prepared: {error}") from error
            save_frame(source_frame_path(out, clip.name), clip.reference()[clip.frames // 2])
            save_motion(source_frame_path(out, clip.name), clip.reference())
            for codec, settings in points:
                progress.update(task, description=f"{clip.name}: {codec.name} {settings}")
                row = blank(codec, settings, clip, versions[codec.name][0], teaching.name if teaching else None)
                if not file.stands(row.key):
                    row = _measured(codec, settings, clip, out, row, versions[codec.name][1], teaching)
                    console.print(summary(row), highlight=False, markup=False, soft_wrap=True)
                    failed += bool(row.error)
                    if not any(old.key == row.key and row.error and old.error for old in file.rows):
                        file.append(row)
                progress.advance(task)
            clip.rgb.unlink()
            clip.video.unlink()
    return failed


def summary(row: Row) -> str:
    """One row in one line."""
    what = f"{row.clip} {row.codec} {row.settings}"
    if row.error:
        return f"{what}: failed: {row.error}"
    return (
        f"{what}: {row.bytes} bytes, {row.bpp:.4f} bpp, {row.psnr:.2f} dB, "
        f"encoded in {row.encode_seconds:.1f} s, decoded in {row.decode_seconds:.2f} s"
    )


def _version(codec: Codec) -> tuple[str, str]:
    """(version, ''), or ('', why the codec is missing)."""
    try:
        return codec.version, ""
    except UnavailableError as error:
        return "", str(error)


def _measured(
    codec: Codec, settings: str, clip: Clip, out: Path, row: Row, missing: str, teaching: Teaching | None
) -> Row:
    if missing:
        return replace(row, error=missing)
    try:
        return measure(codec, settings, clip, out, row, teaching.extract if teaching else None)
    except Exception as error:  # whatever one codec does, the others are still measured
        return replace(row, error=f"{type(error).__name__}: {error}")
