"""What is particular to one protocol: its rules, its programs' options, its shorthands.

All of it stands in a folder of YAML (`suite.yaml` and scenario files), so that the package itself
knows programs, terminals, connections, lines and steps, and no chat.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from conformance.model import Mistake, Place, Requirement, Role
from conformance.source import Fault, Node, read

SUITE_FILE = "suite.yaml"

# `- CHAT-1 (MUST) *(feature: NAME)* text`, continued by indented lines.
_RULE = re.compile(
    r"^- (?P<id>[A-Z][A-Z0-9]*-[0-9]+) \((?P<level>MUST|SHOULD|MAY)\)"
    r"(?: \*\(feature: (?P<feature>[a-z0-9-]+)\)\*)? (?P<text>.*)$"
)


@dataclass(frozen=True, slots=True)
class Program:
    """How the programs of one role are called."""

    arguments: str = ""  # `--host {host} --port {port}`
    options: Mapping[str, str | None] | None = None  # given unless a step says otherwise
    ready: str = ""  # its ready line, `Listening on {host}:{port}`; "": it has none


@dataclass(frozen=True, slots=True)
class Shorthand:
    """A verb that only stands for other steps; its parts are filled in where it is used."""

    name: str
    argument: str | None  # the placeholder that its argument fills; None: it takes none
    steps: Mapping[str, list[Node]]  # by the actor's kind; "": for every kind


@dataclass(frozen=True, slots=True)
class Fence:
    """How to prove that nothing else came: what a group's member says, and what others see."""

    group: str
    types: str
    others_see: str
    alone_types: str  # for a group of one: a request that is answered to the asker
    alone_sees: str


@dataclass(frozen=True, slots=True)
class Suite:
    """One protocol's folder."""

    folder: Path
    name: str
    requirements: Mapping[str, Requirement]
    implementation_folders: list[Path]
    programs: Mapping[Role, Program]
    shorthands: Mapping[str, Shorthand]
    fence: Fence | None
    ending: list[Node]  # played where a scenario leaves the server running


def load_suite(folder: Path) -> Suite:
    """The suite in a folder; raises Mistake."""
    path = folder / SUITE_FILE
    if not path.is_file():
        raise Mistake([f"{path}: no such file; a suite is a folder with a {SUITE_FILE} in it"])
    try:
        return _suite(folder, read(path))
    except Fault as fault:
        raise Mistake([str(fault)]) from None


def _suite(folder: Path, root: Node) -> Suite:
    known = ("name", "protocol", "implementations", "programs", "verbs", "fence", "ending")
    root.allow(known, "a suite")
    top = root.mapping("a suite")
    for key in ("name", "protocol", "programs"):
        if key not in top:
            raise root.fault(f"a suite needs `{key}`")
    globs = top["implementations"].texts("a folder") if "implementations" in top else []
    verbs = top["verbs"].mapping("verbs") if "verbs" in top else {}
    return Suite(
        folder=folder,
        name=top["name"].text("name"),
        requirements=_requirements(folder, top["protocol"]),
        implementation_folders=sorted(p for g in globs for p in _matching(folder, g)),
        programs=_programs(top["programs"]),
        shorthands={name: _shorthand(name, node) for name, node in verbs.items()},
        fence=_fence(top["fence"]) if "fence" in top else None,
        ending=top["ending"].items("ending") if "ending" in top else [],
    )


def _matching(folder: Path, pattern: str) -> list[Path]:
    """The folders that a pattern such as `../servers/*` names and that hold a manifest."""
    base = folder
    while pattern.startswith("../"):
        base, pattern = base.resolve().parent, pattern.removeprefix("../")
    return [p for p in base.glob(pattern) if (p / "implementation.yaml").is_file()]


def _requirements(folder: Path, node: Node) -> dict[str, Requirement]:
    path = folder / node.text("protocol")
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise node.fault(f"the protocol text {path} cannot be read: {error}") from None
    rules: dict[str, Requirement] = {}
    for number, line in enumerate(lines, 1):
        if found := _RULE.match(line):
            place = Place(str(node.text("protocol")), number)
            if found["id"] in rules:
                raise Fault(place, f"{found['id']} is a rule already at {rules[found['id']].place}")
            rest = _continuation(lines[number:])
            text = " ".join([found["text"], *rest])
            rule = Requirement(found["id"], found["level"], text, found["feature"], place)
            rules[rule.id] = rule
    if not rules:
        raise node.fault(f"{path} holds no rule; write them as `- NAME-1 (MUST) text`")
    return rules


def _continuation(lines: list[str]) -> list[str]:
    rest = []
    for line in lines:
        if not line.startswith("  ") or line.lstrip().startswith("|"):
            break
        rest.append(line.strip())
    return rest


def _programs(node: Node) -> dict[Role, Program]:
    node.allow(list(Role), "programs")
    programs = {}
    for role, entry in node.mapping("programs").items():
        entry.allow(("arguments", "options", "ready"), f"programs of the role {role}")
        parts = entry.mapping("a program")
        programs[Role(role)] = Program(
            arguments=parts["arguments"].text("arguments") if "arguments" in parts else "",
            options=options(parts["options"]) if "options" in parts else {},
            ready=parts["ready"].text("ready") if "ready" in parts else "",
        )
    return programs


def options(node: Node) -> dict[str, str | None]:
    """`{max-clients: 2, members-only: yes, quiet: no}`: text, "" for a bare flag, None: no."""
    values: dict[str, str | None] = {}
    for name, entry in node.mapping("options").items():
        if isinstance(entry.value, bool):
            values[name] = "" if entry.value else None
        elif isinstance(entry.value, str | int | float):
            values[name] = str(entry.value)
        else:
            raise entry.fault(f"the option `{name}` must be a text, a number, yes or no")
    return values


def _shorthand(name: str, node: Node) -> Shorthand:
    node.allow(("argument", "steps", "meaning"), f"the verb `{name}`")
    parts = node.mapping("a verb")
    if "steps" not in parts:
        raise node.fault(f"the verb `{name}` needs `steps`")
    steps = parts["steps"]
    by_kind = steps.mapping("steps") if steps.is_mapping else {"": steps}
    return Shorthand(
        name=name,
        argument=parts["argument"].text("argument") if "argument" in parts else None,
        steps={kind: entry.items("steps") for kind, entry in by_kind.items()},
    )


def _fence(node: Node) -> Fence:
    keys = ("group", "types", "others_see", "alone_types", "alone_sees")
    node.allow(keys, "fence")
    parts = node.mapping("fence")
    if missing := [key for key in keys if key not in parts]:
        raise node.fault(f"fence needs `{missing[0]}`")
    return Fence(*(parts[key].text(key) for key in keys))
