"""One run from end to end, as both faces of the harness need it: the command line and pytest.

What was asked for becomes cases and builds; outcomes become results; results become the files that
people and machines read. Only how cases are played at the same time differs between the two.
"""

from __future__ import annotations

import argparse
import functools
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from conformance import __version__
from conformance.build import Build, Say, build_all, toolchains
from conformance.judge import expectation, is_probe, judge, unplayed
from conformance.mistakes import Mistake
from conformance.model import MACHINE, Case, Implementation, Outcome, Result, Verdict
from conformance.plan import Selection, plan
from conformance.play import runner
from conformance.play.deadlines import DEADLINES, Deadlines
from conformance.play.tcp import has_ipv6
from conformance.read import manifest, scenario
from conformance.report import reports as report
from conformance.report import results
from conformance.report.output import (
    BADGES,
    FILES,
    PAGE,
    TRANSCRIPTS,
    Draft,
    explained,
    listing,
    locked,
    refuse_what_is_not_ours,
)
from conformance.text import visible

OUTPUT = Path("build") / "conformance"
MOST_SECONDS = 86_400  # that a person may ask to wait
MOST_DIGITS = 9


def names(text: str) -> frozenset[str]:
    """The names in `a,b`."""
    if found := frozenset(name.strip() for name in text.split(",") if name.strip()):
        return found
    raise _unexpected("names, with commas between them", text)


def seconds(text: str) -> float:
    """A time to wait, more than none."""
    try:
        value = float(text)
    except ValueError:
        value = 0
    if not 0 < value <= MOST_SECONDS:
        raise _unexpected(f"a number of seconds, more than 0 and at most {MOST_SECONDS}", text)
    return value


def folder(text: str) -> Path:
    """The path of a folder, which may not be there yet."""
    if not text:
        raise _unexpected("a folder", text)
    return Path(text)


def whole_number(text: str, least: int) -> int:
    """A number to count with."""
    if not (text.isascii() and text.isdigit()) or len(text) > MOST_DIGITS or int(text) < least:
        raise _unexpected(f"a whole number, {least} or more", text)
    return int(text)


def _unexpected(wanted: str, text: str) -> argparse.ArgumentTypeError:
    return argparse.ArgumentTypeError(f"expected {wanted}, not `{visible(text)}`")


# The options of both faces, in the words of argparse, which pytest's parser understands as well.
Options = dict[str, dict[str, Any]]

CHOOSING: Options = {
    "--server": {"type": names, "metavar": "NAME,...", "help": "only these servers"},
    "--client": {"type": names, "metavar": "NAME,...", "help": "only these clients"},
    "--implementation": {
        "type": folder,
        "metavar": "DIR",
        "action": "append",
        "default": [],
        "help": "let the implementations in DIR, or in its subfolders, take part as well",
    },
}

PLAYING: Options = {
    "--require": {
        "action": "store_true",
        "help": "an implementation that cannot run on this machine makes the run red",
    },
    "--probe-features": {
        "action": "store_true",
        "help": "play one scenario for each feature that a manifest does not list: it must fail",
    },
    "--deadline": {
        "type": seconds,
        "metavar": "SECONDS",
        "default": DEADLINES.step,
        "help": f"how long to wait for whatever must come (default: {DEADLINES.step:g})",
    },
    "--output": {
        "type": folder,
        "metavar": "DIR",
        "default": OUTPUT,
        "help": f"where builds, results and reports go (default: {OUTPUT})",
    },
}


@dataclass(frozen=True, slots=True)
class Request:
    """What a person asked for."""

    paths: Sequence[Path]
    selection: Selection
    folders: Sequence[Path] = ()  # of implementations beside the suite's own
    required: bool = False
    probing: bool = False  # a feature that a manifest does not list must be absent
    deadline: float = DEADLINES.step
    output: Path = OUTPUT


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
        self._folder = request.output  # where results go until the end: the draft's
        self._unwritten: OSError | None = None
        self._started = datetime.now(UTC)
        self._clock = time.monotonic()

    @property
    def implementations(self) -> list[Implementation]:
        """Those that take part in some case."""
        found = {one.label: one for case in self.cases for one in case.implementations}
        return list(found.values())

    def build(self, say: Say) -> None:
        """Make ready what takes part, and a folder for this run; raises Mistake."""
        output = self.request.output
        refuse_what_is_not_ours(output, self._files())
        with locked(output):
            self._draft = Draft(output)
        self._folder = self._draft.path
        with explained(output):
            (self._folder / TRANSCRIPTS).mkdir()
        self.builds = build_all(self.implementations, output, say)

    def _files(self) -> list[str]:
        """What this run is to put into the output folder."""
        badges = [f"{BADGES}/{one.label}.json" for one in self.implementations]
        transcripts = [f"{TRANSCRIPTS}/{results.transcript_name(one.id)}" for one in self.cases]
        return [*FILES, *badges, *transcripts]

    def for_workers(self) -> dict[str, Any]:
        """What a session of the same request in another process needs, as plain data."""
        builds = {label: build.to_json() for label, build in self.builds.items()}
        return {"folder": str(self._folder), "builds": builds}

    def take(self, data: Mapping[str, Any]) -> None:
        """Play for the session of another process, which gave what `for_workers` says."""
        mine = {one.label: one for one in self.implementations}
        self._folder = Path(data["folder"])
        builds = data["builds"].items()
        self.builds = {label: Build.from_json(mine[label], build) for label, build in builds}

    def close(self) -> None:
        """Remove this run's folder, if it was not published."""
        if self._draft:
            self._draft.discard()

    def foregone(self, case: Case) -> Result | None:
        """The result of a case that cannot be played here; None: play it."""
        known = expectation(case, self.builds)
        if not known and (lacking := case.scenario.machine - _machine()):
            known = Verdict.UNAVAILABLE, "; ".join(MACHINE[name] for name in sorted(lacking))
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
        """Say what it means, and keep the transcript.

        Where it cannot be kept, `publish` says so: a full disk does not end a run.
        """
        self._keep(results.transcript_name(case.id), outcome.transcript)
        if outcome.output:
            self._keep(results.output_name(case.id), outcome.output)
        return judge(case, outcome)

    def _keep(self, name: str, text: str) -> None:
        path = self._folder / TRANSCRIPTS / name
        try:
            path.write_text(text, encoding="utf-8", errors="backslashreplace")
        except OSError as error:
            self._unwritten = error

    def run(self, found: Iterable[Result], planned: int) -> results.Run:
        """All that is known at the end, in the order of the plan."""
        by_id = {result.id: result for result in found}
        return results.Run(
            started=self._started.isoformat(timespec="seconds"),
            seconds=time.monotonic() - self._clock,
            planned=planned,
            suite=self.suite.name,
            version=__version__,
            toolchains=toolchains(self.implementations),
            implementations=[
                report.describe(one, self.builds[one.label].unavailable)
                for one in self.implementations
            ],
            results=[by_id[case.id] for case in self.cases if case.id in by_id],
            requirements=self.suite.requirements,
            folders=[str(folder) for folder in self.request.folders],
        )

    def publish(self, run: results.Run) -> None:
        """Write results.json and every report into the output folder; raises Mistake."""
        assert self._draft
        output = self.request.output
        with explained(output):
            if self._unwritten:
                raise self._unwritten
            results.write(run, self._draft.path)
            _draw(run, self._draft.path, self._draft.path / TRANSCRIPTS)
        with locked(output):
            self._draft.swap_in()


@functools.cache
def _machine() -> frozenset[str]:
    """What this machine has of what not every one has."""
    return frozenset({"ipv6"} if has_ipv6() else ())


def output_of(folder: Path | None, case_id: str) -> Path | None:
    """The file of all that was said in a case, where there is one."""
    path = folder / TRANSCRIPTS / results.output_name(case_id) if folder else None
    return path if path and path.is_file() else None


def draw_again(path: Path) -> results.Run:
    """Draw every report anew from a results.json, beside it; raises Mistake."""
    if not path.is_dir() and path.name != results.RESULTS_FILE:
        remedy = f"put it into a folder of its own, as {results.RESULTS_FILE}"
        raise Mistake([f"{path}: reports are drawn beside a {results.RESULTS_FILE}; {remedy}"])
    output = path if path.is_dir() else path.parent
    results.read(path)  # so that nothing is made where there is none
    refuse_what_is_not_ours(output, [name for name in FILES if name not in _NOT_DRAWN])
    with locked(output):
        run = results.read(path)
        draft = Draft(output)
        try:
            with explained(output):
                _draw(run, draft.path, output / TRANSCRIPTS)
            kept = [name for name in listing(output) if name.partition("/")[0] in _NOT_DRAWN]
            draft.swap_in(kept)
        finally:
            draft.discard()
    return run


_NOT_DRAWN = (results.RESULTS_FILE, TRANSCRIPTS)


def _draw(run: results.Run, target: Path, transcripts: Path) -> None:
    """Write every report into a folder."""
    (target / "junit.xml").write_text(report.junit_xml(run), "utf-8")
    (target / "summary.md").write_text(report.summary_markdown(run), "utf-8")
    (target / PAGE).write_text(report.index_html(run, transcripts), "utf-8")
    (target / BADGES).mkdir()
    for name, badge in report.badges(run).items():
        (target / BADGES / f"{name}.json").write_text(json.dumps(badge) + "\n", "utf-8")
