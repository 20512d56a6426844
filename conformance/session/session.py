"""One run from end to end, for both front ends of the harness: the command line and pytest.

A request becomes cases and builds; outcomes become results; results become the files that people
and machines read.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Generator, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from conformance import __version__
from conformance.builds.build import Build, Say, build_all, toolchains
from conformance.judge import Tries, expectation, is_probe, judge, unplayed
from conformance.model import Case, Implementation, Outcome, Result, Verdict
from conformance.play.schedule.order import sort_key
from conformance.report.folder import attached
from conformance.report.run import Run, describe, script, with_attached
from conformance.report.terminal.durations import Durations
from conformance.session.chosen import choose
from conformance.session.machine import missing
from conformance.session.player import Player
from conformance.session.publication import Publication, sources, unneeded_in
from conformance.session.request import Request


class Session:
    """The cases of one request, and their results as they come."""

    def __init__(self, request: Request) -> None:
        """Read all files that the request names; raises Mistake."""
        self.request = request
        self._attached = attached.read_all(request.attach)
        self._chosen = choose(request)
        self.suite, self.scenarios = self._chosen.suite, self._chosen.scenarios
        self.cases = self._chosen.cases
        self.builds: Mapping[str, Build] = {}
        self._publication = Publication(request.output)
        self._started = datetime.now(UTC)
        self._clock = time.monotonic()

    @property
    def implementations(self) -> list[Implementation]:
        """The implementations that take part in at least one case."""
        found = {one.label: one for case in self.cases for one in case.implementations}
        return list(found.values())

    # Before the cases

    def build(self, say: Say) -> None:
        """Build the implementations, and make a draft for this run; raises Mistake."""
        self._publication.begin(self.cases)
        self.builds = build_all(self.implementations, self.request.output, say)

    def for_workers(self) -> dict[str, Any]:
        """The data, for `take`, that a session of the same request needs in another process."""
        builds = {
            label: {
                "argv": one.argv,
                "unavailable": one.unavailable,
                "error": one.error,
                "environment": dict(one.environment),
            }
            for label, one in self.builds.items()
        }
        return {"folder": str(self._publication.transcripts), "builds": builds}

    def take(self, data: Mapping[str, Any]) -> None:
        """Play for the session of another process, with the `data` of its `for_workers`."""
        mine = {one.label: one for one in self.implementations}
        builds = data["builds"].items()
        self.builds = {label: Build(mine[label], **build) for label, build in builds}
        self._publication.join(Path(data["folder"]))

    # Each case

    def result_if_unplayable(self, case: Case) -> Result | None:
        """The result of a case that cannot be played here; None: it can be played."""
        known = expectation(case, self.builds)
        if not known and (reasons := missing(case)):  # the machine lacks something
            return unplayed(case, Verdict.UNAVAILABLE, "; ".join(reasons))
        if known and known[0] is Verdict.UNSUPPORTED and self._is_probe(case):
            return None
        return unplayed(case, *known, required=self.request.required) if known else None

    def _is_probe(self, case: Case) -> bool:
        builds = [self.builds[one.label] for one in case.implementations]
        ready = not any(build.error or build.unavailable for build in builds)
        return self.request.probing and ready and is_probe(case, self.suite)

    @property
    def player(self) -> Player:
        """Plays the cases of this session, with its current builds."""
        return Player(self.request, self.suite, self.builds)

    def judge(self, case: Case, outcomes: Iterable[Outcome]) -> Result:
        """The result of the outcomes of one case; keeps the transcript of the worst one."""
        tries = Tries()
        for outcome in outcomes:
            self._add(tries, case, outcome)
        return self._kept(case, tries)

    def _add(self, tries: Tries, case: Case, outcome: Outcome) -> None:
        rules, strict = self.suite.requirements, self.request.strict
        tries.add(judge(case, outcome, rules, strict=strict), outcome)

    def _kept(self, case: Case, tries: Tries) -> Result:
        assert tries.worst
        self._publication.keep(case, tries.worst[1])
        return tries.result

    def results(self, jobs: int, durations: Durations) -> Generator[Result, None, None]:
        """Yield the result of each case: first of those that cannot be played, then as they come.

        A case has several results if it is played again, because of `minutes` or after a shortened
        deadline. The last one counts.
        """
        playable = []
        for case in self.cases:
            if result := self.result_if_unplayable(case):
                yield result
            else:
                playable.append(case)
        playable.sort(key=sort_key)
        tries: dict[str, Tries] = defaultdict(Tries)
        for case, outcome in self.player.played(playable, jobs):
            durations.add(case, outcome)
            self._add(tries[case.id], case, outcome)
            if self.request.minutes:
                yield self._kept(case, tries[case.id])
            elif tries[case.id].played == self.request.repeat:
                yield self._kept(case, tries.pop(case.id))

    # After the cases

    def run(self, found: Iterable[Result], planned: int) -> Run:
        """The whole run, with its results in the order of the plan."""
        by_id = {result.id: result for result in found}
        some = self.implementations
        results = [by_id[case.id] for case in self.cases if case.id in by_id]
        run = Run(
            started=self._started.isoformat(timespec="seconds"),
            seconds=time.monotonic() - self._clock,
            planned=planned,
            suite=self.suite.name,
            version=__version__,
            toolchains=toolchains(some),
            implementations=[self._described(one) for one in some],
            results=results,
            requirements=self.suite.requirements,
            folders=list(self.request.folders),
            scenarios={case.scenario.key: script(case.scenario) for case in self.cases},
            sources=sources(self.cases),
            against=self.request.against,
            part=self._chosen.part,
            unread=self._chosen.unread,
        )
        run = replace(run, unneeded=unneeded_in(run) if self._is_whole(run) else [])
        return with_attached(run, self._attached)

    def _described(self, one: Implementation) -> dict[str, Any]:
        unavailable = self.builds[one.label].unavailable
        return describe(one, unavailable, given=one.label in self._chosen.given)

    def _is_whole(self, run: Run) -> bool:
        """Whether all cases of the suite were played; pytest may have planned only some of them."""
        return not run.part and not self.request.is_choice and len(run.results) == len(self.cases)

    def publish(self, run: Run) -> None:
        """Write results.json and every report into the output folder; raises Mistake."""
        self._publication.finish(run)

    def close(self) -> None:
        """Remove the draft, if it was not published."""
        self._publication.close()
