"""Finds a scenario by its name, and plays a case of it that this machine can play."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from conformance.builds.build import Build, lacking
from conformance.cli.common import Arguments, add_suite, built
from conformance.guide.last_run import Recorded, recorded
from conformance.judge import expectation, judge
from conformance.mistakes import Mistake, meant
from conformance.model import Case, Outcome, Result, Scenario, Verdict
from conformance.plan import LIST, Selection, plan
from conformance.play.case import runner
from conformance.play.case.transcript import Row
from conformance.play.schedule.deadlines import Deadlines
from conformance.read import scenario
from conformance.read.suite import SuiteFile
from conformance.report.findings.groups import groups
from conformance.report.terminal.failure import failure_text, group_text
from conformance.session.machine import missing
from conformance.session.options import CHOOSING, PLAYING
from conformance.session.request import OUTPUT, implementations_of

_PAIRING = re.compile(r"\[[^\[\]]*\]$")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose a suite and programs."""
    add_suite(parser, "the suite")
    for name, words in CHOOSING.items():
        parser.add_argument(f"--{name}", **words)
    parser.add_argument("--output", **PLAYING["output"])
    parser.set_defaults(output=OUTPUT)


@dataclass(frozen=True, slots=True)
class Played:
    """A case that was just played, with its transcript and its result."""

    case: Case
    rows: Sequence[Row]
    outcome: Outcome
    result: Result


class Stage:
    """A suite with its scenarios and the chosen programs."""

    def __init__(self, arguments: Arguments) -> None:
        """Read the suite, its scenarios and manifests. Raises Mistake."""
        self.suite: SuiteFile
        self.scenarios: Sequence[Scenario]
        self.suite, self.scenarios = scenario.load([arguments.suite])
        self._selection = Selection(arguments.server, arguments.client)
        self._found = implementations_of(self.suite, arguments.implementation)
        self._output = Path(arguments.output)

    def named(self, name: str) -> list[Scenario]:
        """The scenarios with this name: several if it has examples, none if the name is unknown.

        Names have the forms that reports use: `chat/alone`, `scenarios/chat.yaml::alone[go+c]`.
        """
        plain = _PAIRING.sub("", name)
        return [one for one in self.scenarios if plain in (*one.names, *_ids(one))]

    def unknown(self, name: str, others: Sequence[str] = ()) -> Mistake:
        """The error for an unknown name; `others` are further names that it could be."""
        known = [*others, *(word for one in self.scenarios for word in one.names)]
        either = " or rule" if others else ""
        return Mistake([f"{name}: no such scenario{either}; {meant(name, known, LIST)}"])

    def play(self, some: Sequence[Scenario], name: str = "", deadline: float = 10.0) -> Played:
        """Play the first case of these scenarios that can be played. Raises Mistake.

        If `name`, as the person typed it, has a pairing, only that case is considered.
        """
        cases = self._cases(some, name)
        barred = {case.key: self._barred(case) for case in cases}
        for case in cases:
            if not barred[case.key]:
                return self._play(case, deadline)
        raise Mistake([f"{cases[0].key}: cannot be played here: {barred[cases[0].key]}"])

    def problem(self, played: Played) -> str:
        """What went wrong in a case, or after its steps; empty if nothing did."""
        result, rules = played.result, self.suite.requirements
        if result.afterwards:
            found = groups([result])
            return "\n\n".join(group_text(one, rules) for one in found if not one.fails_them)
        is_right = result.verdict in (Verdict.PASSED, Verdict.WARNED)
        return "" if is_right else failure_text(result, rules)

    def recorded(self, some: Sequence[Scenario], name: str = "") -> Recorded | None:
        """The first case of these scenarios that passed in the last run, if any."""
        return recorded(self._cases(some, name), self.suite.name, self._output)

    def _cases(self, some: Sequence[Scenario], name: str) -> Sequence[Case]:
        """The cases of the chosen programs, or the one that the name has the pairing of."""
        cases = plan(some, self._found, self._selection)
        pairing = _PAIRING.search(name)
        if pairing is None:
            return cases
        asked = [case for case in cases if case.id.endswith(pairing[0])]
        if not asked:
            known = [one.id for one in cases]
            raise Mistake([f"{name}: no such case; {meant(name, known, LIST)}"])
        return asked

    def _barred(self, case: Case) -> str:
        """The reason why a case cannot be played here; empty if it can be."""
        known = {one.label: Build(one, unavailable=lacking(one)) for one in case.implementations}
        why = expectation(case, known)
        return why[1] if why else "; ".join(missing(case))

    def _play(self, case: Case, deadline: float) -> Played:
        builds = built(case.implementations, self._output)
        broken = [one.error or one.unavailable for one in builds.values()]
        if why := next(filter(None, broken), ""):
            raise Mistake(f"{case.key}: cannot be played here: {why}".split("\n"))
        rows: list[Row] = []
        outcome = runner.play(case, self.suite, builds, Deadlines(deadline), rows=rows)
        return Played(case, rows, outcome, judge(case, outcome, self.suite.requirements))


def _ids(one: Scenario) -> list[str]:
    """The names of a scenario in the form `scenarios/stop.yaml::interrupted`."""
    return [f"{one.file}::{name.partition('/')[2]}" for name in one.names]
