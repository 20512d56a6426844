"""Grammars of all arguments of verbs except lines and bytes: keys, signals, sizes, files, options.

It does not depend on which verbs take them.
"""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path, PurePath

from conformance.kit import find
from conformance.mistakes import Fault, meant
from conformance.read.command_line import OPTIONS_SCHEMA, any_command_line, command_line, options
from conformance.read.keys import TEXT, Grammar, Schema, grammar, list_of, mapping_schema, reference
from conformance.read.lines import check_count, check_unfilled, expression, one_line, spelled
from conformance.read.yaml_tree import Node
from conformance.text import placeholders, plain

MOST_SECONDS = 86_400  # that one step may wait

KEYS = {f"Ctrl+{chr(code + 64)}": bytes([code]) for code in range(1, 27)} | {
    "Ctrl+\\": b"\x1c",
    "Enter": b"\r",
    "Tab": b"\t",
    "Escape": b"\x1b",
    "Backspace": b"\x7f",
    "Delete": b"\x1b[3~",
    "Up": b"\x1b[A",
    "Down": b"\x1b[B",
    "Right": b"\x1b[C",
    "Left": b"\x1b[D",
    "Home": b"\x1b[H",
    "End": b"\x1b[F",
    "Ctrl+Right": b"\x1b[1;5C",
    "Ctrl+Left": b"\x1b[1;5D",
    "Alt+B": b"\x1bb",
    "Alt+F": b"\x1bf",
}

_SIZE = "([1-9][0-9]{0,2})x([1-9][0-9]{0,2})"
_MEMORY = "([1-9][0-9]{0,5}) (KiB|MiB|GiB)"
_SOCKET_OPTION = "(TCP|SO)_[A-Z0-9_]+"


# --- Schemas ---


def _or_placeholder(schema: Schema) -> Schema:
    return {"anyOf": [schema, reference("placeholder")]}


def _one_or_several_of(name: str) -> Schema:
    return {"anyOf": [reference(name), list_of(reference(name), minItems=1)]}


DEFINITIONS: dict[str, Schema] = {
    "options": OPTIONS_SCHEMA,
    "status": {
        "anyOf": [
            {"type": "integer", "minimum": 0, "maximum": 255},
            {"const": "nonzero"},
            reference("signal"),
        ]
    },
    "key": _or_placeholder({"enum": list(KEYS)}),
    "size": _or_placeholder({"type": "string", "pattern": f"^{_SIZE}$"}),
    "signal": _or_placeholder({"type": "string", "pattern": "^SIG[A-Z0-9]+$"}),
    "placeholder": {
        "type": "string",
        "pattern": r"\{[a-z_]+\}",
        "description": "An example, or a verb of the suite, fills it in.",
    },
}

_SOCKET_OPTIONS: Schema = {
    "type": "object",
    "additionalProperties": {
        "anyOf": [
            {"type": "integer", "minimum": 0},
            mapping_schema({"most": {"type": "integer", "minimum": 1}}, required=["most"]),
        ]
    },
    "minProperties": 1,
}


# --- Grammars ---

OPTIONS = Grammar(options, "options or none", reference("options"))
COMMAND = Grammar(command_line, "command line", TEXT)
ANY_COMMAND = Grammar(any_command_line, "command line", TEXT)


@grammar("size", reference("size"))
def columns_and_rows(node: Node) -> tuple[int, int]:
    """The size of a window in columns and rows, such as `80x24`."""
    found = re.fullmatch(_SIZE, node.text("a size"))
    if not found:
        raise node.fault("a window's size is columns and rows, such as `80x24`")
    return int(found[1]), int(found[2])


@grammar("text", TEXT)
def text(node: Node) -> str:
    """Plain text, on one line."""
    if not node.text("a text"):
        raise node.fault("an empty text; write what it is, or leave the step out")
    check_count(node)
    return spelled(node, one_line(node))


@grammar("file", {"type": "string", "minLength": 1})
def file_name(node: Node) -> str:
    """A file in `{scratch}`, the folder of the case; placeholders are not filled in."""
    name = text(node)
    check_unfilled(node, name)
    path = PurePath(name)
    if "\0" in name or path.is_absolute() or ".." in path.parts or not path.name:
        raise node.fault("the path of a file is relative to `{scratch}`, such as `out.log`")
    return name


@grammar("file", TEXT)
def input_file(node: Node) -> str:
    """`closed`, an existing file relative to the scenario's folder, or a file in `{scratch}`."""
    name = text(node)
    if name == "closed" or placeholders(name):
        return name
    folder = find(Path(node.place.file)).parent
    if not os.path.lexists(folder / name) or os.path.isdir(folder / name):
        raise node.fault(f"no such file `{folder / name}`; paths are relative to {folder}")
    return name


@grammar("expression", TEXT)
def regex(node: Node) -> str:
    """A regular expression that must match somewhere in a file."""
    words = one_line(node)
    check_unfilled(node, words)
    if expression(node, words).search(""):
        raise node.fault("it matches any file, so it claims nothing; say what the file holds")
    return words


@grammar("list of texts", list_of({"type": "string", "minLength": 1}, minItems=1))
def texts(node: Node) -> tuple[str, ...]:
    """Several plain texts."""
    if not node.items("texts"):
        raise node.fault("an empty list; name a text, or leave the step out")
    for item in node.items("texts"):
        check_unfilled(item, text(item))
    return tuple(plain(text(item)) for item in node.items("texts"))


def _one_or_several(node: Node, what: str) -> list[Node]:
    """A value alone, or the items of a list, which cannot be empty."""
    if node.value == []:
        raise node.fault(f"an empty list; name {what}, or leave it out")
    return node.items(what) if isinstance(node.value, list) else [node]


@grammar("key, or list", _one_or_several_of("key"))
def key(node: Node) -> bytes:
    """The bytes that a terminal sends for a key, a combination, or a list of these."""
    return b"".join(map(_key, _one_or_several(node, "a key")))


def _key(node: Node) -> bytes:
    name = node.text("a key")
    if name not in KEYS:
        raise node.fault(f"no such key `{name}`; {meant(name, KEYS)}")
    return KEYS[name]


@grammar("signal", reference("signal"))
def signal_name(node: Node) -> str:
    """The name of a signal, such as `SIGTERM`."""
    if node.typed[:1].isdigit():
        message = "neither an exit status from 0 to 255 nor the name of a signal, such as `SIGTERM`"
        raise node.fault(f"`{node.typed}` is {message}")
    name = node.text("a signal")
    if name not in signal.Signals.__members__:
        raise node.fault(f"no such signal `{name}`; {meant(name, signal.Signals.__members__)}")
    return name


@grammar("signal, or list", _one_or_several_of("signal"))
def signals(node: Node) -> tuple[str, ...]:
    """One signal or a list of signals that a program can block and ignore."""
    return tuple(map(_maskable, _one_or_several(node, "a signal")))


def _maskable(node: Node) -> str:
    name = signal_name(node)
    if name in ("SIGKILL", "SIGSTOP"):
        raise node.fault(f"no program can block or ignore {name}; name another signal")
    return name


@grammar("status, or list", _one_or_several_of("status"))
def statuses(node: Node) -> tuple[int | str, ...]:
    """How a program may end: an exit status, `nonzero`, the name of a signal, or a list of these.

    `nonzero` is any exit status but 0; an end by a signal has no exit status.
    """
    return tuple(map(_status, _one_or_several(node, "a status")))


def _status(node: Node) -> int | str:
    if isinstance(node.value, int) and not isinstance(node.value, bool):
        if 0 <= node.value <= 255:
            return node.value
        raise node.fault("an exit status is 0 to 255")
    return "nonzero" if node.value == "nonzero" else signal_name(node)


@grammar("rule", TEXT)
def rule(node: Node) -> str:
    """The id of a rule; `steps` checks whether it exists."""
    return node.text("a rule")


@grammar("seconds", {"type": "number", "minimum": 0.01})
def seconds(node: Node) -> float:
    """A time in seconds."""
    return float(node.number("seconds", least=0.01, most=MOST_SECONDS))


@grammar("`yes`", {"type": "boolean"})
def yes(node: Node) -> bool:
    """`yes` or `no`."""
    if not isinstance(node.value, bool):
        raise node.fault("say `yes`, or leave it out")
    return node.value


@grammar("bytes", {"type": "integer", "minimum": 1})
def receive_buffer(node: Node) -> int:
    """A number of bytes."""
    return node.count("receive_buffer")


@grammar("size", {"type": "string", "pattern": f"^{_MEMORY}$"})
def size(node: Node) -> int:
    """`16 MiB` in bytes."""
    found = re.fullmatch(_MEMORY, node.text("a size"))
    if not found:
        raise node.fault("a size is a number and KiB, MiB or GiB, such as `16 MiB`")
    return int(found[1]) << {"KiB": 10, "MiB": 20, "GiB": 30}[found[2]]


@grammar("options", _SOCKET_OPTIONS)
def socket_options(node: Node) -> dict[str, tuple[int, int]]:
    """The range of each option, by name: `{TCP_NODELAY: 1, TCP_USER_TIMEOUT: {most: 120000}}`."""
    options = {name: _between(name, entry) for name, entry in node.mapping("options").items()}
    if not options:
        raise node.fault("no option is named; name one, such as `TCP_NODELAY: 1`")
    for name, place in node.keys.items():
        if not re.fullmatch(_SOCKET_OPTION, name):
            raise Fault(place, f"no such socket option `{name}`; use SO_… or TCP_…")
    return options


def _between(name: str, node: Node) -> tuple[int, int]:
    if not node.is_mapping:
        value = node.count(name, least=0)
        return value, value
    node.allow(("most",), "a socket option's value")
    if "most" not in node.mapping(name):
        raise node.fault("give a number, or `{most: NUMBER}`")
    return 1, node.mapping(name)["most"].count("most")
