"""Reads tables and mutants, which other programs made, to show them in the reports of a run.

A mutant is a program with one deliberate fault. A case that fails with it kills it, and so proves
that it finds this fault.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeAlias

from conformance.mistakes import Mistake
from conformance.report.folder.typed import typed
from conformance.text import visible

MOST_BYTES = 64 << 20
MOST_WORDS = 200  # characters of an error message
REMEDY = "a table has `title`, `when`, `columns` and `rows`; mutants have `when` and `mutants`"


class Fate(StrEnum):
    """The result for a mutant."""

    KILLED = "KILLED"
    SURVIVED = "SURVIVED"
    EQUIVALENT = "EQUIVALENT"  # it behaves as the correct program; `reason` says why
    NOT_BUILT = "DID NOT BUILD"


@dataclass(frozen=True, slots=True)
class Mutant:
    """A program with one fault."""

    id: str
    program: str  # `server-c`
    file: str
    line: int
    rule: str  # the rule that it breaks; "": not known
    what: str  # a description of the fault
    before: str
    after: str
    verdict: Fate
    killed_by: list[str] = field(default_factory=list)  # ids of cases
    reason: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Mutants:
    """The mutants of one run of the mutation tests."""

    when: str
    mutants: list[Mutant]


@dataclass(frozen=True, slots=True)
class Table:
    """A table of texts and numbers."""

    title: str
    when: str
    columns: list[str]
    rows: list[list[Any]]
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        for number, row in enumerate(self.rows, 1):
            if len(row) != len(self.columns):
                raise ValueError(f"row {number} has {len(row)} of {len(self.columns)} cells")
            if any(isinstance(cell, dict | list) for cell in row):
                raise ValueError(f"row {number} has a cell that is neither a text nor a number")


Attached: TypeAlias = Mutants | Table


def read_all(paths: Iterable[Path]) -> list[Attached]:
    """The contents of these files. Raises Mistake."""
    return [read(path) for path in paths]


def read(path: Path) -> Attached:
    """The contents of a file; its keys show whether it has a table or mutants. Raises Mistake."""
    try:
        with open(path, "rb") as stream:
            data = stream.read(MOST_BYTES + 1)
        if len(data) > MOST_BYTES:
            raise ValueError(f"it has more than {MOST_BYTES >> 20} MiB")
        return _attached(json.loads(data.decode("utf-8")))
    except OSError as error:
        raise Mistake([f"{path}: cannot be read: {error.strerror}"]) from None
    except (ValueError, RecursionError) as error:
        reason = visible(str(error))[:MOST_WORDS]
        raise Mistake([f"{path}: cannot be attached: {reason}; {REMEDY}"]) from None


def _attached(data: Any) -> Attached:
    is_of_mutants = isinstance(data, dict) and "mutants" in data
    found: Attached = typed(Mutants if is_of_mutants else Table, data, "the file")
    return found
