"""The cells of the table: which calls of which program fail, how, and what must happen then."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

# What must happen after an error, as table.yaml defines it.
FATES = (
    *("served", "later", "lost", "refused", "kept", "unlogged", "unsaid", "starts", "ends"),
    "either",
)
LANGUAGES = ("c", "go", "python")


@dataclass(frozen=True)
class Row:
    """One purpose of a program, and the calls that serve it (see table.yaml)."""

    what: str
    calls: dict[str, tuple[str, ...]]  # by program
    file: str
    does: str
    fates: dict[str, str]  # by error
    message: str
    rule: str
    never: dict[str, str] = field(default_factory=dict)  # reasons, by "PROGRAM ERROR"


@dataclass(frozen=True)
class Cell:
    """One purpose of one program, with one error."""

    row: Row
    role: str
    program: str
    error: str

    @property
    def calls(self) -> tuple[str, ...]:
        return self.row.calls[self.program]

    @property
    def fate(self) -> str:
        return self.row.fates[self.error]

    @property
    def starts(self) -> bool:
        return not self.row.does

    def __str__(self) -> str:
        return f"{self.role}-{self.program}: {self.row.what}: {self.error}"


def read_row(entry: dict[str, Any]) -> Row:
    calls = entry["calls"]
    by_program = calls if isinstance(calls, dict) else dict.fromkeys(LANGUAGES, calls)
    return Row(
        entry["fails"],
        {program: tuple(names.split()) for program, names in by_program.items()},
        entry.get("file", ""),
        entry.get("while", ""),
        {error: fate for fate in FATES for error in entry.get(fate, "").split()},
        entry.get("says", ""),
        entry["rule"],
        entry.get("never", {}),
    )


@cache
def read_table() -> dict[str, list[Row]]:
    """All rows, by role; first those of a running program, then those of its start."""
    found = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text("utf-8"))
    rows: dict[str, list[Row]] = {"server": [], "client": []}
    for heading, entries in found.items():
        rows[heading.split()[1]] += [read_row(entry) for entry in entries]
    return rows


def cells() -> Iterator[Cell]:
    """All cells that can be played, in the order of the table."""
    for role, rows in read_table().items():
        for row in rows:
            for program in row.calls:
                for error in row.fates:
                    if f"{program} {error}" not in row.never:
                        yield Cell(row, role, program, error)
