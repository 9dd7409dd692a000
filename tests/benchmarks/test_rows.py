import csv
import dataclasses
import json
from pathlib import Path

import pytest

from benchmarks.rows import Row, RowFile, failures, latest, load


def row(settings: str = "crf=30", **more: object) -> Row:
    known = {"bytes": 1000, "bpp": 0.1, "psnr": 30.0} | more
    return Row("bunny", "abc", 96, 360, 640, "x264", settings, "1", **known)  # type: ignore[arg-type]


def test_what_is_appended_is_loaded_and_stands(tmp_path: Path) -> None:
    first = row(note="ä\tb\nc", measured_at="now")
    RowFile(tmp_path).append(first)
    again = RowFile(tmp_path)
    assert again.rows == [first]
    assert again.stands(first.key)


@pytest.mark.parametrize("field", ["clip_hash", "codec", "settings", "version", "teacher"])
def test_another_clip_codec_setting_version_or_teacher_does_not_stand(tmp_path: Path, field: str) -> None:
    file = RowFile(tmp_path)
    file.append(row())
    assert not file.stands(row().key._replace(**{field: "other"}))


def test_a_failed_row_does_not_stand(tmp_path: Path) -> None:
    file = RowFile(tmp_path)
    file.append(row(error="no such encoder"))
    assert not file.stands(row().key)


def test_a_line_torn_by_a_kill_is_cut_off_and_the_rest_goes_on(tmp_path: Path) -> None:
    file = RowFile(tmp_path)
    file.append(row("crf=30"))
    file.append(row("crf=20"))
    path = tmp_path / "rows.jsonl"
    path.write_bytes(path.read_bytes()[:-7])
    assert [found.settings for found in load(tmp_path)] == ["crf=30"]
    again = RowFile(tmp_path)
    again.append(row("crf=10"))
    assert [found.settings for found in load(tmp_path)] == ["crf=30", "crf=10"]
    assert len((tmp_path / "rows.tsv").read_text().splitlines()) == 3


@pytest.mark.parametrize("damage", ["{", '{"clip": "bunny"}', '{"unknown": 1}', "[]"])
def test_a_damaged_line_is_named(tmp_path: Path, damage: str) -> None:
    (tmp_path / "rows.jsonl").write_text(json.dumps(dataclasses.asdict(row())) + "\n" + damage + "\n")
    with pytest.raises(ValueError, match=r"rows\.jsonl:2"):
        load(tmp_path)


def test_the_table_holds_the_same_figures_a_line_a_row(tmp_path: Path) -> None:
    file = RowFile(tmp_path)
    file.append(row(note="two\nlines\tand a tab"))
    with (tmp_path / "rows.tsv").open() as table:
        (only,) = csv.DictReader(table, delimiter="\t")
    assert only["bytes"] == "1000"
    assert only["psnr"] == "30.0"
    assert only["vmaf"] == ""
    assert only["note"] == "two lines and a tab"


def test_the_last_good_row_of_a_point_is_shown_and_only_open_failures() -> None:
    old, new = row(psnr=30.0), row(psnr=31.0, commit="newer")
    mended, open_ = row("crf=20", error="disk full"), row("crf=10", error="killed")
    rows = [old, mended, new, row("crf=20"), open_]
    assert [(found.settings, found.psnr) for found in latest(rows)] == [("crf=30", 31.0), ("crf=20", 30.0)]
    assert failures(rows) == [open_]


def test_a_curve_is_of_one_budget_the_one_measured_last() -> None:
    short, long, other = row("bpp=0.1 minutes=2"), row("bpp=0.1 minutes=5"), row("bpp=0.2 minutes=2")
    assert latest([other, short, long]) == [long]
    assert latest([long, short, other]) == [short, other]


def test_decode_speed_leaves_out_the_start_of_the_process() -> None:
    assert row(decode_seconds=3.0, first_frame_seconds=1.1).decode_fps == pytest.approx(95 / 1.9)
    assert row(decode_seconds=1.0, first_frame_seconds=1.1).decode_fps is None
    assert row().decode_fps is None
