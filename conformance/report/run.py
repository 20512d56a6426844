"""The data of one run, and the reasons why it is red."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from conformance.model import Implementation, Requirement, Result, Role, Scenario, Verdict
from conformance.report.findings.groups import groups
from conformance.report.folder.attached import Attached, Mutants, Table
from conformance.text import counted


@dataclass(frozen=True, slots=True)
class Part:
    """Which part of a plan a run has played, if --shard divided the plan."""

    number: int  # counts from 1
    of: int
    plan: str  # a fingerprint of the whole plan
    planned: int  # cases of the whole plan
    places: Mapping[str, int]  # case id → its index in the whole plan
    chosen: bool  # the plan has only some cases, so known failures may apply to cases outside it


@dataclass(frozen=True, slots=True)
class Script:
    """A scenario as reports show it."""

    title: str
    file: str
    line: int  # its first line, from 1 on
    cast: dict[str, str]  # actor → `client on a screen`


@dataclass(frozen=True, slots=True)
class Run:
    """The data of one run."""

    started: str  # UTC, ISO 8601
    seconds: float
    planned: int  # cases; fewer results than this make the run red
    suite: str
    version: str  # of the harness
    toolchains: dict[str, str] = field(default_factory=dict)  # "go" → "go1.22.1"
    implementations: list[dict[str, Any]] = field(default_factory=list)
    results: list[Result] = field(default_factory=list)
    requirements: Mapping[str, Requirement] = field(default_factory=dict)  # in order of building
    folders: list[str] = field(default_factory=list)  # given by --implementation
    against: str = ""  # of --against: only the implementations in `folders` are judged, with this
    unneeded: list[str] = field(default_factory=list)  # known failures that did not occur
    unread: list[str] = field(default_factory=list)  # errors of manifests that could not be read
    part: Part | None = None  # None: the run is not a part
    scenarios: dict[str, Script] = field(default_factory=dict)  # by the scenario's key
    sources: dict[str, str] = field(default_factory=dict)  # path of a scenario file → its text
    mutants: Mutants | None = None
    tables: list[Table] = field(default_factory=list)

    @property
    def options(self) -> list[str]:
        """The command-line options that select the same implementations again."""
        return selecting(self.folders, self.against)


def selecting(folders: Iterable[str], against: str) -> list[str]:
    """The command-line options that select these implementations."""
    words = [word for folder in folders for word in ("--implementation", folder)]
    return words + (["--against", against] if against else [])


@dataclass(frozen=True, slots=True)
class Described:
    """An entry of Run.implementations. Only an older file or one made by hand lacks keys."""

    name: str
    role: Role
    language: str = ""
    folder: str = ""
    features: list[str] = field(default_factory=list)
    known_failures: dict[str, str] = field(default_factory=dict)
    may_fail: dict[str, str] = field(default_factory=dict)
    unavailable: str = ""
    given: bool = False


def describe(
    implementation: Implementation, unavailable: str = "", *, given: bool = False
) -> dict[str, Any]:
    """An entry for Run.implementations; `given`: it was added by --implementation."""
    entry = Described(
        name=implementation.name,
        role=implementation.role,
        language=implementation.language,
        folder=str(implementation.folder),
        features=sorted(implementation.features),
        known_failures=dict(implementation.known_failures),
        may_fail=dict(implementation.may_fail),
        unavailable=unavailable,
        given=given,
    )
    return asdict(entry)


def script(scenario: Scenario) -> Script:
    """An entry for Run.scenarios."""
    cast = {actor: str(member) for actor, member in scenario.cast.items()}
    return Script(scenario.title, scenario.file, scenario.place.line, cast)


def with_attached(run: Run, some: Iterable[Attached]) -> Run:
    """The run with more tables or mutants. A table replaces an earlier one of the same title."""
    tables = {one.title: one for one in run.tables}
    for one in some:
        if isinstance(one, Mutants):
            run = replace(run, mutants=one)
        else:
            tables[one.title] = one
    return replace(run, tables=list(tables.values()))


def red(run: Run) -> list[str]:
    """The reasons why a run is red, one line each. A run without reasons is green."""
    surprises = Counter(result.verdict for result in run.results if not result.expected)
    ordered = [verdict for verdict in Verdict if verdict in surprises]
    return incomplete(run) + [_surprise(verdict, surprises[verdict]) for verdict in ordered]


def incomplete(run: Run) -> list[str]:
    """The reasons why a run is red that no verdict of a case shows, one line each."""
    left_over = [one.title for one in groups(run.results) if not one.fails_them]
    return [*without_verdict(run), *run.unneeded, *left_over]


def without_verdict(run: Run) -> list[str]:
    """The reasons why cases of a run have no verdict, if that makes it red, one line each."""
    reasons = []
    if not run.planned:
        reasons.append("no case was planned")
    elif missing := run.planned - len({result.id for result in run.results}):
        has = "has" if missing == 1 else "have"
        reasons.append(f"{missing} of {counted(run.planned, 'planned case')} {has} no result")
    unplayed = (Verdict.UNSUPPORTED, Verdict.UNAVAILABLE)
    if run.results and all(result.verdict in unplayed for result in run.results):
        reasons.append("no case was played: all are unsupported or unavailable")
    return reasons + [f"not judged: {reason}" for reason in run.unread]


def advice(run: Run) -> list[str]:
    """The rules of the levels SHOULD and MAY that are not kept, one line each."""
    cases: dict[str, list[Result]] = {}
    for result in run.results:
        if result.verdict is Verdict.WARNED and result.failure:
            cases.setdefault(result.failure.requirement, []).append(result)
    return [_advised(run.requirements.get(id), id, some) for id, some in cases.items()]


def _advised(rule: Requirement | None, id: str, results: list[Result]) -> str:
    """`LEAVE-5 (SHOULD) is not kept in 2 cases, first: …`."""
    level = f" ({rule.level})" if rule else ""
    return f"{id}{level} is not kept in {counted(len(results), 'case')}, first: {results[0].id}"


def lacking(run: Run) -> list[str]:
    """The implementations that this machine could not run, with the reason, one line each."""
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
