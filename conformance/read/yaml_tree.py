"""YAML files → trees of nodes with positions. Only this module imports yaml.

Each node has its place, so that every mistake found later can be reported as `file:line:column`.
This module does not depend on what the files mean.
"""

from __future__ import annotations

import math
import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from conformance.kit import shown
from conformance.mistakes import MOST_NAMED, Fault, Place, Problems, meant

Scalar: TypeAlias = bool | int | float | str | None

# The parser of libyaml is ten times as fast. (The one in Python is stricter about `?` in `[…]`.)
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_MOST_BYTES = 16 << 20  # in one file
_MOST_DEEP = 50  # levels of nested lists and mappings
_MOST_NODES = 200_000  # in one file; a few aliases of aliases can expand to billions

_TOO_DEEP = "nested too deeply"
_QUOTES = "(quote text that holds `: `, `#` or begins with a special character)"

# The words without quotes that are not text. All others are text as it was typed: YAML 1.1 reads
# `1:30` as 90, `010` as 8 and `on` as true, which is never what the writer meant.
_EMPTY = frozenset({"", "~", "null", "Null", "NULL"})
_YES = frozenset({"yes", "Yes", "YES", "true", "True", "TRUE"})
_NO = frozenset({"no", "No", "NO", "false", "False", "FALSE"})
_DECIMAL = re.compile(r"-?(0|[1-9][0-9]{0,14})(\.[0-9]{1,15})?")
_LIKE_A_NUMBER = re.compile(r"[-+.]?[0-9]|[-+]?\.(inf|nan)", re.IGNORECASE)

# Characters that YAML does not allow.
_CONTROL = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True)
class Node:
    """A value and its place; the methods that read it raise Fault if it has another type.

    Their parameter `what` names the expected value in the message: "`steps` must be a list".
    """

    place: Place
    value: Scalar | list[Node] | dict[str, Node]
    keys: dict[str, Place] = field(default_factory=dict)  # the places of the keys of a mapping
    typed: str = ""  # a scalar as it was written: `1.50`, if the value is 1.5

    def fault(self, message: str) -> Fault:
        """A Fault at this node, to be raised."""
        return Fault(self.place, message)

    @property
    def is_mapping(self) -> bool:
        """Whether it is a mapping."""
        return isinstance(self.value, dict)

    def mapping(self, what: str) -> dict[str, Node]:
        """The nodes of a mapping, by key."""
        if not isinstance(self.value, dict):
            raise self.fault(f"{what} must be a mapping (`key: value`), not {self.kind}")
        return self.value

    @property
    def children(self) -> Iterable[Node]:
        """The nodes directly below this one."""
        if isinstance(self.value, dict):
            return self.value.values()
        return self.value if isinstance(self.value, list) else ()

    def items(self, what: str) -> list[Node]:
        """The nodes of a list."""
        if not isinstance(self.value, list):
            raise self.fault(f"{what} must be a list, not {self.kind}")
        return self.value

    def text(self, what: str) -> str:
        """A string; numbers, `yes` and `no` without quotes are refused, as they are ambiguous."""
        if isinstance(self.value, str):
            return self.value
        remedy = "; put it in quotes" if self.typed else ""
        raise self.fault(f"{what} must be text, not {self.kind}{remedy}")

    def words(self, what: str) -> str:
        """A string of one line that is not blank."""
        text = self.text(what)
        if not text.strip():
            raise self.fault(f"{what} is empty; write a text, or leave the key out")
        if "\n" in text or "\0" in text:
            raise self.fault(f"{what} must be one line of text")
        return text

    def number(self, what: str, *, least: float = 0, most: float = math.inf) -> float:
        """A number from `least` to `most`, written in decimal digits."""
        if isinstance(self.value, bool) or not isinstance(self.value, int | float):
            raise self.fault(f"{what} must be {self._no_number()}")
        if self.value < least:
            raise self.fault(f"{what} must be {least:g} or more")
        if self.value > most:
            raise self.fault(f"{what} must be {most:g} or less")
        return self.value

    def _no_number(self) -> str:
        word = self.value if isinstance(self.value, str) else ""
        if _DECIMAL.fullmatch(word):
            return "a number, not text; leave the quotes out"
        if _LIKE_A_NUMBER.match(word):
            return f"a plain decimal number such as `90` or `0.5`, not `{word[:MOST_NAMED]}`"
        return f"a number, not {self.kind}"

    def count(self, what: str, *, least: int = 1, most: int = (1 << 31) - 1) -> int:
        """A whole number from `least` to `most`."""
        number = self.number(what, least=least)
        if number != int(number) or number > most:
            raise self.fault(f"{what} must be a whole number from {least} to {most}")
        return int(number)

    def texts(self, what: str) -> list[str]:
        """A list of strings."""
        return [item.text(what) for item in self.items(what)]

    def allow(self, known: Iterable[str], what: str) -> None:
        """Raise Mistake for keys that are not known, with the most similar known ones."""
        known = list(known)
        problems = Problems()
        for key in self.mapping(what):
            if key not in known:
                message = f"unknown key `{key}` in {what}; {meant(key, known)}"
                problems.add(Fault(self.keys[key], message))
        problems.report()

    @property
    def kind(self) -> str:
        """The type of this value in words, for messages."""
        names = {dict: "a mapping", list: "a list", str: "text", bool: "yes/no"}
        return "empty" if self.value is None else names.get(type(self.value), "a number")


def read(path: Path) -> Node:
    """The tree of a YAML file; raises Fault if it cannot be read or is not YAML."""
    text = _text(path)
    if found := _CONTROL.search(text):
        remedy = 'write it as an escape in double quotes, such as "\\x1b"'
        message = f"not YAML: a control character; {remedy}"
        raise Fault(_place_of(path, text[: found.start()]), message)
    try:
        return _Reader(path, text).document()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = _place(path, mark) if mark else Place(_name(path), 1)
        raise Fault(place, _explain(error, text)) from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # such as an escape out of range
        raise Fault(Place(_name(path), 1), f"not YAML: {error}") from None


def _text(path: Path) -> str:
    """The text of a file, without a byte order mark."""
    start = Place(_name(path), 1)
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # reading a pipe might block forever
            raise Fault(start, "cannot be read: a folder or a device, not a file")
        data = path.read_bytes()
    except OSError as error:
        raise Fault(start, f"cannot be read: {error.strerror}") from None
    if len(data) > _MOST_BYTES:
        raise Fault(start, f"more than {_MOST_BYTES >> 20} MiB")
    try:
        return data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        place = _place_of(path, data[: error.start].decode("utf-8"))
        raise Fault(place, "not UTF-8; save the file as UTF-8") from None


def _name(path: Path) -> str:
    return str(shown(path))


def _place(path: Path, mark: Any) -> Place:  # libyaml has its own type of marks
    return Place(_name(path), mark.line + 1, mark.column + 1)


def _place_of(path: Path, before: str) -> Place:
    """The place after `before`, the text from the start of the file."""
    return Place(_name(path), before.count("\n") + 1, len(before) - before.rfind("\n"))


def _explain(error: yaml.MarkedYAMLError, text: str) -> str:
    if error.problem_mark and text.startswith("\t", error.problem_mark.index):
        return "not YAML: a tab; indent with spaces"
    words = " ".join(part for part in (error.context, error.problem) if part)
    if "nesting" in words:  # some versions of libyaml have their own limit and message
        return _TOO_DEEP
    return f"not YAML: {words} {_QUOTES}"


def _meaning(word: str) -> Scalar:
    """The value of a word without quotes: None, yes or no, a decimal number, or text as typed."""
    if word in _EMPTY:
        return None
    if word in _YES or word in _NO:
        return word in _YES
    if _DECIMAL.fullmatch(word):
        return float(word) if "." in word else int(word)
    return word


class _Reader:
    """Makes nodes from the parser's events, without the type conversions of PyYAML."""

    def __init__(self, path: Path, text: str) -> None:
        self.file = _name(path)  # found once, not for each place
        self.events: Iterator[Any] = yaml.parse(text, Loader=_Loader)
        self.anchors: dict[str, Node] = {}
        self.nodes = 0

    def document(self) -> Node:
        """The one document of the file."""
        next(self.events)  # the stream starts
        if isinstance(next(self.events), yaml.StreamEndEvent):
            return Node(Place(self.file, 1), None)
        root = self._node(next(self.events), depth=0)
        next(self.events)  # the document ends
        event = next(self.events)
        if not isinstance(event, yaml.StreamEndEvent):
            message = "a second document begins here; a file can hold only one"
            raise Fault(self._place(event.start_mark), message)
        return root

    def _node(self, event: Any, depth: int) -> Node:
        place = self._place(event.start_mark)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(str(event.anchor), place, depth)
        self._check_room(place, depth)
        if event.tag is not None:
            message = "tags are not supported; leave the tag out, or put the whole value in quotes"
            raise Fault(place, message)
        if isinstance(event, yaml.ScalarEvent):
            node = _scalar(event, place)
        elif isinstance(event, yaml.SequenceStartEvent):
            node = Node(place, self._items(depth + 1))
        else:
            node = self._mapping(place, depth + 1)
        if event.anchor is not None:
            self.anchors[event.anchor] = node
        return node

    def _place(self, mark: Any) -> Place:  # libyaml has its own type of marks
        return Place(self.file, mark.line + 1, mark.column + 1)

    def _check_room(self, place: Place, depth: int) -> None:
        """Limit the size of the tree, and its depth, since functions that walk it are recursive."""
        self.nodes += 1
        if depth > _MOST_DEEP:
            raise Fault(place, _TOO_DEEP)
        if self.nodes > _MOST_NODES:
            raise Fault(place, f"more than {_MOST_NODES} entries, after aliases are expanded")

    def _alias(self, name: str, place: Place, depth: int) -> Node:
        if name not in self.anchors:
            raise Fault(place, f"no value `&{name}` ends before the alias `*{name}`")
        self._check_copy(self.anchors[name], place, depth)
        return self.anchors[name]

    def _check_copy(self, node: Node, place: Place, depth: int) -> None:
        """Count the nodes of an alias as if they were written in its place."""
        self._check_room(place, depth)
        for child in node.children:
            self._check_copy(child, place, depth + 1)

    def _items(self, depth: int) -> list[Node]:
        items = []
        while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
            items.append(self._node(event, depth))
        return items

    def _mapping(self, place: Place, depth: int) -> Node:
        values: dict[str, Node] = {}
        keys: dict[str, Place] = {}
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            key, key_place = self._key(event)
            if key in values:
                message = f"`{key}` appears twice; the first is at {keys[key]}"
                raise Fault(key_place, message)
            keys[key] = key_place
            values[key] = self._node(next(self.events), depth)
        return Node(place, values, keys)

    def _key(self, event: Any) -> tuple[str, Place]:
        """A key is text as it was typed, even if it looks like a number, `on` or `null`."""
        place = self._place(event.start_mark)
        if not isinstance(event, yaml.ScalarEvent) or event.tag is not None:
            raise Fault(place, "a key must be plain text")
        if event.value == "<<" and event.implicit[0]:
            raise Fault(place, "merge keys (`<<`) are not supported; write the keys out")
        return str(_scalar(event, place).typed), place


def _scalar(event: Any, place: Place) -> Node:
    word = str(event.value)
    if not word.isascii() and any("\ud800" <= char <= "\udfff" for char in word):
        raise Fault(place, 'half of a surrogate pair; write bytes as {hex: "ff"}')
    return Node(place, _meaning(word) if event.implicit[0] else word, typed=word)
