"""The wheel: what stands side by side in the repository becomes one import package, `nvcodec`.

nvcodec.py becomes nvcodec/__init__.py, and cli.py, codec/ and bitstream/ stand beside it; their imports of each other
are rewritten to match. An editable installation is the repository as it is. All settings are in pyproject.toml.
"""

from __future__ import annotations

import ast
import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.command.egg_info import egg_info

PACKAGE = "nvcodec"
MOVED = ("bitstream", "cli", "codec")  # what the package takes in
MAIN = f"""\
\"\"\"`python -m {PACKAGE}`.\"\"\"

from {PACKAGE} import main

main()
"""


def packaged(source: str) -> str:
    """The text of a module as it stands in the package: its imports say so, and nothing else differs.

    `from codec.x import y` -> `from nvcodec.codec.x import y`; `import cli` -> `import nvcodec.cli as cli`. Raises
    ValueError for `import codec.x`, which binds a name that the package does not have.
    """
    inserted: list[tuple[int, int, str]] = []  # line, column, text
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and not node.level and _moved(node.module):
            inserted.append((node.lineno, node.col_offset + len("from "), f"{PACKAGE}."))
        for name in node.names if isinstance(node, ast.Import) else ():
            if not _moved(name.name):
                continue
            if not name.asname and "." in name.name:
                raise ValueError(f"line {name.lineno}: import {name.name}: write it as `from ... import` or with `as`")
            inserted.append((name.lineno, name.col_offset, f"{PACKAGE}."))
            if not name.asname:
                inserted.append((name.lineno, name.end_col_offset or 0, f" as {name.name}"))
    lines = source.split("\n")
    for number, column, text in sorted(inserted, reverse=True):
        line = lines[number - 1]
        lines[number - 1] = line[:column] + text + line[column:]
    return "\n".join(lines)


def _moved(module: str | None) -> bool:
    return (module or "").partition(".")[0] in MOVED


class BuildPackage(build_py):  # type: ignore[misc]  # setuptools has no types
    """Build all modules into one package."""

    build_lib: str

    def run(self) -> None:
        if self.editable_mode:
            super().run()
            return
        shutil.rmtree(self.build_lib, ignore_errors=True)  # modules of an earlier build would be shipped as well
        package = Path(self.build_lib) / PACKAGE
        self.build_lib = str(package)
        super().run()
        (package / f"{PACKAGE}.py").rename(package / "__init__.py")
        for path in package.rglob("*.py"):
            path.write_text(packaged(path.read_text(encoding="utf-8")), encoding="utf-8")
        (package / "__main__.py").write_text(MAIN)
        (package / "py.typed").touch()


class TellPackage(egg_info):  # type: ignore[misc]
    """Say in the metadata which package there is."""

    egg_info: str

    def run(self) -> None:
        super().run()
        (Path(self.egg_info) / "top_level.txt").write_text(f"{PACKAGE}\n")


if __name__ == "__main__":
    setup(cmdclass={"build_py": BuildPackage, "egg_info": TellPackage})
