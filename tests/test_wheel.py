"""The wheel: what is installed is the program, and nothing else."""

from __future__ import annotations

import configparser
import shutil
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SHIPPED = ("pyproject.toml", "README.md", "nvcodec.py", "cli.py", "codec", "bitstream", "benchmarks", "tests")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel, built from a copy, so that the build leaves nothing in the work tree."""
    source = tmp_path_factory.mktemp("source")
    for name in SHIPPED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, source / name)
    command = [
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "--outdir",
        str(source / "dist"),
        str(source),
    ]
    subprocess.run(command, check=True, capture_output=True)
    (path,) = (source / "dist").glob("nvcodec-*.whl")
    return zipfile.ZipFile(path)


def test_wheel_holds_the_modules_the_format_and_the_bases_but_no_tests(wheel: zipfile.ZipFile) -> None:
    names = {n for n in wheel.namelist() if ".dist-info/" not in n}
    sources = {p.relative_to(ROOT).as_posix() for top in ("codec", "bitstream") for p in (ROOT / top).rglob("*.py")}
    bases = {p.relative_to(ROOT).as_posix() for p in (ROOT / "codec/network/predictive/bases").iterdir()}
    assert any(name.endswith("/base-1.safetensors") for name in bases)
    assert names == sources | bases | {"nvcodec.py", "cli.py", "bitstream/FORMAT.md"}


def test_wheel_installs_the_command(wheel: zipfile.ZipFile) -> None:
    (path,) = (n for n in wheel.namelist() if n.endswith("entry_points.txt"))
    entry_points = configparser.ConfigParser()
    entry_points.read_string(wheel.read(path).decode())
    assert dict(entry_points["console_scripts"]) == {"nvcodec": "nvcodec:main"}


def test_wheel_says_what_it_needs(wheel: zipfile.ZipFile) -> None:
    (path,) = (n for n in wheel.namelist() if n.endswith("/METADATA"))
    metadata = Parser().parsestr(wheel.read(path).decode())
    assert metadata["Name"] == "nvcodec"
    assert metadata["Requires-Python"] == ">=3.10"
    needed = {r.split(";")[0] for r in metadata.get_all("Requires-Dist", []) if "extra ==" not in r}
    assert any(r.startswith("torch>=") for r in needed)
    assert any(r.startswith(("open_clip_torch", "open-clip-torch")) for r in needed)
    assert not any(r.startswith(("pytest", "matplotlib")) for r in needed)
