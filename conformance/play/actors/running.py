"""A running program: its process, its streams or its screen, and the verbs that act on it.

It knows neither how a program is started nor what it should write.
"""

from __future__ import annotations

from itertools import cycle
from typing import TYPE_CHECKING

from conformance.model import Implementation, Step
from conformance.play.actors.base import Actor, Part, verb
from conformance.play.actors.missed import Missed
from conformance.play.actors.stream import Stream
from conformance.play.processes import system
from conformance.play.processes.process import Process, ending
from conformance.play.processes.system import Descendant

if TYPE_CHECKING:
    from conformance.play.terminals.screen import Screen


class Running(Actor):
    """A program on a terminal, on pipes, on a screen, or in a shell."""

    def __init__(self, part: Part) -> None:
        super().__init__(part)
        self.part = part
        self.left_over = 0  # number of processes of its group that outlived it
        self.process: Process | None = None
        self.memory_at_first = 0  # bytes, when it was ready
        self.gets_ready = False  # it has started, but is not ready yet
        self.descendant: Descendant | None = None  # a process below it that listens in its place
        self._started_by = -1.0  # `until` of the last step that waited while it was starting
        self.turns = cycle(part.turns)
        self.build = part.turns[0]
        self.errors: Stream  # unless it is on a screen
        self._screen: Screen | None = None
        if part.medium.is_screen:
            self.line_end = "\r"  # the Enter key sends it

    @property
    def label(self) -> str:
        return self.implementation.label

    @property
    def implementation(self) -> Implementation:
        """The implementation that this start runs."""
        return self.build.implementation

    @property
    def port(self) -> int:
        return self.scene.port_for(self.implementation.role)

    @property
    def is_starting(self) -> bool:
        """Whether it runs, but has not written anything yet."""
        return self.process is not None and self.process.running and not self.process.output.began

    @property
    def _waits_for_start(self) -> bool:
        """Whether the current step has the deadline of a start."""
        return self.until == self._started_by

    @property
    def running(self) -> Process:
        """Its process, which may have ended; raises Missed if it was never started."""
        if self.process is None:
            raise Missed("a running program", "none")
        return self.process

    @property
    def alive(self) -> Process:
        """Its process; raises Missed if it has ended."""
        process = self.running
        self.scene.loop.serve()  # it may have ended just now
        if not process.running:
            raise Missed("a running program", status_text(process.status), "it has ended")
        return process

    @property
    def served_by(self) -> Process | Descendant:
        """The process that serves connections; raises Missed if it has ended."""
        if self.descendant and not self.descendant.running:
            raise Missed("a running program", "none", "the process that listened has ended")
        return self.descendant or self.alive

    @property
    def screen(self) -> Screen:
        """Its screen; raises Missed if it has none."""
        if self._screen is None:
            raise Missed("a program on a screen", "none")
        return self._screen

    def watch(self, process: Process, size: tuple[int, int]) -> None:
        """Read what a process writes: as lines, or into a screen."""
        self.process = process
        if self.part.medium.is_screen:
            from conformance.play.terminals.screen import Screen  # its emulator is slow to import

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
        """The usual deadline, but a later one if it waits while the program is still starting."""
        if self.trying or "within" in step.options or self.process is None or self._waits_for_start:
            return self.until
        if self.process.output.began and not self.gets_ready:
            return self.until
        seconds = self.scene.deadlines.starting(step, self.implementation)
        has_own = self.gets_ready and self.implementation.start is not None
        start = self.process.started + seconds
        self.until = self._started_by = start if has_own else max(self.until, start)
        return self.until

    def silence(self, step: Step) -> str:
        if self.process and not self.process.running:
            return "it has ended, but another process holds its output open"
        return super().silence(step)

    def patience(self, step: Step) -> float:
        if self.process and self._waits_for_start:
            return round(self.until - self.process.started, 2)
        return super().patience(step)

    def destroy(self) -> None:
        if self.process:
            self.process.destroy()

    # --- What is done to it ---

    def send(self, data: bytes, step: Step) -> None:
        process = self.running
        self.scene.loop.transcript.note(self.name, "sent", data)
        if not process.write(data, self.deadline(step)):
            raise Missed("it reads its input", "it does not", "the program does not read")

    @verb
    def is_sent(self, step: Step) -> None:
        name, target = step.takes(str), self.descendant or self.running
        target.signal(name)
        self.did(f"is sent {name}")
        if name == "SIGSTOP":
            self._waits_until_stopped(target.pid, step)

    def _waits_until_stopped(self, pid: int, step: Step) -> None:
        """Wait until no thread runs any more: the signal reaches them one after another."""
        for _ in system.looks(self.counted_from_now(step)):
            if system.is_stopped(pid):
                return
            self.scene.loop.look_again()
        raise Missed("a stopped program", "a running one", "it does not stop")

    @verb
    def ends_input(self, step: Step) -> None:
        self.running.end_input()
        self.did("ends its input")

    @verb
    def stops_reading(self, step: Step) -> None:
        """Stop reading its standard output."""
        self.running.output.pause()
        self.did("is not read")

    @verb
    def reads_again(self, step: Step) -> None:
        self.running.output.resume()
        self.did("is read again")


def status_text(status: int | None) -> str:
    """How a program has ended, as text."""
    return ending(status) if status is not None else "it is still running"
