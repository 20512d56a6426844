"""A program that runs: its process, its streams or its screen, and what is done to it from outside.

It knows neither how a program is started nor what is right for it to write.
"""

from __future__ import annotations

from itertools import cycle
from typing import TYPE_CHECKING

from conformance.model import Implementation, Step
from conformance.play.actors.base import Actor, Part, verb
from conformance.play.actors.hearing import Stream
from conformance.play.actors.missed import Missed
from conformance.play.process import Process, ending
from conformance.play.system import Descendant

if TYPE_CHECKING:
    from conformance.play.screen import Screen


class Running(Actor):
    """A program: on a terminal, on pipes, on a screen, or in a shell."""

    def __init__(self, part: Part) -> None:
        super().__init__(part)
        self.part = part
        self.left_over = 0  # processes that went on when it had ended
        self.process: Process | None = None
        self.memory_at_first = 0  # bytes, when it was ready
        self.gets_ready = False  # it has started, and is not ready yet
        self.descendant: Descendant | None = None  # which listens in its place
        self.turns = cycle(part.turns)
        self.build = part.turns[0]
        self.errors: Stream  # unless it is on a screen
        self._screen: Screen | None = None
        if part.medium.is_screen:
            self.line_end = "\r"  # what the key sends

    @property
    def label(self) -> str:
        return self.implementation.label

    @property
    def implementation(self) -> Implementation:
        """Which program it is, this time."""
        return self.build.implementation

    @property
    def is_starting(self) -> bool:
        """Whether it runs and has not written anything yet."""
        return self.process is not None and self.process.running and not self.process.output.began

    @property
    def running(self) -> Process:
        """Its process, which may have ended; raises Missed where it was never started."""
        if self.process is None:
            raise Missed("a running program", "none")
        return self.process

    @property
    def alive(self) -> Process:
        """Its process; raises Missed where it has ended."""
        process = self.running
        if not process.running:
            raise Missed("a running program", status_text(process.status), "it has ended")
        return process

    @property
    def served_by(self) -> Process | Descendant:
        """The process that does the work; raises Missed where the program has ended."""
        if self.descendant and not self.descendant.running:
            raise Missed("a running program", "none", "the process that listened has ended")
        return self.descendant or self.alive

    @property
    def screen(self) -> Screen:
        """What a person sees of it."""
        if self._screen is None:
            raise Missed("a program on a screen", "none")
        return self._screen

    def watch(self, process: Process, size: tuple[int, int]) -> None:
        """Take what a process writes: line by line, or on a screen."""
        self.process = process
        if self.part.medium.is_screen:
            from conformance.play.screen import Screen  # its emulator is slow to import

            self._screen = Screen(process.output, *size, process.answer)
            return
        self._output = Stream(process.output, self)
        if process.errors:
            self.errors = Stream(process.errors, self)

    @property
    def streams(self) -> list[Stream]:
        if self._output is None:
            return []
        return [self._output, self.errors] if self.running.errors else [self._output]

    def deadline(self, step: Step) -> float:
        """A program that has not written anything yet may still be starting."""
        if self.trying or "within" in step.options or self.process is None:
            return self.until
        if self.process.output.began and not self.gets_ready:
            return self.until
        seconds = self.scene.deadlines.starting(step, self.implementation)
        has_own = self.gets_ready and self.implementation.start is not None
        start = self.process.started + seconds
        return start if has_own else max(self.until, start)

    def silence(self, step: Step) -> str:
        if self.process and not self.process.running:
            return "it has ended, but another process holds its output open"
        if self.process and self.gets_ready and "within" not in step.options:
            return f"nothing more came within {self.deadline(step) - self.process.started:.3g} s"
        return super().silence(step)

    def destroy(self) -> None:
        if self.process:
            self.process.destroy()

    # --- What is done to it ---

    def send(self, data: bytes, step: Step) -> None:
        process = self.running
        self.scene.loop.transcript.note(self.name, "sent", data)
        if not process.write(data, self.deadline(step)):
            raise Missed("it takes its input", "it does not", "the program does not read")

    @verb
    def is_sent(self, step: Step) -> None:
        (self.descendant or self.running).signal(step.takes(str))
        self.did(f"is sent {step.argument}")

    @verb
    def ends_input(self, step: Step) -> None:
        self.running.end_input()
        self.did("ends its input")

    @verb
    def stops_reading(self, step: Step) -> None:
        """Its standard output is not read any more."""
        self.running.output.pause()
        self.did("is not read")

    @verb
    def reads_again(self, step: Step) -> None:
        self.running.output.resume()
        self.did("is read again")


def status_text(status: int | None) -> str:
    """How a program has ended, in words."""
    return ending(status) if status is not None else "it is still running"
