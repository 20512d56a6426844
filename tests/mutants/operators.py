"""Edits that are generated from any source by operators, which imitate slips of a programmer.

Each edit changes one or two lines inside a function. Many do not build, which costs little time.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath

from .functions import functions
from .mutant import Mutant, sources, text_of

Edit = Callable[[re.Match[str]], str]


@dataclass(frozen=True, slots=True)
class Operator:
    """One kind of slip: replaces each match of the pattern."""

    name: str
    what: str
    pattern: str
    edit: Edit
    kinds: tuple[str, ...] = (".c", ".h", ".go", ".py", ".js", ".rs")


def _swapped(*pairs: str) -> Edit:
    """Replaces each word of a pair by the other."""
    other = dict(pair.split() for pair in pairs)
    other |= {new: old for old, new in other.items()}
    return lambda match: match[0].replace(match[1], other[match[1]])


def _as(template: str) -> Edit:
    """Replaces a match by this template."""
    return lambda match: match.expand(template)


_ENDED = (".c", ".h", ".js", ".rs")  # a statement ends in a semicolon
_WORDS = (".py",)
_SIGNS = (".c", ".h", ".go", ".js", ".rs")
_TARGET = r"[\w.\[\]>-]+"
_CALL = r"(?:await )?[\w.>-]+\([^{}]*\)"
_GIVEN = rf"{_TARGET} [-+|&]?= [^{{}}]*"

OPERATORS = (
    Operator("bound", "a bound is off by one", r" (<|<=|>|>=) ", _swapped("< <=", "> >=")),
    Operator("other", "the opposite is asked", r" (==|!=) ", _swapped("== !=")),
    Operator("other", "the opposite is asked", r" (===|!==) ", _swapped("=== !=="), (".js",)),
    Operator("other", "the opposite is asked", r" is (?!not)", _as(" is not "), _WORDS),
    Operator("other", "the opposite is asked", r" is not ", _as(" is "), _WORDS),
    Operator("both", "and for or, or for and", r" (&&|\|\|) ", _swapped("&& ||"), _SIGNS),
    Operator("both", "and for or, or for and", r" (and|or) ", _swapped("and or"), _WORDS),
    Operator("extreme", "the larger for the smaller", r"\b(min|max)\(", _swapped("min max")),
    Operator("extreme", "the larger for the smaller", r"\b(MIN|MAX)\(", _swapped("MIN MAX")),
    Operator(
        "loop", "a loop goes on, or ends", r"\b(break|continue)\b", _swapped("break continue")
    ),
    Operator("truth", "true for false", r"\b(true|false)\b", _swapped("true false")),
    Operator("truth", "true for false", r"\b(True|False)\b", _swapped("True False"), _WORDS),
    Operator("count", "one is not added", r" [-+] 1\b", _as("")),
    Operator(
        "negate", "a condition is negated", r"\bif \((.+)\)(?=$| \{$)", _as(r"if (!(\1))"), _ENDED
    ),
    Operator(
        "negate", "a condition is negated", r"\bif ([^;]+) \{$", _as(r"if !(\1) {"), (".go", ".rs")
    ),
    Operator("negate", "a condition is negated", r"\bif (.+):$", _as(r"if not (\1):"), _WORDS),
    Operator("drop", "a call is left out", rf"^{_CALL};$", _as(";"), _ENDED),
    Operator("drop", "a call is left out", rf"^{_CALL}$", _as(""), (".go",)),
    Operator("drop", "a call is left out", rf"^{_CALL}$", _as("pass"), _WORDS),
    Operator("stays", "a value stays as it was", rf"^{_GIVEN};$", _as(";"), _ENDED),
    Operator("stays", "a value stays as it was", rf"^{_GIVEN}$", _as(""), (".go",)),
    Operator("stays", "a value stays as it was", rf"^{_GIVEN}$", _as("pass"), _WORDS),
)
_STATEMENT = {
    kind: re.compile(rf"(?:{_CALL}|{_GIVEN}){';' * (kind in _ENDED)}")
    for kind in (*_SIGNS, *_WORDS)
}
_PROSE = re.compile(r"\s*(/\*|\*|//|#|\"\"\")")


@dataclass(frozen=True, slots=True)
class _Line:
    start: int
    text: str  # without its indentation
    indent: str


def generated(program: str, folder: Path) -> list[Mutant]:
    """All edits that the operators make in a program, in a mixed order."""
    found = {}
    for path in sources(folder):
        file, text = str(path), text_of(folder / path)
        for function in functions(file, text):
            for line, following in _lines(text, function.start, function.end):
                for name, what, before, after in _edits(PurePath(file).suffix, line, following):
                    key = f"{file} {function.name} {before} {after}".encode()
                    one = f"{program}/{name}-{zlib.crc32(key):08x}"
                    found[one] = Mutant(
                        one, program, folder, file, line.start, before, after, "", what
                    )
    return sorted(found.values(), key=lambda mutant: mutant.id[-8:])


def _edits(kind: str, line: _Line, following: _Line | None) -> Iterator[tuple[str, str, str, str]]:
    """All edits of a line: the operator's name, its meaning, the text before and after."""
    for operator in OPERATORS:
        for match in re.finditer(operator.pattern, line.text) if kind in operator.kinds else ():
            if not _is_quoted(line.text, match.start()):
                after = line.text[: match.start()] + operator.edit(match) + line.text[match.end() :]
                yield operator.name, operator.what, line.text, after
    statement = _STATEMENT[kind]
    if following and statement.fullmatch(line.text) and statement.fullmatch(following.text):
        space = "\n" + following.indent
        before, after = line.text + space + following.text, following.text + space + line.text
        yield "swap", "two steps are done in the other order", before, after


def _is_quoted(text: str, place: int) -> bool:
    return text[:place].count('"') % 2 == 1


def _lines(text: str, start: int, end: int) -> Iterator[tuple[_Line, _Line | None]]:
    """The lines of code of a function, each with the next line of the same block."""
    lines, place = [], start
    for raw in text[start:end].splitlines(keepends=True):
        code = raw.strip()
        if code and not _PROSE.match(raw):
            indent = raw[: len(raw) - len(raw.lstrip())]
            lines.append(_Line(place + len(indent), code, indent))
        place += len(raw)
    for line, following in zip(lines, [*lines[1:], None], strict=True):
        space = "\n" + line.indent
        is_next = following and following.start == line.start + len(line.text + space)
        yield line, following if is_next else None
