"""What every actor can do: say something, and have what it gets compared, line by line.

A verb is a method that is marked with `@verb`, and its name is the method's name. The base knows
neither programs nor connections.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FunctionType
from typing import Any, ClassVar, TypeVar

from conformance.arguments import Bytes, Pattern
from conformance.build import Build
from conformance.model import Medium, Program, Step
from conformance.play.actors.hearing import Stream
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
    files: Files  # in a folder of the case's own
    port: int = 0  # the server's, once it is known
    until: float = 0.0  # when the step that is played has to be done (monotonic)
    orders: dict[str, list[str]] = field(default_factory=dict)  # by actor: its last `sees_all`
    someone_starts: Callable[[], bool] = lambda: False  # whether a program may still be starting

    @property
    def values(self) -> dict[str, str]:
        """What is known only now, for the placeholders in texts."""
        folder = str(self.files.folder)
        return {"host": self.host, "port": str(self.port), "scratch": folder}

    def begin(self, step: Step) -> None:
        """Start the time of this step: one deadline for all that it waits for."""
        self.until = time.monotonic() + self.deadlines.allow(step)


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

    @property
    def label(self) -> str:
        """What it is, for counting."""
        return type(self).__name__.lower()

    def play(self, step: Step) -> None:
        """Do, or see, what the step says; raises Missed."""
        self.verbs[step.verb](self, step)

    def finish(self, step: Step) -> None:
        """After the last step: raise Missed for what came and no step has named."""

    def destroy(self) -> None:
        """Leave nothing behind."""

    def deadline(self, step: Step) -> float:
        """Until when the step that is played may wait (monotonic)."""
        return self.scene.until

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
        data = step.takes(Bytes).whole()
        self.send(data, step)
        self.note(">>", decode(data[:_SHOWN]))

    # --- Seeing ---

    @verb
    def sees(self, step: Step) -> None:
        seen = self.output.expect(self.each(step.takes(tuple)), step)
        self.note_seen("<", step.takes(tuple), seen)

    @verb
    def sees_all(self, step: Step) -> None:
        """Several sequences of lines, each in its order, mingled in any way."""
        waiting = [self.each(sequence) for sequence in step.takes(tuple)]
        order: list[str] = []
        heads = [next(sequence, None) for sequence in waiting]
        while any(heads):
            wanted = " or ".join(visible(str(head)) for head in heads if head)
            line = self.output.line(wanted, step)
            found = next((i for i, h in enumerate(heads) if h and h.meets(line)), None)
            if found is None:
                raise Missed(wanted, line, "an unexpected line")
            heads[found] = next(waiting[found], None)
            order.append(line)
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
    def is_asked(self, step: Step) -> None:
        text = complete(step.takes(str), self.scene.values)
        self.output.prompt(text, step)
        self.note("?", text)

    # --- What the verbs are made of ---

    def each(self, patterns: Iterable[Pattern]) -> Iterator[Pattern]:
        """The single lines that patterns stand for, with what is known now filled in."""
        for pattern in patterns:
            yield from self._filled(pattern).each()

    def _filled(self, pattern: Pattern) -> Pattern:
        """The pattern with what is known now filled in; most have no place to fill."""
        return pattern.filled(self.scene.values) if "{" in pattern.text else pattern

    def note_lines(self, mark: str, patterns: Iterable[Pattern]) -> None:
        """Lines of the transcript; a thousand like lines are one."""
        for pattern in patterns:
            filled = self._filled(pattern)
            text = plain(str(filled))
            text = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
            self.note(mark, text if filled.times == 1 else f"{text} (times {filled.times})")

    def note_seen(self, mark: str, patterns: Sequence[Pattern], seen: Sequence[str]) -> None:
        """Lines of the transcript: as a step names them, where it does so word for word.

        Where it says only how they look, they stand there as they came.
        """
        if _is_exact(patterns):
            self.note_lines(mark, patterns)
        else:
            self.note_each(mark, seen)

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
    """Whether these name lines word for word."""
    return all(pattern.how == "is" for pattern in patterns)
