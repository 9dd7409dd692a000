"""Rate-distortion and speed plots, PNG and SVG. Each curve carries its name; colours are safe for the colour-blind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter

from benchmarks.ours import PREFIX
from benchmarks.summary import HNERV, Curve, is_ours, label, mean_curves, median_of, scores

# After Okabe and Ito, 2008: told apart with any colour vision. Each codec has the same colour in every plot.
_COLOURS = {
    "x264-veryslow": "#56B4E9",
    "x265-medium": "#999999",
    "x265-veryslow": "#000000",
    "svtav1-p4": "#0072B2",
    "vvenc-medium": "#009E73",
    HNERV: "#CC79A7",
    PREFIX + "fast": "#E69F00",
    PREFIX + "medium": "#D55E00",
    PREFIX + "slow": "#7F2704",
    PREFIX + "reference": "#B09C00",
}
_OTHERS = ("#882255", "#44AA99", "#332288", "#666666")  # after Tol, 2018
_MS_SSIM_TICKS = (0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999)
_STYLE: Any = {
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "svg.fonttype": "none",  # text stays text: small and sharp
    "svg.hashsalt": "nvcodec",  # the same rows give the same file
    "figure.dpi": 110,
}


@dataclass(frozen=True)
class Metric:
    """One quality measure as an axis."""

    field: str
    title: str


METRICS = (
    Metric("psnr", "PSNR (dB, RGB)"),
    Metric("ms_ssim", "MS-SSIM (RGB)"),
    Metric("vmaf", "VMAF"),
    Metric("clip_sim", "clip_sim, features in the file"),
    Metric("clip_sim_decoded", "clip_sim, teacher on decoded frames"),
)


def rd(curves: dict[str, Curve], metric: Metric, stem: Path) -> Path | None:
    """One clip: bpp against one metric, every codec. Returns the SVG, or None where no row has that metric."""
    drawn = {codec: curve.even_points(metric.field) for codec, curve in curves.items()}
    return _curves({codec: points for codec, points in drawn.items() if points}, metric, stem, marker="o")


def mean_rd(by_clip: dict[str, dict[str, Curve]], metric: Metric, stem: Path) -> Path | None:
    """The mean over clips of every codec's curve. Returns the SVG, or None where there is no such curve."""
    return _curves(mean_curves(by_clip, metric.field), metric, stem, marker="")


def _curves(drawn: dict[str, list[tuple[float, float]]], metric: Metric, stem: Path, marker: str) -> Path | None:
    """drawn: codec -> (bpp, quality as `Curve.even_points` gives it)."""
    if not drawn:
        return None
    with plt.rc_context(_STYLE):
        figure, axes = plt.subplots(figsize=(6.4, 4.3))
        axes.set_xscale("log")
        axes.set_xlabel("bits per pixel (log scale)")
        axes.set_ylabel(metric.title)
        ends = []
        for codec, points in drawn.items():
            bpp, shown = zip(*points, strict=True)
            width = 2.4 if is_ours(codec) else 1.5
            axes.plot(bpp, shown, marker=marker, markersize=2 + width, linewidth=width, color=_colour(codec))
            ends.append((bpp[-1], shown[-1], codec))
        if metric.field == "ms_ssim":
            axes.yaxis.set_major_locator(FixedLocator(_as_decibel(_MS_SSIM_TICKS)))
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{1 - 10 ** (-value / 10):.4g}"))
            axes.set_ylabel(f"{metric.title}, log scale of 1 \N{MINUS SIGN} x")
        _log_ticks(axes.xaxis)
        _name_ends(axes, ends)
        return _save(figure, stem)


def time_against_rate(by_clip: dict[str, dict[str, Curve]], reference: str, stem: Path) -> Path | None:
    """Encode seconds a frame against BD-rate to the reference: down and left is better."""
    found = {score.codec: score.rate for score in scores(by_clip, reference)}
    places = []
    for codec, rate in [(reference, 0.0), *found.items()]:
        seconds = median_of(by_clip, codec, lambda row: row.encode_seconds_per_frame)
        if rate is not None and seconds:
            places.append((seconds, rate, codec))
    if len(places) < 2:
        return None
    with plt.rc_context(_STYLE):
        figure, axes = plt.subplots(figsize=(6.4, 4.3))
        axes.set_xscale("log")
        axes.axhline(0, color="#bbbbbb", linewidth=1)
        axes.set_xlabel("encoding, seconds a frame (median, log scale)")
        axes.set_ylabel(f"mean BD-rate to {label(reference)} (%)")
        for seconds, rate, codec in places:
            axes.plot(seconds, rate, "o", markersize=9, color=_colour(codec))
        _log_ticks(axes.xaxis)
        axes.margins(x=0.1, y=0.15)
        _name_ends(axes, places)
        return _save(figure, stem)


def decode_speed(by_clip: dict[str, dict[str, Curve]], codecs: Sequence[str], stem: Path) -> Path | None:
    """Decoded frames a second of each codec: median over its points, start of the process not counted."""
    speeds = [(median_of(by_clip, codec, lambda row: row.decode_fps), codec) for codec in codecs]
    bars = [(fps, codec) for fps, codec in speeds if fps]
    if not bars:
        return None
    with plt.rc_context(_STYLE):
        figure, axes = plt.subplots(figsize=(6.4, 0.9 + 0.42 * len(bars)))
        axes.set_xscale("log")
        axes.grid(axis="y", visible=False)
        for place, (fps, codec) in enumerate(bars):
            axes.barh(place, fps, color=_colour(codec), height=0.62)
            axes.annotate(f" {fps:,.0f}" if fps >= 10 else f" {fps:.1f}", (fps, place), va="center")
        axes.set_yticks(range(len(bars)), [label(codec) for _, codec in bars])
        axes.invert_yaxis()
        axes.set_xlim(1, max(fps for fps, _ in bars) * 2.5)
        axes.set_xlabel("decoding, frames a second (median, log scale)")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        return _save(figure, stem)


def features(curves: dict[tuple[str, int], dict[str, list[tuple[float, float]]]], stem: Path) -> Path:
    """A panel for each (clip, values of a feature): percent of the clip's bytes against clip_sim, by method."""
    clips, dims = (list(dict.fromkeys(key[place] for key in curves)) for place in (0, 1))
    methods = list(dict.fromkeys(method for panel in curves.values() for method in panel))
    cycle = [*_OTHERS, "#E69F00", "#0072B2"]
    with plt.rc_context(_STYLE):
        size = (3.4 * len(clips), 3.2 * len(dims))
        figure, grid = plt.subplots(len(dims), len(clips), figsize=size, sharex=True, squeeze=False)
        for (clip, dim), panel in curves.items():
            axes = grid[dims.index(dim), clips.index(clip)]
            axes.set_title(f"{clip}, {dim} values", fontsize=10)
            axes.set_xscale("log")
            axes.axvline(5, color="#bbbbbb", linewidth=1)
            for method, points in panel.items():
                colour = cycle[methods.index(method) % len(cycle)]
                axes.plot(*zip(*points, strict=True), marker="o", markersize=2.5, linewidth=1.3, color=colour)
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        for axes in grid[:, 0]:
            axes.set_ylabel("clip_sim")
        figure.supxlabel("features, % of the clip's bytes (log scale; line: 5 %)", fontsize=11)
        figure.tight_layout()
        handles = [Line2D([], [], color=cycle[i % len(cycle)], label=method) for i, method in enumerate(methods)]
        figure.legend(handles=handles, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3, frameon=False)
        return _save(figure, stem)


def _colour(codec: str) -> str:
    """Its own for each codec that is known; for those of others one of a few, by name."""
    return _COLOURS.get(codec) or _OTHERS[sum(codec.encode()) % len(_OTHERS)]


def _as_decibel(values: Sequence[float]) -> list[float]:
    return [float(value) for value in -10 * np.log10(np.maximum(1 - np.asarray(values), 1e-6))]


def _name_ends(axes: Axes, ends: Sequence[tuple[float, float, str]]) -> None:
    """Write the codecs' names in a column right of the axes, each tied to its (x, y) by a thin line."""
    figure = axes.figure
    figure.canvas.draw()
    to_axes = axes.transData + axes.transAxes.inverted()
    step = (
        1.3 * plt.rcParams["font.size"] * figure.dpi / 72 / axes.bbox.height
    )  # a line of text, in heights of the axes
    ordered = sorted(ends, key=lambda end: (end[1], -end[0]))
    wanted = [float(to_axes.transform((x, y))[1]) for x, y, _ in ordered]
    for (x, y, codec), place in zip(ordered, _spread(wanted, step), strict=True):
        axes.annotate(
            label(codec),
            (x, y),
            xytext=(1.04, place),
            textcoords="axes fraction",
            va="center",
            color=_colour(codec),
            fontweight="bold" if is_ours(codec) else "normal",
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": _colour(codec),
                "linewidth": 0.8,
                "alpha": 0.55,
                "relpos": (0, 0.5),  # from the label's left edge: from its middle, it would cross the labels beside
            },
        )


def _spread(wanted: Sequence[float], step: float) -> list[float]:
    """Rising places near the rising `wanted`, at least `step` apart, their top no higher than 1 if they fit."""
    places: list[float] = []
    for place in wanted:
        places.append(max(place, places[-1] + step) if places else place)
    ceiling = max(1.0, len(places) * step)
    for i in reversed(range(len(places))):
        places[i] = min(places[i], ceiling)
        ceiling = places[i] - step
    return places


def _log_ticks(axis: Axis) -> None:
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _save(figure: Figure, stem: Path) -> Path:
    stem.parent.mkdir(parents=True, exist_ok=True)
    svg = stem.with_name(stem.name + ".svg")
    figure.savefig(svg, bbox_inches="tight", metadata={"Date": None}, transparent=True)  # a dark page inverts it
    figure.savefig(stem.with_name(stem.name + ".png"), bbox_inches="tight", dpi=150)
    plt.close(figure)
    return svg
