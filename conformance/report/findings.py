"""Failures of a program as a whole, which are reported once, and not for each case.

A program that does not start, does not answer a fence, does not end as the suite's ending asks, or
leaves processes behind, fails so in many cases. All of these are one finding. This module knows
results alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from conformance.model import Failure, FailureKind, Result, Verdict

WORDS = {
    FailureKind.START: "does not get ready",
    FailureKind.FENCE: "does not pass on the line that proves that nothing else has come",
    FailureKind.ENDING: "does not end as it should",
    FailureKind.LEFT_OVER: "leaves processes behind",
}


@dataclass(slots=True)
class Finding:
    """One kind of failure of one program, in all cases that show it."""

    program: str  # `server-go`
    first: Failure  # as the first of the cases shows it
    cases: list[str] = field(default_factory=list)  # ids
    fails_them: bool = True  # False: each case passes, and the run is red

    @property
    def title(self) -> str:
        """`server go does not get ready (PROG-3), in 12 cases`."""
        who = self.program.replace("-", " ", 1)
        rule = f" ({self.first.requirement})" if self.first.requirement else ""
        count = f"{len(self.cases)} cases" if len(self.cases) > 1 else "1 case"
        return f"{who} {WORDS[self.first.kind]}{rule}, in {count}"


def findings(results: Iterable[Result]) -> list[Finding]:
    """The findings of a run, the one with the most cases first."""
    results = list(results)
    known = _known_rules(results)
    found: dict[tuple[str, str, str], Finding] = {}
    for result in results:
        for failure, fails in ((result.failure, True), (result.afterwards, False)):
            if not failure or failure.kind is FailureKind.STEP or (fails and result.expected):
                continue
            if not fails and (failure.program, failure.requirement) in known:
                continue
            key = (failure.program, failure.kind, failure.requirement)
            finding = found.setdefault(key, Finding(failure.program, failure, fails_them=fails))
            finding.cases.append(result.id)
    return sorted(found.values(), key=lambda finding: -len(finding.cases))


def _known_rules(results: Sequence[Result]) -> set[tuple[str, str]]:
    """Program and rule, if a case that proves the rule is listed as a known failure."""
    known = set()
    for result in results:
        if result.verdict is Verdict.FAILED and result.expected and result.failure:
            programs = [f"server-{result.server}", *(f"client-{name}" for name in result.clients)]
            known |= {(program, result.failure.requirement) for program in programs}
    return known


def others(results: Iterable[Result]) -> list[Result]:
    """The results that are not as expected and that belong to no finding."""
    results = list(results)
    told = {id for finding in findings(results) for id in finding.cases if finding.fails_them}
    return [one for one in results if not one.expected and one.id not in told]
