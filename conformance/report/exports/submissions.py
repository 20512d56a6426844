"""Reports on the implementations of --implementation: one table, and a page for each of them."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

from conformance.model import Result, Role, Verdict
from conformance.report.findings.grid import total
from conformance.report.page.draw import index_html
from conformance.report.run import Run
from conformance.report.terminal.way import Standing, section_of, standings
from conformance.text import visible

TABLE = "submissions.csv"
PAGES = "submissions"

_COUNTED = (
    Verdict.PASSED,
    Verdict.WARNED,
    Verdict.FAILED,
    Verdict.ERRORED,
    Verdict.UNSUPPORTED,
    Verdict.UNAVAILABLE,
)


def table(run: Run) -> str:
    """CSV, a row for each: first broken rule, cases by verdict, rules kept by section.

    Empty if there are none.
    """
    sections = list(dict.fromkeys(map(section_of, run.requirements)))
    head = ["role", "name", "folder", "first broken", *map(str.lower, _COUNTED), *sections]
    rows = [_row(one, own, sections) for one, own in _given(run)]
    if not rows:
        return ""
    text = io.StringIO()
    csv.writer(text).writerows([head, *rows])
    return text.getvalue()


def pages(run: Run, transcripts: Path) -> Mapping[str, str]:
    """A page for each, with only its own cases, by file name."""
    return {
        f"{one['role']}-{visible(one['name'])}.html": index_html(own, transcripts)
        for one, own in _given(run)
    }


def _given(run: Run) -> Iterator[tuple[Mapping[str, Any], Run]]:
    """Each implementation of --implementation, and the run reduced to its cases."""
    for one in run.implementations:
        if one.get("given"):
            own = [result for result in run.results if _took_part(one, result)]
            alone = [two for two in run.implementations if two is one or _meets(two, own)]
            yield one, replace(run, results=own, planned=len(own), implementations=alone)


def _took_part(one: Mapping[str, Any], result: Result) -> bool:
    names = [result.server] if one["role"] == Role.SERVER else result.clients
    return one["name"] in names


def _meets(other: Mapping[str, Any], results: list[Result]) -> bool:
    return any(_took_part(other, result) for result in results)


def _row(one: Mapping[str, Any], own: Run, sections: list[str]) -> list[str]:
    counts = total(own.results).counts
    known = standings(own)
    broken = next((rule for rule, how in known.items() if how is Standing.BROKEN), "")
    kept = dict.fromkeys(sections, "")
    for section, rules in groupby(known, section_of):
        played = [known[rule] for rule in rules if known[rule] is not Standing.UNPLAYED]
        if played:
            kept[section] = f"{played.count(Standing.KEPT)} of {len(played)}"
    # An absolute path begins with `/`, so that no spreadsheet takes it for a formula.
    folder = visible(str(Path(one["folder"]).resolve()))
    head = [one["role"], visible(one["name"]), folder, broken]
    return [*head, *(str(counts[verdict]) for verdict in _COUNTED), *kept.values()]
