"""From a step that did not come true to the failure that people read: which rule, whose fault.

It plays nothing, and gives no verdict.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from conformance.model import Case, Failure, FailureKind, Origin, Step, Trait
from conformance.play.actors.base import Actor
from conformance.play.actors.missed import Missed
from conformance.play.actors.program import ProgramActor
from conformance.play.poll import Flood
from conformance.play.transcript import Transcript
from conformance.text import visible

TIMELINE_LINES = 6  # of each actor
STDERR_LINES = 4  # of each program, from the beginning, and as many from the end

_KINDS = {Origin.FENCE: FailureKind.FENCE, Origin.ENDING: FailureKind.ENDING}


@dataclass(frozen=True, slots=True)
class Failures:
    """Makes the failures of one case."""

    case: Case
    actors: Mapping[str, Actor]
    transcript: Transcript

    def of(self, step: Step, problem: Missed | Flood) -> Failure:
        """The failure of a step."""
        missed = problem
        if isinstance(missed, Flood):
            missed = Missed("what the steps name", f"{missed.actor} sends without end", "a flood")
        kind = _kind(step, missed)
        return Failure(
            requirement=self._rule(step, missed, kind),
            actor=step.actor,
            step=f"{step.place}  {step.source}",
            expected=visible(missed.expected),
            seen=visible(missed.seen),
            reason=missed.reason,
            timeline=self.transcript.timeline(TIMELINE_LINES),
            stderr=self._stderr(),
            kind=kind,
            program="" if kind is FailureKind.STEP else self._at_fault(step).label,
        )

    def left_over(self, orphans: int) -> Failure | None:
        """Processes that went on after their programs: in the programs' groups, or as orphans."""
        programs = self._programs()
        count = sum(actor.left_over for actor in programs) + orphans
        if not count:
            return None
        guilty = next((actor for actor in programs if actor.left_over), programs[0])
        return Failure(
            requirement="",
            actor=guilty.name,
            step=f"{self.case.scenario.place}  at the end",
            expected="no process left behind",
            seen=f"{count} left, and killed",
            reason="a program has ended, and processes that it started have not",
            kind=FailureKind.LEFT_OVER,
            program=guilty.label,
        )

    def _rule(self, step: Step, missed: Missed, kind: FailureKind) -> str:
        """Which rule is broken: the step's own, else the scenario's first."""
        first, actor = self.case.scenario.proves[0], self.actors[step.actor]
        if kind is FailureKind.START and isinstance(actor, ProgramActor) and not step.proves:
            return actor.part.program.proves or first
        own = None if missed.extra else step.own_rule
        return own or step.proves or first

    def _at_fault(self, step: Step) -> Actor:
        """Who is blamed for a start, a fence or an ending: the server, where it is a program."""
        server, actor = self.actors["server"], self.actors[step.actor]
        of_itself = Trait.OF_ITSELF in step.traits
        return server if isinstance(server, ProgramActor) and not of_itself else actor

    def _stderr(self) -> tuple[str, ...]:
        return tuple(
            f"{actor.name}: {line}"
            for actor in self._programs()
            for line in self.transcript.errors(actor.name, STDERR_LINES)
        )

    def _programs(self) -> list[ProgramActor]:
        return [actor for actor in self.actors.values() if isinstance(actor, ProgramActor)]


def none_of(steps: Sequence[Step], misses: Sequence[Missed]) -> Missed:
    """What is told where none of several dialogues begins as it should."""
    alone = len({step.actor for step in steps}) == 1
    told = list(zip(steps, misses, strict=True))
    wanted = [
        missed.expected if alone else f"{one.actor}: {missed.expected}" for one, missed in told
    ]
    seen = [missed.seen if alone else f"{one.actor}: {missed.seen}" for one, missed in told]
    reason = f"none of {len(steps)} dialogues begins so: {misses[0].reason}"
    return Missed(" or ".join(wanted), "; ".join(dict.fromkeys(seen)), reason)


def _kind(step: Step, missed: Missed) -> FailureKind:
    """What kind of failure a step is.

    A line that no step names often shows only later: before a fence line, or in the ending. Then
    the scenario's own claim is not true, and the fence and the ending are as they should be.
    """
    if missed.extra or missed.kind is not FailureKind.STEP:
        return missed.kind
    return _KINDS.get(step.origin, FailureKind.STEP)
