"""The options that the command and pytest's plugin have in common, described once.

It imports nothing of the harness, because pytest loads it in every run, with a suite or without.
"""

from __future__ import annotations

from argparse import ArgumentTypeError
from typing import Any

MOST_SECONDS = 86_400  # that a person may ask to wait
MOST_DIGITS = 9


def names(text: str) -> frozenset[str]:
    """The names in `a,b`."""
    if found := frozenset(name.strip() for name in text.split(",") if name.strip()):
        return found
    raise _unexpected("names, with commas between them", text)


def seconds(text: str) -> float:
    """A time to wait, longer than none."""
    try:
        value = float(text)
    except ValueError:
        value = 0
    if not 0 < value <= MOST_SECONDS:
        raise _unexpected(f"a number of seconds, more than 0 and at most {MOST_SECONDS}", text)
    return value


def times(text: str) -> int:
    """How often, once at least."""
    return whole_number(text, 1)


def folder(text: str) -> str:
    """The path of a folder, which need not exist yet."""
    if not text:
        raise _unexpected("a folder", text)
    return text


def whole_number(text: str, least: int) -> int:
    """A number to count with."""
    if not (text.isascii() and text.isdigit()) or len(text) > MOST_DIGITS or int(text) < least:
        raise _unexpected(f"a whole number, {least} or more", text)
    return int(text)


def _unexpected(wanted: str, text: str) -> ArgumentTypeError:
    shown = text if text.isprintable() else ascii(text)[1:-1]
    return ArgumentTypeError(f"expected {wanted}, not `{shown}`")


# In the words of argparse, which pytest's parser understands as well. The values are plain data,
# because pytest-xdist sends them to its workers.
Options = dict[str, dict[str, Any]]

CHOOSING: Options = {
    "server": {"type": names, "metavar": "NAME,...", "help": "only these servers"},
    "client": {"type": names, "metavar": "NAME,...", "help": "only these clients"},
    "implementation": {
        "type": folder,
        "metavar": "DIR",
        "action": "append",
        "default": [],
        "help": "let the implementations in DIR, or in its subfolders, take part as well",
    },
}

PLAYING: Options = {
    "require": {
        "action": "store_true",
        "help": "an implementation that cannot run on this machine makes the run red",
    },
    "strict": {
        "action": "store_true",
        "help": "a rule that is a SHOULD, and is not kept, makes the run red",
    },
    "probe-features": {
        "action": "store_true",
        "help": "play one scenario for each feature that a manifest does not list: it must fail",
    },
    "deadline": {
        "type": seconds,
        "metavar": "SECONDS",
        "help": "how long to wait for whatever must come (default: %(default)g)",
    },
    "repeat": {
        "type": times,
        "metavar": "N",
        "default": 1,
        "help": "play each case N times; the report says how often it passed",
    },
    "output": {
        "type": folder,
        "metavar": "DIR",
        "help": "where builds, results and reports go (default: %(default)s)",
    },
}
