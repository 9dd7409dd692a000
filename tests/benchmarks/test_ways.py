"""Ways to decode a file: their table, and what is said of one whose symbols differ."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks import ways
from codec import encode
from codec.settings import PRESETS
from tests.samples import moving_frames, write_images


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A predictive file of two segments, and its source."""
    folder = tmp_path_factory.mktemp("ways")
    source = write_images(folder / "frames", moving_frames(7, 45, 63))
    settings = PRESETS["fast"].override(quality=45, segment=4, anchor=(2,), clip="off")
    encode(source, folder / "v.nerv", settings, device="cpu")
    return folder / "v.nerv", source


def test_all_ways_have_the_same_symbols_and_nearly_the_same_pixels(file: tuple[Path, Path]) -> None:
    result = CliRunner().invoke(ways.main, [str(path) for path in file])
    assert result.exit_code == 0, result.output
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in result.output.splitlines() if "|" in line][2:]
    assert len(rows) == len(ways.ways()) >= 3
    assert {row[0].split(",")[1].strip() for row in rows} == set(ways.FORMATS)
    assert len({row[2] for row in rows}) == 1
    quality = [float(row[3]) for row in rows]
    assert min(quality) > 20
    assert max(quality) - min(quality) < 0.05


def test_symbols_that_differ_are_an_error(file: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    decode, crcs = ways.decode, iter(range(100))
    monkeypatch.setattr(ways, "decode", lambda path, way: replace(decode(path, way), symbols=next(crcs)))
    result = CliRunner().invoke(ways.main, [str(path) for path in file])
    assert result.exit_code == 1
    assert "the symbols differ" in result.output
