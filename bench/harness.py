"""What a case costs: the harness beside the bare minimum, in turns. `python -m bench.harness`

The same programs play the same dialogue: once by the harness, as in every run, and once by bare.c,
which knows nothing but terminals, bytes and exit statuses. What it costs to collect cases is
measured by collecting.py, and shown below that.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from bench import PROJECT, CannotMeasure, collecting
from bench.build import BUILDS, compiled
from bench.collecting import collect
from conformance.arguments import Pattern
from conformance.build import Build, build_all
from conformance.model import Case, Role, Step, Suite
from conformance.plan import Selection, plan
from conformance.play.runner import play
from conformance.read.manifest import find
from conformance.read.scenario import load
from conformance.text import plain

SCENARIO = "scenarios/chat.yaml::nothing-is-interpreted"  # a server, two clients, on terminals
ROUNDS = 15
PLAYS = 10  # in a row, by one of the two
SIGINT = 2


@dataclass(slots=True)
class Cost:
    """Seconds of each play of one pairing."""

    case: Case
    harness: list[float] = field(default_factory=list)
    bare: list[float] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        """How many times the bare minimum the harness takes."""
        return median(self.harness) / median(self.bare)


def main() -> int:
    """Measure, and show a table."""
    os.chdir(PROJECT)
    suite, scenarios = load([Path("scenarios/chat.yaml")])
    found = find([PROJECT / "servers", PROJECT / "clients"])
    cases = plan(scenarios, found, Selection(ids=(SCENARIO,)))
    builds = build_all(found, BUILDS, lambda line: print(line, file=sys.stderr))
    costs = [
        Cost(case) for case in cases if case.server and case.server.name == case.clients[0].name
    ]
    folder = PROJECT / "build" / "bench"
    bare = compiled(PROJECT / "bench" / "bare.c", folder)
    for round_ in range(ROUNDS):
        print(f"round {round_ + 1} of {ROUNDS}", file=sys.stderr)
        for cost in costs:
            cost.harness += by_harness(cost.case, suite, builds)
            cost.bare += by_bare(bare, dialogue(cost.case, suite, builds))
    rows = list(collect(folder / "collecting"))
    print("\n".join([*table(costs), "", *collecting.table(rows)]))
    return 0


def by_harness(case: Case, suite: Suite, builds: Mapping[str, Build]) -> list[float]:
    """The seconds of some plays by the harness."""
    seconds = []
    for _ in range(PLAYS):
        began = time.perf_counter()
        outcome = play(case, suite, builds)
        seconds.append(time.perf_counter() - began)
        if outcome.failure or outcome.error:
            raise CannotMeasure(f"{case.id} failed: {outcome.failure or outcome.error}")
    return seconds


def by_bare(program: Path, text: str) -> list[float]:
    """The same by bare.c."""
    environment = {**os.environ, "TERM": "dumb", "LC_ALL": "C.UTF-8"}
    done = subprocess.run(
        [program, str(PLAYS)],
        input=text,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise CannotMeasure(done.stderr)
    return [int(line) / 1e9 for line in done.stdout.splitlines()]


def table(costs: Sequence[Cost]) -> Iterator[str]:
    """Rows for a person: medians in milliseconds, and how many times the bare one the other is."""
    yield "pairing         harness     bare   ratio   (medians, ms)"
    for cost in costs:
        harness, bare = median(cost.harness) * 1000, median(cost.bare) * 1000
        yield f"{cost.case.pairing:14}  {harness:7.2f}  {bare:7.2f}  {cost.ratio:6.2f}"


# --- The same dialogue for bare.c ----------------------------------------------------------------


def dialogue(case: Case, suite: Suite, builds: Mapping[str, Build]) -> str:
    """The steps of a case as bare.c reads them, one in a line."""
    return "".join(
        "\t".join(words) + "\n"
        for step in case.scenario.steps
        for words in _words(step, case, suite, builds)
    )


def _words(
    step: Step, case: Case, suite: Suite, builds: Mapping[str, Build]
) -> Iterator[tuple[str, ...]]:
    match step.verb:
        case "starts":
            yield from _start(step, case, suite, builds)
        case "types":
            yield ("type", step.actor, _hex("".join(f"{line}\n" for line in _lines(step))))
        case "sees":
            yield ("see", step.actor, _hex("".join(f"{line}\n" for line in _lines(step))))
        case "is_asked":
            yield ("see", step.actor, _hex(str(step.argument)))
        case "complains":
            assert isinstance(step.argument, tuple)
            yield ("err", step.actor, _hex("".join(f"{p}\n" for p in _each(step.argument[1]))))
        case "is_sent":
            yield ("signal", step.actor, str(SIGINT))
        case "exits":
            yield ("exit", step.actor, str(step.argument))
        case verb:
            raise CannotMeasure(f"{SCENARIO}: bare.c knows no `{verb}`")


def _start(
    step: Step, case: Case, suite: Suite, builds: Mapping[str, Build]
) -> Iterator[tuple[str, ...]]:
    role = Role.SERVER if step.actor == "server" else Role.CLIENT
    one = case.server if role is Role.SERVER else case.clients[0]
    assert one
    # Absolute, since bare.c runs all programs in one folder.
    argv = [_absolute(word, one.folder) for word in builds[one.label].argv]
    arguments = suite.programs[role].arguments.replace("{host}", "127.0.0.1")
    port = "0" if role is Role.SERVER else "@"
    quiet = ["--quiet"] if role is Role.SERVER else []
    words = arguments.replace("{port}", port).split()
    yield ("start", step.actor, *argv, *words, *quiet)
    if role is Role.SERVER:
        yield ("ready", step.actor, _hex("Listening on 127.0.0.1:"))


def _absolute(word: str, folder: Path) -> str:
    """Not resolved: the interpreter of an environment is a link, and another one where it leads."""
    return str((folder / word).absolute()) if (folder / word).is_file() else word


def _lines(step: Step) -> list[str]:
    assert isinstance(step.argument, tuple)
    return _each(step.argument)


def _each(patterns: Sequence[Pattern]) -> list[str]:
    return [plain(str(one)) for pattern in patterns for one in pattern.each()]


def _hex(text: str) -> str:
    return text.encode().hex()


if __name__ == "__main__":
    sys.exit(main())
