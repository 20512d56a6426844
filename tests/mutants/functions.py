"""Where the functions of a source begin and end, judged by its indentation."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePath

# Matches the first line of a function, and captures its name. Formatters format all code, so a
# function ends with the closing line at the same indentation.
_BRACES = r"^(?P<indent>[ \t]*)"
BEGINS = {
    ".c": re.compile(r"^(?P<indent>)(?!#|typedef)\w[^;={}]*?\b(?P<name>\w+)\([^;{}]*\)\n\{", re.M),
    ".go": re.compile(_BRACES + r"func (?:\([^)]*\) )?(?P<name>\w+)\(.*\{$", re.M),
    ".py": re.compile(_BRACES + r"(?:async )?def (?P<name>\w+)\(", re.M),
    ".rs": re.compile(_BRACES + r"(?:pub )?(?:async )?fn (?P<name>\w+)[(<][^;{}]*\{$", re.M),
    ".js": re.compile(
        _BRACES + r"(?!if|for|while|switch)(?:async )?(?:function )?(?P<name>\w+)\(.*\) \{$", re.M
    ),
}
BEGINS[".h"] = BEGINS[".c"]


@dataclass(frozen=True, slots=True)
class Function:
    """A part of a source: `text[start:end]`."""

    name: str
    start: int
    end: int


def functions(file: str, text: str) -> Iterator[Function]:
    """All functions of a source, in order."""
    kind = PurePath(file).suffix
    if kind not in BEGINS:
        return
    for begin in BEGINS[kind].finditer(text):
        last = _last_line(kind, begin["indent"]).search(text, begin.end())
        end = last.start() if last else len(text)
        yield Function(begin["name"], begin.start(), end)


def _last_line(kind: str, indent: str) -> re.Pattern[str]:
    if kind == ".py":  # until a line that is not indented further than the function itself
        return re.compile(rf"^(?!{indent}[ \t]|\n|{indent}\))", re.M)
    return re.compile(rf"^{indent}\}}", re.M)
