"""Plays one case: makes the actors, plays the steps in order, and cleans up.

It gives no verdict: an outcome only says what happened.
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

from conformance.builds.build import Build
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
    Trait,
    single,
)
from conformance.play.actors import ACTORS
from conformance.play.actors.base import Actor, Part, Scene
from conformance.play.actors.missed import Lacking, Lingering, Missed
from conformance.play.actors.program import GROUP_SECONDS, ProgramActor
from conformance.play.case.failures import Failures, none_of
from conformance.play.case.files import Files
from conformance.play.case.hold import Hold
from conformance.play.case.poll import Excess, Flood, Loop
from conformance.play.case.together import together
from conformance.play.case.transcript import Row, Transcript
from conformance.play.network import fixed_ports
from conformance.play.network.proxy import Proxy, needs_proxy
from conformance.play.processes import confine
from conformance.play.processes.process import guard
from conformance.play.processes.system import children, reap
from conformance.play.schedule.deadlines import DEADLINES, SHORTENED_BY, Deadlines, timed

KILL_SECONDS = 5.0  # to kill a confined program that forks without end
OVERDUE_SECONDS = 30.0  # a step that runs so long after its deadline never ends

# Programs do not inherit these. A program must flush its output by itself, so nothing may turn
# buffering off. COLUMNS and LINES describe the terminal of the harness, not that of the program.
_HIDDEN = ("PYTHONUNBUFFERED", "PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "COLUMNS", "LINES")
# The same on every machine: for instance, readline must not read the user's key bindings.
_GIVEN = {"TERM": "dumb", "LC_ALL": "C.UTF-8", "INPUTRC": os.devnull}
_GIVEN |= {"PYTHONDONTWRITEBYTECODE": "1"}  # Python writes no files beside the sources

Arm = Callable[[float], object]


def play(
    case: Case,
    suite: Suite,
    builds: Mapping[str, Build],
    deadlines: Deadlines = DEADLINES,
    hold: Hold | None = None,
    confined: bool = False,
    rows: list[Row] | None = None,
) -> Outcome:
    """Play a case. Nothing that a program does makes this function raise.

    `hold` is called when a step fails. `confined`: the programs have limits. `rows` is filled with
    the lines of the transcript while the case is played.
    """
    ports = fixed_ports.ports(case)
    playing = partial(_Playing, case, suite, builds, deadlines, hold, confined, rows)
    try:
        with fixed_ports.hold_ports(ports):
            try:
                return _outcome(playing())
            except Lingering:  # earlier cases have used the port in the same network
                fixed_ports.wait_until_free(ports)
                return _outcome(playing())
    except Lacking as lacking:
        return Outcome(0.0, error=str(lacking))


def _outcome(playing: _Playing) -> Outcome:
    """Play a case; raises Lingering if its port is not free yet."""
    began = time.monotonic()
    failure, error, afterwards = None, None, None
    try:
        failure, afterwards = playing.play()
    except Lingering:
        raise
    except Lacking as lacking:
        error = str(lacking)
    except OSError as problem:  # for instance, no descriptor, process or terminal is left
        error = f"this machine: {problem}"
    return Outcome(
        seconds=time.monotonic() - began,
        failure=failure,
        error=error,
        afterwards=afterwards,
        transcript=playing.transcript.text,
        timed=playing.transcript.timed,
        output=playing.transcript.output,
        reached=playing.reached,
        timed_out=playing.timed_out,
        shortened=playing.shortened,
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
    confined: bool = False
    rows: list[Row] | None = None
    reached: int = 0  # for this and the next two, see Outcome
    timed_out: bool = False
    shortened: bool = False
    transcript: Transcript = field(default_factory=Transcript)
    spent: dict[tuple[str, str], tuple[int, float]] = field(default_factory=dict)  # see Outcome

    def __post_init__(self) -> None:
        if self.rows is not None:
            self.rows.clear()
            self.transcript.rows = self.rows

    def play(self) -> tuple[Failure | None, Failure | None]:
        """The failure of a step, and the failure after all steps had come true."""
        guard()  # start it first, so that it does not count as a left-over process
        before = children()
        try:
            with self._actors() as actors:
                failures = Failures(self.case, actors, self.transcript)
                with alarm() as arm:
                    failure = self._play_steps(actors, failures, arm)
                if failure and self.hold:
                    self.hold(self.case.id, failure, actors)
            left_over = failures.left_over(reap(before, 0.0 if failure else GROUP_SECONDS))
        except BaseException:  # after Ctrl+C, a program may run that no actor knows yet
            reap(before, 0.0)
            raise
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
            for step, following in zip(steps, (*steps[1:], None), strict=True):
                if actor := actors.get(step.actor):
                    actor.says_more = _says_more(step, following)
                # Of the first step of a dialogue, if what went wrong belongs to no step.
                with _as_failure_of(next(iter(single([step])))):
                    self._play_step(actors, step, arm)
                self.reached += 1
            with _as_failure_of(ends[0]):
                self._account_for_all(actors)
            for step in ends:
                with _as_failure_of(step):
                    actors[step.actor].until = time.monotonic() + self.deadlines.allow(last)
                    actors[step.actor].finish(step)
        except _Failed as failed:
            actor, step = actors[failed.step.actor], failed.step
            self._note_timeout(actor, step)
            return self._noted(failures.of(step, failed.problem), actor.patience(step))
        except Overdue:
            remedy = "check its regular expressions for exponential backtracking"
            raise Lacking(f"{step.place}: this step does not end; {remedy}") from None
        return None

    def _account_for_all(self, actors: Mapping[str, Actor]) -> None:
        """Wait until the proxy has forwarded everything; raises Lacking if it does not."""
        scene = next(iter(actors.values())).scene
        if proxy := scene.proxy:
            deadline = time.monotonic() + self.deadlines.step
            if not scene.loop.wait(lambda: not proxy.held, deadline):
                raise Lacking(f"a fault of the harness: its proxy still holds {proxy.held} bytes")

    def _note_timeout(self, actor: Actor, step: Step) -> None:
        """Note whether the step timed out; not inside dialogues, nor after the last step."""
        is_of_case = step in self.case.scenario.steps[self.reached : self.reached + 1]
        self.timed_out = is_of_case and time.monotonic() >= actor.deadline(step)
        self.shortened = self.timed_out and step is self.deadlines.shortened

    def _noted(self, failure: Failure, seconds: float) -> Failure:
        """The failure; its reason says so if the step had a shortened deadline."""
        if not self.shortened:
            return failure
        usual = f"the deadline of {seconds * SHORTENED_BY:g} s was shortened"
        reason = f"{failure.reason}; {usual}, because other cases timed out here"
        return replace(failure, reason=reason)

    def _play_step(self, actors: Mapping[str, Actor], step: Step, arm: Arm) -> None:
        """Play one step, or the dialogues of an `either` or a `together`."""
        match step.split:
            case Split.EITHER:
                for one in self._chosen(actors, step, arm)[1:]:
                    self._play_step(actors, one, arm)
            case Split.TOGETHER:
                loop = next(iter(actors.values())).scene.loop
                shared = never_sooner(arm)
                together(loop, [partial(self._play_all, actors, b, shared) for b in step.branches])
            case None:
                with _as_failure_of(step):
                    self._play_single(actors[step.actor], step, arm)

    def _play_all(self, actors: Mapping[str, Actor], steps: Sequence[Step], arm: Arm) -> None:
        for step in steps:
            self._play_step(actors, step, arm)

    def _chosen(self, actors: Mapping[str, Actor], step: Step, arm: Arm) -> Sequence[Step]:
        """The first dialogue whose first step comes true before its own deadline."""
        firsts = [branch[0] for branch in step.branches]
        ends = [_begun(actors[first.actor], first) for first in firsts]
        arm(max(max(ends) - time.monotonic(), 0.0) + OVERDUE_SECONDS)
        loop = next(iter(actors.values())).scene.loop
        misses: dict[int, Missed] = {}
        left = list(range(len(firsts)))
        while True:
            now, before = time.monotonic(), loop.events
            for index in left:
                missed = self._tried(actors, firsts[index])
                if missed is None:
                    return step.branches[index]
                misses[index] = missed
            left = [index for index in left if now <= ends[index]]
            if not any(misses[index].late for index in left):
                raise _Failed(firsts[0], none_of(firsts, list(misses.values())))
            loop.wait(partial(loop.has_read_since, before), min(ends[index] for index in left))

    def _tried(self, actors: Mapping[str, Actor], first: Step) -> Missed | None:
        """Try the first step of a dialogue; returns why it fails, or None."""
        self.transcript.begins(first)
        with _as_failure_of(first):
            return actors[first.actor].tries(first)

    def _play_single(self, actor: Actor, step: Step, arm: Arm) -> None:
        began = time.monotonic()
        self.transcript.begins(step)
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

        If the cleaning up of one thing fails, all others are cleaned up nevertheless.
        """
        with ExitStack() as cleaning:
            scratch = Path(tempfile.mkdtemp(prefix="conformance-"))
            cleaning.callback(shutil.rmtree, scratch, ignore_errors=True)
            scene = self._scene(Files(scratch))
            cleaning.callback(scene.files.close)
            if scene.proxy:
                cleaning.callback(scene.proxy.destroy)
            actors = self._cast(scene)
            programs = [actor for actor in actors.values() if isinstance(actor, ProgramActor)]
            if self.confined:
                cleaning.callback(confine.end, KILL_SECONDS)
                scene.loop.meter = partial(_check_limits, programs)
            scene.any_is_starting = lambda: any(program.is_starting for program in programs)
            for actor in actors.values():
                cleaning.callback(actor.destroy)
            yield actors

    def _scene(self, files: Files) -> Scene:
        hosts = (one.host for one in self.case.implementations if one.host)
        host, loop = next(hosts, "127.0.0.1"), Loop(self.transcript)
        delivery, seed = self.case.delivery, self.case.key
        return Scene(
            loop=loop,
            host=host,
            delivery=delivery,
            seed=seed,
            proxy=Proxy(loop, host, delivery, seed) if needs_proxy(self.case) else None,
            deadlines=self.deadlines,
            environment=environment(),
            folder=self.suite.folder,
            line_end=self.suite.line_end,
            files=files,
            confined=self.confined,
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
        """The implementations that a server actor runs, one for each start."""
        assert self.case.server
        return [self.case.server, *(self.case.successors if actor == "server" else ())]


def _begun(actor: Actor, step: Step) -> float:
    """Begin a step; returns its deadline, which the next step of the actor may replace."""
    actor.begin(step)
    return actor.deadline(step)


def _says_more(step: Step, following: Step | None) -> bool:
    """Whether the same actor sends bytes in this step and in the next one."""
    is_same = following is not None and following.actor == step.actor
    return is_same and all(Trait.SAYS in one.traits for one in (step, following) if one)


def environment() -> dict[str, str]:
    """The environment variables that programs get."""
    kept = {k: v for k, v in os.environ.items() if k not in _HIDDEN}
    return kept | _GIVEN


def _check_limits(programs: Sequence[ProgramActor]) -> None:
    """Raise Excess if a program exceeds a limit."""
    for program in programs:
        process = program.process
        if process and process.running and (what := confine.excess(process.pid)):
            raise Excess(program.name, what)


# --- Steps that never end ---


class _Failed(Exception):
    """A step did not come true."""

    def __init__(self, step: Step, problem: Missed | Flood | Excess) -> None:
        super().__init__()
        self.step = step
        self.problem = problem


@contextmanager
def _as_failure_of(step: Step) -> Iterator[None]:
    """Turn a miss in the block into the failure of this step."""
    try:
        yield
    except (Missed, Flood, Excess) as problem:
        raise _Failed(step, problem) from None


class Overdue(Exception):
    """A step still computes long after its deadline, without looking at the clock."""


@contextmanager
def alarm() -> Iterator[Arm]:
    """Gives a function that sets an alarm, in seconds; the alarm raises Overdue in the block.

    It does nothing outside the main thread, or if another alarm is set.
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


def never_sooner(arm: Arm) -> Arm:
    """The same alarm for steps that are played at the same time: it waits for the last of them."""
    latest = 0.0

    def later(seconds: float) -> None:
        nonlocal latest
        now = time.monotonic()
        latest = max(latest, now + seconds)
        arm(latest - now)

    return later


def _overdue(*_: object) -> None:
    raise Overdue
