"""The commands that play nothing: `list`, `check`, `next`, `report`, `merge`, `diff`, `schema`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from conformance.builds.build import Build, lacking
from conformance.cli.common import GREEN, RED, SUITE, Arguments, absent, suite_folder
from conformance.cli.playing import asked, show_run
from conformance.cli.streams import show
from conformance.judge import expectation
from conformance.mistakes import Mistake
from conformance.model import Case, Role
from conformance.read import manifest, scenario, schema
from conformance.read.suite import SUITE_FILE, load_suite
from conformance.report.folder import results
from conformance.report.terminal.diff import comparison, difference
from conformance.report.terminal.rules import requirements_table
from conformance.report.terminal.way import is_done, next_step
from conformance.session.drawing import draw_again, merge
from conformance.session.request import implementations_of
from conformance.session.session import Session
from conformance.text import counted


def show_list(arguments: Arguments) -> int:
    """List the chosen cases, or the rules with the scenarios that prove them."""
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
    """The id of a case, and the reason if it cannot be played."""
    known = expectation(case, builds)
    return f"{case.id}  ({known[0].lower()}: {known[1]})" if known else case.id


def check(arguments: Arguments) -> int:
    """Read all named files and report all mistakes at once."""
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
    """Write all reports of a run again, from its results.json."""
    path = arguments.results
    return show_run(draw_again(path, arguments.attach), path if path.is_dir() else path.parent)


def show_merged(arguments: Arguments) -> int:
    """Join the parts of a run and show the whole."""
    output = Path(arguments.output)
    return show_run(merge(arguments.parts, output), output)


def show_next(arguments: Arguments) -> int:
    """Show the first rule that a run found broken; return RED until there is none."""
    outcome = results.read(arguments.results)
    show(next_step(outcome))
    return GREEN if is_done(outcome) else RED


def diff(arguments: Arguments) -> int:
    """Show how two runs, or two implementations in one run, differ; RED if a case broke."""
    pairs = [(role, pair) for role in Role if (pair := getattr(arguments, role))]
    if len(pairs) + bool(arguments.new) != 1:
        raise Mistake(
            ["diff: name two runs (OLD NEW), or one run and two names (OLD --server c,go)"]
        )
    old = results.read(arguments.old)
    if arguments.new:
        text, broke = difference(old, results.read(arguments.new))
        show(text)
        return RED if broke else GREEN
    for role, pair in pairs:
        show(comparison(old, role, *pair))
    return GREEN


def write_schemas(arguments: Arguments) -> int:
    """Write the JSON Schemas for editors, and update the table of verbs of a page."""
    for path in schema.write(arguments.folder):
        show(str(path))
    if arguments.table:
        schema.rewrite_table(arguments.table)
        show(str(arguments.table))
    return GREEN


def _read(path: Path) -> str:
    """Read a file or folder and return a summary of its contents. Raises Mistake."""
    if not path.exists():
        raise Mistake([absent(path)])
    if path.name == SUITE_FILE:
        return counted(len(load_suite(path.parent).requirements), "rule")
    if path.name == manifest.MANIFEST_FILE:
        one = manifest.load(path)
        return f"the {one.role} {one.name}"
    if path.is_dir() and not (path / SUITE_FILE).exists():
        return counted(len(manifest.find([path])), "implementation")
    suite, scenarios = scenario.load([path])
    told = counted(len(scenarios), "scenario")
    if not path.is_dir() or not (own := implementations_of(suite, [])):
        return told
    manifest.check_against(own, suite, scenarios)
    return f"{told}, {counted(len(own), 'implementation')}"


def _check_names(paths: Sequence[Path]) -> None:
    """Check manifests among the paths against the suite among the paths, or the default suite."""
    suites = [path for path in paths if (path / SUITE_FILE).is_file()]
    suites = suites or [path for path in [suite_folder(SUITE)] if (path / SUITE_FILE).is_file()]
    folders = [path if path.is_dir() else path.parent for path in paths if path not in suites]
    with_manifests = [folder for folder in folders if not (folder / SUITE_FILE).is_file()]
    if len(suites) == 1 and with_manifests:
        manifest.check_against(manifest.find(with_manifests), *scenario.load(suites))
