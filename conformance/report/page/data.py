"""The data of index.html, as plain data in which all texts are printable."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from conformance.model import Failure, Result
from conformance.report.findings.flakes import flaky_cases
from conformance.report.findings.grid import CORNER, at_fault, grid, legend, position, total, totals
from conformance.report.findings.groups import groups
from conformance.report.findings.standing import labels, standings
from conformance.report.folder.attached import Mutants
from conformance.report.folder.results import result_to_json
from conformance.report.page.said import Said
from conformance.report.run import Run, advice, lacking, red
from conformance.report.terminal.failure import parts, replay
from conformance.report.terminal.way import entry
from conformance.text import visible


def first_data(run: Run) -> dict[str, Any]:
    """All data except transcripts and sources: the page shows it first."""
    plain = {
        **_head(run),
        "grid": _grid(run),
        "rules": {one.id: asdict(one) for one in run.requirements.values()},
        "implementations": run.implementations,
        "standings": standings(run),
        "scenarios": {key: asdict(one) for key, one in run.scenarios.items()},
        "cases": [_case(result) for result in run.results],
        "mutants": _mutants(run.mutants) if run.mutants else None,
        "tables": [asdict(one) for one in run.tables],
    }
    found: dict[str, Any] = harmless(plain)
    return found


def said_data(run: Run, transcripts: Path | None, outputs: bool = True) -> dict[str, Any]:
    """Transcripts and output by case, in the order of the cases, and the sources of scenarios.

    `transcripts` is the folder of the transcripts.
    """
    said = Said(transcripts, outputs)
    plain = {
        "said": [said.of(one.id) | {"replay": replay(one, run.options)} for one in run.results],
        "sources": {file: text.split("\n") for file, text in run.sources.items()},
    }
    return {**harmless(plain), "transcripts": said.transcripts}


def _head(run: Run) -> dict[str, Any]:
    """The data about the run as a whole."""
    reasons = red(run)
    whole = total(run.results)
    played, counts = whole.played, totals(whole)
    return {
        "suite": run.suite,
        "green": not reasons,
        "totals": counts,
        "notes": [
            *(reason for reason in reasons if reason not in counts.split(" · ")),
            *(lacking(run) + advice(run)),
            *(flaky_cases(run.results) + at_fault(run.results)),
        ],
        "facts": _facts(run),
        "mend": [
            {"text": entry(run, one, played), "rule": one.rule, "case": one.cases[0].id}
            for one in groups(run.results)
        ],
    }


def _facts(run: Run) -> list[str]:
    """When the run was, how long it took, and the versions of its tools."""
    when = run.started[:16].replace("T", " ") + " UTC"
    tools = [said if name in said else f"{name} {said}" for name, said in run.toolchains.items()]
    return [when, f"{run.seconds:.1f} s", f"conformance {run.version}", *tools]


def _grid(run: Run) -> dict[str, Any]:
    """The data of the matrix."""
    whole = grid(run.results)
    cells = {
        (row, column): {"text": tally.text, "mark": tally.mark}
        for (row, column), tally in whole.cells.items()
    }
    return {
        "corner": CORNER,
        "legend": legend(whole),
        "columns": [{"name": name, "alone": bool(place)} for place, name in whole.columns],
        "rows": [
            {
                "name": row[1],
                "alone": bool(row[0]),
                "cells": [cells.get((row, column)) for column in whole.columns],
            }
            for row in whole.rows
        ],
    }


def _mutants(some: Mutants) -> dict[str, Any]:
    """The data of the mutants, with code as lists of lines."""
    lines = [
        asdict(one) | {"before": one.before.split("\n"), "after": one.after.split("\n")}
        for one in some.mutants
    ]
    return {"when": some.when, "mutants": lines}


def _case(result: Result) -> dict[str, Any]:
    """The data of a case in results.json, and its position in the matrix."""
    row, column = position(result)
    case = result_to_json(result) | {
        "row": row[1],
        "column": column[1],
        "labels": labels(result),
        "seconds": round(result.seconds, 3),
        "reason": [*filter(None, [result.repeated, result.delivered]), *result.reason.splitlines()],
        "failure": _failure(result.failure),
        "afterwards": _failure(result.afterwards),
    }
    return {key: value for key, value in case.items() if value not in (None, [])}


def _failure(failure: Failure | None) -> dict[str, Any] | None:
    """A failure, with the expected and the seen text divided where they differ."""
    if failure is None:
        return None
    before, wanted, got, after = parts(visible(failure.expected), visible(failure.seen))
    differ = {"before": before, "wanted": wanted, "got": got, "after": after}
    return asdict(failure) | {"differ": differ}


def harmless(value: Any) -> Any:
    """The data with all texts printable."""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, dict):
        return {visible(key): harmless(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [harmless(item) for item in value]
    return value
