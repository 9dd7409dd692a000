"""Wild files: made the same from the same seed, right where they should be, and never more than a BitstreamError."""

from __future__ import annotations

from random import Random

import pytest

from benchmarks import fuzz, wild
from bitstream import BitstreamError, FileReader, Predictive, verify
from codec.decoding.reader import NervReader

SEEDS = range(25)


@pytest.mark.parametrize("family", wild.FAMILIES)
def test_wild_files_are_refused_with_a_message_or_read(family: str) -> None:
    for seed in SEEDS:
        fuzz.read_file(wild.file(family, seed))


def test_a_family_and_a_seed_name_a_file() -> None:
    files = {(family, seed): wild.file(family, seed) for family in wild.FAMILIES for seed in range(3)}
    assert {name: wild.file(*name) for name in files} == files
    assert len(set(files.values())) == len(files)


def test_right_files_decode() -> None:
    """All that is wild starts from these: if they were refused, nothing behind the first check would be reached."""
    kinds = set()
    for seed in SEEDS:
        data = wild.file("right", seed)
        assert verify(data).problems == ()
        assert wild.join(wild.split(data)) == data
        reader = NervReader(data, "cpu")
        assert len(reader[:]) == len(reader)
        architecture = reader.header.architecture
        kinds.add("predictive" if isinstance(architecture, Predictive) else architecture.embed.split("_")[0])
    assert kinds == {"pe", "grid", "hnerv", "predictive"}


@pytest.mark.parametrize("family", sorted(wild.FAMILIES.keys() - {"right", "damages", "orders", "tables"}))
def test_wild_files_come_past_the_checksums(family: str) -> None:
    """What is wrong with them is found behind the checksums: in fields, in streams, in the network."""
    for seed in SEEDS:
        data = wild.file(family, seed)
        names = {type(problem).__name__ for problem in verify(data).problems}
        assert names.isdisjoint({"ChecksumMismatch", "DigestMismatch", "NotANervFile"})


def test_a_defect_is_not_taken_for_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    data = wild.right(Random(1))
    nothing: dict[int, int] = {}
    monkeypatch.setattr(FileReader, "contents", lambda reader: nothing[0])
    with pytest.raises(KeyError):
        fuzz.read_file(data)

    def silent(*arguments: object) -> None:
        raise BitstreamError

    monkeypatch.setattr(fuzz, "verify", silent)
    with pytest.raises(RuntimeError, match="without a message"):
        fuzz.read_file(data)


def test_a_run_counts_its_files_and_keeps_what_is_to_be_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    class Fake:
        def __init__(self, *limits: object) -> None:
            pass

        def read(self, family: str, seed: int) -> tuple[float, float, str]:
            return {"zeros": (9.0, 100.0, "KeyError: 0"), "times": (3.0, 120.0, "")}.get(family, (0.1, 1.0, ""))

        def close(self) -> None:
            pass

    monkeypatch.setattr(fuzz, "Worker", Fake)
    *_, report = fuzz.run(minutes=5, files=20, first=3, seconds=60, mib=4000)
    families = len(wild.FAMILIES)
    assert {name: tally.files for name, tally in report.tallies.items()} == dict.fromkeys(wild.FAMILIES, 2)
    assert (report.tallies["zeros"].wrong, report.tallies["zeros"].slow) == (2, 0)
    assert (report.tallies["times"].wrong, report.tallies["times"].slow) == (0, 2)
    assert [(f.family, f.seed) for f in report.found] == [(n, s) for s in (3, 4) for n in ("zeros", "times")]
    assert "zeros 3: KeyError: 0\ntimes 3: took 3.0 s" in report.text()
    assert report.text().splitlines()[families + 1].split() == ["all", str(2 * families), "2", "2", "9.00", "120"]


def test_a_file_that_takes_too_long_costs_a_worker_and_no_more() -> None:
    worker = fuzz.Worker(0.0, 4000, fuzz.LIMITS)
    try:
        assert worker.read("right", 1) == (0.0, 0.0, "took more than 0 s")
        worker.seconds = 60.0
        assert worker.read("right", 1)[2] == ""
    finally:
        worker.close()
