"""Fences: lines that prove that no actor of a group has received anything else.

A server handles the lines of one connection in order. So a fence line is handled after all earlier
acts of its sender. Each member that acted since the last fence sends one, unless some step has
already seen an effect of that act; the member that acted last goes first. Then another member,
which has seen that line, sends one more: it reaches the first member after anything that the
server has wrongly sent there. If the protocol relays nothing between members, each member sends a
request instead, and sees the answer. This module does not know how a step is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from conformance.mistakes import Place
from conformance.model import ActorKind
from conformance.read.state import State
from conformance.read.verbs import LEAVE_REMEDY, Misstep
from conformance.read.yaml_tree import Node
from conformance.text import fill

Lines = tuple[str, ...]  # sent or seen in this order

WITNESS = "witness"  # the name of the actor that joins a group for the time of a fence


@dataclass(frozen=True, slots=True)
class Witness:
    """How a connection joins a group with a single member, for the time of a fence."""

    comes: Node  # a verb of the suite or of the harness, such as `joins`
    goes: Node


@dataclass(frozen=True, slots=True)
class Fence:
    """The lines of a suite's fence, and the group that it is for."""

    group: str
    types: Lines = ()  # (): nothing is relayed, so each member asks as if it were alone
    others_see: Lines = ()
    # For a member that is alone: a request and its answer; or a witness, if nothing is answered.
    alone_types: Lines = ()
    alone_sees: Lines = ()
    witness: Witness | None = None
    proves: str | None = None  # the rule that is broken if a fence line does not arrive
    alone_proves: str | None = None  # the rule that is broken if an answer does not arrive


@dataclass(frozen=True, slots=True)
class FenceLine:
    """One line of a fence."""

    actor: str  # its sender
    said: Lines
    seen: Mapping[str, Lines]  # by actor: what each receiver sees of it
    rule: str | None  # the rule that is broken if it does not arrive


@dataclass(slots=True)
class FenceWriter:
    """Writes the fences of one scenario, whose lines are numbered."""

    fence: Fence
    state: State
    lines: int = 0

    @property
    def members(self) -> Mapping[str, str]:
        """The members of the group, as actor → its name there."""
        return self.state.groups.get(self.fence.group, {})

    def check(self, place: Place) -> None:
        """Raise Misstep if a fence would prove nothing here."""
        if self.members:
            self._check_present(place)
            self._check_unproven(place)
        server = self.state.parts["server"].member.kind
        if self.needs_witness and server is ActorKind.SCRIPTED:
            message = "no fence for a single actor with a scripted server: no witness can come"
            raise Misstep(place, message)

    @property
    def needs_witness(self) -> bool:
        """Whether the witness has to join before the lines are written."""
        return self.fence.witness is not None and len(self.members) == 1

    def write(self) -> list[FenceLine]:
        """The lines of one fence; none if the group is empty."""
        members = self.members
        if not members:
            return []
        if len(members) == 1 or not self.fence.types:
            return [self._question(actor) for actor in self._askers()]
        return [self._line(actor) for actor in self._sayers()]

    def _question(self, actor: str) -> FenceLine:
        fence = self.fence
        return FenceLine(actor, fence.alone_types, {actor: fence.alone_sees}, fence.alone_proves)

    def _askers(self) -> list[str]:
        """The members that acted, whose answers prove these acts, then all members.

        The last one that acted need not ask again: the acts of all others were proven before.
        """
        acted = self.state.unproven or [self.state.last]
        first = [actor for actor in acted if actor in self.members]
        return [*first, *(actor for actor in self.members if actor not in first[-1:])]

    def _line(self, actor: str) -> FenceLine:
        self.lines += 1
        values = {"n": str(self.lines), "name": self.members[actor]}
        said, heard = (
            tuple(fill(line, values) for line in lines)
            for lines in (self.fence.types, self.fence.others_see)
        )
        seen = {other: heard for other in self.members if other != actor}
        return FenceLine(actor, said, seen, self.fence.proves)

    def _sayers(self) -> list[str]:
        """The member that acted last, then those whose acts are unproven; at least two members."""
        first = self.state.last if self.state.last in self.members else next(iter(self.members))
        others = [actor for actor in self.members if actor != first]
        unproven = [actor for actor in self.state.unproven if actor in others]
        return [first, *(unproven or others[:1])]

    def _check_present(self, place: Place) -> None:
        for actor in self.members:
            if not self.state.parts[actor].is_on:
                remedy = LEAVE_REMEDY.format(actor=actor, group=self.fence.group)
                message = f"{actor} has ended, but is still in {self.fence.group}; {remedy}"
                raise Misstep(place, message)

    def _check_unproven(self, place: Place) -> None:
        """Refuse an unproven act of an actor outside the group: a fence cannot prove it."""
        for actor in self.state.unproven:
            if actor not in self.members:
                remedy = "let an actor see an effect of it before this step"
                raise Misstep(
                    place,
                    f"nothing proves that the server has handled what {actor} did last: "
                    f"{actor} is not in {self.fence.group}, and nothing was seen since; {remedy}",
                )
