"""Turns a failed step into the failure that people read: which rule is broken, and by whom.

This module plays nothing, and gives no verdict.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from conformance.model import FLOOD, Case, Failure, FailureKind, Origin, Step, Trait
from conformance.play.actors.base import Actor
from conformance.play.actors.missed import Missed
from conformance.play.actors.program import ProgramActor
from conformance.play.case.poll import Excess, Flood
from conformance.play.case.transcript import Transcript
from conformance.text import differing, excerpt, visible

TIMELINE_LINES = 6  # for each actor
STDERR_LINES = 4  # for each program: the first ones, and as many of the last ones

_KINDS = {Origin.FENCE: FailureKind.FENCE, Origin.ENDING: FailureKind.ENDING}


@dataclass(frozen=True, slots=True)
class Failures:
    """Makes the failures of one case."""

    case: Case
    actors: Mapping[str, Actor]
    transcript: Transcript

    def of(self, step: Step, problem: Missed | Flood | Excess) -> Failure:
        """The failure of a step."""
        if isinstance(problem, Excess):
            return self.over_limit(step, problem)
        missed = problem
        if isinstance(missed, Flood):
            missed = Missed("what the steps name", f"{missed.actor} sends without end", FLOOD)
        kind = _kind(step, missed)
        place = differing(missed.expected, missed.seen)
        return Failure(
            requirement=self._rule(step, missed, kind),
            actor=step.actor,
            step=f"{step.place}  {step.source}",
            expected=visible(excerpt(missed.expected, place)),
            seen=visible(excerpt(missed.seen, place)),
            reason=excerpt(missed.reason),
            timeline=self.transcript.timeline(TIMELINE_LINES),
            sent=self.transcript.sent,
            stderr=self._stderr(),
            kind=kind,
            program="" if kind is FailureKind.STEP else self._at_fault(step),
        )

    def over_limit(self, step: Step, excess: Excess) -> Failure:
        """The failure of a program that exceeded a limit."""
        guilty = self.actors[excess.actor]
        return Failure(
            requirement="",
            actor=guilty.name,
            step=f"{step.place}  {step.source}",
            expected="no more than a program may use",
            seen=excess.what,
            reason="the program was killed",
            timeline=self.transcript.timeline(TIMELINE_LINES),
            stderr=self._stderr(),
            kind=FailureKind.LIMIT,
            program=guilty.label,
        )

    def left_over(self, orphans: Sequence[Path | None]) -> Failure | None:
        """The failure of a program whose child processes outlived it; None if there are none.

        `orphans` are the working folders of those that had left the process groups of the programs.
        """
        programs = self._programs()
        count = sum(actor.left_over for actor in programs) + len(orphans)
        if not count:
            return None
        certain = next((actor for actor in programs if actor.left_over), None)
        guilty = certain or _owner(programs, orphans)
        return Failure(
            requirement="",
            actor=guilty.name if guilty else "",
            step=f"{self.case.scenario.place}  at the end",
            expected="no process left behind",
            seen=f"{count} left, and killed",
            reason="a program has ended, but processes that it started have not",
            kind=FailureKind.LEFT_OVER,
            program=guilty.label if guilty else "",
        )

    def _rule(self, step: Step, missed: Missed, kind: FailureKind) -> str:
        """The broken rule: that of the step, else the first one of the scenario."""
        first, actor = self.case.scenario.proves[0], self.actors[step.actor]
        if kind is FailureKind.START and isinstance(actor, ProgramActor) and not step.proves:
            return actor.part.program.proves or first
        own = None if missed.extra else step.own_rule
        return own or step.proves or first

    def _at_fault(self, step: Step) -> str:
        """The label of the program to blame for a start, a fence or an ending.

        It is "" if the server and a client take part, because either may have broken it.
        """
        server, actor = self.actors["server"], self.actors[step.actor]
        if Trait.OF_ITSELF in step.traits or not isinstance(server, ProgramActor):
            return actor.label
        is_alone = {one.label for one in self._programs()} == {server.label}
        return server.label if is_alone else ""

    def _stderr(self) -> tuple[str, ...]:
        return tuple(
            f"{actor.name}: {excerpt(line)}"
            for actor in self._programs()
            for line in self.transcript.errors(actor.name, STDERR_LINES)
        )

    def _programs(self) -> list[ProgramActor]:
        return [actor for actor in self.actors.values() if isinstance(actor, ProgramActor)]


def _owner(programs: Sequence[ProgramActor], orphans: Sequence[Path | None]) -> ProgramActor | None:
    """The program that has started processes with these working folders; None if several may."""
    some = [actor for actor in programs if actor.implementation.folder.resolve() in orphans]
    some = some or list(programs)
    return some[0] if len({actor.label for actor in some}) == 1 else None


def none_of(steps: Sequence[Step], misses: Sequence[Missed]) -> Missed:
    """One miss for several dialogues, of which none begins as it should."""
    is_one_actor = len({step.actor for step in steps}) == 1
    names = ["" if is_one_actor else f"{step.actor}: " for step in steps]
    wanted = [f"{name}{missed.expected}" for name, missed in zip(names, misses, strict=True)]
    pairs = zip(names, misses, strict=True)
    seen = [f"{name}{missed.seen}" for name, missed in pairs if missed.seen or not is_one_actor]
    reason = f"none of {len(steps)} dialogues begins like this: {misses[0].reason}"
    return Missed(" or ".join(wanted), "; ".join(dict.fromkeys(seen)), reason)


def _kind(step: Step, missed: Missed) -> FailureKind:
    """The kind of failure that a missed step is.

    A line that no step names is often noticed only later: before a fence line, or in the ending.
    Then the scenario's own claim is wrong, and not the fence or the ending.
    """
    if missed.extra or missed.kind is not FailureKind.STEP:
        return missed.kind
    return _KINDS.get(step.origin, FailureKind.STEP)
