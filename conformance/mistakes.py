"""Mistakes in what a person wrote, each with its place and a remedy, reported together.

It does not depend on YAML: the modules that read files supply the places.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from conformance.text import visible

MOST_NAMED = 60  # words that a message lists
FEW, NEAREST = 10, 3  # with more than FEW words that a command lists, only the NEAREST are named


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A position in a file that a person wrote; lines and columns count from 1."""

    file: str
    line: int
    column: int = 1

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


class Mistake(Exception):
    """What a person wrote is wrong; each line of `problems` says where, and how to mend it.

    They are safe to print: control characters that come from files or arguments are escaped.
    """

    def __init__(self, problems: list[str]) -> None:
        self.problems = [visible(problem) for problem in problems]
        super().__init__("\n".join(self.problems))


class NothingChosen(Mistake):
    """All files are right, but no case is what a person chose."""


class Fault(Mistake):
    """One mistake, at one place."""

    def __init__(self, place: Place, message: str) -> None:
        super().__init__([f"{place}: {message}"])
        self.place = place
        self.message = message


class Problems:
    """Collects mistakes, so that one run reports all of them."""

    def __init__(self) -> None:
        self.found: dict[str, None] = {}  # an ordered set

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """Collect a Mistake that the block raises, and continue after the block."""
        try:
            yield
        except Mistake as mistake:
            self.add(mistake)

    def add(self, mistake: Mistake) -> None:
        """Collect the problems of one Mistake."""
        self.found |= dict.fromkeys(mistake.problems)

    def report(self) -> None:
        """Raise one Mistake with all problems that were collected, if any."""
        if self.found:
            raise Mistake(list(self.found))


def meant(word: str, known: Iterable[str], list_all: str = "") -> str:
    """`did you mean …?` with the most similar known word, else a list of the known words.

    If there are many, and the command `list_all` shows them, the list has only the nearest ones.
    """
    known = sorted(set(known))
    if near := difflib.get_close_matches(word, known, n=1):
        return f"did you mean `{near[0]}`?"
    if list_all and len(known) > FEW:
        near = difflib.get_close_matches(word, known, n=NEAREST, cutoff=0.0)
        return f"the nearest are {', '.join(near)}; `{list_all}` shows all"
    more = f", and {len(known) - MOST_NAMED} more" if len(known) > MOST_NAMED else ""
    return f"known: {', '.join(known[:MOST_NAMED]) or 'none'}{more}"
