"""The key `ready` of suites and manifests: the line, or a pattern of it, that a server prints.

It does not depend on which program it is for.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from conformance.arguments import Pattern, Ready, with_port
from conformance.mistakes import meant
from conformance.read.command_line import check_template
from conformance.read.keys import TEXT, Key, Keys, Schema, no_context, record, record_schema
from conformance.read.lines import expression, one_line
from conformance.read.yaml_tree import Node
from conformance.text import placeholders

_STREAMS = ("output", "errors")
_PLACES = ("host", "port")


def ready(node: Node) -> Ready:
    """The first line that a server prints, "" if it prints none, or a mapping for a later line."""
    if not node.is_mapping:
        return Ready(_line("line")(node, None) if node.value != "" else None)
    parts = record(node, "`ready`", READY_KEYS, None)
    named = [how for how in _HOW if how in parts]
    if len(named) != 1:
        raise node.fault(f"describe the line by one of: {', '.join(_HOW)}")
    return Ready(parts[named[0]], first=False, in_errors=parts.get("on") == "errors")


def _line(how: str) -> Callable[[Node, object], Pattern]:
    """A reader of the line, or of the part that `how` names."""

    def read(node: Node, _: object) -> Pattern:
        text = one_line(node)
        if not text:
            raise node.fault(f"`{how}` is empty; write what it prints, or leave the key out")
        if placeholders(text).count("port") > 1:
            raise node.fault("`{port}` appears twice; write it once")
        if how == "matches":
            _check_expression(node, text)
            if unknown := [name for name in placeholders(text) if name not in _PLACES]:
                remedy = meant(unknown[0], _PLACES)
                raise node.fault(f"nothing fills the placeholder `{{{unknown[0]}}}`; {remedy}")
        else:
            check_template(node, text, _PLACES)
        return Pattern(text, "is" if how == "line" else how, place=node.place)

    return read


def _check_expression(node: Node, text: str) -> None:
    """Refuse an expression that is none, also if `{port}` is a group in it, as in `with_port`."""
    if "port" in expression(node, text).groupindex and "port" in placeholders(text):
        raise node.fault("both `{port}` and the group `port` name the port; leave one of them out")
    try:
        with_port(Pattern(text, "matches").filled({"host": "127.0.0.1"}))
    except re.error as error:
        message = f"not a regular expression with a number in place of `{{port}}`: {error}"
        raise node.fault(message) from None


def _stream(node: Node) -> str:
    word = node.text("`on`")
    if word not in _STREAMS:
        raise node.fault(f"no such stream `{word}`; {meant(word, _STREAMS)}")
    return word


_HOW = {
    "line": "The whole line",
    "contains": "A part of the line",
    "matches": "A regular expression for the whole line",
}

READY_KEYS: Keys[object] = {
    **{
        how: Key(_line(how), TEXT, f"{meaning}; it may hold `{{host}}` and `{{port}}`.")
        for how, meaning in _HOW.items()
    },
    "on": Key(
        no_context(_stream),
        {"enum": list(_STREAMS)},
        "The stream on which it prints the line: `output` (the default) or `errors`.",
    ),
}

READY_SCHEMA: Schema = {"anyOf": [TEXT, record_schema(READY_KEYS)]}
