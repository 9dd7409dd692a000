"""Ways to hold features: what their points say is so, and the command that measures them."""

import csv
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from benchmarks import feature_codes
from benchmarks.__main__ import main
from benchmarks.feature_codes import METHODS, Point, Sample, basis, codebooks, constant, front, recency, widened
from tests.tiny_clip import EMBED_DIM, TinyClip

NAMES = ("mean", "basis", "product quantization")


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """One or two settings of each way."""
    for name, values in {
        "LEVELS": (1 / 8, 1 / 2),
        "RANKS": (2,),
        "HOLDS": (0.5,),
        "PARTS": (1, 2),
        "WORDS": (4,),
        "STAYS": (0.0,),
    }.items():
        monkeypatch.setattr(feature_codes, name, values)


@pytest.fixture(scope="module")
def sample() -> Sample:
    """Features that lie in a plane but for a little noise."""
    rng = np.random.default_rng(0)
    where = np.linspace(0, 3, 40)[:, None] + np.arange(8)
    plane = np.linalg.qr(rng.standard_normal((32, 3)))[0].T
    features = np.stack([np.cos(where), np.sin(where), np.full_like(where, 0.7)], -1) @ plane
    features += rng.normal(0, 1e-3, features.shape)
    return Sample(features / np.linalg.norm(features, axis=-1, keepdims=True))


def best(points: list[Point]) -> Point:
    return max(points, key=lambda point: point.clip_sim)


def test_each_way_reaches_what_it_can(sample: Sample) -> None:
    mean = best(list(constant(sample)))
    assert mean.clip_sim == pytest.approx(float(np.linalg.norm(sample.flat.mean(0))), abs=1e-3)
    assert best(list(basis(sample))).clip_sim > 0.998
    assert best(list(codebooks(sample))).clip_sim > 0.99


def test_fewer_bytes_at_coarser_steps(sample: Sample, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feature_codes, "RANKS", (2,))
    points = [point for point in basis(sample) if point.settings.endswith("hold=1")]
    assert [point.bytes for point in points] == sorted(point.bytes for point in points)
    assert points[-1].bytes > 1.5 * points[0].bytes


def test_codes_can_be_had_back_from_their_recency() -> None:
    codes = np.random.default_rng(0).integers(0, 5, (30, 2)) // 2
    often = np.argsort(-np.bincount(codes.ravel(), minlength=4), kind="stable").tolist()
    for patch, row in enumerate(recency(codes, 4).tolist()):
        order = list(often)
        for t, value in enumerate(row):
            order.insert(0, order.pop(2 * value - 1 if value > 0 else -2 * value))
            assert order[0] == codes[t, patch]


def test_wider_features_have_the_same_cosines(sample: Sample) -> None:
    wide = widened(sample.features, 100)
    assert wide.shape == (40, 8, 100)
    np.testing.assert_allclose(wide[3] @ wide[7].T, sample.features[3] @ sample.features[7].T, atol=1e-12)


def test_the_front_leaves_out_what_a_smaller_point_reaches() -> None:
    points = [Point("", "", size, sim) for size, sim in ((30, 0.9), (10, 0.5), (20, 0.4), (20, 0.7), (40, 0.9005))]
    assert [(p.bytes, p.clip_sim) for p in front(points)] == [(10, 0.5), (20, 0.7), (30, 0.9)]


def run(*words: object) -> Result:
    return CliRunner().invoke(main, ["features", *map(str, words)])


@pytest.mark.usefixtures("few")
def test_the_command_writes_a_table_and_a_plot(
    brief: Path, tmp_path: Path, tiny_clip: TinyClip, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.features.LARGEST", 10.0)
    teacher = ("--clip-model", tiny_clip.model, "--clip-pretrained", tiny_clip.pretrained)
    done = run(brief, "--out", tmp_path, *teacher, "--frames", 3, "--dim", 48, "--quality", 20)
    assert done.exit_code == 0, done.output
    with (tmp_path / "features.tsv").open() as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert len(METHODS) == len(NAMES)
    assert {(row["method"], int(row["dim"])) for row in rows} == {(name, dim) for name in NAMES for dim in (32, 48)}
    for row in rows:
        assert row["frames"] == "3"
        assert int(row["bytes"]) > 0
        assert 0 < float(row["clip_sim"]) <= 1
    assert (tmp_path / "plots" / "features.svg").exists()
    narrow = run(brief, "--out", tmp_path, *teacher, "--dim", EMBED_DIM)
    assert narrow.exit_code == 2
    assert "more values than the teacher's own 32" in narrow.output
