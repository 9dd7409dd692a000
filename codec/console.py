"""Results and warnings for people, as text."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import asdict
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from codec.features import Moment, Stretch
    from codec.video.timing import Presentation


NAMES = {"psnr": "PSNR", "ms_ssim": "MS-SSIM", "clip_sim": "clip_sim"}


def warn(message: str) -> None:
    """A plain line on standard error."""
    print(fitted(f"warning: {message}", sys.stderr), file=sys.stderr, flush=True)


def fitted(text: str, stream: TextIO, taken: int = 0) -> str:
    """The text with lines broken between words where the stream is a terminal; elsewhere as it is.

    taken: columns of its first line that something else stands in.
    """
    return broken(text, shutil.get_terminal_size().columns, taken) if stream.isatty() else text


def broken(text: str, width: int, taken: int = 0) -> str:
    """Lines broken between words, what goes on in the next one indented. taken: see `fitted`."""
    lines: list[str] = []
    for line in text.splitlines():
        indent = " " * (len(line) - len(line.lstrip()))
        gap = " " * taken if not lines else ""
        wrapped = textwrap.fill(
            gap + line, width, subsequent_indent=indent + "  ", break_long_words=False, break_on_hyphens=False
        )
        lines.append(wrapped.removeprefix(gap))
    return "\n".join(lines)


def clock(seconds: float) -> str:
    """3:07, or 2:03:07 with hours."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


def foreseen(estimate: dict[str, Any], whole: bool = False) -> str:
    """What an encode takes from now on, or as a whole; see `codec.encoding.estimate`."""
    time = clock(estimate["seconds"]) if whole else f"{clock(estimate['left'])} to go"
    size = estimate["bytes"]
    shown = f"{size:,.0f} bytes" if size < 10_000 else f"{size / 1e3:,.0f} kB"
    return f"about {time}, {shown}, {estimate['memory'] / 1e9:.2f} GB of memory"


def encoded(report: dict[str, Any], output: str) -> str:
    """The result of an encode in a few lines."""
    seconds = report["seconds"]
    trained = f" ({report['epochs']} epochs, {report['train_fps']:.1f} frames/s)" if report["epochs"] else ""
    lines = [
        f"{output}: {report['bytes']:,} bytes, {report['bpp']:.4f} bpp",
        f"  {report['frames']} frames of {report['width']}x{report['height']}, {_quality(report)}",
        f"  encoded in {seconds['total']:.1f} s{trained}, "
        f"decoded in {seconds['decode']:.1f} s ({report['decode_fps']:.1f} frames/s)",
        f"  {_parts(report)}",
    ]
    return "\n".join(lines)


def described(info: dict[str, Any], path: str) -> str:
    """`nvcodec info` for people."""
    teacher = info["teacher"]
    rate = "variable, on average " if info["variable_rate"] else ""
    grid = f"{info['grid'][0]}x{info['grid'][1]}"
    rows = {
        "format": f"version {info['format_version']}, written by {info['encoder']}",
        "video": f"{info['frames']} frames of {info['width']}x{info['height']}, {rate}{info['fps']:.3f} frames/s "
        f"({info['fps_exact']}), {info['duration']:.2f} s",
        "size": f"{info['bytes']:,} bytes, {info['bpp']:.4f} bpp",
        "parts": _parts(info),
        "network": _network(info),
        "segments": f"{info['segments']}, of {max(info['segment_frames'])} frames at most; patches {grid}",
        "teacher": f"{teacher['model']} {teacher['pretrained']}, {teacher['dim']} values a patch"
        if teacher
        else "none",
        "quality": f"{_quality(info)}, as the encoder measured it",
    }
    return "\n".join([path, *(f"  {k:9} {v}" for k, v in rows.items())])


def _network(info: dict[str, Any]) -> str:
    size = [f"{info['parameters']:,} parameters"] if info["parameters"] else []
    base = [f"base {info['base']}"] if info["base"] else []
    return ", ".join((*size, _fields(info["architecture"]), *base))


def verified(result: dict[str, Any], path: str) -> str:
    """`nvcodec verify` for people."""
    if not result["ok"]:
        return "\n".join([f"{path}: damaged", *(f"  {p}" for p in result["problems"])])
    quality = f", {_quality(result)}" if "psnr" in result else ""
    lines = [f"{path}: intact, {result['frames']} frames decoded{quality}"]
    reasons: dict[str, list[str]] = {}
    for name, reason in result["not_measured"].items():
        reasons.setdefault(reason, []).append(NAMES[name])
    lines += [f"  not measured: {', '.join(names)} ({reason})" for reason, names in reasons.items()]
    return "\n".join(lines)


def found(moments: Sequence[Moment]) -> str:
    """The result of a search, a line a moment."""
    width = max((len(moment.name) for moment in moments), default=0)
    return "\n".join(
        f"{number:3} {moment.score:6.3f}  {moment.name:{width}}  {moment.timecode}  frame {moment.frame} "
        f"({moment.start}..{moment.stop - 1})  patch {moment.patch[0]},{moment.patch[1]}"
        for number, moment in enumerate(moments, start=1)
    )


def found_as_json(moments: Sequence[Moment]) -> str:
    """The same for machines: a list, `stop` excluded."""
    return json.dumps([asdict(moment) | {"timecode": moment.timecode} for moment in moments], indent=2)


def labelled(stretches: Sequence[Stretch], shown: Presentation, frames: int) -> str:
    """Labels over time as a table with tabs."""
    ends = [*(float(shown.seconds(stretch.start)) for stretch in stretches), float(frames / shown.fps)]
    lines = ["start\tstop\tfirst_frame\tlast_frame\tlabel\tscore"]
    for stretch, (start, stop) in zip(stretches, pairwise(ends), strict=True):
        lines.append(
            f"{start:.3f}\t{stop:.3f}\t{stretch.start}\t{stretch.stop - 1}\t{stretch.label}\t{stretch.score:.4f}"
        )
    return "\n".join(lines)


def _fields(architecture: dict[str, Any]) -> str:
    """Every field of a network of whichever kind, but those that are empty."""
    shown = {k: " ".join(map(str, v)) if isinstance(v, (list, tuple)) else v for k, v in architecture.items()}
    return ", ".join(f"{name} {value}" for name, value in shown.items() if value not in ("", 0))


def _quality(found: dict[str, Any]) -> str:
    texts = {name: f"{shown} {{:.4f}}" for name, shown in NAMES.items()} | {"psnr": "PSNR {:.2f} dB"}
    texts |= {"val_psnr": "on validation frames {:.2f} dB"}
    known = [text.format(found[name]) for name, text in texts.items() if found.get(name) is not None]
    return ", ".join(known) or "not measured"


def _parts(found: dict[str, Any]) -> str:
    return ", ".join(f"{k.replace('_', ' ')} {v:,}" for k, v in found["bytes_by_part"].items() if v)
