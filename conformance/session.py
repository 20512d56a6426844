"""One run from end to end, as both faces of the harness need it: the command line and pytest.

What was asked for becomes cases and builds; outcomes become results; results become the files that
people and machines read.
"""

from __future__ import annotations

import functools
import time
from collections import defaultdict
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from conformance import __version__
from conformance.build import Build, Say, build_all, toolchains
from conformance.commands import has_namespaces
from conformance.judge import Tries, expectation, is_probe, judge, unneeded, unplayed
from conformance.mistakes import Mistake, meant
from conformance.model import MACHINE, Case, Implementation, Outcome, Result, Suite, Verdict
from conformance.plan import Selection, plan
from conformance.play import network, runner
from conformance.play.deadlines import DEADLINES, Deadlines
from conformance.play.hold import Hold
from conformance.play.patience import Patience
from conformance.play.pool import Hint, no_hint, play_all
from conformance.play.schedule import turn
from conformance.play.tcp import has_ipv6
from conformance.read import manifest, scenario
from conformance.report import results
from conformance.report.durations import Durations
from conformance.report.output import (
    FILES,
    Draft,
    explained,
    listing,
    locked,
    refuse_what_is_not_ours,
)
from conformance.report.reports import draw
from conformance.report.run import Run, describe
from conformance.report.transcripts import TRANSCRIPTS, Transcripts, transcript_name

OUTPUT = Path("build") / "conformance"

_NOT_DRAWN = (results.RESULTS_FILE, TRANSCRIPTS)  # files of a run that are no reports


@dataclass(frozen=True, slots=True)
class Request:
    """What a person asked for."""

    paths: Sequence[Path]
    selection: Selection
    folders: Sequence[Path] = ()  # of implementations beside the suite's own
    required: bool = False
    strict: bool = False  # a SHOULD counts as a MUST
    probing: bool = False  # a feature that a manifest does not list must be absent
    deadline: float = DEADLINES.step
    output: Path = OUTPUT
    repeat: int = 1  # how often each case is played
    hold: Hold | None = None  # stops at each failure: cases are played one at a time


def request(
    paths: Sequence[Path],
    options: Mapping[str, Any],
    ids: tuple[str, ...] = (),
    keyword: str = "",
) -> Request:
    """What the options ask for: those of conformance.options, by their names as attributes."""
    return Request(
        paths=list(dict.fromkeys(paths)),
        selection=Selection(options["server"], options["client"], ids, keyword),
        folders=[Path(folder) for folder in options["implementation"]],
        required=options.get("require", False),
        strict=options.get("strict", False),
        probing=options.get("probe_features", False),
        deadline=options.get("deadline") or DEADLINES.step,
        output=Path(options.get("output") or OUTPUT),
        repeat=options.get("repeat") or 1,
    )


class Session:
    """The cases of one request, and their results as they come."""

    def __init__(self, request: Request) -> None:
        """Read all files that are asked for; raises Mistake."""
        self.request = request
        self.suite, scenarios = scenario.load(request.paths)
        _check_rules(request.selection.rules, self.suite)
        self.scenarios = scenarios
        folders = [*request.folders, *self.suite.implementation_folders]
        found = manifest.find({folder.resolve(): folder for folder in folders}.values())
        manifest.check_against(found, self.suite, scenarios)
        self.cases = plan(scenarios, found, request.selection)
        self.builds: Mapping[str, Build] = {}
        self._draft: Draft | None = None
        self._transcripts = Transcripts(request.output / TRANSCRIPTS)
        self._started = datetime.now(UTC)
        self._clock = time.monotonic()

    @property
    def implementations(self) -> list[Implementation]:
        """Those that take part in some case."""
        found = {one.label: one for case in self.cases for one in case.implementations}
        return list(found.values())

    # Before the cases

    def build(self, say: Say) -> None:
        """Make the implementations ready, and a folder for this run; raises Mistake."""
        output = self.request.output
        transcripts = [f"{TRANSCRIPTS}/{transcript_name(case.id)}" for case in self.cases]
        refuse_what_is_not_ours(output, [*FILES, *transcripts])
        with locked(output):
            self._draft = Draft(output)
        self._transcripts = Transcripts(self._draft.path / TRANSCRIPTS)
        with explained(output):
            self._transcripts.folder.mkdir()
        self.builds = build_all(self.implementations, output, say)

    def for_workers(self) -> dict[str, Any]:
        """What a session of the same request in another process needs, as plain data."""
        builds = {
            label: {
                "argv": one.argv,
                "unavailable": one.unavailable,
                "error": one.error,
                "environment": dict(one.environment),
            }
            for label, one in self.builds.items()
        }
        return {"folder": str(self._transcripts.folder), "builds": builds}

    def take(self, data: Mapping[str, Any]) -> None:
        """Play for the session of another process, which gave what `for_workers` returns."""
        mine = {one.label: one for one in self.implementations}
        builds = data["builds"].items()
        self.builds = {label: Build(mine[label], **build) for label, build in builds}
        self._transcripts = Transcripts(Path(data["folder"]))

    # Each case

    def foregone(self, case: Case) -> Result | None:
        """The result of a case that cannot be played here; None: it can be played."""
        known = expectation(case, self.builds)
        if not known and (lacking := _needed(case) - machine()):
            reason = "; ".join(MACHINE[name] for name in sorted(lacking))
            return unplayed(case, Verdict.UNAVAILABLE, reason)  # no implementation is missing
        if known and known[0] is Verdict.UNSUPPORTED and self._is_probe(case):
            return None
        return unplayed(case, *known, required=self.request.required) if known else None

    def _is_probe(self, case: Case) -> bool:
        builds = [self.builds[one.label] for one in case.implementations]
        ready = not any(build.error or build.unavailable for build in builds)
        return self.request.probing and ready and is_probe(case, self.suite)

    def longest(self, case: Case) -> float:
        """How long the steps of a case can take at the most, in seconds."""
        turn = network.TURN_SECONDS + network.LINGER_SECONDS if network.turns(case) else 0.0
        return Deadlines(self.request.deadline).longest(case) + turn

    def play(self, case: Case, hurried: int | None = None) -> Outcome:
        """See what happens in a case, in this process.

        `hurried` is the number of a step that gets less time.
        """
        step = None if hurried is None else case.scenario.steps[hurried]
        deadlines = Deadlines(self.request.deadline, hurried=step)
        return runner.play(case, self.suite, self.builds, deadlines, self.request.hold)

    def play_all(
        self, cases: Sequence[Case], jobs: int, hint: Hint = no_hint
    ) -> Generator[tuple[Case, Outcome]]:
        """Play cases in other processes, each as often as was asked for."""
        often = self._often(cases)
        return play_all(often, self.play, jobs=jobs, limit=self.longest, hint=hint)

    def _often(self, cases: Sequence[Case]) -> list[Case]:
        return [case for case in cases for _ in range(self.request.repeat)]

    def judge(self, case: Case, outcomes: Iterable[Outcome]) -> Result:
        """Decide what they mean, and keep the transcript, of the worst of them."""
        tries = Tries()
        for outcome in outcomes:
            self._add(tries, case, outcome)
        return self._kept(case, tries)

    def _add(self, tries: Tries, case: Case, outcome: Outcome) -> None:
        rules, strict = self.suite.requirements, self.request.strict
        tries.add(judge(case, outcome, rules, strict=strict), outcome)

    def _kept(self, case: Case, tries: Tries) -> Result:
        assert tries.worst
        self._transcripts.keep(case.id, tries.worst[1])
        return tries.result

    def results(self, jobs: int, durations: Durations) -> Generator[Result, None, None]:
        """Every case's result: first of those that cannot be played, then as they are played.

        Where a later case shows that one had too little time, a second result takes the place of
        its first one.
        """
        playable = []
        for case in self.cases:
            if result := self.foregone(case):
                yield result
            else:
                playable.append(case)
        playable.sort(key=turn)
        tries: dict[str, Tries] = defaultdict(Tries)
        for case, outcome in self._played(playable, jobs):
            durations.add(case, outcome)
            self._add(tries[case.id], case, outcome)
            if tries[case.id].played == self.request.repeat:
                yield self._kept(case, tries.pop(case.id))

    def _played(self, cases: Sequence[Case], jobs: int) -> Iterator[tuple[Case, Outcome]]:
        """What happens in each case, each time that it is played."""
        if self.request.hold:
            yield from self._held(cases, self.request.hold)
        elif self.request.repeat > 1:  # what is slow now and then is not to get less time
            yield from self.play_all(cases, jobs)
        else:
            yield from self._played_with_patience(cases, jobs)

    def _held(self, cases: Sequence[Case], hold: Hold) -> Iterator[tuple[Case, Outcome]]:
        for case in self._often(cases):
            yield case, self.play(case)
            if hold.ended:
                return

    def _played_with_patience(
        self, cases: Sequence[Case], jobs: int
    ) -> Iterator[tuple[Case, Outcome]]:
        patience = Patience()
        for case, outcome in self.play_all(cases, jobs, patience.hint):
            patience.note(case, outcome)
            yield case, outcome
        yield from self.play_all(patience.contradicted(), jobs)

    # After the cases

    def run(self, found: Iterable[Result], planned: int) -> Run:
        """All that is known at the end, in the order of the plan."""
        by_id = {result.id: result for result in found}
        some = self.implementations
        results = [by_id[case.id] for case in self.cases if case.id in by_id]
        return Run(
            started=self._started.isoformat(timespec="seconds"),
            seconds=time.monotonic() - self._clock,
            planned=planned,
            suite=self.suite.name,
            version=__version__,
            toolchains=toolchains(some),
            implementations=[describe(one, self.builds[one.label].unavailable) for one in some],
            results=results,
            requirements=self.suite.requirements,
            folders=[str(folder) for folder in self.request.folders],
            unneeded=self._unneeded(results),
        )

    def _unneeded(self, results: Sequence[Result]) -> list[str]:
        """Known failures of which nothing fails, as far as this run can tell: it played all."""
        selection, paths = self.request.selection, self.request.paths
        chosen = selection != Selection()
        is_whole = not chosen and any(map(Path.is_dir, paths)) and len(results) == len(self.cases)
        untold = (Verdict.ERRORED, Verdict.UNAVAILABLE)
        if not is_whole or any(one.verdict in untold for one in results):
            return []
        return list(unneeded(self.cases, results, self.suite.requirements))

    def publish(self, run: Run) -> None:
        """Write results.json and every report into the output folder; raises Mistake."""
        assert self._draft
        output = self.request.output
        with explained(output):
            self._transcripts.check()
            results.write(run, self._draft.path)
            draw(run, self._draft.path, self._transcripts.folder)
        with locked(output):
            self._draft.swap_in()

    def close(self) -> None:
        """Remove this run's folder, if it was not published."""
        if self._draft:
            self._draft.discard()


def _needed(case: Case) -> frozenset[str]:
    """What the machine must have for a case, of the names in MACHINE."""
    by_address = any(":" in (one.host or "") for one in case.implementations)
    return case.scenario.machine | ({"ipv6"} if by_address else set())


def _check_rules(names: Iterable[str], suite: Suite) -> None:
    """Raise Mistake where a person named a rule, or a section, that the text does not have."""
    known = {name for rule in suite.requirements for name in (rule, rule.rpartition("-")[0])}
    strange = [name for name in names if name not in known]
    if strange:
        nothing = "no such file, and no such rule"
        raise Mistake([f"{name}: {nothing}; {meant(name, known)}" for name in strange])


@functools.cache
def machine() -> frozenset[str]:
    """What this machine has of the things that only some machines have."""
    has = {"ipv6": has_ipv6(), "namespaces": has_namespaces()}
    return frozenset(name for name in MACHINE if has[name])


def draw_again(path: Path) -> Run:
    """Draw every report again from a results.json, beside it; raises Mistake."""
    if not path.is_dir() and path.name != results.RESULTS_FILE:
        remedy = f"put it into a folder of its own, as {results.RESULTS_FILE}"
        raise Mistake([f"{path}: reports are drawn beside a {results.RESULTS_FILE}; {remedy}"])
    output = path if path.is_dir() else path.parent
    results.read(path)  # before anything is made in a folder that holds no results
    refuse_what_is_not_ours(output, [name for name in FILES if name not in _NOT_DRAWN])
    with locked(output):
        run = results.read(path)
        draft = Draft(output)
        try:
            with explained(output):
                draw(run, draft.path, output / TRANSCRIPTS)
            kept = [name for name in listing(output) if name.partition("/")[0] in _NOT_DRAWN]
            draft.swap_in(kept)
        finally:
            draft.discard()
    return run
