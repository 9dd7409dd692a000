"""Curves measured elsewhere: what is understood stands beside ours, and what is not is named."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from benchmarks import others, rows
from benchmarks.__main__ import main
from benchmarks.summary import curves, label, order, scores
from tests.benchmarks.test_report import fill, ladder

TABLE = "name\tclip\tbytes\tpsnr\tms_ssim\nmine\tbunny\t16000\t31\t0.91\nmine\tbunny\t64000\t36\t\n"


def run(*words: object) -> Result:
    return CliRunner().invoke(main, list(map(str, words)))


@pytest.fixture
def results(tmp_path: Path) -> Path:
    folder = tmp_path / "results"
    fill(folder, ladder("x265-veryslow"), ladder("nvcodec-medium", rate=1.25))
    return folder


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_points_become_rows_on_the_clip_of_their_name(tmp_path: Path, results: Path) -> None:
    points = others.read(write(tmp_path / "mine.tsv", TABLE))
    found, problems = others.rows_of(points, rows.load(results))
    assert problems == []
    assert [(row.codec, row.clip, row.bytes, row.psnr, row.ms_ssim) for row in found] == [
        ("mine", "bunny", 16000, 31.0, 0.91),
        ("mine", "bunny", 64000, 36.0, None),
    ]
    assert found[0].bpp == pytest.approx(8 * 16000 / (100 * 200 * 320))


def test_bits_per_pixel_and_commas_are_understood_too(tmp_path: Path, results: Path) -> None:
    points = others.read(write(tmp_path / "mine.csv", "clip,name,bpp,vmaf,encode_seconds\nbunny,mine,0.02,50,7\n"))
    (row,) = others.rows_of(points, rows.load(results))[0]
    assert (row.bpp, row.bytes, row.vmaf, row.encode_seconds) == (0.02, 16000, 50.0, 7.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "columns are missing"),
        ("name\tclip\tbytes\n", "columns are missing"),
        ("name\tclip\tpsnr\n", "columns are missing"),
        ("name\tclip\tbytes\tpsnr\tcolour\nmine\tbunny\t1\t2\tred\n", "column 'colour'"),
        ("name\tclip\tbytes\tpsnr\n", "holds no points"),
        ("name\tclip\tbytes\tpsnr\nmine\tbunny\t100\n", r"mine.tsv:2: 3 cells under 4 columns"),
        ("name\tclip\tbytes\tpsnr\nmine\tbunny\t100\thigh\n", r"mine.tsv:2: psnr 'high' is no number"),
        ("name\tclip\tbytes\tpsnr\nmine\tbunny\t100\tnan\n", r"mine.tsv:2: psnr 'nan' is no number"),
        ("name\tclip\tbytes\tpsnr\nmine\tbunny\t0\t30\n", r"mine.tsv:2: bytes and bpp are empty, or not more than 0"),
        ("name\tclip\tbytes\tpsnr\n\tbunny\t100\t30\n", r"mine.tsv:2: name or clip is empty"),
        ("name\tclip\tbytes\tpsnr\nmine\tbunny\t100\t\n", r"mine.tsv:2: there is none of psnr"),
    ],
)
def test_what_is_not_understood_is_named_and_nothing_is_written(
    tmp_path: Path, results: Path, text: str, message: str
) -> None:
    table = write(tmp_path / "mine.tsv", text)
    with pytest.raises(ValueError, match=message):
        others.read(table)
    done = run("report", results, "--curve", table)
    assert done.exit_code == 1
    assert "Error: " in done.output
    assert not (results / "report.html").exists()
    assert not (results / others.FOLDER).exists()


def test_the_page_is_drawn_again_with_the_table_and_names_what_it_cannot_show(tmp_path: Path, results: Path) -> None:
    table = write(tmp_path / "mine.tsv", TABLE + "mine\tbunnny\t16000\t31\t\nx265-veryslow\tbunny\t9\t31\t\n")
    before = (results / "rows.jsonl").read_bytes()
    done = run("report", results, "--curve", table)
    assert done.exit_code == 0, done.output
    assert "warning: not shown: mine.tsv:4: clip 'bunnny' is none of bunny" in done.stderr
    assert "mine.tsv:5: 'x265-veryslow' is the name of a codec" in done.stderr
    table.unlink()
    assert run("report", results).exit_code == 0
    page = (results / "report.html").read_text()
    assert "<td>mine</td>" in page
    assert "mine.tsv:4: clip &#39;bunnny&#39; is none of bunny" in page
    assert (results / "rows.jsonl").read_bytes() == before


def test_a_codec_that_is_not_known_is_shown_under_its_name() -> None:
    rows = [*ladder("theirs"), *ladder("x265-veryslow")]
    assert order([row.codec for row in rows]) == ["theirs", "x265-veryslow"]
    assert label("theirs") == "theirs"
    assert [score.codec for score in scores(curves(rows), "theirs")] == ["x265-veryslow"]


def test_any_codec_can_be_the_reference(tmp_path: Path, results: Path) -> None:
    table = write(tmp_path / "mine.tsv", TABLE)
    done = run("report", results, "--curve", table, "--reference", "mine", "--reference", "nvcodec-medium")
    assert done.exit_code == 0, done.output
    page = (results / "report.html").read_text()
    assert "against mine" in page
    assert "against nvcodec medium" in page
    assert "against x265" not in page
    done = run("report", results, "--reference", "x266")
    assert done.exit_code == 1
    assert "no codec x266 was measured" in done.output
    assert "there are nvcodec-medium, mine, x265-veryslow" in done.output


def test_a_folder_without_results_has_no_page(tmp_path: Path) -> None:
    done = run("report", tmp_path)
    assert done.exit_code == 1
    assert "there is no rows.jsonl" in done.output
    assert list(tmp_path.iterdir()) == []
