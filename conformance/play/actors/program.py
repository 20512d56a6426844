"""A server or a client as a program: how it starts and gets ready, what it writes, how it ends."""

from __future__ import annotations

import re
import shutil
import signal
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from conformance.arguments import CURSOR, Pattern
from conformance.model import Medium, Role, Step
from conformance.play import system
from conformance.play.actors.base import verb
from conformance.play.actors.command import Command
from conformance.play.actors.meters import Metered
from conformance.play.actors.missed import Lacking, Missed, NeverReady
from conformance.play.actors.on_screen import OnScreen
from conformance.play.actors.running import status_text
from conformance.play.actors.scratch import Writing
from conformance.play.launch import Launch
from conformance.play.process import CannotStart, Process, start
from conformance.play.shell import PROMPT, in_shell
from conformance.play.terminal import Heard
from conformance.text import complete, decode, encode

GROUP_SECONDS = 1.0  # that the other processes of a program may take to end after it


class ProgramActor(OnScreen, Metered, Writing):
    """A server or a client."""

    # --- Its start ---

    @verb
    def starts(self, step: Step) -> None:
        if self.process:
            self.process.destroy()  # it has exited, and starts again
        self.build = next(self.turns)
        command = Command(self.part, self.build, step)
        launch = command.launch()
        if "under" in step.options:
            self._check_tool(launch, step)
        if self.part.medium is Medium.SHELL:
            self._start_shell(launch, step)
        else:
            self.watch(self._start(launch), launch.size)
        self.note("*", f"starts{command.said()}")
        if self.implementation.role is Role.SERVER and "arguments" not in step.options:
            self._get_ready(step)

    def _check_tool(self, launch: Launch, step: Step) -> None:
        if shutil.which(launch.argv[0]) is None:
            raise Lacking(f"{step.place}: `{launch.argv[0]}` is not on PATH; install it")

    def _start_shell(self, launch: Launch, step: Step) -> None:
        """Start a shell that has the program as a command named by its role, and see its prompt."""
        folder = Path(tempfile.mkdtemp(dir=self.scene.files.folder, prefix=".shell-"))
        launch = in_shell(launch, str(self.implementation.role), folder)
        self._check_tool(launch, step)
        self.watch(self._start(launch), launch.size)
        self.awaits([Pattern(PROMPT + CURSOR)], step)

    def _start(self, launch: Launch) -> Process:
        self.scene.loop.transcript.note(self.name, "event", encode(f"(starts {launch})"))
        try:
            return start(self.name, launch, self.scene.loop)
        except CannotStart as error:
            raise NeverReady("a program that starts", str(error)) from None

    def _get_ready(self, step: Step) -> None:
        own = self.implementation.ready
        ready = self.part.program.ready if own is None else own
        announced = ready and "output" not in step.options
        port = self._announced(ready, step) if announced else self._looked_up(step)
        if self.name == "server":
            self.scene.port = port
        process = self.running  # if it has ended, the steps that follow say so
        self.memory_at_first = system.resident(process.pid) if process.running else 0

    def _announced(self, ready: str, step: Step) -> int:
        """Wait for the ready line; the port that it names."""
        wanted = complete(ready, {"host": self.scene.host})
        heard = self.output.next(step)
        line = decode(heard.text)
        pattern = re.escape(wanted).replace(re.escape("{port}"), "([0-9]{1,5})", 1)
        found = re.fullmatch(pattern, line)
        if heard.why or not found:
            raise NeverReady(wanted, line, self._not_ready(heard, step))
        if found.groups():
            return int(found[1])
        return self.implementation.port or self._looked_up(step)

    def _not_ready(self, heard: Heard, step: Step) -> str:
        process = self.running
        if heard.why == "eof" and process.wait(self.deadline(step)):
            return f"it never got ready: {status_text(process.status)}"
        why = self.output.why(heard, step)
        return f"it never got ready: {why}" if why else "not its ready line"

    def _looked_up(self, step: Step) -> int:
        """Wait until a program that announces nothing listens at its port; at any, if it has none.

        No event says that a socket listens.
        """
        process, deadline, own = self.running, self.deadline(step), self.implementation.port
        while process.running:
            ports = system.listening_ports(process.pid)
            if port := next((port for port in ports if own in (None, port)), None):
                return port
            moment = time.monotonic()
            if moment > deadline:
                break
            self.scene.loop.wait(lambda: not process.running, moment + system.LOOK_SECONDS)
        raise NeverReady("a listening socket", "none", "it never got ready")

    # --- What it writes ---

    @verb
    def prints(self, step: Step) -> None:
        """For a program that comes to its end by itself: its whole output holds these texts."""
        texts, output = step.takes(tuple), b""
        for heard in self.output.until(self.deadline(step)):
            output += heard.text + (b"" if heard.why else b"\n")
        for text in texts:
            if text not in decode(output):
                raise Missed(f"somewhere in its output: {text}", "it is not there")
        if heard.why != "eof":
            why = self.output.why(heard, step)
            raise Missed("the end of its output", decode(heard.text), why)
        self.note("<~", " … ".join(texts))

    @verb
    def complains(self, step: Step) -> None:
        which, patterns = step.takes(tuple)
        if which == "last":
            self._last_complaint(patterns, step)
        elif self.part.program.errors == "accounted":
            self.errors.expect(self.each(patterns), step)
        else:
            must_come = (one for one in patterns if not one.optional)
            self._find_complaints(self.each(must_come), step)
        self.note_lines("!", patterns)

    def _find_complaints(self, patterns: Iterable[Pattern], step: Step) -> None:
        """Its standard error is free: these lines are among the others, in this order."""
        heard = self.errors.until(self.deadline(step))
        lines, last = (decode(one.text) for one in heard if not one.why), ""
        for pattern in patterns:
            for last in lines:
                if pattern.meets(last):
                    break
            else:
                wanted = f"among the lines of standard error: {pattern}"
                raise Missed(wanted, last, "no such line; this is the last one that came")

    def _last_complaint(self, patterns: Iterable[Pattern], step: Step) -> None:
        last = ""
        for heard in self.errors.until(self.deadline(step)):
            last = last if heard.why else decode(heard.text)
        (pattern,) = self.each(patterns)
        if heard.why != "eof" or heard.text or not pattern.meets(last):
            seen = decode(heard.text) or last
            wanted = f"as the last line of standard error: {pattern}"
            raise Missed(wanted, seen, self.errors.why(heard, step))

    # --- Its end ---

    @verb
    def exits(self, step: Step) -> None:
        process, statuses = self.running, step.takes(tuple)
        wanted = " or ".join(map(_status_words, statuses))
        if not process.wait(self.deadline(step)):
            seconds = self.scene.deadlines.allow(step)
            raise Missed(wanted, "it is still running", f"after {seconds:g} s", late=True)
        if not any(_status_meets(process.status, status) for status in statuses):
            raise Missed(wanted, status_text(process.status), "it ended in another way")
        self.left_over += process.end_group(time.monotonic() + GROUP_SECONDS)
        if self.part.medium.is_screen:
            self.leaves_terminal(time.monotonic() + GROUP_SECONDS)
        else:
            self._says_no_more(step)
        self.did(f"exits {' or '.join(map(str, statuses))}")

    def _says_no_more(self, step: Step) -> None:
        """All that it wrote before its end was named, as far as that is accounted for."""
        if "rest" not in step.options:
            self.output.end("nothing more, and its end", step)
        if self.part.program.errors == "accounted":
            self.errors.end("nothing more on standard error, and its end", step)


def _status_meets(status: int | None, wanted: int | str) -> bool:
    if wanted == "nonzero":
        return status is not None and status > 0
    if isinstance(wanted, str):
        return status == -signal.Signals[wanted]
    return status == wanted


def _status_words(wanted: int | str) -> str:
    """What a step asks for, in the words of what is seen."""
    if wanted == "nonzero":
        return "an exit status above 0"
    return f"killed by {wanted}" if isinstance(wanted, str) else f"exit status {wanted}"
