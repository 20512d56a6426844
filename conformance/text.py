"""Bytes and text: decoding, display, width, placeholders, and wording for messages.

It does not depend on scenarios, programs or reports.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Mapping

from wcwidth import wcwidth

MOST_SHOWN = 4000  # characters that a report shows of one text; a program may write a line of MiB

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_PLACEHOLDER = re.compile(r"\{\{|\{([a-z_]+)\}")
_BRACE = re.compile(r"\{\{|\{[a-z_]+\}|(\{)")
_REPEATED = re.compile(r"\{\{|\{([^{}]+)\*([1-9][0-9]{0,99})\}")

# The symbols of the reports, and the ASCII text that replaces each of them.
PLAIN = {
    "│": "|",
    "─": "-",
    "┼": "+",
    "✓": "ok",
    "✗": "x",
    "−": "-",
    "×": "x",
    "…": "...",
    "→": "->",
    "←": "<-",
    "·": "-",
    "⏎": "\\n",
    "█": "#",
    "░": ".",
}
_PLAIN = str.maketrans(PLAIN)


# --- Bytes and characters ---


def decode(data: bytes) -> str:
    """Bytes as text, reversibly: each byte that is not UTF-8 becomes a lone surrogate."""
    return data.decode("utf-8", "surrogateescape")


def encode(text: str) -> bytes:
    """The reverse of `decode`."""
    return text.encode("utf-8", "surrogateescape")


def visible(text: str) -> str:
    """The text with an escape for each character that cannot be printed.

    So no text from outside can control a terminal, or hide from its reader.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _escape(c) for c in text)


def encodable(text: str) -> str:
    """The text with an escape for each lone surrogate, because UTF-8 and JSON parsers have none."""
    return _LONE_SURROGATE.sub(lambda found: _escape(found[0]), text)


def _escape(char: str) -> str:
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is not UTF-8, see `decode`
        return f"\\x{code - 0xDC00:02x}"
    return {"\n": "⏎", "\t": "\\t", "\r": "\\r"}.get(char) or (
        f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
    )


# --- Long texts ---


def excerpt(text: str, place: int = 0) -> str:
    """The text; if it is very long, what is around one place, and how long the whole is."""
    if len(text) <= MOST_SHOWN:
        return text
    start = max(place - MOST_SHOWN // 2, 0)
    part = text[start : start + MOST_SHOWN]
    return f"{'… ' if start else ''}{part}… ({len(text):,} characters)"


def differing(one: str, other: str) -> int:
    """The place of the first character in which two texts differ."""
    equal, most = 0, min(len(one), len(other))
    while equal < most:  # at least so many are equal, and at most so many: halve what is between
        half = (equal + most + 1) // 2
        if one[equal:half] == other[equal:half]:
            equal = half
        else:
            most = half - 1
    return equal


# --- Columns of a terminal ---


def columns(text: str) -> int:
    """The number of terminal columns that the text occupies."""
    return sum(_columns_of(char) for char in text)


def _columns_of(char: str) -> int:
    return max(0, wcwidth(char))  # which is -1 for a control character


def padded(text: str, width: int) -> str:
    """The text, filled with spaces up to a width in columns."""
    return text + " " * (width - columns(text))


def clipped(text: str, width: int) -> str:
    """The text, cut to a width in columns; `…` at its end shows that something was cut."""
    if columns(text) <= width:
        return text
    used = 0
    for index, char in enumerate(text):
        used += _columns_of(char)
        if used > width - 1:
            return text[:index] + "…"
    return text


# --- Placeholders: `{name}`, and `{{` for a literal brace ---


def fill(text: str, values: Mapping[str, str]) -> str:
    """Fill in the placeholders whose values are known; leave the others, and `{{`, unchanged."""
    if "{" not in text:  # most texts have no placeholder
        return text
    return _PLACEHOLDER.sub(lambda found: values.get(found[1], found[0]), text)


def plain(text: str) -> str:
    """Unescape the braces, after the last `fill`: `{{` becomes `{`."""
    return text.replace("{{", "{")


def complete(text: str, values: Mapping[str, str]) -> str:
    """`fill` and `plain` in one pass, so that braces in a value stay unchanged."""
    return _PLACEHOLDER.sub(lambda found: values.get(found[1], found[0]) if found[1] else "{", text)


def quoted(text: str) -> str:
    """Escape the braces, so that `fill` and `plain` give back the text unchanged."""
    return text.replace("{", "{{")


def placeholders(text: str) -> list[str]:
    """The names of the placeholders in a text, in their order."""
    return [found[1] for found in _PLACEHOLDER.finditer(text) if found[1]]


def repeated(text: str, most: int) -> str | None:
    """The text with each `{x*1000}` expanded; None if that adds more than `most` characters."""
    if "*" not in text:
        return text
    found = [one for one in _REPEATED.finditer(text) if one[1]]
    if sum(len(one[1]) * int(one[2]) for one in found) > most:
        return None
    return _REPEATED.sub(lambda one: one[1] * int(one[2]) if one[1] else one[0], text)


def lone_brace(text: str) -> bool:
    """Whether some `{` neither begins a placeholder nor is doubled: probably a mistake."""
    return any(found[1] for found in _BRACE.finditer(text))


# --- Wording of messages ---


def counted(count: int, noun: str) -> str:
    """`1 case`, `2 cases`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def plain_signs(text: str) -> str:
    """The text with the symbols of the reports in ASCII; other characters stay unchanged."""
    return text.translate(_PLAIN)


def signal_name(number: int) -> str:
    """`SIGTERM` for 15; `signal 40` for a real-time signal, which has no name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
