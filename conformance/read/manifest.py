"""implementation.yaml, the manifest of a program: where it is found, and how it is read.

It does not know how a program is built or run.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from conformance.mistakes import Fault, Mistake, Place, Problems, meant
from conformance.model import Implementation, Kind, Role, Scenario, Suite
from conformance.read.command_line import (
    check_template,
    command_line,
    program_arguments,
)
from conformance.read.grammar import yes
from conformance.read.keys import TEXT, Key, Keys, Schema, alone, list_of, record, reference, words
from conformance.read.ready import READY_SCHEMA, ready
from conformance.read.suite import SuiteFile, known_features
from conformance.read.yaml_tree import Node, read

MANIFEST_FILE = "implementation.yaml"

MOST_START = 3600  # seconds

_FILLED = ("build", "cache", "python")  # in commands
_IN_ENVIRONMENT = (*_FILLED, "host", "port", "name", "scratch")
_EXCUSES = ("known_failures", "may_fail")
_NAME = "[A-Za-z0-9][A-Za-z0-9-]*"
_WORD = r"[\w.+-]+"
_VARIABLE = "[A-Za-z_][A-Za-z0-9_]*"


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
    _check_excuses(root, parts)
    return Implementation(folder=path.parent, place=root.place, places=_places(root), **parts)


def _places(root: Node) -> dict[str, Place]:
    """Where each feature and each failure stands."""
    entries = root.mapping("a manifest")
    features = entries["features"].items("features") if "features" in entries else []
    places = {str(node.value): node.place for node in features}
    for excuse in _EXCUSES:
        places |= entries[excuse].keys if excuse in entries else {}
    return places


def _check_excuses(root: Node, parts: Mapping[str, Mapping[str, str]]) -> None:
    """A case cannot both have to fail and only be allowed to."""
    problems = Problems()
    for key in parts.get("may_fail", {}):
        if key in parts.get("known_failures", {}):
            message = f"`{key}` stands among the known failures, too; it must fail, or it may"
            problems.add(Fault(root.mapping("a manifest")["may_fail"].keys[key], message))
    problems.report()


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
        for key in (*one.known_failures, *one.may_fail):
            with problems.gathered():
                _check_failure(one, key, suite, scenarios)
    problems.report()


def _check_failure(
    one: Implementation, key: str, suite: Suite, scenarios: Sequence[Scenario]
) -> None:
    """See that a key names a rule, or scenarios that the implementation plays."""
    place = one.places.get(key, one.place)
    if key in suite.requirements:
        return
    file, slash, _ = key.partition("/")
    read_here = {Path(scenario.file).stem for scenario in scenarios}
    if slash and file not in read_here and (suite.folder / f"{file}.yaml").is_file():
        return
    named = [scenario for scenario in scenarios if scenario.is_named_by(key)]
    if not named:
        known = [name for scenario in scenarios for name in scenario.names]
        remedy = meant(key, [*known, *suite.requirements] if not slash else known)
        how = "written `FILE/ID` or `FILE/ID:EXAMPLE`, with `*` for any part"
        raise Fault(place, f"no such scenario or rule `{key}`, {how}; {remedy}")
    if not any(_plays(scenario, one) for scenario in named):
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
    return _reasons(node, "known_failures", "the reason of a known failure")


def _may_fail(node: Node) -> dict[str, str]:
    return _reasons(node, "may_fail", "the reason why it may fail")


def _reasons(node: Node, name: str, what: str) -> dict[str, str]:
    return {key: entry.words(what) for key, entry in node.mapping(f"`{name}`").items()}


def _environment(node: Node) -> dict[str, str]:
    values = {}
    for name, entry in node.mapping("`environment`").items():
        if not re.fullmatch(_VARIABLE, name):
            raise Fault(node.keys[name], f"`{name}` is no name of a variable; write it as `PORT`")
        is_number = isinstance(entry.value, int | float) and not isinstance(entry.value, bool)
        text = entry.typed if is_number else entry.text(f"the variable `{name}`")
        if "\0" in text:
            raise entry.fault(f"the variable `{name}` cannot hold a NUL")
        check_template(entry, text, _IN_ENVIRONMENT)
        values[name] = text
    return values


def _host(node: Node) -> str:
    text = node.text("`host`")
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise node.fault(f"`{text}` is no address; write `127.0.0.1` or `::1`") from None
    if not address.is_loopback or "%" in text:
        remedy = "only one of the loopback, such as `127.0.0.1` or `::1`, is there on each machine"
        raise node.fault(f"`{text}` is an address of one machine; {remedy}")
    return str(address)


def _sources(node: Node) -> tuple[str, ...]:
    for entry in node.items("`sources`"):
        pattern = entry.text("a pattern of files")
        path = PurePosixPath(pattern)
        if not path.parts or path.is_absolute() or ".." in path.parts or "\0" in pattern:
            raise entry.fault("sources are named from this folder on, such as `src` or `*.c`")
        if any("**" in part and part != "**" for part in path.parts):
            raise entry.fault("`**` stands for folders, and alone between two `/`")
    if not node.value:
        raise node.fault("no source at all; name some, or leave the key out")
    return tuple(node.texts("a pattern of files"))


_REASONS: Schema = {"type": "object", "additionalProperties": TEXT}


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
    "sources": Key(
        alone(_sources),
        list_of(TEXT, minItems=1),
        "The files that it is built from, and folders of these, such as `src` or `*.c`: it is "
        "built again when one of them changes. Left out: all in this folder, but hidden ones, logs "
        "and what compilers keep.",
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
        _REASONS,
        "What it fails, and why. A scenario, `FILE/ID` or `FILE/ID:EXAMPLE`, is played, and must "
        "fail. Of those of a pattern, as `FILE/*` or `*`, and of a rule, as `RULE-3`, some must.",
    ),
    "may_fail": Key(
        alone(_may_fail),
        _REASONS,
        "What it fails now and then, as in a race, and why; named as known failures are.",
    ),
    "arguments": Key(
        alone(program_arguments),
        TEXT,
        "Its own words for the end of the command line, in place of the suite's; `{host}`, "
        "`{port}` and, for a client, `{name}` are filled in.",
    ),
    "environment": Key(
        alone(_environment),
        {
            "type": "object",
            "propertyNames": {"pattern": f"^{_VARIABLE}$"},
            "additionalProperties": {"type": ["string", "number"]},
        },
        'Variables that it is run with, `{PORT: "{port}"}`; what `arguments` and `run` know is '
        "filled in, and `{scratch}`, the case's own folder.",
    ),
    "host": Key(
        alone(_host),
        TEXT,
        "The one address, `127.0.0.1` or `::1`, that it listens at or connects to, where it cannot "
        "be told.",
    ),
    "port": Key(
        lambda node, _: node.count("`port`", most=65535),
        {"type": "integer", "minimum": 1, "maximum": 65535},
        "The port of a program that always takes the same, a server or a client. Each of its cases "
        "has a network of its own, where the machine allows that; else they take turns.",
    ),
    "children": Key(
        alone(yes),
        yes.schema,
        "`yes`: the process that listens is one that the program has started. It is sent the "
        "signals, and is measured.",
    ),
    "ready": Key(
        alone(ready),
        READY_SCHEMA,
        'Its own ready line, in place of the suite\'s: the first that it prints, or "" where it '
        "prints none; or a mapping that says how to know the line among others, and where it is.",
    ),
    "start": Key(
        lambda node, _: node.number("`start`", least=0.001, most=MOST_START),
        {"type": "number", "exclusiveMinimum": 0, "maximum": MOST_START},
        "How many seconds it may take to get ready; a client, to write its first byte.",
    ),
}

DEFINITIONS: dict[str, Schema] = {
    "names": list_of({"type": "string", "pattern": f"^{_WORD}$"}, uniqueItems=True),
}
