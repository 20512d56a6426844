"""Puts one case on the stage: the actors up, the steps played in order, everything down again."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from conformance.build import Build
from conformance.model import (
    ActorKind,
    Case,
    Failure,
    FailureKind,
    Implementation,
    Origin,
    Outcome,
    Role,
    Step,
    Suite,
)
from conformance.play.actors import (
    GROUP_SECONDS,
    START_SECONDS,
    Actor,
    Lacking,
    Missed,
    ProgramActor,
    Scene,
    ScriptedServer,
    Wire,
    allowance,
)
from conformance.play.files import Files
from conformance.play.poll import Flood, Loop
from conformance.play.process import bury, children
from conformance.play.transcript import Transcript
from conformance.text import visible

DEADLINE = 10.0  # seconds that a step waits for what must come
TIMELINE_LINES = 6  # of each actor
OVERDUE_SECONDS = 30.0  # behind a step's deadline, before it is taken for one that never ends
STDERR_LINES = 4  # of each program, from the beginning, and as many from the end

# A program that buffers its output is to show it: nothing of ours may unbuffer it. And the size of
# its window is that of its own terminal, not that of the terminal in which the harness runs.
_HIDDEN = ("PYTHONUNBUFFERED", "PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "COLUMNS", "LINES")
# The same on every machine, whatever its user has set: readline reads no file with keys of theirs.
_GIVEN = {"TERM": "dumb", "LC_ALL": "C.UTF-8", "INPUTRC": os.devnull}
_GIVEN |= {"PYTHONDONTWRITEBYTECODE": "1"}  # nothing is written beside the sources

Spent = dict[tuple[str, str], tuple[int, float]]  # see Outcome

_loopback = itertools.count(2)  # for programs that cannot be told their port


def play(
    case: Case,
    suite: Suite,
    builds: Mapping[str, Build],
    *,
    deadline: float = DEADLINE,
    start_deadline: float = START_SECONDS,
) -> Outcome:
    """Play a case. Never raises for what programs do.

    `deadline` is in seconds a step, `start_deadline` in seconds for the start of a program.
    """
    began = time.monotonic()
    transcript = Transcript()
    spent: Spent = {}
    failure, error, afterwards = None, None, None
    try:
        before = children()
        with _Stage(case, suite, builds, transcript, deadline, start_deadline) as actors:
            failure = _play_steps(case, actors, transcript, spent, start_deadline)
        afterwards = _left_over(case, actors, bury(before, 0.0 if failure else GROUP_SECONDS))
    except Lacking as lacking:
        error = str(lacking)
    except OSError as problem:  # out of descriptors, processes, terminals …
        error = f"this machine: {problem}"
    if failure and failure.kind is FailureKind.ENDING:
        failure, afterwards = None, failure
    return Outcome(
        seconds=time.monotonic() - began,
        failure=failure,
        error=error,
        afterwards=None if failure else afterwards,
        transcript=transcript.text,
        output=transcript.output if failure or error or afterwards else "",
        spent=spent,
    )


def longest(case: Case, deadline: float, start_deadline: float = START_SECONDS) -> float:
    """How long a case can take: the deadlines of its steps, and of what starts in it."""
    steps = case.scenario.steps
    starts = sum(step.verb in ("starts", "accepts") for step in steps)
    return sum(allowance(step, deadline) for step in steps) + starts * start_deadline


class Overdue(Exception):
    """A step that goes on long after its deadline: it computes, and does not look at the clock."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise Overdue in the block when the time is over; where the main thread, and no one else's
    alarm, allows that.
    """
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getitimer(signal.ITIMER_REAL)[0]:
        yield
        return
    before = signal.signal(signal.SIGALRM, _overdue)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _overdue(*_: object) -> None:
    raise Overdue


class _Stage:
    """The actors of a case, from the raising of the curtain to its fall.

    Whatever goes wrong in taking one thing away, all others are taken away too.
    """

    def __init__(
        self,
        case: Case,
        suite: Suite,
        builds: Mapping[str, Build],
        transcript: Transcript,
        deadline: float,
        start_deadline: float,
    ) -> None:
        self._case, self._suite, self._builds = case, suite, builds
        self._transcript = transcript
        self._deadline, self._start_deadline = deadline, start_deadline
        self._cleaning = ExitStack()

    def __enter__(self) -> dict[str, Actor]:
        scratch = Path(tempfile.mkdtemp(prefix="conformance-"))
        self._cleaning.callback(shutil.rmtree, scratch, ignore_errors=True)
        files = Files(scratch)
        self._cleaning.callback(files.close)
        fixed = self._case.server is not None and self._case.server.port is not None
        scene = Scene(
            loop=Loop(self._transcript),
            transcript=self._transcript,
            host=_own_address() if fixed else "127.0.0.1",
            seconds=self._deadline,
            start_seconds=self._start_deadline,
            environment=_environment(),
            folder=self._suite.folder,
            files=files,
        )
        actors = _cast(self._case, self._suite, self._builds, scene)
        programs = [actor for actor in actors.values() if isinstance(actor, ProgramActor)]
        scene.someone_starts = lambda: any(program.is_starting for program in programs)
        for actor in actors.values():
            self._cleaning.callback(actor.destroy)
        return actors

    def __exit__(self, *_: object) -> None:
        self._cleaning.close()


def _environment() -> dict[str, str]:
    """What programs are started with."""
    kept = {k: v for k, v in os.environ.items() if k not in _HIDDEN}
    return kept | _GIVEN


def _own_address() -> str:
    """A loopback address that no other case has: a fixed port is free on it."""
    return f"127.{1 + os.getpid() % 250}.{os.getpid() // 250 % 250}.{next(_loopback) % 250 + 1}"


def _cast(case: Case, suite: Suite, builds: Mapping[str, Build], scene: Scene) -> dict[str, Actor]:
    clients = itertools.cycle(case.clients) if case.clients else iter(())
    actors: dict[str, Actor] = {}
    for name, member in case.scenario.cast.items():
        if member.kind is ActorKind.WIRE:
            actors[name] = Wire(name, scene)
        elif member.kind is ActorKind.SCRIPTED:
            actors[name] = ScriptedServer(name, scene)
        else:
            role = Role(member.kind)
            turns = _turns(case, name) if role is Role.SERVER else [next(clients)]
            ready = [builds[one.label] for one in turns]
            actors[name] = ProgramActor(name, scene, suite.programs[role], ready, member.medium)
    return actors


def _turns(case: Case, actor: str) -> list[Implementation]:
    """Which programs a server actor is, one at each start."""
    assert case.server
    return [case.server, *(case.successors if actor == "server" else ())]


def _play_steps(
    case: Case,
    actors: Mapping[str, Actor],
    transcript: Transcript,
    spent: Spent,
    start_deadline: float,
) -> Failure | None:
    for step in case.scenario.steps:
        began = time.monotonic()
        actor = actors[step.actor]
        actor.scene.begin(step)
        try:
            with time_limit(actor.scene.until - began + start_deadline + OVERDUE_SECONDS):
                getattr(actor, step.verb)(step)
        except (Missed, Flood) as missed:
            return _failure(case, step, missed, actors, transcript)
        except Overdue:
            remedy = "does a pattern in it take for ever?"
            raise Lacking(f"{step.place}: this step does not end; {remedy}") from None
        doing = (actor.label, "(time that a rule names)" if timed(step) else step.verb)
        count, seconds = spent.get(doing, (0, 0.0))
        spent[doing] = (count + 1, seconds + time.monotonic() - began)
    return _look_at_the_rest(case, actors, transcript)


def _look_at_the_rest(
    case: Case, actors: Mapping[str, Actor], transcript: Transcript
) -> Failure | None:
    """Nothing that came to anyone is left that no step has named."""
    last = case.scenario.steps[-1]
    for name, actor in actors.items():
        step = Step(case.scenario.place, name, "finish", source="at the end")
        actor.scene.begin(last)
        try:
            actor.finish(step)
        except (Missed, Flood) as missed:
            return _failure(case, step, missed, actors, transcript)
    return None


def timed(step: Step) -> bool:
    """Whether a step is slow for a good reason."""
    return "within" in step.options or step.verb == "idles_for"


def _failure(
    case: Case,
    step: Step,
    problem: Missed | Flood,
    actors: Mapping[str, Actor],
    transcript: Transcript,
) -> Failure:
    missed = problem
    if isinstance(missed, Flood):
        missed = Missed("what the steps name", f"{missed.actor} sends without end", "a flood")
    kind = _kind(step, missed)
    return Failure(
        requirement=_rule(case, step, missed, kind, actors),
        actor=step.actor,
        step=f"{step.place}  {step.source}",
        expected=visible(missed.expected),
        seen=visible(missed.seen),
        reason=missed.reason,
        timeline=transcript.timeline(TIMELINE_LINES),
        stderr=_stderr(actors, transcript),
        kind=kind,
        program="" if kind is FailureKind.STEP else _at_fault(step, actors),
    )


def _kind(step: Step, missed: Missed) -> FailureKind:
    """What nobody named often shows only later, in front of a fence or in the ending: then the
    scenario's own claim is not true, and the fence and the ending are as they should be.
    """
    if missed.extra or missed.kind is not FailureKind.STEP:
        return missed.kind
    kinds = {Origin.FENCE: FailureKind.FENCE, Origin.ENDING: FailureKind.ENDING}
    return kinds.get(step.origin, FailureKind.STEP)


def _rule(
    case: Case, step: Step, missed: Missed, kind: FailureKind, actors: Mapping[str, Actor]
) -> str:
    """Which rule is broken: the step's own, else the scenario's first."""
    if kind is FailureKind.LEFT_OVER:
        return ""
    actor = actors[step.actor]
    if kind is FailureKind.START and isinstance(actor, ProgramActor) and not step.proves:
        return actor.program.proves or case.scenario.proves[0]
    own = None if missed.extra else step.own_rule
    return own or step.proves or case.scenario.proves[0]


def _at_fault(step: Step, actors: Mapping[str, Actor]) -> str:
    """The program that a start, a fence or an ending is blamed on: the server, where one runs."""
    actor = actors["server"] if isinstance(actors["server"], ProgramActor) else actors[step.actor]
    if step.verb in ("starts", "exits", "complains"):
        actor = actors[step.actor]
    return actor.label


def _stderr(actors: Mapping[str, Actor], transcript: Transcript) -> tuple[str, ...]:
    return tuple(
        f"{name}: {line}"
        for name, actor in actors.items()
        if isinstance(actor, ProgramActor)
        for line in transcript.errors(name, STDERR_LINES)
    )


def _left_over(case: Case, actors: Mapping[str, Actor], fled: int) -> Failure | None:
    """Processes of programs that had ended: in their own group, or fled to another."""
    programs = [actor for actor in actors.values() if isinstance(actor, ProgramActor)]
    guilty = [actor for actor in programs if actor.left_over] or programs[: 1 if fled else 0]
    if not guilty:
        return None
    count = sum(actor.left_over for actor in programs) + fled
    return Failure(
        requirement="",
        actor=guilty[0].name,
        step=f"{case.scenario.place}  at the end",
        expected="no process left behind",
        seen=f"{count} left, and killed",
        reason="a program has ended, and processes that it started have not",
        kind=FailureKind.LEFT_OVER,
        program=guilty[0].label,
    )
