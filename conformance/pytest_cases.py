"""Glue: pytest plays what `conformance run` plays, each case as an item.

Cases are played ahead, in processes of the harness, and each item waits for the outcome of its own:
one case at a time, or with `-n auto` as many as the command plays. If tests of another kind are
named beside a suite, or a number of workers is given, the workers of pytest-xdist play instead.
The results come back with pytest's own reports.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from shutil import get_terminal_size
from typing import Any

import pytest

from conformance.machine import fitting_jobs
from conformance.mistakes import Mistake
from conformance.model import Case, Outcome, Result, Verdict
from conformance.options import CHOOSING, PLAYING
from conformance.play import network
from conformance.play.pool import play_all
from conformance.play.schedule import default_jobs, turn
from conformance.report import results
from conformance.report.failure import failure_text
from conformance.report.matrix import Look
from conformance.report.reports import PAGE
from conformance.report.run import Run, red
from conformance.report.terminal import ending_shown, programs_shown
from conformance.session import Session, request
from conformance.streams import is_plain
from conformance.text import counted, plain_signs

PROPERTY = "conformance"  # of a report: a case's result
FROM_CONTROLLER = "conformance"  # of a worker's input
CASES_AHEAD = 8  # for each job: within so many, cases are played in another order


class Cases:
    """The cases of the suite that takes part, by file."""

    def __init__(
        self, config: pytest.Config, paths: Sequence[Path], options: Mapping[str, Any]
    ) -> None:
        """Read all files that are named."""
        self.config = config
        with _usage_errors():
            self.session = Session(request(paths, options))
        self.play: Callable[[Case], Outcome] = self._play  # a controller replaces it
        # A file may be named twice, in different ways: pytest collects it once.
        unique = {(_file(case), _name(case)): case for case in self.session.cases}
        self.session.cases = list(unique.values())
        self._by_file: dict[Path, list[Case]] = defaultdict(list)
        for (file, _), case in unique.items():
            self._by_file[file].append(case)

    def _play(self, case: Case) -> Outcome:
        """Play it in this process, which never leaves a network that it has entered."""
        if network.is_apart(case):
            ((_, outcome),) = play_all([case], self.session.play, jobs=1)
            return outcome
        return self.session.play(case)

    def pytest_collect_file(self, file_path: Path, parent: pytest.Collector) -> ScenarioFile | None:
        """The scenario files."""
        if file_path not in self._by_file:
            return None
        return ScenarioFile.from_parent(parent, path=file_path, cases=self)

    def of(self, file: Path) -> list[Case]:
        """The cases of a file, in the order of the plan."""
        return self._by_file[file]

    def names(self) -> set[tuple[str, str]]:
        """Of each case, the names of its file and its item."""
        return {(file.name, _name(case)) for file, some in self._by_file.items() for case in some}

    def result(self, case: Case) -> Result:
        """The result of a case, which is played if it can be."""
        if known := self.session.foregone(case):
            return known
        times = range(self.session.request.repeat)
        return self.session.judge(case, (self.play(case) for _ in times))


class ScenarioFile(pytest.File):
    """One scenario file, for pytest."""

    def __init__(self, *, cases: Cases, **words: Any) -> None:
        super().__init__(**words)
        self._cases = cases

    def collect(self) -> Iterator[CaseItem]:
        """Its cases.

        The id is given as a text, as reports and pytest's cache hold it. Otherwise pytest would
        escape the bracket, and `--lf` would not find the item again.
        """
        for case in self._cases.of(self.path):
            words = {"name": _name(case), "nodeid": f"{self.nodeid}::{_name(case)}"}
            yield CaseItem.from_parent(self, cases=self._cases, case=case, **words)


class CaseItem(pytest.Item):
    """One case, for pytest."""

    def __init__(self, *, cases: Cases, case: Case, **words: Any) -> None:
        super().__init__(**words)
        self._cases = cases
        self.case = case
        self.extra_keyword_matches.update(case.scenario.claims)  # for `-k JOIN-4`

    def runtest(self) -> None:
        """Play the case; say in pytest's words what its verdict means."""
        result = self._cases.result(self.case)
        self.user_properties.append((PROPERTY, json.dumps(results.result_to_json(result))))
        if not result.expected:
            raise Unexpected(result)
        if result.verdict in (Verdict.FAILED, Verdict.WARNED):
            pytest.xfail(result.reason)
        if result.verdict is not Verdict.PASSED:
            pytest.skip(f"{result.verdict}: {result.reason}")

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """What `conformance run` shows of it."""
        if not isinstance(excinfo.value, Unexpected):
            return super().repr_failure(excinfo, style)
        session = self._cases.session
        folders = [str(folder) for folder in session.request.folders]
        return failure_text(excinfo.value.result, session.suite.requirements, folders)

    def reportinfo(self) -> tuple[Path, int, str]:
        """Where the scenario stands; pytest counts lines from 0."""
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
    """Plays cases in processes of the harness, a few ahead of the item that asks."""

    def __init__(self, session: Session, cases: Sequence[Case], jobs: int) -> None:
        """Begin at the first question."""
        self._session = session
        size = CASES_AHEAD * jobs if jobs > 1 else 1
        blocks = (cases[start : start + size] for start in range(0, len(cases), size))
        ordered = [case for block in blocks for case in sorted(block, key=turn)]
        self._coming = session.play_all(ordered, jobs)
        self._come: dict[str, list[tuple[Case, Outcome]]] = defaultdict(list)

    def play(self, case: Case) -> Outcome:
        """Wait for the outcome of a case."""
        if not self._come[case.id]:
            for other, outcome in self._coming:
                self._come[other.id].append((other, outcome))
                if other.id == case.id:
                    break
            else:  # it was asked for once more, by a plugin that repeats items
                return self._session.play(case)
        return self._come[case.id].pop()[1]

    def stop(self) -> list[tuple[Case, Outcome]]:
        """End at once; return the outcomes that no item has asked for."""
        self._coming.close()
        return [pair for pairs in self._come.values() for pair in pairs]


class Controller:
    """The one process that builds, gathers results and reports, with workers or without."""

    def __init__(self, cases: Cases, most: int | None) -> None:
        """At most so many cases are played at the same time; None: as many as fit."""
        self._cases = cases
        self._session = cases.session
        with _usage_errors():
            self._jobs, _ = fitting_jobs(cases.session.cases, default_jobs())
        self._jobs = min(self._jobs, most or self._jobs)
        self._ahead: Ahead | None = None  # None: workers play
        self._planned: set[str] = set()
        self._found: dict[str, Result] = {}
        self._run: Run | None = None
        self._problems: list[str] = []  # of the output folder

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self) -> None:
        """Build, before workers start."""
        terminal = self._cases.config.pluginmanager.get_plugin("terminalreporter")
        with _usage_errors():
            self._session.build(terminal.write_line if terminal else lambda _: None)

    def pytest_report_header(self, config: pytest.Config) -> str:
        """What is being done."""
        count = len(self._session.cases)
        cases = f"conformance: {counted(count, 'case')}"
        if getattr(config.option, "dist", "no") != "no":
            return f"{cases}, played by the workers of pytest-xdist"
        return f"{cases}, {min(count, self._jobs)} at a time"

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Send the builds, and the folder of the results, to a worker."""
        node.workerinput[FROM_CONTROLLER] = self._session.for_workers()

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Without workers: what is left to play after all selection."""
        items = [item for item in session.items if isinstance(item, CaseItem)]
        self._planned = {item.nodeid for item in items}
        playable = [item.case for item in items if not self._session.foregone(item.case)]
        self._ahead = Ahead(self._session, playable, self._jobs)
        self._cases.play = self._ahead.play

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: list[str]) -> None:
        """With workers: the same, by the names in ids; all workers collect the same."""
        names = self._cases.names()
        for id in ids:
            file, _, name = id.partition("::")
            if (Path(file).name, name) in names:
                self._planned.add(id)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtestloop(self) -> Generator[None, object, object]:
        """Stop playing, also after an error; the outcomes that came count."""
        try:
            return (yield)
        finally:
            for case, outcome in self._ahead.stop() if self._ahead else ():
                result = self._session.judge(case, [outcome])
                self._found.setdefault(result.id, result)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take the result out of the report of its item, so that no other plugin shows it."""
        texts = [str(value) for name, value in report.user_properties if name == PROPERTY]
        report.user_properties = [one for one in report.user_properties if one[0] != PROPERTY]
        for text in texts:
            result = results.result_from_json(json.loads(text))
            self._found[result.id] = result
            if report.when == "call":
                report.duration = result.seconds  # of the case, not of the wait for it

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Write what `conformance run` writes. A red run fails even if every item passed."""
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
        """Remove the run's folder, also after an error."""
        self._session.close()

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Show what `conformance run` shows."""
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
    """A mistake ends pytest as one of its command line does."""
    try:
        yield
    except Mistake as mistake:
        raise pytest.UsageError("\n".join(_problems(mistake))) from None


def _problems(mistake: Mistake) -> list[str]:
    """What is wrong; options have the names that they have here."""
    options = "|".join(CHOOSING | PLAYING)
    return [re.sub(rf"(?<!\S)--({options})\b", r"--conformance-\1", p) for p in mistake.problems]


def _file(case: Case) -> Path:
    """A case's file as pytest names it."""
    return Path(os.path.abspath(case.scenario.file))


def _name(case: Case) -> str:
    """A case's name as an item of its file."""
    return f"{case.scenario.id}[{case.pairing}]"
