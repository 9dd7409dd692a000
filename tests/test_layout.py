"""The import rule: nvcodec -> cli, benchmarks -> codec -> bitstream -> numpy, constriction; no decoder trains."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys

import pytest

from codec.kinds import KINDS
from tests.layers import DRAWN, ROOT, drawing, imports, modules, wing

OURS = ("nvcodec", "cli", "benchmarks", "codec", "bitstream", "tests")
COMMANDS = {"codec.base.__main__", "codec.help"}  # command lines that stand in a wing
MAY_IMPORT = {
    "bitstream": {"bitstream"},
    "codec": {"codec", "bitstream"},
    "cli": {"codec", "bitstream"},
    "nvcodec": {"cli", "codec"},
    "benchmarks": {"benchmarks", "cli", "codec", "bitstream"},
}

# Wings of codec/ from the ground up: a module imports its own wing and those that are named for it.
GROUND = {"errors", "versions", "extras", "atomic", "quality", "patches", "specs", "kinds", "settings", "side_by_side"}
WINGS = {
    "video": GROUND,
    "features": GROUND,
    "network": GROUND,
    "rate": GROUND | {"network"},
    "decoding": GROUND | {"video", "network", "rate", "features"},
    "training": GROUND | {"network", "rate"},
    "encoding": GROUND | {"video", "features", "network", "rate", "training", "decoding"},
    "base": GROUND | {"video", "features", "network", "rate", "training", "decoding", "encoding"},
}

DECODING = (
    "codec.decoding.outputs",
    "codec.decoding.reader",
    "codec.decoding.info",
    "codec.decoding.verify",
    "codec.video",
    *(kind.network for kind in KINDS),
)
FITTING = {"training", "encoding", "features", "base"}
TEACHING = {"open_clip", "torchvision", "timm", "huggingface_hub"}


def reached(roots: tuple[str, ...]) -> dict[str, str]:
    """Modules of ours that importing the roots brings in, each with the chain of imports that leads to it."""
    chains = {root: root for root in roots}
    queue = list(roots)
    while queue:
        module = queue.pop(0)
        parents = {module.rpartition(".")[0]} - {""}  # importing a module imports its package first
        for name in sorted(imports(module, lazy=False) | parents):
            if name in modules() and name not in chains:
                chains[name] = f"{chains[module]} -> {name}"
                queue.append(name)
    return chains


def test_the_walk_sees_what_is_there() -> None:
    assert {"cli", "codec.features.teacher", "codec.video.source", "bitstream.header", "benchmarks.demo"} <= set(
        modules()
    )
    assert {"bitstream.header", "codec.errors", "open_clip", "numpy"} <= imports("codec.features.teacher")
    assert "open_clip" not in imports("codec.features.teacher", lazy=False)
    assert "codec.features.teacher" in reached(("codec.encoding.pipeline",))


@pytest.mark.parametrize("module", sorted(modules()))
def test_imports_point_one_way(module: str) -> None:
    top = module.partition(".")[0]
    ours = {name.partition(".")[0] for name in imports(module)} & set(OURS)
    assert ours <= MAY_IMPORT[top] | ({"cli"} if module in COMMANDS else set())


@pytest.mark.parametrize("module", sorted(m for m in modules() if wing(m) in WINGS))
def test_wings_import_those_below_them(module: str) -> None:
    ours = {wing(name) for name in imports(module)} - {""}
    assert ours <= WINGS[wing(module)] | {wing(module)}


@pytest.mark.parametrize("module", sorted(m for m in modules() if wing(m) != "base"))
def test_no_codec_needs_what_makes_bases(module: str) -> None:
    assert "base" not in {wing(name) for name in imports(module)}


@pytest.mark.parametrize("module", sorted(modules()))
def test_imports_are_absolute(module: str) -> None:
    tree = ast.parse(modules()[module].read_text())
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level]


@pytest.mark.parametrize("module", sorted(m for m in modules() if m.partition(".")[0] == "bitstream"))
def test_bitstream_needs_only_numpy_and_constriction(module: str) -> None:
    tops = {name.partition(".")[0] for name in imports(module)}
    assert tops - set(sys.stdlib_module_names) <= {"numpy", "constriction", "bitstream"}


@pytest.mark.parametrize(
    "module", sorted(m for m in modules() if m.partition(".")[0] in ("bitstream", "codec") and m not in COMMANDS)
)
def test_click_lives_in_the_command_lines(module: str) -> None:
    assert "click" not in {name.partition(".")[0] for name in imports(module)}


@pytest.mark.parametrize("module", sorted(m for m in modules() if m.partition(".")[0] == "codec"))
def test_open_clip_is_imported_only_when_a_teacher_is_asked_for(module: str) -> None:
    tops = {name.partition(".")[0] for name in imports(module)} & TEACHING
    assert not tops or module == "codec.features.teacher"
    assert not {name.partition(".")[0] for name in imports(module, lazy=False)} & TEACHING


def test_decoding_does_not_reach_the_training_side() -> None:
    chains = reached(DECODING)
    assert [chain for name, chain in chains.items() if wing(name) in FITTING] == []


def loaded_by(*names: str) -> set[str]:
    """All modules that a process has loaded once it has imported these."""
    code = f"import sys, {', '.join(names)}; print('\\n'.join(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    return set(found.stdout.split())


def test_decoding_loads_neither_training_side_nor_teacher() -> None:
    loaded = loaded_by(*DECODING)
    assert set(DECODING) <= loaded
    assert loaded & (TEACHING | {"click", "tensorboard"}) == set()
    assert [name for name in loaded if wing(name) in FITTING] == []


@pytest.mark.parametrize(
    ("module", "unneeded"),
    [
        ("codec.decoding.reader", {"av", "PIL", "pytorch_msssim", "rich"}),
        ("codec.decoding.info", {"av", "PIL", "torch"}),
        ("codec.kinds", {"torch"}),
        ("bitstream", {"torch", "codec"}),
        ("cli", {"torch", "av", "PIL", "rich"}),
        ("nvcodec", {"cli", "codec", "bitstream"}),
    ],
)
def test_what_is_not_needed_is_not_loaded(module: str, unneeded: set[str]) -> None:
    assert loaded_by(module) & unneeded == set()


@pytest.mark.parametrize("name", ["bitstream", "codec", "codec.video", "codec.features", "nvcodec"])
def test_all_is_what_a_package_offers(name: str) -> None:
    package = importlib.import_module(name)
    assert len(package.__all__) == len(set(package.__all__))
    for exported in package.__all__:
        assert getattr(package, exported) is not None
    offered: set[str] = set()
    for node in ast.parse(modules()[name].read_text()).body:
        if isinstance(node, ast.ImportFrom) and (node.level or str(node.module).partition(".")[0] in OURS):
            offered.update(alias.asname or alias.name for alias in node.names)
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            offered.add(node.name)
    assert {n for n in offered if not n.startswith("_")} <= set(package.__all__)


def test_the_drawing_of_the_layers_is_that_of_the_code() -> None:
    assert drawing() in DRAWN.read_text(), "run python -m tests.layers"
