"""Scenario files: reading them, and refusing all that is wrong in them, before anything runs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

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
    Step,
)
from conformance.read.rehearsal import Part, Rehearsal, check_shorthands, filled
from conformance.read.suite import SUITE_FILE, Options, SuiteFile, known_features, load_suite
from conformance.read.yaml_tree import Node, read, record
from conformance.text import places, plain

# In every cast, whether it is written there or not.
_SERVER = {"server": CastMember(ActorKind.SERVER)}
_WORDS = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_ACTOR = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_PLACE = re.compile(r"[a-z_]+")


def load(paths: Sequence[Path]) -> tuple[SuiteFile, list[Scenario]]:
    """The suite and the scenarios of a suite's folder, or of files in one; raises Mistake."""
    folders = {path if path.is_dir() else path.parent for path in paths}
    if len({folder.resolve() for folder in folders}) != 1:
        raise Mistake([f"{', '.join(map(str, sorted(folders)))}: one run plays one suite's folder"])
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
    """Each probe is a scenario that needs its feature alone, of the files that were read."""
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
                    what = f"a {role} alone, and needs its feature {feature} alone"
                    raise node.fault(f"`{key}` cannot be the probe: it must be one for {what}")


def _files(path: Path) -> Iterable[Path]:
    if not path.is_dir():
        return [path]
    for file in path.glob("*.yml"):
        raise Fault(Place(str(file), 1), "is not played; call it `.yaml`")
    files = sorted(file for file in path.glob("*.yaml") if file.name != SUITE_FILE)
    if not files:
        remedy = "write scenarios into a `.yaml` file beside it"
        raise Fault(Place(str(path / SUITE_FILE), 1), f"a suite without a scenario; {remedy}")
    return files


def load_file(suite: SuiteFile, path: Path) -> list[Scenario]:
    """The scenarios of one file, an example each; raises Mistake with all that is wrong in it."""
    problems = Problems()
    scenarios: list[Scenario] = []
    seen: dict[str, Place] = {}
    root = read(path)
    for node in root.items("a scenario file"):
        with problems.gathered():
            scenarios += _scenarios(suite, path, node, seen)
    problems.report()
    if not scenarios:
        raise root.fault("a file without a scenario proves nothing; write one, or remove the file")
    return scenarios


def _scenarios(suite: SuiteFile, path: Path, node: Node, seen: dict[str, Place]) -> list[Scenario]:
    """One scenario, once for each of its examples; `seen` holds the ids before it."""
    features = partial(_features, suite)
    readers: dict[str, Callable[[Node], object]] = {
        "id": partial(_id, seen),
        "title": lambda entry: entry if entry.words("`title`") else None,
        "proves": partial(_proves, suite),
        "cast": partial(_cast, suite),
        "steps": _steps,
        "clients": _mixed,
        "servers": _in_turn,
        "examples": _examples,
        "needs": features,
        "without": features,
        "machine": _machine,
    }
    problems = Problems()
    needed = ("id", "title", "proves", "steps")
    top = record(node, "a scenario", readers, needed, problems)
    entries = node.mapping("a scenario")
    if "cast" not in entries:
        top["cast"] = dict(_SERVER)
    if "examples" not in entries:
        top["examples"] = [{"id": ""}]
    if not {"cast", "steps", "examples"} <= top.keys():
        problems.report()
    scenarios = []
    for example in top["examples"]:
        with problems.gathered():
            scenarios.append(_scenario(suite, path, node, top, example))
    problems.report()
    return scenarios


def _scenario(
    suite: SuiteFile, path: Path, node: Node, top: Mapping[str, Any], example: Mapping[str, str]
) -> Scenario:
    """One example; the parts in `top` that are wrong are missing, and told elsewhere."""
    cast: dict[str, CastMember] = top["cast"]
    kind = _kind(cast, "clients" in top, node)
    if "servers" in top and kind is not Kind.SERVER:
        raise node.fault("`servers: in turn` goes with wires for the others, not with clients")
    rehearsal = Rehearsal(
        suite, {actor: Part(member.kind, member.medium) for actor, member in cast.items()}
    )
    rehearsal.walk([filled(step, example) for step in top["steps"]])
    _check_steps(suite, cast, rehearsal.steps)
    _check_parts(rehearsal, node)
    name = f":{example['id']}" if example["id"] else ""
    return Scenario(
        key=f"{path.stem}/{top.get('id')}{name}",
        file=str(path),
        title=_title(top["title"], example) if "title" in top else "",
        proves=top.get("proves", ()),
        kind=kind,
        cast=cast,
        steps=tuple(rehearsal.steps),
        needs=top.get("needs", {}),
        without=top.get("without", {}),
        machine=top.get("machine", frozenset()),
        place=node.place,
        in_turn="servers" in top,
    )


def _title(node: Node, example: Mapping[str, str]) -> str:
    title = filled(node, example).words("`title`")
    if unknown := places(title):
        raise node.fault(f"nothing fills the placeholder `{{{unknown[0]}}}`")
    return plain(title)


def _check_steps(suite: SuiteFile, cast: Mapping[str, CastMember], steps: Iterable[Step]) -> None:
    """What a step says of a program or of a file can be so."""
    problems = Problems()
    for step in steps:
        with problems.gathered():
            if step.verb == "writes" and "to" not in step.options:
                raise Fault(step.place, "`writes` needs the file: `{writes: LINES, to: FILE}`")
            if isinstance(step.argument, Options):
                step.argument.check(suite.programs[Role(cast[step.actor].kind)].takes)
    problems.report()


def _check_parts(rehearsal: Rehearsal, node: Node) -> None:
    """Nobody stands in the cast for nothing."""
    playing = {step.actor for step in rehearsal.steps}
    cast = node.mapping("a scenario").get("cast")
    for actor, place in cast.keys.items() if cast else ():
        if actor not in playing and actor != "server":
            raise Fault(place, f"{actor} does nothing; take it out of the cast")


# --- The parts of a scenario -----------------------------------------------------------------


def _id(seen: dict[str, Place], node: Node) -> str:
    name = _words(node)
    if name in seen:
        raise node.fault(f"the id `{name}` stands at {seen[name]} already")
    seen[name] = node.place
    return name


def _words(node: Node) -> str:
    name = node.text("`id`")
    if not _WORDS.fullmatch(name):
        raise node.fault("an id is lower-case words joined by `-`, such as `reads-the-rest`")
    return name


def _steps(node: Node) -> list[Node]:
    steps = node.items("`steps`")
    if not steps:
        raise node.fault("a scenario without steps proves nothing")
    return steps


def _mixed(node: Node) -> str:
    if node.value != "mixed":
        raise node.fault("`clients` is either left out or `mixed`")
    return "mixed"


def _in_turn(node: Node) -> str:
    if node.value != "in turn":
        raise node.fault("`servers` is either left out or `in turn`")
    return "in turn"


def _examples(node: Node) -> list[dict[str, str]]:
    """Each example's id, and the values that it puts into the steps."""
    problems = Problems()
    seen: dict[str, Place] = {}
    examples = []
    for entry in node.items("`examples`"):
        with problems.gathered():
            examples.append(_example(entry, seen))
    problems.report()
    if not examples:
        raise node.fault("no examples; leave the key out")
    return examples


def _example(node: Node, seen: dict[str, Place]) -> dict[str, str]:
    entries = node.mapping("an example")
    if "id" not in entries:
        raise node.fault("an example needs an `id`")
    _id(seen, entries["id"])
    for key, place in node.keys.items():
        if not _PLACE.fullmatch(key):
            raise Fault(place, f"`{key}` cannot be a placeholder; use lower-case letters and `_`")
    return {key: entry.text(f"`{key}`") for key, entry in entries.items()}


def _cast(suite: SuiteFile, node: Node) -> dict[str, CastMember]:
    """By actor; the server first, whether named or not."""
    problems = Problems()
    cast = dict(_SERVER)
    for actor, entry in node.mapping("`cast`").items():
        with problems.gathered():
            _check_actor(actor, node.keys[actor])
            cast[actor] = _member(suite, actor, entry)
    problems.report()
    kind = cast["server"].kind
    if kind is ActorKind.SERVER and Role.SERVER not in suite.programs:
        raise node.fault("the suite says nothing about a server's program; see `programs` there")
    if kind is ActorKind.SCRIPTED:
        for actor, member in cast.items():
            if member.kind is ActorKind.SERVER:
                raise node.fault(f"the server is scripted: nothing says which program {actor} is")
    return cast


def _check_actor(actor: str, place: Place) -> None:
    if not _ACTOR.fullmatch(actor) or actor == "everyone":
        raise Fault(place, f"`{actor}` is no name for an actor; use letters and digits")


def _member(suite: SuiteFile, actor: str, node: Node) -> CastMember:
    words = node.text("an actor's kind")
    if words not in CAST_MEMBERS:
        raise node.fault(f"no such kind of actor: `{words}`; {meant(words, CAST_MEMBERS)}")
    kind = CAST_MEMBERS[words].kind
    if actor == "server" and kind not in (ActorKind.SERVER, ActorKind.SCRIPTED):
        raise node.fault("the actor called `server` is a `server`, or `scripted`")
    if actor != "server" and kind is ActorKind.SCRIPTED:
        raise node.fault("only the actor called `server` can be `scripted`")
    if kind in PROGRAMS and Role(kind) not in suite.programs:
        raise node.fault(f"the suite says nothing about a {kind}'s program; see `programs` there")
    return CAST_MEMBERS[words]


def _proves(suite: SuiteFile, node: Node) -> tuple[str, ...]:
    problems = Problems()
    rules: dict[str, None] = {}
    for entry in node.items("`proves`"):
        with problems.gathered():
            rule = entry.text("a rule")
            if rule not in suite.requirements:
                raise entry.fault(f"no such rule `{rule}`; {meant(rule, suite.requirements)}")
            if rule in rules:
                raise entry.fault(f"{rule} stands here twice")
            rules[rule] = None
    problems.report()
    if not rules:
        raise node.fault("a scenario that proves nothing; name the rules that it proves")
    return tuple(rules)


def _kind(cast: Mapping[str, CastMember], mixed: bool, node: Node) -> Kind:
    has_client = any(member.kind is ActorKind.CLIENT for member in cast.values())
    if cast["server"].kind is ActorKind.SCRIPTED:
        if not has_client or mixed:
            raise node.fault("a scripted server judges clients: it needs one, and not `mixed`")
        return Kind.CLIENT
    if mixed:
        if not has_client:
            raise node.fault("`clients: mixed` needs clients in the cast")
        return Kind.MIXED
    return Kind.PAIRING if has_client else Kind.SERVER


def _machine(node: Node) -> frozenset[str]:
    """What the machine must have."""
    names = node.texts("`machine`")
    for entry in node.items("`machine`"):
        if entry.value not in MACHINE:
            raise entry.fault(f"no such need: `{entry.value}`; {meant(str(entry.value), MACHINE)}")
    if not names:
        raise node.fault("nothing is named; leave the key out")
    return frozenset(names)


def _features(suite: SuiteFile, node: Node) -> dict[Role, frozenset[str]]:
    """Features by role, each one that the protocol text marks some rule with."""
    problems = Problems()
    readers = {str(role): partial(_feature_names, suite) for role in Role}
    parts = record(node, "features by role", readers, (), problems)
    problems.report()
    if not parts:
        raise node.fault("no feature is named; name some by role, or leave the key out")
    return {Role(role): names for role, names in parts.items()}


def _feature_names(suite: SuiteFile, node: Node) -> frozenset[str]:
    known = known_features(suite)
    for entry in node.items("features"):
        name = entry.text("a feature")
        if name not in known:
            raise entry.fault(f"no rule is marked with the feature `{name}`; {meant(name, known)}")
    if not node.value:
        raise node.fault("no feature is named; name some, or leave the key out")
    return frozenset(node.texts("a feature"))
