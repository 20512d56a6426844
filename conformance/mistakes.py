"""What a person wrote wrong, with its place and its remedy; all of a file are told at once.

It knows no YAML: whoever reads files says where something stands.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from conformance.text import visible

MOST_NAMED = 60  # words of a list of what is known


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where something stands in a file that a person wrote; lines and columns count from 1."""

    file: str
    line: int
    column: int = 1

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


class Mistake(Exception):
    """What a person wrote is wrong; `problems` says where and how to mend it, one line each."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class Fault(Mistake):
    """One mistake, at one place."""

    def __init__(self, place: Place, message: str) -> None:
        super().__init__([visible(f"{place}: {message}")])
        self.place = place
        self.message = message


class Problems:
    """Gathers mistakes, so that all of a file are told at once."""

    def __init__(self) -> None:
        self.found: dict[str, None] = {}  # in their order, each once

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """Go on behind the block where something is wrong in it."""
        try:
            yield
        except Mistake as mistake:
            self.add(mistake)

    def add(self, mistake: Mistake) -> None:
        """Keep it for the report."""
        self.found |= dict.fromkeys(mistake.problems)

    def report(self) -> None:
        """Raise Mistake if there was any."""
        if self.found:
            raise Mistake(list(self.found))


def meant(word: str, known: Iterable[str]) -> str:
    """`did you mean …?`, or the whole list where nothing is near."""
    known = sorted(known)
    if near := difflib.get_close_matches(word, known, n=1):
        return f"did you mean `{near[0]}`?"
    more = f", and {len(known) - MOST_NAMED} more" if len(known) > MOST_NAMED else ""
    return f"known: {', '.join(known[:MOST_NAMED]) or 'none'}{more}"
