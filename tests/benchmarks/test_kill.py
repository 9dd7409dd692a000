"""A killed encode, resumed."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import kill


@pytest.mark.parametrize("kind", kill.ENCODES)
def test_a_killed_encode_gives_the_same_bytes_when_it_is_resumed(kind: str, tmp_path: Path) -> None:
    ((moment, left, same),) = kill.kills(kind, 1, seed=4, folder=tmp_path)
    assert moment > 0
    assert left
    assert same


def test_another_file_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kill, "start", lambda kind, frames, output, *words: Fake(output))
    assert [same for _, _, same in kill.kills("predictive", 3, seed=1, folder=tmp_path)] == [False] * 3


class Fake:
    """An encode that gives another file each time."""

    number = 0
    returncode = 0
    pid = 0

    def __init__(self, output: Path) -> None:
        Fake.number += 1
        output.write_bytes(bytes([Fake.number]))

    def communicate(self) -> tuple[None, bytes]:
        return None, b""

    def poll(self) -> int:
        return 0

    def kill(self) -> None:
        pass
