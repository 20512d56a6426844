"""The verbs: what an actor can do or see, who can, and how the argument is written.

A verb's name is the name of the method that plays it (see `actors`). Adding one means a row in
the table at the end, and that method.
"""

from __future__ import annotations

import json
import os
import re
import signal
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from conformance.arguments import Pattern, compiled
from conformance.mistakes import Fault, meant
from conformance.model import PEERS, PROGRAMS, ActorKind, Medium
from conformance.read.suite import any_command_line, command_line, options
from conformance.read.yaml_tree import Node
from conformance.text import encode, places, plain

TERMINAL_LINE = 4095  # bytes: a terminal silently cuts a longer line
MOST_LINES = 1_000_000  # that one step names
MOST_BYTES = 64 << 20  # that one step sends, or names
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


_HOW = ("starts", "ends", "contains", "matches", "json")

# What places in a text are likely to be filled with, when it comes to it.
_LIKELY = {"host": "127.0.0.1", "port": "8080", "scratch": "/tmp/a-b"}

# An expression that takes all of these, and counts nothing, takes whatever there is.
_ANYTHING = ("", "x", "0 \t-", "{}", "\N{LATIN SMALL LETTER E WITH ACUTE}\N{PILE OF POO}\udcff\x00")


@dataclass(frozen=True, slots=True)
class Option:
    """A key that may stand beside a verb."""

    kinds: frozenset[ActorKind]
    value: Callable[[Node], object]


@dataclass(frozen=True, slots=True)
class Verb:
    """One row of the table."""

    kinds: frozenset[ActorKind]  # of actors: server, client, wire, scripted
    argument: Callable[[Node], object] | None  # None: it takes none
    needed: bool = True  # the argument cannot be left out
    options: dict[str, Option] = field(default_factory=dict)  # further keys beside it
    effect: str = ""  # "starts" or "ends" the actor's part
    acts: bool = False  # it sends something, so what follows may answer it
    observes: bool = False  # it waits for something that a program or a connection does
    anytime: bool = False  # before its actor has started, too, and after its end
    media: frozenset[Medium] = frozenset(Medium)  # of programs


# --- Arguments -------------------------------------------------------------------------------


def lines(node: Node) -> tuple[Pattern, ...]:
    """One line or several, as text or by pattern."""
    if node.value == []:
        raise node.fault("no line at all claims nothing; name a line, or leave the step out")
    return lines_or_none(node)


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
        _check_count(node)
        return Pattern(_one_line(node), place=node.place)
    node.allow(("line", "times", *_HOW), "a line")
    parts = node.mapping("a line")
    how = [key for key in ("line", *_HOW) if key in parts]
    if len(how) != 1:
        raise node.fault(f"say what the line is by one of: line, {', '.join(_HOW)}")
    if how[0] == "json":
        if "times" in parts:
            raise parts["times"].fault("`times` goes with a line's text, not with `json`")
        return Pattern(_object(parts["json"]), "json", place=node.place)
    times = parts["times"].count("times", most=MOST_LINES) if "times" in parts else 1
    text = _part_of_line(how[0], parts[how[0]])
    if "times" not in parts:
        _check_count(parts[how[0]])
    if len(text) * times > MOST_BYTES:
        raise node.fault(f"more than {MOST_BYTES >> 20} MiB")
    return Pattern(text, "is" if how[0] == "line" else how[0], times, node.place)


def _part_of_line(how: str, node: Node) -> str:
    """What a line is, or how it begins, ends …; but for the line itself, not what any line has."""
    text = _one_line(node)
    if how == "matches":
        expression = _regex(node, text)
        if not text:
            raise node.fault('only an empty line matches it; name that as `""`')
        if "{" not in text and all(expression.fullmatch(line) for line in _ANYTHING):
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
        _check_count(entry)
        values[name] = entry.value
    if not values:
        raise node.fault("an object without keys; say which it has, or write the line as text")
    return json.dumps(values, ensure_ascii=False)


def _one_line(node: Node) -> str:
    text = node.text("a line")
    if "\n" in text:
        raise node.fault("a line holds no line end; give several lines as a list")
    return text


def _check_count(node: Node) -> None:
    if isinstance(node.value, str) and "n" in places(node.value):
        raise node.fault("`{n}` counts lines; write `{line: …, times: …}`, or `{{n}` for itself")


def _regex(node: Node, text: str) -> re.Pattern[str]:
    """An expression as it will be when its places are filled."""
    filled = Pattern(text, "matches").filled(_LIKELY).text.replace("{n}", "1")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # what Python doubts, it may read otherwise one day
            return compiled(plain(filled))
    except (re.error, OverflowError, RecursionError, Warning) as error:
        raise node.fault(f"not a regular expression: {error}") from None


def _check_unfilled(node: Node, text: str) -> None:
    for name in places(text):
        raise node.fault(f"`{{{name}}}` cannot be filled in here; write `{{{{` for a brace itself")


def lines_to_say(node: Node) -> tuple[Pattern, ...]:
    """Lines without patterns: what is typed must be known."""
    said = lines(node)
    for pattern in said:
        if pattern.how != "is":
            raise node.fault("what is typed must be a text, not a pattern")
    return said


def interleaved(node: Node) -> tuple[tuple[Pattern, ...], ...]:
    """Several sequences of lines; their order among each other is free."""
    sequences = tuple(lines(item) for item in node.items("what is seen in any order"))
    if not sequences:
        raise node.fault("no line at all claims nothing; name lines, or leave the step out")
    return sequences


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


def rows(node: Node) -> tuple[str, tuple[Pattern, ...]]:
    """Rows of a screen: all of them, or only the `last` ones."""
    if not (node.is_mapping and "last" in node.mapping("rows")):
        return "all", lines_or_none(node)
    node.allow(("last",), "rows")
    return "last", lines(node.mapping("rows")["last"])


def columns_and_rows(node: Node) -> tuple[int, int]:
    """`80x24`: the size of a window."""
    found = re.fullmatch(r"([1-9][0-9]{0,2})x([1-9][0-9]{0,2})", node.text("a size"))
    if not found:
        raise node.fault("a window's size is columns and rows, such as `80x24`")
    return int(found[1]), int(found[2])


def data(node: Node) -> bytes:
    """Bytes: text, `{hex: "ff 0a"}`, `{text: x, times: 9}`, or a list of them."""
    said = bytearray()
    _add_bytes(node, said)
    if not said:
        raise node.fault("no bytes at all; say which, or leave the step out")
    return bytes(said)


def _add_bytes(node: Node, said: bytearray) -> None:
    if isinstance(node.value, list):
        for item in node.value:
            _add_bytes(item, said)
        return
    said += _bytes(node)
    if len(said) > MOST_BYTES:
        raise node.fault(f"more than {MOST_BYTES >> 20} MiB")


def _bytes(node: Node) -> bytes:
    if not node.is_mapping:
        return _text_bytes(node)
    parts = node.mapping("bytes")
    node.allow(("hex", "text", "times"), "bytes")
    if ("hex" in parts) == ("text" in parts):
        raise node.fault("bytes are either `text` or `hex`")
    times = parts["times"].count("times", most=MOST_BYTES) if "times" in parts else 1
    once = _text_bytes(parts["text"]) if "text" in parts else _hex_bytes(parts["hex"])
    if len(once) * times > MOST_BYTES:
        raise node.fault(f"more than {MOST_BYTES >> 20} MiB")
    return once * times


def _text_bytes(node: Node) -> bytes:
    text = node.text("bytes")
    _check_unfilled(node, text)
    return encode(plain(text))


def _hex_bytes(node: Node) -> bytes:
    try:
        return bytes.fromhex(node.text("hex"))
    except ValueError:
        remedy = 'write pairs of hexadecimal digits, such as "ff 0a"'
        raise node.fault(f"not hex; {remedy}") from None


def text(node: Node) -> str:
    """Plain text, on one line."""
    if not node.text("a text"):
        raise node.fault("an empty text says nothing")
    _check_count(node)
    return _one_line(node)


def file_name(node: Node) -> str:
    """A file in the case's own folder, `{scratch}`; its name is taken as it is."""
    name = text(node)
    _check_unfilled(node, name)
    path = PurePath(name)
    if "\0" in name or path.is_absolute() or ".." in path.parts or not path.name:
        raise node.fault("a file is named from `{scratch}` on, such as `out.log`")
    return name


def input_file(node: Node) -> str:
    """`closed`, or a file: one that is there, from this folder on; or one in `{scratch}`."""
    name = text(node)
    if name == "closed" or places(name):
        return name
    folder = Path(node.place.file).parent
    if not os.path.lexists(folder / name) or os.path.isdir(folder / name):
        raise node.fault(f"no such file `{folder / name}`; files are named from {folder} on")
    return name


def regex(node: Node) -> str:
    """A regular expression, to be found somewhere in a file."""
    expression = _one_line(node)
    _check_unfilled(node, expression)
    if _regex(node, expression).search(""):
        raise node.fault("it is found in any file, so it claims nothing; say what the file holds")
    return expression


def texts(node: Node) -> tuple[str, ...]:
    """Several plain texts."""
    if not node.items("texts"):
        raise node.fault("no text at all says nothing")
    for item in node.items("texts"):
        _check_unfilled(item, text(item))
    return tuple(plain(text(item)) for item in node.items("texts"))


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


def signal_name(node: Node) -> str:
    """`SIGTERM` and its kind."""
    if node.typed[:1].isdigit():
        message = "write a signal by its name, and a status as a whole number from 0 to 255"
        raise node.fault(f"`{node.typed}` is neither; {message}")
    name = node.text("a signal")
    if name not in signal.Signals.__members__:
        raise node.fault(f"no such signal `{name}`; {meant(name, signal.Signals.__members__)}")
    return name


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


def rule(node: Node) -> str:
    """The id of a rule; the rehearsal knows which there are."""
    return node.text("a rule")


def seconds(node: Node) -> float:
    """A time in seconds."""
    return float(node.number("seconds", least=0.01, most=MOST_SECONDS))


def yes(node: Node) -> bool:
    """`yes` or `no`."""
    if not isinstance(node.value, bool):
        raise node.fault("say `yes`, or leave it out")
    return node.value


def receive_buffer(node: Node) -> int:
    """A number of bytes."""
    return node.count("receive_buffer")


def size(node: Node) -> int:
    """`16 MiB` in bytes."""
    found = re.fullmatch(r"([1-9][0-9]{0,5}) (KiB|MiB|GiB)", node.text("a size"))
    if not found:
        raise node.fault("a size is a number and KiB, MiB or GiB, such as `16 MiB`")
    return int(found[1]) << {"KiB": 10, "MiB": 20, "GiB": 30}[found[2]]


def closed(node: Node) -> str:
    """The one word for a standard stream that the program does not get."""
    if node.value != "closed":
        raise node.fault("the only value here is `closed`")
    return "closed"


def ignored(node: Node) -> str:
    """The one word for output that a scenario leaves open."""
    if node.value != "ignored":
        raise node.fault("the only way to leave output open is `rest: ignored`")
    return "ignored"


def socket_options(node: Node) -> dict[str, tuple[int, int]]:
    """`{TCP_NODELAY: 1, TCP_USER_TIMEOUT: {most: 120000}}`: the least and the most, by name."""
    options = {name: _between(name, entry) for name, entry in node.mapping("options").items()}
    if not options:
        raise node.fault("no option at all claims nothing; name one, such as `TCP_NODELAY: 1`")
    for name, place in node.keys.items():
        if not re.fullmatch(r"(TCP|SO)_[A-Z0-9_]+", name):
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


# --- The table -------------------------------------------------------------------------------

ALL = PROGRAMS | PEERS
WIRE = frozenset({ActorKind.WIRE})
SCRIPTED = frozenset({ActorKind.SCRIPTED})

IN_LINES = frozenset({Medium.TERMINAL, Medium.PIPES})  # what is written is what counts
AT_KEYS = frozenset({Medium.TERMINAL, Medium.SCREEN})
ON_SCREEN = frozenset({Medium.SCREEN})

COMMON_OPTIONS = {"proves": Option(ALL, rule), "within": Option(ALL, seconds)}

_START_OPTIONS = {
    "arguments": Option(PROGRAMS, any_command_line),
    "under": Option(PROGRAMS, command_line),
    "input": Option(PROGRAMS, input_file),
    "output": Option(PROGRAMS, closed),
    "errors": Option(PROGRAMS, closed),
    "size": Option(PROGRAMS, columns_and_rows),
    "same_port": Option(frozenset({ActorKind.SERVER}), yes),
    "receive_buffer": Option(WIRE, receive_buffer),
}

_WRITE_OPTIONS = {"to": Option(PROGRAMS, file_name)}
_MAKE_OPTIONS = {"holding": Option(PROGRAMS, regex)}

# Where the text leaves open what else comes: at the same time as a signal, or as a closing.
_REST_OPTIONS = {"rest": Option(ALL, ignored)}

VERBS: dict[str, Verb] = {
    "starts": Verb(ALL, options, False, _START_OPTIONS, effect="starts", acts=True),
    "exits": Verb(PROGRAMS, statuses, options=_REST_OPTIONS, effect="ends", observes=True),
    "presses": Verb(PROGRAMS, key, acts=True, media=AT_KEYS),
    "resizes": Verb(PROGRAMS, columns_and_rows, acts=True, media=ON_SCREEN),
    "shows": Verb(PROGRAMS, rows, anytime=True, media=ON_SCREEN, observes=True),
    "is_sent": Verb(PROGRAMS, signal_name, acts=True),
    "types": Verb(ALL, lines_to_say, acts=True),
    "sends": Verb(ALL, data, acts=True),
    "dribbles": Verb(PEERS, data, acts=True),
    "ends_input": Verb(ALL, None, acts=True),
    "closes": Verb(PEERS, None, options=_REST_OPTIONS, effect="ends", acts=True),
    "resets": Verb(PEERS, None, options=_REST_OPTIONS, effect="ends", acts=True),
    "stops_reading": Verb(ALL, None),
    "reads_again": Verb(ALL, None),
    "accepts": Verb(SCRIPTED, None),
    "sees": Verb(ALL, lines, media=IN_LINES, observes=True),
    "receives": Verb(PEERS, lines, observes=True),
    "sees_all": Verb(ALL, interleaved, media=IN_LINES, observes=True),
    # What another saw by `sees_all`, in the same order.
    "sees_as": Verb(ALL, text, media=IN_LINES, observes=True),
    "is_asked": Verb(ALL, text, media=IN_LINES, observes=True),
    "prints": Verb(PROGRAMS, texts, media=IN_LINES, observes=True),
    "writes": Verb(PROGRAMS, lines_or_none, options=_WRITE_OPTIONS, anytime=True, observes=True),
    "makes": Verb(PROGRAMS, file_name, options=_MAKE_OPTIONS, anytime=True, observes=True),
    "runs": Verb(PROGRAMS, command_line, anytime=True),
    "complains": Verb(PROGRAMS, errors, media=IN_LINES, observes=True),
    "is_closed": Verb(PEERS, None, effect="ends", observes=True),
    "is_reset": Verb(PEERS, None, effect="ends", observes=True),
    "is_refused": Verb(WIRE, None),
    "has_socket_option": Verb(PROGRAMS, socket_options),
    "idles_for": Verb(PROGRAMS, seconds),
    "grows_less_than": Verb(PROGRAMS, size),
}

# Not steps: the rehearsal deals with these, and knows their arguments; here are their options.
BOOKKEEPING: dict[str, dict[str, Option]] = {
    "enters": {"as": Option(ALL, text)},
    "leaves": {},
    "sees_nothing": COMMON_OPTIONS,
}
