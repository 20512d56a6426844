"""`conformance compare`: writes a page that shows programs of one role side by side.

It always shows sources, and measures start time, memory and size. If there are results of a run,
it shows verdicts and transcripts, too.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from conformance import __version__
from conformance.builds.build import sources_of
from conformance.cli.common import GREEN, SUITE, Arguments, add_attach, suite_folder
from conformance.cli.streams import show
from conformance.guide.figures import tables
from conformance.mistakes import Mistake
from conformance.model import Implementation
from conformance.read import scenario
from conformance.report.compare.data import Compared
from conformance.report.compare.draw import PAGE, compare_html
from conformance.report.folder import attached, results
from conformance.report.folder.output import explained
from conformance.report.folder.transcripts import TRANSCRIPTS
from conformance.report.run import Run, with_attached
from conformance.session.options import CHOOSING, PLAYING
from conformance.session.request import OUTPUT, implementations_of


def add_command(commands: Any) -> None:
    """Add the parser of the command."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "compare",
        help="draw a page of programs side by side: sources, figures, transcripts",
        epilog="example: conformance compare examples/redis --output build/suites/redis",
    )
    parser.set_defaults(command=compare)
    parser.add_argument(
        "suite",
        type=suite_folder,
        nargs="?",
        default=suite_folder(SUITE),
        metavar="SUITE",
        help=f"the suite's folder (default: {SUITE})",
    )
    parser.add_argument("--implementation", **CHOOSING["implementation"])
    add_attach(parser, "a table, with a column for each program")
    parser.add_argument(
        "--output",
        **PLAYING["output"] | {"help": "the folder with the results of a run; the page goes there"},
    )
    parser.set_defaults(output=OUTPUT)


def compare(arguments: Arguments) -> int:
    """Write the page and show its path."""
    output = Path(arguments.output)
    suite, scenarios = scenario.load([arguments.suite])
    found = implementations_of(suite, arguments.implementation)
    _check_number(found)
    more = attached.read_all(arguments.attach)
    run = with_attached(_run(output, suite.name), more)
    texts = {one.label: _texts(one, output) for one in found}
    what = Compared(found, texts, suite.requirements, scenarios)
    with explained(output):
        measured = tables(found, suite, output)
        run = replace(run, tables=[*measured, *run.tables])
        page = compare_html(what, run, output / TRANSCRIPTS)
        (output / PAGE).write_text(page, "utf-8")
    show(str(output / PAGE))
    return GREEN


def _check_number(found: Sequence[Implementation]) -> None:
    if len({one.role for one in found}) == len(found):
        remedy = "add another one with --implementation DIR"
        raise Mistake([f"compare: the suite has no two programs of the same role; {remedy}"])


def _run(output: Path, suite: str) -> Run:
    """The run whose results are in the output folder, else a run without cases."""
    if (output / results.RESULTS_FILE).exists():
        return results.read(output)
    return Run(started="", seconds=0.0, planned=0, suite=suite, version=__version__)


def _texts(one: Implementation, output: Path) -> dict[str, str]:
    """The text of each source file of an implementation, by its path in the folder."""
    folder = one.folder.resolve()
    found = sources_of(one, output)
    return {
        path.relative_to(folder).as_posix(): path.read_text("utf-8", "surrogateescape")
        for path in found
    }
