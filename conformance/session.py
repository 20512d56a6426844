"""One run from end to end, as both faces of the harness need it: the command line and pytest.

What was asked for becomes cases and builds; outcomes become results; results become the files that
people and machines read.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from conformance import __version__
from conformance.build import Build, Say, build_all, toolchains
from conformance.commands import has_namespaces
from conformance.judge import expectation, is_probe, judge, unplayed
from conformance.mistakes import Mistake
from conformance.model import MACHINE, Case, Implementation, Outcome, Result, Verdict
from conformance.plan import Selection, plan
from conformance.play import runner
from conformance.play.deadlines import DEADLINES, Deadlines
from conformance.play.pool import play_all
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
    )


class Session:
    """The cases of one request, and their results as they come."""

    def __init__(self, request: Request) -> None:
        """Read all files that are asked for; raises Mistake."""
        self.request = request
        self.suite, scenarios = scenario.load(request.paths)
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
            label: {"argv": one.argv, "unavailable": one.unavailable, "error": one.error}
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
        if not known and (lacking := case.scenario.machine - machine()):
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
        return Deadlines(self.request.deadline).longest(case)

    def play(self, case: Case) -> Outcome:
        """See what happens in a case."""
        return runner.play(case, self.suite, self.builds, Deadlines(self.request.deadline))

    def judge(self, case: Case, outcome: Outcome) -> Result:
        """Decide what it means, and keep the transcript."""
        self._transcripts.keep(case.id, outcome)
        return judge(case, outcome, self.suite.requirements, strict=self.request.strict)

    def results(self, jobs: int, durations: Durations) -> Iterator[Result]:
        """Every case's result: first of those that cannot be played, then as they are played."""
        playable = []
        for case in self.cases:
            if result := self.foregone(case):
                yield result
            else:
                playable.append(case)
        playable.sort(key=turn)
        for case, outcome in play_all(playable, self.play, jobs=jobs, limit=self.longest):
            durations.add(case, outcome)
            yield self.judge(case, outcome)

    # After the cases

    def run(self, found: Iterable[Result], planned: int) -> Run:
        """All that is known at the end, in the order of the plan."""
        by_id = {result.id: result for result in found}
        some = self.implementations
        return Run(
            started=self._started.isoformat(timespec="seconds"),
            seconds=time.monotonic() - self._clock,
            planned=planned,
            suite=self.suite.name,
            version=__version__,
            toolchains=toolchains(some),
            implementations=[describe(one, self.builds[one.label].unavailable) for one in some],
            results=[by_id[case.id] for case in self.cases if case.id in by_id],
            requirements=self.suite.requirements,
            folders=[str(folder) for folder in self.request.folders],
        )

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
