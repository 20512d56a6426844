"""The layers of the harness: which module may import which, and the docstrings of modules."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import conformance

PACKAGE = Path(conformance.__file__).parent
PROJECT = Path(__file__).parents[1]

# What each part of the package may import of the others, and some modules less than their part. The
# three packages `read`, `play` and `report` never import each other; only a session and its faces
# see all of them.
NOUNS = ("text", "mistakes", "arguments", "model", "kit")
FACES = ("session", "cli", "pytest_plugin", "guide", "__main__")
MAY_IMPORT = {
    **{noun: set(NOUNS[:place]) for place, noun in enumerate(NOUNS)},
    **{part: set(NOUNS) for part in ("read", "report", "plan", "builds")},
    **{part: {*NOUNS, "builds"} for part in ("play", "judge")},
    "builds.commands": {"text"},
    "cli.streams": {"text"},
    "session.options": set(),
    "session.shard": {"model"},
}

# Modules of others that one module of ours keeps to itself; a few have several.
KEPT = {
    "pexpect": {"play.terminals.terminal"},
    "pty": {"play.terminals.terminal"},
    "pyte": {"play.terminals.screen"},
    "psutil": {"play.processes.system"},
    "jinja2": {"report.page.draw"},
    "pygments": {"report.compare.source"},
    "rich": {"guide.pictures"},
    "termios": {"play.terminals.terminal"},
    "socket": {
        "play.network.tcp",
        "play.network.sockets",
        "play.network.fixed_ports",
        "play.network.own_network",
    },
    "yaml": {"read.yaml_tree"},
    "pytest": {"pytest_plugin", "pytest_plugin.cases"},
}

MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
    if path.parent != PACKAGE or path.name != "__init__.py"
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
    if name in MAY_IMPORT or part not in FACES:
        assert parts(name) <= MAY_IMPORT[name if name in MAY_IMPORT else part]


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
