"""A harness that could not run for a long time accuses no program that was quick meanwhile."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from tiny import ECHO, PATIENT, played, program, scenario, write_suite

from conformance.model import Role, Step
from conformance.play.actors.base import Actor
from conformance.play.case import runner
from conformance.play.processes import system
from conformance.read.suite import SuiteFile

STALL = 1000.0  # seconds, longer than all deadlines

# Answers a line on its standard output and in a file, each in two pieces.
CLIENT = """
import os, sys
def tell(name):
    open(os.path.join(os.path.dirname(os.path.abspath(__file__)), name), "w").close()
line = sys.stdin.readline().strip()
tell("asked")
with open(sys.argv[1], "w", buffering=1) as file:
    for piece in ("<", line + ">\\n", "that is all\\n"):
        print(piece, end="", flush=True)
        print(piece, end="", flush=True, file=file)
tell("answered")
sys.stdin.read()
"""

IN_LINES = 'ann: {sees: ["<hello>", that is all]}'
SHOWN = 'ann: {shows: {last: ["<hello>", that is all, "‸"]}}'
ENDS = "- ann: ends_input\n- ann: {exits: 0}\n"
READ = f"- {IN_LINES}\n{ENDS}"
STEPS = {
    "lines": READ,
    "lines in any order": f'- ann: {{sees_all: [["<hello>"], [that is all]]}}\n{ENDS}',
    "a screen": f"- {SHOWN}\n- ann: {{presses: Ctrl+D}}\n- ann: {{exits: 0}}\n- {SHOWN}\n",
    "lines of a file": f'- ann: {{writes: ["<hello>", that is all], to: out}}\n{READ}',
    "a file": f'- ann: {{makes: out, holding: "that is all"}}\n{READ}',
    "steps at the same time": f"- together:\n    - {IN_LINES}\n    - bob: {{sends: x}}\n{ENDS}",
    "dialogues": f"- either:\n    - - ann: {{sees: something}}\n    - - {IN_LINES}\n{ENDS}",
}


class Stalls:
    """A clock for `time.monotonic`: this process could not run between two looks at it.

    Meanwhile, what it had asked for has happened.
    """

    def __init__(self, looks: int, asked: Callable[[], bool], answered: Callable[[], bool]) -> None:
        self._left = looks  # before the stall; they count from when something was asked for
        self._asked = asked
        self._answered = answered
        self._lost = 0.0
        self._clock = time.monotonic

    def __call__(self) -> float:
        if not self._lost and self._asked():
            self._left -= 1
            if self._left < 0:
                self._lose_time()
        return self._clock() + self._lost

    def _lose_time(self) -> None:
        limit = self._clock() + PATIENT
        while not self._answered():
            assert self._clock() < limit
            os.sched_yield()
        self._lost = STALL


@pytest.fixture
def suite(tmp_path: Path) -> SuiteFile:
    return write_suite(tmp_path)


@pytest.mark.parametrize("looks", range(8))
@pytest.mark.parametrize("what", STEPS)
def test_what_came_during_a_stall_has_come_in_time(
    suite: SuiteFile, what: str, looks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    medium = " on a screen" if what == "a screen" else ""
    steps = f"""\
- server: starts
- bob: starts
- ann: {{starts: , arguments: "{{scratch}}/out"}}
- ann: {{types: hello}}
{STEPS[what]}"""
    one = scenario(suite, steps, f"{{ann: client{medium}, bob: wire}}")
    programs = program(suite.folder, ECHO), program(suite.folder, CLIENT, Role.CLIENT)
    files = (suite.folder / "asked").exists, (suite.folder / "answered").exists
    monkeypatch.setattr(time, "monotonic", Stalls(looks, *files))
    found = played(suite, one, *programs)
    assert (found.failure, found.error) == (None, None)


def test_a_stall_between_the_deadlines_of_dialogues_and_the_wait(
    suite: SuiteFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost, known, begin, clock = 0.0, 0, runner._begun, time.monotonic

    def begins(actor: Actor, step: Step) -> float:
        nonlocal lost, known
        deadline, known = begin(actor, step), known + 1
        lost = STALL if known == 2 else lost  # the last of them
        return deadline

    monkeypatch.setattr(time, "monotonic", lambda: clock() + lost)
    monkeypatch.setattr(runner, "_begun", begins)
    hello = "- - ann: {sees: something}\n    - - ann: {sees: hello}\n"
    one = scenario(
        suite,
        f"- server: starts\n- ann: starts\n- ann: {{types: hello}}\n- either:\n    {hello}",
        "{ann: wire}",
    )
    found = played(suite, one, program(suite.folder, ECHO))
    assert found.error is None


@pytest.mark.parametrize("looks", range(6))
def test_a_command_that_ended_during_a_stall_has_ended_in_time(
    suite: SuiteFile, looks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[subprocess.Popen[bytes]] = []

    class Noted(subprocess.Popen[bytes]):
        def __init__(self, *arguments: Any, **more: Any) -> None:
            super().__init__(*arguments, **more)
            begun.append(self)

    def ended() -> bool:
        if begun[0].returncode is not None:
            return True
        return os.waitid(os.P_PID, begun[0].pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    one = scenario(suite, "- server: starts\n- server: {runs: 'true'}\n- ann: starts")
    monkeypatch.setattr(subprocess, "Popen", Noted)
    monkeypatch.setattr(time, "monotonic", Stalls(looks, lambda: bool(begun), ended))
    found = played(suite, one, program(suite.folder, ECHO))
    assert (found.failure, found.error) == (None, None)


def test_looks_once_after_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    clock: Iterator[float] = map(float, count())
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    assert len(list(system.looks(1.5))) == 3
    assert len(list(system.looks(0.0))) == 1
