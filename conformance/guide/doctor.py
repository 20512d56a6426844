"""`conformance doctor`: finds what this machine lacks, or what is wrong with a program.

It plays no scenario. It looks for problems of a program that would make every case fail.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from conformance.builds.build import Build
from conformance.cli.common import GREEN, RED, Arguments, add_suite, built
from conformance.cli.streams import show
from conformance.guide.toolbox import Tool, on_this_machine, remedy_for
from conformance.mistakes import Mistake
from conformance.model import Implementation, Program, Role, Scenario
from conformance.play.examine.bench import Finding
from conformance.play.examine.client import examine_client
from conformance.play.examine.server import examine_server
from conformance.read import manifest, scenario
from conformance.read.suite import SuiteFile, load_suite
from conformance.session.options import PLAYING
from conformance.session.request import OUTPUT
from conformance.text import counted, visible

SECONDS = 4.0  # to examine one program; with its start and end, a person waits about five


def add_command(commands: Any) -> None:
    """Add the parser of the command."""
    parser = commands.add_parser(
        "doctor",
        help="find what this machine lacks, or what is wrong with a program",
        epilog="example: conformance doctor servers/rust",
    )
    parser.set_defaults(command=examine)
    parser.add_argument(
        "folder",
        type=Path,
        nargs="?",
        metavar="DIR",
        help="a folder with one or several implementations; without it, check this machine",
    )
    add_suite(parser, "the suite of the implementation")
    words = "how long the examination of one program may take (default: %(default)g)"
    parser.add_argument("--deadline", **PLAYING["deadline"] | {"help": words}, default=SECONDS)
    parser.add_argument("--output", **PLAYING["output"], default=OUTPUT)


def examine(arguments: Arguments) -> int:
    """Show all problems with their remedies; return RED if there are any."""
    suite = load_suite(arguments.suite)
    if arguments.folder is None:
        tools = on_this_machine(suite)
        show("\n".join(line for tool in tools for line in _shown(tool)))
        return RED if any(tool.lacking for tool in tools) else GREEN
    try:
        found = manifest.find([arguments.folder])
        manifest.check_against(found, replace(suite, unmatched=[]), _scenarios(found, suite))
    except Mistake as mistake:
        show("\n".join(f"✗ {problem}" for problem in mistake.problems))
        return RED
    builds = built(found, Path(arguments.output))
    findings = [_examined(builds[one.label], suite, arguments.deadline) for one in found]
    for one, some in zip(found, findings, strict=True):
        show("\n".join(_told(one, some)))
    return RED if any(findings) else GREEN


def _scenarios(found: Sequence[Implementation], suite: SuiteFile) -> list[Scenario]:
    """The scenarios of the suite if a manifest names any, else none: reading them takes time."""
    names_some = any(one.known_failures or one.may_fail for one in found)
    return scenario.load([suite.folder])[1] if names_some else []


def _examined(build: Build, suite: SuiteFile, deadline: float) -> list[Finding]:
    """All findings for one program."""
    one = build.implementation
    if build.unavailable:
        remedies = filter(None, map(remedy_for, one.needs))
        remedy = "; ".join(remedies) or "install it, or correct `run` in its manifest"
        return [Finding(build.unavailable, remedy)]
    if build.error:
        return [Finding(build.error, "correct the sources, or `build` in its manifest")]
    program = suite.programs.get(one.role, Program())
    if one.role is Role.SERVER:
        return examine_server(build, program, deadline)
    return examine_client(build, program, deadline, suite.line_end)


def _told(one: Implementation, findings: Sequence[Finding]) -> Iterator[str]:
    """The lines about one program: a head, then each finding followed by its remedy."""
    head = visible(f"{one.role} {one.name} ({one.language}), {one.folder}")
    if not findings:
        yield f"✓ {head}: no problem found"
        return
    yield f"✗ {head}: {counted(len(findings), 'finding')}"
    for finding in findings:
        first, *others = finding.what.split("\n")
        yield f"  ✗ {visible(first)}"
        yield from (f"      {visible(line)}" for line in others)
        yield f"    → {visible(finding.remedy)}"


def _shown(tool: Tool) -> Iterator[str]:
    """The lines about one tool, with a remedy if it is lacking."""
    yield visible(f"{'✗' if tool.lacking else '✓'} {tool.name}: {tool.lacking or tool.what}")
    if tool.lacking:
        yield visible(f"    → {tool.remedy}")
