"""Plays cases against a mutant until one fails. A process plays one mutant at a time."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property
from multiprocessing import current_process
from pathlib import Path

from conformance.builds.build import Build, build_all
from conformance.judge import judge
from conformance.mistakes import Mistake
from conformance.model import Case, Implementation, Outcome, Result, Verdict
from conformance.plan import Selection
from conformance.play.schedule.deadlines import timed
from conformance.session.request import OUTPUT as RUNS
from conformance.session.request import Request
from conformance.session.session import Session

from .mutant import NO_SOURCES, PROJECT, Found, Mutant
from .mutant import Verdict as Became
from .order import fingerprint, ordered

OUTPUT = Path("build") / "mutants"
CASES_AT_A_TIME = 4  # most of their time is waiting


@dataclass(frozen=True, slots=True)
class Kill:
    """A case that fails with a mutant, but not with the unchanged program."""

    case: Case
    result: Result
    timed_out: bool


class Stage:
    """All cases of one program, each with one partner if it needs one."""

    def __init__(self, program: str, folder: Path) -> None:
        """Read the scenarios; raises Mistake."""
        role, _, name = program.partition("-")
        partner = name if name in ("c", "go", "python") else "c"
        mine, other = frozenset({name}), frozenset({partner})
        servers, clients = (mine, other) if role == "server" else (other, mine)
        session = Session(
            Request([PROJECT / "scenarios"], Selection(servers, clients), [str(PROJECT / folder)])
        )
        self.session = session
        self.program = program
        self.cases = [case for case in session.cases if self._plays(case)]
        self.right = build_all(session.implementations, RUNS)  # shared with other runs
        if errors := [f"{one}: {build.error}" for one, build in self.right.items() if build.error]:
            raise Mistake(errors)
        session.builds = self.right
        self.cases = [case for case in self.cases if session.result_if_unplayable(case) is None]
        if not self.cases:  # without cases, every mutant would survive
            why = self.right[program].unavailable or "no case plays it"
            raise Mistake([f"{program}: {why}"])
        self._right_passes: dict[str, bool] = {}

    def _plays(self, case: Case) -> bool:
        return self.program in [one.label for one in case.implementations]

    @cached_property
    def fingerprints(self) -> Mapping[str, str]:
        """The fingerprints of all cases, by their keys."""
        return {case.key: fingerprint(case) for case in self.cases}

    @property
    def implementation(self) -> Implementation:
        """The unchanged program."""
        return self.right[self.program].implementation

    def play(self, mutant: Mutant, before: Found | None) -> Found:
        """Play a mutant; `before` is the last verdict, for other cases."""
        began = time.monotonic()
        build = self._build(mutant)
        if build.error:
            return Found(Became.DID_NOT_BUILD, reason=build.error.splitlines()[0])
        self.session.builds = {**self.right, self.program: build}
        known, names = (before.passed, before.killed_by) if before else ((), ())
        cases = [case for case in self.cases if self.fingerprints[case.key] not in known]
        kill = self._kill(ordered(cases, mutant.rule, names))
        seconds = time.monotonic() - began
        if kill is None:
            passed = tuple(sorted(self.fingerprints.values()))
            return Found(Became.SURVIVED, seconds=seconds, passed=passed)
        failure = kill.result.failure or kill.result.afterwards
        rule = failure.requirement if failure else ""
        reason = "by a time-out" if kill.timed_out else ""
        name = self.fingerprints[kill.case.key]
        return Found(Became.KILLED, (kill.case.key,), name, rule, reason, seconds)

    def _build(self, mutant: Mutant) -> Build:
        """The program with the edit, built in a folder that only this process uses."""
        own = OUTPUT / f"worker-{current_process().name.rpartition('-')[2]}"
        copy = (own / mutant.program).resolve()
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(PROJECT / mutant.folder, copy, ignore=shutil.ignore_patterns(*NO_SOURCES))
        (copy / mutant.file).write_text(mutant.edited, "utf-8")
        one = replace(self.implementation, folder=copy)
        return build_all([one], own)[one.label]

    def _kill(self, cases: Sequence[Case]) -> Kill | None:
        """The first case that fails because of the edit."""
        while cases:
            kill, cases = self._first_failure(cases)
            if kill and self._is_true(kill):
                return kill
        return None

    def _first_failure(self, cases: Sequence[Case]) -> tuple[Kill | None, Sequence[Case]]:
        """The first case that fails, and the cases that are not finished."""
        left = {case.key: case for case in cases}
        with closing(self.session.player.play_all(cases, CASES_AT_A_TIME)) as played:
            for case, outcome in played:
                del left[case.key]
                if result := self._failure(case, outcome):
                    return Kill(case, result, outcome.timed_out), [*left.values()]
        return None, []

    def _failure(self, case: Case, outcome: Outcome) -> Result | None:
        result = judge(case, outcome, self.session.suite.requirements, strict=True)
        is_caught = result.verdict is Verdict.FAILED and not result.expected
        return result if is_caught or result.afterwards else None

    def _is_true(self, kill: Kill) -> bool:
        """Whether the case passes with the unchanged program, and, if it is timed, fails again."""
        if self._fails_when_right(kill.case):
            return False
        may_be_slow = any(map(timed, kill.case.scenario.single_steps))
        return not may_be_slow or self._fails(kill.case, self.session.builds)

    def _fails_when_right(self, case: Case) -> bool:
        if case.key not in self._right_passes:
            self._right_passes[case.key] = not self._fails(case, self.right)
        return not self._right_passes[case.key]

    def _fails(self, case: Case, builds: Mapping[str, Build]) -> bool:
        mutated, self.session.builds = self.session.builds, builds
        try:
            ((_, outcome),) = self.session.player.play_all([case], 1)
        finally:
            self.session.builds = mutated
        return self._failure(case, outcome) is not None
