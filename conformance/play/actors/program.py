"""A server or a client as a program: its start, its readiness, its output, its end."""

from __future__ import annotations

import re
import shutil
import signal
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from conformance.arguments import CURSOR, Pattern, Ready, named_port, with_port
from conformance.model import Medium, Role, Step
from conformance.play.actors.base import verb
from conformance.play.actors.command import Command
from conformance.play.actors.meters import Metered
from conformance.play.actors.missed import Lacking, Lingering, Missed, NeverReady
from conformance.play.actors.on_screen import OnScreen
from conformance.play.actors.running import status_text
from conformance.play.actors.scratch import Writing
from conformance.play.network.sockets import has_listener
from conformance.play.network.tcp import Refused, connect
from conformance.play.processes import system
from conformance.play.processes.process import CannotStart, Process, start
from conformance.play.terminals.launch import Launch
from conformance.play.terminals.shell import PROMPT, in_shell
from conformance.play.terminals.terminal import Heard
from conformance.text import decode, encode, plain

GROUP_SECONDS = 5.0  # for a program to end that closes its sockets, and for its other processes

# Who else uses a port, and what to do about it.
_HOLDERS = {
    "ours": "another program of this case always takes the same port, so it cannot be played",
    "others": "end the program that uses it (ss -ltnp 'sport = :{port}')",
}

# The error messages of programs, in many languages, that cannot bind their port.
IN_USE = re.compile(r"address (is )?(already )?in use|EADDRINUSE", re.IGNORECASE)


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
        """Start a shell, in which the program is a command named by its role; await its prompt."""
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
            self._see_that_it_listens(port, command.step)
        except NeverReady:
            self._see_whose_port(command.fixed_port, is_first)
            raise
        finally:
            self.gets_ready = False
        if self.scene.fixed_port not in (0, port):
            words = f"{self.label} listens at port {port}, but a client of this case only connects"
            remedy = "let its manifest say how it is told a port, or which one it always takes"
            raise Lacking(f"{words} to {self.scene.fixed_port}: {remedy}")
        if self.name == "server":
            self.scene.port = port
            self._let_clients_in()
        process = self.running  # if it has ended, the next steps notice
        if self.implementation.children:
            self.descendant = system.listener(process.pid, port)
        self.memory_at_first = system.resident(self.served_by.pid) if process.running else 0

    def _let_clients_in(self) -> None:
        """Open the proxy, if there is one, until the server ends."""
        if proxy := self.scene.proxy:
            self.running.at_end = proxy.close
            if self.running.running:
                proxy.open(self.scene.host, self.scene.port)

    def _port_when_ready(self, command: Command) -> int:
        """Wait until it is ready, as its manifest or the suite says; returns its port."""
        own = self.implementation.ready
        ready = self.part.program.ready if own is None else own
        stream = "errors" if ready.in_errors else "output"
        unheard = ready.in_errors and self.part.medium.is_screen
        if ready.line and stream not in command.step.options and not unheard:
            return self._announced(ready, command)
        return self._looked_up(command)

    def _announced(self, ready: Ready, command: Command) -> int:
        """Wait for the ready line; returns the port that it names."""
        assert ready.line
        step, stream = command.step, self.errors if ready.in_errors else self.output
        wanted = ready.line.filled({"host": self.scene.host})
        pattern = with_port(wanted)
        while True:
            heard = stream.next(step)
            found = None if heard.why else pattern.fullmatch(decode(heard.text))
            if heard.why or found or ready.first:
                break
        if not found:
            line = decode(heard.text)
            raise NeverReady(plain(str(wanted)), line, self._not_ready(heard, step))
        if (named := found.groupdict().get("port")) is None:
            return command.fixed_port or self._looked_up(command)
        if (port := named_port(named)) is None:
            raise NeverReady(plain(str(wanted)), decode(heard.text), "no port from 1 to 65535")
        return port

    def _see_that_it_listens(self, port: int, step: Step) -> None:
        """Raise NeverReady if it says that it is ready, but nothing listens at its port yet.

        Only if the kernel knows no listener, a connection is tried: a firewall may forward it.
        If the program ends, the next steps notice.
        """
        host = self.scene.host
        if not self.running.running or has_listener(host, port):
            return
        try:
            connect(host, port, None, self.deadline(step)).close()
        except Refused:
            if self.running.wait(time.monotonic() + GROUP_SECONDS):
                return  # it was about to end, so it listens no longer
            wanted = f"a socket that listens at port {port}"
            reason = "it says that it is ready before it listens; listen first, then say so"
            raise NeverReady(wanted, "none", reason) from None

    def _see_whose_port(self, port: int, is_first: bool) -> None:
        """Raise Lacking if it could not get ready because another program uses its port.

        At a later start, lingering connections are its own, and it has to cope with them.
        """
        if port:
            use = system.port_use(port)
            mine = use == "ours" and port in system.listening_ports(self.running.pid)
            if remedy := "" if mine else _HOLDERS.get(use, "").format(port=port):
                raise Lacking(f"port {port}, which {self.label} needs, is in use: {remedy}")
            if use == "lingers" and is_first:
                raise Lingering(f"port {port} is in use by connections that have ended")
        elif is_first and IN_USE.search(self.scene.loop.transcript.said(self.name)):
            remedy = "if it always takes the same port, say so in its manifest (`port: 8080`)"
            raise Lacking(f"{self.label} says that an address is in use: {remedy}")

    def _not_ready(self, heard: Heard, step: Step) -> str:
        process = self.running
        if heard.why == "eof" and process.wait(self.deadline(step)):
            hint = "" if process.status else "; has it gone into the background?"
            return f"it never got ready: {status_text(process.status)}{hint}"
        why = self.output.why(heard, step)
        return f"it never got ready: {why}" if why else "not its ready line"

    def _looked_up(self, command: Command) -> int:
        """Wait until a program without a ready line listens at its fixed port, or else at any port.

        This must poll: no event signals that a socket listens.
        """
        own, step = command.fixed_port, command.step
        process = self.running
        for _ in system.looks(self.deadline(step)):
            ports = system.listening_ports(process.pid)
            if port := next((port for port in ports if own in (0, port)), None):
                return port
            if not process.running:
                break
            self.scene.loop.look_again()
        wanted = f"a socket that listens at port {own}" if own else "a listening socket"
        raise NeverReady(wanted, "none", "it never got ready")

    # --- What it writes ---

    @verb
    def prints(self, step: Step) -> None:
        """The whole output, of a program that ends by itself, contains these texts."""
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
        self.came = self.errors.came
        self.note_seen("!", patterns, seen)

    def _find_complaints(self, patterns: Iterable[Pattern], step: Step) -> list[str]:
        """Find these lines in this order; standard error may have others between them."""
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
            after = f"after {self.patience(step):g} s"
            raise Missed(wanted, "it is still running", after, late=True)
        if not any(self._has_ended_by(status) for status in statuses):
            raise Missed(wanted, status_text(process.status), "it ended in another way")
        self.came, until = process.ended, time.monotonic() + GROUP_SECONDS
        if self.implementation.children:  # its children may end after it
            until = max(until, self.deadline(step))
        self.left_over += process.end_group(until)
        # What its processes held open is closed now, perhaps after the deadline.
        self.until = max(self.until, time.monotonic() + GROUP_SECONDS)
        if self.part.medium.is_screen:
            self.leaves_terminal(time.monotonic() + GROUP_SECONDS)
        else:
            self._says_no_more(step)
        self.did(f"exits {' or '.join(map(str, statuses))}")

    def _has_ended_by(self, wanted: int | str) -> bool:
        """Whether it has ended in this way; a shell gives 128 + N if signal N ended its child."""
        status = self.running.status
        if self.implementation.children and isinstance(wanted, str) and wanted != "nonzero":
            return status in (-signal.Signals[wanted], 128 + signal.Signals[wanted])
        return _status_meets(status, wanted)

    def _says_no_more(self, step: Step) -> None:
        """Check that steps have named all that it wrote, as far as it is accounted for."""
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
    """The expected status as text, in the same words as `status_text`."""
    if wanted == "nonzero":
        return "an exit status above 0"
    return f"killed by {wanted}" if isinstance(wanted, str) else f"exit status {wanted}"
