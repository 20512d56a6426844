"""Who may import whom in the harness, and what each module says of itself."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import conformance

PACKAGE = Path(conformance.__file__).parent
PROJECT = Path(__file__).parents[1]

# What each part of the package may import of the others. The three packages `read`, `play` and
# `report` never import each other; only a session and its faces see all of them.
NOUNS = ("text", "mistakes", "arguments", "model")
FACES = ("session", "playing", "cli", "pytest_cases", "pytest_plugin", "__main__")
MAY_IMPORT = {
    **{noun: set(NOUNS[:place]) for place, noun in enumerate(NOUNS)},
    "options": set(),
    "commands": {"text"},
    **{part: set(NOUNS) for part in ("read", "report", "plan", "streams", "machine", "cache")},
    "build": {*NOUNS, "cache", "commands"},
    "watch": {"build"},
    **{part: {*NOUNS, "build"} for part in ("play", "judge")},
}

# Modules of others that one module of ours keeps to itself; two have two.
KEPT = {
    "pexpect": {"play.terminal"},
    "pty": {"play.terminal"},
    "pyte": {"play.screen"},
    "psutil": {"play.system"},
    "jinja2": {"report.page"},
    "termios": {"play.terminal"},
    "socket": {"play.tcp", "play.network"},
    "yaml": {"read.yaml_tree"},
    "pytest": {"pytest_cases", "pytest_plugin"},
}

MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path
    for path in sorted(PACKAGE.rglob("*.py"))
    if path.name != "__init__.py"
}


def imports(name: str) -> Iterator[str]:
    """The modules that a module imports, each by its whole name."""
    for node in ast.walk(ast.parse(MODULES[name].read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide what is imported"
            assert node.module
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def parts(name: str) -> set[str]:
    """The parts of this package that a module imports; its version is none."""
    found = {module.split(".")[1] for module in imports(name) if module.startswith("conformance.")}
    return found - {"__version__", name.split(".")[0]}


@pytest.mark.parametrize("name", MODULES)
def test_read_and_play_and_report_never_import_each_other(name: str) -> None:
    part = name.split(".")[0]
    if part not in FACES:
        assert parts(name) <= MAY_IMPORT[part]


@pytest.mark.parametrize("module", KEPT)
def test_one_module_alone_imports(module: str) -> None:
    users = {name for name in MODULES if module in {one.split(".")[0] for one in imports(name)}}
    assert users <= KEPT[module]


@pytest.mark.parametrize("name", MODULES)
def test_every_module_says_what_it_is_for(name: str) -> None:
    docstring = ast.get_docstring(ast.parse(MODULES[name].read_text("utf-8")))
    assert docstring
    assert len(docstring.splitlines()[0]) <= 100


def test_nothing_sleeps() -> None:
    """Every wait is for an event: what merely lets time pass is too short, or too long."""
    sleeping = re.compile(r"\bsleep\s*\(|\bsleep\s+[0-9.]+|import sleep")
    found = [
        f"{path.relative_to(PROJECT)}:{number}: {line.strip()}"
        for folder in ("conformance", "scenarios", "tests")
        for path in sorted((PROJECT / folder).rglob("*"))
        if path.suffix in (".py", ".yaml") and path != Path(__file__)
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if sleeping.search(line)
    ]
    assert not found
