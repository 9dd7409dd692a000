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
        for crops in stage["crops"]:
            made = crops["made_of"]
            coder = f"the base {made['base']}" if made["coder"] == "base" else made["coder"]
            yield f"   - crops of {made['clips']} clips and {made['photos']} photographs, references coded by {coder}"
    every = [crops for stage in stages for crops in stage["crops"]]
    if every:
        yield ""
        yield "## Data"
        yield ""
        yield "Clips and photographs under share-alike licences are left out."
        yield ""
        yield "| licence | clips | photographs |"
        yield "|---|---|---|"
        yield from _licences(every)
    credits = sorted({name for crops in every for name in crops["attributions"]})
    if credits:
        yield ""
        yield "Attributions:"
        yield ""
        yield from (f"- {name}" for name in credits)
    if about.get("held"):
        yield ""
        yield "## Figures"
        yield ""
        yield "Crops of clips that were not trained on; estimated rate, no refinement."
        yield ""
        yield "| frames | bits per pixel | PSNR, dB |"
        yield "|---|---|---|"
        yield from (f"| {kind} | {found['bpp']:.4f} | {found['psnr']:.2f} |" for kind, found in about["held"].items())


def _licences(every: list[dict[str, Any]]) -> Iterator[str]:
    """Of the largest set of each licence: the sets of several stages are mostly the same material."""
    most: dict[str, Counter[str]] = {"clips": Counter(), "photos": Counter()}
    for crops in every:
        for kind in most:
            most[kind] |= Counter(crops["licences"][kind])
    for licence in sorted(most["clips"] | most["photos"]):
        yield f"| {licence} | {most['clips'][licence]} | {most['photos'][licence]} |"
