"""implementation.yaml, the manifest of a program: where it is found, and how it is read.

It does not know how a program is built or run.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from conformance.mistakes import Fault, Mistake, Place, Problems, meant
from conformance.model import Implementation, Kind, Role, Scenario, Suite
from conformance.read.command_line import (
    check_template,
    command_line,
    program_arguments,
    ready_line,
)
from conformance.read.keys import TEXT, Key, Keys, Schema, alone, list_of, record, reference, words
from conformance.read.suite import SuiteFile, known_features
from conformance.read.yaml_tree import Node, read

MANIFEST_FILE = "implementation.yaml"

_FILLED = ("build", "cache", "python")  # in commands
_NAME = "[A-Za-z0-9][A-Za-z0-9-]*"
_WORD = r"[\w.+-]+"


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
    root = read(path)
    parts = record(root, "a manifest", KEYS, None)
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
    """See that what is named exists: folders, features of the text, scenarios that fail.

    A run of some files of a suite does not read the others, so that a mistake there cannot stop
    it. For a known failure in such a file, only the name of the file is checked.
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
    names = {name: scenario for scenario in scenarios for name in scenario.names}
    if key not in names:
        remedy = meant(key, names)
        raise Fault(
            place, f"no such scenario `{key}`, written `FILE/ID` or `FILE/ID:EXAMPLE`; {remedy}"
        )
    if not _plays(names[key], one):
        raise Fault(place, f"`{key}` is never played by {one.role} {one.name}; take it out")


def _plays(scenario: Scenario, one: Implementation) -> bool:
    """Whether an implementation takes part in some case of a scenario that is played."""
    absent = Kind.CLIENT if one.role is Role.SERVER else Kind.SERVER
    needed = scenario.needs.get(one.role, frozenset())
    barred = scenario.without.get(one.role, frozenset())
    return scenario.kind is not absent and needed <= one.features and not barred & one.features


def _name(node: Node) -> str:
    name = node.text("`name`")
    if not re.fullmatch(_NAME, name) or name == "mixed":
        raise node.fault("a name is letters, digits and `-`, and not `mixed`")
    return name


def _role(node: Node) -> Role:
    role = node.text("`role`")
    if role not in list(Role):
        raise node.fault(f"no such role `{role}`; {meant(role, Role)}")
    return Role(role)


def _command(node: Node) -> str:
    command = command_line(node)
    check_template(node, command, _FILLED)
    return command


def _names(node: Node) -> list[str]:
    names: list[str] = []
    for entry in node.items("a list of names"):
        name = entry.text("a name")
        if not re.fullmatch(_WORD, name):
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


KEYS: Keys[object] = {
    "name": Key(
        alone(_name),
        {"type": "string", "pattern": f"^{_NAME}$", "not": {"const": "mixed"}},
        "Unique among those of its role.",
        needed=True,
    ),
    "role": Key(alone(_role), {"enum": list(map(str, Role))}, needed=True),
    "language": Key(words("language"), TEXT, needed=True),
    "needs": Key(
        lambda node, _: tuple(_names(node)),
        reference("names"),
        "Programs that must be on PATH; without them it is unavailable, not broken.",
    ),
    "build": Key(
        alone(_command),
        TEXT,
        "A command, run in this folder; what it makes goes to `{build}`, what its tools keep "
        "for the next build to `{cache}`. No shell: no pipes, no `&&`.",
    ),
    "run": Key(
        alone(_command),
        TEXT,
        "A command, run in this folder; `{build}`, `{cache}` and `{python}` are filled in.",
        needed=True,
    ),
    "features": Key(
        lambda node, _: frozenset(_names(node)),
        reference("names"),
        "Features of the protocol text that it has.",
    ),
    "known_failures": Key(
        alone(_known_failures),
        {"type": "object", "additionalProperties": TEXT},
        "Scenarios that it fails, `FILE/ID`, and why. They are played, and must fail.",
    ),
    "arguments": Key(
        alone(program_arguments),
        TEXT,
        "Its own words for the end of the command line, in place of the suite's; `{host}`, "
        "`{port}` and, for a client, `{name}` are filled in.",
    ),
    "port": Key(
        lambda node, _: node.count("`port`", most=65535),
        {"type": "integer", "minimum": 1, "maximum": 65535},
        "The port of a program that always takes the same.",
    ),
    "ready": Key(
        alone(ready_line),
        TEXT,
        'Its own ready line, in place of the suite\'s; "" where it prints none.',
    ),
}

DEFINITIONS: dict[str, Schema] = {
    "names": list_of({"type": "string", "pattern": f"^{_WORD}$"}, uniqueItems=True),
}
