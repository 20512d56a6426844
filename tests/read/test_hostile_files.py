"""Our own files with hundreds of random errors: each is read, or each mistake has a place.

The same seed makes the same errors.
"""

from __future__ import annotations

import copy
import re
import shutil
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import pytest
import yaml
from checkout import ROOT

from conformance.arguments import Pattern
from conformance.mistakes import Mistake
from conformance.model import Scenario
from conformance.read import manifest
from conformance.read.scenario import load

SEEDS = range(500)
SUITE = ROOT / "scenarios" / "suite.yaml"
SCENARIOS = [path for path in sorted(SUITE.parent.glob("*.yaml")) if path != SUITE]
MANIFESTS = sorted(ROOT.glob("*/*/implementation.yaml"))

TOLD = re.compile(r"[^:]+:[0-9]+:[0-9]+: \S.*")
VALUES = {"host": "127.0.0.1", "port": "1", "scratch": "/tmp/a b+[c]{d}\"e'"}

# Hostile values, as written in a file; each one replaces a right value.
HOSTILE = [
    *('""', "''", "~", "null", "[]", "{}", "[[]]", "[{}]", "{a: }", "[a, [b, {c: d}]]", '" "'),
    *("yes", "no", "on", "Off", "TRUE", "y", "=", "<<", "0", "-1", "1.5", "010", "0x10", "0b1"),
    *("1_000", "1:30", "1e3", "1e400", ".inf", "-.inf", ".nan", "9" * 401, "9" * 5000, "1" * 15),
    *('!!int ""', "!!float x", "!!timestamp x", "!!binary '='", "!!set {a}", "!!null a", "! 5"),
    *("!!python/object:os.system {}", "!!python/name:os.system x", "!!bool x", "!!str 5", "!x y"),
    *("!!omap [a: b]", "!!merge x", "*nobody", "&a [*a]", "&a x", "{<<: {a: b}}", "2001-01-01"),
    *('"\\0"', '"\\ud800"', '"\\udcff"', '"\\x07"', '"\\u2028"', '"\\uFEFF"', '"a\\nb"', '"a\\r"'),
    *(
        "|\n x\n y\n",
        "\0",
        "\x07",
        "\t",
        "\ufeff",
        "\u0085x",
        "@",
        "`",
        "%",
        "? a",
        "- a",
        "&",
        "*",
    ),
    *("'{'", "'{{'", "'{n}'", "'{host}'", "'{scratch}'", "'{nobody}'", "'{actor}'", "'{{{port}'"),
    *(
        "{line: a, times: 0}",
        "{line: a, times: 999999999}",
        "{line: '{n}', times: 3}",
        "{line: []}",
    ),
    *("{matches: '('}", "{matches: '.*'}", "{matches: '[[a]'}", "{matches: 'a{9999999999}'}"),
    *("{matches: '[z-{scratch}]'}", "{starts: ''}", "{json: {}}", "{json: {a: [b]}}", "{hex: f}"),
    *("{hex: 'ff', times: 99999999}", "{text: '', times: 2}", "{last: []}", "{last: {last: a}}"),
    *("server", "client", "wire", "scripted", "mixed", "in turn", "everyone", "starts", "exits"),
    *("/", "../..", "/dev/null", "/etc", "closed", "nowhere", "80x24", "999999x9", "0x0", "SIGHUP"),
    *("99999999999 GiB", "16 MiB", "nonzero", "256", "999999999", "Ctrl+C", "A-1", "CHAT-1", "a/b"),
    *("x" * 5000, "'\\'", "\"'", "a: b: c", "[" * 60, "{a: " * 60, "\ud7ff", "\U0001f4a9", "é"),
]


@cache
def tree(path: Path) -> Any:
    """A file as nodes of the YAML library."""
    return yaml.compose(path.read_text("utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def spoilt(path: Path, random: Random, most: int = 4) -> str:
    """Parts of a file, with some entries removed, doubled, exchanged or replaced."""
    root = copy.copy(tree(path))
    if isinstance(root, yaml.SequenceNode):
        root.value = random.sample(root.value, random.randint(1, min(most, len(root.value))))
    root = copy.deepcopy(root)
    hostile: dict[str, str] = {}
    for _ in range(random.randint(1, most)):
        if holders := [node for node in nodes(root) if node.value]:
            spoil(random.choice(holders), random, hostile)
    text = yaml.serialize(root, Dumper=yaml.SafeDumper, width=10_000)
    for word, scrap in hostile.items():
        text = text.replace(word, scrap)
    return text


def nodes(root: Any) -> Iterator[Any]:
    """All nodes that are not scalars; a node with an anchor comes once for each use."""
    if isinstance(root, yaml.ScalarNode):
        return
    yield root
    pairs = isinstance(root, yaml.MappingNode)
    for value in root.value:
        yield from nodes(value[1] if pairs else value)


def spoil(node: Any, random: Random, hostile: dict[str, str]) -> None:
    """Change one entry of a list or a mapping."""
    entries, at = node.value, random.randrange(len(node.value))
    match random.randrange(6):
        case 0:
            del entries[at]
        case 1:
            entries.insert(random.randrange(len(entries)), entries[at])
        case 2:
            other = random.randrange(len(entries))
            entries[at], entries[other] = entries[other], entries[at]
        case way:
            word = f"hostile-{len(hostile)}-"
            hostile[word] = random.choice(HOSTILE)
            scalar = yaml.ScalarNode("tag:yaml.org,2002:str", word)
            if isinstance(node, yaml.MappingNode):
                key, value = entries[at]
                entries[at] = (scalar, value) if way == 3 else (key, scalar)
            else:
                entries[at] = scalar


# --- Reading -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with copies of our files, which tests may change."""
    folder = tmp_path_factory.mktemp("checkout")
    shutil.copy(ROOT / "PROTOCOL.md", folder)
    for path in [SUITE, *MANIFESTS]:
        copied = folder / path.relative_to(ROOT)
        copied.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copied)
    return folder


def read(file: Path) -> list[Scenario]:
    """Everything that is done with files before a program starts."""
    suite, scenarios = load([file])
    manifest.check_against(manifest.find(suite.implementation_folders), suite, scenarios)
    return scenarios


def told(reading: Callable[[], object]) -> list[str]:
    """The mistakes in a file; each of them must have a place."""
    problems: list[str] = []
    try:
        reading()
    except Mistake as mistake:
        problems = mistake.problems
    assert all(TOLD.fullmatch(problem) and problem.isprintable() for problem in problems), problems
    return problems


def check_lines(scenarios: list[Scenario]) -> None:
    """Check that what was read can be played, in any folder."""
    for step in (step for one in scenarios for step in one.steps):
        for pattern in patterns(step.argument):
            next(pattern.filled(VALUES).each()).meets("a line")


def patterns(argument: object) -> Iterator[Pattern]:
    if isinstance(argument, Pattern):
        yield argument
    elif isinstance(argument, tuple):
        for part in argument:
            yield from patterns(part)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_spoilt_file_is_read_or_its_mistakes_have_their_places(seed: int, checkout: Path) -> None:
    random = Random(seed)
    path = random.choice([SUITE, *MANIFESTS, *(SCENARIOS * 2)])
    copied = checkout / path.relative_to(ROOT)
    text = spoilt(path, random)
    copied.write_text(text, "utf-8")
    file = copied if path in SCENARIOS else checkout / "scenarios" / SCENARIOS[0].name
    if path not in SCENARIOS:
        file.write_text(spoilt(SCENARIOS[0], Random(0), most=1), "utf-8")
    try:
        told(lambda: check_lines(read(file)))
    finally:
        shutil.copy(path, copied)


def test_most_spoilt_files_are_wrong_in_ways_of_their_own(checkout: Path) -> None:
    """The errors reach more than the YAML parser."""
    found = set()
    for seed in range(60):
        path = checkout / "scenarios" / "chat.yaml"
        path.write_text(spoilt(ROOT / "scenarios" / "chat.yaml", Random(seed)), "utf-8")
        problems = told(lambda path=path: read(path))  # type: ignore[misc]
        found |= {re.sub("[`(].*", "", problem.split(": ", 1)[1]) for problem in problems}
    assert len(found) > 15
