"""Makes pytest play what `conformance run` plays, each case as an item.

Worker processes of the harness play cases ahead, and each item waits for its outcome: one case at a
time, or with `-n auto` as many as the command plays. If other tests are named with the suite, or a
number of workers is given, the workers of pytest-xdist play the cases instead. Their results come
back in pytest's own reports.
"""

from __future__ import annotations

import json
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from shutil import get_terminal_size
from typing import Any

import pytest

from conformance.cli.streams import is_plain
from conformance.mistakes import Mistake
from conformance.model import Case, Outcome, Result, Verdict
from conformance.play.network import fixed_ports
from conformance.play.schedule.order import default_jobs, sort_key
from conformance.play.schedule.pool import contained, play_all
from conformance.report.folder import results
from conformance.report.reports import PAGE
from conformance.report.run import Run, red, selecting
from conformance.report.terminal.failure import failure_text
from conformance.report.terminal.matrix import Look
from conformance.report.terminal.summary import ending_shown, programs_shown
from conformance.session.chosen import file_of
from conformance.session.machine import fitting_jobs
from conformance.session.options import CHOOSING, PLAYING
from conformance.session.request import request
from conformance.session.session import Session
from conformance.text import counted, encodable, plain_signs

PROPERTY = "conformance"  # the property of a report that has the result of a case
FROM_CONTROLLER = "conformance"  # the key, in a worker's input, of the data from the controller
CASES_AHEAD = 8  # for each job; among so many cases, the order may change


class Cases:
    """The cases of the named suite, by file."""

    def __init__(
        self, config: pytest.Config, paths: Sequence[Path], options: Mapping[str, Any]
    ) -> None:
        """Read all named files."""
        self.config = config
        with _usage_errors():
            self.session = Session(request(paths, options))
        self.play: Callable[[Case], Outcome] = self._play  # the controller replaces it
        self._by_file: dict[Path, list[Case]] = defaultdict(list)
        for case in self.session.cases:
            self._by_file[file_of(case)].append(case)

    def _play(self, case: Case) -> Outcome:
        """Play a case in this process; in a child process if the case needs its own network."""
        if fixed_ports.gets_own_network(case):
            ((_, outcome),) = play_all([case], self.session.player.play, jobs=1)
            return outcome
        return contained(self.session.player.play, case)

    def pytest_collect_file(self, file_path: Path, parent: pytest.Collector) -> ScenarioFile | None:
        """Collect a scenario file."""
        if file_path not in self._by_file:
            return None
        return ScenarioFile.from_parent(parent, path=file_path, cases=self)

    def of(self, file: Path) -> list[Case]:
        """The cases of a file, in the order of the plan."""
        return self._by_file[file]

    def names(self) -> set[tuple[str, str]]:
        """For each case, the name of its file and the name of its item, as node ids have them."""
        found = ((encodable(file.name), some) for file, some in self._by_file.items())
        return {(file, _name(case)) for file, some in found for case in some}

    def result(self, case: Case) -> Result:
        """The result of a case; plays it if this is possible."""
        if known := self.session.result_if_unplayable(case):
            return known
        times = range(self.session.request.repeat)
        return self.session.judge(case, (self.play(case) for _ in times))


class ScenarioFile(pytest.File):
    """One scenario file, for pytest."""

    def __init__(self, *, cases: Cases, **words: Any) -> None:
        super().__init__(**words)
        self._cases = cases

    def collect(self) -> Iterator[CaseItem]:
        """The items of its cases.

        Each gets an explicit node id. Otherwise pytest would escape the bracket, and `--lf` would
        not find the item again in pytest's cache, which cannot hold lone surrogates.
        """
        file = encodable(self.nodeid)
        for case in self._cases.of(self.path):
            words = {"name": _name(case), "nodeid": f"{file}::{_name(case)}"}
            yield CaseItem.from_parent(self, cases=self._cases, case=case, **words)


class CaseItem(pytest.Item):
    """One case, for pytest."""

    def __init__(self, *, cases: Cases, case: Case, **words: Any) -> None:
        super().__init__(**words)
        self._cases = cases
        self.case = case
        self.extra_keyword_matches.update(case.scenario.claims)  # for `-k JOIN-4`

    def runtest(self) -> None:
        """Play the case, and turn its verdict into pass, fail, xfail or skip."""
        result = self._cases.result(self.case)
        self.user_properties.append((PROPERTY, json.dumps(results.result_to_json(result))))
        if not result.expected:
            raise Unexpected(result)
        if result.verdict in (Verdict.FAILED, Verdict.WARNED):
            pytest.xfail(result.reason)
        if result.verdict is not Verdict.PASSED:
            pytest.skip(f"{result.verdict}: {result.reason}")

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """The failure as `conformance run` shows it."""
        if not isinstance(excinfo.value, Unexpected):
            return super().repr_failure(excinfo, style)
        session = self._cases.session
        options = selecting(session.request.folders, session.request.against)
        return failure_text(excinfo.value.result, session.suite.requirements, options)

    def reportinfo(self) -> tuple[Path, int, str]:
        """The file and line of the scenario; pytest counts lines from 0."""
        return self.path, self.case.scenario.place.line - 1, self.name


class Unexpected(Exception):
    """A result that is not as expected."""

    def __init__(self, result: Result) -> None:
        super().__init__(f"{result.verdict} {result.id}")
        self.result = result


class Worker:
    """A worker of pytest-xdist: it plays cases itself, with the builds of the controller."""

    def __init__(self, cases: Cases) -> None:
        cases.session.take(cases.config.workerinput[FROM_CONTROLLER])  # type: ignore[attr-defined]


class Ahead:
    """Plays cases in worker processes of the harness, a few ahead of the current item."""

    def __init__(self, session: Session, cases: Sequence[Case], jobs: int) -> None:
        """Prepare; the first call of `play` starts the workers."""
        self._session = session
        size = CASES_AHEAD * jobs if jobs > 1 else 1
        blocks = (cases[start : start + size] for start in range(0, len(cases), size))
        ordered = [case for block in blocks for case in sorted(block, key=sort_key)]
        self._coming = session.player.play_all(ordered, jobs)
        self._come: dict[str, list[tuple[Case, Outcome]]] = defaultdict(list)

    def play(self, case: Case) -> Outcome:
        """Wait for the outcome of a case."""
        if not self._come[case.id]:
            for other, outcome in self._coming:
                self._come[other.id].append((other, outcome))
                if other.id == case.id:
                    break
            else:  # a plugin repeats this item
                return contained(self._session.player.play, case)
        return self._come[case.id].pop()[1]

    def stop(self) -> list[tuple[Case, Outcome]]:
        """End at once; return the outcomes that no item has taken."""
        self._coming.close()
        return [pair for pairs in self._come.values() for pair in pairs]


class Controller:
    """The main process, with or without xdist: builds, gathers results, writes reports."""

    def __init__(self, cases: Cases, most: int | None) -> None:
        """`most`: how many cases are played in parallel; None: as many as the machine allows."""
        self._cases = cases
        self._session = cases.session
        with _usage_errors():
            self._jobs, _ = fitting_jobs(cases.session.cases, default_jobs())
        self._jobs = min(self._jobs, most or self._jobs)
        self._ahead: Ahead | None = None  # None: workers of pytest-xdist play
        self._planned: set[str] = set()
        self._found: dict[str, Result] = {}
        self._by_key = {encodable(case.key): case for case in self._session.cases}
        self._run: Run | None = None
        self._problems: list[str] = []  # in writing the output folder

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self) -> None:
        """Build the implementations before workers start."""
        terminal = self._cases.config.pluginmanager.get_plugin("terminalreporter")
        with _usage_errors():
            self._session.build(terminal.write_line if terminal else lambda _: None)

    def pytest_report_header(self, config: pytest.Config) -> str:
        """A line that says how many cases there are, and how they are played."""
        count = len(self._session.cases)
        cases = f"conformance: {counted(count, 'case')}"
        if getattr(config.option, "dist", "no") != "no":
            return f"{cases}, played by the workers of pytest-xdist"
        return f"{cases}, {min(count, self._jobs)} at a time"

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Send the builds, and the folder for transcripts, to a worker."""
        node.workerinput[FROM_CONTROLLER] = self._session.for_workers()

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Without xdist: note which cases are left after pytest's selection."""
        items = [item for item in session.items if isinstance(item, CaseItem)]
        self._planned = {item.nodeid for item in items}
        playable = [
            item.case for item in items if not self._session.result_if_unplayable(item.case)
        ]
        self._ahead = Ahead(self._session, playable, self._jobs)
        self._cases.play = self._ahead.play

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: list[str]) -> None:
        """With xdist: note which cases are left, by node ids; all workers collect the same."""
        names = self._cases.names()
        for id in ids:
            file, _, name = id.partition("::")
            if (Path(file).name, name) in names:
                self._planned.add(id)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtestloop(self) -> Generator[None, object, object]:
        """Stop playing at the end, also after an error; outcomes that have come still count."""
        try:
            return (yield)
        finally:
            for case, outcome in self._ahead.stop() if self._ahead else ():
                result = self._session.judge(case, [outcome])
                self._found.setdefault(result.id, result)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Move the result out of pytest's report, so that no other plugin shows it."""
        texts = [str(value) for name, value in report.user_properties if name == PROPERTY]
        report.user_properties = [one for one in report.user_properties if one[0] != PROPERTY]
        for text in texts:
            result = self._as_named_here(results.result_from_json(json.loads(text)))
            self._found[result.id] = result
            if report.when == "call":
                report.duration = result.seconds  # of the case; the item has waited longer or less

    def _as_named_here(self, result: Result) -> Result:
        """The result with the names of this process.

        A remote worker may have another path in its id, and JSON has no lone surrogates.
        """
        case = self._by_key.get(result.key)
        return replace(result, id=case.id, scenario=case.scenario.key) if case else result

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Write the same files as `conformance run`. A red run fails even if all items passed."""
        if not self._planned:
            return
        self._run = self._session.run(self._found.values(), planned=len(self._planned))
        try:
            self._session.publish(self._run)
        except Mistake as mistake:
            self._problems = _problems(mistake)
            session.exitstatus = pytest.ExitCode.USAGE_ERROR
        if red(self._run) and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_unconfigure(self) -> None:
        """Remove the draft of the run, also after an error."""
        self._session.close()

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Show the same summary as `conformance run`."""
        if self._run is None:
            return
        plain = is_plain(sys.__stdout__ or sys.stdout)
        look = Look(terminalreporter.hasmarkup, get_terminal_size().columns, plain)
        folder = None if self._problems else self._session.request.output
        terminalreporter.section("conformance")
        for text in programs_shown(self._run, folder):
            terminalreporter.write_line((plain_signs(text) if plain else text) + "\n")
        for text in ending_shown(self._run, look):
            terminalreporter.write_line(text)
        for line in self._problems or [f"reports: {self._session.request.output / PAGE}"]:
            terminalreporter.write_line(line)


@contextmanager
def _usage_errors() -> Iterator[None]:
    """Turn a mistake into a usage error of pytest."""
    try:
        yield
    except Mistake as mistake:
        raise pytest.UsageError("\n".join(_problems(mistake))) from None


def _problems(mistake: Mistake) -> list[str]:
    """The problems of a mistake, in which options have their names in pytest."""
    options = "|".join(CHOOSING | PLAYING)
    return [re.sub(rf"(?<!\S)--({options})\b", r"--conformance-\1", p) for p in mistake.problems]


def _name(case: Case) -> str:
    """The name of a case's item."""
    return f"{case.scenario.id}[{case.pairing}]"
