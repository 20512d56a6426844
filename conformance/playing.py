"""The commands that play or run something: `run`, once or again and again, and `exec`."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from conformance import streams, watch
from conformance.build import build_all
from conformance.machine import fitting_jobs
from conformance.mistakes import Mistake, meant
from conformance.model import Implementation, Result
from conformance.play.hold import Hold
from conformance.read import manifest
from conformance.read.suite import SUITE_FILE, load_suite
from conformance.report import results
from conformance.report.durations import Durations
from conformance.report.matrix import Look
from conformance.report.progress import Progress
from conformance.report.reports import PAGE
from conformance.report.run import Run, red
from conformance.report.terminal import ending_shown, groups_shown
from conformance.session import OUTPUT, Request, Session, request
from conformance.streams import complain, show, tell
from conformance.text import counted, places, plain, visible

GREEN, RED, MISTAKEN, INTERRUPTED = 0, 1, 2, 130

SUITE = "scenarios"

Arguments = argparse.Namespace

_RULE = re.compile("[A-Z][A-Z0-9]*(-[0-9]+)?")  # or a section, in the place of a path


# --- What is asked for ---


def asked(arguments: Arguments) -> Request:
    """Which cases the command line chooses."""
    rules = [word for word in arguments.paths if _RULE.fullmatch(word) and not Path(word).exists()]
    words = [word for word in arguments.paths if word not in rules] or [SUITE]
    paths = [Path(word.partition("::")[0]) for word in words]
    if missing := [path for path in paths if not path.exists()]:
        raise Mistake([absent(path) for path in missing])
    wanted = request(paths, vars(arguments), _ids(words), arguments.keyword)
    return replace(wanted, selection=replace(wanted.selection, rules=tuple(rules)))


def absent(path: Path) -> str:
    """What is wrong with a path that names nothing."""
    if path == Path(SUITE):  # the default
        return f"{path}: no such folder here; name a suite: conformance run path/to/{SUITE}"
    return f"{path}: no such file or folder"


def _ids(words: Sequence[str]) -> tuple[str, ...]:
    """The cases that are named one by one; none if a whole folder is named beside them."""
    split = [word.partition("::") for word in words]
    ids = tuple(f"{Path(path)}{colons}{rest}" for path, colons, rest in split)
    return () if any(Path(word).is_dir() for word in words) else ids


def _of_last_failed(wanted: Request) -> Request:
    """The same, but only what failed in the last run; all of it, if nothing did."""
    try:
        last = results.read(wanted.output)
    except Mistake:
        complain(f"{wanted.output}: no results of an earlier run: all cases are played")
        return wanted
    failed = _failed(last)
    if not failed:
        complain("nothing failed in the last run: all cases are played")
        return wanted
    return replace(wanted, selection=replace(wanted.selection, only=failed))


def _failed(run: Run) -> frozenset[str]:
    """The cases of a run that made it red."""
    return frozenset(one.key for one in run.results if not one.expected or one.afterwards)


# --- run ---


def run(arguments: Arguments) -> int:
    """Build, play, show and write; with --watch, again and again."""
    wanted = asked(arguments)
    if arguments.hold:
        wanted = replace(wanted, hold=Hold(complain))
    if arguments.watch:
        return _keep_playing(wanted, arguments)
    return _play(_of_last_failed(wanted) if arguments.last_failed else wanted, arguments)[0]


def _play(wanted: Request, arguments: Arguments) -> tuple[int, Run]:
    """One run: the exit status, and what came of it."""
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
    """Play them until all are done, so many have failed, or Ctrl+C comes.

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
    """Write the reports. An error is returned, because the results are to be shown first."""
    try:
        session.publish(outcome)
    except Mistake as mistake:
        return mistake
    return None


def show_run(outcome: Run, folder: Path | None) -> int:
    """Show a run; return the exit status. `folder` is that of the reports, if written."""
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
    if folder:
        where = "" if folder == OUTPUT else f" {shlex.quote(visible(str(folder)))}"
        show(f"what to do next: conformance next{where}")
    return RED


# --- run --watch ---


def _keep_playing(wanted: Request, arguments: Arguments) -> int:
    """Play; then, each time when files have changed, what failed; until Ctrl+C."""
    status, failed, written = GREEN, frozenset[str](), set[str]()
    Session(wanted)  # a mistake in what is asked for ends this; later ones wait for a change
    if arguments.last_failed:
        failed = _of_last_failed(wanted).selection.only or failed
    while status != INTERRUPTED:
        folders, some = _watched(wanted), bool(failed)
        before = watch.look(folders, [wanted.output])
        status, failed = _play_some(wanted, failed, arguments)
        if status == GREEN and some:
            show("what failed passes now: all cases are played again")
            continue
        now = watch.look(folders, [wanted.output])
        changed = watch.changed(before, now)
        if not changed - written and status != INTERRUPTED:  # but what programs write themselves
            show("waiting for a change of a file; Ctrl+C ends this")
            streams.finish()
            again = partial(watch.look, folders, [wanted.output])
            for name in sorted(watch.wait_for_change(now, again)):
                show(f"changed: {visible(name)}")
        written = changed
    return status


def _play_some(
    wanted: Request, failed: frozenset[str], arguments: Arguments
) -> tuple[int, frozenset[str]]:
    """Play what failed, or all where nothing did; the exit status, and what fails now."""
    selection = replace(wanted.selection, only=failed or None)
    try:
        status, outcome = _play(replace(wanted, selection=selection), arguments)
    except Mistake as mistake:  # in a file that is being edited
        complain("\n".join(mistake.problems))
        return MISTAKEN, frozenset()
    return status, _failed(outcome)


def _watched(wanted: Request) -> list[Path]:
    """The folders of the suite and of the implementations."""
    suites = [path if path.is_dir() else path.parent for path in wanted.paths]
    own = [folder for suite in suites for folder in load_suite(suite).implementation_folders]
    return [*dict.fromkeys([*suites, *own, *wanted.folders])]


# --- exec ---


def execute(arguments: Arguments) -> int:
    """Become an implementation, built as a run builds it, with the options that are given.

    Of its environment, what a case would fill in (`{port}`) is for the person to say.
    """
    if not arguments.suite.joinpath(SUITE_FILE).is_file() and not arguments.implementation:
        raise Mistake([absent(arguments.suite)])
    one = _named(arguments.name, _implementations(arguments))
    build = build_all([one], Path(arguments.output), complain)[one.label]
    if problem := build.error or build.unavailable:
        raise Mistake([f"{one.role} {one.name}: {problem}"])
    streams.finish()
    os.chdir(one.folder)
    known = {name: plain(text) for name, text in build.environment.items() if not places(text)}
    os.execve(build.argv[0], [*build.argv, *arguments.options], os.environ | known)


def _implementations(arguments: Arguments) -> list[Implementation]:
    folders = [Path(folder) for folder in arguments.implementation]
    if arguments.suite.joinpath(SUITE_FILE).is_file():
        folders += load_suite(arguments.suite).implementation_folders
    return manifest.find({folder.resolve(): folder for folder in folders}.values())


def _named(name: str, found: Sequence[Implementation]) -> Implementation:
    """The implementation of a name; where a server and a client have it, of `server-NAME`."""
    some = [one for one in found if name in (one.name, one.label)]
    if len(some) == 1:
        return some[0]
    if some:
        both = " or ".join(one.label for one in some)
        raise Mistake([f"{name}: that is a server and a client; say {both}"])
    known = sorted({word for one in found for word in (one.name, one.label)})
    raise Mistake([f"{name}: no such implementation; {meant(name, known)}"])
