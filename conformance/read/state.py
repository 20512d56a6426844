"""Where a scenario stands after its first steps, and so which step cannot follow.

All steps are known before anything runs, because YAML holds no loops and no conditions. This
module knows verbs only by their entries, and no step as it is written.
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
    """How far an actor is; the words are for messages."""

    WAITING = "has not started"
    ON = "takes part"
    OVER = "is gone"


@dataclass(slots=True)
class Part:
    """What is known of one actor."""

    member: CastMember
    phase: Phase = Phase.WAITING
    reads: bool = True
    writes: bool = True  # until it ends its input

    @property
    def is_on(self) -> bool:
        """Whether it has started and not ended."""
        return self.phase is Phase.ON


@dataclass(slots=True)
class State:
    """What the steps so far have led to; `steps` grows with each one that follows."""

    parts: dict[str, Part]
    steps: list[Step] = field(default_factory=list)
    groups: dict[str, dict[str, str]] = field(default_factory=dict)  # group → actor → name there
    # Actors whose last act has had no effect that a step has seen, in the order of these acts.
    unproven: dict[str, Place] = field(default_factory=dict)
    last: str = ""  # the actor that acted last
    # Actors that have acted, and these with the verbs by which they did: `ann starts`.
    acted: set[str] = field(default_factory=set)
    captured: set[str] = field(default_factory=set)  # names of what steps have captured

    @property
    def present(self) -> list[str]:
        """The persons that take part now."""
        return [a for a, part in self.parts.items() if part.is_on and part.member.kind in PERSONS]

    # --- One more step ---

    def follow(self, step: Step, place: Place) -> None:
        """Add a step; raises Fault where it cannot follow."""
        part, verb = self.parts[step.actor], VERBS[step.verb]
        self._check_phase(step, verb, place)
        if verb.needs_input and not part.writes:
            raise Misstep(place, f"{step.actor} has no input any more")
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
        """Times count from an act that was there before."""
        since = step.options.get("since")
        if since is not None and since not in self.acted:
            known = meant(str(since), self.acted)
            raise Misstep(place, f"times cannot count from `{since}`: no such act before; {known}")
        if since is not None and not {"within", "not_before"} & step.options.keys():
            raise Fault(place, "`since` goes with `within` or `not_before`")
        if "not_before" in step.options and not self.acted:
            raise Misstep(place, "`not_before` counts from an act, and nobody has acted before")

    def _check_server(self, step: Step, part: Part, place: Place) -> None:
        """The port of a server is known once it has run, or stands in the step itself."""
        has_address = part.member.kind is ActorKind.CLIENT and (
            "arguments" in step.options or step.argument
        )
        waiting = self.parts["server"].phase is Phase.WAITING
        if part.member.kind in PERSONS and waiting and not has_address:
            raise Misstep(place, f"{step.actor} cannot connect: the server has not started yet")

    def _note_act(self, step: Step, verb: Verb, place: Place) -> None:
        """Remember an act until some step sees something: by then it has been handled."""
        if verb.acts:
            self.last = step.actor
            if step.origin is not Origin.FENCE:
                self.acted |= {step.actor, f"{step.actor} {step.verb}"}
            self.unproven.pop(step.actor, None)
            is_server = self.parts[step.actor].member.kind is ActorKind.SERVER
            if not (verb.effect is Effect.STARTS and is_server):  # a server says when it is ready
                self.unproven[step.actor] = place
        elif verb.observes:
            self.unproven.clear()

    # --- Several dialogues ---

    def snapshot(self) -> State:
        """Where the scenario stands now; its steps are not among that."""
        return State(
            {actor: replace(part) for actor, part in self.parts.items()},
            groups={group: dict(members) for group, members in self.groups.items()},
            unproven=dict(self.unproven),
            last=self.last,
            acted=set(self.acted),
            captured=set(self.captured),
        )

    def go_back(self, to: State) -> None:
        """Stand where the scenario stood then; the steps stay."""
        then = to.snapshot()
        self.parts, self.groups, self.unproven = then.parts, then.groups, then.unproven
        self.last, self.acted, self.captured = then.last, then.acted, then.captured

    def go_on_from(self, ends: Sequence[State], place: Place) -> None:
        """Stand where each of several dialogues has led to; raises Fault where these differ."""
        first, *others = ends
        for other in others:
            for actor, part in first.parts.items():
                if part != other.parts[actor]:
                    raise Misstep(place, _differing(actor, part, other.parts[actor]))
            if first.groups != other.groups:
                remedy = "let all end with the same actors in the same groups"
                raise Misstep(place, f"these dialogues end with other groups; {remedy}")
        self.go_back(first)
        for other in others:
            self.unproven |= other.unproven
            self.acted &= other.acted
            self.captured &= other.captured

    # --- Groups ---

    def enter(self, actor: str, group: str, name: str, place: Place) -> None:
        """The actor counts as in the group, by this name."""
        if self.parts[actor].member.medium.is_screen:
            raise Fault(place, f"{actor} is on a screen, so it can see no fence: it is in no group")
        self.groups.setdefault(group, {})[actor] = name

    def leave(self, actor: str, group: str, place: Place) -> None:
        """It no longer counts as in the group."""
        if self.groups.setdefault(group, {}).pop(actor, None) is None:
            raise Misstep(place, f"{actor} is not in {group}")

    # --- The end ---

    @property
    def needs_ending(self) -> bool:
        """Whether the server is a program that still runs."""
        server = self.parts.get("server")
        return bool(server and server.member.kind is ActorKind.SERVER and server.is_on)

    def check_readers(self, place: Place) -> None:
        """Raise a fault where an actor does not read at the end."""
        for actor, part in self.parts.items():
            if part.is_on and not part.reads:
                raise Misstep(place, f"{actor} does not read at the end; {READ_REMEDY}")

    def check_end(self, place: Place) -> None:
        """Raise a fault where an actor is still there, or its screen was not looked at."""
        for actor, part in self.parts.items():
            kind = part.member.kind
            if part.is_on and kind is not ActorKind.SCRIPTED:
                raise Misstep(place, f"{actor} is still there at the end; {end_remedy(kind)}")
            mine = [step.verb for step in single(self.steps) if step.actor == actor]
            last = mine[-1] if mine else ""
            on_screen = kind in PROGRAMS and part.member.medium.is_screen
            if on_screen and last and VERBS[last].effect is Effect.ENDS:
                raise Misstep(place, f"{actor} has exited; {SCREEN_REMEDY}")


def _differing(actor: str, one: Part, other: Part) -> str:
    """Why a scenario cannot go on behind dialogues that end in different ways."""
    remedy = "let all dialogues end alike, with what differs in them to its end"
    if one.phase is not other.phase:
        ends = f"{one.phase.value} after one dialogue, and {other.phase.value} after another"
        return f"{actor} {ends}; {remedy}"
    return f"what {actor} reads or writes differs after these dialogues; {remedy}"


def _apply(effect: Effect | None, part: Part, step: Step) -> None:
    """What a step changes for its actor."""
    kind, medium = part.member.kind, part.member.medium
    match effect:
        case Effect.STARTS:
            part.phase, part.reads, part.writes = Phase.ON, True, "input" not in step.options
        case Effect.ENDS if kind is not ActorKind.SCRIPTED:  # it takes the next connection
            part.phase = Phase.OVER
        case Effect.ENDS_INPUT if kind in PEERS or medium is Medium.PIPES:
            part.writes = False
        case Effect.OPENS_INPUT:
            part.reads = part.writes = True
        case Effect.STOPS_READING | Effect.READS_AGAIN:
            part.reads = effect is Effect.READS_AGAIN
