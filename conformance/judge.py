"""What an outcome means. Only this module judges, and it knows no process and no report.

A verdict is never inferred from a failure: what is unsupported or unavailable is known before
anything is played, from the manifests and the builds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import TypeAlias

from conformance.build import Build
from conformance.model import (
    Case,
    Failure,
    FailureKind,
    Implementation,
    Outcome,
    Requirement,
    Result,
    Suite,
    Verdict,
)

Rules: TypeAlias = Mapping[str, Requirement]


def expectation(case: Case, builds: Mapping[str, Build]) -> tuple[Verdict, str] | None:
    """Why a case cannot be played, as far as that is known before; None: play it.

    Features come first, because they do not depend on what is installed on the machine.
    """
    for implementation in case.implementations:
        if reason := _unsupported(case, implementation):
            return Verdict.UNSUPPORTED, reason
    for implementation in case.implementations:
        build = builds[implementation.label]
        if build.error:
            return Verdict.ERRORED, build.error
        if build.unavailable:
            return Verdict.UNAVAILABLE, build.unavailable
    return None


def _unsupported(case: Case, implementation: Implementation) -> str:
    missing = ", ".join(sorted(_lacking(case, implementation)))
    who = f"{implementation.role} {implementation.name}"
    return f"{who} does not list the feature {missing}" if missing else ""


def _lacking(case: Case, implementation: Implementation) -> frozenset[str]:
    """The features that the scenario needs and the manifest does not list."""
    needed = case.scenario.needs.get(implementation.role, frozenset())
    return needed - implementation.features


def is_probe(case: Case, suite: Suite) -> bool:
    """Whether an unsupported case is the one that shows that a feature is really absent."""
    lacking = [(one.role, name) for one in case.implementations for name in _lacking(case, one)]
    if len(lacking) != 1:
        return False
    ((role, feature),) = lacking
    return suite.probes.get(role, {}).get(feature) == case.scenario.key


def judge(
    case: Case, outcome: Outcome, rules: Rules = MappingProxyType({}), *, strict: bool = False
) -> Result:
    """The verdict on a case that was played. A known failure that passes is not expected.

    A rule that only recommends or allows something is not broken; if `strict`, a SHOULD counts as
    a MUST.
    """
    unsupported = next(filter(None, (_unsupported(case, one) for one in case.implementations)), "")
    if unsupported and outcome.error is None:
        return _judge_probe(case, outcome, unsupported)
    known = _known_failure(case)
    if outcome.error is not None:
        return _result(case, Verdict.ERRORED, False, outcome.error, outcome)
    if outcome.failure is not None:
        reason = f"known failure of {known}" if known else ""
        if level := _advice(outcome.failure, rules, strict):
            reason = reason or f"{outcome.failure.requirement} is a {level}"
            return _result(case, Verdict.WARNED, True, reason, outcome)
        return _result(case, Verdict.FAILED, bool(known), reason, outcome)
    reason = f"passed, but is listed as a known failure of {known}" if known else ""
    return _result(case, Verdict.PASSED, not known, reason, outcome)


def _advice(failure: Failure, rules: Rules, strict: bool) -> str:
    """`SHOULD` or `MAY`, where the rule that is not kept does not demand it; else nothing."""
    rule = rules.get(failure.requirement)
    if failure.kind is not FailureKind.STEP:
        return ""
    demanded = ("MUST", "SHOULD") if strict else ("MUST",)
    return "" if rule is None or rule.level in demanded else rule.level


def _judge_probe(case: Case, outcome: Outcome, unsupported: str) -> Result:
    """A feature that is not listed must be absent: its probe must fail."""
    if outcome.failure is None:
        reason = f"passed, but {unsupported}; list it, so that all its scenarios are played"
        return _result(case, Verdict.PASSED, False, reason, outcome)
    seen = replace(outcome, failure=None, afterwards=None)
    return _result(case, Verdict.UNSUPPORTED, True, f"{unsupported}, and it is absent", seen)


def unplayed(case: Case, verdict: Verdict, reason: str, *, required: bool = False) -> Result:
    """The result of a case that was not played, for the reason that `expectation` gave."""
    expected = verdict is Verdict.UNSUPPORTED or (verdict is Verdict.UNAVAILABLE and not required)
    return _result(case, verdict, expected, reason, Outcome(seconds=0.0))


def _known_failure(case: Case) -> str:
    """`server go: why`, if an implementation that takes part lists this scenario."""
    for implementation in case.implementations:
        for listed in case.scenario.names:
            if listed in implementation.known_failures:
                why = implementation.known_failures[listed]
                return f"{implementation.role} {implementation.name}: {why}"
    return ""


def _result(case: Case, verdict: Verdict, expected: bool, reason: str, outcome: Outcome) -> Result:
    return Result(
        id=case.id,
        scenario=case.scenario.key,
        kind=case.scenario.kind,
        pairing=case.pairing,
        server=case.server.name if case.server else None,
        clients=tuple(client.name for client in case.clients),
        requirements=case.scenario.claims,
        verdict=verdict,
        expected=expected,
        # Rounded here, so that a report that is drawn again from the file is the same.
        seconds=round(outcome.seconds, 4),
        reason=reason,
        failure=outcome.failure,
        afterwards=outcome.afterwards,
    )
