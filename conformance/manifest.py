"""implementation.yaml: all that it takes for a program to join."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path

from conformance.model import Implementation, Mistake, Role
from conformance.placeholder import places
from conformance.source import Fault, Node, Problems, meant, read, record
from conformance.suite import command_line, program_arguments, ready_line

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
        "language": lambda node: node.text("`language`"),
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
    return Implementation(folder=path.parent, place=root.place, **parts)


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
    if not command.strip():
        raise node.fault("an empty command")
    for name in places(command):
        if name not in _FILLED:
            raise node.fault(f"nothing fills the placeholder `{{{name}}}`; {meant(name, _FILLED)}")
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
        key: entry.text("the reason of a known failure")
        for key, entry in node.mapping("`known_failures`").items()
    }
