"""The command `conformance`: what a person asks for, and what they are shown.

Exit status: 0 where a run is green, 1 where it is red, 2 where something that a person wrote is
wrong, be it the command line, a scenario or a manifest.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import zlib
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TextIO

from conformance import __version__, manifest, report, results, scenario
from conformance.durations import Durations
from conformance.model import Case, Mistake, Result
from conformance.plan import Selection
from conformance.pool import play_all
from conformance.runner import timed
from conformance.session import CHOOSING, OUTPUT, PLAYING, Request, Session, publish
from conformance.suite import SUITE_FILE, load_suite

GREEN, RED, MISTAKEN, INTERRUPTED = 0, 1, 2, 130

SUITE = "scenarios"
JOBS_PER_PROCESSOR = 8  # half of a run's time is waiting, for what rules say of time
LONG_SECONDS = 5.0  # a step that may wait so long is begun early
SHORT_STEPS = 12  # a case of so few is over at once, unless it waits
SHOWN_DURATIONS = 20
SHOWN_FAILURES = 10  # in full, after a run; the reports have them all

Arguments = argparse.Namespace


def main(words: Sequence[str] | None = None) -> int:
    """Do what the command line says; the exit status."""
    arguments = _parser().parse_args(words)
    command: Callable[[Arguments], int] = arguments.command
    try:
        status = command(arguments)
        sys.stdout.flush()
    except Mistake as mistake:
        print("\n".join(mistake.problems), file=sys.stderr)
        return MISTAKEN
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # whoever read the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return RED
    return status


# The command line


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="conformance",
        description="Hold servers and clients, in any language, to the text of a protocol.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_run(commands.add_parser("run", help="play cases, show the matrix, write the reports"))
    _add_list(commands.add_parser("list", help="show the cases, or the rules and what proves them"))
    _add_check(commands.add_parser("check", help="read scenarios and manifests, report mistakes"))
    _add_report(commands.add_parser("report", help="draw the reports of a run again"))
    _add_diff(commands.add_parser("diff", help="show what changed between two runs"))
    return parser


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(command=run)
    _add_selection(parser)
    for option, meaning in PLAYING.items():
        parser.add_argument(option, **meaning)
    parser.add_argument(
        "-j",
        type=_count,
        dest="jobs",
        metavar="N",
        default=JOBS_PER_PROCESSOR * len(os.sched_getaffinity(0)),
        help=f"cases played at the same time (default: {JOBS_PER_PROCESSOR} for each processor)",
    )

    parser.add_argument(
        "--durations",
        type=int,
        nargs="?",
        const=SHOWN_DURATIONS,
        metavar="N",
        help=f"show the N slowest cases and kinds of steps (default: {SHOWN_DURATIONS}; 0: all)",
    )


def _add_list(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(command=show_list)
    _add_selection(parser)
    parser.add_argument(
        "--requirements", action="store_true", help="each rule, with the scenarios that prove it"
    )


def _add_selection(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "paths",
        nargs="*",
        default=[SUITE],
        metavar="PATH",
        help=f"a suite's folder, scenario files, or ids of cases (default: {SUITE})",
    )
    parser.add_argument(
        "-k", dest="keyword", metavar="TEXT", default="", help="only cases with TEXT in their id"
    )
    for option, meaning in CHOOSING.items():
        parser.add_argument(option, **meaning)


def _add_check(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(command=check)
    parser.add_argument(
        "paths",
        nargs="*",
        type=Path,
        default=[Path(SUITE)],
        metavar="FILE",
        help=f"a scenario, a suite, a manifest, or a folder of these (default: {SUITE})",
    )


def _add_report(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(command=draw_again)
    _add_results(parser, "results", nargs="?", default=OUTPUT)


def _add_diff(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(command=diff)
    _add_results(parser, "old")
    _add_results(parser, "new")


def _add_results(
    parser: argparse.ArgumentParser,
    name: str,
    nargs: str | None = None,
    default: Path | None = None,
) -> None:
    parser.add_argument(
        name,
        type=Path,
        nargs=nargs,
        default=default,
        metavar=name.upper(),
        help=f"a {results.RESULTS_FILE}, or the folder that holds it",
    )


def _count(text: str) -> int:
    if (value := int(text)) < 1:
        raise ValueError(text)
    return value


_count.__name__ = "number"  # the word for it in argparse's message


# The commands


def run(arguments: Arguments) -> int:
    """Build, play, show and write."""
    request = replace(
        _request(arguments),
        required=arguments.require,
        probing=arguments.probe_features,
        deadline=arguments.deadline,
        output=arguments.output,
    )
    session = Session(request)
    progress = Progress(len(session.cases), sys.stderr)
    session.build(progress.note)
    found: list[Result] = []
    durations = Durations()
    with suppress(KeyboardInterrupt):  # what was played by then is reported, and the rest missed
        for result in _results(session, arguments.jobs, durations):
            found.append(result)
            progress.played(result)
    progress.close()
    outcome = session.run(found, planned=len(session.cases))
    publish(outcome, request.output)
    if arguments.durations is not None:
        print(durations.table(arguments.durations) + "\n")
    return _show(outcome, request.output)


def show_list(arguments: Arguments) -> int:
    """Show what there is, and play nothing."""
    session = Session(_request(arguments))
    if arguments.requirements:
        print(report.requirements_table(session.suite, session.scenarios))
    else:
        print("\n".join(case.id for case in session.cases))
    return GREEN


def check(arguments: Arguments) -> int:
    """Read every file that is named; all mistakes at once."""
    problems: list[str] = []
    for path in arguments.paths:
        try:
            print(f"{path}: {_read(path)}")
        except Mistake as mistake:
            problems += mistake.problems
    if not problems:
        _check_names(arguments.paths)
        return GREEN
    raise Mistake(problems)


def draw_again(arguments: Arguments) -> int:
    """Draw every report of a run from its results."""
    past = results.read(arguments.results)
    folder = arguments.results if arguments.results.is_dir() else arguments.results.parent
    publish(past, folder)
    return _show(past, folder)


def diff(arguments: Arguments) -> int:
    """Show what broke, what was mended, and what is new."""
    print(report.difference(results.read(arguments.old), results.read(arguments.new)))
    return GREEN


def _request(arguments: Arguments) -> Request:
    """Which cases the command line chooses."""
    paths = [Path(word.partition("::")[0]) for word in arguments.paths]
    if absent := [path for path in paths if not path.exists()]:
        raise Mistake([f"{path}: no such file or folder" for path in absent])
    ids = _ids(arguments.paths)
    return Request(
        paths=list(dict.fromkeys(paths)),
        selection=Selection(arguments.server, arguments.client, ids, arguments.keyword),
        folders=arguments.implementation,
    )


def _ids(words: Sequence[str]) -> tuple[str, ...]:
    """The cases that are named one by one; none where a whole folder is named beside them."""
    split = [word.partition("::") for word in words]
    ids = tuple(f"{Path(path)}{colons}{rest}" for path, colons, rest in split)
    return () if any(Path(word).is_dir() for word in words) else ids


def _results(session: Session, jobs: int, durations: Durations) -> Iterable[Result]:
    """Every case's result: first of those that cannot be played, then as they are played."""
    playable = []
    for case in session.cases:
        if result := session.foregone(case):
            yield result
        else:
            playable.append(case)
    playable.sort(key=_turn)
    for case, outcome in play_all(playable, session.play, jobs=jobs, limit=session.longest):
        durations.add(case, outcome)
        yield session.judge(case, outcome)


def _turn(case: Case) -> tuple[float, bool, int]:
    """When to play a case: the same order in every run.

    Those that may wait longest for a rule's time come first, so that none is left over at the end,
    where the short ones come: they fill what the last of the others leave idle. Within these, all
    are mingled, by checksum: cases that wait stand together in a file, and cost nothing
    beside those that compute.
    """
    steps = case.scenario.steps
    times = [step.options.get("within", 0.0) for step in steps]
    longest = max(time for time in times if isinstance(time, int | float))
    short = len(steps) <= SHORT_STEPS and not any(map(timed, steps))
    return (-longest if longest >= LONG_SECONDS else 0.0, short, zlib.crc32(case.id.encode()))


def _read(path: Path) -> str:
    """Read whatever a path names; what it holds. Raises Mistake."""
    if not path.exists():
        raise Mistake([f"{path}: no such file or folder"])
    if path.name == SUITE_FILE:
        return f"{len(load_suite(path.parent).requirements)} rules"
    if path.name == manifest.MANIFEST_FILE:
        one = manifest.load(path)
        return f"the {one.role} {one.name}"
    if path.is_dir() and not (path / SUITE_FILE).exists():
        return f"{len(manifest.find([path]))} implementations"
    return f"{len(scenario.load([path])[1])} scenarios"


def _check_names(paths: Sequence[Path]) -> None:
    """Hold the manifests among the paths to the suite among them, else to the usual one."""
    suites = [path for path in paths if (path / SUITE_FILE).is_file()]
    suites = suites or [path for path in [Path(SUITE)] if (path / SUITE_FILE).is_file()]
    folders = [path if path.is_dir() else path.parent for path in paths if path not in suites]
    with_manifests = [folder for folder in folders if not (folder / SUITE_FILE).is_file()]
    if len(suites) == 1 and with_manifests:
        manifest.check_against(manifest.find(with_manifests), *scenario.load(suites))


# What a person sees


def _show(outcome: results.Run, folder: Path) -> int:
    """Failures, the matrix, why it is red; the exit status."""
    surprises = [result for result in outcome.results if not result.expected]
    for result in surprises[:SHOWN_FAILURES]:
        print(report.failure_text(result, outcome.requirements, outcome.folders) + "\n")
    if hidden := surprises[SHOWN_FAILURES:]:
        print(f"... and {len(hidden)} more, in {folder / 'index.html'}\n")
    color = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    print(report.matrix(outcome, color, shutil.get_terminal_size().columns))
    reasons = results.red(outcome)
    for reason in reasons:
        print(f"red: {reason}")
    print(f"reports: {folder / 'index.html'}")
    return RED if reasons else GREEN


class Progress:
    """How far a run is: one live line on a terminal, elsewhere a line at each tenth."""

    def __init__(self, planned: int, stream: TextIO) -> None:
        self._planned = planned
        self._stream = stream
        self._live = stream.isatty()
        self._played = 0
        self._surprises = 0

    def note(self, text: str) -> None:
        """A line that stays."""
        self._print(f"\r\033[K{text}\n" if self._live else f"{text}\n")

    def played(self, result: Result) -> None:
        """One more result."""
        self._played += 1
        if not result.expected:
            self._surprises += 1
            self.note(f"{result.verdict} {result.id}")
        tenths = (10 * self._played // self._planned) - (10 * (self._played - 1) // self._planned)
        if self._live:
            width = shutil.get_terminal_size().columns - 1
            self._print("\r\033[K" + f"{self._counts()}  {result.id}"[:width])
        elif tenths:
            self._print(self._counts() + "\n")

    def close(self) -> None:
        """Nothing more will come."""
        if self._live:
            self._print("\r\033[K")

    def _counts(self) -> str:
        surprises = f", {self._surprises} not as expected" if self._surprises else ""
        return f"{self._played} of {self._planned} cases{surprises}"

    def _print(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()
