import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import process


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_memory_is_that_of_the_command_and_not_of_the_benchmark() -> None:
    held = np.ones(50_000_000)  # 400 MB here
    small = process.run(python("pass")).peak_mib
    large = process.run(python("x = bytearray(200_000_000)")).peak_mib
    assert held.sum() > 0
    assert small < 100
    assert 170 < large - small < 210


def test_seconds_are_wall_time() -> None:
    assert process.run(python("import time; time.sleep(0.2)")).seconds > 0.2


def test_output_goes_to_the_file(tmp_path: Path) -> None:
    process.run(python("import sys; print('frames'); print('progress', file=sys.stderr)"), stdout=tmp_path / "out")
    assert (tmp_path / "out").read_text() == "frames\n"


def test_a_failure_carries_the_last_words() -> None:
    with pytest.raises(process.CommandError, match=r"failed \(3\): out of memory"):
        process.run(python("import sys; print('out of memory', file=sys.stderr); sys.exit(3)"))


def test_a_long_failure_carries_its_first_and_last_words() -> None:
    with pytest.raises(process.CommandError, match=r"line 0 / line 1 / \.\.\. / line 7 / line 8$"):
        process.run(python("import sys; [print('line', i, file=sys.stderr) for i in range(9)]; sys.exit(1)"))


def test_a_command_that_is_killed_fails() -> None:
    with pytest.raises(process.CommandError, match=r"failed \(137\)"):
        process.run(python("import os; os.kill(os.getpid(), 9)"))


def test_a_missing_command_fails() -> None:
    with pytest.raises(process.CommandError, match="No such file"):
        process.run(["/nowhere/ffmpeg"])


def test_a_shown_command_names_no_machine_paths() -> None:
    assert process.shown(["/opt/bin/ffmpeg", "-i", "/home/me/a clip.mkv", "-crf", "30"]) == (
        "ffmpeg -i 'a clip.mkv' -crf 30"
    )
