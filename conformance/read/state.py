"""The state of a scenario after some of its steps, and so which step cannot follow.

Scenarios have no loops and no conditions except `either`, so this is known before anything runs.
This module depends on verbs only by their entries, and not on how steps are written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import Enum

from conformance.arguments import patterns_in
from conformance.mistakes import Fault, Place, meant
from conformance.model import (
    PEERS,
    PROGRAMS,
    ActorKind,
    CastMember,
    Medium,
    Origin,
    Step,
    single,
)
from conformance.read.verbs import (
    READ_REMEDY,
    SCREEN_REMEDY,
    VERBS,
    Effect,
    Misstep,
    Situation,
    Verb,
    When,
    end_remedy,
)

PERSONS = frozenset({ActorKind.CLIENT, ActorKind.WIRE})


class Phase(Enum):
    """The phase of an actor; the values are for messages."""

    WAITING = "has not started"
    ON = "takes part"
    OVER = "has ended"


@dataclass(slots=True)
class Part:
    """The state of one actor."""

    member: CastMember
    phase: Phase = Phase.WAITING
    reads: bool = True
    writes: bool = True  # False: its input has ended

    @property
    def is_on(self) -> bool:
        """Whether it has started and not ended."""
        return self.phase is Phase.ON


@dataclass(slots=True)
class State:
    """The state of a scenario after its `steps`."""

    parts: dict[str, Part]  # by actor
    steps: list[Step] = field(default_factory=list)
    groups: dict[str, dict[str, str]] = field(default_factory=dict)  # group → actor → name there
    # Actors whose last act has had no effect that a step saw, in the order of these acts.
    unproven: dict[str, Place] = field(default_factory=dict)
    last: str = ""  # the actor that acted last
    acted: set[str] = field(default_factory=set)  # actors and their acts: `ann`, `ann starts`
    captured: set[str] = field(default_factory=set)  # names of what steps have captured

    @property
    def present(self) -> list[str]:
        """The clients and wires that take part now, which `everyone` names."""
        return [a for a, part in self.parts.items() if part.is_on and part.member.kind in PERSONS]

    # --- One more step ---

    def follow(self, step: Step, place: Place) -> None:
        """Add a step; raises Fault if it cannot follow the steps before it."""
        part, verb = self.parts[step.actor], VERBS[step.verb]
        self._check_phase(step, verb, place)
        if verb.needs_input and not part.writes:
            raise Misstep(place, f"the input of {step.actor} has ended")
        if verb.check:
            verb.check(Situation(step, part.member, self.steps, place))
        self._check_times(step, verb, place)
        _apply(verb.effect, part, step)
        self.captured |= {name for one in patterns_in(step.argument) for name in one.captures}
        self._note_act(step, verb, place)
        self.steps.append(step)

    def _check_phase(self, step: Step, verb: Verb, place: Place) -> None:
        part = self.parts[step.actor]
        if verb.stands is When.APART:
            if part.is_on:
                raise Misstep(place, f"{step.actor} has started already")
            self._check_server(step, part, place)
        elif verb.stands is When.RUNNING and not part.is_on:
            raise Misstep(place, f"{step.actor} {part.phase.value}")

    def _check_times(self, step: Step, verb: Verb, place: Place) -> None:
        """Check that the act from which times are measured is an earlier step."""
        since = step.options.get("since")
        if since is not None and since not in self.acted:
            known = meant(str(since), self.acted)
            raise Misstep(place, f"`since: {since}` names no act before this step; {known}")
        if since is not None and not {"within", "not_before"} & step.options.keys():
            raise Fault(place, "`since` needs `within` or `not_before`")
        if "not_before" in step.options and not self.acted:
            message = "`not_before` counts from the last act, and no actor has acted before"
            raise Misstep(place, message)

    def _check_server(self, step: Step, part: Part, place: Place) -> None:
        """Check that the server's port is known: it has started, or the step names a port."""
        has_address = part.member.kind is ActorKind.CLIENT and (
            "arguments" in step.options or step.argument
        )
        waiting = self.parts["server"].phase is Phase.WAITING
        if part.member.kind in PERSONS and waiting and not has_address:
            raise Misstep(place, f"{step.actor} cannot connect: the server has not started yet")

    def _note_act(self, step: Step, verb: Verb, place: Place) -> None:
        """Note an act as unproven until some step sees something: by then it was handled."""
        if verb.acts:
            self.last = step.actor
            if step.origin is not Origin.FENCE:
                self.acted |= {step.actor, f"{step.actor} {step.verb}"}
            self.unproven.pop(step.actor, None)
            is_server = self.parts[step.actor].member.kind is ActorKind.SERVER
            # A server is started only when it says that it is ready, so that act is proven.
            if not (verb.effect is Effect.STARTS and is_server):
                self.unproven[step.actor] = place
        elif verb.observes:
            self.unproven.clear()

    # --- Several dialogues ---

    def snapshot(self) -> State:
        """A copy of this state, without the steps."""
        return State(
            {actor: replace(part) for actor, part in self.parts.items()},
            groups={group: dict(members) for group, members in self.groups.items()},
            unproven=dict(self.unproven),
            last=self.last,
            acted=set(self.acted),
            captured=set(self.captured),
        )

    def go_back(self, to: State) -> None:
        """Return to the state of a snapshot, but keep the steps."""
        then = to.snapshot()
        self.parts, self.groups, self.unproven = then.parts, then.groups, then.unproven
        self.last, self.acted, self.captured = then.last, then.acted, then.captured

    def go_on_from(self, ends: Sequence[State], place: Place) -> None:
        """Take the common state after several dialogues; raises Fault if they end differently."""
        first, *others = ends
        for other in others:
            for actor, part in first.parts.items():
                if part != other.parts[actor]:
                    raise Misstep(place, _differing(actor, part, other.parts[actor]))
            if first.groups != other.groups:
                remedy = "let all end with the same actors in the same groups"
                raise Misstep(place, f"these dialogues end with different groups; {remedy}")
        self.go_back(first)
        for other in others:
            self.unproven |= other.unproven
            self.acted &= other.acted
            self.captured &= other.captured

    # --- Groups ---

    def enter(self, actor: str, group: str, name: str, place: Place) -> None:
        """Add an actor to a group, by this name."""
        if self.parts[actor].member.medium.is_screen:
            message = f"{actor} is on a screen, so it cannot see fences, nor be in a group"
            raise Fault(place, message)
        self.groups.setdefault(group, {})[actor] = name

    def leave(self, actor: str, group: str, place: Place) -> None:
        """Remove an actor from a group; raises Misstep if it is not in it."""
        if self.groups.setdefault(group, {}).pop(actor, None) is None:
            raise Misstep(place, f"{actor} is not in {group}")

    # --- The end ---

    @property
    def needs_ending(self) -> bool:
        """Whether the suite's ending is played: the server is a program that still runs."""
        server = self.parts.get("server")
        return bool(server and server.member.kind is ActorKind.SERVER and server.is_on)

    def check_readers(self, place: Place) -> None:
        """Raise Misstep if an actor does not read at the end."""
        for actor, part in self.parts.items():
            if part.is_on and not part.reads:
                raise Misstep(place, f"{actor} does not read at the end; {READ_REMEDY}")

    def check_end(self, place: Place) -> None:
        """Raise Misstep if an actor has not ended, or no step looked at its screen since it did."""
        for actor, part in self.parts.items():
            kind = part.member.kind
            if part.is_on and kind is not ActorKind.SCRIPTED:
                raise Misstep(place, f"{actor} still takes part at the end; {end_remedy(kind)}")
            mine = [step.verb for step in single(self.steps) if step.actor == actor]
            last = mine[-1] if mine else ""
            on_screen = kind in PROGRAMS and part.member.medium.is_screen
            if on_screen and last and VERBS[last].effect is Effect.ENDS:
                raise Misstep(place, f"{actor} has exited; {SCREEN_REMEDY}")


def _differing(actor: str, one: Part, other: Part) -> str:
    """Why a scenario cannot continue after dialogues that end differently."""
    remedy = "let all end alike, or move the steps that follow into each of them"
    if one.phase is not other.phase:
        ends = f"{one.phase.value} after one dialogue, and {other.phase.value} after another"
        return f"{actor} {ends}; {remedy}"
    return f"whether {actor} reads or writes differs after these dialogues; {remedy}"


def _apply(effect: Effect | None, part: Part, step: Step) -> None:
    """Change the state of an actor by the effect of a step."""
    kind, medium = part.member.kind, part.member.medium
    match effect:
        case Effect.STARTS:
            part.phase, part.reads, part.writes = Phase.ON, True, "input" not in step.options
        case Effect.ENDS if kind is not ActorKind.SCRIPTED:  # which can take another connection
            part.phase = Phase.OVER
        case Effect.ENDS:
            part.reads = True  # the next connection, if any
        case Effect.ENDS_INPUT if kind in PEERS or medium is Medium.PIPES:
            part.writes = False
        case Effect.OPENS_INPUT:
            part.reads = part.writes = True
        case Effect.STOPS_READING | Effect.READS_AGAIN:
            part.reads = effect is Effect.READS_AGAIN
