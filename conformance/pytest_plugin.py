"""Glue: pytest plays what `conformance run` plays, and takes the same options.

A suite takes part when its folder, or a file in it, is named on pytest's command line (or is among
its `testpaths`). Each case is an item. The controller builds before workers start and hands the
builds over; the results come back with pytest's own reports.
"""

from __future__ import annotations

import json
import os
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from conformance import report, results
from conformance.model import Case, Mistake, Result, Verdict
from conformance.plan import Selection
from conformance.session import CHOOSING, PLAYING, Request, Session
from conformance.suite import SUITE_FILE

PROPERTY = "conformance"  # of a report: a case's result
FROM_CONTROLLER = "conformance"  # of a worker's input

WORKERS_PER_PROCESSOR = 3
WORKERS_VARIABLE = "PYTEST_XDIST_AUTO_NUM_WORKERS"  # by which a person says how many

_session = pytest.StashKey[Session]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options of `conformance run`."""
    group = parser.getgroup("conformance", "conformance of servers and clients")
    for option, meaning in (CHOOSING | PLAYING).items():
        group.addoption(option, **meaning)


@pytest.hookimpl(wrapper=True, optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> Generator[None, int, int]:
    """With `-n auto`, several workers for each processor: much of their time, cases wait."""
    count = yield
    chosen = config.option.numprocesses != "auto" or WORKERS_VARIABLE in os.environ
    return count if chosen or not _suite_paths(config) else count * WORKERS_PER_PROCESSOR


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Read the suite that is named, if one is; a mistake in it stops everything here."""
    paths = _suite_paths(config)
    if not paths:
        return
    try:
        session = Session(_request(config, paths))
    except Mistake as mistake:
        raise pytest.UsageError("\n".join(mistake.problems)) from None
    config.stash[_session] = session
    if config.option.collectonly:
        return
    if hasattr(config, "workerinput"):
        session.take(config.workerinput[FROM_CONTROLLER])
    else:
        config.pluginmanager.register(Controller(config, session), "conformance-controller")


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> ScenarioFile | None:
    """The scenario files of the suite that takes part."""
    session = parent.config.stash.get(_session, None)
    if session is None or not any(_file_of(case) == file_path for case in session.cases):
        return None
    return ScenarioFile.from_parent(parent, path=file_path)


class ScenarioFile(pytest.File):
    """One scenario file, for pytest."""

    def collect(self) -> Iterator[CaseItem]:
        """Its cases, in the order of the plan."""
        for case in self.config.stash[_session].cases:
            if _file_of(case) == self.path:
                name = f"{case.scenario.id}[{case.pairing}]"
                yield CaseItem.from_parent(self, name=name, case=case)


class CaseItem(pytest.Item):
    """One case, for pytest."""

    def __init__(self, *, case: Case, **words: Any) -> None:
        super().__init__(**words)
        self.case = case

    def runtest(self) -> None:
        """Play the case; say in pytest's words what its verdict means."""
        session = self.config.stash[_session]
        result = session.foregone(self.case)
        if result is None:
            result = session.judge(self.case, session.play(self.case))
        self.user_properties.append((PROPERTY, json.dumps(results.result_to_json(result))))
        if not result.expected:
            raise Unexpected(result)
        if result.verdict is Verdict.FAILED:
            pytest.xfail(result.reason)
        if result.verdict is not Verdict.PASSED:
            pytest.skip(f"{result.verdict}: {result.reason}")

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """What `conformance run` shows of it."""
        if not isinstance(excinfo.value, Unexpected):
            return super().repr_failure(excinfo, style)
        session = self.config.stash[_session]
        folders = [str(folder) for folder in session.request.folders]
        return report.failure_text(excinfo.value.result, session.suite.requirements, folders)

    def reportinfo(self) -> tuple[Path, int, str]:
        """Where the scenario stands; pytest counts lines from 0."""
        return self.path, self.case.scenario.place.line - 1, self.name


class Unexpected(Exception):
    """A result that is not as expected."""

    def __init__(self, result: Result) -> None:
        super().__init__(f"{result.verdict} {result.id}")
        self.result = result


class Controller:
    """The one process that builds, gathers results and reports, with workers or without."""

    def __init__(self, config: pytest.Config, session: Session) -> None:
        self._config = config
        self._session = session
        self._planned: set[str] = set()
        self._found: dict[str, Result] = {}
        self._run: results.Run | None = None
        self._problems: list[str] = []  # of the output folder

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self) -> None:
        """Build, before workers start."""
        try:
            self._session.build(self._config.get_terminal_writer().line)
        except Mistake as mistake:
            raise pytest.UsageError("\n".join(mistake.problems)) from None

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Hand the builds to a worker."""
        node.workerinput[FROM_CONTROLLER] = self._session.for_workers()

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Without workers: what is left to play after all selection."""
        self._plan([item.nodeid for item in session.items])

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: list[str]) -> None:
        """With workers: the same, since all of them collect the same."""
        self._plan(ids)

    def _plan(self, ids: list[str]) -> None:
        files = {_file_of(case) for case in self._session.cases}
        root = self._config.rootpath
        self._planned |= {id for id in ids if root / id.partition("::")[0] in files}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take a result out of the report that brought it."""
        for name, value in report.user_properties:
            if name == PROPERTY:
                result = results.result_from_json(json.loads(str(value)))
                self._found[result.id] = result

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Write what `conformance run` writes; red is red, even where pytest saw no failure."""
        if not self._planned:
            return
        self._run = self._session.run(self._found.values(), planned=len(self._planned))
        try:
            self._session.publish(self._run)
        except Mistake as mistake:
            self._problems = mistake.problems
            session.exitstatus = pytest.ExitCode.USAGE_ERROR
        if results.red(self._run) and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_unconfigure(self) -> None:
        """However this ends, the run's folder goes."""
        self._session.close()

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Show what `conformance run` shows."""
        if self._run is None:
            return
        terminal = terminalreporter
        terminal.section("conformance")
        color = bool(terminal._tw.hasmarkup)
        terminal.write_line(report.matrix(self._run, color, terminal._tw.fullwidth))
        for reason in results.red(self._run):
            terminal.write_line(f"red: {reason}")
        reports = f"reports: {self._session.request.output / 'index.html'}"
        for line in self._problems or [reports]:
            terminal.write_line(line)


def _suite_paths(config: pytest.Config) -> list[Path]:
    """The named paths that are a suite's folder, or files in one."""
    named = [Path(argument.partition("::")[0]) for argument in config.args]
    return [
        path
        for path in dict.fromkeys(named)
        if ((path if path.is_dir() else path.parent) / SUITE_FILE).is_file()
    ]


def _request(config: pytest.Config, paths: list[Path]) -> Request:
    """What the command line asks for; node ids and -k are pytest's own business."""
    option = config.option
    return Request(
        paths=paths,
        selection=Selection(option.server, option.client),
        folders=option.implementation,
        required=option.require,
        deadline=option.deadline,
        output=option.output,
    )


def _file_of(case: Case) -> Path:
    """A case's file as pytest names it."""
    return Path(os.path.abspath(case.scenario.file))
