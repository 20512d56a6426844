"""Grammars of lines and bytes: as text, as a pattern, repeated, in hexadecimal digits.

It does not depend on which verbs take them.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

from conformance.arguments import ITEMS, Bytes, Pattern, compiled
from conformance.mistakes import Fault, Place
from conformance.read.keys import TEXT, Schema, grammar, list_of, mapping_schema, reference
from conformance.read.placeholders import LATER
from conformance.read.yaml_tree import Node
from conformance.text import encode, fill, placeholders, plain, repeated

MOST_LINES = 1_000_000  # in one step
MOST_BYTES = 64 << 20  # in one step

_PATTERNS = ("starts", "ends", "contains", "matches", "json")
_HOW = ("line", *_PATTERNS)
_BETWEEN = ", "  # the separator of items, unless a line says otherwise

# Likely values of placeholders, with which an expression is compiled as a trial.
_LIKELY = {"host": "127.0.0.1", "port": "8080", "scratch": "/tmp/a-b"}

# An expression without placeholders that matches all of these probably matches any line.
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
            {
                "line": TEXT,
                **dict.fromkeys(_PATTERNS, _SOME_TEXT),
                "json": _JSON,
                "times": _TIMES,
                "items": {"anyOf": [TEXT, list_of(TEXT)]},
                "between": _SOME_TEXT,
                "optional": reference("lines"),
            },
            minProperties=1,
        ),
        "A line, a list of lines, or a pattern. With `times`, `{n}` in the text counts from 1; "
        "`{items}` is replaced by the `items` in any order; an `optional` line may be missing; "
        "`{x*1000}` is x a thousand times.",
    ),
    "said": _one_or_several(
        "said",
        mapping_schema({"line": TEXT, "times": _TIMES}, required=["line"]),
        "A line, a list of lines, or `{line: TEXT, times: N}`.",
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
    """One line or several, as text or by pattern; some of them may be optional."""
    if node.value == []:
        raise node.fault("an empty list; name a line, or leave the step out")
    return _lines_or_none(node)


@grammar("lines, or `[]`", reference("lines"))
def lines_or_none(node: Node) -> tuple[Pattern, ...]:
    """Lines of which none is optional, or `[]`: there is no line."""
    return _all_certain(node, _lines_or_none(node))


def _all_certain(node: Node, patterns: tuple[Pattern, ...]) -> tuple[Pattern, ...]:
    """Refuse optional lines: no later line of the step would show whether they came."""
    for pattern in patterns:
        if pattern.optional:
            message = "a line cannot be `optional` here, where no later line is compared"
            raise Fault(pattern.place or node.place, message)
    return patterns


def _lines_or_none(node: Node) -> tuple[Pattern, ...]:
    if node.is_mapping and "optional" in node.mapping("a line"):
        return _optional(node)
    if not isinstance(node.value, list):
        return (_line(node),)
    patterns = tuple(pattern for item in node.value for pattern in lines(item))
    _check_size(node, patterns)
    _check_told_apart(patterns)
    return patterns


def _optional(node: Node) -> tuple[Pattern, ...]:
    """`{optional: LINES}`: each of these lines may be missing; those that come keep the order."""
    node.allow(("optional",), "a line that may come")
    inner = node.mapping("a line")["optional"]
    for pattern in (patterns := lines(inner)):
        if pattern.captures:
            message = "no part of an optional line can be captured: it may be missing"
            raise Fault(pattern.place or node.place, message)
    return tuple(replace(pattern, optional=True) for pattern in patterns)


def _check_told_apart(patterns: Sequence[Pattern]) -> None:
    """Refuse an optional line before one that looks the same: it would be unclear which came."""
    for one, other in pairwise(patterns):
        if one.optional and not other.optional and _look_alike(one, other):
            message = f"this optional line cannot be told apart from the next one, `{other}`"
            raise Fault(one.place or Place("", 0), message)


def _look_alike(one: Pattern, other: Pattern) -> bool:
    same = (one.how, one.text, one.items) == (other.how, other.text, other.items)
    exact = other.how == "is" and "{" not in one.text + other.text
    return same or (exact and one.meets(other.text))


def _check_size(node: Node, patterns: Sequence[Pattern]) -> None:
    if sum(pattern.times for pattern in patterns) > MOST_LINES:
        raise node.fault(f"more than {MOST_LINES} lines")
    if sum(len(pattern.text) * pattern.times for pattern in patterns) > MOST_BYTES:
        raise node.fault(f"more than {MOST_BYTES >> 20} MiB")


def _line(node: Node) -> Pattern:
    if not node.is_mapping:
        check_count(node)
        return Pattern(spelled(node, one_line(node)), place=node.place)
    node.allow((*_HOW, "times", "items", "between", "optional"), "a line")
    parts = node.mapping("a line")
    named = [key for key in _HOW if key in parts]
    if len(named) != 1:
        raise node.fault(f"describe the line by one of: {', '.join(_HOW)}")
    (how,) = named
    if "items" in parts or "between" in parts:
        return _line_of_items(node, how)
    if how == "json":
        if "times" in parts:
            raise parts["times"].fault("`times` goes with a line's text, not with `json`")
        return Pattern(_object(parts["json"]), "json", place=node.place)
    return _lines(node, how, parts[how], parts.get("times"))


def _lines(node: Node, how: str, part: Node, times: Node | None) -> Pattern:
    """A line described by its text or a part of it; with `times`, so many lines."""
    count = times.count("times", most=MOST_LINES) if times else 1
    text = _part_of_line(how, part)
    if times:
        _check_items(part)
    else:
        check_count(part)
    if len(text) * count > MOST_BYTES:
        raise node.fault(f"more than {MOST_BYTES >> 20} MiB")
    captures = _captures(part, text) if how == "matches" else ()
    how = "is" if how == "line" else how
    return Pattern(text, how, count, node.place, captures=captures)


def _captures(node: Node, text: str) -> tuple[str, ...]:
    """The names of the groups in an expression; later steps use their values as `{name}`."""
    names = tuple(expression(node, text).groupindex)
    for name in names:
        if name in LATER or placeholders(f"{{{name}}}") != [name]:
            remedy = "use lower-case letters and `_`, and none of " + ", ".join(sorted(LATER))
            raise node.fault(f"`{name}` cannot be the name of a group; {remedy}")
    return names


def _line_of_items(node: Node, how: str) -> Pattern:
    """`{line: "here: {items}", items: [ann, bob], between: " "}`: the items in any order."""
    parts = node.mapping("a line")
    if how != "line" or "times" in parts or "items" not in parts:
        raise node.fault("`items` belong to a line: `{line: TEXT, items: LIST, between: TEXT}`")
    text = spelled(parts["line"], one_line(parts["line"]))
    if placeholders(text).count("items") != 1 or "n" in placeholders(text):
        raise parts["line"].fault("write `{items}` once, where the items are")
    between = one_line(parts["between"]) if "between" in parts else _BETWEEN
    if not between:
        raise parts["between"].fault("an empty text cannot separate two items")
    items = _items_of(parts["items"], between)
    whole = fill(text, {"items": ITEMS})
    return Pattern(whole, "items", place=node.place, items=items, between=between)


def _items_of(node: Node, between: str) -> tuple[str, ...]:
    """The items, from a list of texts or from one text with `, ` between them."""
    if not isinstance(node.value, list):
        text = one_line(node)
        check_count(node)
        return tuple(text.split(_BETWEEN)) if text else ()
    for item in node.value:
        check_count(item)
        if between in one_line(item) or not item.value:
            raise item.fault(f"an item is a text without the separator `{between}`")
    return tuple(one_line(item) for item in node.value)


def _part_of_line(how: str, node: Node) -> str:
    """The text of a line, or what it starts with, ends with …; refuses what is true of any line."""
    text = one_line(node)
    text = text if how == "matches" else spelled(node, text)
    if how == "matches":
        pattern = expression(node, text)
        if not text:
            raise node.fault('only an empty line matches it; write that as `""`')
        if "{" not in text and all(pattern.fullmatch(line) for line in _ANYTHING):
            raise node.fault("any line matches it, so it claims nothing; say what the line holds")
    elif how != "line" and not text:
        raise node.fault(f"`{how}` with an empty text is true of any line; say more of the line")
    return text


def _object(node: Node) -> str:
    """A mapping as a JSON object, on one line."""
    values = {}
    for name, entry in node.mapping("a JSON object").items():
        if isinstance(entry.value, list | dict):
            raise entry.fault("a value of a JSON object must be a text, a number, yes, no or empty")
        check_count(entry)
        values[name] = entry.value
    if not values:
        raise node.fault("an object without keys; name its keys, or write the line as text")
    return json.dumps(values, ensure_ascii=False)


def one_line(node: Node) -> str:
    """A text without a line end."""
    text = node.text("a line")
    if "\n" in text:
        raise node.fault("a line cannot hold a line end; write several as a list")
    return text


def check_count(node: Node) -> None:
    """Refuse `{n}` and `{items}` in a text without `times` and `items`."""
    if isinstance(node.value, str) and "n" in placeholders(node.value):
        raise node.fault("`{n}` counts lines; write `{line: …, times: …}`, or `{{n}` for itself")
    _check_items(node)


def _check_items(node: Node) -> None:
    """Refuse `{items}` in a text without `items`."""
    if isinstance(node.value, str) and "items" in placeholders(node.value):
        raise node.fault("`{items}` needs `{line: …, items: …}`; write `{{items}` for itself")


def spelled(node: Node, text: str) -> str:
    """The text with each `{x*1000}` expanded; raises Fault if it gets too long."""
    whole = repeated(text, MOST_BYTES)
    if whole is None:
        raise node.fault(f"more than {MOST_BYTES >> 20} MiB")
    return whole


def expression(node: Node, text: str) -> re.Pattern[str]:
    """A regular expression, compiled as a trial with likely values of its placeholders."""
    filled = Pattern(text, "matches").filled(_LIKELY).text.replace("{n}", "1")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # such as: a later Python will read it differently
            return compiled(plain(filled))
    except (re.error, OverflowError, RecursionError, Warning) as error:
        raise node.fault(f"not a regular expression: {error}") from None


def check_unfilled(node: Node, text: str) -> None:
    """Refuse any placeholder: the text is used unchanged."""
    for name in placeholders(text):
        raise node.fault(f"`{{{name}}}` cannot be filled in here; write `{{{{` for a literal brace")


@grammar("lines", reference("said"))
def lines_to_say(node: Node) -> tuple[Pattern, ...]:
    """Lines to be typed, which cannot be patterns or optional."""
    said = lines(node)
    for pattern in said:
        if pattern.how != "is" or pattern.optional:
            raise node.fault("what is typed must be a text, not a pattern")
    return said


@grammar("list of lines", list_of(reference("lines"), minItems=1))
def interleaved(node: Node) -> tuple[tuple[Pattern, ...], ...]:
    """Several sequences of lines, which may arrive interleaved in any way."""
    sequences = tuple(lines(item) for item in node.items("what is seen in any order"))
    if not sequences:
        raise node.fault("an empty list; name lines, or leave the step out")
    return sequences


@grammar("lines", _LINES_OR_LAST)
def errors(node: Node) -> tuple[str, tuple[Pattern, ...]]:
    """Lines of standard error: the next ones, or only the `last` one."""
    if not (node.is_mapping and "last" in node.mapping("standard error")):
        return "next", lines(node)
    node.allow(("last",), "standard error")
    last = node.mapping("standard error")["last"]
    patterns = _all_certain(last, lines(last))
    if len(patterns) != 1 or patterns[0].times != 1:
        raise last.fault("the last line is one line")
    return "last", patterns


@grammar("rows", _LINES_OR_LAST)
def rows(node: Node) -> tuple[str, tuple[Pattern, ...]]:
    """Rows of a screen: all of them, or only the `last` ones."""
    if not (node.is_mapping and "last" in node.mapping("rows")):
        return "all", lines_or_none(node)
    node.allow(("last",), "rows")
    last = node.mapping("rows")["last"]
    return "last", _all_certain(last, lines(last))


# --- Bytes ---


@grammar("bytes", reference("bytes"))
def data(node: Node) -> Bytes:
    """Bytes: text, `{hex: "ff 0a"}`, `{text: x, times: 9}`, or a list of these."""
    pieces: list[tuple[bytes | str, int]] = []
    room = MOST_BYTES
    for item in _items(node):
        piece, times = _piece(item)
        room -= len(piece) * times
        if room < 0:
            raise item.fault(f"more than {MOST_BYTES >> 20} MiB")
        pieces.append((piece, times))
    if room == MOST_BYTES:
        raise node.fault("no bytes; name some, or leave the step out")
    return Bytes(tuple(pieces))


def _items(node: Node) -> Iterator[Node]:
    """The items of nested lists, flattened in their order."""
    if not isinstance(node.value, list):
        yield node
        return
    for item in node.value:
        yield from _items(item)


def _piece(node: Node) -> tuple[bytes | str, int]:
    """One piece, as bytes or as text with placeholders, and how many times it is repeated."""
    if not node.is_mapping:
        return _text_bytes(node), 1
    parts = node.mapping("bytes")
    node.allow(("hex", "text", "times"), "bytes")
    if ("hex" in parts) == ("text" in parts):
        raise node.fault("bytes are either `text` or `hex`")
    times = parts["times"].count("times", most=MOST_BYTES) if "times" in parts else 1
    return _text_bytes(parts["text"]) if "text" in parts else _hex_bytes(parts["hex"]), times


def _text_bytes(node: Node) -> bytes | str:
    text = spelled(node, node.text("bytes"))
    check_count(node)
    return text if placeholders(text) else encode(plain(text))


def _hex_bytes(node: Node) -> bytes:
    try:
        return bytes.fromhex(node.text("hex"))
    except ValueError:
        remedy = 'write pairs of hexadecimal digits, such as "ff 0a"'
        raise node.fault(f"not hex; {remedy}") from None
