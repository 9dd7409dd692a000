"""Who imports whom, read from the source; `python -m tests.layers` draws it into docs/architecture.md."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DRAWN = ROOT / "docs" / "architecture.md"
BEGIN, END = "<!-- layers:begin -->", "<!-- layers:end -->"
GROUND = "codec/*.py"  # the modules of codec/ that stand in no wing


@cache
def modules() -> dict[str, Path]:
    """Every module that is shipped or benchmarks what is, by name."""
    paths = [
        ROOT / "nvcodec.py",
        ROOT / "cli.py",
        *(p for package in ("benchmarks", "codec", "bitstream") for p in (ROOT / package).rglob("*.py")),
    ]
    return {".".join(p.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): p for p in paths}


@cache
def imports(module: str, lazy: bool = True) -> frozenset[str]:
    """Modules that a module names in its import statements; those inside functions only if lazy."""
    path = modules()[module]
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    found: set[str] = set()
    for node in _statements(ast.parse(path.read_text(), str(path)), lazy):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package.split(".")[: len(package.split(".")) - node.level + 1]) if node.level else ""
            source = ".".join(part for part in (base, node.module) if part)
            found.add(source)
            found.update(name for alias in node.names if (name := f"{source}.{alias.name}") in modules())
    return frozenset(found)


def wing(module: str) -> str:
    """The wing of codec/ that a module stands in, or its name where it stands in none: codec.rate.steps -> rate."""
    return module.split(".")[1] if module.startswith("codec.") else ""


def _statements(node: ast.AST, lazy: bool) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            continue  # never runs
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)) and not lazy:
            continue
        yield child
        yield from _statements(child, lazy)


def room(module: str) -> str:
    """What the drawing shows for a module: codec/rate, GROUND, bitstream, cli, ..."""
    top, *rest = module.split(".")
    if top != "codec":
        return top
    return f"codec/{rest[0]}" if rest and (ROOT / "codec" / rest[0]).is_dir() else GROUND


def drawing() -> str:
    """The rooms, each below all that import it, with what it imports."""
    below: dict[str, set[str]] = {room(module): set() for module in modules()}
    for module in modules():
        if module != "codec":  # its public names are those of all wings, imported when asked for
            below[room(module)] |= {room(name) for name in imports(module) if name in modules()} - {room(module)}
    lines, left = [], dict(below)
    while left:
        top = sorted(name for name in left if not any(name in others for others in left.values()))
        lines += [f"{name:16} -> {', '.join(sorted(below[name], reverse=True)) or '-'}" for name in top]
        left = {name: others for name, others in left.items() if name not in top}
        lines += ["-" * 16] if left else []
    return "\n".join(["```", *lines, "```"])


def main() -> None:
    text = DRAWN.read_text()
    DRAWN.write_text(re.sub(f"{BEGIN}.*{END}", f"{BEGIN}\n{drawing()}\n{END}", text, flags=re.DOTALL))


if __name__ == "__main__":
    main()
