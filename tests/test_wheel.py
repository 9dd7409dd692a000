"""The wheel: what is installed is the program, in one package, and nothing else; and it runs among others."""

from __future__ import annotations

import ast
import configparser
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from dataclasses import dataclass
from email.parser import Parser
from pathlib import Path

import pytest

from setup import MOVED, packaged
from tests.samples import moving_frames, write_images

ROOT = Path(__file__).resolve().parents[1]
SHIPPED = ("pyproject.toml", "setup.py", "README.md", "nvcodec.py", "cli.py", "codec", "bitstream", "benchmarks")
FOREIGN = 'import sys\nprint("foreign", __name__, file=sys.stderr)\n'


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy, so that the build leaves nothing in the work tree."""
    source = tmp_path_factory.mktemp("source")
    for name in SHIPPED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, source / name)
    (source / "build" / "lib" / "codec").mkdir(parents=True)  # left by an earlier build
    (source / "build" / "lib" / "codec" / "gone.py").touch()
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", source / "dist", source]
    subprocess.run([*map(str, command)], check=True, capture_output=True)
    (path,) = (source / "dist").glob("nvcodec-*.whl")
    return path


def text(wheel: Path, end: str) -> str:
    """The one file of a wheel whose name ends so."""
    with zipfile.ZipFile(wheel) as file:
        (name,) = (n for n in file.namelist() if n.endswith(end))
        return file.read(name).decode()


def test_wheel_holds_one_package_with_the_modules_the_format_and_the_bases_but_no_tests(wheel: Path) -> None:
    names = {n for n in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in n}
    sources = {p.relative_to(ROOT).as_posix() for top in ("codec", "bitstream") for p in (ROOT / top).rglob("*.py")}
    bases = {p.relative_to(ROOT).as_posix() for p in (ROOT / "codec/network/predictive/bases").iterdir()}
    assert any(name.endswith("/base-5.safetensors") for name in bases)
    ours = sources | bases | {"cli.py", "bitstream/FORMAT.md", "__init__.py", "__main__.py", "py.typed"}
    assert names == {f"nvcodec/{name}" for name in ours}
    assert text(wheel, "/top_level.txt") == "nvcodec\n"


def test_wheel_imports_nothing_of_ours_by_the_names_of_the_repository(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as file:
        trees = {name: ast.parse(file.read(name)) for name in file.namelist() if name.endswith(".py")}
    found = [
        (name, module)
        for name, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for module in ([node.module] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names])
    ]
    assert len(found) > 100
    assert [(name, module) for name, module in found if str(module).partition(".")[0] in MOVED] == []


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("from codec.errors import CodecError\n", "from nvcodec.codec.errors import CodecError\n"),
        ("if 1:\n    from codec import (\n        video,  # a\n    )\n", None),
        ("import cli\n", "import nvcodec.cli as cli\n"),
        ("import os, cli, codec.video as v\n", "import os, nvcodec.cli as cli, nvcodec.codec.video as v\n"),
        ('"""from codec import a"""\n# import cli\nimport codecs\nfrom codecs import open\n', ""),
        ("from nvcodec import main\nfrom .cli import main\n", ""),
    ],
)
def test_imports_are_rewritten_and_nothing_else(source: str, expected: str | None) -> None:
    if expected is None:
        expected = source.replace("from codec ", "from nvcodec.codec ")
    assert packaged(source) == (expected or source)


def test_an_import_that_binds_another_name_is_refused() -> None:
    with pytest.raises(ValueError, match=r"line 2: import codec\.video: write it as"):
        packaged("import os\nimport codec.video\n")


def test_wheel_installs_the_command(wheel: Path) -> None:
    entry_points = configparser.ConfigParser()
    entry_points.read_string(text(wheel, "entry_points.txt"))
    assert dict(entry_points["console_scripts"]) == {"nvcodec": "nvcodec:main"}


def test_wheel_says_what_it_needs(wheel: Path) -> None:
    metadata = Parser().parsestr(text(wheel, "/METADATA"))
    assert metadata["Name"] == "nvcodec"
    assert metadata["Requires-Python"] == ">=3.10"
    requirements = [r.replace("-", "_").replace("'", '"') for r in metadata.get_all("Requires-Dist", [])]
    needed = [r for r in requirements if "extra ==" not in r]
    assert any(r.startswith("torch>=") for r in needed)
    extras = ("open_clip_torch", "huggingface_hub", "tensorboard", "imageio", "pytest", "matplotlib")
    assert [r for r in needed if r.startswith(extras)] == []
    for package, extra in (("open_clip_torch", "clip"), ("tensorboard", "tensorboard"), ("imageio", "imageio")):
        assert any(r.startswith(f"{package}>=") and f'extra == "{extra}"' in r for r in requirements)


@dataclass(frozen=True)
class Installed:
    """An environment with the wheel, the dependencies of this one, and packages of others that have our names."""

    python: Path
    site: Path
    cwd: Path

    def run(self, *words: object) -> subprocess.CompletedProcess[str]:
        """Run Python in it, elsewhere than in the repository."""
        command = [str(self.python), *map(str, words)]
        environment = {"OMP_NUM_THREADS": "1", "NVCODEC_CACHE": str(self.cwd / "cache")}
        return subprocess.run(command, cwd=self.cwd, env=environment, capture_output=True, text=True)


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder / "venv", symlinks=True)
    site = Path(sysconfig.get_path("purelib", vars={"base": str(folder / "venv")}))
    pip = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--no-deps", "--no-index"]
    subprocess.run([*pip, "--target", str(site), str(wheel)], check=True, capture_output=True)
    for name in MOVED:
        (site / f"{name}.py").write_text(FOREIGN)
    # Behind its own packages; a .pth inside is not obeyed, so that an editable nvcodec there is not found.
    paths = dict.fromkeys(sysconfig.get_path(kind) for kind in ("purelib", "platlib"))
    (site / "dependencies.pth").write_text("\n".join(paths) + "\n")
    (folder / "elsewhere").mkdir()
    return Installed(folder / "venv" / "bin" / "python", site, folder / "elsewhere")


def test_the_packages_of_others_stay_what_they_are(installed: Installed) -> None:
    ended = installed.run("-c", "import nvcodec, bitstream, cli, codec; print(nvcodec.__file__)")
    assert ended.stderr == "foreign bitstream\nforeign cli\nforeign codec\n"
    assert Path(ended.stdout.strip()).is_relative_to(installed.site)


def test_every_module_can_be_imported_and_none_of_others_is(installed: Installed) -> None:
    code = (
        "import nvcodec, pkgutil, sys\n"
        "from nvcodec import PRESETS, NervDataset, NervReader, decode, encode, register_imageio\n"
        "names = [m.name for m in pkgutil.walk_packages(nvcodec.__path__, 'nvcodec.') if '__main__' not in m.name]\n"
        "for name in names: __import__(name)\n"
        "assert not {'bitstream', 'cli', 'codec'} & set(sys.modules)\n"
        "print(len(names))\n"
    )
    ended = installed.run("-c", code)
    assert ended.returncode == 0, ended.stderr
    assert "foreign" not in ended.stderr
    assert int(ended.stdout) > 60


def test_the_installed_program_encodes_decodes_and_tells(installed: Installed) -> None:
    write_images(installed.cwd / "frames", moving_frames(3, 24, 40))
    encode = ("encode", "frames", "-o", "v.nerv", "--preset", "fast", "--clip", "off", "--device", "cpu", "--quiet")
    decode = ("decode", "v.nerv", "-o", "out", "--device", "cpu", "--quiet")
    for words, said in (
        (("--help",), "nvcodec encode video.mp4"),
        (encode, ""),
        (decode, ""),
        (("info", "v.nerv"), "3 frames of 40x24"),
    ):
        ended = installed.run("-m", "nvcodec", *words)
        assert (ended.returncode, ended.stderr) == (0, ""), words
        assert said in ended.stdout
    assert len(list((installed.cwd / "out").glob("*.png"))) == 3
    script = installed.run(installed.site / "bin" / "nvcodec", "--version")
    assert script.stdout == installed.run("-m", "nvcodec", "--version").stdout
    bases = installed.run("-m", "nvcodec.codec.base", "--help")
    assert bases.stdout.startswith("Usage: python -m nvcodec.codec.base ")
