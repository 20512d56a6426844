"""A server or a client as a program: how it starts and gets ready, what it writes, how it ends."""

from __future__ import annotations

import re
import shutil
import signal
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from conformance.arguments import CURSOR, Pattern, Ready
from conformance.model import Medium, Role, Step
from conformance.play import system
from conformance.play.actors.base import verb
from conformance.play.actors.command import Command
from conformance.play.actors.meters import Metered
from conformance.play.actors.missed import Lacking, Lingering, Missed, NeverReady
from conformance.play.actors.on_screen import OnScreen
from conformance.play.actors.running import status_text
from conformance.play.actors.scratch import Writing
from conformance.play.launch import Launch
from conformance.play.process import CannotStart, Process, start
from conformance.play.shell import PROMPT, in_shell
from conformance.play.terminal import Heard
from conformance.text import decode, encode, plain

GROUP_SECONDS = 1.0  # that the other processes of a program may take to end after it

# What may stand around the part of a line that is known.
_AROUND = {"is": ("", ""), "matches": ("", ""), "contains": (".*", ".*")}

# Who else uses a port, and what to do about it.
_HOLDERS = {
    "ours": "another program of this case always takes it, too; such a case cannot be played",
    "others": "end the program that uses it (ss -ltnp 'sport = :{port}')",
}

# How programs in many languages say that they cannot have their port.
_IN_USE = re.compile(r"address (is )?(already )?in use|EADDRINUSE", re.IGNORECASE)


class ProgramActor(OnScreen, Metered, Writing):
    """A server or a client."""

    # --- Its start ---

    @verb
    def starts(self, step: Step) -> None:
        if self.process:
            self.process.destroy()  # it has exited, and starts again
        is_first, self.descendant = self.process is None, None
        self.build = next(self.turns)
        if self.name == "server" and self.implementation.host:
            self.scene.host = self.implementation.host
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
            self._get_ready(command, is_first)

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

    def _get_ready(self, command: Command, is_first: bool) -> None:
        self.gets_ready = True
        try:
            port = self._port_when_ready(command)
        except NeverReady:
            self._see_whose_port(command.fixed_port, is_first)
            raise
        finally:
            self.gets_ready = False
        if self.scene.fixed_port not in (0, port):
            words = f"{self.label} listens at port {port}, and a client of this case connects to "
            remedy = "let its manifest say how it is told a port, or which it always takes"
            raise Lacking(f"{words}{self.scene.fixed_port} alone: {remedy}")
        if self.name == "server":
            self.scene.port = port
        process = self.running  # if it has ended, the steps that follow say so
        if self.implementation.children:
            self.descendant = system.listener(process.pid, port)
        self.memory_at_first = system.resident(self.served_by.pid) if process.running else 0

    def _port_when_ready(self, command: Command) -> int:
        """Wait until it is ready, as its manifest or the suite says; the port that it takes."""
        own = self.implementation.ready
        ready = self.part.program.ready if own is None else own
        stream = "errors" if ready.in_errors else "output"
        unheard = ready.in_errors and self.part.medium.is_screen
        if ready.line and stream not in command.step.options and not unheard:
            return self._announced(ready, command)
        return self._looked_up(command)

    def _announced(self, ready: Ready, command: Command) -> int:
        """Wait for the ready line; the port that it names."""
        assert ready.line
        step, stream = command.step, self.errors if ready.in_errors else self.output
        wanted = ready.line.filled({"host": self.scene.host})
        pattern = _with_port(wanted)
        while True:
            heard = stream.next(step)
            found = None if heard.why else pattern.fullmatch(decode(heard.text))
            if heard.why or found or ready.first:
                break
        if not found:
            line = decode(heard.text)
            raise NeverReady(plain(str(wanted)), line, self._not_ready(heard, step))
        if port := found.groupdict().get("port"):
            return int(port)
        return command.fixed_port or self._looked_up(command)

    def _see_whose_port(self, port: int, is_first: bool) -> None:
        """Raise Lacking where it could not get ready because others use its port.

        When it starts again, connections of its own that linger are its own affair.
        """
        if port:
            use = system.port_use(port)
            mine = use == "ours" and port in system.listening_ports(self.running.pid)
            if remedy := "" if mine else _HOLDERS.get(use, "").format(port=port):
                raise Lacking(f"port {port}, which {self.label} needs, is in use: {remedy}")
            if use == "lingers" and is_first:
                raise Lingering(f"port {port} is in use by connections that have ended")
        elif is_first and _IN_USE.search(self.scene.loop.transcript.said(self.name)):
            remedy = "if it always takes the same port, say so in its manifest (`port: 8080`)"
            raise Lacking(f"{self.label} says that an address is in use: {remedy}")

    def _not_ready(self, heard: Heard, step: Step) -> str:
        process = self.running
        if heard.why == "eof" and process.wait(self.deadline(step)):
            return f"it never got ready: {status_text(process.status)}"
        why = self.output.why(heard, step)
        return f"it never got ready: {why}" if why else "not its ready line"

    def _looked_up(self, command: Command) -> int:
        """Wait until a program that announces nothing listens at its port; at any, if it has none.

        No event says that a socket listens.
        """
        own, step = command.fixed_port, command.step
        process, deadline = self.running, self.deadline(step)
        while process.running:
            ports = system.listening_ports(process.pid)
            if port := next((port for port in ports if own in (0, port)), None):
                return port
            moment = time.monotonic()
            if moment > deadline:
                break
            self.scene.loop.wait(lambda: not process.running, moment + system.LOOK_SECONDS)
        wanted = f"a socket that listens at port {own}" if own else "a listening socket"
        raise NeverReady(wanted, "none", "it never got ready")

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
        self.note_each("<~", decode(output).rstrip("\n").split("\n"))

    @verb
    def complains(self, step: Step) -> None:
        which, patterns = step.takes(tuple)
        if which == "last":
            seen = [self._last_complaint(patterns, step)]
        elif self.part.program.errors == "accounted":
            seen = self.errors.expect(self.each(patterns), step)
        else:
            must_come = (one for one in patterns if not one.optional)
            seen = self._find_complaints(self.each(must_come), step)
        self.note_seen("!", patterns, seen)

    def _find_complaints(self, patterns: Iterable[Pattern], step: Step) -> list[str]:
        """Its standard error is free: these lines are among the others, in this order."""
        found = []
        heard = self.errors.until(self.deadline(step))
        lines, last = (decode(one.text) for one in heard if not one.why), ""
        for pattern in patterns:
            for last in lines:
                if pattern.meets(last):
                    found.append(last)
                    break
            else:
                wanted = f"among the lines of standard error: {pattern}"
                raise Missed(wanted, last, "no such line; this is the last one that came")
        return found

    def _last_complaint(self, patterns: Iterable[Pattern], step: Step) -> str:
        last = ""
        for heard in self.errors.until(self.deadline(step)):
            last = last if heard.why else decode(heard.text)
        (pattern,) = self.each(patterns)
        if heard.why != "eof" or heard.text or not pattern.meets(last):
            seen = decode(heard.text) or last
            wanted = f"as the last line of standard error: {pattern}"
            raise Missed(wanted, seen, self.errors.why(heard, step))
        return last

    # --- Its end ---

    @verb
    def exits(self, step: Step) -> None:
        process, statuses = self.running, step.takes(tuple)
        wanted = " or ".join(map(_status_words, statuses))
        if not process.wait(self.deadline(step)):
            seconds = self.scene.deadlines.allow(step)
            raise Missed(wanted, "it is still running", f"after {seconds:g} s", late=True)
        if not any(self._has_ended_by(status) for status in statuses):
            raise Missed(wanted, status_text(process.status), "it ended in another way")
        until = time.monotonic() + GROUP_SECONDS
        if self.implementation.children:  # it may end before those do that it has started
            until = max(until, self.deadline(step))
        self.left_over += process.end_group(until)
        if self.part.medium.is_screen:
            self.leaves_terminal(time.monotonic() + GROUP_SECONDS)
        else:
            self._says_no_more(step)
        self.did(f"exits {' or '.join(map(str, statuses))}")

    def _has_ended_by(self, wanted: int | str) -> bool:
        """Whether it has ended in this way; a shell says so in its own words of its child."""
        status = self.running.status
        if self.implementation.children and isinstance(wanted, str) and wanted != "nonzero":
            return status in (-signal.Signals[wanted], 128 + signal.Signals[wanted])
        return _status_meets(status, wanted)

    def _says_no_more(self, step: Step) -> None:
        """All that it wrote before its end was named, as far as that is accounted for."""
        if "rest" not in step.options:
            self.output.end("nothing more, and its end", step)
        if self.part.program.errors == "accounted":
            self.errors.end("nothing more on standard error, and its end", step)


def _with_port(line: Pattern) -> re.Pattern[str]:
    """The expression that a whole ready line meets, with a group for the port that it names."""
    number = "(?P<port>[0-9]{1,5})"
    if line.how == "matches":
        text = plain(line.text).replace("{port}", number, 1)
    else:
        text = re.escape(plain(line.text)).replace(re.escape("{port}"), number, 1)
    before, after = _AROUND[line.how]
    return re.compile(before + text + after, re.DOTALL)


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
