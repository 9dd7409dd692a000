"""Where a base is from, in words: the page that ships beside it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from codec.network.predictive.base_file import read_base
from codec.network.predictive.store import digest_of


def card(path: Path) -> str:
    """Markdown: name, size, trainings, data with licences, figures on clips held back. Raises BaseError."""
    base = read_base(path)
    return "\n".join(_lines(path, base.about, asdict(base.shape), sum(t.numel() for t in base.tensors.values()))) + "\n"


def _lines(path: Path, about: dict[str, Any], shape: dict[str, int], parameters: int) -> Iterator[str]:
    yield f"# {path.stem}"
    yield ""
    yield "Weights that predictive files start from, for encoder and decoder. A file names them by digest."
    if "note" in about:
        yield ""
        yield about["note"]
    yield ""
    yield f"- digest `{digest_of(path).hex()}`, {path.stat().st_size:,} bytes, {parameters:,} parameters"
    yield f"- shape: {', '.join(f'{k} {v}' for k, v in shape.items())}"
    stages = about.get("stages", [])
    if stages:
        yield ""
        yield "## Training"
        yield ""
    for number, stage in enumerate(stages, 1):
        start = f", starting from {stage['start']}" if "start" in stage else ""
        time = f"{stage['seconds']:,} s on {stage['device']}, {stage['steps']:,} steps"
        yield f"{number}. {stage['script']}: {time}{start}"
        yield f"   - settings: {', '.join(f'{k} {v}' for k, v in stage['settings'].items() if v is not None)}"
        for scenes in stage.get("scenes", ()):
            made = scenes["made_of"]
            yield f"   - scenes: clips {made['clips']}, photographs {made['photos']}"
    every = [scenes for stage in stages for scenes in stage.get("scenes", ())]
    if every:
        yield ""
        yield "## Data"
        yield ""
        yield "Clips and photographs under share-alike licences are left out."
        yield ""
        yield "| licence | clips | photographs |"
        yield "|---|---|---|"
        yield from _licences(every)
    credits = sorted({name for scenes in every for name in scenes["attributions"]})
    if credits:
        yield ""
        yield "Attributions:"
        yield ""
        yield from (f"- {name}" for name in credits)
    if about.get("held"):
        yield ""
        yield "## Figures"
        yield ""
        yield "Clips that were not trained on, each frame made from what the base has decoded before; estimated rate."
        yield ""
        yield "| frames | bits per pixel | PSNR, dB |"
        yield "|---|---|---|"
        yield from (f"| {kind} | {found['bpp']:.4f} | {found['psnr']:.2f} |" for kind, found in about["held"].items())


def _licences(every: list[dict[str, Any]]) -> Iterator[str]:
    """Of the folder with most of each licence: those of several stages are mostly the same material."""
    most: dict[str, Counter[str]] = {"clips": Counter(), "photos": Counter()}
    for scenes in every:
        for kind in most:
            most[kind] |= Counter(scenes["licences"][kind])
    for licence in sorted(most["clips"] | most["photos"]):
        yield f"| {licence} | {most['clips'][licence]} | {most['photos'][licence]} |"
