"""The options that the command and the pytest plugin share.

This module imports nothing of the harness, because pytest loads it in every run, even without a
suite.
"""

from __future__ import annotations

from argparse import ArgumentTypeError
from typing import Any

MOST_SECONDS = 86_400  # the longest deadline that a person may set
MOST_DIGITS = 9
DELIVERIES = ("whole", "bytes", "split", "merged", "mixed")


def names(text: str) -> frozenset[str]:
    """The names in `a,b`."""
    if found := frozenset(name.strip() for name in text.split(",") if name.strip()):
        return found
    raise _unexpected("names, with commas between them", text)


def seconds(text: str) -> float:
    """A deadline in seconds, more than 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0
    if not 0 < value <= MOST_SECONDS:
        raise _unexpected(f"a number of seconds, more than 0 and at most {MOST_SECONDS}", text)
    return value


def times(text: str) -> int:
    """A number of times, at least 1."""
    return whole_number(text, 1)


def shard(text: str) -> tuple[int, int]:
    """`I/N`: part I of N."""
    number, slash, of = text.partition("/")
    if slash and number.isdecimal() and of.isdecimal():
        part = whole_number(number, 1), whole_number(of, 1)
        if part[0] <= part[1]:
            return part
    raise _unexpected("which part of how many, as in `2/3`", text)


def folder(text: str) -> str:
    """The path of a folder, which need not exist yet."""
    if not text:
        raise _unexpected("a folder", text)
    return text


def whole_number(text: str, least: int) -> int:
    """A whole number, at least `least`."""
    if not (text.isascii() and text.isdigit()) or len(text) > MOST_DIGITS or int(text) < least:
        raise _unexpected(f"a whole number, {least} or more", text)
    return int(text)


def _unexpected(wanted: str, text: str) -> ArgumentTypeError:
    shown = text if text.isprintable() else ascii(text)[1:-1]
    return ArgumentTypeError(f"expected {wanted}, not `{shown}`")


# Keyword arguments for argparse, which pytest's parser takes, too. The values are plain data,
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
        "help": "also test the implementations in DIR and its subfolders; DIR may be a pattern",
    },
}

PLAYING: Options = {
    "against": {
        "metavar": "NAME",
        "default": "",
        "help": "judge only those of --implementation, each paired with NAME, and limit them",
    },
    "require": {
        "action": "store_true",
        "help": "make the run red if an implementation cannot run on this machine",
    },
    "strict": {
        "action": "store_true",
        "help": "make the run red if a SHOULD rule is broken",
    },
    "probe-features": {
        "action": "store_true",
        "help": "play one scenario for each feature that a manifest does not list; it must fail",
    },
    "deadline": {
        "type": seconds,
        "metavar": "SECONDS",
        "help": "the deadline of each step that names none itself (default: %(default)g)",
    },
    "delivery": {
        "choices": DELIVERIES,
        "default": "whole",
        "help": "the pieces in which programs get bytes; whole: as written; bytes: one by one; "
        "split: cut at hard places; merged: several writes as one; mixed: every tenth case by "
        "another delivery than whole, the same one in every run",
    },
    "repeat": {
        "type": times,
        "metavar": "N",
        "default": 1,
        "help": "play each case N times, and report how often it passed",
    },
    "shard": {
        "type": shard,
        "metavar": "I/N",
        "help": "play part I of N on this machine; `conformance merge` joins the parts",
    },
    "measured": {
        "type": folder,
        "metavar": "RESULTS",
        "help": "an earlier results.json, whose durations balance the parts of --shard",
    },
    "output": {
        "type": folder,
        "metavar": "DIR",
        "help": "the folder for builds, results and reports (default: %(default)s)",
    },
}
