"""How lines and bytes are written: as text, by pattern, many times, in hexadecimal digits.

It does not know which verbs take them.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterator

from conformance.arguments import Bytes, Pattern, compiled
from conformance.read.keys import TEXT, Schema, grammar, list_of, mapping_schema, reference
from conformance.read.yaml_tree import Node
from conformance.text import encode, places, plain

MOST_LINES = 1_000_000  # that one step names
MOST_BYTES = 64 << 20  # that one step sends, or names

_PATTERNS = ("starts", "ends", "contains", "matches", "json")
_HOW = ("line", *_PATTERNS)

# What placeholders in an expression are likely to be filled with.
_LIKELY = {"host": "127.0.0.1", "port": "8080", "scratch": "/tmp/a-b"}

# An expression that matches all of these, and does not count, matches any line.
_ANYTHING = ("", "x", "0 \t-", "{}", "\N{LATIN SMALL LETTER E WITH ACUTE}\N{PILE OF POO}\udcff\x00")


# --- Schemas ---

_TIMES: Schema = {"type": "integer", "minimum": 1}
_SOME_TEXT: Schema = {"type": "string", "minLength": 1}
_JSON: Schema = {
    "description": "One JSON object with these keys, in this order, and values; `*` is any text.",
    "type": "object",
    "additionalProperties": {"type": ["string", "number", "boolean", "null"]},
    "minProperties": 1,
}


def _one_or_several(name: str, mapping: Schema, description: str) -> Schema:
    """A text, a list of such values, or a mapping."""
    choices = [TEXT, list_of(reference(name)), mapping]
    return {"description": description, "anyOf": choices}


DEFINITIONS: dict[str, Schema] = {
    "lines": _one_or_several(
        "lines",
        mapping_schema(
            {"line": TEXT, **dict.fromkeys(_PATTERNS, _SOME_TEXT), "json": _JSON, "times": _TIMES},
            minProperties=1,
        ),
        "A line; several as a list; or a pattern. `{n}` in the text of `times` counts from 1.",
    ),
    "said": _one_or_several(
        "said",
        mapping_schema({"line": TEXT, "times": _TIMES}, required=["line"]),
        "A line, several as a list, or `{line: TEXT, times: N}`.",
    ),
    "bytes": _one_or_several(
        "bytes",
        mapping_schema(
            {"hex": TEXT, "text": TEXT, "times": _TIMES},
            oneOf=[{"required": ["text"]}, {"required": ["hex"]}],
        ),
        'Text, `{hex: "ff 0a"}`, `{text: x, times: 9}`, or a list of these.',
    ),
}

_LAST = mapping_schema({"last": reference("lines")}, required=["last"])
_LINES_OR_LAST: Schema = {"anyOf": [reference("lines"), _LAST]}


# --- Lines ---


@grammar("lines", reference("lines"))
def lines(node: Node) -> tuple[Pattern, ...]:
    """One line or several, as text or by pattern."""
    if node.value == []:
        raise node.fault("no line at all claims nothing; name a line, or leave the step out")
    return lines_or_none(node)


@grammar("lines, or `[]`", reference("lines"))
def lines_or_none(node: Node) -> tuple[Pattern, ...]:
    """The same, or `[]`, where it is a claim that there is none."""
    if not isinstance(node.value, list):
        return (_line(node),)
    patterns = tuple(pattern for item in node.value for pattern in lines(item))
    if sum(pattern.times for pattern in patterns) > MOST_LINES:
        raise node.fault(f"more than {MOST_LINES} lines")
    if sum(len(pattern.text) * pattern.times for pattern in patterns) > MOST_BYTES:
        raise node.fault(f"more than {MOST_BYTES >> 20} MiB")
    return patterns


def _line(node: Node) -> Pattern:
    if not node.is_mapping:
        check_count(node)
        return Pattern(one_line(node), place=node.place)
    node.allow((*_HOW, "times"), "a line")
    parts = node.mapping("a line")
    named = [key for key in _HOW if key in parts]
    if len(named) != 1:
        raise node.fault(f"say what the line is by one of: {', '.join(_HOW)}")
    (how,) = named
    if how == "json":
        if "times" in parts:
            raise parts["times"].fault("`times` goes with a line's text, not with `json`")
        return Pattern(_object(parts["json"]), "json", place=node.place)
    return _lines(node, how, parts[how], parts.get("times"))


def _lines(node: Node, how: str, part: Node, times: Node | None) -> Pattern:
    """A line by its text or a part of it, which may stand for many lines."""
    count = times.count("times", most=MOST_LINES) if times else 1
    text = _part_of_line(how, part)
    if not times:
        check_count(part)
    if len(text) * count > MOST_BYTES:
        raise node.fault(f"more than {MOST_BYTES >> 20} MiB")
    return Pattern(text, "is" if how == "line" else how, count, node.place)


def _part_of_line(how: str, node: Node) -> str:
    """The text of a line, or what it starts with, ends with …; refuses what any line has."""
    text = one_line(node)
    if how == "matches":
        pattern = expression(node, text)
        if not text:
            raise node.fault('only an empty line matches it; name that as `""`')
        if "{" not in text and all(pattern.fullmatch(line) for line in _ANYTHING):
            raise node.fault("any line matches it, so it claims nothing; say what the line holds")
    elif how != "line" and not text:
        raise node.fault(f"`{how}` of nothing is true of any line; say what the line {how} with")
    return text


def _object(node: Node) -> str:
    """A JSON object with the keys and values of a mapping, on one line."""
    values = {}
    for name, entry in node.mapping("a JSON object").items():
        if isinstance(entry.value, list | dict):
            raise entry.fault("a value of a JSON object is a text, a number, yes, no or empty")
        check_count(entry)
        values[name] = entry.value
    if not values:
        raise node.fault("an object without keys; say which it has, or write the line as text")
    return json.dumps(values, ensure_ascii=False)


def one_line(node: Node) -> str:
    """A text without a line end."""
    text = node.text("a line")
    if "\n" in text:
        raise node.fault("a line holds no line end; give several lines as a list")
    return text


def check_count(node: Node) -> None:
    """Refuse `{n}` where nothing is counted."""
    if isinstance(node.value, str) and "n" in places(node.value):
        raise node.fault("`{n}` counts lines; write `{line: …, times: …}`, or `{{n}` for itself")


def expression(node: Node, text: str) -> re.Pattern[str]:
    """A regular expression, tried as it will be once its placeholders are filled in."""
    filled = Pattern(text, "matches").filled(_LIKELY).text.replace("{n}", "1")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # a later Python may read it in another way
            return compiled(plain(filled))
    except (re.error, OverflowError, RecursionError, Warning) as error:
        raise node.fault(f"not a regular expression: {error}") from None


def check_unfilled(node: Node, text: str) -> None:
    """Refuse any placeholder: the text is used as it stands."""
    for name in places(text):
        raise node.fault(f"`{{{name}}}` cannot be filled in here; write `{{{{` for a brace itself")


@grammar("lines", reference("said"))
def lines_to_say(node: Node) -> tuple[Pattern, ...]:
    """Lines without patterns: what is typed must be known exactly."""
    said = lines(node)
    for pattern in said:
        if pattern.how != "is":
            raise node.fault("what is typed must be a text, not a pattern")
    return said


@grammar("list of lines", list_of(reference("lines"), minItems=1))
def interleaved(node: Node) -> tuple[tuple[Pattern, ...], ...]:
    """Several sequences of lines; their order among each other is free."""
    sequences = tuple(lines(item) for item in node.items("what is seen in any order"))
    if not sequences:
        raise node.fault("no line at all claims nothing; name lines, or leave the step out")
    return sequences


@grammar("lines", _LINES_OR_LAST)
def errors(node: Node) -> tuple[str, tuple[Pattern, ...]]:
    """Lines of standard error: the next ones, or only the `last` one."""
    if not (node.is_mapping and "last" in node.mapping("standard error")):
        return "next", lines(node)
    node.allow(("last",), "standard error")
    last = node.mapping("standard error")["last"]
    patterns = lines(last)
    if len(patterns) != 1 or patterns[0].times != 1:
        raise last.fault("the last line is one line")
    return "last", patterns


@grammar("rows", _LINES_OR_LAST)
def rows(node: Node) -> tuple[str, tuple[Pattern, ...]]:
    """Rows of a screen: all of them, or only the `last` ones."""
    if not (node.is_mapping and "last" in node.mapping("rows")):
        return "all", lines_or_none(node)
    node.allow(("last",), "rows")
    return "last", lines(node.mapping("rows")["last"])


# --- Bytes ---


@grammar("bytes", reference("bytes"))
def data(node: Node) -> Bytes:
    """Bytes: text, `{hex: "ff 0a"}`, `{text: x, times: 9}`, or a list of them."""
    pieces: list[tuple[bytes, int]] = []
    room = MOST_BYTES
    for item in _items(node):
        piece, times = _piece(item)
        room -= len(piece) * times
        if room < 0:
            raise item.fault(f"more than {MOST_BYTES >> 20} MiB")
        pieces.append((piece, times))
    if room == MOST_BYTES:
        raise node.fault("no bytes at all; say which, or leave the step out")
    return Bytes(tuple(pieces))


def _items(node: Node) -> Iterator[Node]:
    """The items of lists within lists, in their order."""
    if not isinstance(node.value, list):
        yield node
        return
    for item in node.value:
        yield from _items(item)


def _piece(node: Node) -> tuple[bytes, int]:
    """Bytes, and how often they come."""
    if not node.is_mapping:
        return _text_bytes(node), 1
    parts = node.mapping("bytes")
    node.allow(("hex", "text", "times"), "bytes")
    if ("hex" in parts) == ("text" in parts):
        raise node.fault("bytes are either `text` or `hex`")
    times = parts["times"].count("times", most=MOST_BYTES) if "times" in parts else 1
    return _text_bytes(parts["text"]) if "text" in parts else _hex_bytes(parts["hex"]), times


def _text_bytes(node: Node) -> bytes:
    text = node.text("bytes")
    check_unfilled(node, text)
    return encode(plain(text))


def _hex_bytes(node: Node) -> bytes:
    try:
        return bytes.fromhex(node.text("hex"))
    except ValueError:
        remedy = 'write pairs of hexadecimal digits, such as "ff 0a"'
        raise node.fault(f"not hex; {remedy}") from None
