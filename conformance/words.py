"""Numbers with their nouns, and the same text for a stream that knows ASCII alone."""

from __future__ import annotations

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
}
_PLAIN = str.maketrans(PLAIN)


def counted(count: int, noun: str) -> str:
    """`1 case`, `2 cases`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def plain(text: str) -> str:
    """The text with its signs in plain characters; other characters stay as they are."""
    return text.translate(_PLAIN)
