"""The command: `python -m bench`."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
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
from bench.table import markdown

OUTPUT = PROJECT / "build" / "bench"
REPEATS = 5
BUSY = 0.5  # load average above which the figures are doubtful


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; its exit status."""
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
    """Asked to go: what runs is ended on the way out, which nobody cuts short."""
    signal.signal(number, signal.SIG_IGN)
    raise SystemExit(128 + number)


def say(line: str) -> None:
    """Progress, at once."""
    print(line, file=sys.stderr, flush=True)


# --- The command line ----------------------------------------------------------------------------


def read_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line; on a mistake, tells it and ends."""
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
    parser.add_argument("--repeats", type=_count, metavar="N", help=f"default {REPEATS}")
    parser.add_argument("--seconds", type=_seconds, help=f"default {Scale().seconds:g}")
    parser.add_argument("--quick", action="store_true", help="once, short, with few users")
    parser.add_argument("--output", type=Path, default=OUTPUT, metavar="FOLDER")
    parser.add_argument("--redraw", action="store_true", help="only draw results.json again")
    options = parser.parse_args(arguments)
    options.only = options.only or [row.key for row in ROWS]
    options.contender = options.contender or known
    options.output = options.output.resolve()
    return options


class _Among:
    """The type of an option whose value is names, with commas between them."""

    def __init__(self, known: Sequence[str]) -> None:
        self._known = known

    def __call__(self, text: str) -> list[str]:
        """The names in the order in which they are known."""
        asked = [name.strip() for name in text.split(",") if name.strip()]
        for name in asked:
            if name not in self._known:
                message = f"no such one: {name}; there are {', '.join(self._known)}"
                raise argparse.ArgumentTypeError(message)
        return [name for name in self._known if name in asked]


def _count(text: str) -> int:
    if not (text.isdecimal() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"not a number of 1 or more: {text}")
    return int(text)


def _seconds(text: str) -> float:
    with suppress(ValueError):
        if 0 < float(text) < 3600:
            return float(text)
    raise argparse.ArgumentTypeError(f"not a number of seconds above 0: {text}")


def scale_of(options: argparse.Namespace) -> Scale:
    """How long, and with how many."""
    scale = QUICK if options.quick else Scale()
    if options.seconds is None:
        return scale
    return replace(scale, seconds=options.seconds, warm_up=min(scale.warm_up, options.seconds))


# --- A run ---------------------------------------------------------------------------------------


def bench(options: argparse.Namespace) -> Run:
    """Build, measure, and keep what was measured even where it is cut short."""
    limit = raise_descriptor_limit()
    cores = choose_cores(os.sched_getaffinity(0))
    machine = describe(cores) | {"descriptors": limit}  # before compilers make it busy
    load = compiled(PROJECT / "bench" / "load.c", options.output)
    field = assemble(options.contender, options.output, say)
    run = _empty_run(options, field, machine)
    _announce(run, cores)
    if not field.contenders:
        raise CannotMeasure("there is nobody to measure")
    os.sched_setaffinity(0, {cores.runner})
    bed = Bed([str(load)], cores, run.scale, options.output)
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
    """What takes part and what does not; and what makes figures doubtful."""
    for name, reason in run.left_out.items():
        say(f"left out: {name}: {reason}")
    if cores.server == cores.load:
        say("there is one core only: server and load share it, and the figures mean little")
    if run.machine["load_average"] > BUSY:
        say(f"the machine is busy (load average {run.machine['load_average']:.1f})")


def report(run: Run, folder: Path) -> None:
    """Write table and plots, and show the table."""
    page = markdown(run)
    (folder / "table.md").write_text(page, "utf-8")
    print(page)
    try:
        paths = draw(run, folder)
    except CannotMeasure as problem:
        say(str(problem))
        paths = []
    for path in (folder / "results.json", folder / "table.md", *paths):
        say(f"written: {path}")


def ours_failed(run: Run) -> bool:
    """Whether any of our servers did something wrong, or could not be measured."""
    mine = {entry.name for entry in run.entries_of(Standing.OURS)}
    return any(one.contender in mine and (one.defects or one.error) for one in run.samples)


if __name__ == "__main__":
    sys.exit(main())
