"""Finds the sections and definitions of a source file by patterns that most languages share.

A section begins at a banner: a comment with a title next to a row of dashes, or below one. A
definition is a function or a type with the comment above it. It extends to the next definition.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from conformance.report.compare.source import Line

MOST_HEAD = 12  # lines of a function head, from its name to its body

_MARKS = " \t/*#;%-=~─━"
_ROW = re.compile(r"([-=*#~─━])\1{2,}")
_NUMBER = re.compile(r"^\d+[.)]\s*")

_ATTRIBUTE = re.compile(r"__attribute__\s*\(\((?:[^()]|\([^()]*\))*\)\)|^\s*template\s*<[^>]*>")
_WORD_FIRST = re.compile(
    r"\s*(?:[a-z]+\s+)*(?:def|func|function|fn|fun|sub|proc)\s+(?:\([^)]*\)\s*)?(\w+)"
)
_TYPE_FIRST = re.compile(
    r"\s*(?!return\b|else\b|new\b|case\b)[A-Za-z_][\w\s*&:<>,\[\]]*?[\s*&](\w+)\s*\("
)
_BODY = re.compile(r"\s*(?:const|noexcept|override|throws[\w\s,.]+|\s)*\{")
_TYPE = re.compile(
    r"\s*(?:[a-z]+\s+)*(?:class|struct|enum|union|interface|trait|type)\s+(\w+)"
    r"\s*(?:[{:(<]|struct\b|interface\b|extends\b|implements\b|\w+\s*$|$)"
)


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive lines of a file."""

    name: str  # of the definition, as in the source; "": there is none
    first: int  # from 1 on
    last: int  # inclusive


@dataclass(frozen=True, slots=True)
class Section:
    """The blocks below one banner."""

    title: str  # "": the lines before the first banner
    blocks: list[Block]


def plain(name: str) -> str:
    """A name in lower case and without underscores, so that naming styles do not matter."""
    return name.replace("_", "").lower()


def plain_title(title: str) -> str:
    """A title in lower case and without its number."""
    return _NUMBER.sub("", title).casefold()


def outline(lines: Sequence[Line]) -> list[Section]:
    """The sections of a file, in their order."""
    banners = list(_banners(lines))
    starts = [("", 0, 0), *banners]
    ends = [start for _, start, _ in banners] + [len(lines)]
    names = dict(_definitions(lines))
    sections = [
        Section(title, list(_blocks(lines, names, body, end)))
        for (title, _, body), end in zip(starts, ends, strict=True)
    ]
    return [one for one in sections if one.blocks]


# --- Banners ---


def _banners(lines: Sequence[Line]) -> Iterator[tuple[str, int, int]]:
    """For each banner: title, index of its first line, and index of the line after it."""
    place = 0
    while place < len(lines):
        title, size = _banner(lines, place)
        if title:
            yield title, place, place + size
        place += size


def _banner(lines: Sequence[Line], place: int) -> tuple[str, int]:
    """The title of the banner at a line, and its number of lines; `("", 1)` if there is none."""
    comment = lines[place].comment
    row = _ROW.search(comment)
    if not row:
        return "", 1
    title = _beside(comment, row)
    if title or comment.strip(_MARKS):
        return title, 1
    below = lines[place + 1].comment if place + 1 < len(lines) else ""
    title = "" if _ROW.search(below) else _title(below)
    closes = place + 2 < len(lines) and _is_row(lines[place + 2].comment)
    return (title, 3 if closes else 2) if title else ("", 1)


def _beside(comment: str, row: re.Match[str]) -> str:
    """The title before or after a row of dashes in the same line."""
    before, behind = comment[: row.start()].strip(_MARKS), comment[row.end() :].strip(_MARKS)
    return "" if before and behind else _title(before or behind)


def _title(text: str) -> str:
    words = text.strip(_MARKS)
    return words if words[:1].isalnum() else ""


def _is_row(comment: str) -> bool:
    return bool(_ROW.search(comment)) and not comment.strip(_MARKS)


# --- Definitions ---


def _definitions(lines: Sequence[Line]) -> Iterator[tuple[int, str]]:
    """The line index and the name of each definition that is not inside a function."""
    inside: int | None = None  # the indentation of the current function
    for place, line in enumerate(lines):
        indent = len(line.code) - len(line.code.lstrip())
        if not line.code.strip() or (inside is not None and indent > inside):
            continue
        function = _function(lines, place)
        inside = indent if function else None
        found = function or _name(_TYPE.match(line.code))
        if found:
            yield place, found


def _function(lines: Sequence[Line], place: int) -> str:
    code = _ATTRIBUTE.sub("", lines[place].code)
    if name := _name(_WORD_FIRST.match(code)):
        return name
    found = _TYPE_FIRST.match(code)
    if not found:
        return ""
    below = (one.code for one in lines[place + 1 : place + MOST_HEAD])
    behind = _behind_parenthesis("\n".join([code[found.end() :], *below]))
    return found[1] if _BODY.match(behind) else ""


def _name(found: re.Match[str] | None) -> str:
    return found[1] if found else ""


def _behind_parenthesis(text: str) -> str:
    """The text after the parenthesis that closes an open one."""
    depth = 1
    for place, char in enumerate(text):
        depth += (char == "(") - (char == ")")
        if depth == 0:
            return text[place + 1 :]
    return ""


# --- Blocks ---


def _blocks(lines: Sequence[Line], names: dict[int, str], start: int, end: int) -> Iterator[Block]:
    """A block for each definition, and one for the lines before the first definition."""
    defined = [place for place in names if start <= place < end]
    firsts = [_with_comment(lines, place, start) for place in defined]
    parts = [("", start), *((names[at], first) for at, first in zip(defined, firsts, strict=True))]
    for (name, first), last in zip(parts, [*firsts, end], strict=True):
        within = [place for place in range(first, last) if lines[place].text.strip()]
        if within:
            yield Block(name, within[0] + 1, within[-1] + 1)


def _with_comment(lines: Sequence[Line], place: int, start: int) -> int:
    """The index of the first line of the comments and decorators directly above a definition."""
    while place > start and (lines[place - 1].comment or _decorates(lines[place - 1])):
        place -= 1
    return place


def _decorates(line: Line) -> bool:
    return line.code.lstrip().startswith(("@", "#["))
