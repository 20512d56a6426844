"""Scenario files → scenarios; all problems in them are reported before anything runs.

`expand` reads the steps.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from conformance.arguments import patterns_in
from conformance.kit import shown
from conformance.mistakes import Fault, Mistake, Place, Problems, meant
from conformance.model import (
    CAST_MEMBERS,
    MACHINE,
    PROGRAMS,
    ActorKind,
    CastMember,
    Kind,
    Role,
    Scenario,
    Split,
    Step,
    single,
)
from conformance.read.command_line import Options
from conformance.read.expand import check_shorthands, expand
from conformance.read.fences import WITNESS
from conformance.read.keys import (
    TEXT,
    Key,
    Keys,
    Schema,
    constant,
    described,
    list_of,
    no_context,
    partial_record,
    record,
    record_schema,
    reference,
)
from conformance.read.placeholders import check_filled, filled
from conformance.read.suite import SUITE_FILE, SuiteFile, known_features, load_suite
from conformance.read.yaml_tree import Node, read
from conformance.text import plain

# Part of every cast, even if it is not written there.
_SERVER = {"server": CastMember(ActorKind.SERVER)}
_WORDS = "[a-z0-9]+(-[a-z0-9]+)*"
_ACTOR = "[A-Za-z0-9][A-Za-z0-9_-]*"
_PLACEHOLDER = "[a-z_]+"
_RULE = "[A-Z][A-Z0-9]*-[0-9]+"


@dataclass(frozen=True, slots=True)
class _File:
    """The context in which the keys of a scenario are read."""

    suite: SuiteFile
    path: Path
    ids: dict[str, Place]  # of earlier scenarios in the file


@dataclass(frozen=True, slots=True)
class _Example:
    """One example of a scenario; its needs are added to those of the scenario."""

    values: Mapping[str, str] = field(default_factory=dict)  # of placeholders, with `id`
    needs: Mapping[Role, frozenset[str]] = field(default_factory=dict)
    without: Mapping[Role, frozenset[str]] = field(default_factory=dict)
    machine: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class _Head:
    """The keys of a scenario as they are written; those with mistakes have their defaults."""

    id: str = ""
    title: Node | None = None  # its placeholders are filled in for each example
    proves: tuple[str, ...] = ()
    cast: Mapping[str, CastMember] = field(default_factory=lambda: dict(_SERVER))
    steps: Sequence[Node] = ()
    clients: str = ""  # "mixed"
    servers: str = ""  # "in turn"
    examples: Sequence[_Example] = ()
    needs: Mapping[Role, frozenset[str]] = field(default_factory=dict)
    without: Mapping[Role, frozenset[str]] = field(default_factory=dict)
    machine: frozenset[str] = frozenset()


def load(paths: Sequence[Path]) -> tuple[SuiteFile, list[Scenario]]:
    """The suite and its scenarios, from its folder or from some files in it.

    Raises Mistake with all problems in all files.
    """
    folders = {path if path.is_dir() else path.parent for path in paths}
    if len({folder.resolve() for folder in folders}) != 1:
        names = ", ".join(map(str, sorted(folders)))
        raise Mistake([f"{names}: one run plays one suite; give files of the same folder"])
    suite = load_suite(folders.pop())
    problems = Problems()
    check_shorthands(suite, problems)
    scenarios: list[Scenario] = []
    files: dict[Path, None] = {}
    for path in paths:
        with problems.gathered():
            files |= dict.fromkeys(_files(path))
    for file in files:
        with problems.gathered():
            scenarios += load_file(suite, file)
    _check_probes(suite, scenarios, problems)
    problems.report()
    return suite, scenarios


def _check_probes(suite: SuiteFile, scenarios: Sequence[Scenario], problems: Problems) -> None:
    """Check that a probe needs only its feature and one role, if its file is among those read."""
    known = {one.key: one for one in scenarios}
    read = {one.key.partition("/")[0] for one in scenarios}
    for role, probes in suite.probe_nodes.items():
        kind = Kind.SERVER if role is Role.SERVER else Kind.CLIENT
        for feature, node in probes.items():
            with problems.gathered():
                key = node.text("a scenario")
                if key.partition("/")[0] not in read:
                    continue
                if key not in known:
                    raise node.fault(f"no such scenario `{key}`; {meant(key, known)}")
                if known[key].kind is not kind or known[key].needs != {role: frozenset([feature])}:
                    what = f"for a {role} alone, and need the feature {feature} alone"
                    raise node.fault(f"`{key}` cannot be the probe: it must be {what}")


def _files(path: Path) -> Iterable[Path]:
    if not path.is_dir():
        return [path]
    for file in path.glob("*.yml"):
        raise Fault(Place(str(file), 1), "only `.yaml` files are played; rename it")
    files = sorted(file for file in path.glob("*.yaml") if file.name != SUITE_FILE)
    if not files:
        remedy = "write scenarios into a `.yaml` file beside it"
        raise Fault(Place(str(path / SUITE_FILE), 1), f"a suite without a scenario; {remedy}")
    return files


def load_file(suite: SuiteFile, path: Path) -> list[Scenario]:
    """The scenarios of one file, one for each example; raises Mistake with all problems."""
    problems = Problems()
    scenarios: list[Scenario] = []
    file = _File(suite, path, {})
    root = read(path)
    for node in root.items("a scenario file"):
        with problems.gathered():
            scenarios += _scenarios(file, node)
    problems.report()
    if not scenarios:
        raise root.fault("a file without a scenario; write one, or remove the file")
    return scenarios


def _scenarios(file: _File, node: Node) -> list[Scenario]:
    """One scenario, once for each of its examples."""
    problems = Problems()
    values = partial_record(node, "a scenario", KEYS, file, problems)
    entries = node.mapping("a scenario")
    # Without these, steps cannot be read, or would be reported for mistakes that are not theirs.
    if any(key in entries and key not in values for key in ("cast", "steps", "examples")):
        problems.report()
    head = _Head(**values)
    if not head.steps:
        problems.report()
    scenarios = []
    for example in head.examples or [_Example()]:
        with problems.gathered():
            scenarios.append(_scenario(file, node, head, example))
    problems.report()
    return scenarios


def _scenario(file: _File, node: Node, head: _Head, example: _Example) -> Scenario:
    kind, values = _kind(head, node), example.values
    steps = expand(file.suite, head.cast, [filled(step, values) for step in head.steps])
    _check_options(file.suite, head.cast, steps)
    _check_captures(steps, values)
    _check_parts(steps, node)
    name = f":{values['id']}" if values else ""
    return Scenario(
        key=f"{file.path.stem}/{head.id}{name}",
        file=str(shown(file.path)),
        title=_filled_title(head.title, values) if head.title else "",
        proves=head.proves,
        kind=kind,
        cast=_whole_cast(head.cast, steps),
        steps=tuple(steps),
        needs=_both(head.needs, example.needs),
        without=_both(head.without, example.without),
        machine=head.machine | example.machine,
        place=node.place,
        in_turn=bool(head.servers),
    )


def _filled_title(node: Node, example: Mapping[str, str]) -> str:
    title = filled(node, example).words("`title`")
    check_filled(title, node.place, ())
    return plain(title)


def _check_options(suite: SuiteFile, cast: Mapping[str, CastMember], steps: Iterable[Step]) -> None:
    """Raise Mistake for options that a program does not take."""
    problems = Problems()
    for step in single(steps):
        if isinstance(step.argument, Options):
            with problems.gathered():
                step.argument.check(suite.programs[Role(cast[step.actor].kind)].takes)
    problems.report()


def _whole_cast(cast: Mapping[str, CastMember], steps: Iterable[Step]) -> dict[str, CastMember]:
    """The cast, with the witness if some fence needs it."""
    comes = any(step.actor == WITNESS for step in single(steps))
    return {**cast, WITNESS: CastMember(ActorKind.WIRE)} if comes else dict(cast)


def _check_captures(steps: Iterable[Step], values: Collection[str]) -> None:
    """Refuse a capture with the name of an example's value: that would be filled in first."""
    for step in single(steps):
        for pattern in patterns_in(step.argument):
            for name in pattern.captures:
                if name in values:
                    message = f"`{{{name}}}` is filled in by the example; capture by another name"
                    raise Fault(pattern.place or step.place, message)


def _both(
    one: Mapping[Role, frozenset[str]], other: Mapping[Role, frozenset[str]]
) -> dict[Role, frozenset[str]]:
    """The features of both mappings, by role."""
    return {
        role: one.get(role, frozenset()) | other.get(role, frozenset()) for role in {*one, *other}
    }


def _check_parts(steps: Iterable[Step], node: Node) -> None:
    """Refuse an actor that has no step."""
    playing = {step.actor for step in single(steps)}
    cast = node.mapping("a scenario").get("cast")
    for actor, place in cast.keys.items() if cast else ():
        if actor not in playing and actor != "server":
            raise Fault(place, f"{actor} has no step; remove it from the cast")


# --- The parts of a scenario ---


def _id(node: Node, seen: dict[str, Place]) -> str:
    name = node.text("`id`")
    if not re.fullmatch(_WORDS, name):
        raise node.fault("an id is lower-case words joined by `-`, such as `reads-the-rest`")
    if name in seen:
        raise node.fault(f"the id `{name}` is used at {seen[name]} already")
    seen[name] = node.place
    return name


def _title(node: Node) -> Node:
    node.words("`title`")
    return node


def _steps(node: Node) -> list[Node]:
    steps = node.items("`steps`")
    if not steps:
        raise node.fault("a scenario without steps proves nothing")
    return steps


def _examples(node: Node, file: _File) -> list[_Example]:
    """The examples; raises Mistake with all problems."""
    problems = Problems()
    seen: dict[str, Place] = {}
    examples = []
    for entry in node.items("`examples`"):
        with problems.gathered():
            examples.append(_example(entry, seen, file))
    problems.report()
    if not examples:
        raise node.fault("an empty list; name examples, or leave the key out")
    return examples


def _example(node: Node, seen: dict[str, Place], file: _File) -> _Example:
    entries = dict(node.mapping("an example"))
    needs = {key: entries.pop(key) for key in _NEEDS if key in entries}
    if "id" not in entries:
        raise node.fault("an example needs an `id`")
    _id(entries["id"], seen)
    for key, place in node.keys.items():
        if not re.fullmatch(_PLACEHOLDER, key):
            raise Fault(place, f"`{key}` cannot be a placeholder; use lower-case letters and `_`")
    values = {key: entry.text(f"`{key}`") for key, entry in entries.items()}
    read: dict[str, Any] = {key: _NEEDS[key].read(part, file) for key, part in needs.items()}
    return _Example(values, **read)


def _cast(node: Node, file: _File) -> dict[str, CastMember]:
    """The cast by actor; the server comes first, even if it is not written there."""
    problems = Problems()
    cast = dict(_SERVER)
    for actor, entry in node.mapping("`cast`").items():
        with problems.gathered():
            _check_actor(actor, node.keys[actor], file.suite)
            cast[actor] = _member(file.suite, actor, entry)
    problems.report()
    kind = cast["server"].kind
    if kind is ActorKind.SERVER and Role.SERVER not in file.suite.programs:
        raise node.fault("the suite does not describe servers; add `server` to its `programs`")
    if kind is ActorKind.SCRIPTED:
        for actor, member in cast.items():
            if member.kind is ActorKind.SERVER:
                raise node.fault(f"the server is scripted, so {actor} cannot be a server program")
    return cast


def _check_actor(actor: str, place: Place, suite: SuiteFile) -> None:
    if actor == WITNESS and suite.fence and suite.fence.witness:
        message = f"`{actor}` is the name of the witness of fences; give this actor another name"
        raise Fault(place, message)
    if not re.fullmatch(_ACTOR, actor) or actor in ("everyone", *Split):
        raise Fault(place, f"`{actor}` cannot be the name of an actor; use letters and digits")


def _member(suite: SuiteFile, actor: str, node: Node) -> CastMember:
    words = node.text("an actor's kind")
    if words not in CAST_MEMBERS:
        raise node.fault(f"no such kind of actor: `{words}`; {meant(words, CAST_MEMBERS)}")
    kind = CAST_MEMBERS[words].kind
    if actor == "server" and kind not in (ActorKind.SERVER, ActorKind.SCRIPTED):
        raise node.fault("the actor called `server` must be a `server`, or `scripted`")
    if actor != "server" and kind is ActorKind.SCRIPTED:
        raise node.fault("only the actor called `server` can be `scripted`")
    if kind in PROGRAMS and Role(kind) not in suite.programs:
        raise node.fault(f"the suite does not describe {kind}s; add `{kind}` to its `programs`")
    return CAST_MEMBERS[words]


def _proves(node: Node, file: _File) -> tuple[str, ...]:
    problems = Problems()
    rules: dict[str, None] = {}
    for entry in node.items("`proves`"):
        with problems.gathered():
            rule = entry.text("a rule")
            if rule not in file.suite.requirements:
                known = meant(rule, file.suite.requirements)
                raise entry.fault(f"no such rule `{rule}`; {known}")
            if rule in rules:
                raise entry.fault(f"{rule} appears twice")
            rules[rule] = None
    problems.report()
    if not rules:
        raise node.fault("an empty list; name the rules that the scenario proves")
    return tuple(rules)


def _kind(head: _Head, node: Node) -> Kind:
    kind = _kind_by_cast(head.cast, bool(head.clients), node)
    if head.servers and kind is not Kind.SERVER:
        raise node.fault("`servers: in turn` needs a cast without clients; use wires")
    return kind


def _kind_by_cast(cast: Mapping[str, CastMember], mixed: bool, node: Node) -> Kind:
    has_client = any(member.kind is ActorKind.CLIENT for member in cast.values())
    if cast["server"].kind is ActorKind.SCRIPTED:
        if not has_client or mixed:
            raise node.fault("a scripted server judges clients: it needs one, without `mixed`")
        return Kind.CLIENT
    if mixed:
        if not has_client:
            raise node.fault("`clients: mixed` needs clients in the cast")
        return Kind.MIXED
    return Kind.PAIRING if has_client else Kind.SERVER


def _machine(node: Node) -> frozenset[str]:
    """What the machine must have, as keys of MACHINE."""
    names = node.texts("`machine`")
    for entry in node.items("`machine`"):
        if entry.value not in MACHINE:
            known = meant(str(entry.value), MACHINE)
            raise entry.fault(f"`machine` cannot ask for `{entry.value}`; {known}")
    if not names:
        raise node.fault("an empty list; leave the key out")
    return frozenset(names)


def _features(node: Node, file: _File) -> dict[Role, frozenset[str]]:
    """Features by role; raises Mistake for a feature that no rule is marked with."""
    parts = record(node, "features by role", _FEATURE_KEYS, file.suite)
    if not parts:
        raise node.fault("no feature is named; name features by role, or leave the key out")
    return {Role(role): names for role, names in parts.items()}


def _feature_names(node: Node, suite: SuiteFile) -> frozenset[str]:
    known = known_features(suite)
    for entry in node.items("features"):
        name = entry.text("a feature")
        if name not in known:
            raise entry.fault(f"no rule is marked with the feature `{name}`; {meant(name, known)}")
    if not node.value:
        raise node.fault("no feature is named; name features, or leave the key out")
    return frozenset(node.texts("a feature"))


# --- The keys ---

_MIXED, _IN_TURN = constant("mixed"), constant("in turn")

_FEATURE_KEYS: Keys[SuiteFile] = {
    str(role): Key(_feature_names, list_of(TEXT, minItems=1)) for role in Role
}

# What a scenario needs; an example can have these keys too.
_NEEDS: Mapping[str, Key[_File]] = {
    "needs": Key(_features, reference("features")),
    "without": Key(_features, reference("features")),
    "machine": Key(
        no_context(_machine),
        list_of({"enum": list(MACHINE)}, minItems=1),
        "What the machine must have; without it the scenario is unavailable.",
    ),
}

KEYS: Keys[_File] = {
    "id": Key(lambda node, file: _id(node, file.ids), reference("words"), required=True),
    "title": Key(
        no_context(_title),
        {"type": "string", "minLength": 1},
        "What is true if it passes, as a sentence.",
        required=True,
    ),
    "proves": Key(
        _proves,
        list_of({"type": "string", "pattern": f"^{_RULE}$"}, minItems=1, uniqueItems=True),
        "Ids of rules in the protocol text; a failing step without `proves` breaks the first.",
        required=True,
    ),
    "cast": Key(
        _cast,
        {
            "type": "object",
            "propertyNames": {"pattern": f"^{_ACTOR}$"},
            "additionalProperties": {"enum": list(CAST_MEMBERS)},
        },
        "The actors and their kinds. The server may be left out.",
    ),
    "steps": Key(no_context(_steps), list_of(reference("step"), minItems=1), required=True),
    "clients": Key(
        no_context(_MIXED),
        _MIXED.schema,
        "Each client of the cast is a different implementation.",
    ),
    "servers": Key(
        no_context(_IN_TURN),
        _IN_TURN.schema,
        "Each time the server starts, it is the next implementation.",
    ),
    "examples": Key(
        _examples,
        list_of(
            {
                "type": "object",
                "properties": {
                    "id": reference("words"),
                    **{name: described(key.schema, key.meaning) for name, key in _NEEDS.items()},
                },
                "required": ["id"],
                "propertyNames": {"pattern": f"^{_PLACEHOLDER}$"},
                "additionalProperties": TEXT,
            },
            minItems=1,
        ),
        "The scenario is played once for each example, whose values fill `{placeholders}` in the "
        "title and the steps. An example may have `needs`, `without` and `machine` of its own.",
    ),
    **_NEEDS,
}

DEFINITIONS: dict[str, Schema] = {
    "scenario": {
        "description": "A title, the rules that it proves, a cast, and steps.",
        **record_schema(KEYS),
    },
    "words": {
        "type": "string",
        "pattern": f"^{_WORDS}$",
        "description": "Lower-case words joined by `-`.",
    },
    "features": {
        "description": "By role: features that its manifest must list (`needs`), or must not list "
        "(`without`).",
        **record_schema(_FEATURE_KEYS),
        "minProperties": 1,
    },
}
