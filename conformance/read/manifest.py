"""implementation.yaml, the manifest of a program: finding and reading it.

This module does not know how a program is built or run.
"""

from __future__ import annotations

import hashlib
import ipaddress
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath

from conformance.mistakes import Fault, Mistake, Place, Problems, meant
from conformance.model import MOST_NAME, NAME, Implementation, Kind, Role, Scenario, Suite, is_name
from conformance.read.command_line import (
    check_template,
    command_line,
    program_arguments,
)
from conformance.read.grammar import yes
from conformance.read.keys import (
    TEXT,
    Key,
    Keys,
    Schema,
    list_of,
    no_context,
    record,
    reference,
    words,
)
from conformance.read.ready import READY_SCHEMA, ready
from conformance.read.suite import SuiteFile, known_features
from conformance.read.yaml_tree import Node, read

MANIFEST_FILE = "implementation.yaml"

MOST_START = 3600  # seconds

_IN_COMMANDS = ("build", "cache", "python")  # placeholders
_IN_ENVIRONMENT = (*_IN_COMMANDS, "host", "port", "name", "scratch")
_EXCUSES = ("known_failures", "may_fail")
_DIGEST = 12  # characters of the hash in a name that would be too long
_WORD = r"[\w.+-]+"
_VARIABLE = "[A-Za-z_][A-Za-z0-9_]*"


def find(folders: Iterable[Path]) -> list[Implementation]:
    """The implementations in these folders or in their direct subfolders, servers first.

    Raises Mistake with all problems, for instance if two servers have the same name.
    """
    problems = Problems()
    found: dict[str, Implementation] = {}
    for folder in folders:
        for path in _manifests(folder, problems):
            with problems.gathered():
                _add(found, load(path))
    problems.report()
    return sorted(found.values(), key=lambda one: (one.role != Role.SERVER, one.name))


def find_readable(
    folders: Iterable[Path], others: Iterable[Implementation] = ()
) -> tuple[list[Implementation], list[str]]:
    """The implementations that can be read, and the problems of the rest.

    If two have the same name, or one has a name from `others`, each is named after its folder.
    """
    problems, found = Problems(), list[Implementation]()
    for folder in folders:
        for path in _manifests(folder, problems):
            with problems.gathered():
                found.append(load(path))
    often = Counter(one.label for one in found)
    taken = {one.label for one in others}
    named = [one for one in found if often[one.label] == 1 and one.label not in taken]
    taken |= {one.label for one in named}
    for one in found:
        if one not in named:
            named.append(_as_its_folder(one, taken))
            taken.add(named[-1].label)
    return sorted(named, key=lambda one: (one.role != Role.SERVER, one.name)), list(problems.found)


def _as_its_folder(one: Implementation, taken: Set[str]) -> Implementation:
    """The implementation, named after its folder; if that is taken, after a longer path."""
    called = one
    for folder in (home := one.folder.resolve(), *home.parents):
        words = "/".join(home.parts[len(folder.parent.parts) :])
        if name := re.sub("[^A-Za-z0-9]+", "-", words).strip("-"):
            called = replace(one, name=_of_allowed_length(name))
        if called.label not in taken:
            break
    return called


def _of_allowed_length(name: str) -> str:
    """The name; if it is too long, a hash of it and its end."""
    if len(name) <= MOST_NAME:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:_DIGEST]
    return f"{digest}-{name[_DIGEST + 1 - MOST_NAME :]}"


def _add(found: dict[str, Implementation], one: Implementation) -> None:
    other = found.setdefault(one.label, one)
    if other.place != one.place:
        message = f"the {one.role} `{one.name}` is defined at {other.place} already"
        raise Fault(one.place, message)


def _manifests(folder: Path, problems: Problems) -> list[Path]:
    own = folder / MANIFEST_FILE
    found = [own] if os.path.lexists(own) else sorted(folder.glob(f"*/{MANIFEST_FILE}"))
    if not found:
        problems.add(Mistake([f"{folder}: no {MANIFEST_FILE} in it or in its direct subfolders"]))
    for path in found:
        if not path.is_file():
            problems.add(Mistake([f"{path}: this is no readable file; write the manifest there"]))
    return [path for path in found if path.is_file()]


def load(path: Path) -> Implementation:
    """The implementation that a manifest describes; raises Mistake with all problems."""
    root = read(path)
    parts = record(root, "a manifest", KEYS, None)
    _check_excuses(root, parts)
    return Implementation(folder=path.parent, place=root.place, places=_places(root), **parts)


def _places(root: Node) -> dict[str, Place]:
    """The places of features, known failures and failures that may come, by their keys."""
    entries = root.mapping("a manifest")
    features = entries["features"].items("features") if "features" in entries else []
    places = {str(node.value): node.place for node in features}
    for excuse in _EXCUSES:
        places |= entries[excuse].keys if excuse in entries else {}
    return places


def _check_excuses(root: Node, parts: Mapping[str, Mapping[str, str]]) -> None:
    """Refuse keys that are in both `known_failures` and `may_fail`."""
    problems = Problems()
    for key in parts.get("may_fail", {}):
        if key in parts.get("known_failures", {}):
            message = f"`{key}` is also a known failure; a case either must fail or may fail"
            problems.add(Fault(root.mapping("a manifest")["may_fail"].keys[key], message))
    problems.report()


def check_against(
    implementations: Iterable[Implementation], suite: SuiteFile, scenarios: Sequence[Scenario]
) -> None:
    """Raise Mistake for names that do not exist: of folders, features, rules and scenarios.

    `scenarios` may be those of some files only. For a scenario in another file, this checks only
    that the file exists, so that a mistake in a file that is not played cannot stop a run.
    """
    problems = Problems()
    for node in suite.unmatched:
        message = f"`{node.value}` matches no folder with an {MANIFEST_FILE}; correct or remove it"
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
    """Raise Fault if a key names neither a rule nor a scenario that the implementation plays."""
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
        raise Fault(place, f"`{key}` is never played by {one.role} {one.name}; remove it")


def _plays(scenario: Scenario, one: Implementation) -> bool:
    """Whether an implementation plays a scenario, by its role and its features."""
    absent = Kind.CLIENT if one.role is Role.SERVER else Kind.SERVER
    needed = scenario.needs.get(one.role, frozenset())
    barred = scenario.without.get(one.role, frozenset())
    return scenario.kind is not absent and needed <= one.features and not barred & one.features


def _name(node: Node) -> str:
    name = node.text("`name`")
    if not is_name(name):
        raise node.fault(f"a name is 1 to {MOST_NAME} letters, digits and `-`, and not `mixed`")
    return name


def _role(node: Node) -> Role:
    role = node.text("`role`")
    if role not in list(Role):
        raise node.fault(f"no such role `{role}`; {meant(role, Role)}")
    return Role(role)


def _command(node: Node) -> str:
    command = command_line(node)
    check_template(node, command, _IN_COMMANDS)
    return command


def _names(node: Node) -> list[str]:
    names: list[str] = []
    for entry in node.items("a list of names"):
        name = entry.text("a name")
        if not re.fullmatch(_WORD, name):
            raise entry.fault(f"`{name}` is not a name; use letters, digits and `-`")
        if name in names:
            raise entry.fault(f"`{name}` appears twice")
        names.append(name)
    return names


def _reasons(name: str, node: Node) -> dict[str, str]:
    entries = node.mapping(f"`{name}`")
    return {key: entry.words(f"the reason of `{key}`") for key, entry in entries.items()}


def _environment(node: Node) -> dict[str, str]:
    values = {}
    for name, entry in node.mapping("`environment`").items():
        if not re.fullmatch(_VARIABLE, name):
            message = f"`{name}` is not the name of a variable; use letters, digits and `_`"
            raise Fault(node.keys[name], message)
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
        raise node.fault(f"`{text}` is not an address; write `127.0.0.1` or `::1`") from None
    if not address.is_loopback or "%" in text:
        remedy = "use a loopback address, such as `127.0.0.1` or `::1`, which every machine has"
        raise node.fault(f"not every machine has the address `{text}`; {remedy}")
    return str(address)


def _sources(node: Node) -> tuple[str, ...]:
    for entry in node.items("`sources`"):
        pattern = entry.text("a pattern of files")
        path = PurePosixPath(pattern)
        if not path.parts or path.is_absolute() or ".." in path.parts or "\0" in pattern:
            raise entry.fault("paths of sources are relative to this folder, such as `src`, `*.c`")
        if any("**" in part and part != "**" for part in path.parts):
            raise entry.fault("`**` matches folders; separate it by `/`, as in `src/**/*.c`")
    if not node.value:
        raise node.fault("an empty list; name sources, or leave the key out")
    return tuple(node.texts("a pattern of files"))


_REASONS: Schema = {"type": "object", "additionalProperties": TEXT}


KEYS: Keys[object] = {
    "name": Key(
        no_context(_name),
        {"type": "string", "pattern": f"^{NAME}$", "not": {"const": "mixed"}},
        "Unique among those of its role.",
        required=True,
    ),
    "role": Key(no_context(_role), {"enum": list(map(str, Role))}, required=True),
    "language": Key(words("language"), TEXT, required=True),
    "needs": Key(
        lambda node, _: tuple(_names(node)),
        reference("names"),
        "Programs that must be on PATH; without them its cases are unavailable, and do not fail.",
    ),
    "build": Key(
        no_context(_command),
        TEXT,
        "A command, run in this folder. It writes its result to `{build}`; its tools may keep "
        "files for the next build in `{cache}`. No shell runs it: no pipes, no `&&`.",
    ),
    "sources": Key(
        no_context(_sources),
        list_of(TEXT, minItems=1),
        "The files and folders that it is built from, such as `src` or `*.c`: it is built again "
        "when one of them changes. If left out: all files in this folder, except hidden files, "
        "logs and the caches of compilers.",
    ),
    "run": Key(
        no_context(_command),
        TEXT,
        "A command, run in this folder; `{build}`, `{cache}` and `{python}` are filled in.",
        required=True,
    ),
    "features": Key(
        lambda node, _: frozenset(_names(node)),
        reference("names"),
        "The features of the protocol text that it implements.",
    ),
    "known_failures": Key(
        no_context(partial(_reasons, "known_failures")),
        _REASONS,
        "What it fails, with the reason. A scenario, `FILE/ID` or `FILE/ID:EXAMPLE`, is still "
        "played, and must fail. For a pattern, `FILE/*` or `*`, and for a rule, `RULE-3`, at least "
        "one case must fail.",
    ),
    "may_fail": Key(
        no_context(partial(_reasons, "may_fail")),
        _REASONS,
        "What fails now and then, such as a race, with the reason; the keys are those of "
        "`known_failures`.",
    ),
    "arguments": Key(
        no_context(program_arguments),
        TEXT,
        "The end of its command line, in place of the suite's; `{host}`, `{port}` and, for a "
        "client, `{name}` are filled in.",
    ),
    "environment": Key(
        no_context(_environment),
        {
            "type": "object",
            "propertyNames": {"pattern": f"^{_VARIABLE}$"},
            "additionalProperties": {"type": ["string", "number"]},
        },
        'Environment variables for it, such as `{PORT: "{port}"}`. The placeholders of '
        "`arguments` and `run` are filled in, and `{scratch}`, the folder of the case.",
    ),
    "host": Key(
        no_context(_host),
        TEXT,
        "The address, `127.0.0.1` or `::1`, at which it listens or to which it connects, if that "
        "cannot be chosen.",
    ),
    "port": Key(
        lambda node, _: node.count("`port`", most=65535),
        {"type": "integer", "minimum": 1, "maximum": 65535},
        "The port of a server or client that always uses the same one. Each of its cases gets its "
        "own network namespace, if the machine allows this; else they are played one by one.",
    ),
    "children": Key(
        no_context(yes),
        yes.schema,
        "`yes`: a child process of the program listens. Signals are sent to that process, and its "
        "memory and time are measured.",
    ),
    "ready": Key(
        no_context(ready),
        READY_SCHEMA,
        'Its ready line, in place of the suite\'s: the first line that it prints, or "" if it '
        "prints none; or a mapping that describes the line and its stream.",
    ),
    "start": Key(
        lambda node, _: node.number("`start`", least=0.001, most=MOST_START),
        {"type": "number", "exclusiveMinimum": 0, "maximum": MOST_START},
        "How many seconds it may take to get ready; for a client, to write its first byte.",
    ),
}

DEFINITIONS: dict[str, Schema] = {
    "names": list_of({"type": "string", "pattern": f"^{_WORD}$"}, uniqueItems=True),
}
