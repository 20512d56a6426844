"""Scenario files: reading them, and refusing all that is wrong in them, before anything runs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from conformance.model import Kind, Mistake, Place, Role, Scenario
from conformance.rehearsal import Part, Rehearsal, filled
from conformance.source import Fault, Node, meant, read
from conformance.suite import SUITE_FILE, Suite, load_suite

_KEYS = ("id", "title", "proves", "cast", "steps", "clients", "examples", "needs", "without")
_ID = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_KINDS = ("client", "server", "wire", "scripted")


def load(paths: Sequence[Path]) -> tuple[Suite, list[Scenario]]:
    """The suite and the scenarios of a suite's folder, or of files in one; raises Mistake."""
    folders = {path if path.is_dir() else path.parent for path in paths}
    if len({folder.resolve() for folder in folders}) != 1:
        raise Mistake([f"{', '.join(map(str, sorted(folders)))}: one run plays one suite's folder"])
    suite = load_suite(folders.pop())
    problems: list[str] = []
    scenarios: list[Scenario] = []
    for file in dict.fromkeys(file for path in paths for file in _files(path)):
        try:
            scenarios += load_file(suite, file)
        except Mistake as mistake:
            problems += mistake.problems
    if problems:
        raise Mistake(problems)
    return suite, scenarios


def _files(path: Path) -> Iterable[Path]:
    if not path.is_dir():
        return [path]
    return sorted(file for file in path.glob("*.yaml") if file.name != SUITE_FILE)


def load_file(suite: Suite, path: Path) -> list[Scenario]:
    """The scenarios of one file, an example each; raises Mistake with all that is wrong in it."""
    problems: list[str] = []
    scenarios: list[Scenario] = []
    try:
        nodes = read(path).items("a scenario file")
    except Fault as fault:
        raise Mistake([str(fault)]) from None
    seen: dict[str, Place] = {}
    for node in nodes:
        try:
            _check_id(node, seen)
            scenarios += [_scenario(suite, path, node, example) for example in _examples(node)]
        except Fault as fault:
            problems.append(str(fault))
    if problems:
        raise Mistake(problems)
    return scenarios


def _check_id(node: Node, seen: dict[str, Place]) -> None:
    node.allow(_KEYS, "a scenario")
    top = node.mapping("a scenario")
    for key in ("id", "title", "proves", "steps"):
        if key not in top:
            raise node.fault(f"a scenario needs `{key}`")
    name = top["id"].text("id")
    if not _ID.fullmatch(name):
        raise top["id"].fault("an id is lower-case words joined by `-`, such as `reads-the-rest`")
    if name in seen:
        raise top["id"].fault(f"the id `{name}` stands at {seen[name]} already")
    seen[name] = top["id"].place


def _examples(node: Node) -> list[tuple[str, dict[str, str]]]:
    """Each example's id and the values that it puts into the steps; one empty one for none."""
    top = node.mapping("a scenario")
    if "examples" not in top:
        return [("", {})]
    examples: list[tuple[str, dict[str, str]]] = []
    for entry in top["examples"].items("examples"):
        values = {key: item.text(f"`{key}`") for key, item in entry.mapping("an example").items()}
        if "id" not in values:
            raise entry.fault("an example needs an `id`")
        if any(values["id"] == other for other, _ in examples):
            raise entry.fault(f"the example `{values['id']}` stands there already")
        examples.append((values["id"], values))
    if not examples:
        raise top["examples"].fault("no examples; leave the key out")
    return examples


def _scenario(
    suite: Suite, path: Path, node: Node, example: tuple[str, dict[str, str]]
) -> Scenario:
    top = node.mapping("a scenario")
    name, values = example
    key = f"{path.stem}/{top['id'].text('id')}" + (f":{name}" if name else "")
    cast = _cast(top.get("cast"))
    rehearsal = Rehearsal(suite, {actor: _part(kind) for actor, kind in cast.items()})
    steps = top["steps"].items("steps")
    for step in steps:
        rehearsal.perform(filled(step, values))
    if not rehearsal.steps:
        raise top["steps"].fault("a scenario without steps proves nothing")
    rehearsal.finish(steps[-1].place)
    return Scenario(
        key=key,
        file=str(path),
        title=filled(top["title"], values).text("title"),
        proves=_proves(suite, top["proves"]),
        kind=_kind(cast, top.get("clients"), node),
        cast=cast,
        steps=tuple(rehearsal.steps),
        needs=_features(top.get("needs")),
        without=_features(top.get("without")),
        place=node.place,
    )


def _cast(node: Node | None) -> dict[str, str]:
    """Actor → kind; the server first, whether named or not."""
    cast = {"server": "server"}
    if node is None:
        return cast
    for actor, entry in node.mapping("cast").items():
        kind = entry.text("an actor's kind")
        base = kind.removesuffix(" on pipes")
        if base not in _KINDS or (base != kind and base not in ("client", "server")):
            raise entry.fault(f"no such kind of actor: `{kind}`; {meant(kind, _KINDS)}")
        if (actor == "server") != (base in ("server", "scripted")) and base != "server":
            raise entry.fault("only the actor called `server` is `scripted`, and it is a server")
        if not actor.replace("_", "").replace("-", "").isalnum() or actor == "everyone":
            remedy = "use letters and digits"
            raise Fault(node.keys[actor], f"`{actor}` is no name for an actor; {remedy}")
        cast[actor] = kind
    return cast


def _part(kind: str) -> Part:
    return Part(kind.removesuffix(" on pipes"), on_pipes=kind.endswith(" on pipes"))


def _proves(suite: Suite, node: Node) -> tuple[str, ...]:
    rules = node.texts("a rule")
    if not rules:
        raise node.fault("a scenario that proves nothing; name the rules that it proves")
    for item, rule in zip(node.items("proves"), rules, strict=True):
        if rule not in suite.requirements:
            raise item.fault(f"no such rule `{rule}`; {meant(rule, suite.requirements)}")
    if len(set(rules)) != len(rules):
        raise node.fault("a rule stands here twice")
    return tuple(rules)


def _kind(cast: dict[str, str], clients: Node | None, node: Node) -> Kind:
    has_client = any(kind.startswith("client") for kind in cast.values())
    if clients is not None and clients.value != "mixed":
        raise clients.fault("`clients` is either left out or `mixed`")
    if cast["server"] == "scripted":
        if not has_client or clients is not None:
            raise node.fault("a scripted server judges clients: it needs one, and not `mixed`")
        return Kind.CLIENT
    if clients is not None:
        if not has_client:
            raise node.fault("`clients: mixed` needs clients in the cast")
        return Kind.MIXED
    return Kind.PAIRING if has_client else Kind.SERVER


def _features(node: Node | None) -> dict[Role, frozenset[str]]:
    if node is None:
        return {}
    node.allow(list(Role), "features by role")
    return {
        Role(role): frozenset(entry.texts("a feature"))
        for role, entry in node.mapping("features by role").items()
    }
