"""implementation.yaml: all that it takes for a program to join."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

from conformance.mistakes import Fault, Mistake, Place, Problems, meant
from conformance.model import Implementation, Kind, Role, Scenario, Suite
from conformance.read.suite import (
    SuiteFile,
    check_filled,
    command_line,
    known_features,
    program_arguments,
    ready_line,
)
from conformance.read.yaml_tree import Node, read, record

MANIFEST_FILE = "implementation.yaml"

_FILLED = ("build", "python")  # in commands


def find(folders: Iterable[Path]) -> list[Implementation]:
    """The implementations in these folders, or in their direct subfolders; raises Mistake."""
    problems = Problems()
    found: dict[str, Implementation] = {}
    for folder in folders:
        for path in _manifests(folder, problems):
            with problems.gathered():
                _add(found, load(path))
    problems.report()
    return sorted(found.values(), key=lambda one: (one.role != Role.SERVER, one.name))


def _add(found: dict[str, Implementation], one: Implementation) -> None:
    other = found.setdefault(one.label, one)
    if other.place != one.place:
        message = f"the {one.role} `{one.name}` stands at {other.place} already"
        raise Fault(one.place, message)


def _manifests(folder: Path, problems: Problems) -> list[Path]:
    if (folder / MANIFEST_FILE).is_file():
        return [folder / MANIFEST_FILE]
    below = sorted(folder.glob(f"*/{MANIFEST_FILE}"))
    if not below:
        problems.add(Mistake([f"{folder}: holds no {MANIFEST_FILE}, nor does a folder in it"]))
    return below


def load(path: Path) -> Implementation:
    """One manifest; raises Mistake."""
    readers: dict[str, Callable[[Node], object]] = {
        "name": _name,
        "role": _role,
        "language": partial(Node.words, what="`language`"),
        "needs": lambda node: tuple(_names(node)),
        "build": _command,
        "run": _command,
        "features": lambda node: frozenset(_names(node)),
        "known_failures": _known_failures,
        "arguments": program_arguments,
        "port": lambda node: node.count("`port`", most=65535),
        "ready": ready_line,
    }
    root = read(path)
    problems = Problems()
    needed = ("name", "role", "language", "run")
    parts = record(root, "a manifest", readers, needed, problems)
    problems.report()
    return Implementation(folder=path.parent, place=root.place, places=_places(root), **parts)


def _places(root: Node) -> dict[str, Place]:
    """Where each feature and each known failure stands; their names differ by the `/`."""
    entries = root.mapping("a manifest")
    features = entries["features"].items("features") if "features" in entries else []
    failures = entries["known_failures"].keys if "known_failures" in entries else {}
    return {str(node.value): node.place for node in features} | failures


def check_against(
    implementations: Iterable[Implementation], suite: SuiteFile, scenarios: Sequence[Scenario]
) -> None:
    """See that what is named is there: folders, features of the text, failures of the suite.

    A run of some of a suite's files reads no others, so that nothing in those can stop it. Known
    failures of files that were not read are therefore held to the files' names alone.
    """
    problems = Problems()
    for node in suite.unmatched:
        message = f"`{node.value}` names no folder with an {MANIFEST_FILE}; mend it or take it out"
        problems.add(node.fault(message))
    for one in implementations:
        for feature in sorted(one.features - known_features(suite)):
            message = f"no rule of the protocol text is marked with the feature `{feature}`"
            remedy = meant(feature, known_features(suite))
            problems.add(Fault(one.places.get(feature, one.place), f"{message}; {remedy}"))
        for key in one.known_failures:
            with problems.gathered():
                _check_known_failure(one, key, suite, scenarios)
    problems.report()


def _check_known_failure(
    one: Implementation, key: str, suite: Suite, scenarios: Sequence[Scenario]
) -> None:
    place = one.places.get(key, one.place)
    file, slash, _ = key.partition("/")
    read_here = {Path(scenario.file).stem for scenario in scenarios}
    if slash and file not in read_here and (suite.folder / f"{file}.yaml").is_file():
        return
    names = {name: scenario for scenario in scenarios for name in _names_of(scenario)}
    if key not in names:
        remedy = meant(key, names)
        raise Fault(
            place, f"no such scenario `{key}`, written `FILE/ID` or `FILE/ID:EXAMPLE`; {remedy}"
        )
    if not _plays(names[key], one):
        raise Fault(place, f"`{key}` is never played by {one.role} {one.name}; take it out")


def _names_of(scenario: Scenario) -> tuple[str, str]:
    """The name of an example, and that of the whole scenario."""
    return scenario.key, scenario.key.partition(":")[0]


def _plays(scenario: Scenario, one: Implementation) -> bool:
    """Whether an implementation takes part in some case of a scenario that is played."""
    absent = Kind.CLIENT if one.role is Role.SERVER else Kind.SERVER
    needed = scenario.needs.get(one.role, frozenset())
    barred = scenario.without.get(one.role, frozenset())
    return scenario.kind is not absent and needed <= one.features and not barred & one.features


def _name(node: Node) -> str:
    name = node.text("`name`")
    if not re.fullmatch("[A-Za-z0-9][A-Za-z0-9-]*", name) or name == "mixed":
        raise node.fault("a name is letters, digits and `-`, and not `mixed`")
    return name


def _role(node: Node) -> Role:
    role = node.text("`role`")
    if role not in list(Role):
        raise node.fault(f"no such role `{role}`; {meant(role, Role)}")
    return Role(role)


def _command(node: Node) -> str:
    command = command_line(node)
    check_filled(node, command, _FILLED)
    return command


def _names(node: Node) -> list[str]:
    names: list[str] = []
    for entry in node.items("a list of names"):
        name = entry.text("a name")
        if not re.fullmatch(r"[\w.+-]+", name):
            raise entry.fault(f"`{name}` is no name; use letters, digits and `-`")
        if name in names:
            raise entry.fault(f"`{name}` stands here twice")
        names.append(name)
    return names


def _known_failures(node: Node) -> dict[str, str]:
    return {
        key: entry.words("the reason of a known failure")
        for key, entry in node.mapping("`known_failures`").items()
    }
