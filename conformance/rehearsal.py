"""From the steps that a person wrote to the steps that are played.

A rehearsal walks through a scenario once before anything runs. It spells shorthands out, counts
who is in which group, puts fences in, and finds the step that cannot follow: the order of all
steps is known beforehand, since YAML holds no loops and no conditions.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from conformance.model import Place, Step
from conformance.source import Fault, Node, meant
from conformance.suite import Shorthand, Suite
from conformance.verbs import BOOKKEEPING, COMMON_OPTIONS, PROGRAMS, TERMINAL_LINE, VERBS, Verb

LATER = {"port", "host", "n"}  # placeholders that are filled when the case is played
_PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")
_MOST_DEEP = 10  # shorthands within shorthands

Values = Mapping[str, str]


def filled(node: Node, values: Values) -> Node:
    """The same tree with `{name}` replaced in its texts and keys; unknown names are left."""
    if isinstance(node.value, str):
        return replace(node, value=fill(node.value, values))
    if isinstance(node.value, list):
        return replace(node, value=[filled(item, values) for item in node.value])
    if isinstance(node.value, dict):
        entries = {fill(key, values): filled(item, values) for key, item in node.value.items()}
        places = {fill(key, values): place for key, place in node.keys.items()}
        return replace(node, value=entries, keys=places)
    return node


def fill(text: str, values: Values) -> str:
    """The text with the placeholders that are known replaced."""
    return _PLACEHOLDER.sub(lambda found: values.get(found[1], found[0]), text)


def check_placeholders(node: Node) -> None:
    """Raise a fault where a text still holds a placeholder that nothing will fill."""
    if isinstance(node.value, str):
        for name in _PLACEHOLDER.findall(node.value):
            if name not in LATER:
                raise node.fault(f"nothing fills the placeholder `{{{name}}}`")
    for child in _children(node):
        check_placeholders(child)


def _children(node: Node) -> Iterator[Node]:
    if isinstance(node.value, list):
        yield from node.value
    elif isinstance(node.value, dict):
        yield from node.value.values()


@dataclass(slots=True)
class Part:
    """What the rehearsal knows of one actor."""

    kind: str  # server, client, wire, scripted
    on_pipes: bool = False
    state: str = "waiting"  # then "on", then "over"
    reads: bool = True  # a wire can stop reading


@dataclass(slots=True)
class Rehearsal:
    """One scenario's walk-through; `steps` grows as it goes."""

    suite: Suite
    parts: dict[str, Part]
    steps: list[Step] = field(default_factory=list)
    groups: dict[str, dict[str, str]] = field(default_factory=dict)  # group → actor → name there
    last: str = ""  # who acted last: the stimulating connection of a fence
    fences: int = 0

    def perform(self, node: Node, shorthand: Place | None = None, depth: int = 0) -> None:
        """Take one step as written: `ACTOR: VERB` or `ACTOR: {VERB: ARGUMENT, …}`."""
        entry = node.mapping("a step")
        if len(entry) != 1:
            raise node.fault("a step is one actor and what it does: `alice: {types: hello}`")
        ((who, doing),) = entry.items()
        place = node.keys[who]
        for actor in self._addressed(who, place):
            self._do(actor, doing, shorthand or place, bool(shorthand), depth)

    def finish(self, place: Place) -> None:
        """What follows the last step: the suite's ending, where the server still runs."""
        server = self.parts.get("server")
        if server and server.kind == "server" and server.state == "on" and self.suite.ending:
            self._check_readers(place)
            self._fence(place)
            for node in self.suite.ending:
                self.perform(node, place)
        for actor, part in self.parts.items():
            if part.state == "on" and part.kind != "scripted":
                end = "`exits`" if part.kind in PROGRAMS else "`is_closed` or `closes`"
                raise Fault(place, f"{actor} is still there at the end; name its end by {end}")

    def _check_readers(self, place: Place) -> None:
        for actor, part in self.parts.items():
            if part.state == "on" and not part.reads:
                remedy = "add `reads_again` or `resets`"
                raise Fault(place, f"{actor} does not read at the end; {remedy}")

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

    def _is_person(self, actor: str) -> bool:
        return self.parts[actor].kind in ("client", "wire")

    # --- What --------------------------------------------------------------------------------

    def _do(self, actor: str, doing: Node, place: Place, short: bool, depth: int) -> None:
        name, argument, options = self._split(doing)
        if name in self.suite.shorthands:
            self._spell_out(self.suite.shorthands[name], actor, argument, options, place, depth)
        elif name in BOOKKEEPING:
            self._keep_book(name, actor, argument, options, place)
        elif name in VERBS:
            step = self._step(VERBS[name], name, actor, argument, options, place)
            self._append(replace(step, by_hand=not short), doing.place)
        else:
            known = [*VERBS, *BOOKKEEPING, *self.suite.shorthands]
            raise doing.fault(f"unknown verb `{name}`; {meant(name, known)}")

    def _split(self, doing: Node) -> tuple[str, Node | None, dict[str, Node]]:
        """The verb, its argument, and the options that stand beside it."""
        if not doing.is_mapping:
            return doing.text("a verb"), None, {}
        entries = dict(doing.mapping("a verb"))
        names = [k for k in entries if k in VERBS or k in BOOKKEEPING or k in self.suite.shorthands]
        if len(names) != 1:
            unknown = next((k for k in entries if k not in COMMON_OPTIONS), "")
            if not names:
                known = [*VERBS, *BOOKKEEPING, *self.suite.shorthands]
                raise doing.fault(f"unknown verb `{unknown}`; {meant(unknown, known)}")
            raise doing.fault(f"one step holds one verb, not {' and '.join(names)}; make two steps")
        argument = entries.pop(names[0])
        return names[0], None if argument.value is None else argument, entries

    def _step(
        self,
        verb: Verb,
        name: str,
        actor: str,
        argument: Node | None,
        options: dict[str, Node],
        place: Place,
    ) -> Step:
        kind = self.parts[actor].kind
        if kind not in verb.kinds:
            kinds = ", ".join(sorted(verb.kinds))
            raise Fault(place, f"{actor} is a {kind}, and `{name}` is for: {kinds}")
        for node in (argument, *options.values()):
            if node:
                check_placeholders(node)
        for key in options:
            if key not in COMMON_OPTIONS | verb.options:
                known = COMMON_OPTIONS | verb.options
                raise options[key].fault(f"`{name}` has no option `{key}`; {meant(key, known)}")
        return Step(
            place=place,
            actor=actor,
            verb=name,
            argument=self._argument(verb, name, argument, place),
            options={k: n.value for k, n in options.items() if k != "proves"},
            proves=self._rule(options.get("proves")),
            source=_written(actor, name, argument),
        )

    def _argument(self, verb: Verb, name: str, node: Node | None, place: Place) -> object:
        if node is None:
            if verb.argument and verb.needed:
                raise Fault(place, f"`{name}` needs an argument")
            return None
        if verb.argument is None:
            raise node.fault(f"`{name}` takes no argument")
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
                raise Fault(place, f"{step.actor} has started already")
            part.state, part.reads = "on", True
        elif step.verb == "is_refused":
            if part.state == "on":
                raise Fault(place, f"{step.actor} has a connection already")
        elif part.state != "on":
            state = "has not started" if part.state == "waiting" else "is gone"
            raise Fault(place, f"{step.actor} {state}")
        if verb.effect == "ends" and part.kind != "scripted":
            part.state = "over"
        self._check_terminal(step, part, place)
        if step.verb in ("stops_reading", "reads_again"):
            part.reads = step.verb == "reads_again"
        if verb.acts:
            self.last = step.actor
        if step.verb == "sees_as" and not self._has_seen_all(str(step.argument)):
            raise Fault(place, f"`{step.argument}` has seen nothing by `sees_all` before this step")
        self.steps.append(step)

    def _check_terminal(self, step: Step, part: Part, place: Place) -> None:
        if part.kind not in PROGRAMS or part.on_pipes:
            if step.verb == "presses":
                raise Fault(place, f"{step.actor} has no terminal; send it a signal by `is_sent`")
            return
        if step.verb == "types":
            for pattern in step.argument:  # type: ignore[attr-defined]
                if len(pattern.text.encode()) > TERMINAL_LINE:
                    raise Fault(
                        place, f"a terminal cuts lines at {TERMINAL_LINE} bytes; use a wire"
                    )
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
        options: dict[str, Node],
        place: Place,
        depth: int,
    ) -> None:
        if depth == _MOST_DEEP:
            raise Fault(place, f"the verb `{shorthand.name}` stands for itself")
        kind = self.parts[actor].kind
        steps = shorthand.steps.get(kind, shorthand.steps.get(""))
        if steps is None:
            raise Fault(place, f"`{shorthand.name}` is not for a {kind}")
        if shorthand.argument is None and argument is not None:
            raise argument.fault(f"`{shorthand.name}` takes no argument")
        for node in steps:
            values = self._values(actor, shorthand.argument, argument)
            self.perform(_with_options(filled(node, values), options), place, depth + 1)

    def _values(self, actor: str, parameter: str | None, argument: Node | None) -> dict[str, str]:
        """`{actor}`, `{name}` (in its group, else the actor's own), `{GROUP}` (its size), …"""
        names = [members[actor] for members in self.groups.values() if actor in members]
        values = {"actor": actor, "name": names[0] if names else actor}
        values |= {group: str(len(members)) for group, members in self.groups.items()}
        if parameter and argument is not None:
            values[parameter] = argument.text(parameter)
        return values

    def _keep_book(
        self, name: str, actor: str, argument: Node | None, options: dict[str, Node], place: Place
    ) -> None:
        if name == "sees_nothing":
            self._see_nothing(actor, place)
            return
        if argument is None:
            raise Fault(place, f"`{name}` needs a group")
        members = self.groups.setdefault(argument.text("a group"), {})
        if name == "enters":
            members[actor] = options["as"].text("a name") if "as" in options else actor
        elif members.pop(actor, None) is None:
            raise Fault(place, f"{actor} is not in {argument.value}")

    def _see_nothing(self, actor: str, place: Place) -> None:
        fence = self.suite.fence
        if fence is None or actor not in self.groups.get(fence.group, {}):
            raise Fault(place, f"`sees_nothing` needs a fence, and {actor} in its group")
        self._fence(place)

    def _fence(self, place: Place) -> None:
        """A double fence: nothing but what the steps named has come to anyone in the group.

        Lines of one connection are handled in order, so the first fence, from the connection that
        acted last, is handled after what it did. Whoever has seen it says the second, which then
        comes to the first one behind anything that was wrongly sent to it.
        """
        fence = self.suite.fence
        members = self.groups.get(fence.group, {}) if fence else {}
        if not fence or not members:
            return
        if len(members) == 1:
            (alone,) = members
            self._say(alone, fence.alone_types, [(alone, fence.alone_sees)], place)
            return
        first = self.last if self.last in members else next(iter(members))
        second = next(actor for actor in members if actor != first)
        for actor in (first, second):
            self.fences += 1
            said = fence.types.replace("{n}", str(self.fences))
            heard = fence.others_see.replace("{n}", str(self.fences))
            heard = heard.replace("{name}", members[actor])
            self._say(actor, said, [(other, heard) for other in members if other != actor], place)

    def _say(self, actor: str, text: str, seen: list[tuple[str, str]], place: Place) -> None:
        rows = [(actor, "types", text), *((other, "sees", line) for other, line in seen)]
        for who, verb, line in rows:
            argument = Node(place, line)
            step = self._step(VERBS[verb], verb, who, argument, {}, place)
            self._append(replace(step, by_hand=False), place)


def _with_options(node: Node, options: dict[str, Node]) -> Node:
    """A shorthand's step with the options (`proves`, `within`, …) of the step that used it."""
    if not options:
        return node
    ((who, doing),) = node.mapping("a step").items()
    if not doing.is_mapping:
        doing = Node(doing.place, {str(doing.value): Node(doing.place, None)})
    verb = next(iter(doing.mapping("a verb")))
    own = VERBS.get(verb)
    allowed = COMMON_OPTIONS | (own.options if own else frozenset())
    fitting = {k: n for k, n in options.items() if k in allowed}
    merged = {**doing.mapping("a verb"), **fitting} if verb not in BOOKKEEPING else doing.value
    return replace(node, value={who: replace(doing, value=merged)})


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
