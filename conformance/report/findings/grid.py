"""Counts the verdicts of a run by server and client."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from conformance.model import Kind, Result, Verdict
from conformance.report.findings.blame import blame

CORNER = "server × client"

# A row or column: 0 and an implementation, or a higher number and a special name. The number sorts
# special headings last, and distinguishes them from implementations of the same name.
Heading: TypeAlias = tuple[int, str]

SCRIPTED: Heading = (1, "scripted")  # the row of cases that test a client against the harness
MIXED: Heading = (1, "mixed")  # the column of cases with a different program for each client
WIRE: Heading = (2, "wire")  # the column of cases that test a server with wire actors

LEGEND = {
    "✓": "passed",
    "~": "some known failures, or advice not kept",
    "✗": "not as expected",
    "!": "errored",
    "−": "unsupported",
    "?": "unavailable",
}
MEANINGS = {
    MIXED: "each client another program",
    WIRE: "raw connections as clients",
    SCRIPTED: "steps as the server",
}


@dataclass(slots=True)
class Tally:
    """The number of cases by verdict, and of those that were not expected."""

    counts: Counter[Verdict] = field(default_factory=Counter)
    unexpected: Counter[Verdict] = field(default_factory=Counter)
    may_fail: int = 0  # failures that `may_fail` of a manifest allows

    def add(self, result: Result) -> None:
        """Count one more case."""
        self.counts[result.verdict] += 1
        self.may_fail += result.may_fail
        if not result.expected:
            self.unexpected[result.verdict] += 1

    @property
    def passed(self) -> int:
        """The number of cases that passed."""
        return self.counts[Verdict.PASSED]

    @property
    def played(self) -> int:
        """The number of cases that were played, or had an error."""
        others = (Verdict.WARNED, Verdict.FAILED, Verdict.ERRORED)
        return self.passed + sum(self.counts[verdict] for verdict in others)

    @property
    def mark(self) -> str:
        """The sign for the worst verdict: a key of LEGEND."""
        if self.unexpected[Verdict.FAILED] or self.unexpected[Verdict.PASSED]:
            return "✗"
        if self.unexpected:
            return "!"
        if self.played:
            return "✓" if self.passed == self.played else "~"
        return "?" if self.counts[Verdict.UNAVAILABLE] else "−"

    @property
    def text(self) -> str:
        """`✓ 41` or `✗ 39/41`, then the cases not played: `−3` unsupported, `?2` unavailable."""
        parts = [] if self.mark in "−?" else [self.mark]
        if self.played:
            parts.append(str(self.passed) if self.mark == "✓" else f"{self.passed}/{self.played}")
        for sign, verdict in (("−", Verdict.UNSUPPORTED), ("?", Verdict.UNAVAILABLE)):
            if self.counts[verdict]:
                parts.append(f"{sign}{self.counts[verdict]}")
        return " ".join(parts)


@dataclass(frozen=True, slots=True)
class Grid:
    """The tallies of a run by server and client."""

    rows: list[Heading]
    columns: list[Heading]
    cells: dict[tuple[Heading, Heading], Tally]


def grid(results: Iterable[Result]) -> Grid:
    """The grid of all cases."""
    cells: dict[tuple[Heading, Heading], Tally] = {}
    for result in results:
        cells.setdefault(position(result), Tally()).add(result)
    return Grid(sorted({row for row, _ in cells}), sorted({column for _, column in cells}), cells)


def position(result: Result) -> tuple[Heading, Heading]:
    """The row and the column of a case."""
    row = SCRIPTED if result.server is None else (0, result.server)
    match result.kind:
        case Kind.SERVER:
            return row, WIRE
        case Kind.MIXED:
            return row, MIXED
    return row, (0, result.clients[0])


def legend(whole: Grid) -> list[str]:
    """The meanings of the signs and special headings that occur in a grid."""
    text = "".join(tally.text for tally in whole.cells.values())
    signs = [f"{sign} {meaning}" for sign, meaning in LEGEND.items() if sign in text]
    shown = {*whole.rows, *whole.columns}
    return signs + [f"{head[1]}: {words}" for head, words in MEANINGS.items() if head in shown]


def total(results: Iterable[Result]) -> Tally:
    """The tally of all results."""
    tally = Tally()
    for result in results:
        tally.add(result)
    return tally


def totals(tally: Tally) -> str:
    """`608 PASSED · 3 FAILED (1 known, 1 may fail) · 2 UNSUPPORTED`."""
    words = []
    for verdict in Verdict:
        if count := tally.counts[verdict]:
            words.append(f"{count} {verdict}{_aside(verdict, tally)}")
    return " · ".join(words) or "no cases"


def at_fault(results: Sequence[Result]) -> list[str]:
    """The lines of `blame` if there are several pairings to compare, else none."""
    pairings = {one.pairing for one in results if one.kind in (Kind.PAIRING, Kind.MIXED)}
    return blame(results) if len(pairings) > 1 else []


def _aside(verdict: Verdict, tally: Tally) -> str:
    count, unexpected = tally.counts[verdict], tally.unexpected[verdict]
    if verdict is Verdict.FAILED:
        counts = {"known": count - unexpected - tally.may_fail, "may fail": tally.may_fail}
        words = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
        return words and f" ({words})"
    if verdict is Verdict.PASSED and unexpected:
        known = "a known failure" if unexpected == 1 else "known failures"
        return f" ({unexpected} of them {known})"
    return ""
