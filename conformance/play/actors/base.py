"""What every actor can do: say something, and have what it gets compared, line by line.

A verb is a method that is marked with `@verb`, and its name is the method's name. The base knows
neither programs nor connections.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FunctionType
from typing import Any, ClassVar, TypeVar

from conformance.arguments import Bytes, Pattern
from conformance.build import Build
from conformance.model import Medium, Origin, Program, Step, Trait
from conformance.play.actors.hearing import InOrder, Stream
from conformance.play.actors.missed import Missed
from conformance.play.deadlines import Deadlines
from conformance.play.files import Files
from conformance.play.poll import Loop
from conformance.text import complete, decode, encode, plain, visible

_NO_PROGRAM = Program()
_SHOWN = 200  # characters of a line, in the transcript
_SHOWN_LINES = 100  # that came for one step, and that it does not name word for word

Verb = Callable[[Any, Step], None]  # a method of an actor
_Method = TypeVar("_Method", bound=Verb)
_marked: set[object] = set()


def verb(method: _Method) -> _Method:
    """Mark a method of an actor: it plays the verb of its name."""
    _marked.add(method)
    return method


@dataclass(slots=True)
class Scene:
    """What all actors of a case share."""

    loop: Loop
    host: str
    deadlines: Deadlines
    environment: Mapping[str, str]
    folder: Path  # the suite's, for files that scenarios name
    line_end: str  # of what goes over connections
    files: Files  # in a folder of the case's own
    port: int = 0  # the server's, once it is known
    fixed_port: int = 0  # to which clients connect, whatever they are told; 0: they can be told
    captured: dict[str, str] = field(default_factory=dict)  # parts of lines, for later steps
    # When the last act was: of all (""), of an actor, of an actor by a verb ("ann starts").
    acted: dict[str, float] = field(default_factory=dict)
    orders: dict[str, list[str]] = field(default_factory=dict)  # by actor: its last `sees_all`
    someone_starts: Callable[[], bool] = lambda: False  # whether a program may still be starting

    @property
    def values(self) -> dict[str, str]:
        """What is known only now, for the placeholders in texts."""
        folder = str(self.files.folder)
        known = {"host": self.host, "port": str(self.port), "scratch": folder}
        return known | self.captured if self.captured else known

    @property
    def shown(self) -> dict[str, str]:
        """The same for the transcript, where what was captured stays a place."""
        return self.values | {name: f"{{{name}}}" for name in self.captured}

    def since(self, step: Step) -> float:
        """From when the times of this step count, where it says that (monotonic)."""
        return self.acted[str(step.options.get("since", ""))]


@dataclass(frozen=True, slots=True)
class Part:
    """What an actor is made of. A connection uses the name and the scene alone."""

    name: str
    scene: Scene
    medium: Medium = Medium.TERMINAL
    program: Program = _NO_PROGRAM
    turns: Sequence[Build] = ()  # what runs: one for each start, then from the beginning again


class Actor:
    """One name of a scenario's cast."""

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
        self.until = 0.0  # when the step that is played has to be done (monotonic)
        self.trying = False  # the step is only tried: it does not wait

    @property
    def label(self) -> str:
        """What it is, for counting."""
        return type(self).__name__.lower()

    def begin(self, step: Step) -> None:
        """Start the time of this step: one deadline for all that it waits for."""
        now = time.monotonic()
        began = self.scene.since(step) if "since" in step.options else now
        self.until = began + self.scene.deadlines.allow(step)
        if Trait.ACTS in step.traits and step.origin is not Origin.FENCE:
            self.scene.acted |= dict.fromkeys(["", self.name, f"{self.name} {step.verb}"], now)

    def play(self, step: Step) -> None:
        """Do, or see, what the step says; raises Missed."""
        self.verbs[step.verb](self, step)
        if "since" in step.options or "not_before" in step.options:
            self._check_time(step)

    def tries(self, step: Step) -> Missed | None:
        """Why a step does not come true with what has come so far, which stays; None: it does."""
        self.until, self.trying = time.monotonic(), True
        for stream in self.streams:
            stream.keep()
        missed: Missed | None = None
        try:
            self.play(step)
        except Missed as problem:
            missed = problem
        finally:
            self.trying = False
            for stream in self.streams:
                stream.put_back(missed is not None)
        return missed

    @property
    def streams(self) -> list[Stream]:
        """All that it reads from."""
        return [self._output] if self._output else []

    def _check_time(self, step: Step) -> None:
        """Raise Missed where what has come came too early, or too late."""
        now = time.monotonic()
        came = self._output.came if Trait.HEARS in step.traits and self._output else now
        took = came - self.scene.since(step)
        least, most = step.options.get("not_before"), step.options.get("within")
        if isinstance(least, float) and took < least:
            raise Missed(f"not before {least:g} s", f"after {took:.3f} s", "too early")
        if isinstance(most, float) and "since" in step.options and took > most:
            raise Missed(f"within {most:g} s", f"after {took:.3f} s", "too late")

    def finish(self, step: Step) -> None:
        """After the last step: raise Missed for what came and no step has named."""

    def destroy(self) -> None:
        """Leave nothing behind."""

    def deadline(self, step: Step) -> float:
        """Until when the step that is played may wait (monotonic)."""
        return self.until

    def silence(self, step: Step) -> str:
        """Why nothing came, in words."""
        return f"nothing more came within {self.scene.deadlines.allow(step):g} s"

    def send(self, data: bytes, step: Step) -> None:
        """Bytes to the other side; each kind has its own way."""
        raise NotImplementedError

    @property
    def output(self) -> Stream:
        """What it gets, or what it writes; raises Missed where there is nothing to read from."""
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
        self.send(data.whole(self.scene.values), step)
        self.note(">>", decode(data.whole(self.scene.shown)[:_SHOWN]))

    # --- Seeing ---

    @verb
    def sees(self, step: Step) -> None:
        seen = self.output.expect(self.each(step.takes(tuple)), step)
        self.note_seen("<", step.takes(tuple), seen)

    @verb
    def sees_all(self, step: Step) -> None:
        """Several sequences of lines, each in its order, mingled in any way."""
        waiting = [InOrder(self.each(sequence)) for sequence in step.takes(tuple)]
        order: list[str] = []
        while any(sequence.needs_more for sequence in waiting):
            heads = [head for sequence in waiting for head in sequence.heads]
            wanted = " or ".join(visible(str(head)) for head in heads)
            line = self.output.line(wanted, step)
            if not any(sequence.takes(line) for sequence in waiting):
                raise Missed(wanted, line, "an unexpected line")
            order.append(line)
        self.output.leave_open(head for sequence in waiting for head in sequence.heads)
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
        self.output.data(data.whole(self.scene.values), step)
        self.note("<<", decode(data.whole(self.scene.shown)[:_SHOWN]))

    @verb
    def sees_nothing_for(self, step: Step) -> None:
        """Time itself is what this is about: nothing comes until it is over."""
        self.output.silence(step.takes(float))
        self.did(f"sees nothing for {step.takes(float):g} s")

    @verb
    def is_asked(self, step: Step) -> None:
        text = complete(step.takes(str), self.scene.values)
        self.output.prompt(text, step)
        self.note("?", complete(step.takes(str), self.scene.shown))

    # --- What the verbs are made of ---

    def each(self, patterns: Iterable[Pattern]) -> Iterator[Pattern]:
        """The single lines that patterns stand for, with what is known now filled in."""
        for pattern in patterns:
            yield from self._filled(pattern).each()

    def _filled(self, pattern: Pattern) -> Pattern:
        """The pattern with what is known now filled in; most have no place to fill."""
        if pattern.captures:
            pattern = replace(pattern, kept=self.scene.captured)
        has_places = "{" in pattern.text or pattern.items
        return pattern.filled(self.scene.values) if has_places else pattern

    def note_lines(self, mark: str, patterns: Iterable[Pattern]) -> None:
        """Lines of the transcript; a thousand like lines are one."""
        for pattern in patterns:
            filled = pattern.filled(self.scene.shown)
            text = plain(str(filled))
            text = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
            mark_of_it = f"{mark}?" if pattern.optional else mark
            self.note(mark_of_it, text if filled.times == 1 else f"{text} (times {filled.times})")

    def note_seen(self, mark: str, patterns: Sequence[Pattern], seen: Sequence[str]) -> None:
        """Lines of the transcript: as a step names them, where it does so word for word.

        Where it says only how they look, they stand there as they came.
        """
        if _is_exact(patterns):
            self.note_lines(mark, patterns)
        else:
            self.note_each(mark, seen)
            self.note_lines(mark, (one for one in patterns if one.optional))

    def note_each(self, mark: str, lines: Sequence[str]) -> None:
        """Lines as they came; of very many, the first ones."""
        for line in lines[:_SHOWN_LINES]:
            self.note(mark, line if len(line) <= _SHOWN else f"{line[:_SHOWN]}…")
        if len(lines) > _SHOWN_LINES:
            self.note(mark, f"(and {len(lines) - _SHOWN_LINES} more)")

    def note(self, mark: str, text: str) -> None:
        """A line of the transcript."""
        self.scene.loop.transcript.step(self.name, mark, text, str(self.scene.port or ""))

    def did(self, text: str) -> None:
        """Something that is neither said nor seen."""
        self.scene.loop.transcript.note(self.name, "event", f"({text})".encode())
        self.note("*", text)


def _is_exact(patterns: Sequence[Pattern]) -> bool:
    """Whether these name word for word the lines that must come."""
    return all(pattern.how == "is" or pattern.optional for pattern in patterns)
