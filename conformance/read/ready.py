"""How a server says that it is ready, as a suite or a manifest writes it: a line, or a pattern.

It does not know which program it is for.
"""

from __future__ import annotations

from collections.abc import Callable

from conformance.arguments import Pattern, Ready
from conformance.mistakes import meant
from conformance.read.command_line import check_template
from conformance.read.keys import TEXT, Key, Keys, Schema, alone, record, record_schema
from conformance.read.lines import expression, one_line
from conformance.read.yaml_tree import Node
from conformance.text import places

_STREAMS = ("output", "errors")
_PLACES = ("host", "port")


def ready(node: Node) -> Ready:
    """The first line that a server prints, or a mapping that says more."""
    if not node.is_mapping:
        return Ready(_line("line")(node, None) if node.value != "" else None)
    parts = record(node, "`ready`", READY_KEYS, None)
    named = [how for how in _HOW if how in parts]
    if len(named) != 1:
        raise node.fault(f"say what the line is by one of: {', '.join(_HOW)}")
    return Ready(parts[named[0]], first=False, in_errors=parts.get("on") == "errors")


def _line(how: str) -> Callable[[Node, object], Pattern]:
    """A reader of the line, or of a part of it."""

    def read(node: Node, _: object) -> Pattern:
        text = one_line(node)
        if not text:
            raise node.fault(f"`{how}` is empty; say what it prints, or leave the key out")
        if how == "matches":
            expression(node, text)
            if unknown := [name for name in places(text) if name not in _PLACES]:
                remedy = meant(unknown[0], _PLACES)
                raise node.fault(f"nothing fills the placeholder `{{{unknown[0]}}}`; {remedy}")
        else:
            check_template(node, text, _PLACES)
        return Pattern(text, "is" if how == "line" else how, place=node.place)

    return read


def _stream(node: Node) -> str:
    word = node.text("`on`")
    if word not in _STREAMS:
        raise node.fault(f"no such stream `{word}`; {meant(word, _STREAMS)}")
    return word


_HOW = {
    "line": "The line, whole",
    "contains": "A part of the line",
    "matches": "A regular expression for the whole line",
}

READY_KEYS: Keys[object] = {
    **{
        how: Key(_line(how), TEXT, f"{meaning}; `{{host}}` and `{{port}}` may stand in it.")
        for how, meaning in _HOW.items()
    },
    "on": Key(
        alone(_stream),
        {"enum": list(_STREAMS)},
        "Where it prints the line: its standard output, unless this says `errors`.",
    ),
}

READY_SCHEMA: Schema = {"anyOf": [TEXT, record_schema(READY_KEYS)]}
