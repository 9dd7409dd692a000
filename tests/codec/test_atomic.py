"""Outputs that appear complete or not at all."""

from pathlib import Path

import pytest

from codec.atomic import atomic_output, check_output
from codec.errors import OutputError
from tests.samples import full_disk


def names(directory: Path) -> list[str]:
    return sorted(entry.name for entry in directory.iterdir())


def test_a_file_appears_at_the_end_only(tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    with atomic_output(target) as temporary:
        temporary.write_bytes(b"new")
        assert temporary.parent == tmp_path
        assert temporary.suffix == ".mp4"
        assert not target.exists()
    assert target.read_bytes() == b"new"
    assert names(tmp_path) == ["out.mp4"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path, error: type[BaseException]) -> None:
    target = tmp_path / "out.nerv"
    target.write_bytes(b"old")

    def fail() -> None:
        with atomic_output(target, force=True) as temporary:
            temporary.write_bytes(b"half")
            raise error

    with pytest.raises(error):
        fail()
    assert target.read_bytes() == b"old"
    assert names(tmp_path) == ["out.nerv"]


def test_an_existing_file_needs_force(tmp_path: Path) -> None:
    target = tmp_path / "out.nerv"
    target.write_bytes(b"old")
    with pytest.raises(OutputError, match="--force"):
        check_output(target)
    with pytest.raises(OutputError, match="--force"), atomic_output(target):
        pytest.fail("the block must not run")
    with atomic_output(target, force=True) as temporary:
        temporary.write_bytes(b"new")
    assert target.read_bytes() == b"new"


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    target, link = tmp_path / "there" / "out", tmp_path / "link"
    target.write_bytes(b"old")
    link.symlink_to(target)
    with atomic_output(link, force=True) as temporary:
        temporary.write_bytes(b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("missing/out", "no directory"),
        ("n" * 300, "name too long"),
        (".", "is a directory"),
        ("/dev/null", "neither a file"),
        ("loop", "a link that leads back to itself"),
    ],
)
def test_places_that_cannot_be_written(tmp_path: Path, path: str, words: str) -> None:
    (tmp_path / "loop").symlink_to("loop")
    for contents in (None, "*.png"):
        if contents is None or path != ".":
            with pytest.raises(OutputError, match=words):
                check_output(tmp_path / path, True, contents)
    with pytest.raises(OutputError, match="is empty"):
        check_output("")


def test_a_directory_is_replaced_as_a_whole(tmp_path: Path) -> None:
    target = tmp_path / "frames"
    for text in ("old", "new"):
        with atomic_output(target, force=text == "new", contents="*.png") as temporary:
            (temporary / f"{text}.png").write_text(text)
    assert names(target) == ["new.png"]
    assert names(tmp_path) == ["frames"]

    def fail() -> None:
        with atomic_output(target, True, "*.png") as temporary:
            (temporary / "half.png").write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert names(target) == ["new.png"]
    assert names(tmp_path) == ["frames"]


def test_a_directory_with_other_things_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(OutputError, match=r"thesis\.tex"):
        check_output(tmp_path, True, "*.png")
    with pytest.raises(OutputError, match="is a file"):
        check_output(tmp_path / "thesis.tex", True, "*.png")


def test_an_empty_directory_needs_no_force(tmp_path: Path) -> None:
    target = tmp_path / "frames"
    target.mkdir()
    with atomic_output(target, contents="*.png") as temporary:
        (temporary / "0.png").touch()
    assert names(target) == ["0.png"]


def test_a_full_disk_is_worded_and_cleaned_up(tmp_path: Path) -> None:
    def fill() -> None:
        with full_disk(1000), atomic_output(tmp_path / "out") as temporary:
            temporary.write_bytes(bytes(5000))

    with pytest.raises(OutputError, match="File too large"):
        fill()
    assert names(tmp_path) == []
