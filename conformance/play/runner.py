"""Plays one case: its actors made, its steps played in order, everything cleaned up.

It gives no verdict: an outcome says what happened.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from conformance.build import Build
from conformance.model import (
    PROGRAMS,
    Case,
    Failure,
    FailureKind,
    Implementation,
    Outcome,
    Role,
    Split,
    Step,
    Suite,
)
from conformance.play import network
from conformance.play.actors import ACTORS
from conformance.play.actors.base import Actor, Part, Scene
from conformance.play.actors.missed import Lacking, Lingering, Missed
from conformance.play.actors.program import GROUP_SECONDS, ProgramActor
from conformance.play.deadlines import DEADLINES, Deadlines, timed
from conformance.play.failures import Failures, none_of
from conformance.play.files import Files
from conformance.play.hold import Hold
from conformance.play.poll import Flood, Loop
from conformance.play.process import guard
from conformance.play.system import bury, children
from conformance.play.together import together
from conformance.play.transcript import Transcript

OVERDUE_SECONDS = 30.0  # after its deadline, a step is taken for one that never ends

# Nothing of ours may unbuffer a program's output: it is to show that it flushes by itself. And its
# window has the size of its own terminal, not of the terminal in which the harness runs.
_HIDDEN = ("PYTHONUNBUFFERED", "PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "COLUMNS", "LINES")
# The same on every machine: readline, for instance, reads no file with the user's own keys.
_GIVEN = {"TERM": "dumb", "LC_ALL": "C.UTF-8", "INPUTRC": os.devnull}
_GIVEN |= {"PYTHONDONTWRITEBYTECODE": "1"}  # nothing is written beside the sources

Arm = Callable[[float], object]


def play(
    case: Case,
    suite: Suite,
    builds: Mapping[str, Build],
    deadlines: Deadlines = DEADLINES,
    hold: Hold | None = None,
) -> Outcome:
    """Play a case. Never raises for what programs do. `hold` gets it where a step fails."""
    ports = network.ports(case)
    play_once = partial(_outcome, case, suite, builds, deadlines, hold)
    try:
        with network.turn_at(ports):
            try:
                return play_once()
            except Lingering:  # in a network that earlier cases have used, too
                network.wait_until_free(ports)
                return play_once()
    except Lacking as lacking:
        return Outcome(0.0, error=str(lacking))


def _outcome(
    case: Case,
    suite: Suite,
    builds: Mapping[str, Build],
    deadlines: Deadlines,
    hold: Hold | None,
) -> Outcome:
    """Play a case; raises Lingering where its port is not free yet."""
    began = time.monotonic()
    playing = _Playing(case, suite, builds, deadlines, hold)
    failure, error, afterwards = None, None, None
    try:
        failure, afterwards = playing.play()
    except Lingering:
        raise
    except Lacking as lacking:
        error = str(lacking)
    except OSError as problem:  # out of descriptors, processes, terminals …
        error = f"this machine: {problem}"
    return Outcome(
        seconds=time.monotonic() - began,
        failure=failure,
        error=error,
        afterwards=afterwards,
        transcript=playing.transcript.text,
        output=playing.transcript.output if failure or error or afterwards else "",
        reached=playing.reached,
        stalled=playing.stalled,
        hurried=playing.hurried,
        spent=playing.spent,
    )


@dataclass(slots=True)
class _Playing:
    """One case, while it is played."""

    case: Case
    suite: Suite
    builds: Mapping[str, Build]
    deadlines: Deadlines
    hold: Hold | None = None
    reached: int = 0  # these three: see Outcome
    stalled: bool = False
    hurried: bool = False
    transcript: Transcript = field(default_factory=Transcript)
    spent: dict[tuple[str, str], tuple[int, float]] = field(default_factory=dict)  # see Outcome

    def play(self) -> tuple[Failure | None, Failure | None]:
        """What failed, and what failed only after all steps had come true."""
        guard()  # which is no process that is left over
        before = children()
        try:
            with self._actors() as actors:
                failures = Failures(self.case, actors, self.transcript)
                with alarm() as arm:
                    failure = self._play_steps(actors, failures, arm)
                if failure and self.hold:
                    self.hold(self.case.id, failure, actors)
        except BaseException:  # Ctrl+C, just when a program had started: no actor has it yet
            bury(before, 0.0)
            raise
        left_over = failures.left_over(bury(before, 0.0 if failure else GROUP_SECONDS))
        if failure and failure.kind is FailureKind.ENDING:
            return None, failure
        return failure, None if failure else left_over

    def _play_steps(
        self, actors: Mapping[str, Actor], failures: Failures, arm: Arm
    ) -> Failure | None:
        steps = self.case.scenario.steps
        *_, last = self.case.scenario.single_steps
        ends = [
            Step(self.case.scenario.place, name, "finish", source="at the end") for name in actors
        ]
        try:
            for step in steps:
                self._play_step(actors, step, arm)
                self.reached += 1
            for step in ends:
                with _told_of(step):
                    actors[step.actor].until = time.monotonic() + self.deadlines.allow(last)
                    actors[step.actor].finish(step)
        except _Failed as failed:
            self._see_whether_it_stalled(actors[failed.step.actor], failed.step)
            return self._noted(failures.of(failed.step, failed.problem), failed.step)
        except Overdue:
            remedy = "does a pattern in it take for ever?"
            raise Lacking(f"{step.place}: this step does not end; {remedy}") from None
        return None

    def _see_whether_it_stalled(self, actor: Actor, step: Step) -> None:
        """Of several dialogues, and after the last step, it is not known."""
        is_of_case = step in self.case.scenario.steps[self.reached : self.reached + 1]
        self.stalled = is_of_case and time.monotonic() >= actor.deadline(step)
        self.hurried = self.stalled and step is self.deadlines.hurried

    def _noted(self, failure: Failure, step: Step) -> Failure:
        """The failure, where it had less time than usual, with that said."""
        if not self.hurried:
            return failure
        usual = f"not {self.deadlines.whole(step):g} s, as other cases waited for this in vain"
        return replace(failure, reason=f"{failure.reason}; {usual}")

    def _play_step(self, actors: Mapping[str, Actor], step: Step, arm: Arm) -> None:
        """One step, or the dialogues that it stands for."""
        match step.split:
            case Split.EITHER:
                for one in self._chosen(actors, step, arm)[1:]:
                    self._play_step(actors, one, arm)
            case Split.TOGETHER:
                loop = next(iter(actors.values())).scene.loop
                together(loop, [partial(self._play_all, actors, b, arm) for b in step.branches])
            case None:
                with _told_of(step):
                    self._play_single(actors[step.actor], step, arm)

    def _play_all(self, actors: Mapping[str, Actor], steps: Sequence[Step], arm: Arm) -> None:
        for step in steps:
            self._play_step(actors, step, arm)

    def _chosen(self, actors: Mapping[str, Actor], step: Step, arm: Arm) -> Sequence[Step]:
        """Of several dialogues the one whose first step has come true, with what has come."""
        firsts = [branch[0] for branch in step.branches]
        for first in firsts:
            actors[first.actor].begin(first)
        deadline = max(actors[first.actor].deadline(first) for first in firsts)
        arm(deadline - time.monotonic() + OVERDUE_SECONDS)
        loop = next(iter(actors.values())).scene.loop
        while True:
            is_last, before, misses = time.monotonic() > deadline, loop.events, []
            for branch in step.branches:
                with _told_of(branch[0]):
                    missed = actors[branch[0].actor].tries(branch[0])
                if missed is None:
                    return branch
                misses.append(missed)
            if is_last or not any(missed.late for missed in misses):
                raise _Failed(firsts[0], none_of(firsts, misses))
            loop.wait(partial(loop.has_read_since, before), deadline)

    def _play_single(self, actor: Actor, step: Step, arm: Arm) -> None:
        began = time.monotonic()
        actor.begin(step)
        start = self.deadlines.longest_start(self.case)
        arm(max(actor.until - began, 0.0) + start + OVERDUE_SECONDS)
        actor.play(step)
        doing = (actor.label, "(time that a rule names)" if timed(step) else step.verb)
        count, seconds = self.spent.get(doing, (0, 0.0))
        self.spent[doing] = (count + 1, seconds + time.monotonic() - began)

    @contextmanager
    def _actors(self) -> Iterator[Mapping[str, Actor]]:
        """The actors, until the end of the block.

        Where one thing cannot be cleaned up, all others are cleaned up nevertheless.
        """
        with ExitStack() as cleaning:
            scratch = Path(tempfile.mkdtemp(prefix="conformance-"))
            cleaning.callback(shutil.rmtree, scratch, ignore_errors=True)
            scene = self._scene(Files(scratch))
            cleaning.callback(scene.files.close)
            actors = self._cast(scene)
            programs = [actor for actor in actors.values() if isinstance(actor, ProgramActor)]
            scene.someone_starts = lambda: any(program.is_starting for program in programs)
            for actor in actors.values():
                cleaning.callback(actor.destroy)
            yield actors

    def _scene(self, files: Files) -> Scene:
        hosts = (one.host for one in self.case.implementations if one.host)
        return Scene(
            loop=Loop(self.transcript),
            host=next(hosts, "127.0.0.1"),
            deadlines=self.deadlines,
            environment=_environment(),
            folder=self.suite.folder,
            line_end=self.suite.line_end,
            files=files,
            fixed_port=next((one.port for one in self.case.clients if one.port), 0),
        )

    def _cast(self, scene: Scene) -> Mapping[str, Actor]:
        clients = itertools.cycle(self.case.clients)
        actors = {}
        for name, member in self.case.scenario.cast.items():
            part = Part(name, scene)
            if member.kind in PROGRAMS:
                role = Role(member.kind)
                runs = self._servers(name) if role is Role.SERVER else [next(clients)]
                turns = [self.builds[one.label] for one in runs]
                part = Part(name, scene, member.medium, self.suite.programs[role], turns)
            actors[name] = ACTORS[member.kind](part)
        return actors

    def _servers(self, actor: str) -> list[Implementation]:
        """Which programs a server actor is, one at each start."""
        assert self.case.server
        return [self.case.server, *(self.case.successors if actor == "server" else ())]


def _environment() -> dict[str, str]:
    """What programs are started with."""
    kept = {k: v for k, v in os.environ.items() if k not in _HIDDEN}
    return kept | _GIVEN


# --- Steps that never end ---


class _Failed(Exception):
    """A step did not come true."""

    def __init__(self, step: Step, problem: Missed | Flood) -> None:
        super().__init__()
        self.step = step
        self.problem = problem


@contextmanager
def _told_of(step: Step) -> Iterator[None]:
    """What goes wrong in the block goes wrong in this step."""
    try:
        yield
    except (Missed, Flood) as problem:
        raise _Failed(step, problem) from None


class Overdue(Exception):
    """A step goes on long after its deadline: it computes, and does not look at the clock."""


@contextmanager
def alarm() -> Iterator[Arm]:
    """What sets an alarm, in seconds from then on: Overdue is raised in the block.

    Only the main thread can do that, and only where no other alarm is set.
    """
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getitimer(signal.ITIMER_REAL)[0]:
        yield lambda _: None
        return
    before = signal.signal(signal.SIGALRM, _overdue)
    try:
        yield partial(signal.setitimer, signal.ITIMER_REAL)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _overdue(*_: object) -> None:
    raise Overdue
