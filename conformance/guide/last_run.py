"""Finds a case that passed in the last run, and its transcript."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from conformance.mistakes import Mistake
from conformance.model import Case, Verdict
from conformance.play.case.transcript import Row, row
from conformance.report.folder import results
from conformance.report.folder.transcripts import TRANSCRIPTS, timed_name
from conformance.text import counted

_UNITS = (("day", 86_400), ("hour", 3600), ("minute", 60), ("second", 1))


@dataclass(frozen=True, slots=True)
class Recorded:
    """The transcript of a case in an earlier run."""

    case: Case
    rows: Sequence[Row]
    age: str  # of the run: `3 minutes ago`


def recorded(cases: Sequence[Case], suite: str, output: Path) -> Recorded | None:
    """The first of these cases that passed in the run whose results are in `output`.

    None if no case passed, or if there are no readable results of this suite.
    """
    try:
        run = results.read(output)
    except Mistake:  # no results, or unreadable ones
        return None
    if run.suite != suite:
        return None
    passed = {one.key: one.id for one in run.results if one.verdict is Verdict.PASSED}
    for case in cases:
        if case.key in passed and (rows := list(_rows(output, passed[case.key]))):
            return Recorded(case, rows, _age(run.started))
    return None


def _rows(output: Path, case_id: str) -> Iterator[Row]:
    """The rows of the transcript; none if there is no such file."""
    path = output / TRANSCRIPTS / timed_name(case_id)
    if path.is_file():
        yield from filter(None, map(row, path.read_text("utf-8", "replace").split("\n")))


def _age(started: str) -> str:
    """`3 minutes ago`."""
    try:
        began = datetime.fromisoformat(started).astimezone(UTC)
    except ValueError:  # results.json may be written by another program
        return "at an unknown time"
    passed = (datetime.now(UTC) - began).total_seconds()
    for unit, seconds in _UNITS:
        if passed >= seconds:
            return f"{counted(int(passed // seconds), unit)} ago"
    return "just now"
