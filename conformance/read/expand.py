"""Written steps → steps that are played.

Groups are replaced by their actors, the suite's own verbs are expanded, and fences and the ending
are added. `steps` reads a single step, `state` keeps track of what it changes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial

from conformance.mistakes import Fault, Place, Problems, meant
from conformance.model import ActorKind, CastMember, Origin, Split, Step
from conformance.read.dialogues import by_actor, check_begins, dialogues, split_of
from conformance.read.fences import WITNESS, FenceLine, FenceWriter
from conformance.read.placeholders import Unfilled, filled
from conformance.read.state import Part, State
from conformance.read.steps import Call, Source, StepMaker, actor_and_call, call_of
from conformance.read.suite import Shorthand, SuiteFile
from conformance.read.verbs import FENCE_SAYS, FENCE_SEES, VERBS, Effect, Misstep
from conformance.read.yaml_tree import Node

_MOST_DEEP = 10  # levels of shorthands within shorthands


def expand(suite: SuiteFile, cast: Mapping[str, CastMember], steps: list[Node]) -> list[Step]:
    """All steps of a scenario, with the suite's ending; raises Mistake with all problems.

    If a fence needs a witness, the steps have an actor WITNESS, which is not in the cast.
    """
    parts = {actor: Part(member) for actor, member in cast.items()}
    if suite.fence and suite.fence.witness:
        parts[WITNESS] = Part(CastMember(ActorKind.WIRE))
    state = State(parts)
    expander = _Expander(suite, state)
    problems = Problems()
    names = _captured_in(steps)
    for node in steps:
        try:
            with _explained_captures(names):
                expander.perform(node)
        except Fault as fault:
            # After a first mistake, a misstep is probably only its consequence.
            if not (problems.found and isinstance(fault, Misstep)):
                problems.add(fault)
    problems.report()
    expander.finish(steps[-1].place)
    return state.steps


def check_shorthands(suite: SuiteFile, problems: Problems) -> None:
    """Check that all steps in the suite's verbs, witness and ending have verbs that exist."""
    witness = suite.fence.witness if suite.fence else None
    for call in (witness.comes, witness.goes) if witness else ():
        with problems.gathered():
            call_of(call, suite.shorthands)
    nodes = list(suite.ending)
    for name, shorthand in suite.shorthands.items():
        nodes += [node for steps in shorthand.steps.values() for node in steps]
        if name in VERBS:
            message = f"`{name}` is a verb of the harness; give yours another name"
            problems.add(Fault(shorthand.place, message))
    for node in nodes:
        with problems.gathered():
            _check_shorthand_step(node, suite)


def _check_shorthand_step(node: Node, suite: SuiteFile) -> None:
    split = split_of(node)
    for branch in dialogues(*split) if split else ():
        for inner in branch:
            _check_shorthand_step(inner, suite)
    if not split:
        call_of(actor_and_call(node)[1], suite.shorthands)


@dataclass(slots=True)
class _Expander:
    """Expands one scenario, step by step."""

    suite: SuiteFile
    state: State
    fences: FenceWriter | None = field(init=False)
    accepted: set[str] = field(default_factory=set)  # options that a step of the shorthand accepted
    captured: frozenset[str] | None = None  # within `together`: what was captured before it

    def __post_init__(self) -> None:
        self.fences = FenceWriter(self.suite.fence, self.state) if self.suite.fence else None

    def perform(self, node: Node) -> None:
        """Expand one step of the scenario."""
        if split := split_of(node):
            self._take_dialogues(*split, self.perform, node.place)
            return
        who, call = actor_and_call(node)
        place = node.keys[who]
        actors = _addressed(who, self.state, place)
        fence = self.suite.fence
        _check_group(who, {*self.state.groups, *([fence.group] if fence else [])}, place)
        if not actors:
            raise Misstep(place, f"`{who}` names no actor at this point")
        for actor in actors:
            self._do(actor, call_of(call, self.suite.shorthands), Source(place))

    def _perform_inner(self, node: Node, source: Source, within: str) -> None:
        """Expand one step of the suite; a mistake in it is reported where the scenario uses it."""
        with _reported_at(source.place, within):
            if split := split_of(node):
                take = partial(self._perform_inner, source=source, within=within)
                self._take_dialogues(*split, take, source.place)
                return
            who, call = actor_and_call(node)
            for actor in _addressed(who, self.state, source.place):
                self._do(actor, call_of(call, self.suite.shorthands), source)

    def _take_dialogues(
        self, split: Split, node: Node, take: Callable[[Node], None], place: Place
    ) -> None:
        """Expand the dialogues of one step, each from the present state."""
        before, ends, branches = self.state.snapshot(), [], []
        for nodes in dialogues(split, node):
            self.state.go_back(before)
            with self._nothing_new_captured(split is Split.TOGETHER):
                branches.append(self._dialogue(nodes, take))
            ends.append(self.state.snapshot())
        if split is Split.EITHER:
            check_begins(branches, node)
        else:
            branches = by_actor(branches, node)
        self.state.go_on_from(ends, place)
        step = Step(place, "", split, split=split, branches=tuple(branches))
        self.state.steps.append(step)

    def _dialogue(self, nodes: Iterable[Node], take: Callable[[Node], None]) -> tuple[Step, ...]:
        """The steps of one dialogue, taken out of the steps of the scenario again."""
        steps = self.state.steps
        start = len(steps)
        for inner in nodes:
            take(inner)
        taken = tuple(steps[start:])
        del steps[start:]
        return taken

    @contextmanager
    def _nothing_new_captured(self, holds: bool) -> Iterator[None]:
        """If `holds`, steps cannot use what is captured within: all are played at the same time."""
        self.captured = frozenset(self.state.captured) if holds else self.captured
        try:
            yield
        finally:
            self.captured = None if holds else self.captured

    def finish(self, place: Place) -> None:
        """Add the suite's ending if the server still runs, then check that all actors ended."""
        self.state.check_readers(place)
        if self.state.needs_ending and self.suite.ending:
            self._fence(place, {})
            for node in self.suite.ending:
                source = Source(place, Origin.ENDING, depth=1)
                self._perform_inner(node, source, "the suite's ending")
        self.state.check_end(place)

    # --- One step of one actor ---

    def _do(self, actor: str, call: Call, source: Source) -> None:
        if shorthand := self.suite.shorthands.get(call.name):
            self._expand_shorthand(shorthand, actor, call, source)
            return
        step = self._step(actor, call, source)
        where = source.place if source.depth else call.place
        match VERBS[call.name].effect:
            case Effect.ENTERS:
                name = step.options.get("as", actor)
                self.state.enter(actor, step.takes(str), str(name), step.place)
            case Effect.LEAVES:
                self.state.leave(actor, step.takes(str), step.place)
            case Effect.FENCES:
                self._see_nothing(actor, call, source)
            case _:
                self.state.follow(step, where)

    def _step(self, actor: str, call: Call, source: Source) -> Step:
        member = self.state.parts[actor].member
        known = self.state.captured if self.captured is None else self.captured
        maker = StepMaker(actor, member, VERBS[call.name], self.suite.requirements, known)
        self.accepted |= maker.fitting(source.options).keys()
        return maker.make(call, source)

    # --- Shorthands ---

    def _expand_shorthand(
        self, shorthand: Shorthand, actor: str, call: Call, source: Source
    ) -> None:
        if source.depth == _MOST_DEEP:
            raise Fault(source.place, f"the verb `{shorthand.name}` is defined by itself")
        steps = _steps_of(shorthand, actor, self.state, source.place)
        if shorthand.argument is None and call.argument is not None:
            raise call.argument.fault(f"`{shorthand.name}` takes no argument")
        origin = source.origin if source.depth else Origin.SHORTHAND
        options = {**call.options, **source.options}
        inner = Source(source.place, origin, options, source.depth + 1)
        if not source.depth:
            self.accepted = set()
        for node in steps:
            values = _values(actor, self.state.groups)
            if shorthand.argument and call.argument is not None:
                values[shorthand.argument] = call.argument.text(shorthand.argument)
            self._perform_inner(filled(node, values), inner, f"`{shorthand.name}`")
        if not source.depth:
            self._check_accepted(shorthand, call)

    def _check_accepted(self, shorthand: Shorthand, call: Call) -> None:
        for key, node in call.options.items():
            if key not in self.accepted:
                raise node.fault(f"no step of `{shorthand.name}` takes the option `{key}`")

    # --- Fences ---

    def _see_nothing(self, actor: str, call: Call, source: Source) -> None:
        if not (self.fences and actor in self.fences.members):
            message = f"`{call.name}` needs a fence in the suite, and {actor} in its group"
            raise Misstep(source.place, message)
        self._fence(source.place, {**call.options, **source.options})

    def _fence(self, place: Place, options: Mapping[str, Node]) -> None:
        """Add a fence, whose steps all have these options."""
        if self.fences is None:
            return
        self.fences.check(place)
        witness = self.fences.fence.witness if self.fences.needs_witness else None
        if witness:
            self._witnessed(witness.comes, place)
        for line in self.fences.write():
            self._add_fence_line(line, place, options)
        if witness:
            self._witnessed(witness.goes, place)

    def _witnessed(self, call: Node, place: Place) -> None:
        """Add a step of the witness."""
        source = Source(place, Origin.FENCE, depth=1)
        with _reported_at(place, "the suite's fence"):
            self._do(WITNESS, call_of(call, self.suite.shorthands), source)

    def _add_fence_line(self, line: FenceLine, place: Place, options: Mapping[str, Node]) -> None:
        """Add the steps of one line; if it does not arrive, the rule of the fence is broken."""
        rows = [(line.actor, FENCE_SAYS, line.said)]
        rows += [(actor, FENCE_SEES, lines) for actor, lines in line.seen.items()]
        for actor, verb, lines in rows:
            texts = [Node(place, text) for text in lines]
            call = Call(verb.name, place, texts[0] if len(texts) == 1 else Node(place, texts))
            step = self._step(actor, call, Source(place, Origin.FENCE, options))
            self.state.follow(replace(step, proves=step.own_rule, own_rule=line.rule), place)


def _addressed(who: str, state: State, place: Place) -> list[str]:
    """The actors that `alice, bob` or `everyone in room` names at this point."""
    actors = [actor for part in who.split(",") for actor in _address(part.strip(), state, place)]
    return list(dict.fromkeys(actors))


def _address(who: str, state: State, place: Place) -> list[str]:
    if who in state.parts:
        return [who]
    match who.split():
        case ["everyone"]:
            return state.present
        case ["everyone", "in", group]:
            return list(state.groups.get(group, {}))
        case ["everyone", "outside", group]:
            members = state.groups.get(group, {})
            return [actor for actor in state.present if actor not in members]
        case ["everyone", "in", group, "but", actor]:
            return [other for other in state.groups.get(group, {}) if other != actor]
    known = [*state.parts, "everyone", "everyone in GROUP", "everyone outside GROUP"]
    raise Fault(place, f"`{who}` is not in the cast; {meant(who, known)}")


def _check_group(who: str, known: Collection[str], place: Place) -> None:
    """Raise Fault for a group that no actor ever entered: its name is probably misspelled."""
    match who.split():
        case ["everyone", "in" | "outside", group, *_] if group not in known:
            raise Fault(place, f"no such group `{group}`; {meant(group, known)}")


def _steps_of(shorthand: Shorthand, actor: str, state: State, place: Place) -> list[Node]:
    kind = state.parts[actor].member.kind
    steps = shorthand.steps.get(kind, shorthand.steps.get(""))
    if steps is None:
        raise Fault(place, f"`{shorthand.name}` is not for a {kind}")
    return steps


def _values(actor: str, groups: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """The values of the placeholders in the steps of a shorthand.

    `{actor}`, `{name}` (that in its group, else that of the actor), and for each group `{GROUP}`
    (its size), `{GROUP_names}` and `{GROUP_others}` (all names except the actor's).
    """
    names = [members[actor] for members in groups.values() if actor in members]
    values = {"actor": actor, "name": names[0] if names else actor}
    for group, members in groups.items():
        others = [name for other, name in members.items() if other != actor]
        values[group] = str(len(members))
        values[f"{group}_names"] = ", ".join(members.values())
        values[f"{group}_others"] = ", ".join(others)
    return values


def _captured_in(nodes: Iterable[Node]) -> set[str]:
    """Names that steps seem to capture, judged by their text: they may not be valid steps."""
    found = set()
    for node in nodes:
        if isinstance(node.value, str):
            found |= set(re.findall(r"\(\?P<([a-z_]+)>", node.value))
        found |= _captured_in(node.children)
    return found


@contextmanager
def _explained_captures(names: Collection[str]) -> Iterator[None]:
    """For a placeholder that only a later step fills, raise a Fault that says so."""
    try:
        yield
    except Unfilled as fault:
        if fault.name not in names:
            raise
        remedy = "no step before this one captures it; move the step that does before this one"
        raise Fault(fault.place, f"nothing fills `{{{fault.name}}}` yet: {remedy}") from None


@contextmanager
def _reported_at(place: Place, within: str) -> Iterator[None]:
    """Report a mistake in the suite's file at the step of the scenario that uses it."""
    try:
        yield
    except Fault as fault:
        if fault.place.file == place.file:
            raise
        raise type(fault)(place, f"{fault.message} (in {within}, {fault.place})") from None
