"""Finds out for each implementation which rules it keeps.

A failed pairing counts against one program only if other pairings show that this one is at fault.
Otherwise both programs are suspected.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum

from conformance.model import Failure, Kind, Result, Role, Verdict
from conformance.report.findings.blame import Culprits, culprits, players
from conformance.report.run import Run


class Standing(StrEnum):
    """What a run shows about a rule and a program. The worst comes first."""

    BROKEN = "broken"  # a case fails at it
    SUSPECTED = "suspected"  # a case fails at it, but another program may be at fault
    KNOWN = "known"  # a case fails at it, which is a known failure of the program
    ADVICE = "advice"  # a SHOULD or a MAY that is not kept
    KEPT = "kept"  # cases that prove it pass, and none fails at it
    OPEN = "open"  # all cases that prove it fail at other rules


_WORST = {standing: place for place, standing in enumerate(Standing)}


def standings(run: Run) -> dict[str, dict[str, Standing]]:
    """Implementation (`server-go`, servers first) → rule → standing, for rules that were played.

    With --against, only the implementations that are judged are included.
    """
    blamed = culprits(run.results)
    known = {_label(one): one.get("known_failures", {}) for one in run.implementations}
    given = {_label(one) for one in run.implementations if one.get("given")}
    found: dict[str, dict[str, Standing]] = {label: {} for label in known}
    for result in run.results:
        for label in labels(result):
            mine = found.setdefault(label, {})
            for rule, standing in _shown(result, label, blamed, known.get(label, {})):
                mine[rule] = min(mine.get(rule, standing), standing, key=_WORST.__getitem__)
    judged = given if run.against else found.keys()
    ordered = sorted(found, key=lambda label: label.startswith(str(Role.CLIENT)))
    return {label: found[label] for label in ordered if label in judged}


def labels(result: Result) -> list[str]:
    """The labels of the implementations in a case."""
    server = [f"{Role.SERVER}-{result.server}"] if result.server else []
    return server + [f"{Role.CLIENT}-{name}" for name in dict.fromkeys(result.clients)]


def _label(implementation: Mapping[str, object]) -> str:
    return f"{implementation.get('role')}-{implementation.get('name')}"


def _shown(
    result: Result, label: str, blamed: Culprits, known: Mapping[str, str]
) -> Iterator[tuple[str, Standing]]:
    """The rules that one case shows something about, for one of its implementations."""
    if result.verdict in (Verdict.UNSUPPORTED, Verdict.UNAVAILABLE):
        return
    if result.verdict is Verdict.PASSED:
        yield from ((rule, Standing.KEPT) for rule in result.requirements)
    for failure in (result.failure, result.afterwards):
        if failure and failure.requirement:
            standing = _accused(result, failure, label, blamed, known)
            if standing is not Standing.OPEN:  # OPEN: another program is at fault
                yield failure.requirement, standing
    if result.verdict is not Verdict.PASSED:
        yield from ((rule, Standing.OPEN) for rule in result.requirements)


def _accused(
    result: Result, failure: Failure, label: str, blamed: Culprits, known: Mapping[str, str]
) -> Standing:
    """What a failure shows about one of the programs in its case."""
    if result.verdict is Verdict.WARNED:
        return Standing.ADVICE
    if result.expected and result.verdict is Verdict.FAILED:
        return Standing.KNOWN if result.known in known or not result.known else Standing.OPEN
    if result.kind in (Kind.SERVER, Kind.CLIENT):
        return Standing.BROKEN
    culprit = failure.program or blamed.get(players(result))
    if culprit is None:
        return Standing.SUSPECTED
    return Standing.BROKEN if culprit == label else Standing.OPEN
