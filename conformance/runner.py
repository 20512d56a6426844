"""Puts one case on the stage: the actors up, the steps played in order, everything down again."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from conformance.actors import Actor, Missed, ProgramActor, Scene, ScriptedServer, Wire
from conformance.build import Build
from conformance.model import Case, Failure, Implementation, Outcome, Role, Step
from conformance.process import bury, children
from conformance.stage import Flood, Stage
from conformance.suite import Suite, kind_and_medium
from conformance.transcript import Transcript, visible

DEADLINE = 10.0  # seconds that a step waits for what must come
TIMELINE_LINES = 6  # of each actor
STDERR_LINES = 8

# A program that buffers its output is to show it: nothing of ours may unbuffer it.
_HIDDEN = ("PYTHONUNBUFFERED", "PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP")

Spent = dict[tuple[str, str], tuple[int, float]]  # see Outcome

_loopback = itertools.count(2)  # for programs that cannot be told their port


def play(
    case: Case, suite: Suite, builds: Mapping[str, Build], *, deadline: float = DEADLINE
) -> Outcome:
    """Play a case. Never raises for what programs do; `deadline` is in seconds a step."""
    started = time.monotonic()
    transcript = Transcript()
    before = children()
    failure, error = None, None
    spent: Spent = {}
    actors: dict[str, Actor] = {}
    scene = _scene(case, suite, transcript, deadline)
    try:
        actors = _cast(case, suite, builds, scene)
        failure = _play_steps(case, actors, transcript, spent)
    except OSError as problem:  # out of descriptors, processes, terminals …
        error = f"the machine: {problem}"
    finally:
        for actor in reversed(actors.values()):
            actor.destroy()
        left = bury(before)
        shutil.rmtree(scene.scratch, ignore_errors=True)
    if left and not failure:
        failure = _left_behind(case, left)
    seconds = time.monotonic() - started
    return Outcome(seconds, failure, error, transcript.text, spent)


def _scene(case: Case, suite: Suite, transcript: Transcript, deadline: float) -> Scene:
    environment = {k: v for k, v in os.environ.items() if k not in _HIDDEN}
    environment |= {"TERM": "dumb", "LC_ALL": "C.UTF-8"}
    fixed = case.server is not None and case.server.port is not None
    return Scene(
        stage=Stage(transcript),
        transcript=transcript,
        host=_own_address() if fixed else "127.0.0.1",
        seconds=deadline,
        environment=environment,
        folder=suite.folder,
        scratch=Path(tempfile.mkdtemp(prefix="conformance-")),
    )


def _own_address() -> str:
    """A loopback address that no other case has: a fixed port is free on it."""
    return f"127.{1 + os.getpid() % 250}.{os.getpid() // 250 % 250}.{next(_loopback) % 250 + 1}"


def _cast(case: Case, suite: Suite, builds: Mapping[str, Build], scene: Scene) -> dict[str, Actor]:
    clients = itertools.cycle(case.clients) if case.clients else iter(())
    actors: dict[str, Actor] = {}
    for name, kind in case.scenario.cast.items():
        if kind == "wire":
            actors[name] = Wire(name, scene)
        elif kind == "scripted":
            actors[name] = ScriptedServer(name, scene)
        else:
            role, medium = kind_and_medium(kind)
            turns = _turns(case, name) if role == Role.SERVER else [next(clients)]
            program = suite.programs[Role(role)]
            ready = [builds[one.label] for one in turns]
            actors[name] = ProgramActor(name, scene, program, ready, medium)
    return actors


def _turns(case: Case, actor: str) -> list[Implementation]:
    """Which programs a server actor is, one at each start."""
    assert case.server
    return [case.server, *(case.successors if actor == "server" else ())]


def _play_steps(
    case: Case, actors: Mapping[str, Actor], transcript: Transcript, spent: Spent
) -> Failure | None:
    for step in case.scenario.steps:
        began = time.monotonic()
        try:
            getattr(actors[step.actor], step.verb)(step)
        except Missed as missed:
            return _failure(case, step, missed, actors, transcript)
        except Flood as flood:
            endless = Missed("what the steps name", f"{flood.actor} sends without end", "a flood")
            return _failure(case, step, endless, actors, transcript)
        doing = (
            actors[step.actor].label,
            "(time that a rule names)" if timed(step) else step.verb,
        )
        count, seconds = spent.get(doing, (0, 0.0))
        spent[doing] = (count + 1, seconds + time.monotonic() - began)
    return None


def timed(step: Step) -> bool:
    """Whether a step is slow for a good reason."""
    return "within" in step.options or step.verb == "idles_for"


def _failure(
    case: Case, step: Step, missed: Missed, actors: Mapping[str, Actor], transcript: Transcript
) -> Failure:
    return Failure(
        requirement=_rule(case, step, missed),
        actor=step.actor,
        step=f"{step.place}  {step.source}",
        expected=visible(missed.expected),
        seen=visible(missed.seen),
        reason=missed.reason,
        timeline=transcript.timeline(TIMELINE_LINES),
        stderr=_stderr(actors, transcript),
    )


def _rule(case: Case, step: Step, missed: Missed) -> str:
    """Which rule is broken: the step's own, else the scenario's first.

    What nobody named often shows only later, in front of a line that a shorthand or the ending
    expected. It is then the scenario's own claim that is broken, not the shorthand's.
    """
    if step.proves and (step.by_hand or not missed.extra):
        return step.proves
    return case.scenario.proves[0]


def _stderr(actors: Mapping[str, Actor], transcript: Transcript) -> tuple[str, ...]:
    return tuple(
        f"{name}: {line}"
        for name, actor in actors.items()
        if isinstance(actor, ProgramActor)
        for line in transcript.last_errors(name, STDERR_LINES)
    )


def _left_behind(case: Case, count: int) -> Failure:
    return Failure(
        requirement=case.scenario.proves[0],
        actor="server",
        step=f"{case.scenario.place}  at the end",
        expected="no process left behind",
        seen=f"{count} left, and killed",
        reason="a program left processes behind",
    )
