"""The command line: `python -m bench.crowds`. It runs the loads, and writes the table."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from bench import PROJECT, CannotMeasure
from bench.build import BUILDS, servers
from bench.crowds.works import WORKS, Finding, Scale
from bench.machine import choose_cores, raise_descriptor_limit
from bench.table import grid
from conformance.builds.build import Build, build_all
from conformance.cli.streams import complain as say
from conformance.cli.streams import prepare
from conformance.session.options import folder, seconds, whole_number

OUTPUT = PROJECT / "build" / "load"
SPARE_DESCRIPTORS = 100
WRONG = "✗ "
LACKS = "–"
Findings = Mapping[str, Sequence[Finding]]  # by server


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; its exit status."""
    prepare()
    options = read_options(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    scale = Scale(options.users, options.minutes, options.join_timeout)
    try:
        limit = raise_descriptor_limit()
        if scale.users + SPARE_DESCRIPTORS > limit:
            raise CannotMeasure(f"{scale.users:,} users need more than {limit:,} descriptors")
        found = {build.implementation.name: run(build, scale) for build in built(options.server)}
    except (CannotMeasure, OSError) as problem:
        say(f"crowds: {problem}")
        return 1
    report(table(found), options.output)
    return 0 if all(one.good for findings in found.values() for one in findings) else 1


def read_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options; a mistake in them is shown, and ends the program."""
    usual = Scale()
    parser = argparse.ArgumentParser(
        prog="python -m bench.crowds", description="Put crowds on our servers."
    )
    parser.add_argument("--server", action="append", choices=list(servers()), help="default: all")
    parser.add_argument("--users", type=_users, default=usual.users, metavar="N")
    parser.add_argument(
        "--minutes", type=seconds, default=usual.minutes, help="of joins and leaves"
    )
    parser.add_argument("--join-timeout", type=seconds, default=usual.join_timeout)
    parser.add_argument("--output", type=folder, default=OUTPUT, metavar="FOLDER")
    options = parser.parse_args(arguments)
    options.output = Path(options.output).resolve()
    return options


def _users(text: str) -> int:
    return whole_number(text, 100)


def built(wanted: Sequence[str] | None) -> list[Build]:
    """Our servers, as far as they are wanted."""
    some = [one for name, one in servers().items() if not wanted or name in wanted]
    builds = list(build_all(some, BUILDS, say).values())
    for build in builds:
        if problem := build.unavailable or build.error:
            raise CannotMeasure(problem)
    return builds


def run(build: Build, scale: Scale) -> list[Finding]:
    """All loads on one server, with a line for each finding."""
    core = choose_cores(os.sched_getaffinity(0)).server
    findings = []
    for work in WORKS:
        for one in work(build, core, scale):
            mark = "" if one.good else WRONG
            say(f"{build.implementation.name:8} {mark}{one.what}: {one.value}")
            findings.append(one)
    return findings


@dataclass(frozen=True, slots=True)
class Table:
    """The content of table.json, which the report of a run shows."""

    title: str
    when: str
    columns: list[str]
    rows: list[list[str]]
    notes: list[str]


def table(found: Findings) -> Table:
    """A line for each finding, a column for each server."""
    names = list(dict.fromkeys(one.what for some in found.values() for one in some))
    cells = {
        (server, one.what): (one.value if one.good else WRONG + one.value)
        for server, some in found.items()
        for one in some
    }
    return Table(
        "Crowds",
        time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        ["", *(f"server-{one}" for one in found)],
        [[name, *(cells.get((one, name), LACKS) for one in found)] for name in names],
        [
            f"{len(os.sched_getaffinity(0))} processors, load average {os.getloadavg()[0]:.1f}; "
            "the server has one of them.",
            "Each byte that came to a user was compared with what a witness saw, who never speaks.",
        ],
    )


def report(made: Table, target: Path) -> None:
    """Write the table, and show it."""
    (target / "table.json").write_text(json.dumps(asdict(made), ensure_ascii=False) + "\n", "utf-8")
    notes = "\n".join(f"- {note}" for note in made.notes)
    text = f"# {made.title}\n\n{made.when}\n\n{grid(made.columns, made.rows)}\n\n{notes}\n"
    (target / "table.md").write_text(text, "utf-8")
    print(text)


if __name__ == "__main__":
    sys.exit(main())
