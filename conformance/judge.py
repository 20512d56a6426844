"""Outcomes → results. Only this module gives verdicts; it depends on no process and no report.

UNSUPPORTED and UNAVAILABLE are never inferred from a failure: they are known from manifests and
builds before anything is played.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TypeAlias

from conformance.builds.build import Build
from conformance.model import (
    Case,
    Delivery,
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
    """Why a case cannot be played, as far as this is known beforehand; None: play it.

    Features come first, because they do not depend on the machine.
    """
    for implementation in case.implementations:
        if reason := _unsupported(case, implementation):
            return Verdict.UNSUPPORTED, reason
    if reason := _cannot_meet(case) or _cannot_be_cut(case):
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


def _cannot_meet(case: Case) -> str:
    """Why a client cannot reach its server: their manifests fix different hosts or ports."""
    servers = [case.server, *case.successors] if case.server else []
    players = [*servers, *case.clients] if case.clients else []
    for what in ("port", "host"):
        own = {one.label: value for one in players if (value := getattr(one, what))}
        if len(set(own.values())) > 1:
            words = ", ".join(f"{label} always has {value}" for label, value in own.items())
            return f"they cannot use the same {what}: {words}"
    return ""


def _cannot_be_cut(case: Case) -> str:
    """Why bytes cannot be delivered in pieces: the client's port is fixed, so no proxy has it."""
    fixed = [one for one in case.clients if case.server and one.port]
    if case.delivery is Delivery.WHOLE or not fixed:
        return ""
    words = f"{fixed[0].label} always connects to port {fixed[0].port}"
    return f"no delivery by {case.delivery}: {words}, so no proxy can be in between"


def _lacking(case: Case, implementation: Implementation) -> frozenset[str]:
    """The features that the scenario needs and the manifest does not list."""
    needed = case.scenario.needs.get(implementation.role, frozenset())
    return needed - implementation.features


def is_probe(case: Case, suite: Suite) -> bool:
    """Whether an unsupported case is the suite's probe, which shows that a feature is absent."""
    lacking = [(one.role, name) for one in case.implementations for name in _lacking(case, one)]
    if len(lacking) != 1:
        return False
    ((role, feature),) = lacking
    return suite.probes.get(role, {}).get(feature) == case.scenario.key


def judge(
    case: Case, outcome: Outcome, rules: Rules = MappingProxyType({}), *, strict: bool = False
) -> Result:
    """The verdict on a case that was played.

    A known failure that passes is unexpected. A SHOULD or MAY that is not kept is WARNED; if
    `strict`, a SHOULD counts as a MUST. A probe must fail.
    """
    unsupported = next(filter(None, (_unsupported(case, one) for one in case.implementations)), "")
    if unsupported and outcome.error is None:
        return _judge_probe(case, outcome, unsupported)
    if outcome.error is not None:
        return _result(case, Verdict.ERRORED, False, outcome.error, outcome)
    if outcome.failure is not None:
        excuse = _excuse(case, outcome.failure)
        if not excuse and (level := _advice(outcome.failure, rules, strict)):
            reason = f"{outcome.failure.requirement} is a {level}"
            return _result(case, Verdict.WARNED, True, reason, outcome)
        result = _result(
            case, Verdict.FAILED, bool(excuse), excuse.words if excuse else "", outcome
        )
        return replace(result, known=excuse.key, may_fail=excuse.may) if excuse else result
    if certain := next((one for one in _excuses(case) if one.must_fail), None):
        reason = f"passed, but is listed as a {certain.words}"
        return _result(case, Verdict.PASSED, False, reason, outcome)
    excuse = _excuse(case, outcome.afterwards) if outcome.afterwards else None
    if excuse is None:
        return _result(case, Verdict.PASSED, True, "", outcome)
    reason = f"passed; what went wrong after its steps is a {excuse.words}"
    passed = _result(case, Verdict.PASSED, True, reason, replace(outcome, afterwards=None))
    return replace(passed, known=excuse.key)


def _advice(failure: Failure, rules: Rules, strict: bool) -> str:
    """`SHOULD` or `MAY`, the level of the rule that was not kept; "" if it counts as a MUST."""
    rule = rules.get(failure.requirement)
    if failure.kind is not FailureKind.STEP:
        return ""
    demanded = ("MUST", "SHOULD") if strict else ("MUST",)
    return "" if rule is None or rule.level in demanded else rule.level


def _judge_probe(case: Case, outcome: Outcome, unsupported: str) -> Result:
    """A feature that the manifest does not list must be absent, so its probe must fail."""
    if outcome.failure is None:
        reason = f"passed, but {unsupported}; list it, so that all its scenarios are played"
        return _result(case, Verdict.PASSED, False, reason, outcome)
    seen = replace(outcome, failure=None, afterwards=None)
    return _result(case, Verdict.UNSUPPORTED, True, f"{unsupported}, and it is absent", seen)


def unplayed(case: Case, verdict: Verdict, reason: str, *, required: bool = False) -> Result:
    """The result of a case that was not played, with what `expectation` gave.

    If `required`, an unavailable program makes the run red.
    """
    expected = verdict is Verdict.UNSUPPORTED or (verdict is Verdict.UNAVAILABLE and not required)
    return _result(case, verdict, expected, reason, Outcome(seconds=0.0))


# --- Failures that manifests list ---


@dataclass(frozen=True, slots=True)
class _Excuse:
    """One entry of `known_failures` or `may_fail` that applies to a case."""

    key: str
    words: str  # `known failure of server go: REASON`
    must_fail: bool  # it is a known failure, and names this scenario: neither a pattern nor a rule
    may: bool  # it is in `may_fail`


def _excuses(case: Case, failure: Failure | None = None) -> Iterator[_Excuse]:
    """The entries that name a case, or the rule of its failure; those that name a case first."""
    found = []
    for one in case.implementations:
        for entries, may in ((one.known_failures, False), (one.may_fail, True)):
            title = "possible failure of" if may else "known failure of"
            for key, why in entries.items():
                exact = key in case.scenario.names
                by_rule = failure is not None and key == failure.requirement
                if exact or by_rule or case.scenario.is_named_by(key):
                    words = f"{title} {one.role} {one.name}: {why}"
                    found.append(_Excuse(key, words, exact and not may, may))
    yield from sorted(found, key=lambda one: (one.key not in case.scenario.names, one.may))


def _excuse(case: Case, failure: Failure) -> _Excuse | None:
    """The first entry that excuses a failure."""
    return next(_excuses(case, failure), None)


def unneeded(
    listed: Mapping[tuple[str, str], Iterable[str]],
    results: Iterable[Result],
    rules: Container[str],
) -> Iterator[str]:
    """Messages about patterns and rules among the known failures for which no case failed.

    `listed` has the keys of the known failures by role and name. Only a run of all cases can tell.
    """
    needed = {(label, one.known) for one in results for label in _labels(one)}
    for (role, name), keys in listed.items():
        for key in keys:
            if ("*" in key or key in rules) and (f"{role}-{name}", key) not in needed:
                fails = f"no case fails for its known failure `{key}`"
                yield f"{role} {name}: {fails}; remove it from the manifest"


def _labels(result: Result) -> list[str]:
    """The implementations that took part."""
    servers = [f"server-{result.server}"] if result.server else []
    return servers + [f"client-{name}" for name in result.clients]


# --- Cases that are played several times ---


@dataclass(slots=True)
class Tries:
    """The results of one case so far; of the worst, the result and its outcome are kept."""

    played: int = 0
    passed: int = 0
    seconds: float = 0.0
    worst: tuple[Result, Outcome] | None = field(default=None)

    def add(self, result: Result, outcome: Outcome) -> None:
        """Count one more result."""
        self.played += 1
        self.passed += result.verdict is Verdict.PASSED and result.afterwards is None
        self.seconds += result.seconds
        if self.worst is None or _badness(result) > _badness(self.worst[0]):
            self.worst = result, outcome

    @property
    def result(self) -> Result:
        """The worst result, with the time and the counts of all."""
        assert self.worst
        result = self.worst[0]
        if self.played == 1:
            return result
        seconds = round(self.seconds, 4)
        return replace(result, seconds=seconds, played=self.played, passed=self.passed)


def _badness(result: Result) -> tuple[bool, ...]:
    """A sort key: unexpected results are worst, then failures, then warnings."""
    failed = result.verdict not in (Verdict.PASSED, Verdict.WARNED)
    warned = result.verdict is Verdict.WARNED
    return not result.expected, failed, warned, result.afterwards is not None


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
        # Rounded here, so that a report drawn from results.json later is the same.
        seconds=round(outcome.seconds, 4),
        reason=reason,
        failure=outcome.failure,
        afterwards=outcome.afterwards,
        delivery=case.delivery,
    )
