"""Bytes and text: decoding, showing, cutting to a width, filling places, plain characters.

It knows no scenario, no program and no report.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Mapping

from wcwidth import wcwidth

_PLACE = re.compile(r"\{\{|\{([a-z_]+)\}")
_BRACE = re.compile(r"\{\{|\{[a-z_]+\}|(\{)")
_REPEATED = re.compile(r"\{\{|\{([^{}]+)\*([1-9][0-9]{0,99})\}")

# Signs of the reports, in plain characters.
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
    "·": "-",
    "⏎": "\\n",
    "█": "#",
    "░": ".",
}
_PLAIN = str.maketrans(PLAIN)


# --- Bytes and characters ---


def decode(data: bytes) -> str:
    """Bytes as text, reversibly: what is not UTF-8 becomes lone surrogates."""
    return data.decode("utf-8", "surrogateescape")


def encode(text: str) -> bytes:
    """The reverse of `decode`."""
    return text.encode("utf-8", "surrogateescape")


def visible(text: str) -> str:
    """The text with escapes for all that a terminal acts on, or that a person cannot see."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _escape(c) for c in text)


def _escape(char: str) -> str:
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is not UTF-8, as `decode` keeps it
        return f"\\x{code - 0xDC00:02x}"
    return {"\n": "⏎", "\t": "\\t", "\r": "\\r"}.get(char) or (
        f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
    )


# --- Columns of a terminal ---


def columns(text: str) -> int:
    """How wide a terminal shows it."""
    return sum(_columns_of(char) for char in text)


def _columns_of(char: str) -> int:
    return max(0, wcwidth(char))  # a control character is -1


def padded(text: str, width: int) -> str:
    """Filled with spaces to a width."""
    return text + " " * (width - columns(text))


def clipped(text: str, width: int) -> str:
    """Cut to a width, with `…` at the end if something was cut."""
    if columns(text) <= width:
        return text
    used = 0
    for index, char in enumerate(text):
        used += _columns_of(char)
        if used > width - 1:
            return text[:index] + "…"
    return text


# --- Places to fill: `{name}`, and `{{` for a brace ---


def fill(text: str, values: Mapping[str, str]) -> str:
    """Fill in the places whose values are known; the others, and `{{`, stay for a later call."""
    if "{" not in text:  # most texts are as they are
        return text
    return _PLACE.sub(lambda found: values.get(found[1], found[0]), text)


def plain(text: str) -> str:
    """The text after the last `fill`: `{{` becomes `{`."""
    return text.replace("{{", "{")


def complete(text: str, values: Mapping[str, str]) -> str:
    """Fill in all places at once; braces in a value stay as they are."""
    return _PLACE.sub(lambda found: values.get(found[1], found[0]) if found[1] else "{", text)


def quoted(text: str) -> str:
    """A text whose braces stay as they are when it goes through `fill` and `plain`."""
    return text.replace("{", "{{")


def places(text: str) -> list[str]:
    """The names of the places that are still to be filled."""
    return [found[1] for found in _PLACE.finditer(text) if found[1]]


def repeated(text: str, most: int) -> str | None:
    """The text with each `{x*1000}` spelled out; None where that would be too long."""
    if "*" not in text:
        return text
    found = [one for one in _REPEATED.finditer(text) if one[1]]
    if sum(len(one[1]) * int(one[2]) for one in found) > most:
        return None
    return _REPEATED.sub(lambda one: one[1] * int(one[2]) if one[1] else one[0], text)


def lone_brace(text: str) -> bool:
    """Whether some `{` is neither part of a place nor doubled, and so probably a mistake."""
    return any(found[1] for found in _BRACE.finditer(text))


# --- Words ---


def counted(count: int, noun: str) -> str:
    """`1 case`, `2 cases`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def plain_signs(text: str) -> str:
    """The text with our signs in plain characters; other characters stay as they are."""
    return text.translate(_PLAIN)


def signal_name(number: int) -> str:
    """`SIGTERM`; a real-time signal has no name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
