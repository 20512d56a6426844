"""The data of compare.html, as plain data in which all texts are printable."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from conformance.model import Implementation, Requirement, Result, Scenario
from conformance.report.compare.align import File, Piece, Program, Row, aligned, shared
from conformance.report.compare.source import Line, lines_of
from conformance.report.page.data import first_data, harmless
from conformance.report.run import Run

_RULES = r"\b({})-(\d+)(?:\s+(?:to|and)\s+(?:\1-)?(\d+))?"  # `FRAME-4`, `FRAME-4 to 6`


@dataclass(frozen=True, slots=True)
class Compared:
    """The implementations to compare, with their sources, rules and scenarios."""

    implementations: Sequence[Implementation]
    sources: Mapping[str, Mapping[str, str]]  # label → path → text
    rules: Mapping[str, Requirement]
    scenarios: Sequence[Scenario]


def compared_data(what: Compared, run: Run) -> dict[str, Any]:
    """All data of the page except transcripts. `run` may have no cases."""
    programs = [_program(one, what.sources[one.label]) for one in what.implementations]
    roles = [list(some) for _, some in groupby(programs, key=lambda one: one.role)]
    found: dict[str, Any] = harmless(
        {
            "programs": [
                _facts(one, program, run)
                for one, program in zip(what.implementations, programs, strict=True)
            ],
            "roles": {some[0].role: _role(some, what.rules) for some in roles},
            "proofs": _proofs(what),
        }
    )
    return first_data(run) | found


def _program(one: Implementation, texts: Mapping[str, str]) -> Program:
    files = [File(path, lines_of(path, text)) for path, text in texts.items()]
    return Program(one.label, str(one.role), [file for file in files if file.lines])


def _facts(one: Implementation, program: Program, run: Run) -> dict[str, Any]:
    """The facts about one program: its lines, and the verdicts of its cases."""
    mine = [result for result in run.results if _plays(one, result)]
    return {
        "label": one.label,
        "role": str(one.role),
        "name": one.name,
        "language": one.language,
        "folder": "/".join(one.folder.resolve().parts[-2:]),
        "features": sorted(one.features),
        "verdicts": Counter(str(result.verdict) for result in mine),
        "files": [
            {"path": file.path, "lines": [_flat(line) for line in file.lines]}
            for file in program.files
        ],
    }


def _plays(one: Implementation, result: Result) -> bool:
    return one.name == result.server if one.role == "server" else one.name in result.clients


def _flat(line: Line) -> list[str]:
    return [part for piece in line.pieces for part in piece]


def _role(programs: Sequence[Program], rules: Mapping[str, Requirement]) -> dict[str, Any]:
    """The aligned programs of one role."""
    files = {one.label: one.files for one in programs}
    return {
        "shared": sorted(shared(programs)),
        "sections": [
            {
                "unit": section.unit,
                "title": section.title,
                "rows": [_row(row, files, rules) for row in section.rows],
            }
            for section in aligned(programs)
        ],
    }


def _row(
    row: Row, files: Mapping[str, Sequence[File]], rules: Mapping[str, Requirement]
) -> dict[str, Any]:
    """One row, with the rules that each cell names."""
    return {
        "idea": row.idea,
        "cells": {
            label: [_cell(piece, files[label], rules) for piece in pieces]
            for label, pieces in row.cells.items()
        },
    }


def _cell(piece: Piece, files: Sequence[File], rules: Mapping[str, Requirement]) -> dict[str, Any]:
    block = piece.block
    lines = files[piece.file].lines[block.first - 1 : block.last]
    named = rules_in("\n".join(line.text for line in lines), rules)
    return {
        "file": piece.file,
        "name": block.name,
        "first": block.first,
        "last": block.last,
        "rules": named,
    }


def rules_in(text: str, rules: Mapping[str, Requirement]) -> list[str]:
    """The rules that a text names, without duplicates, in the order of the protocol."""
    sections = sorted({id.rpartition("-")[0] for id in rules}, key=len, reverse=True)
    found = set()
    for section, first, last in re.findall(_RULES.format("|".join(map(re.escape, sections))), text):
        numbers = range(int(first), int(last or first) + 1)
        found |= {f"{section}-{number}" for number in numbers}
    return [id for id in rules if id in found]


def _proofs(what: Compared) -> dict[str, Any]:
    """The text of each rule, and the scenarios that prove it."""
    return {
        id: {
            "level": rule.level,
            "text": rule.text,
            "scenarios": list(_titles(one for one in what.scenarios if id in one.claims).items()),
        }
        for id, rule in what.rules.items()
    }


def _titles(scenarios: Iterable[Scenario]) -> dict[str, str]:
    """Name → title. The examples of a scenario share one name, and count as one."""
    return {one.names[-1]: one.title for one in scenarios}
