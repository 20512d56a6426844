"""The command line: each command with its options."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, NoReturn

from conformance import __version__
from conformance.cli.common import SUITE, add_attach, add_suite, suite_folder
from conformance.cli.playing import execute, run
from conformance.cli.showing import (
    check,
    diff,
    show_again,
    show_list,
    show_merged,
    show_next,
    write_schemas,
)
from conformance.guide import compare, doctor, explain, live, new
from conformance.mistakes import meant
from conformance.model import Role
from conformance.play.schedule.deadlines import DEADLINES
from conformance.play.schedule.order import JOBS_PER_PROCESSOR, default_jobs
from conformance.report.folder import results
from conformance.session.options import CHOOSING, PLAYING, Options, whole_number
from conformance.session.request import OUTPUT
from conformance.text import visible

SCHEMAS = "schema"
EXEC = "exec"
SHOWN_DURATIONS = 20

STATUSES = """\
exit status: 0 if the run is green; 1 if it is red; 2 if the command line, a scenario or a manifest
is wrong, or if output cannot be written; 130 if Ctrl+C interrupted it"""


class Words(argparse.ArgumentParser):
    """The parser of one command. Its positional arguments may stand before and after options."""

    _is_nested = False  # parse_known_intermixed_args calls parse_known_args for each of two passes

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """Parse as parse_known_intermixed_args does, because subparsers are only called by this."""
        if self._is_nested:
            return super().parse_known_args(args, namespace)
        self._is_nested = True
        try:
            found, others = self.parse_known_intermixed_args(args, namespace)
        finally:
            self._is_nested = False
        if others:
            self._refuse(others[0])
        return found, []

    def _refuse(self, word: str) -> None:
        if word.startswith("-"):
            self.error(f"{word}: no such option; {meant(word, self._option_string_actions)}")
        self.error(f"{word}: unexpected argument; see {self.prog} --help")

    def error(self, message: str) -> NoReturn:
        """Show the usage and the error. The message quotes arguments, so it is made printable."""
        super().error(visible(message))


def parser() -> argparse.ArgumentParser:
    """The parser of the whole command line; `make man` makes the manual page from it."""
    whole = argparse.ArgumentParser(
        prog="conformance",
        description="Test servers and clients, in any language, against the text of a protocol.",
        epilog=STATUSES,
    )
    whole.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = whole.add_subparsers(metavar="COMMAND", required=True, parser_class=Words)
    _add_run(commands.add_parser("run", help="play cases, show the matrix, write the reports"))
    _add_list(commands.add_parser("list", help="list the cases, or the rules and their scenarios"))
    _add_check(commands.add_parser("check", help="read scenarios and manifests, report mistakes"))
    _add_next(commands.add_parser("next", help="show which rule to work on next, and how"))
    _add_exec(commands.add_parser(EXEC, help="run an implementation by hand"))
    _add_report(commands.add_parser("report", help="write the reports of an earlier run again"))
    _add_merge(commands.add_parser("merge", help="join the parts of a run, played with --shard"))
    _add_diff(commands.add_parser("diff", help="show what changed between two runs"))
    compare.add_command(commands)
    new.add_command(commands)
    doctor.add_command(commands)
    explain.add_command(commands)
    live.add_command(commands)
    _add_schema(commands.add_parser("schema", help="write JSON Schemas of the files, for editors"))
    return whole


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
    add_attach(parser, "a table, or mutants")


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
        help="play only the cases that failed in the last run; if none failed, all cases",
    )
    parser.add_argument(
        "--watch",
        action="store_true",
        help="play again whenever a file of a program or of the suite changes, first what failed",
    )
    parser.add_argument(
        "--minutes",
        type=lambda text: whole_number(text, 1),
        metavar="N",
        default=0,
        help="play all cases repeatedly for N minutes, each at least once; see --repeat",
    )
    parser.add_argument(
        "--hold",
        action="store_true",
        help="pause at each failure with the programs running, show their pids; one case at a time",
    )


def _add_next(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(command=show_next)
    _add_results(parser, "results", nargs="?", default=OUTPUT)


def _add_exec(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(command=execute)
    parser.usage = "%(prog)s [-h] [--suite DIR] [--implementation DIR] NAME [-- OPTION ...]"
    parser.add_argument(
        "name", metavar="NAME", help="the implementation; server-NAME if a client has the same name"
    )
    add_suite(parser, "the suite of the implementation")
    _add_options(parser, {"implementation": CHOOSING["implementation"]})
    _add_options(parser, {"output": PLAYING["output"]})
    parser.set_defaults(output=OUTPUT)


def _add_list(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(command=show_list)
    _add_selection(parser)
    parser.add_argument(
        "--requirements",
        action="store_true",
        help="list each rule with the scenarios that prove it",
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
        help="only cases whose id contains TEXT, or that prove the rule TEXT",
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
        default=[suite_folder(SUITE)],
        metavar="FILE",
        help=f"a scenario, a suite, a manifest, or a folder of these (default: {SUITE})",
    )


def _add_report(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(command=show_again)
    _add_results(parser, "results", nargs="?", default=OUTPUT)
    add_attach(parser, "a table, or mutants")


def _add_merge(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(command=show_merged, output=OUTPUT)
    _add_results(parser, "parts", nargs="+")
    _add_options(parser, {"output": PLAYING["output"]})


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
        help=f"the folder to write them into (default: {SCHEMAS})",
    )
    parser.add_argument(
        "--table", type=Path, metavar="PAGE", help="update the table of verbs in this Markdown page"
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
