"""Fences: lines that prove that nothing else has come to anyone in a group.

Lines of one connection are handled in order. So each member that acted since the last fence, and
whose act no step has seen an effect of, says a fence line, the last one first: it is handled after
that act. Another member, which has seen it, says one more; it reaches the first member after
anything that was wrongly sent to that one. Where nothing is passed on to others, each member asks
something instead, and sees the answer. This module does not know how a step is made.
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

Lines = tuple[str, ...]  # said or seen one after the other

WITNESS = "witness"  # the name of the actor that comes for a fence


@dataclass(frozen=True, slots=True)
class Witness:
    """Another one, which makes two of a group of one for the time of a fence."""

    comes: Node  # what it does: a verb of the suite's own, or of the harness
    goes: Node


@dataclass(frozen=True, slots=True)
class Fence:
    """The lines of a suite's fence, and the group that it is for."""

    group: str
    types: Lines = ()  # none: nothing is passed on, so each member asks as if it were alone
    others_see: Lines = ()
    # For a group of one: a request that is answered to the asker; or, where nothing is answered to
    # one that is alone, how another one comes into the group and goes again.
    alone_types: Lines = ()
    alone_sees: Lines = ()
    witness: Witness | None = None
    proves: str | None = None  # the rule that is broken where a fence line does not arrive
    alone_proves: str | None = None


@dataclass(frozen=True, slots=True)
class FenceLine:
    """One line of a fence."""

    actor: str  # that says it
    said: Lines
    seen: Mapping[str, Lines]  # what each of the actors sees that must see it
    rule: str | None  # that is broken where it does not arrive


@dataclass(slots=True)
class FenceWriter:
    """Writes the fences of one scenario; each line has a number of its own."""

    fence: Fence
    state: State
    lines: int = 0

    @property
    def members(self) -> Mapping[str, str]:
        """The names of the actors that count as in the group."""
        return self.state.groups.get(self.fence.group, {})

    def check(self, place: Place) -> None:
        """Raise Misstep where a fence would prove nothing here."""
        if self.members:
            self._check_present(place)
            self._check_unproven(place)
        server = self.state.parts["server"].member.kind
        if self.needs_witness and server is ActorKind.SCRIPTED:
            message = "one who is alone with a scripted server has no fence: no witness can come"
            raise Misstep(place, message)

    @property
    def needs_witness(self) -> bool:
        """Whether another one has to come before the lines are written."""
        return self.fence.witness is not None and len(self.members) == 1

    def write(self) -> list[FenceLine]:
        """The lines of one fence, or none where the group is empty."""
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
        """All members, and before them those that acted: an answer proves that act.

        The last of these need not ask again: what all others did was proven when it asked.
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
        """Members whose acts are unproven, and at least two of all."""
        first = self.state.last if self.state.last in self.members else next(iter(self.members))
        others = [actor for actor in self.members if actor != first]
        unproven = [actor for actor in self.state.unproven if actor in others]
        return [first, *(unproven or others[:1])]

    def _check_present(self, place: Place) -> None:
        for actor in self.members:
            if not self.state.parts[actor].is_on:
                remedy = LEAVE_REMEDY.format(actor=actor, group=self.fence.group)
                message = f"{actor} is gone, but counts as in {self.fence.group}; {remedy}"
                raise Misstep(place, message)

    def _check_unproven(self, place: Place) -> None:
        """A fence proves nothing of an actor outside the group that acted unseen."""
        for actor in self.state.unproven:
            if actor not in self.members:
                remedy = "let somebody see an effect of it before this step"
                raise Misstep(
                    place,
                    f"nothing proves that the server has handled what {actor} did last: "
                    f"{actor} is not in {self.fence.group}, and nothing was seen since; {remedy}",
                )
