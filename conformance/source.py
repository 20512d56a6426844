"""YAML with positions: the one module that imports yaml.

A file becomes a tree of nodes, each of which knows where it stands, so that every mistake found
later can be reported as `file:line:column`. Nothing here knows what the files mean.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from conformance.model import Mistake, Place
from conformance.transcript import visible

Scalar: TypeAlias = bool | int | float | str | None

# libyaml's parser is ten times faster. (The pure one is stricter about `?` in `[…]` and `{…}`.)
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_MOST_DEEP = 50  # lists and mappings within each other
_MOST_NODES = 200_000  # in one file; a few aliases of aliases stand for billions
_MOST_NAMED = 60  # words of a list of what is known

_QUOTES = "(quote text that holds `: `, `#` or begins with a special character)"


class Fault(Mistake):
    """One mistake, at one place."""

    def __init__(self, place: Place, message: str) -> None:
        super().__init__([visible(f"{place}: {message}")])
        self.place = place
        self.message = message


class Problems:
    """Gathers mistakes, so that all of a file are told at once."""

    def __init__(self) -> None:
        self.found: dict[str, None] = {}  # in their order, each once

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """Go on behind the block where something is wrong in it."""
        try:
            yield
        except Mistake as mistake:
            self.add(mistake)

    def add(self, mistake: Mistake) -> None:
        """Keep it for the report."""
        self.found |= dict.fromkeys(mistake.problems)

    def report(self) -> None:
        """Raise Mistake if there was any."""
        if self.found:
            raise Mistake(list(self.found))


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
        quotable = self.value is not None and not isinstance(self.value, list | dict)
        remedy = "; put it in quotes" if quotable else ""
        raise self.fault(f"{what} must be text, not {self.kind}{remedy}")

    def number(self, what: str, *, least: float = 0) -> float:
        """A number of at least `least`."""
        if isinstance(self.value, bool) or not isinstance(self.value, int | float):
            raise self.fault(f"{what} must be a number, not {self.kind}")
        if not (math.isfinite(self.value) and self.value >= least):
            raise self.fault(f"{what} must be {least:g} or more")
        return self.value

    def count(self, what: str, *, least: int = 1, most: int = 1 << 31) -> int:
        """A whole number from `least` to `most`."""
        number = self.number(what, least=least)
        if number != int(number) or number > most:
            raise self.fault(f"{what} must be a whole number from {least} to {most}")
        return int(number)

    def texts(self, what: str) -> list[str]:
        """A list of strings."""
        return [item.text(what) for item in self.items(what)]

    def allow(self, known: Iterable[str], what: str) -> None:
        """Refuse keys that are not known, and say which were probably meant."""
        known = list(known)
        problems = Problems()
        for key in self.mapping(what):
            if key not in known:
                message = f"unknown key `{key}` in {what}; {meant(key, known)}"
                problems.add(Fault(self.keys[key], message))
        problems.report()

    @property
    def kind(self) -> str:
        """What this is, in the words of the person who wrote it."""
        names = {dict: "a mapping", list: "a list", str: "text", bool: "yes/no"}
        return "empty" if self.value is None else names.get(type(self.value), "a number")


def meant(word: str, known: Iterable[str]) -> str:
    """`did you mean …?`, or the whole list where nothing is near."""
    known = sorted(known)
    if near := difflib.get_close_matches(word, known, n=1):
        return f"did you mean `{near[0]}`?"
    more = f", and {len(known) - _MOST_NAMED} more" if len(known) > _MOST_NAMED else ""
    return f"known: {', '.join(known[:_MOST_NAMED]) or 'none'}{more}"


def record(
    node: Node,
    what: str,
    readers: Mapping[str, Callable[[Node], object]],
    needed: Iterable[str],
    problems: Problems,
) -> dict[str, Any]:
    """What the readers make of a mapping's values: of those that are there and right."""
    entries = node.mapping(what)
    with problems.gathered():
        node.allow(readers, what)
    for key in needed:
        if key not in entries:
            problems.add(node.fault(f"{what} needs `{key}`"))
    values = {}
    for key, reader in readers.items():
        if key in entries:
            with problems.gathered():
                values[key] = reader(entries[key])
    return values


def read(path: Path) -> Node:
    """The tree of a YAML file; raises Mistake where it cannot be read or is not YAML."""
    start = Place(str(path), 1)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise Fault(start, f"cannot be read: {error.strerror}") from None
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        place = _place_of(path, data[: error.start].decode("utf-8"))
        raise Fault(place, "not UTF-8; save the file as UTF-8") from None
    try:
        return _Reader(path).read(text)
    except yaml.reader.ReaderError as error:
        place = _place_of(path, text[: error.position])
        remedy = 'write it as an escape in double quotes, such as "\\x1b"'
        raise Fault(place, f"not YAML: a control character; {remedy}") from None
    except yaml.MarkedYAMLError as error:
        place = _place(path, error.problem_mark) if error.problem_mark else start
        raise Fault(place, _explain(error, text)) from None


def _place(path: Path, mark: Any) -> Place:  # libyaml's marks are of a class of their own
    return Place(str(path), mark.line + 1, mark.column + 1)


def _place_of(path: Path, before: str) -> Place:
    """The place behind the text that stands before it."""
    return Place(str(path), before.count("\n") + 1, len(before) - before.rfind("\n"))


def _explain(error: yaml.MarkedYAMLError, text: str) -> str:
    if error.problem_mark and text.startswith("\t", error.problem_mark.index):
        return "not YAML: a tab; indent with spaces"
    words = " ".join(part for part in (error.context, error.problem) if part)
    return f"not YAML: {words} {_QUOTES}"


class _Reader:
    """Makes nodes of one file's YAML."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.nodes = 0

    def read(self, text: str) -> Node:
        self._check_depth(text)
        tree = yaml.compose(text, Loader=_Loader)
        return self._convert(tree, depth=0) if tree else Node(Place(str(self.path), 1), None)

    def _check_depth(self, text: str) -> None:
        """libyaml's composer calls itself, and brings the process down where that goes too deep."""
        depth = 0
        for event in yaml.parse(text, Loader=_Loader):
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
            if depth > _MOST_DEEP:
                raise Fault(_place(self.path, event.start_mark), "nested too deeply")

    def _convert(self, node: yaml.Node, depth: int) -> Node:
        place = _place(self.path, node.start_mark)
        self.nodes += 1
        if depth > _MOST_DEEP:  # an alias can hold itself
            raise Fault(place, "nested too deeply: an alias holds itself")
        if self.nodes > _MOST_NODES:
            raise Fault(place, f"more than {_MOST_NODES} entries, aliases spelled out")
        if isinstance(node, yaml.MappingNode):
            return self._convert_mapping(node, depth)
        if isinstance(node, yaml.SequenceNode):
            return Node(place, [self._convert(item, depth + 1) for item in node.value])
        try:
            value = yaml.constructor.SafeConstructor().construct_object(node)
        except (yaml.YAMLError, ValueError, KeyError, AttributeError):  # whatever the tag's type
            raise Fault(place, f"cannot be read as {node.tag}; put it in quotes") from None
        # A date or a binary is of no use here: keep what the person typed.
        return Node(place, value if isinstance(value, Scalar) else str(node.value))

    def _convert_mapping(self, node: yaml.MappingNode, depth: int) -> Node:
        values: dict[str, Node] = {}
        keys: dict[str, Place] = {}
        for key_node, value_node in node.value:
            place = _place(self.path, key_node.start_mark)
            if not isinstance(key_node, yaml.ScalarNode):
                raise Fault(place, "a key must be plain text")
            key = str(key_node.value)
            if key in values:
                raise Fault(place, f"`{key}` stands here twice; the first is at {keys[key]}")
            values[key] = self._convert(value_node, depth + 1)
            keys[key] = place
        return Node(_place(self.path, node.start_mark), values, keys)
