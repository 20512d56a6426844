"""A program on a screen: steps press keys, and check what a person would see."""

from __future__ import annotations

import signal
import time

from conformance.arguments import CURSOR, Bytes, Pattern
from conformance.model import Step
from conformance.play.actors.base import verb
from conformance.play.actors.missed import Missed
from conformance.play.actors.running import Running
from conformance.play.terminals.terminal import left_changed, resize
from conformance.text import decode


class OnScreen(Running):
    """The verbs of screens."""

    @verb
    def presses(self, step: Step) -> None:
        keys = step.takes(bytes)
        self.send(self._screen.keys(keys) if self._screen else keys, step)
        self.did(f"presses {step.source.partition('presses: ')[2].rstrip('}')}")

    @verb
    def pastes(self, step: Step) -> None:
        data = step.takes(Bytes)
        self.send(self.screen.pasted(data.whole(self.scene.values)), step)
        self.note(">>", decode(data.whole(self.scene.shown)))

    @verb
    def resizes(self, step: Step) -> None:
        columns, rows = step.takes(tuple)
        self.screen.resize(columns, rows)
        resize(self.running.output.fd, columns, rows)
        self.did(f"resizes its window to {columns}x{rows}")

    @verb
    def shows(self, step: Step) -> None:
        """The screen shows these rows in time: all of its rows, or its last ones."""
        which, patterns = step.takes(tuple)
        self.awaits(list(self.each(patterns)), step, which)
        self.note_seen("|", patterns, self.screen.rows(cursor=False))

    def awaits(self, wanted: list[Pattern], step: Step, which: str = "all") -> None:
        """Wait until the screen shows these rows; raises Missed."""
        marked, over = any(CURSOR in one.text for one in wanted), False
        while wrong := self.screen.differs(which, wanted, marked):
            deadline, began = self.deadline(step), time.monotonic()
            if over or not self._changes(deadline):
                expected, seen = wrong
                raise Missed(expected, seen, "the screen differs", late=True)
            over = began > deadline  # a program may draw without end

    def _changes(self, deadline: float) -> bool:
        """Wait until the screen changes; False if it does not in time."""
        screen, source = self.screen, self.running.output
        before = screen.changes
        self.scene.loop.wait(lambda: screen.changes != before or bool(source.end), deadline)
        if time.monotonic() > deadline:
            self.scene.loop.look_again()  # what it draws may come in several pieces
        return screen.changes != before

    def leaves_terminal(self, deadline: float) -> None:
        """Check that a program, unless SIGKILL ended it, left the terminal as it had found it.

        A process that the program started may have the terminal open until the deadline.
        """
        process = self.running
        self.scene.loop.wait(lambda: bool(process.output.end), deadline)
        if process.status == -signal.SIGKILL:
            return
        assert process.terminal
        changed = left_changed(process.terminal) + self.screen.left_changed()
        if changed:
            raise Missed("the terminal as it was before", ", ".join(changed), "not put back")
