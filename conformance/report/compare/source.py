"""Splits a source file into lines of classified pieces (comment, keyword, name), by Pygments."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from pygments.lexer import Lexer
from pygments.lexers import get_lexer_for_filename
from pygments.token import Comment, Keyword, Name, Number, String, Token, _TokenType
from pygments.util import ClassNotFound

TAB = 4  # columns
MOST_CHARACTERS = 1_000_000  # longer files are left out

Piece: TypeAlias = tuple[str, str]  # its kind, its text

# The first matching entry gives the kind of a token. The letters are classes of the page's style.
_KINDS: tuple[tuple[_TokenType, str], ...] = (
    (Comment.Preproc, "p"),
    (Comment.PreprocFile, "s"),
    (Comment, "c"),
    (String.Doc, "c"),
    (Keyword.Type, "t"),
    (Keyword, "k"),
    (Token.Operator.Word, "k"),
    (String, "s"),
    (Number, "m"),
    (Name.Decorator, "p"),
    (Name.Builtin.Pseudo, "n"),
    (Name.Builtin, ""),  # such as Go's `append`, which the program does not define
    (Name, "n"),
)

# Lexers of files that are not programs.
_NO_PROGRAMS = frozenset({"Text only", "Markdown", "YAML", "JSON", "TOML", "INI", "HTML", "CSS"})
_MISTAKEN = frozenset({"go.mod"})  # Pygments takes it for a program in Modula-2


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a program."""

    pieces: tuple[Piece, ...]

    @property
    def text(self) -> str:
        """The whole line."""
        return "".join(text for _, text in self.pieces)

    @property
    def code(self) -> str:
        """The line with comments and string literals replaced by spaces."""
        return "".join(" " * len(text) if kind in "cs" else text for kind, text in self._named)

    @property
    def comment(self) -> str:
        """The line, if it has nothing but a comment, else an empty string."""
        return "" if self.code.strip() else self.text.strip()

    @property
    def _named(self) -> Iterator[Piece]:
        return ((kind or " ", text) for kind, text in self.pieces)


def lines_of(name: str, text: str) -> list[Line]:
    """The lines of a file; none if its name shows that it is not a program."""
    lexer = _lexer(name, text)
    if lexer is None or len(text) > MOST_CHARACTERS:
        return []
    lines, pieces = list[Line](), list[Piece]()
    for token, value in lexer.get_tokens(text):
        kind = _kind(token)
        for place, part in enumerate(value.split("\n")):
            if place:
                lines.append(Line(tuple(pieces)))
                pieces = []
            if part:
                _add(pieces, kind, part)
    return [*lines, Line(tuple(pieces))] if pieces else lines


def _lexer(name: str, text: str) -> Lexer | None:
    if name.rpartition("/")[2] in _MISTAKEN:
        return None
    try:
        lexer = get_lexer_for_filename(name, text, stripnl=False, tabsize=TAB)
    except ClassNotFound:
        return None
    return None if lexer.name in _NO_PROGRAMS else lexer


def _kind(token: _TokenType) -> str:
    return next((kind for known, kind in _KINDS if known in token.split()), "")


def _add(pieces: list[Piece], kind: str, text: str) -> None:
    """Append a piece, or join it with the last piece of the same kind. Names are never joined."""
    if pieces and pieces[-1][0] == kind != "n":
        text = pieces.pop()[1] + text
    pieces.append((kind, text))
