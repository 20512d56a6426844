"""How the other arguments of verbs are written: keys, signals, sizes, files, options.

It does not know which verbs take them.
"""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path, PurePath

from conformance.mistakes import Fault, meant
from conformance.read.command_line import OPTIONS_SCHEMA, any_command_line, command_line, options
from conformance.read.keys import TEXT, Grammar, Schema, grammar, list_of, mapping_schema, reference
from conformance.read.lines import check_count, check_unfilled, expression, one_line, spelled
from conformance.read.yaml_tree import Node
from conformance.text import places, plain

MOST_SECONDS = 86_400  # that one step waits

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


def _one_or_several(name: str) -> Schema:
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
        "description": "To be filled in by an example, or by a verb of the suite's own.",
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
    """`80x24`: the size of a window."""
    found = re.fullmatch(_SIZE, node.text("a size"))
    if not found:
        raise node.fault("a window's size is columns and rows, such as `80x24`")
    return int(found[1]), int(found[2])


@grammar("text", TEXT)
def text(node: Node) -> str:
    """Plain text, on one line."""
    if not node.text("a text"):
        raise node.fault("an empty text says nothing")
    check_count(node)
    return spelled(node, one_line(node))


@grammar("file", {"type": "string", "minLength": 1})
def file_name(node: Node) -> str:
    """A file in the case's own folder, `{scratch}`; its name is taken as it is."""
    name = text(node)
    check_unfilled(node, name)
    path = PurePath(name)
    if "\0" in name or path.is_absolute() or ".." in path.parts or not path.name:
        raise node.fault("a file is named from `{scratch}` on, such as `out.log`")
    return name


@grammar("file", TEXT)
def input_file(node: Node) -> str:
    """`closed`, or a file: one that is there, from this folder on; or one in `{scratch}`."""
    name = text(node)
    if name == "closed" or places(name):
        return name
    folder = Path(node.place.file).parent
    if not os.path.lexists(folder / name) or os.path.isdir(folder / name):
        raise node.fault(f"no such file `{folder / name}`; files are named from {folder} on")
    return name


@grammar("expression", TEXT)
def regex(node: Node) -> str:
    """A regular expression, to be found somewhere in a file."""
    words = one_line(node)
    check_unfilled(node, words)
    if expression(node, words).search(""):
        raise node.fault("it is found in any file, so it claims nothing; say what the file holds")
    return words


@grammar("list of texts", list_of({"type": "string", "minLength": 1}, minItems=1))
def texts(node: Node) -> tuple[str, ...]:
    """Several plain texts."""
    if not node.items("texts"):
        raise node.fault("no text at all says nothing")
    for item in node.items("texts"):
        check_unfilled(item, text(item))
    return tuple(plain(text(item)) for item in node.items("texts"))


@grammar("key, or list", _one_or_several("key"))
def key(node: Node) -> bytes:
    """The bytes that a key or a combination sends; several as a list."""
    if node.value == []:
        raise node.fault("no key at all; name one, or leave the step out")
    if isinstance(node.value, list):
        return b"".join(key(item) for item in node.value)
    name = node.text("a key")
    if name not in KEYS:
        raise node.fault(f"no such key `{name}`; {meant(name, KEYS)}")
    return KEYS[name]


@grammar("signal", reference("signal"))
def signal_name(node: Node) -> str:
    """The name of a signal, such as `SIGTERM`."""
    if node.typed[:1].isdigit():
        message = "write a signal by its name, and a status as a whole number from 0 to 255"
        raise node.fault(f"`{node.typed}` is neither; {message}")
    name = node.text("a signal")
    if name not in signal.Signals.__members__:
        raise node.fault(f"no such signal `{name}`; {meant(name, signal.Signals.__members__)}")
    return name


@grammar("signal, or list", _one_or_several("signal"))
def signals(node: Node) -> tuple[str, ...]:
    """One signal or several, of those that a program can block and ignore."""
    if node.value == []:
        raise node.fault("no signal at all; name one, or leave the key out")
    if isinstance(node.value, list):
        return tuple(name for item in node.value for name in signals(item))
    name = signal_name(node)
    if name in ("SIGKILL", "SIGSTOP"):
        raise node.fault(f"no program can block or ignore {name}; name another signal")
    return (name,)


@grammar("status, or list", _one_or_several("status"))
def statuses(node: Node) -> tuple[int | str, ...]:
    """How a program may end: an exit status, `nonzero`, a signal's name, or a list of these."""
    if not isinstance(node.value, list):
        return (_status(node),)
    if not node.value:
        raise node.fault("no status at all; name one, or several of which one must come")
    return tuple(_status(item) for item in node.value)


def _status(node: Node) -> int | str:
    """An exit status; `nonzero` is any but 0, and no end by a signal."""
    if isinstance(node.value, int) and not isinstance(node.value, bool):
        if 0 <= node.value <= 255:
            return node.value
        raise node.fault("an exit status is 0 to 255")
    return "nonzero" if node.value == "nonzero" else signal_name(node)


@grammar("rule", TEXT)
def rule(node: Node) -> str:
    """The id of a rule; whether there is such a rule is checked in `steps`."""
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


@grammar("`closed`", {"const": "closed"})
def closed(node: Node) -> str:
    """The one word for a standard stream that the program does not get."""
    if node.value != "closed":
        raise node.fault("the only value here is `closed`")
    return "closed"


@grammar("`ignored`", {"const": "ignored"})
def ignored(node: Node) -> str:
    """The one word for output that a scenario leaves open."""
    if node.value != "ignored":
        raise node.fault("the only way to leave output open is `rest: ignored`")
    return "ignored"


@grammar("options", _SOCKET_OPTIONS)
def socket_options(node: Node) -> dict[str, tuple[int, int]]:
    """`{TCP_NODELAY: 1, TCP_USER_TIMEOUT: {most: 120000}}`: the least and the most, by name."""
    options = {name: _between(name, entry) for name, entry in node.mapping("options").items()}
    if not options:
        raise node.fault("no option at all claims nothing; name one, such as `TCP_NODELAY: 1`")
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
