import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import report, table
from benchmarks.__main__ import RESULTS
from benchmarks.machine import ROOT
from benchmarks.measure import frame_path, save_frame, save_motion, source_frame_path
from benchmarks.rows import Row, RowFile, load
from benchmarks.summary import budgets, curves, losses, mean_curves, order, scores

PSNR = (30.0, 32.5, 34.6, 36.1)
BPP = (0.02, 0.04, 0.08, 0.16)


def ladder(codec: str, clip: str = "bunny", rate: float = 1.0, up: float = 0.0, seconds: float = 10.0) -> list[Row]:
    """Four points: `rate` times the usual bits, `up` dB over the usual PSNR."""
    return [
        Row(
            clip, f"hash-{clip}", 100, 200, 320, codec, f"q={bpp}", "1",
            bytes=int(bpp * rate * 800_000), bpp=bpp * rate, psnr=psnr + up, ms_ssim=0.95, vmaf=psnr * 2,
            encode_seconds=seconds, encode_mib=100.0, decode_seconds=1.5, decode_mib=50.0, first_frame_seconds=0.5,
            container="file", encode_command="encode", commit="abc", machine="a machine",
        )
        for bpp, psnr in zip(BPP, PSNR, strict=True)
    ]  # fmt: skip


def fill(folder: Path, *ladders: list[Row]) -> None:
    file = RowFile(folder)
    for rows in ladders:
        for row in rows:
            file.append(row)


def test_ours_stand_first_then_baselines_then_anchors() -> None:
    codecs = ["x265-veryslow", "nvcodec-hnerv", "x264-veryslow", "nvcodec-slow", "nvcodec-fast"]
    assert order(codecs) == ["nvcodec-fast", "nvcodec-slow", "nvcodec-hnerv", "x264-veryslow", "x265-veryslow"]


def test_scores_are_means_over_the_clips_that_have_them() -> None:
    rows = [
        *ladder("x265-veryslow"), *ladder("nvcodec-medium", rate=0.5),
        *ladder("x265-veryslow", "bee"), *ladder("nvcodec-medium", "bee", rate=1.5),
        *ladder("x265-veryslow", "dog"), *ladder("nvcodec-medium", "dog", up=-20),
        *ladder("nvcodec-medium", "alone"),
    ]  # fmt: skip
    (score,) = scores(curves(rows), "x265-veryslow")
    assert score.rate == pytest.approx(0)
    assert score.clips_with_rate == 2
    assert list(score.deltas) == ["bunny", "bee", "dog"]


def test_losses_are_said_in_bits_and_time() -> None:
    rows = [
        *ladder("x265-veryslow", seconds=2), *ladder("nvcodec-medium", rate=1.5, seconds=100),
        *ladder("x265-veryslow", "bee"), *ladder("nvcodec-medium", "bee", rate=0.5, seconds=100),
        *ladder("x265-veryslow", "dog"), *ladder("nvcodec-medium", "dog", up=-20),
        *ladder("vvenc-medium", rate=0.75), *ladder("nvcodec-hnerv", rate=3),
    ]  # fmt: skip
    said = losses(curves(rows))
    behind = "bunny: nvcodec medium needs 50 % more bits than x265 veryslow (30.0 to 36.1 dB); at equal bits it is "
    assert any(re.fullmatch(re.escape(behind) + r"1\.\d dB below\.", line) for line in said)
    assert "dog: nvcodec medium is 20.0 dB below x265 veryslow at equal bits; they share no PSNR." in said
    assert "nvcodec medium needs 100 % more bits than VVenC medium, mean over 1 clip." in said
    assert "nvcodec medium takes 10.0 times as long as x265 veryslow for encoding (median over points)." in said
    assert not any(line.startswith("bee") or "HNeRV" in line for line in said)


def test_no_loss_is_claimed_where_we_win() -> None:
    rows = [*ladder("x265-veryslow"), *ladder("nvcodec-medium", rate=0.5, seconds=1)]
    assert losses(curves(rows)) == []


@pytest.fixture
def results(tmp_path: Path) -> Path:
    fill(tmp_path, ladder("x265-veryslow"), ladder("nvcodec-medium", rate=1.25), ladder("nvcodec-hnerv", rate=4, up=-2))
    RowFile(tmp_path).append(Row("bunny", "h", 9, 9, 9, "svtav1-p4", "crf=30", "", error="no <libsvtav1> here"))
    noise = np.random.default_rng(0).integers(0, 255, (200, 320, 3), dtype=np.uint8)
    save_frame(source_frame_path(tmp_path, "bunny"), noise)
    for row in load(tmp_path):
        save_frame(frame_path(tmp_path, row), noise // 2)
    return tmp_path


def test_the_page_needs_nothing_but_itself(results: Path) -> None:
    page = report.write(results).read_text()
    sources = re.findall(r'(?:src|href)="([^"]{1,30})', page)
    assert len(sources) > 8
    assert all(source.startswith(("data:image/", "#")) for source in sources)
    assert "http" not in re.sub(r"data:[^\"]+", "", page)


def test_the_page_shows_rates_losses_pictures_and_failures(results: Path) -> None:
    page = report.write(results).read_text()
    assert "+25.0" in page
    assert "nvcodec medium needs 25 % more bits than x265 veryslow" in page
    assert page.count('class="crop"') == 4  # source and three codecs
    assert "no &lt;libsvtav1&gt; here" in page
    assert len(list(results.glob("plots/*.svg"))) == len(list(results.glob("plots/*.png"))) == 8


def test_the_same_rows_draw_the_same_plots(results: Path) -> None:
    report.write(results)
    before = {path: path.read_bytes() for path in results.glob("plots/*.svg")}
    report.write(results)
    assert before == {path: path.read_bytes() for path in results.glob("plots/*.svg")}


def test_pictures_are_taken_at_about_the_same_rate() -> None:
    of = curves([*ladder("x265-veryslow"), *ladder("nvcodec-medium", rate=1.1)])["bunny"]
    assert [row.settings for row in report.near(of, 0.044)] == ["q=0.04", "q=0.04"]


def test_the_crop_is_where_codecs_err_most() -> None:
    source = np.zeros((300, 400, 3), np.uint8)
    wrong = source.copy()
    wrong[150:170, 350:380] = 99
    top, left = report._worst_window(source, [wrong])
    assert top <= 150 <= 170 <= top + report.CROP
    assert left <= 350 <= 380 <= left + report.CROP
    assert report._worst_window(source[:50, :60], [wrong[:50, :60]]) == (0, 0)


def test_the_budget_of_our_points_is_said(tmp_path: Path) -> None:
    rows = [
        replace(row, settings=f"{row.settings} minutes=2 device=cpu")
        for row in [*ladder("nvcodec-fast"), *ladder("nvcodec-hnerv")]
    ]
    fill(tmp_path, rows, ladder("x265-veryslow"))
    said = "Budget of every point: nvcodec fast, HNeRV (in-house): minutes=2 device=cpu."
    assert said in table.render(tmp_path)
    assert said in report.write(tmp_path).read_text()
    assert budgets(curves(ladder("x265-veryslow"))) == ""


def test_the_readme_gets_the_table_between_its_markers(results: Path, tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"above\n{table.BEGIN}\nold\n{table.END}\nbelow\n")
    for _ in range(2):
        table.write(results, readme)
        text = readme.read_text()
        assert text.startswith(f"above\n{table.BEGIN}\n| codec |")
        assert text.endswith(f"{table.END}\nbelow\n")
        assert "old" not in text
    assert re.search(r"\| nvcodec medium \| \+25\.0 %, \N{MINUS SIGN}0\.\d dB \(1 of 1\) \|", text)
    assert "| x265 veryslow | 0 % |" in text
    assert "| BD-rate to x265 veryslow | bunny |\n| --- | --: |\n| nvcodec medium | +25.0 % |" in text


def test_a_readme_without_markers_is_left_alone(results: Path, tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("no markers\n")
    with pytest.raises(ValueError, match="results:begin"):
        table.write(results, readme)
    assert readme.read_text() == "no markers\n"


def test_no_results_make_no_table(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no results"):
        table.render(tmp_path)


def test_the_readme_shows_the_committed_rows() -> None:
    readme = ROOT / "README.md"
    if not (RESULTS / "rows.jsonl").exists() or not readme.exists() or table.BEGIN not in readme.read_text():
        pytest.skip("no committed results, or no place for them in the README")
    assert table.render(RESULTS) in readme.read_text(), "run `python -m benchmarks table`"


def test_every_row_of_the_table_is_over_the_same_clips(tmp_path: Path) -> None:
    fill(tmp_path, ladder("x265-veryslow"), ladder("x265-veryslow", "bee"), ladder("nvcodec-medium", seconds=100))
    text = table.render(tmp_path)
    assert "Clips, the same in every row: bunny." in text
    assert "(1 of 1)" in text
    assert "bee" not in text


def test_codecs_measured_on_every_clip_have_a_table_of_their_own(tmp_path: Path) -> None:
    both = [ladder(codec, clip) for codec in ("x265-veryslow", "nvcodec-fast") for clip in ("bunny", "bee")]
    fill(tmp_path, *both, ladder("nvcodec-grid", rate=3.0))
    first, second = table.render(tmp_path).split("| codec |")[1:]
    assert "nvcodec grid" not in first
    assert "Clips, the same in every row: bunny, bee." in first
    assert re.search(r"\| nvcodec grid \| \+200\.0 %, .* \(1 of 1\) \|", second)
    assert "Clips, the same in every row: bunny." in second


def test_a_baseline_says_how_many_of_its_epochs_it_had(tmp_path: Path) -> None:
    trained = [replace(row, epochs=12, epochs_wanted=300) for row in ladder("nvcodec-hnerv")]
    fill(tmp_path, ladder("x265-veryslow"), trained)
    assert "| HNeRV (in-house) (12 of its 300 epochs) |" in table.render(tmp_path)
    assert "HNeRV (in-house) (12 of its 300 epochs)" in report.write(tmp_path).read_text()


def test_the_mean_curve_is_over_the_bits_that_all_clips_have() -> None:
    rows = [*ladder("x265-veryslow"), *ladder("x265-veryslow", "bee", rate=2.0, up=4)]
    mean = mean_curves(curves(rows), "psnr")["x265-veryslow"]
    assert [mean[0][0], mean[-1][0]] == pytest.approx([0.04, 0.16])
    assert mean[0][1] == pytest.approx((32.5 + 34.0) / 2)  # the second point of one and the first of the other
    assert mean_curves(curves([*ladder("a"), *ladder("a", "bee", rate=100)]), "psnr") == {}
    assert list(mean_curves(curves([*ladder("a"), *ladder("b"), *ladder("b", "bee")]), "psnr")) == ["a", "b"]


def test_bd_rate_by_every_quality(tmp_path: Path) -> None:
    ssim = dict(zip(BPP, (0.8, 0.9, 0.95, 0.975), strict=True))
    rows = [
        replace(row, ms_ssim=ssim[float(row.settings[2:])])
        for row in [*ladder("x265-veryslow"), *ladder("nvcodec-medium", rate=1.5)]
    ]
    for metric in ("psnr", "ms_ssim", "vmaf"):
        (score,) = scores(curves(rows), "x265-veryslow", metric)
        assert score.rate == pytest.approx(50)


def test_bytes_are_shown_by_whatever_they_are_told_apart(tmp_path: Path) -> None:
    parts = {"part": {"motion": 400, "latents": 1000, "hyper_latents": 200}, "level": {"0": 900, "1": 700}}
    fill(tmp_path, [replace(row, bytes_by=parts) for row in ladder("nvcodec-medium")], ladder("x265-veryslow"))
    page = report.write(tmp_path).read_text()
    assert "Bytes by part" in page
    assert "<th>hyper latents</th>" in page
    assert "Bytes by level" in page
    assert f"1,000 ({100 * 1000 / (0.02 * 800_000):.0f} %)" in page


def test_moving_pictures_and_the_limit_of_the_page(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    motion = np.random.default_rng(1).integers(0, 255, (5, 200, 320, 3), dtype=np.uint8)
    save_motion(source_frame_path(results, "bunny"), motion)
    for row in load(results):
        save_motion(frame_path(results, row), motion)
    whole = report.write(results)
    assert whole.read_text().count(", moving</figcaption>") == 3  # the source, our codec, the reference
    size = whole.stat().st_size
    monkeypatch.setattr(report, "LIMIT", size - 1)
    assert report.write(results).stat().st_size < size
    said: list[str] = []
    monkeypatch.setattr(report, "LIMIT", 10)
    report.write(results, warn=said.append)
    assert len(said) == 1
