"""One run from end to end, as both faces of the harness need it: the command line and pytest.

What was asked for becomes cases and builds; outcomes become results; results become the files that
people and machines read. Only how cases are played at the same time differs between the two.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from conformance import __version__, manifest, report, results, runner, scenario
from conformance.build import Build, Say, build_all, toolchains
from conformance.model import Case, Implementation, Outcome, Result, Verdict
from conformance.plan import Selection, plan
from conformance.verdict import expectation, is_probe, judge, unplayed

OUTPUT = Path("build") / "conformance"


def names(text: str) -> frozenset[str]:
    """The names in `a,b`."""
    return frozenset(name.strip() for name in text.split(",") if name.strip())


def seconds(text: str) -> float:
    """A time to wait, more than none."""
    value = float(text)
    if not 0 < value < float("inf"):
        raise ValueError(text)
    return value


# The options of both faces, in the words of argparse, which pytest's parser understands as well.
Options = dict[str, dict[str, Any]]

CHOOSING: Options = {
    "--server": {"type": names, "metavar": "NAME,...", "help": "only these servers"},
    "--client": {"type": names, "metavar": "NAME,...", "help": "only these clients"},
    "--implementation": {
        "type": Path,
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
        "default": runner.DEADLINE,
        "help": f"how long to wait for whatever must come (default: {runner.DEADLINE:g})",
    },
    "--output": {
        "type": Path,
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
    deadline: float = runner.DEADLINE
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
        self._started = datetime.now(UTC)
        self._clock = time.monotonic()

    @property
    def implementations(self) -> list[Implementation]:
        """Those that take part in some case."""
        found = {one.label: one for case in self.cases for one in case.implementations}
        return list(found.values())

    def build(self, say: Say) -> None:
        """Make ready what takes part; the transcripts of an earlier run go."""
        self.builds = build_all(self.implementations, self.request.output, say)
        shutil.rmtree(_transcripts(self.request.output), ignore_errors=True)

    def builds_to_json(self) -> dict[str, dict[str, object]]:
        """The builds as plain data, for a session in another process."""
        return {label: build.to_json() for label, build in self.builds.items()}

    def take_builds(self, data: Mapping[str, Mapping[str, object]]) -> None:
        """Use the builds that another process made for the same request."""
        mine = {one.label: one for one in self.implementations}
        self.builds = {label: Build.from_json(mine[label], build) for label, build in data.items()}

    def foregone(self, case: Case) -> Result | None:
        """The result of a case that cannot be played here; None: play it."""
        known = expectation(case, self.builds)
        if known and known[0] is Verdict.UNSUPPORTED and self._is_probe(case):
            return None
        return unplayed(case, *known, required=self.request.required) if known else None

    def _is_probe(self, case: Case) -> bool:
        builds = [self.builds[one.label] for one in case.implementations]
        ready = not any(build.error or build.unavailable for build in builds)
        return self.request.probing and ready and is_probe(case, self.suite)

    def longest(self, case: Case) -> float:
        """How long the steps of a case can take at the most, in seconds."""
        return runner.longest(case, self.request.deadline)

    def play(self, case: Case) -> Outcome:
        """See what happens in a case."""
        return runner.play(case, self.suite, self.builds, deadline=self.request.deadline)

    def judge(self, case: Case, outcome: Outcome) -> Result:
        """Say what it means, and keep the transcript."""
        path = _transcripts(self.request.output) / results.transcript_name(case.id)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(outcome.transcript, encoding="utf-8", errors="backslashreplace")
        return judge(case, outcome)

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


def _transcripts(folder: Path) -> Path:
    return folder / "transcripts"


def publish(run: results.Run, folder: Path) -> None:
    """Write results.json, and every report that is drawn from it."""
    results.write(run, folder)
    (folder / "junit.xml").write_text(report.junit_xml(run), "utf-8")
    (folder / "summary.md").write_text(report.summary_markdown(run), "utf-8")
    (folder / "index.html").write_text(report.index_html(run, _transcripts(folder)), "utf-8")
    badges = folder / "badges"
    badges.mkdir(exist_ok=True)
    for name, badge in report.badges(run).items():
        (badges / f"{name}.json").write_text(json.dumps(badge) + "\n", "utf-8")
