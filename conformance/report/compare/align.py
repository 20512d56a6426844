"""Aligns the sources of several programs: first sections by title, then definitions by name.

Names are compared after `plain`, so that `take_line` and `takeLine` are equal.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias, TypeVar

from conformance.report.compare.outline import Block, Section, outline, plain, plain_title
from conformance.report.compare.source import Line


@dataclass(frozen=True, slots=True)
class File:
    """One source file of a program."""

    path: str  # relative to the program's folder
    lines: list[Line]

    @property
    def stem(self) -> str:
        """Its name without folder and extension. Corresponding files of programs share it."""
        return self.path.rpartition("/")[2].partition(".")[0]


@dataclass(frozen=True, slots=True)
class Program:
    """The sources of an implementation."""

    label: str
    role: str
    files: list[File]

    def unit(self, file: File) -> str:
        """The unit that a file implements: its stem, or the role if the program has one file."""
        return file.stem if len(self.files) > 1 else self.role


@dataclass(frozen=True, slots=True)
class Piece:
    """A block, and the index of its file in Program.files."""

    file: int
    block: Block


@dataclass(frozen=True, slots=True)
class Row:
    """The blocks of all programs with the same name."""

    idea: str  # the plain name; "": blocks without a name
    cells: dict[str, list[Piece]] = field(default_factory=dict)  # by the program's label


@dataclass(frozen=True, slots=True)
class Aligned:
    """One section of all programs together."""

    unit: str
    title: str
    rows: list[Row]


Key: TypeAlias = tuple[str, str]  # the unit, the plain title
_One = TypeVar("_One")
_Sections: TypeAlias = dict[Key, tuple[str, dict[str, list[Piece]]]]


def aligned(programs: Sequence[Program]) -> list[Aligned]:
    """The sections of all programs, in an order that is as close as possible to each program's."""
    found: _Sections = {}
    orders = []
    for program in programs:
        orders.append(list(dict.fromkeys(_sections(program, found))))
    order = merged(orders)
    return [Aligned(key[0], found[key][0], _rows(found[key][1])) for key in order]


def shared(programs: Iterable[Program]) -> set[str]:
    """The plain names that more than one program defines."""
    seen, often = set[str](), set[str]()
    for program in programs:
        blocks = (
            one for file in program.files for part in outline(file.lines) for one in part.blocks
        )
        names = {plain(block.name) for block in blocks if block.name}
        often |= seen & names
        seen |= names
    return often


def merged(orders: Iterable[Sequence[_One]]) -> list[_One]:
    """One list of all items. A new item is inserted after the item that it follows in its list."""
    whole: list[_One] = []
    for order in orders:
        place = 0
        for one in order:
            if one in whole:
                place = whole.index(one) + 1
            else:
                whole.insert(place, one)
                place += 1
    return whole


def _sections(program: Program, found: _Sections) -> Iterable[Key]:
    """Add the sections of a program to `found`; yield their keys in the order of the program."""
    for file in sorted(program.files, key=lambda file: program.unit(file) != program.role):
        number, unit = program.files.index(file), program.unit(file)
        for section in outline(file.lines):
            key = (unit, plain_title(section.title))
            _, parts = found.setdefault(key, (section.title, {}))
            parts.setdefault(program.label, []).extend(_pieces(number, section))
            yield key


def _pieces(number: int, section: Section) -> Iterable[Piece]:
    return (Piece(number, block) for block in section.blocks)


def _rows(parts: Mapping[str, list[Piece]]) -> list[Row]:
    """A row for each name in a section; the row of blocks without a name comes first."""
    names = [[plain(piece.block.name) for piece in pieces] for pieces in parts.values()]
    rows = {name: Row(name) for name in merged(names)}
    for label, pieces in parts.items():
        for piece in pieces:
            rows[plain(piece.block.name)].cells.setdefault(label, []).append(piece)
    return sorted(rows.values(), key=lambda row: row.idea != "")
