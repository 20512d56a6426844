"""A program on a screen: keys are pressed, and what counts is what a person sees."""

from __future__ import annotations

import signal
import time

from conformance.arguments import CURSOR
from conformance.model import Step
from conformance.play.actors.base import verb
from conformance.play.actors.missed import Missed
from conformance.play.actors.running import Running
from conformance.play.terminal import left_changed, resize


class OnScreen(Running):
    """The verbs of screens."""

    @verb
    def presses(self, step: Step) -> None:
        keys = step.takes(bytes)
        self.send(self._screen.keys(keys) if self._screen else keys, step)
        self.did(f"presses {step.source.partition('presses: ')[2].rstrip('}')}")

    @verb
    def resizes(self, step: Step) -> None:
        columns, rows = step.takes(tuple)
        self.screen.resize(columns, rows)
        resize(self.running.output.fd, columns, rows)
        self.did(f"resizes its window to {columns}x{rows}")

    @verb
    def shows(self, step: Step) -> None:
        """The screen is, in time, as named: every row of it, or its last ones."""
        which, patterns = step.takes(tuple)
        wanted = list(self.each(patterns))
        marked = any(CURSOR in one.text for one in wanted)
        screen, source = self.screen, self.running.output
        while wrong := screen.differs(which, wanted, marked):
            self.scene.loop.wait(lambda: screen.changed or bool(source.end), self.deadline(step))
            if not screen.changed or time.monotonic() > self.deadline(step):
                expected, seen = wrong
                raise Missed(expected, seen, "the screen is another")
        self.note_lines("|", patterns)

    def leaves_terminal(self, step: Step) -> None:
        """A program that ends leaves the terminal as it found it, unless it was killed."""
        process = self.running
        self.scene.loop.wait(lambda: bool(process.output.end), self.deadline(step))
        if process.status == -signal.SIGKILL:
            return
        assert process.terminal
        changed = left_changed(process.terminal) + self.screen.left_changed()
        if changed:
            raise Missed("the terminal as it was before", ", ".join(changed), "not put back")
