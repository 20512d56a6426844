"""All that is known of one run, and why it is green or red. It knows no file and no report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from conformance.model import Implementation, Requirement, Result, Verdict
from conformance.report.groups import groups
from conformance.text import counted

SHOWN_UNSTEADY = 10  # cases that passed some of the times


@dataclass(frozen=True, slots=True)
class Run:
    """All that is known of one run."""

    started: str  # UTC, ISO 8601
    seconds: float
    planned: int  # cases; fewer results than this make the run red
    suite: str
    version: str  # of the harness
    toolchains: dict[str, str] = field(default_factory=dict)  # "go" → "go1.22.1"
    implementations: list[dict[str, Any]] = field(default_factory=list)
    results: list[Result] = field(default_factory=list)
    requirements: Mapping[str, Requirement] = field(default_factory=dict)  # in order to build
    folders: list[str] = field(default_factory=list)  # given by --implementation
    unneeded: list[str] = field(default_factory=list)  # known failures of which nothing fails


def describe(implementation: Implementation, unavailable: str = "") -> dict[str, Any]:
    """An implementation as a run lists it."""
    return {
        "name": implementation.name,
        "role": str(implementation.role),
        "language": implementation.language,
        "folder": str(implementation.folder),
        "features": sorted(implementation.features),
        "known_failures": dict(implementation.known_failures),
        "may_fail": dict(implementation.may_fail),
        "unavailable": unavailable,
    }


def red(run: Run) -> list[str]:
    """Why a run is red, one line for each reason. It is green if there is none."""
    surprises = Counter(result.verdict for result in run.results if not result.expected)
    ordered = [verdict for verdict in Verdict if verdict in surprises]
    return incomplete(run) + [_surprise(verdict, surprises[verdict]) for verdict in ordered]


def incomplete(run: Run) -> list[str]:
    """What is wrong with a run as a whole, and so in the verdict of no case."""
    reasons = []
    if not run.planned:
        reasons.append("no case was planned")
    elif missing := run.planned - len({result.id for result in run.results}):
        has = "has" if missing == 1 else "have"
        reasons.append(f"{missing} of {counted(run.planned, 'planned case')} {has} no result")
    unplayed = (Verdict.UNSUPPORTED, Verdict.UNAVAILABLE)
    if run.results and all(result.verdict in unplayed for result in run.results):
        reasons.append("no case was played: all are unsupported or unavailable")
    reasons += run.unneeded
    return reasons + [one.title for one in groups(run.results) if not one.fails_them]


def advice(run: Run) -> list[str]:
    """What the text recommends or allows and programs do not do, one line for each rule."""
    cases: dict[str, list[Result]] = {}
    for result in run.results:
        if result.verdict is Verdict.WARNED and result.failure:
            cases.setdefault(result.failure.requirement, []).append(result)
    return [_advised(run.requirements.get(id), id, some) for id, some in cases.items()]


def _advised(rule: Requirement | None, id: str, results: list[Result]) -> str:
    """`LEAVE-5 (SHOULD) is not kept in 2 cases, first: …`."""
    level = f" ({rule.level})" if rule else ""
    return f"{id}{level} is not kept in {counted(len(results), 'case')}, first: {results[0].id}"


def unsteady(run: Run) -> list[str]:
    """The cases that were played several times and did not always end alike, one line for each."""
    some = [one for one in run.results if 0 < one.passed < one.played]
    lines = [f"{one.repeated}: {one.id}" for one in some[:SHOWN_UNSTEADY]]
    more = len(some) - len(lines)
    return [*lines, f"and {counted(more, 'more case')} that passed now and then"] if more else lines


def lacking(run: Run) -> list[str]:
    """What could not be run on this machine, and why, one line for each implementation."""
    return [
        f"? {one.get('role')} {one.get('name')}: {one['unavailable']}"
        for one in run.implementations
        if one.get("unavailable")
    ]


def _surprise(verdict: Verdict, count: int) -> str:
    known = "a known failure" if count == 1 else "known failures"
    why = {
        Verdict.PASSED: f", but listed as {known}",
        Verdict.UNAVAILABLE: ", but required",
        Verdict.UNSUPPORTED: ", but not expected",
    }
    return f"{count} {verdict}{why.get(verdict, '')}"
