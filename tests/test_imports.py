"""The modules of the harness stand in one order, and each knows only those before it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import conformance

PACKAGE = Path(conformance.__file__).parent
PROJECT = Path(__file__).parents[1]

ORDER = (
    ("__init__", "the version"),
    ("model", "the nouns: plain data"),
    ("findings", "what is told once for a program"),
    ("words", "numbers with their nouns, signs in plain characters"),
    ("streams", "standard streams and signals, put in order"),
    ("placeholder", "texts with places to fill"),
    ("match", "does a line meet an expectation"),
    ("transcript", "what was said and seen"),
    ("source", "YAML with positions, mistakes with places"),
    ("suite", "what is particular to one protocol"),
    ("verbs", "what an actor can do or see, and how that is written"),
    ("rehearsal", "from the steps as written to the steps that are played"),
    ("scenario", "scenario files"),
    ("manifest", "implementation.yaml"),
    ("plan", "scenarios × implementations: the cases"),
    ("build", "implementations made ready to run"),
    ("stage", "the one poll loop"),
    ("terminal", "terminals, and the taking of lines"),
    ("screen", "what a person sees of a terminal"),
    ("wire", "TCP connections, and the sockets of other programs"),
    ("files", "the files that programs write, line by line"),
    ("guard", "ends the programs of a worker that was killed"),
    ("process", "programs: started, watched to their end, never left behind"),
    ("actors", "plays the verbs"),
    ("runner", "plays one case"),
    ("verdict", "what an outcome means"),
    ("results", "results.json, out and in"),
    ("failure", "what a failure shows"),
    ("durations", "where the time of a run went"),
    ("tally", "counts of verdicts in a grid"),
    ("junit", "junit.xml"),
    ("page", "index.html"),
    ("report", "every report"),
    ("schedule", "in which order cases are played, and how many at a time"),
    ("pool", "cases in parallel"),
    ("machine", "how many cases may be played at the same time"),
    ("output", "the output folder: a run's own files, and no others"),
    ("session", "one run from end to end"),
    ("cli", "the command"),
    ("__main__", "the command, by `python -m`"),
    ("pytest_cases", "the same run, within pytest"),
    ("pytest_plugin", "what pytest loads in every run, with a suite or without"),
)
NAMES = [name for name, _ in ORDER]

# Modules of others that one module of ours keeps to itself; pytest has two.
KEPT = {
    "pexpect": "terminal",
    "pty": "terminal",
    "pyte": "screen",
    "psutil": "process",
    "termios": "terminal",
    "socket": "wire",
    "yaml": "source",
    "pytest": "pytest_cases pytest_plugin",
}


def imports(name: str) -> Iterator[str]:
    """The modules that a module imports, each by its whole name."""
    for node in ast.walk(ast.parse((PACKAGE / f"{name}.py").read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide what is imported"
            assert node.module
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def own(name: str) -> set[str]:
    """The modules of this package among them."""
    words = (module.split(".") for module in imports(name))
    return {word[1] for word in words if word[0] == "conformance" and word[1:2]} & set(NAMES)


def test_every_module_stands_in_the_order() -> None:
    assert sorted(NAMES) == sorted(path.stem for path in PACKAGE.glob("*.py"))


@pytest.mark.parametrize("name", NAMES)
def test_a_module_imports_only_those_before_it(name: str) -> None:
    assert own(name) <= set(NAMES[: NAMES.index(name)])


@pytest.mark.parametrize("module", KEPT)
def test_one_module_alone_imports(module: str) -> None:
    users = [name for name in NAMES if module in {found.split(".")[0] for found in imports(name)}]
    assert set(users) <= set(KEPT[module].split())


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
