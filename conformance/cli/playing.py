"""The commands `run` (once, or with --watch again and again) and `exec`."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from conformance.cli import streams, watch
from conformance.cli.common import (
    GREEN,
    INTERRUPTED,
    MISTAKEN,
    RED,
    SUITE,
    Arguments,
    absent,
    built,
)
from conformance.cli.streams import complain, show, tell
from conformance.kit import find, shown
from conformance.mistakes import Mistake, NothingChosen, meant
from conformance.model import Implementation, Result
from conformance.play.case.hold import Hold
from conformance.read.suite import SUITE_FILE, load_suite
from conformance.report.exports.github import annotated
from conformance.report.folder import results
from conformance.report.reports import PAGE
from conformance.report.run import Run, red
from conformance.report.terminal.durations import Durations
from conformance.report.terminal.matrix import Look
from conformance.report.terminal.progress import Progress
from conformance.report.terminal.summary import ending_shown, groups_shown
from conformance.session.machine import fitting_jobs
from conformance.session.request import OUTPUT, Request, implementations_of, named_folders, request
from conformance.session.session import Session
from conformance.text import counted, encodable, placeholders, plain, visible

_RULE = re.compile("[A-Z][A-Z0-9]*(-[0-9]+)?")  # a rule or a section, given instead of a path


# --- Arguments ---


def asked(arguments: Arguments) -> Request:
    """The request for the cases that the command line chooses. Raises Mistake."""
    rules = [word for word in arguments.paths if _RULE.fullmatch(word) and not Path(word).exists()]
    words = [_located(word) for word in arguments.paths if word not in rules] or [SUITE]
    paths = [find(Path(word.partition("::")[0])) for word in words]
    if missing := [path for path in paths if not path.exists()]:
        raise Mistake([absent(path) for path in missing])
    wanted = request(paths, vars(arguments), _ids(words), arguments.keyword)
    return replace(wanted, selection=replace(wanted.selection, rules=tuple(rules)))


def _located(word: str) -> str:
    """The argument as `FILE::ID`, if it is `FILE/ID`: the form in which `play` takes names."""
    file, slash, name = word.partition("/")
    path = Path(SUITE) / f"{file}.yaml"
    is_name = slash and name and not find(Path(word.partition("::")[0])).exists()
    return f"{path}::{name}" if is_name and find(path).is_file() else word


def _ids(words: Sequence[str]) -> tuple[str, ...]:
    """The ids of the named cases and files; empty if a folder is named, too: it includes them."""
    split = [word.partition("::") for word in words]
    ids = tuple(f"{shown(Path(path))}{colons}{rest}" for path, colons, rest in split)
    return () if any(find(Path(word)).is_dir() for word in words) else ids


def _of_last_failed(wanted: Request) -> Request:
    """The request narrowed to the cases that failed in the last run, if there are any."""
    try:
        last = results.read(wanted.output)
    except Mistake:
        complain(f"{wanted.output}: no results of an earlier run: playing all cases")
        return wanted
    failed = _failed(last)
    if not failed:
        complain("nothing failed in the last run: playing all cases")
        return wanted
    return replace(wanted, selection=replace(wanted.selection, only=failed))


def _failed(run: Run) -> frozenset[str]:
    """The `encodable` keys of the cases that made a run red."""
    bad = (one for one in run.results if not one.expected or one.afterwards)
    return frozenset(encodable(one.key) for one in bad)


# --- run ---


def run(arguments: Arguments) -> int:
    """Build the programs, play the cases, show and write the results; repeat it with --watch."""
    wanted = asked(arguments)
    if arguments.hold:
        wanted = replace(wanted, hold=Hold(complain))
    if arguments.minutes:
        wanted = replace(wanted, minutes=arguments.minutes)
    if arguments.watch:
        return _keep_playing(wanted, arguments)
    return _play(_of_last_failed(wanted) if arguments.last_failed else wanted, arguments)[0]


def _play(wanted: Request, arguments: Arguments) -> tuple[int, Run]:
    """Do one run; return the exit status and the run."""
    with closing(Session(wanted)) as session:
        jobs, note = fitting_jobs(session.cases, arguments.jobs)
        progress = Progress(len(session.cases), partial(tell, sys.stderr), sys.stderr.isatty())
        session.build(progress.note)
        if note:
            progress.note(note)
        played = _played(session, jobs, progress, arguments.maxfail)
        outcome = session.run(played.results, planned=len(session.cases))
        unwritten = _published(session, outcome)
    if arguments.durations is not None:
        show(played.durations.table(arguments.durations) + "\n")
    status = show_run(outcome, None if unwritten else session.request.output)
    if unwritten:
        raise unwritten
    return (INTERRUPTED if played.interrupted else status), outcome


@dataclass(slots=True)
class _Played:
    """The results of the cases that were played."""

    results: list[Result] = field(default_factory=list)
    durations: Durations = field(default_factory=Durations)
    interrupted: bool = False


def _played(session: Session, jobs: int, progress: Progress, most: int | None) -> _Played:
    """Play the cases until all are done, `most` are not as expected, or Ctrl+C is pressed.

    Cases without a result make the run red.
    """
    played = _Played()
    try:
        with closing(session.results(jobs, played.durations)) as coming:
            for result in coming:
                played.results.append(result)
                progress.played(result)
                if progress.surprises == most:
                    progress.note(f"stopped after {counted(most, 'case')} not as expected")
                    break
    except KeyboardInterrupt:
        played.interrupted = True
    progress.close()
    return played


def _published(session: Session, outcome: Run) -> Mistake | None:
    """Write the reports. An error is returned, so that the caller can show the results first."""
    try:
        session.publish(outcome)
    except Mistake as mistake:
        return mistake
    return None


def show_run(outcome: Run, folder: Path | None) -> int:
    """Show a run; return the exit status. `folder` holds the reports; None: none were written."""
    for text in groups_shown(outcome, folder):
        show(text + "\n")
    color = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    look = Look(color, shutil.get_terminal_size().columns, streams.is_plain(sys.stdout))
    for text in ending_shown(outcome, look):
        show(text)
    if folder:
        show(f"reports: {folder / PAGE}")
    if not red(outcome):
        return GREEN
    if "GITHUB_ACTIONS" in os.environ:
        show("\n".join(annotated(outcome)))
    if folder:
        where = "" if folder == OUTPUT else f" {shlex.quote(visible(str(folder)))}"
        show(f"what to do next: conformance next{where}")
    return RED


# --- run --watch ---


def _keep_playing(wanted: Request, arguments: Arguments) -> int:
    """Play the cases, and play again those that failed whenever a file changes, until Ctrl+C."""
    status, failed, written = GREEN, frozenset[str](), set[str]()
    Session(wanted)  # a mistake at the start ends the command; a later one waits for a change
    if arguments.last_failed:
        failed = _of_last_failed(wanted).selection.only or failed
    folders = _watched(wanted)
    while status != INTERRUPTED:
        with suppress(Mistake):  # suite.yaml is being edited; the run tells what is wrong in it
            folders = _watched(wanted)
        some = bool(failed)
        before = watch.look(folders, [wanted.output])
        status, failed = _play_some(wanted, failed, arguments)
        if status == GREEN and some:
            show("no failed case is left: playing all cases again")
            continue
        now = watch.look(folders, [wanted.output])
        changed = watch.changed(before, now)
        # Files that the last run changed, too, were probably written by the programs themselves.
        if not changed - written and status != INTERRUPTED:
            for name in sorted(changed):
                show(f"taken for a program's own file, as it changes in each run: {visible(name)}")
            _wait_for_change(now, partial(watch.look, folders, [wanted.output]))
        written = changed
    return status


def _wait_for_change(now: watch.Look, again: Callable[[], watch.Look]) -> None:
    """Wait until files have changed since the look `now`, and name them."""
    show("waiting for a change of a file; Ctrl+C quits")
    streams.finish()
    for name in sorted(watch.wait_for_change(now, again)):
        show(f"changed: {visible(name)}")


def _play_some(
    wanted: Request, failed: frozenset[str], arguments: Arguments
) -> tuple[int, frozenset[str]]:
    """Play the failed cases (all if there are none); return the exit status and what fails now.

    If no such case is left, nothing fails now.
    """
    selection = replace(wanted.selection, only=failed or None)
    try:
        status, outcome = _play(replace(wanted, selection=selection), arguments)
    except Mistake as mistake:  # in a file that is being edited
        if failed and isinstance(mistake, NothingChosen):  # they have other names now
            return GREEN, frozenset()
        complain("\n".join(mistake.problems))
        return MISTAKEN, frozenset()
    return status, _failed(outcome)


def _watched(wanted: Request) -> list[Path]:
    """The folders of the suite and of the implementations."""
    suites = [path if path.is_dir() else path.parent for path in wanted.paths]
    own = [folder for suite in suites for folder in load_suite(suite).implementation_folders]
    return [*dict.fromkeys([*suites, *own, *named_folders(wanted.folders)])]


# --- exec ---


def execute(arguments: Arguments) -> int:
    """Build an implementation as a run does, and replace this process with it.

    Variables of its environment with placeholders (`{port}`) are left out: the person sets them.
    """
    has_suite = arguments.suite.joinpath(SUITE_FILE).is_file()
    if not has_suite and not arguments.implementation:
        raise Mistake([absent(arguments.suite)])
    suite = load_suite(arguments.suite) if has_suite else None
    one = _named(arguments.name, implementations_of(suite, arguments.implementation))
    build = built([one], Path(arguments.output))[one.label]
    if problem := build.error or build.unavailable:
        raise Mistake(f"{one.role} {one.name}: {problem}".split("\n"))
    streams.finish()
    os.chdir(one.folder)
    known = {
        name: plain(text) for name, text in build.environment.items() if not placeholders(text)
    }
    os.execve(build.argv[0], [*build.argv, *arguments.options], os.environ | known)


def _named(name: str, found: Sequence[Implementation]) -> Implementation:
    """The implementation with this name or label (`server-NAME`). Raises Mistake."""
    some = [one for one in found if name in (one.name, one.label)]
    if len(some) == 1:
        return some[0]
    if some:
        both = " or ".join(one.label for one in some)
        raise Mistake([f"{name}: both a server and a client have this name; use {both}"])
    known = sorted({word for one in found for word in (one.name, one.label)})
    raise Mistake([f"{name}: no such implementation; {meant(name, known)}"])
