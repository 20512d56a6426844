"""The cost of a case: the harness beside the bare minimum, in turns. `python -m bench.harness`

The same programs play the same dialogue: once by the harness, as in every run, and once by bare.c,
which knows only terminals, bytes and exit statuses. Below that, the cost of collecting cases is
shown, as collecting.py measures it. This module knows nothing of contenders and rows.
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

from bench import HOST, PROJECT, CannotMeasure, collecting
from bench.build import BUILDS, compiled
from bench.collecting import collect
from conformance.arguments import Pattern
from conformance.builds.build import Build, build_all
from conformance.cli.streams import complain
from conformance.model import Case, Role, Step, Suite
from conformance.plan import Selection, plan
from conformance.play.case.runner import play
from conformance.read.manifest import find
from conformance.read.scenario import load
from conformance.text import complete, plain

SCENARIO = "scenarios/chat.yaml::nothing-is-interpreted"  # a server, two clients, on terminals
ROUNDS = 15
PLAYS = 10  # in sequence, by the harness or by bare.c
SIGINT = 2
_PATTERNS = {"types": "type", "sees": "see"}  # verbs with lines, and bare.c's words for them


@dataclass(slots=True)
class Cost:
    """Seconds of each play of one pairing."""

    case: Case
    harness: list[float] = field(default_factory=list)
    bare: list[float] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        """How many times as long as the bare minimum the harness takes."""
        return median(self.harness) / median(self.bare)


def main() -> int:
    """Measure, and show a table."""
    os.chdir(PROJECT)
    try:
        lines = [*table(measured()), "", *collecting.table(collected())]
    except CannotMeasure as problem:
        complain(f"bench: {problem}")
        return 1
    print("\n".join(lines))
    return 0


def measured() -> list[Cost]:
    """Play the scenario with each server and the client of the same name, in turns."""
    suite, scenarios = load([Path("scenarios/chat.yaml")])
    found = find([PROJECT / "servers", PROJECT / "clients"])
    cases = plan(scenarios, found, Selection(ids=(SCENARIO,)))
    builds = build_all(found, BUILDS, complain)
    bare = compiled("bare", complain)
    costs = [
        Cost(case) for case in cases if case.server and case.server.name == case.clients[0].name
    ]
    for number in range(1, ROUNDS + 1):
        complain(f"round {number} of {ROUNDS}")
        for cost in costs:
            cost.harness += by_harness(cost.case, suite, builds)
            cost.bare += by_bare(bare, Dialogue(cost.case, suite, builds).text())
    return costs


def collected() -> list[collecting.Collected]:
    """The cost of collecting, with more and more cases."""
    return list(collect(PROJECT / "build" / "bench" / "collecting"))


def by_harness(case: Case, suite: Suite, builds: Mapping[str, Build]) -> list[float]:
    """The seconds of each of several plays by the harness."""
    seconds = []
    for _ in range(PLAYS):
        began = time.perf_counter()
        outcome = play(case, suite, builds)
        seconds.append(time.perf_counter() - began)
        if outcome.failure or outcome.error:
            raise CannotMeasure(f"{case.id} failed: {outcome.failure or outcome.error}")
    return seconds


def by_bare(program: str, dialogue: str) -> list[float]:
    """The seconds of each of as many plays by bare.c."""
    environment = {**os.environ, "TERM": "dumb", "LC_ALL": "C.UTF-8"}
    done = subprocess.run(
        [program, str(PLAYS)],
        input=dialogue,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise CannotMeasure(done.stderr)
    return [int(line) / 1e9 for line in done.stdout.splitlines()]


def table(costs: Sequence[Cost]) -> Iterator[str]:
    """Lines for people: medians in milliseconds, and the ratio of the two."""
    yield "pairing         harness     bare   ratio   (medians, ms)"
    for cost in costs:
        harness, bare = median(cost.harness) * 1000, median(cost.bare) * 1000
        yield f"{cost.case.pairing:14}  {harness:7.2f}  {bare:7.2f}  {cost.ratio:6.2f}"


# --- The same dialogue for bare.c ----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Dialogue:
    """The steps of a case in the form that bare.c reads; its head comment describes it."""

    case: Case
    suite: Suite
    builds: Mapping[str, Build]

    def text(self) -> str:
        """One step in each line."""
        words = (words for step in self.case.scenario.steps for words in self._words(step))
        return "".join("\t".join(one) + "\n" for one in words)

    def _words(self, step: Step) -> Iterator[tuple[str, ...]]:
        match step.verb, step.argument:
            case "starts", _:
                yield from self._start(step.actor)
            case ("types" | "sees") as verb, tuple(patterns):
                yield _PATTERNS[verb], step.actor, _hex(_lines(patterns))
            case "is_asked", prompt:
                yield "see", step.actor, _hex(str(prompt))
            case "complains", (_, tuple(patterns)):
                yield "err", step.actor, _hex(_lines(patterns))
            case "is_sent", _:
                yield "signal", step.actor, str(SIGINT)
            case "exits", status:
                yield "exit", step.actor, str(status)
            case verb, _:
                raise CannotMeasure(f"{SCENARIO}: bare.c knows no `{verb}`")

    def _start(self, actor: str) -> Iterator[tuple[str, ...]]:
        serves = actor == "server"
        one = self.case.server if serves else self.case.clients[0]
        assert one
        # Absolute, since bare.c runs all programs in one folder.
        argv = [_absolute(word, one.folder) for word in self.builds[one.label].argv]
        arguments = self.suite.programs[Role.SERVER if serves else Role.CLIENT].arguments
        words = complete(arguments, {"host": HOST, "port": "0" if serves else "@"}).split()
        yield "start", actor, *argv, *words, *(["--quiet"] if serves else [])
        if serves:
            yield "ready", actor, _hex(f"Listening on {HOST}:")


def _absolute(word: str, folder: Path) -> str:
    """The absolute path, without following links: a link to Python identifies its environment."""
    return str((folder / word).absolute()) if (folder / word).is_file() else word


def _lines(patterns: Sequence[Pattern]) -> str:
    return "".join(f"{plain(str(one))}\n" for pattern in patterns for one in pattern.each())


def _hex(text: str) -> str:
    return text.encode().hex()


if __name__ == "__main__":
    sys.exit(main())
