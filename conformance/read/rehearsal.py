"""From the steps that a person wrote to the steps that are played.

A rehearsal walks through a scenario once before anything runs. It spells shorthands out, counts
who is in which group, puts fences in, and finds the step that cannot follow: the order of all
steps is known beforehand, since YAML holds no loops and no conditions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from conformance.mistakes import Fault, Place, Problems, meant
from conformance.model import PEERS, PROGRAMS, ActorKind, Medium, Origin, Step
from conformance.read.suite import Shorthand, SuiteFile
from conformance.read.verbs import (
    BOOKKEEPING,
    COMMON_OPTIONS,
    TERMINAL_LINE,
    VERBS,
    Option,
    Verb,
)
from conformance.read.yaml_tree import Node
from conformance.text import fill, places

LATER = {"port", "host", "scratch", "n"}  # placeholders that are filled when the case is played
_MOST_DEEP = 10  # shorthands within shorthands

# What to do where a verb is not for a program's medium.
_REMEDIES = {
    Medium.TERMINAL: "{actor} is on no screen, so `{name}` is not for it; see CONTRIBUTING.md",
    Medium.PIPES: "{actor} has no terminal, so `{name}` is not for it; see `is_sent`, `sees`",
    Medium.SCREEN: "{actor} is on a screen, so `{name}` is not for it; say what it `shows`",
}

Values = Mapping[str, str]


class Misstep(Fault):
    """A step that cannot follow those before it, which may only be the trace of another mistake."""


def filled(node: Node, values: Values) -> Node:
    """The same tree with `{name}` replaced in its texts and keys; unknown names are left."""
    if isinstance(node.value, str):
        return replace(node, value=fill(node.value, values)) if "{" in node.value else node
    if isinstance(node.value, list):
        items = [filled(item, values) for item in node.value]
        same = all(new is old for new, old in zip(items, node.value, strict=True))
        return node if same else replace(node, value=items)
    if isinstance(node.value, dict):
        return _filled_mapping(node, node.value, values)
    return node


def _filled_mapping(node: Node, old: Mapping[str, Node], values: Values) -> Node:
    entries: dict[str, Node] = {}
    keys: dict[str, Place] = {}
    for key, item in old.items():
        name = fill(key, values)
        if name in entries:
            raise Fault(node.keys[key], f"`{key}`, once it is filled in, is `{name}` a second time")
        entries[name], keys[name] = filled(item, values), node.keys[key]
    if all(entries.get(key) is item for key, item in old.items()):
        return node
    return replace(node, value=entries, keys=keys)


def check_placeholders(node: Node) -> None:
    """Raise a fault where a text or a key holds a placeholder that nothing will fill."""
    texts = {node.value: node.place} if isinstance(node.value, str) else node.keys
    for text, place in texts.items():
        for name in places(text):
            if name not in LATER:
                raise Fault(place, f"nothing fills the placeholder `{{{name}}}`")
    for child in node.children:
        check_placeholders(child)


def _actor_and_doing(node: Node) -> tuple[str, Node]:
    entry = node.mapping("a step")
    if len(entry) != 1:
        raise node.fault("a step is one actor and what it does, such as `server: starts`")
    ((who, doing),) = entry.items()
    return who, doing


@dataclass(slots=True)
class Part:
    """What the rehearsal knows of one actor."""

    kind: ActorKind
    medium: Medium = Medium.TERMINAL  # of a program
    state: str = "waiting"  # then "on", then "over"
    reads: bool = True  # a wire can stop reading
    writes: bool = True  # until it ends its input


@dataclass(frozen=True, slots=True)
class Use:
    """Where a shorthand stands in a scenario, and what that hands down to its steps."""

    place: Place
    options: Mapping[str, Node] = field(default_factory=dict)
    depth: int = 1  # shorthands within shorthands
    origin: Origin = Origin.SHORTHAND


@dataclass(slots=True)
class Rehearsal:
    """One scenario's walk-through; `steps` grows as it goes."""

    suite: SuiteFile
    parts: dict[str, Part]
    steps: list[Step] = field(default_factory=list)
    groups: dict[str, dict[str, str]] = field(default_factory=dict)  # group → actor → name there
    # Who has acted since the last fence, in this order, with nothing seen of the effect yet.
    unproven: dict[str, Place] = field(default_factory=dict)
    last: str = ""  # who acted last
    fences: int = 0
    taken: set[str] = field(default_factory=set)  # options of a shorthand that fitted a step of it

    def walk(self, steps: list[Node]) -> None:
        """Take all steps, then the suite's ending; raises Mistake with all that is wrong."""
        problems = Problems()
        for node in steps:
            try:
                self.perform(node)
            except Fault as fault:
                if not (problems.found and isinstance(fault, Misstep)):
                    problems.add(fault)
        problems.report()
        self.finish(steps[-1].place)

    def perform(self, node: Node, use: Use | None = None) -> None:
        """Take one step as written: `ACTOR: VERB` or `ACTOR: {VERB: ARGUMENT, …}`."""
        who, doing = _actor_and_doing(node)
        place = use.place if use else node.keys[who]
        actors = self._addressed(who, place)
        if not use:
            self._check_group(who, place)
            if not actors:
                raise Misstep(place, f"`{who}` is nobody at this point")
        for actor in actors:
            self._do(actor, doing, place, use)

    def check_verb(self, node: Node) -> None:
        """See that a step is one actor and one verb that there is."""
        _, doing = _actor_and_doing(node)
        self._split(doing)

    def finish(self, place: Place) -> None:
        """What follows the last step: the suite's ending, where the server still runs."""
        server = self.parts.get("server")
        if (
            server
            and server.kind is ActorKind.SERVER
            and server.state == "on"
            and self.suite.ending
        ):
            self._check_readers(place)
            self._fence(place, {})
            for node in self.suite.ending:
                with _told_at(place, "the suite's ending"):
                    self.perform(node, Use(place, origin=Origin.ENDING))
        for actor, part in self.parts.items():
            if part.state == "on" and part.kind is not ActorKind.SCRIPTED:
                end = "`exits`" if part.kind in PROGRAMS else "`is_closed` or `closes`"
                raise Misstep(place, f"{actor} is still there at the end; name its end by {end}")
            if part.medium is Medium.SCREEN and self._last_verb(actor) == "exits":
                remedy = "say what its screen `shows`, so that nothing on it is overlooked"
                raise Misstep(place, f"{actor} has exited; {remedy}")

    def _last_verb(self, actor: str) -> str:
        return next((step.verb for step in reversed(self.steps) if step.actor == actor), "")

    def _check_readers(self, place: Place) -> None:
        for actor, part in self.parts.items():
            if part.state == "on" and not part.reads:
                remedy = "add `reads_again` or `resets`"
                raise Misstep(place, f"{actor} does not read at the end; {remedy}")

    # --- Who ---------------------------------------------------------------------------------

    def _addressed(self, who: str, place: Place) -> list[str]:
        actors = [actor for part in who.split(",") for actor in self._address(part.strip(), place)]
        return list(dict.fromkeys(actors))

    def _address(self, who: str, place: Place) -> list[str]:
        words = who.split()
        if who in self.parts:
            return [who]
        present = [a for a, p in self.parts.items() if p.state == "on" and self._is_person(a)]
        match words:
            case ["everyone"]:
                return present
            case ["everyone", "in", group]:
                return list(self.groups.get(group, {}))
            case ["everyone", "outside", group]:
                return [a for a in present if a not in self.groups.get(group, {})]
            case ["everyone", "in", group, "but", actor]:
                return [a for a in self.groups.get(group, {}) if a != actor]
        known = [*self.parts, "everyone", "everyone in GROUP", "everyone outside GROUP"]
        raise Fault(place, f"`{who}` is not in the cast; {meant(who, known)}")

    def _check_group(self, who: str, place: Place) -> None:
        """A group that nobody ever entered is probably the name of another."""
        known = {*self.groups, *([self.suite.fence.group] if self.suite.fence else [])}
        match who.split():
            case ["everyone", "in" | "outside", group, *_] if group not in known:
                raise Fault(place, f"no such group `{group}`; {meant(group, known)}")

    def _is_person(self, actor: str) -> bool:
        return self.parts[actor].kind in (ActorKind.CLIENT, ActorKind.WIRE)

    # --- What --------------------------------------------------------------------------------

    def _do(self, actor: str, doing: Node, place: Place, use: Use | None) -> None:
        name, argument, options = self._split(doing)
        if name in self.suite.shorthands:
            self._spell_out(self.suite.shorthands[name], actor, argument, options, place, use)
            return
        handed_down = dict(use.options) if use else {}
        if name in BOOKKEEPING:
            known = BOOKKEEPING[name]
        else:
            verb = VERBS[name]
            self._check_kind(actor, name, verb, place)
            known = verb.options | COMMON_OPTIONS
        kind = self.parts[actor].kind
        fitting = {k: n for k, n in handed_down.items() if k in known and kind in known[k].kinds}
        self.taken |= fitting.keys()
        options |= fitting
        self._check_options(name, kind, options, known, doing)
        if name in BOOKKEEPING:
            self._keep_book(name, actor, argument, options, place)
        else:
            origin = use.origin if use else Origin.WRITTEN
            step = self._step(verb, name, actor, argument, options, place, origin)
            self._append(step, place if use else doing.place)

    def _split(self, doing: Node) -> tuple[str, Node | None, dict[str, Node]]:
        """The verb, its argument, and the options that stand beside it."""
        known = [*VERBS, *BOOKKEEPING, *self.suite.shorthands]
        if not doing.is_mapping:
            name = doing.text("a verb")
            if name not in known:
                raise doing.fault(f"unknown verb `{name}`; {meant(name, known)}")
            return name, None, {}
        entries = dict(doing.mapping("a verb"))
        names = [key for key in entries if key in known]
        if len(names) > 1:
            raise doing.fault(f"one step holds one verb, not {' and '.join(names)}; make two steps")
        if not names:
            unknown = next((key for key in entries if key not in COMMON_OPTIONS), None)
            if unknown is None:
                raise doing.fault("a step needs a verb, such as `{types: hello}`")
            place = doing.keys.get(unknown, doing.place)
            raise Fault(place, f"unknown verb `{unknown}`; {meant(unknown, known)}")
        argument = entries.pop(names[0])
        return names[0], None if argument.value is None else argument, entries

    def _check_kind(self, actor: str, name: str, verb: Verb, place: Place) -> None:
        part = self.parts[actor]
        if part.kind not in verb.kinds:
            kinds = _listed(verb.kinds)
            raise Fault(place, f"{actor} is a {part.kind}, and `{name}` is for: {kinds}")
        if part.kind in PROGRAMS and part.medium not in verb.media:
            raise Fault(place, _REMEDIES[part.medium].format(actor=actor, name=name))

    def _check_options(
        self,
        name: str,
        kind: str,
        options: Mapping[str, Node],
        known: Mapping[str, Option],
        doing: Node,
    ) -> None:
        for key, node in options.items():
            place = doing.keys.get(key, node.place)
            if key not in known:
                raise Fault(place, f"`{name}` has no option `{key}`; {meant(key, known)}")
            if kind not in known[key].kinds:
                raise Fault(place, f"the option `{key}` is for: {_listed(known[key].kinds)}")

    def _step(
        self,
        verb: Verb,
        name: str,
        actor: str,
        argument: Node | None,
        options: Mapping[str, Node],
        place: Place,
        origin: Origin,
    ) -> Step:
        for node in (argument, *options.values()):
            if node:
                check_placeholders(node)
        known = verb.options | COMMON_OPTIONS
        rule = self._rule(options.get("proves"))
        written = origin is Origin.WRITTEN
        return Step(
            place=place,
            actor=actor,
            verb=name,
            argument=self._argument(verb, name, actor, argument, place),
            options={k: known[k].value(n) for k, n in options.items() if k != "proves"},
            proves=rule if written else None,
            own_rule=None if written else rule,
            source=_written(actor, name, argument),
            origin=origin,
        )

    def _argument(
        self, verb: Verb, name: str, actor: str, node: Node | None, place: Place
    ) -> object:
        if node is None:
            if verb.argument and verb.needed:
                raise Fault(place, f"`{name}` needs an argument")
            return None
        if verb.argument is None or (name == "starts" and self.parts[actor].kind in PEERS):
            raise node.fault(f"`{name}` takes no argument here")
        return verb.argument(node)

    def _rule(self, node: Node | None) -> str | None:
        if node is None:
            return None
        rule = node.text("a rule")
        if rule not in self.suite.requirements:
            raise node.fault(f"no such rule `{rule}`; {meant(rule, self.suite.requirements)}")
        return rule

    def _append(self, step: Step, place: Place) -> None:
        """The step joins the others, if it can follow them."""
        part, verb = self.parts[step.actor], VERBS[step.verb]
        if verb.effect == "starts":
            if part.state == "on":
                raise Misstep(place, f"{step.actor} has started already")
            self._check_server(step, part, place)
            if "size" in step.options and part.medium is not Medium.SCREEN:
                raise Fault(place, f"{step.actor} is on no screen, so it has no `size`")
            part.state, part.reads, part.writes = "on", True, "input" not in step.options
        elif step.verb == "is_refused":
            if part.state == "on":
                raise Misstep(place, f"{step.actor} has a connection already")
            self._check_server(step, part, place)
        elif part.state != "on" and not verb.anytime:
            state = "has not started" if part.state == "waiting" else "is gone"
            raise Misstep(place, f"{step.actor} {state}")
        if verb.effect == "ends" and part.kind is not ActorKind.SCRIPTED:
            part.state = "over"
        self._check_saying(step, part, place)
        if step.verb in ("stops_reading", "reads_again"):
            part.reads = step.verb == "reads_again"
        self._note_effects(step, verb, place)
        if step.verb == "sees_as" and not self._has_seen_all(str(step.argument)):
            message = f"`{step.argument}` has seen nothing by `sees_all` before this step"
            raise Misstep(place, message)
        self.steps.append(step)

    def _note_effects(self, step: Step, verb: Verb, place: Place) -> None:
        """Remember who acted, until somebody sees something: then the act has been handled."""
        if verb.acts:
            self.last = step.actor
            self.unproven.pop(step.actor, None)
            if not (verb.effect == "starts" and self.parts[step.actor].kind is ActorKind.SERVER):
                self.unproven[step.actor] = place  # a server that starts says when it is ready
        elif verb.observes:
            self.unproven.clear()

    def _check_server(self, step: Step, part: Part, place: Place) -> None:
        """Nobody can be told the port of a server that never ran."""
        told = part.kind is ActorKind.CLIENT and ("arguments" in step.options or step.argument)
        if (
            part.kind in (ActorKind.CLIENT, ActorKind.WIRE)
            and self.parts["server"].state == "waiting"
            and not told
        ):
            raise Misstep(place, f"{step.actor} cannot connect: the server has not started yet")

    def _check_saying(self, step: Step, part: Part, place: Place) -> None:
        """What is said must be able to arrive."""
        if step.verb in ("types", "sends", "dribbles", "ends_input") and not part.writes:
            raise Misstep(place, f"{step.actor} has no input any more")
        if step.verb == "accepts":
            part.writes = part.reads = True
        elif step.verb == "ends_input" and (part.medium is Medium.PIPES or part.kind in PEERS):
            part.writes = False
        self._check_terminal(step, part, place)

    def _check_terminal(self, step: Step, part: Part, place: Place) -> None:
        if part.kind not in PROGRAMS or part.medium is Medium.PIPES:
            return
        if step.verb == "types":
            for pattern in step.argument:  # type: ignore[attr-defined]
                if len(pattern.text.encode()) > TERMINAL_LINE:
                    message = f"a terminal cuts lines at {TERMINAL_LINE} bytes; use a wire"
                    raise Fault(place, message)
                if any((char < " " and char != "\t") or char == "\x7f" for char in pattern.text):
                    message = "a terminal acts on control characters; use a wire, or `presses`"
                    raise Fault(place, message)
        if step.verb == "presses" and step.argument == b"\x03" and self._just_typed(step.actor):
            raise Fault(
                place,
                "Ctrl+C wipes out what was typed just before, where the program has not read it "
                "yet; first let somebody see its effect",
            )

    def _has_seen_all(self, actor: str) -> bool:
        return any(step.actor == actor and step.verb == "sees_all" for step in self.steps)

    def _just_typed(self, actor: str) -> bool:
        before = self.steps[-1] if self.steps else None
        return before is not None and before.actor == actor and before.verb in ("types", "sends")

    # --- Shorthands, groups, fences ----------------------------------------------------------

    def _spell_out(
        self,
        shorthand: Shorthand,
        actor: str,
        argument: Node | None,
        options: Mapping[str, Node],
        place: Place,
        use: Use | None,
    ) -> None:
        if use and use.depth == _MOST_DEEP:
            raise Fault(place, f"the verb `{shorthand.name}` stands for itself")
        steps = self._steps_of(shorthand, actor, place)
        if shorthand.argument is None and argument is not None:
            raise argument.fault(f"`{shorthand.name}` takes no argument")
        if use is None:
            self.taken = set()
        handed_down = {**options, **(use.options if use else {})}
        origin = use.origin if use else Origin.SHORTHAND
        inner = Use(place, handed_down, use.depth + 1 if use else 1, origin)
        for node in steps:
            values = self._values(actor, shorthand.argument, argument)
            with _told_at(place, f"`{shorthand.name}`"):
                self.perform(filled(node, values), inner)
        for key, node in options.items():
            if use is None and key not in self.taken:
                message = f"no step of `{shorthand.name}` takes the option `{key}`"
                raise node.fault(message)

    def _steps_of(self, shorthand: Shorthand, actor: str, place: Place) -> list[Node]:
        kind = self.parts[actor].kind
        steps = shorthand.steps.get(kind, shorthand.steps.get(""))
        if steps is None:
            raise Fault(place, f"`{shorthand.name}` is not for a {kind}")
        return steps

    def _values(self, actor: str, parameter: str | None, argument: Node | None) -> dict[str, str]:
        """`{actor}`, `{name}` (in its group, else the actor's own), `{GROUP}` (its size), …"""
        names = [members[actor] for members in self.groups.values() if actor in members]
        values = {"actor": actor, "name": names[0] if names else actor}
        values |= {group: str(len(members)) for group, members in self.groups.items()}
        if parameter and argument is not None:
            values[parameter] = argument.text(parameter)
        return values

    def _keep_book(
        self,
        name: str,
        actor: str,
        argument: Node | None,
        options: Mapping[str, Node],
        place: Place,
    ) -> None:
        if name == "sees_nothing":
            if argument is not None:
                raise argument.fault("`sees_nothing` takes no argument")
            self._see_nothing(actor, options, place)
            return
        if argument is None:
            raise Fault(place, f"`{name}` needs a group")
        members = self.groups.setdefault(argument.text("a group"), {})
        if self.parts[actor].medium is Medium.SCREEN:
            raise Fault(place, f"{actor} is on a screen, so it can see no fence: it is in no group")
        if name == "enters":
            members[actor] = options["as"].text("a name") if "as" in options else actor
        elif members.pop(actor, None) is None:
            raise Misstep(place, f"{actor} is not in {argument.value}")

    def _see_nothing(self, actor: str, options: Mapping[str, Node], place: Place) -> None:
        fence = self.suite.fence
        if fence is None or actor not in self.groups.get(fence.group, {}):
            raise Misstep(place, f"`sees_nothing` needs a fence, and {actor} in its group")
        self._fence(place, options)

    def _fence(self, place: Place, options: Mapping[str, Node]) -> None:
        """A double fence: nothing but what the steps named has come to anyone in the group.

        Lines of one connection are handled in order. So each member that acted since the last
        fence, and whose effect nobody has seen yet, says a fence line, the last one first: it is
        handled after what that member did. Another member, who has seen it, says one more, which
        comes to the first one behind anything that was wrongly sent to it.
        """
        fence = self.suite.fence
        members = self.groups.get(fence.group, {}) if fence else {}
        if not fence or not members:
            return
        for actor in members:
            if self.parts[actor].state != "on":
                remedy = f"say so by `- {actor}: {{leaves: {fence.group}}}`"
                raise Misstep(place, f"{actor} is gone, but counts as in {fence.group}; {remedy}")
        self._check_unproven(members, place)
        if len(members) == 1:
            (alone,) = members
            seen = [(alone, fence.alone_sees)]
            self._say(alone, fence.alone_types, seen, options, place, fence.alone_proves)
        else:
            for actor in self._sayers(members):
                self.fences += 1
                values = {"n": str(self.fences), "name": members[actor]}
                said, heard = fill(fence.types, values), fill(fence.others_see, values)
                others = [(other, heard) for other in members if other != actor]
                self._say(actor, said, others, options, place, fence.proves)
        self.unproven.clear()

    def _sayers(self, members: Mapping[str, str]) -> list[str]:
        """Who says a fence line: those whose acts are unproven, and at least two."""
        first = self.last if self.last in members else next(iter(members))
        unproven = [actor for actor in self.unproven if actor in members and actor != first]
        others = [actor for actor in members if actor != first]
        return [first, *(unproven or others[:1])]

    def _check_unproven(self, members: Mapping[str, str], place: Place) -> None:
        """A fence proves nothing of one who is outside the group and acted unseen."""
        for actor in self.unproven:
            if actor not in members:
                remedy = "let somebody see an effect of it before this step"
                raise Misstep(
                    place,
                    f"nothing proves that the server has handled what {actor} did last: "
                    f"{actor} is not in {self.suite.fence.group if self.suite.fence else ''}, and "
                    f"nothing was seen since; {remedy}",
                )

    def _say(
        self,
        actor: str,
        text: str,
        seen: list[tuple[str, str]],
        options: Mapping[str, Node],
        place: Place,
        rule: str | None,
    ) -> None:
        """One fence line; where it does not arrive, the rule of the fence itself is broken."""
        rows = [(actor, "types", text), *((other, "sees", line) for other, line in seen)]
        for who, verb, line in rows:
            node = Node(place, line)
            step = self._step(VERBS[verb], verb, who, node, options, place, Origin.FENCE)
            self._append(replace(step, proves=step.own_rule, own_rule=rule), place)


def check_shorthands(suite: SuiteFile, problems: Problems) -> None:
    """See that the suite's own verbs stand for steps, and for verbs that there are."""
    taken = {**VERBS, **BOOKKEEPING}
    for name, shorthand in suite.shorthands.items():
        nodes = [node for steps in shorthand.steps.values() for node in steps]
        if name in taken:
            message = f"`{name}` is a verb of the harness already; give yours another name"
            problems.add(Fault(shorthand.place, message))
        for node in nodes:
            with problems.gathered():
                Rehearsal(suite, {}).check_verb(node)
    for node in suite.ending:
        with problems.gathered():
            Rehearsal(suite, {}).check_verb(node)


@contextmanager
def _told_at(place: Place, where: str) -> Iterator[None]:
    """What is wrong with a step of the suite's is told where a scenario comes to it."""
    try:
        yield
    except Fault as fault:
        if fault.place.file == place.file:
            raise
        raise type(fault)(place, f"{fault.message} (in {where}, {fault.place})") from None


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
