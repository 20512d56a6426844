"""The command `conformance`: what a person asks for, and what they are shown.

Exit status: 0 if a run is green; 1 if it is red; 2 if something that a person wrote is wrong (the
command line, a scenario, a manifest), or if what they asked for cannot be written or shown; 130 if
they interrupted it.
"""

from __future__ import annotations

import sys

if sys.platform != "linux":
    print(f"conformance: it needs Linux, and this is {sys.platform}", file=sys.stderr)
    sys.exit(2)

import argparse
import errno
import os
import tempfile
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from conformance import __version__, streams
from conformance.build import Build, lacking
from conformance.judge import expectation
from conformance.mistakes import Mistake
from conformance.model import Case, Role
from conformance.options import CHOOSING, PLAYING, Options, whole_number
from conformance.play.deadlines import DEADLINES
from conformance.play.schedule import JOBS_PER_PROCESSOR, default_jobs
from conformance.playing import (
    GREEN,
    INTERRUPTED,
    MISTAKEN,
    RED,
    SUITE,
    Arguments,
    absent,
    asked,
    execute,
    run,
    show_run,
)
from conformance.read import manifest, scenario, schema
from conformance.read.suite import SUITE_FILE, load_suite
from conformance.report import results
from conformance.report.diff import comparison, difference
from conformance.report.rules import requirements_table
from conformance.report.way import is_done, next_step
from conformance.session import OUTPUT, Session, draw_again
from conformance.streams import complain, show
from conformance.text import counted

__all__ = ["GREEN", "INTERRUPTED", "MISTAKEN", "RED", "main"]

SCHEMAS = "schema"
EXEC = "exec"
SHOWN_DURATIONS = 20


def main(words: Sequence[str] | None = None) -> int:
    """Do what the command line says; the exit status."""
    try:
        streams.prepare()
        try:
            return _obey(words)
        finally:  # also when argparse ends the program
            streams.finish()
    except streams.Unshown as unshown:
        if not unshown.silent:
            complain(f"standard output cannot be written to: {unshown}")
        return MISTAKEN
    except KeyboardInterrupt:
        return INTERRUPTED


def _obey(words: Sequence[str] | None) -> int:
    """Parse, act, and say in words what went wrong."""
    arguments = _parsed(sys.argv[1:] if words is None else words)
    command: Callable[[Arguments], int] = arguments.command
    try:
        _see_where_we_are()
        return command(arguments)
    except Mistake as mistake:
        complain("\n".join(mistake.problems))
    except streams.Unshown:
        raise
    except OSError as error:
        complain(_trouble(error))
    except Exception as error:
        complain(_fault(error))
    return MISTAKEN


def _parsed(words: Sequence[str]) -> Arguments:
    """The command line. What stands after `--` in it belongs to a program that it runs."""
    own, dashes, others = list(words), "--", []
    if own[:1] == [EXEC] and dashes in own:
        place = own.index(dashes)
        own, others = own[:place], own[place + 1 :]
    arguments = _parser().parse_args(own)
    arguments.options = others
    return arguments


def _see_where_we_are() -> None:
    try:
        os.getcwd()
    except FileNotFoundError:
        raise Mistake(["the folder that this was started in is gone: cd to another"]) from None


def _trouble(error: OSError) -> str:
    """An error of the operating system that no other place has explained."""
    reason = error.strerror or type(error).__name__
    if error.filename is not None:
        return f"{os.fsdecode(error.filename)}: {reason}"
    scarce = error.errno in (errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.ENOMEM)
    return f"this machine: {reason}" + ("; fewer cases at a time (-j) may help" if scarce else "")


def _fault(error: Exception) -> str:
    """One line about an error of the harness, which names a file with the trace."""
    words = (traceback.format_exception_only(error)[-1].strip().splitlines() or [""])[0]
    try:
        number, path = tempfile.mkstemp(prefix="conformance-", suffix=".txt")
        with os.fdopen(number, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write("".join(traceback.format_exception(error)))
        where = f"its trace is in {path}"
    except OSError as problem:
        where = f"its trace could not be written: {problem.strerror}"
    return f"conformance: a fault of the harness, please report it: {words}; {where}"


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
    _add_next(commands.add_parser("next", help="show the first rule that is not kept, what to try"))
    _add_exec(commands.add_parser(EXEC, help="run an implementation by hand"))
    _add_report(commands.add_parser("report", help="draw the reports of a run again"))
    _add_diff(commands.add_parser("diff", help="show what changed between two runs"))
    _add_schema(commands.add_parser("schema", help="write JSON Schemas of the files, for editors"))
    return parser


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(command=run)
    _add_selection(parser)
    _add_options(parser, PLAYING)
    parser.set_defaults(deadline=DEADLINES.step, output=OUTPUT)
    parser.add_argument(
        "-j",
        type=lambda text: whole_number(text, 1),
        dest="jobs",
        metavar="N",
        default=default_jobs(),
        help=f"cases played at the same time (default: {JOBS_PER_PROCESSOR} for each processor)",
    )
    parser.add_argument(
        "--durations",
        type=lambda text: whole_number(text, 0),
        nargs="?",
        const=SHOWN_DURATIONS,
        metavar="N",
        help=f"show the N slowest cases and kinds of steps (default: {SHOWN_DURATIONS}; 0: all)",
    )
    _add_repeating(parser)


def _add_repeating(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-x",
        action="store_const",
        const=1,
        dest="maxfail",
        help="stop at the first case that is not as expected",
    )
    parser.add_argument(
        "--maxfail",
        type=lambda text: whole_number(text, 1),
        metavar="N",
        help="stop after N cases that are not as expected",
    )
    parser.add_argument(
        "--last-failed",
        action="store_true",
        help="only what failed in the last run; all of it, if nothing did",
    )
    parser.add_argument(
        "--watch",
        action="store_true",
        help="play what failed again, each time when a file of the programs has changed",
    )
    parser.add_argument(
        "--hold",
        action="store_true",
        help="stop at each failure while the programs run, and say their pids; one case at a time",
    )


def _add_next(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(command=show_next)
    _add_results(parser, "results", nargs="?", default=OUTPUT)


def _add_exec(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(command=execute)
    parser.usage = "%(prog)s [-h] [--suite DIR] [--implementation DIR] NAME [-- OPTION ...]"
    parser.add_argument(
        "name", metavar="NAME", help="its name; server-NAME, if a client has it too"
    )
    parser.add_argument(
        "--suite",
        type=Path,
        default=Path(SUITE),
        metavar="DIR",
        help=f"the suite that names it (default: {SUITE})",
    )
    _add_options(parser, {"implementation": CHOOSING["implementation"]})
    _add_options(parser, {"output": PLAYING["output"]})
    parser.set_defaults(output=OUTPUT)


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
        help=f"a suite's folder, scenario files, ids of cases, or rules (default: {SUITE})",
    )
    parser.add_argument(
        "-k",
        dest="keyword",
        metavar="TEXT",
        default="",
        help="only cases with TEXT in their id, or that prove the rule TEXT",
    )
    _add_options(parser, CHOOSING)


def _add_options(parser: argparse.ArgumentParser, options: Options) -> None:
    for name, words in options.items():
        parser.add_argument(f"--{name}", **words)


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
    parser.set_defaults(command=show_again)
    _add_results(parser, "results", nargs="?", default=OUTPUT)


def _add_diff(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(command=diff)
    _add_results(parser, "old")
    _add_results(parser, "new", nargs="?")
    for role in Role:
        parser.add_argument(
            f"--{role}",
            type=_two_names,
            metavar="NAME,NAME",
            help=f"compare these two {role}s within the run OLD",
        )


def _add_schema(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(command=write_schemas)
    parser.add_argument(
        "folder",
        type=Path,
        nargs="?",
        default=Path(SCHEMAS),
        metavar="DIR",
        help=f"where they are written (default: {SCHEMAS})",
    )
    parser.add_argument(
        "--table", type=Path, metavar="PAGE", help="renew the table of verbs in this Markdown page"
    )


def _two_names(text: str) -> tuple[str, str]:
    found = [name.strip() for name in text.split(",")]
    if len(found) != 2 or not all(found) or found[0] == found[1]:
        raise argparse.ArgumentTypeError(f"expected two names, as in `c,go`, not `{text}`")
    return found[0], found[1]


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


# The commands


def show_list(arguments: Arguments) -> int:
    """Show what there is, and play nothing."""
    session = Session(asked(arguments))
    if arguments.requirements:
        show(requirements_table(session.suite, session.scenarios))
    else:
        builds = {
            one.label: Build(one, unavailable=lacking(one)) for one in session.implementations
        }
        show("\n".join(_listed(case, builds) for case in session.cases))
    return GREEN


def _listed(case: Case, builds: Mapping[str, Build]) -> str:
    """Its id, and why it cannot be played."""
    known = expectation(case, builds)
    return f"{case.id}  ({known[0].lower()}: {known[1]})" if known else case.id


def check(arguments: Arguments) -> int:
    """Read every file that is named; report all mistakes at once."""
    problems: list[str] = []
    for path in arguments.paths:
        try:
            show(f"{path}: {_read(path)}")
        except Mistake as mistake:
            problems += mistake.problems
    if not problems:
        _check_names(arguments.paths)
        return GREEN
    raise Mistake(problems)


def show_again(arguments: Arguments) -> int:
    """Draw every report of a run from its results."""
    path = arguments.results
    return show_run(draw_again(path), path if path.is_dir() else path.parent)


def show_next(arguments: Arguments) -> int:
    """Show the first rule that is not kept in a run."""
    outcome = results.read(arguments.results)
    show(next_step(outcome))
    return GREEN if is_done(outcome) else RED


def diff(arguments: Arguments) -> int:
    """Show how two runs differ, or two implementations in one run."""
    pairs = [(role, pair) for role in Role if (pair := getattr(arguments, role))]
    if len(pairs) + bool(arguments.new) != 1:
        raise Mistake(
            ["diff: name two runs (OLD NEW), or one run and two names (OLD --server c,go)"]
        )
    old = results.read(arguments.old)
    if arguments.new:
        show(difference(old, results.read(arguments.new)))
    for role, pair in pairs:
        show(comparison(old, role, *pair))
    return GREEN


def write_schemas(arguments: Arguments) -> int:
    """Write what editors, and the readers of a page, are told of the files."""
    for path in schema.write(arguments.folder):
        show(str(path))
    if arguments.table:
        schema.rewrite_table(arguments.table)
        show(str(arguments.table))
    return GREEN


def _read(path: Path) -> str:
    """Read what a path names; say what it holds. Raises Mistake."""
    if not path.exists():
        raise Mistake([absent(path)])
    if path.name == SUITE_FILE:
        return counted(len(load_suite(path.parent).requirements), "rule")
    if path.name == manifest.MANIFEST_FILE:
        one = manifest.load(path)
        return f"the {one.role} {one.name}"
    if path.is_dir() and not (path / SUITE_FILE).exists():
        return counted(len(manifest.find([path])), "implementation")
    return counted(len(scenario.load([path])[1]), "scenario")


def _check_names(paths: Sequence[Path]) -> None:
    """Check the manifests among the paths against the suite among them, or the default one."""
    suites = [path for path in paths if (path / SUITE_FILE).is_file()]
    suites = suites or [path for path in [Path(SUITE)] if (path / SUITE_FILE).is_file()]
    folders = [path if path.is_dir() else path.parent for path in paths if path not in suites]
    with_manifests = [folder for folder in folders if not (folder / SUITE_FILE).is_file()]
    if len(suites) == 1 and with_manifests:
        manifest.check_against(manifest.find(with_manifests), *scenario.load(suites))
