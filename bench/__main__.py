"""The command line: `python -m bench`. It joins all other modules, and holds none of their work."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from bench import PROJECT, CannotMeasure, results
from bench.build import Field, assemble, compiled, names, servers
from bench.contenders import Standing
from bench.machine import Cores, choose_cores, describe, raise_descriptor_limit
from bench.measure import Bed
from bench.plots import draw
from bench.results import Entry, Run
from bench.rows import QUICK, ROWS, Scale
from bench.session import play, turns
from bench.table import attachable, markdown
from conformance.cli.streams import complain as say
from conformance.cli.streams import prepare
from conformance.session.options import folder, seconds, whole_number

OUTPUT = PROJECT / "build" / "bench"
REPEATS = 5
BUSY = 0.5  # the figures are doubtful if the load average is higher


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; its exit status."""
    prepare()
    options = read_options(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, _ended)
    signal.signal(signal.SIGHUP, _ended)
    try:
        run = results.load(options.output / "results.json") if options.redraw else bench(options)
        report(run, options.output)
    except (CannotMeasure, OSError) as problem:
        say(f"bench: {problem}")
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return 1 if ours_failed(run) else 0


def _ended(number: int, _frame: object) -> NoReturn:
    """End on a signal; a second one does not interrupt the killing of what runs."""
    signal.signal(number, signal.SIG_IGN)
    raise SystemExit(128 + number)


# --- The command line ----------------------------------------------------------------------------


def read_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options; a mistake in them is shown, and ends the program."""
    known = names(servers())
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure chat servers.")
    parser.add_argument(
        "--only",
        type=_Among([row.key for row in ROWS]),
        metavar="ROW,...",
        help=f"of {', '.join(row.key for row in ROWS)}",
    )
    parser.add_argument(
        "--contender", type=_Among(known), metavar="NAME,...", help=f"of {', '.join(known)}"
    )
    parser.add_argument("--repeats", type=_repeats, metavar="N", help=f"default {REPEATS}")
    parser.add_argument("--seconds", type=seconds, help=f"default {Scale().seconds:g}")
    parser.add_argument("--quick", action="store_true", help="once, short, with few users")
    parser.add_argument("--output", type=folder, default=OUTPUT, metavar="FOLDER")
    parser.add_argument("--redraw", action="store_true", help="only draw results.json again")
    options = parser.parse_args(arguments)
    options.only = options.only or [row.key for row in ROWS]
    options.contender = options.contender or known
    options.output = Path(options.output).resolve()
    return options


class _Among:
    """The type of an option that takes some of the known names, with commas between them."""

    def __init__(self, known: Sequence[str]) -> None:
        self._known = known

    def __call__(self, text: str) -> list[str]:
        """The names, in the order in which they are known."""
        asked = [name.strip() for name in text.split(",") if name.strip()]
        for name in asked:
            if name not in self._known:
                message = f"no such name: {name}; there are {', '.join(self._known)}"
                raise argparse.ArgumentTypeError(message)
        return [name for name in self._known if name in asked]


def _repeats(text: str) -> int:
    return whole_number(text, 1)


def scale_of(options: argparse.Namespace) -> Scale:
    """The durations and numbers of users that were asked for."""
    scale = QUICK if options.quick else Scale()
    if options.seconds is None:
        return scale
    return replace(scale, seconds=options.seconds, warm_up=min(scale.warm_up, options.seconds))


# --- A run ---------------------------------------------------------------------------------------


def bench(options: argparse.Namespace) -> Run:
    """Build and measure; what was measured is saved even if the run is interrupted."""
    limit = raise_descriptor_limit()
    cores = choose_cores(os.sched_getaffinity(0))
    machine = describe(cores) | {"descriptors": limit}  # before compilers make it busy
    load = compiled("load", say)
    field = assemble(options.contender, say)
    run = _empty_run(options, field, machine)
    _announce(run, cores)
    if not field.contenders:
        raise CannotMeasure("there is no server to measure")
    os.sched_setaffinity(0, {cores.runner})
    bed = Bed([load], cores, run.scale, options.output)
    rows = [row for row in ROWS if row.key in options.only]
    try:
        for sample in play(bed, list(turns(rows, field.contenders, run.repeats)), say):
            run.samples.append(sample)
    except KeyboardInterrupt:
        say("interrupted: what was measured so far is reported")
    finally:
        results.save(run, options.output / "results.json")
    return run


def _empty_run(options: argparse.Namespace, field: Field, machine: dict[str, object]) -> Run:
    return Run(
        time=time.strftime("%Y-%m-%d %H:%M %Z"),
        machine=machine,
        scale=scale_of(options),
        repeats=options.repeats or (1 if options.quick else REPEATS),
        entries=[Entry.of(contender) for contender in field.contenders],
        left_out=field.left_out,
    )


def _announce(run: Run, cores: Cores) -> None:
    """Say which servers are left out, and what makes the figures doubtful."""
    for name, reason in run.left_out.items():
        say(f"left out: {name}: {reason}")
    if cores.server == cores.load:
        say("there is one core only: server and load share it, and the figures mean little")
    if run.machine["load_average"] > BUSY:
        say(f"the machine is busy (load average {run.machine['load_average']:.1f})")


def report(run: Run, target: Path) -> None:
    """Write the table and the plots, and show the table."""
    page = markdown(run)
    (target / "table.md").write_text(page, "utf-8")
    (target / "table.json").write_text(json.dumps(attachable(run), ensure_ascii=False), "utf-8")
    print(page)
    try:
        paths = draw(run, target)
    except CannotMeasure as problem:
        say(str(problem))
        paths = []
    for path in (target / "results.json", target / "table.md", *paths):
        say(f"written: {path}")


def ours_failed(run: Run) -> bool:
    """Whether one of our servers has a defect, or could not be measured."""
    mine = {entry.name for entry in run.entries_of(Standing.OURS)}
    return any(one.contender in mine and (one.defects or one.error) for one in run.samples)


if __name__ == "__main__":
    sys.exit(main())
