"""implementation.yaml: all that it takes for a program to join."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import Path

from conformance.model import Implementation, Mistake, Role
from conformance.rehearsal import fill
from conformance.source import Fault, Node, read

MANIFEST_FILE = "implementation.yaml"

_KEYS = (
    "name",
    "role",
    "language",
    "needs",
    "build",
    "run",
    "features",
    "known_failures",
    "arguments",
    "port",
    "ready",
)
_NEEDED = ("name", "role", "language", "run")


def find(folders: Iterable[Path]) -> list[Implementation]:
    """The implementations in these folders, or in their direct subfolders; raises Mistake."""
    problems: list[str] = []
    found: dict[str, Implementation] = {}
    for path in dict.fromkeys(manifest for folder in folders for manifest in _manifests(folder)):
        try:
            one = load(path)
        except Mistake as mistake:
            problems += mistake.problems
            continue
        if one.label in found:
            other = found[one.label].place
            problems.append(f"{one.place}: the {one.role} `{one.name}` stands at {other} already")
        found[one.label] = one
    if problems:
        raise Mistake(problems)
    return sorted(found.values(), key=lambda one: (one.role != Role.SERVER, one.name))


def _manifests(folder: Path) -> list[Path]:
    if (folder / MANIFEST_FILE).is_file():
        return [folder / MANIFEST_FILE]
    below = sorted(folder.glob(f"*/{MANIFEST_FILE}"))
    if not below:
        raise Mistake([f"{folder}: holds no {MANIFEST_FILE}, nor does a folder in it"])
    return below


def load(path: Path) -> Implementation:
    """One manifest; raises Mistake."""
    try:
        return _implementation(path, read(path))
    except Fault as fault:
        raise Mistake([str(fault)]) from None


def _implementation(path: Path, root: Node) -> Implementation:
    root.allow(_KEYS, "a manifest")
    top = root.mapping("a manifest")
    for key in _NEEDED:
        if key not in top:
            raise root.fault(f"a manifest needs `{key}`")

    def text(key: str) -> str | None:
        return top[key].text(f"`{key}`") if key in top else None

    return Implementation(
        name=_name(top["name"]),
        role=_role(top["role"]),
        language=top["language"].text("`language`"),
        folder=path.parent,
        run=_command(top["run"]),
        build=_command(top["build"]) if "build" in top else None,
        needs=tuple(_texts(top, "needs")),
        features=frozenset(_texts(top, "features")),
        known_failures=_known_failures(top.get("known_failures")),
        arguments=text("arguments"),
        ready=text("ready"),
        port=int(top["port"].number("`port`", least=1)) if "port" in top else None,
        place=root.place,
    )


def _texts(top: dict[str, Node], key: str) -> list[str]:
    return top[key].texts(f"an entry of `{key}`") if key in top else []


def _name(node: Node) -> str:
    name = node.text("`name`")
    if not name.replace("-", "").isalnum() or name == "mixed":
        raise node.fault("a name is letters, digits and `-`, and not `mixed`")
    return name


def _role(node: Node) -> Role:
    if node.value not in list(Role):
        raise node.fault(f"`role` is one of: {', '.join(Role)}")
    return Role(node.text("`role`"))


def _command(node: Node) -> str:
    command = node.text("a command")
    try:
        words = shlex.split(fill(command, {"build": "", "python": "python"}))
    except ValueError as error:
        raise node.fault(f"not a command line: {error}") from None
    if not words:
        raise node.fault("an empty command")
    return command


def _known_failures(node: Node | None) -> dict[str, str]:
    if node is None:
        return {}
    return {
        key: entry.text("the reason of a known failure")
        for key, entry in node.mapping("`known_failures`").items()
    }
