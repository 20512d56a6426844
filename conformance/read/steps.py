"""A step as a person wrote it → a Step: finds its verb, reads its argument and its options.

It does not depend on the steps before it: see `state`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from conformance.mistakes import Fault, Place, meant
from conformance.model import PROGRAMS, ActorKind, CastMember, Origin, Step, Trait
from conformance.read.placeholders import LATER, check_tree
from conformance.read.verbs import COMMON_OPTIONS, MEDIUM_REMEDIES, VERBS, Option, Verb
from conformance.read.yaml_tree import Node


@dataclass(frozen=True, slots=True)
class Call:
    """A verb with its argument and its options, not yet read: the value of a step's one key."""

    name: str
    place: Place
    argument: Node | None = None
    options: Mapping[str, Node] = field(default_factory=dict)
    keys: Mapping[str, Place] = field(default_factory=dict)  # the places of the options' names


@dataclass(frozen=True, slots=True)
class Source:
    """Where a step comes from: a person, a shorthand, the ending or a fence."""

    place: Place  # in the scenario
    origin: Origin = Origin.WRITTEN
    options: Mapping[str, Node] = field(default_factory=dict)  # of the shorthand, for its steps
    depth: int = 0  # how many shorthands it is within; an ending and a fence count as one


def actor_and_call(node: Node) -> tuple[str, Node]:
    """The two parts of a step, `ACTOR: VERB` or `ACTOR: {VERB: ARGUMENT, …}`."""
    entry = node.mapping("a step")
    if len(entry) != 1:
        raise node.fault("a step has one key, its actor, such as `server: starts`")
    ((who, call),) = entry.items()
    return who, call


def call_of(node: Node, own_verbs: Collection[str]) -> Call:
    """The second part of a step, split into its parts; `own_verbs` are those of the suite."""
    known = [*VERBS, *own_verbs]
    if not node.is_mapping:
        name = node.text("a verb")
        if name not in known:
            raise node.fault(f"unknown verb `{name}`; {meant(name, known)}")
        return Call(name, node.place)
    entries = dict(node.mapping("a verb"))
    name = _verb_among(node, entries, known)
    argument = entries.pop(name)
    argument_or_none = None if argument.value is None else argument
    return Call(name, node.place, argument_or_none, entries, node.keys)


def _verb_among(node: Node, entries: Mapping[str, Node], known: Collection[str]) -> str:
    names = [key for key in entries if key in known]
    if len(names) > 1:
        raise node.fault(f"a step has one verb, not {' and '.join(names)}; make two steps")
    if names:
        return names[0]
    unknown = next((key for key in entries if key not in COMMON_OPTIONS), None)
    if unknown is None:
        raise node.fault("a step needs a verb, such as `{types: hello}`")
    place = node.keys.get(unknown, node.place)
    raise Fault(place, f"unknown verb `{unknown}`; {meant(unknown, known)}")


@dataclass(frozen=True, slots=True)
class StepMaker:
    """Makes the steps of one actor with one verb."""

    actor: str
    member: CastMember
    verb: Verb
    rules: Collection[str]  # of the protocol text
    captured: Collection[str] = ()  # names of what earlier steps have captured

    def fitting(self, options: Mapping[str, Node]) -> dict[str, Node]:
        """The options that this verb can have with this actor."""
        known = self.verb.all_options
        return {
            key: node
            for key, node in options.items()
            if key in known and self.member.kind in known[key].kinds
        }

    def make(self, call: Call, source: Source) -> Step:
        """The step; raises Fault if the verb cannot be used like this."""
        self._check_actor(source.place)
        call = replace(call, options={**call.options, **self.fitting(source.options)})
        self._check_options(call, source.place)
        for node in (call.argument, *call.options.values()):
            if node:
                check_tree(node, {*LATER, *self.captured})
        return self._step(call, source)

    def _step(self, call: Call, source: Source) -> Step:
        known = self.verb.all_options
        rule = self._rule(call.options.get("proves"))
        written = source.origin is Origin.WRITTEN
        return Step(
            place=source.place,
            actor=self.actor,
            verb=self.verb.name,
            argument=self._argument(call.argument, source.place),
            options={k: known[k].value(n) for k, n in call.options.items() if k != "proves"},
            proves=rule if written else None,
            own_rule=None if written else rule,
            source=_written(self.actor, self.verb.name, call.argument),
            origin=source.origin,
            traits=self.verb.traits | ({Trait.ACTS} if self.verb.acts else frozenset()),
        )

    def _check_actor(self, place: Place) -> None:
        kind, medium = self.member.kind, self.member.medium
        if kind not in self.verb.kinds:
            kinds = _listed(self.verb.kinds)
            raise Fault(place, f"{self.actor} is a {kind}, and `{self.verb.name}` is for: {kinds}")
        if kind in PROGRAMS and medium not in self.verb.media:
            words = MEDIUM_REMEDIES[medium]
            raise Fault(place, words.format(actor=self.actor, verb=self.verb.name))

    def _check_options(self, call: Call, place: Place) -> None:
        known = self.verb.all_options
        for key, node in call.options.items():
            if key not in known:
                message = f"`{self.verb.name}` has no option `{key}`; {meant(key, known)}"
                raise Fault(call.keys.get(key, node.place), message)
            self._check_option(key, known[key], call.keys.get(key, node.place))
        for key, option in known.items():
            if option.required and key not in call.options:
                raise Fault(place, f"`{self.verb.name}` needs {option.required}")

    def _check_option(self, key: str, option: Option, place: Place) -> None:
        if self.member.kind not in option.kinds:
            raise Fault(place, f"the option `{key}` is for: {_listed(option.kinds)}")
        if option.on_screen and not self.member.medium.is_screen:
            raise Fault(place, f"{self.actor} is not on a screen, so it has no `{key}`")

    def _argument(self, node: Node | None, place: Place) -> object:
        grammar = self.verb.argument
        if node is None:
            if grammar and self.verb.argument_required:
                message = f"`{self.verb.name}` needs an argument: {grammar.words}"
                raise Fault(place, message)
            return None
        if grammar is None or self.member.kind not in self.verb.argument_for:
            raise node.fault(f"`{self.verb.name}` takes no argument here")
        return grammar(node)

    def _rule(self, node: Node | None) -> str | None:
        if node is None:
            return None
        rule = node.text("a rule")
        if rule not in self.rules:
            raise node.fault(f"no such rule `{rule}`; {meant(rule, self.rules)}")
        return rule


def _listed(kinds: frozenset[ActorKind]) -> str:
    return ", ".join(sorted(kinds))


def _written(actor: str, verb: str, argument: Node | None) -> str:
    if argument is None:
        return f"{actor}: {verb}"
    words = _shown(argument)
    return f"{actor}: {{{verb}: {words if len(words) < 80 else words[:77] + '…'}}}"


def _shown(node: Node) -> str:
    if isinstance(node.value, dict):
        return "{" + ", ".join(f"{key}: {_shown(n)}" for key, n in node.value.items()) + "}"
    if isinstance(node.value, list):
        return "[" + ", ".join(_shown(item) for item in node.value) + "]"
    return f'"{node.value}"' if isinstance(node.value, str) else str(node.value)
