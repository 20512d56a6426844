"""What every actor can do: send something, and compare what it gets, line by line.

A verb is a method with the decorator `@verb`; the method's name is the name of the verb. The base
knows neither programs nor connections.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FunctionType
from typing import Any, ClassVar, TypeVar

from conformance.arguments import Bytes, Pattern
from conformance.builds.build import Build
from conformance.model import Delivery, Medium, Origin, Program, Role, Step, Trait
from conformance.play.actors.missed import Missed
from conformance.play.actors.stream import Interleaved, Stream
from conformance.play.case.files import Files
from conformance.play.case.poll import Loop
from conformance.play.network.proxy import Proxy
from conformance.play.schedule.deadlines import Deadlines
from conformance.text import complete, decode, encode, plain, visible

_NO_PROGRAM = Program()
_SHOWN = 200  # characters of a line in the transcript
_SHOWN_LINES = 100  # in the transcript, for a step that does not name its lines word for word

Verb = Callable[[Any, Step], None]  # a method of an actor
_Method = TypeVar("_Method", bound=Verb)
_marked: set[object] = set()


def verb(method: _Method) -> _Method:
    """Mark a method of an actor as the verb of the same name."""
    _marked.add(method)
    return method


@dataclass(slots=True)
class Scene:
    """The data that all actors of a case share."""

    loop: Loop
    host: str
    deadlines: Deadlines
    environment: Mapping[str, str]
    folder: Path  # of the suite: scenarios name files in it
    line_end: str  # on connections
    files: Files  # in the scratch folder of this case
    confined: bool = False  # programs have limits
    port: int = 0  # of the server; 0: not known yet
    fixed_port: int = 0  # the only port to which the clients can connect; 0: they take any
    captured: dict[str, str] = field(default_factory=dict)  # parts of lines, for later steps
    # The time (monotonic) of the last act: of all actors (""), of one, of one by a verb
    # ("ann starts").
    acted: dict[str, float] = field(default_factory=dict)
    orders: dict[str, list[str]] = field(default_factory=dict)  # by actor: lines of its `sees_all`
    any_is_starting: Callable[[], bool] = lambda: False  # whether a program may still be starting
    delivery: Delivery = Delivery.WHOLE
    seed: str = ""  # for random choices; the same in every run
    proxy: Proxy | None = None  # between client programs and a server program

    @property
    def values(self) -> dict[str, str]:
        """The values of the placeholders in texts, as far as they are known now."""
        folder = str(self.files.folder)
        known = {"host": self.host, "port": str(self.port), "scratch": folder}
        return known | self.captured if self.captured else known

    def port_for(self, role: Role) -> int:
        """The port at which a program of this role finds the server: perhaps the proxy's."""
        return self.proxy.port if role is Role.CLIENT and self.proxy else self.port

    @property
    def shown(self) -> dict[str, str]:
        """`values` for the transcript, in which captured parts stay placeholders."""
        return self.values | {name: f"{{{name}}}" for name in self.captured}

    def since(self, step: Step) -> float:
        """The time (monotonic) from which the step counts, as its option `since` says."""
        return self.acted[str(step.options.get("since", ""))]


@dataclass(frozen=True, slots=True)
class Part:
    """What an actor is made from. A connection uses only the name and the scene."""

    name: str
    scene: Scene
    medium: Medium = Medium.TERMINAL
    program: Program = _NO_PROGRAM
    turns: Sequence[Build] = ()  # one for each start; after the last one, the first one again


class Actor:
    """One member of a scenario's cast."""

    line_end = "\n"
    verbs: ClassVar[Mapping[str, Verb]] = {}

    def __init_subclass__(cls) -> None:
        methods = {name: one for base in reversed(cls.__mro__) for name, one in vars(base).items()}
        functions = {name: one for name, one in methods.items() if isinstance(one, FunctionType)}
        cls.verbs = {name: one for name, one in functions.items() if one in _marked}

    def __init__(self, part: Part) -> None:
        self.name = part.name
        self.scene = part.scene
        self._output: Stream | None = None
        self.until = 0.0  # the deadline of the current step (monotonic)
        self.came = 0.0  # when something came that is not output (monotonic); 0: not known
        self.trying = False  # the current step is only tried: it does not wait
        self.says_more = False  # this actor sends bytes in the next step, too

    @property
    def label(self) -> str:
        """The kind of actor, for statistics."""
        return type(self).__name__.lower()

    @property
    def port(self) -> int:
        """The port at which this actor finds the server; 0: not known yet."""
        return self.scene.port

    @property
    def values(self) -> dict[str, str]:
        """The values of the placeholders in the texts of this actor."""
        return self.scene.values | {"port": str(self.port)}

    def begin(self, step: Step) -> None:
        """Set the deadline of this step, for all that it waits for."""
        now = time.monotonic()
        began = self.scene.since(step) if "since" in step.options else now
        self.until = began + self.scene.deadlines.allow(step)
        if Trait.ACTS in step.traits and step.origin is not Origin.FENCE:
            self.scene.acted |= dict.fromkeys(["", self.name, f"{self.name} {step.verb}"], now)

    def play(self, step: Step) -> None:
        """Do or check what the step says; raises Missed."""
        self.came = 0.0
        self.verbs[step.verb](self, step)
        if "since" in step.options or "not_before" in step.options:
            self._check_time(step)

    def tries(self, step: Step) -> Missed | None:
        """Play a step with what has come so far; return why it fails, or None.

        If it fails, what it has read is put back, and what it has captured is forgotten.
        """
        self.until, self.trying = time.monotonic(), True
        captured = dict(self.scene.captured)
        for stream in self.streams:
            stream.keep()
        missed: Missed | None = None
        try:
            self.play(step)
        except Missed as problem:
            missed = problem
            self.scene.captured = captured
        finally:
            self.trying = False
            for stream in self.streams:
                stream.put_back(missed is not None)
        return missed

    @property
    def streams(self) -> list[Stream]:
        """All streams that this actor reads."""
        return [self._output] if self._output else []

    def _check_time(self, step: Step) -> None:
        """Raise Missed if the line came too early or too late."""
        hears = Trait.HEARS in step.traits
        came = self._output.came if hears and self._output else self.came or time.monotonic()
        took = came - self.scene.since(step)
        least, most = step.options.get("not_before"), step.options.get("within")
        if isinstance(least, float) and took < least:
            raise Missed(f"not before {least:g} s", f"after {took:.3f} s", "too early")
        if isinstance(most, float) and "since" in step.options and took > most:
            raise Missed(f"within {most:g} s", f"after {took:.3f} s", "too late")

    def finish(self, step: Step) -> None:
        """After the last step: raise Missed if something came that no step has named."""

    def destroy(self) -> None:
        """Close and end everything that belongs to this actor."""

    def deadline(self, step: Step) -> float:
        """The time (monotonic) until which the current step may wait."""
        return self.until

    def counted_from_now(self, step: Step) -> float:
        """The deadline of what this step itself has just begun."""
        return time.monotonic() + self.scene.deadlines.allow(step)

    def silence(self, step: Step) -> str:
        """Why nothing came, in words."""
        return f"nothing more came within {self.patience(step):g} s"

    def patience(self, step: Step) -> float:
        """The seconds that the current step may wait, for messages."""
        return self.scene.deadlines.allow(step)

    def send(self, data: bytes, step: Step) -> None:
        """Send bytes to the other side; raises Missed if it does not take them."""
        raise NotImplementedError

    @property
    def output(self) -> Stream:
        """The stream that this actor reads; raises Missed if there is none yet."""
        if self._output is None:
            raise Missed("a connection", "none", "no step has taken a connection yet")
        return self._output

    # --- Saying ---

    @verb
    def types(self, step: Step) -> None:
        lines = (one.text + self.line_end for one in self.each(step.takes(tuple)))
        self.send(encode("".join(lines)), step)
        self.note_lines(">", step.takes(tuple))

    @verb
    def sends(self, step: Step) -> None:
        data = step.takes(Bytes)
        self.send(data.whole(self.values), step)
        self.note(">>", decode(data.whole(self.scene.shown)[:_SHOWN]))

    # --- Seeing ---

    @verb
    def sees(self, step: Step) -> None:
        seen = self.output.expect(self.each(step.takes(tuple)), step)
        self.note_seen("<", step.takes(tuple), seen)

    @verb
    def sees_all(self, step: Step) -> None:
        """Several sequences of lines: each keeps its order, but they may be interleaved."""
        waiting = Interleaved(self.each(sequence) for sequence in step.takes(tuple))
        order: list[str] = []
        while (optional := waiting.ends()) is None:
            wanted = " or ".join(visible(str(head)) for head in waiting.heads)
            line = self.output.line(wanted, step)
            if not waiting.takes(line):
                raise Missed(wanted, line, "an unexpected line")
            order.append(line)
        self.output.leave_open(optional)
        self.scene.orders[self.name] = order
        if all(map(_is_exact, step.takes(tuple))):
            for sequence in step.takes(tuple):
                self.note_lines("<~", sequence)
        else:
            self.note_each("<~", order)

    @verb
    def sees_as(self, step: Step) -> None:
        """The lines that another actor has seen by `sees_all`, in the same order."""
        order = self.scene.orders[step.takes(str)]
        self.output.expect((Pattern(line) for line in order), step)
        self.note("<~", f"as {step.argument}")

    @verb
    def gets(self, step: Step) -> None:
        data = step.takes(Bytes)
        self.output.data(data.whole(self.values), step)
        self.note("<<", decode(data.whole(self.scene.shown)[:_SHOWN]))

    @verb
    def sees_nothing_for(self, step: Step) -> None:
        """Nothing comes during this time."""
        self.output.silence(step.takes(float))
        self.did(f"sees nothing for {step.takes(float):g} s")

    @verb
    def is_asked(self, step: Step) -> None:
        text = complete(step.takes(str), self.values)
        self.output.prompt(text, step)
        self.note("?", complete(step.takes(str), self.scene.shown))

    # --- What the verbs are made of ---

    def each(self, patterns: Iterable[Pattern]) -> Iterator[Pattern]:
        """The single lines that patterns stand for, with placeholders filled in."""
        for pattern in patterns:
            yield from self._filled(pattern).each()

    def _filled(self, pattern: Pattern) -> Pattern:
        """The pattern with its placeholders filled in, if it has any."""
        if pattern.captures:
            pattern = replace(pattern, kept=self.scene.captured)
        has_places = "{" in pattern.text or pattern.items
        return pattern.filled(self.values) if has_places else pattern

    def note_lines(self, mark: str, patterns: Iterable[Pattern]) -> None:
        """Write patterns into the transcript; a repeated line takes one line."""
        for pattern in patterns:
            filled = pattern.filled(self.scene.shown)
            text = plain(str(filled))
            text = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
            mark_of_it = f"{mark}?" if pattern.optional else mark
            self.note(mark_of_it, text if filled.times == 1 else f"{text} (times {filled.times})")

    def note_seen(self, mark: str, patterns: Sequence[Pattern], seen: Sequence[str]) -> None:
        """Write lines into the transcript: the patterns if they are exact, else what came."""
        if _is_exact(patterns):
            self.note_lines(mark, patterns)
        else:
            self.note_each(mark, seen)
            self.note_lines(mark, (one for one in patterns if one.optional))

    def note_each(self, mark: str, lines: Sequence[str]) -> None:
        """Write lines into the transcript as they came; only the first of very many."""
        for line in lines[:_SHOWN_LINES]:
            self.note(mark, line if len(line) <= _SHOWN else f"{line[:_SHOWN]}…")
        if len(lines) > _SHOWN_LINES:
            self.note(mark, f"(and {len(lines) - _SHOWN_LINES} more)")

    def note(self, mark: str, text: str) -> None:
        """Write a line into the transcript; it has no port and no folder, which change per run."""
        text = text.replace(str(self.scene.files.folder), "{scratch}")
        self.scene.loop.transcript.step(self.name, mark, text, str(self.port or ""))

    def did(self, text: str) -> None:
        """Record an event that is neither sent nor seen."""
        self.scene.loop.transcript.note(self.name, "event", f"({text})".encode())
        self.note("*", text)


def _is_exact(patterns: Sequence[Pattern]) -> bool:
    """Whether these patterns name the required lines word for word."""
    return all(pattern.how == "is" or pattern.optional for pattern in patterns)
