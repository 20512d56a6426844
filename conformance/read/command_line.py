"""Command lines and options of programs, in suites, manifests and steps.

It does not depend on which program they are for.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection

from conformance.mistakes import Fault, Place, Problems, meant
from conformance.read.keys import Schema
from conformance.read.placeholders import check_filled
from conformance.read.yaml_tree import Node
from conformance.text import lone_brace, placeholders

_ARGUMENTS = ("host", "port", "name")  # placeholders in the arguments of a program
_OPTION = r"[A-Za-z0-9][A-Za-z0-9_.-]*"

OPTION_SCHEMA: Schema = {"type": "string", "pattern": f"^{_OPTION}$"}
OPTIONS_SCHEMA: Schema = {
    "type": "object",
    "description": "Options of a program. `yes`: the option has no value. `no`: leave out an "
    "option that the suite gives.",
    "additionalProperties": {"type": ["string", "number", "boolean"]},
}


class Options(dict[str, str | None]):
    """Options of a program, name → value: "" if it has no value, None to leave it out."""

    def __init__(self, node: Node) -> None:
        super().__init__()
        self.places = node.keys

    def check(self, takes: frozenset[str] | None) -> None:
        """Raise Mistake for options that are not in `takes`; None: the program takes any."""
        problems = Problems()
        for name, place in self.places.items():
            if takes is not None and name not in takes:
                remedy = f"{meant(name, takes)} (see `takes` in the suite)"
                problems.add(Fault(place, f"no such option `{name}`; {remedy}"))
        problems.report()


def options(node: Node) -> Options:
    """Options such as `{max-clients: 2, members-only: yes, quiet: no}`.

    Numbers are kept as they were typed, since `1.50` and `1.5` may differ for a program.
    """
    values = Options(node)
    for name, entry in node.mapping("options").items():
        check_option(name, node.keys[name])
        values[name] = _option(name, entry)
    return values


def check_option(name: str, place: Place) -> None:
    """Raise Fault if this cannot be the name of an option."""
    if not re.fullmatch(_OPTION, name):
        raise Fault(place, f"`{name}` is not the name of an option; write it without its dashes")


def _option(name: str, node: Node) -> str | None:
    if isinstance(node.value, bool):
        return "" if node.value else None
    if node.value is None or isinstance(node.value, list | dict):
        raise node.fault(f"the option `{name}` must be a text, a number, yes or no")
    text = node.value if isinstance(node.value, str) else node.typed
    if not text:
        raise node.fault(f"the option `{name}` is empty; write `yes` where it takes no value")
    if "\0" in text or "n" in placeholders(text):
        raise node.fault(f"the option `{name}` cannot hold a NUL, or `{{n}}`, which counts lines")
    return text


def command_line(node: Node) -> str:
    """A command: words, split as a shell splits them; no other feature of a shell works."""
    text = any_command_line(node)
    if not (words := shlex.split(text)) or not words[0]:
        raise node.fault("an empty command; name the program to run")
    return text


def any_command_line(node: Node) -> str:
    """Like `command_line`, but it may be empty."""
    text = node.text("a command line")
    try:
        shlex.split(text)
    except ValueError as error:
        raise node.fault(f"not a command line: {str(error).lower()}") from None
    if "\0" in text:
        raise node.fault("not a command line: an argument cannot hold a NUL")
    if "n" in placeholders(text):
        raise node.fault("`{n}` counts lines; write `{{n}` for itself")
    return text


def program_arguments(node: Node) -> str:
    """The end of a command line, such as `--host {host} --port {port}`."""
    arguments = any_command_line(node)
    check_template(node, arguments, _ARGUMENTS)
    return arguments


def check_template(node: Node, text: str, known: Collection[str]) -> None:
    """Raise Fault for an unknown placeholder, or a brace that belongs to no placeholder."""
    check_filled(text, node.place, known)
    if lone_brace(text):
        remedy = f"write `{{{next(iter(known))}}}` for a placeholder, `{{{{` for a literal brace"
        raise node.fault(f"a `{{` that begins no placeholder; {remedy}")
