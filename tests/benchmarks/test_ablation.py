"""Parts of the recipe, off one at a time: that each is really off, and how their worth is told."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray

from benchmarks import ablation
from benchmarks.ablation import ALL, LEVERS, Lever, Point
from tests.samples import moving_frames, write_images

QUALITY = 46.0


@pytest.fixture(scope="module")
def frames() -> NDArray[np.uint8]:
    """With points of light, which only pixels hold well."""
    frames = moving_frames(17, 90, 120)
    y, x = np.random.default_rng(5).integers(0, (90, 120), (150, 2)).T
    frames[:, y, x] = 255
    return frames


@pytest.fixture(scope="module")
def whole(frames: NDArray[np.uint8]) -> Point:
    return ablation.encode(frames, QUALITY, ALL)


@pytest.mark.parametrize("lever", LEVERS, ids=lambda lever: lever.name)
def test_a_part_that_is_off_changes_what_is_coded(lever: Lever, frames: NDArray[np.uint8], whole: Point) -> None:
    found = ablation.encode(frames, QUALITY, lever)
    assert (found.size, found.psnr) != (whole.size, whole.psnr)


def test_what_was_off_is_on_again(frames: NDArray[np.uint8], whole: Point) -> None:
    again = ablation.encode(frames, QUALITY, ALL)
    assert (again.size, again.psnr) == (whole.size, whole.psnr)


def test_bytes_are_compared_at_equal_psnr() -> None:
    whole = [Point(1000, 30.0, 1.0), Point(2000, 34.0, 1.0)]
    assert ablation.more(whole, whole) == 0
    assert ablation.more([Point(1200, 30.0, 1.0), Point(2400, 34.0, 1.0)], whole) == pytest.approx(0.2)
    nearer = [Point(1000, 29.0, 1.0), Point(2000, 33.0, 1.0)]
    assert ablation.more(nearer, whole) == pytest.approx(math.sqrt(math.sqrt(2)) - 1), "4 dB are worth twice the bytes"


def test_the_table_has_a_line_for_every_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ablation, "LEVERS", LEVERS[:1])
    source = write_images(tmp_path / "clip", moving_frames(5, 45, 63))
    result = CliRunner().invoke(ablation.main, [str(source), "--frames", "4"])
    assert result.exit_code == 0, result.output
    rows = [[cell.strip() for cell in row.split("|")[1:-1]] for row in result.output.splitlines() if "|" in row]
    assert rows[0] == ["off", "clip", "mean", "seconds"]
    assert rows[2][:3] == ["nothing", "+0.0 %", "+0.0 %"]
    assert [row[0] for row in rows[3:]] == [LEVERS[0].name]


def test_one_quality_has_no_slope(tmp_path: Path) -> None:
    source = write_images(tmp_path / "clip", moving_frames(2, 45, 63))
    result = CliRunner().invoke(ablation.main, [str(source), "--quality", "40"])
    assert result.exit_code == 2
    assert "two qualities" in result.output
