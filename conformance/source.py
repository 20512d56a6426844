"""YAML with positions: the one module that imports yaml.

A file becomes a tree of nodes, each of which knows where it stands, so that every mistake found
later can be reported as `file:line:column`. Nothing here knows what the files mean.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import yaml

from conformance.model import Mistake, Place

Scalar: TypeAlias = bool | int | float | str | None

# libyaml's parser is ten times faster; the pure one says the same.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Fault(Exception):
    """One mistake, at one place; collected into a `Mistake` by whoever reads a whole file."""

    def __init__(self, place: Place, message: str) -> None:
        super().__init__(f"{place}: {message}")


@dataclass(frozen=True, slots=True)
class Node:
    """A value and where it stands; the value is a scalar, a list of nodes, or nodes by key."""

    place: Place
    value: Scalar | list[Node] | dict[str, Node]
    keys: dict[str, Place] = field(default_factory=dict)  # where each key of a mapping stands

    def fault(self, message: str) -> Fault:
        """A mistake at this node, to be raised."""
        return Fault(self.place, message)

    @property
    def is_mapping(self) -> bool:
        """Whether it has keys."""
        return isinstance(self.value, dict)

    def mapping(self, what: str) -> dict[str, Node]:
        """The nodes by key; `what` says in a fault what was meant to stand here."""
        if not isinstance(self.value, dict):
            raise self.fault(f"{what} must be a mapping (`key: value`), not {self.kind}")
        return self.value

    def items(self, what: str) -> list[Node]:
        """The nodes of a list."""
        if not isinstance(self.value, list):
            raise self.fault(f"{what} must be a list, not {self.kind}")
        return self.value

    def text(self, what: str) -> str:
        """A string; YAML makes numbers and booleans of some bare words, so those are named."""
        if isinstance(self.value, str):
            return self.value
        raise self.fault(f"{what} must be text, not {self.kind}; put it in quotes")

    def number(self, what: str, *, least: float = 0) -> float:
        """A number of at least `least`."""
        if isinstance(self.value, bool) or not isinstance(self.value, int | float):
            raise self.fault(f"{what} must be a number, not {self.kind}")
        if self.value < least:
            raise self.fault(f"{what} must be {least:g} or more")
        return self.value

    def texts(self, what: str) -> list[str]:
        """A list of strings."""
        return [item.text(what) for item in self.items(what)]

    def allow(self, known: Iterable[str], what: str) -> None:
        """Refuse keys that are not known, and say which was probably meant."""
        known = list(known)
        for key in self.mapping(what):
            if key not in known:
                raise Fault(self.keys[key], f"unknown key `{key}` in {what}; {meant(key, known)}")

    @property
    def kind(self) -> str:
        """What this is, in the words of the person who wrote it."""
        names = {dict: "a mapping", list: "a list", str: "text", bool: "yes/no"}
        return "empty" if self.value is None else names.get(type(self.value), "a number")


def meant(word: str, known: Iterable[str]) -> str:
    """`did you mean …?`, or the whole list where nothing is near."""
    known = sorted(known)
    near = difflib.get_close_matches(word, known, n=1)
    return f"did you mean `{near[0]}`?" if near else f"known: {', '.join(known)}"


def read(path: Path) -> Node:
    """The tree of a YAML file; raises Mistake where it cannot be read or is not YAML."""
    try:
        text = path.read_bytes()
        tree = yaml.compose(text.decode("utf-8"), Loader=_Loader)
    except OSError as error:
        raise Mistake([f"{path}: cannot be read: {error.strerror}"]) from None
    except UnicodeDecodeError as error:
        line = text.count(b"\n", 0, error.start) + 1
        raise Mistake([f"{path}:{line}:1: not UTF-8; save the file as UTF-8"]) from None
    except yaml.MarkedYAMLError as error:
        raise Mistake([f"{_place(path, error.problem_mark)}: {_explain(error)}"]) from None
    except yaml.YAMLError as error:
        raise Mistake([f"{path}:1:1: not YAML: {error}"]) from None
    if tree is None:
        return Node(Place(str(path), 1), None)
    try:
        return _convert(path, tree, depth=0)
    except Fault as fault:
        raise Mistake([str(fault)]) from None


def parse(path: Path, text: str) -> Node:
    """The tree of YAML given as text, its places within `path`."""
    tree = yaml.compose(text, Loader=_Loader)
    return _convert(path, tree, depth=0) if tree else Node(Place(str(path), 1), None)


def _place(path: Path, mark: yaml.Mark | None) -> Place:
    return Place(str(path), mark.line + 1, mark.column + 1) if mark else Place(str(path), 1)


def _explain(error: yaml.MarkedYAMLError) -> str:
    words = " ".join(part for part in (error.context, error.problem) if part)
    return f"not YAML: {words} (quote text that holds `: `, `#` or begins with a special character)"


def _convert(path: Path, node: yaml.Node, depth: int) -> Node:
    place = _place(path, node.start_mark)
    if depth > 50:  # an alias can hold itself
        raise Fault(place, "nested too deeply")
    if isinstance(node, yaml.MappingNode):
        return _convert_mapping(path, node, depth)
    if isinstance(node, yaml.SequenceNode):
        return Node(place, [_convert(path, item, depth + 1) for item in node.value])
    try:
        value = yaml.constructor.SafeConstructor().construct_object(node)
    except (yaml.YAMLError, ValueError):
        raise Fault(place, f"cannot be read as {node.tag}; put it in quotes") from None
    # A date or a binary is of no use here: keep what the person typed.
    return Node(place, value if isinstance(value, Scalar) else str(node.value))


def _convert_mapping(path: Path, node: yaml.MappingNode, depth: int) -> Node:
    values: dict[str, Node] = {}
    keys: dict[str, Place] = {}
    for key_node, value_node in node.value:
        place = _place(path, key_node.start_mark)
        if not isinstance(key_node, yaml.ScalarNode):
            raise Fault(place, "a key must be plain text")
        key = str(key_node.value)
        if key in values:
            raise Fault(place, f"`{key}` stands here twice")
        values[key] = _convert(path, value_node, depth + 1)
        keys[key] = place
    return Node(_place(path, node.start_mark), values, keys)
