"""Play mutants: `make mutants ARGS="--program server-c --rule CHAT"`."""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import sys
import time
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from pathlib import Path

from conformance.mistakes import Mistake
from conformance.model import Kind

from .kept import Kept
from .mutant import Found, Mutant, Verdict
from .playing import OUTPUT, Stage
from .report import progress, summary, thin, write
from .table import Table, load

STAGES: dict[str, Stage] = {}  # forked processes inherit them
KEPT = OUTPUT / "kept.json"


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m tests.mutants", description=__doc__)
    parser.add_argument("--program", metavar="LABEL", help="server-c, client-c …; else all")
    parser.add_argument("--rule", metavar="RULE", help="those that break CHAT-1, or one of CHAT")
    parser.add_argument("--mutant", metavar="ID", help="this one alone")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="so many at a time (2)")
    parser.add_argument("--sample", type=int, metavar="N", help="so many of those that were made")
    parser.add_argument(
        "--changed", nargs="+", metavar="FILE", help="a sample of these files first"
    )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> int:
    options = parse(arguments)
    try:
        return run(options)
    except Mistake as mistake:
        print(*mistake.problems, sep="\n", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def run(options: argparse.Namespace) -> int:
    tables, kept = load(), Kept(KEPT)
    wanted = chosen(tables, options)
    if not wanted:
        raise Mistake(["no mutant is left; `--program` and `--rule` name those of tests/mutants"])
    for table in tables:
        if any(mutant.program == table.program for mutant in wanted):
            STAGES[table.program] = Stage(table.program, table.folder)
    for line in played(wanted, kept, options.jobs):
        print(line, flush=True)
    rows = [(one, found) for one in wanted if (found := known(one, kept))]
    print(*summary(rows), sep="\n")
    if not (options.rule or options.mutant or options.sample):
        print(*thin(rows, _musts()), sep="\n")
    everything = [mutant for table in tables for mutant in table.mutants]
    write(
        ((one, found) for one in everything if (found := known(one, kept))), OUTPUT / "results.json"
    )
    return int(any(found.verdict is Verdict.SURVIVED for _, found in rows))


def chosen(tables: Sequence[Table], options: argparse.Namespace) -> list[Mutant]:
    """The mutants that the options select."""
    made = [mutant for table in tables for mutant in table.made]
    others = [mutant for table in tables for mutant in table.generated]
    found = [*made, *others] if options.sample is None else sample(made, options)
    return [mutant for mutant in found if is_wanted(mutant, options)][: options.sample]


def is_wanted(mutant: Mutant, options: argparse.Namespace) -> bool:
    rules = (mutant.rule, mutant.rule.rpartition("-")[0])
    return (
        options.program in (None, mutant.program)
        and (options.rule is None or options.rule in rules)
        and options.mutant in (None, mutant.id)
    )


def sample(made: Sequence[Mutant], options: argparse.Namespace) -> list[Mutant]:
    """All mutants that must be killed, in a mixed order; those of changed files come first."""
    changed = {Path(name).as_posix() for name in options.changed or ()}
    told = [mutant for mutant in made if not mutant.equivalent]

    def key(mutant: Mutant) -> tuple[bool, bool, int]:
        edit = f"{mutant.path} {mutant.before} {mutant.after}"
        is_guest = mutant.folder.parts[0] == "tests"  # these take longest to build
        return str(mutant.path) not in changed, is_guest, zlib.crc32(edit.encode())

    return sorted(told, key=key)


def known(mutant: Mutant, kept: Kept) -> Found | None:
    """The verdict on a mutant, if it is known without playing."""
    if mutant.equivalent:
        return Found(Verdict.EQUIVALENT)
    stage = STAGES.get(mutant.program)
    return kept.holds(mutant, stage.fingerprints) if stage else kept.before(mutant)


def played(wanted: Sequence[Mutant], kept: Kept, jobs: int) -> Iterator[str]:
    """Play the mutants without a known verdict; yields a line after each."""
    todo = [mutant for mutant in wanted if not known(mutant, kept)]
    if same := len(wanted) - len(todo):
        yield f"{same} of {len(wanted)} are known from earlier runs, or equivalent"
    gc.freeze()  # keeps inherited memory shared: the collector would copy it
    began, forks = time.monotonic(), multiprocessing.get_context("fork")
    with ProcessPoolExecutor(jobs, mp_context=forks) as pool:
        runs = {pool.submit(_play, mutant, kept.before(mutant)): mutant for mutant in todo}
        try:
            for place, run in enumerate(as_completed(runs), 1):
                kept.keep(runs[run], run.result())
                left = (time.monotonic() - began) / place * (len(todo) - place)
                yield progress(place, len(todo), left, runs[run], run.result())
        except BaseException:
            _cancel(runs)
            raise


def _cancel(runs: dict[Future[Found], Mutant]) -> None:
    for run in runs:
        run.cancel()


def _play(mutant: Mutant, before: Found | None) -> Found:
    return STAGES[mutant.program].play(mutant, before)


def _musts() -> set[str]:
    """The MUST rules for which the played programs have cases of their own."""
    return {
        rule
        for stage in STAGES.values()
        for case in stage.cases
        for rule in case.scenario.claims
        if case.scenario.kind in (Kind.SERVER, Kind.CLIENT)
        and stage.session.suite.requirements[rule].level == "MUST"
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
