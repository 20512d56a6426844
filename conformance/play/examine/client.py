"""Examines a client: whether it connects, shows lines, sends lines, and ends."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from conformance.builds.build import Build
from conformance.model import Medium, Program
from conformance.play.case.poll import Source
from conformance.play.examine.bench import (
    ASKED,
    CTRL_C,
    ENDED,
    TOLD,
    UP,
    Bench,
    Finding,
    Started,
    came,
    examine,
    quoted,
)
from conformance.play.network.tcp import Connection, Listener
from conformance.play.processes.process import ending
from conformance.text import encode

SHOWN, TYPED = "a line from the server", "a line that is typed"


def examine_client(build: Build, program: Program, seconds: float, end: str) -> list[Finding]:
    """All findings about a client, which runs once at a terminal and once through pipes.

    `end` is the line end of the protocol. The first is ended by Ctrl+C, the other by the end of
    its input.
    """
    alone = bool(build.implementation.port)  # two clients at a fixed port cannot be told apart

    def look(bench: Bench, media: Sequence[Medium]) -> bool:
        return _Client(bench, end).examine(media)

    return examine(build, program, seconds, look, alone)


@dataclass(frozen=True, slots=True)
class _Talk:
    """A client that is connected."""

    started: Started
    medium: Medium
    connection: Connection
    source: Source  # of the bytes that it sends

    @property
    def where(self) -> str:
        """`at a terminal` or `through pipes`."""
        return "at a terminal" if self.medium is Medium.TERMINAL else "through pipes"


@dataclass(frozen=True, slots=True)
class _Client:
    """One examination of a client."""

    bench: Bench
    line_end: str

    def examine(self, media: Sequence[Medium]) -> bool:
        """Start a client on each medium, and do each phase with all of them."""
        talks = self._connected(media)
        self.bench.is_up()
        for act in (self._say, self._see_it_said):
            for talk in talks:
                act(talk)
        since = time.monotonic()
        for act in (self._ask_to_end, self._end_connection):
            for talk in talks:
                act(talk)
        for talk in talks:
            self._see_it_end(talk, since)
        return bool(talks)

    # --- Connecting ---

    def _connected(self, media: Sequence[Medium]) -> list[_Talk]:
        begun = [(medium, self._listener()) for medium in media]
        started = [self._start(*one) for one in begun]
        talks: list[_Talk] = []
        for (medium, listener), one in zip(begun, started, strict=True):
            talk = self._connects(one, medium, listener) if one else None
            if talk is None:
                break  # the other media would show the same problem
            talks.append(talk)
        return talks

    def _listener(self) -> Listener:
        listener = Listener(self.bench.scene.host, self.bench.build.implementation.port or 0)
        self.bench.cleaning.callback(listener.close)
        return listener

    def _start(self, medium: Medium, listener: Listener) -> Started | None:
        self.bench.scene.port = listener.port
        return self.bench.start(medium)

    def _connects(self, started: Started, medium: Medium, listener: Listener) -> _Talk | None:
        """Wait until it connects; if it does not, add a finding and return None."""
        loop = self.bench.scene.loop
        process, at = started.process, f"port {listener.port} of {self.bench.scene.host}"
        connection = listener.accept(loop, self.bench.by(UP), lambda: not process.running)
        if connection:
            self.bench.cleaning.callback(connection.close)
            source = Source(loop, "peer", "seen", connection.fd, connection.read)
            self.bench.cleaning.callback(source.close)
            return _Talk(started, medium, connection, source)
        how = f" within {self.bench.start_seconds:g} s"
        if process.status is not None:
            how = f", and ends with {ending(process.status)}"
        what = f"it does not connect to {at}{how}"
        remedy = f"connect to the host and port on its command line: {started.command}"
        self.bench.find(what + started.last_words, remedy)
        return None

    # --- Talking ---

    def _say(self, talk: _Talk) -> None:
        """Send a line to it over the connection, and type one."""
        talk.connection.write(memoryview(encode(SHOWN + self.line_end)))
        talk.started.process.write(encode(f"{TYPED}\n"), self.bench.by(TOLD))

    def _see_it_said(self, talk: _Talk) -> None:
        """Check that it shows the first line, and sends the other."""
        output, errors = talk.started.process.output, talk.started.process.errors
        if not self.bench.comes(lambda: SHOWN in came(output) or output.end, TOLD):
            remedy = "write each line to standard output when it comes, and flush standard output"
            self.bench.find(f"{talk.where}, it does not show what the server sends", remedy)
        if not self.bench.comes(lambda: TYPED in came(talk.source) or talk.source.end, TOLD):
            remedy = "read standard input while it waits for the server, and send each line at once"
            self.bench.find(f"{talk.where}, it does not send what is typed", remedy)
        if self.bench.program.errors == "accounted" and (said := came(errors)):
            what = f"it writes to standard error: {quoted(said.splitlines()[0])}"
            self.bench.find(what, "write there only what a rule of the protocol asks for")

    # --- Ending ---

    def _ask_to_end(self, talk: _Talk) -> None:
        """Press Ctrl+C if the suite says how the client then ends; with pipes, close its input."""
        if talk.medium is Medium.PIPES:
            talk.started.process.end_input()
        elif self.bench.program.interrupted is not None:
            talk.started.press(CTRL_C)

    def _end_connection(self, talk: _Talk) -> None:
        """Check that it closes its sending side at the end of its input; then close the other."""
        if talk.medium is not Medium.PIPES:
            return
        if not self.bench.comes(lambda: talk.source.end, ASKED):
            what = "at the end of its input, it does not close its sending side of the connection"
            self.bench.find(what, "then call shutdown(SHUT_WR), and continue reading")
        talk.connection.end_writing()

    def _see_it_end(self, talk: _Talk, since: float) -> None:
        process = talk.started.process
        if talk.medium is Medium.PIPES:
            if not self.bench.comes(lambda: not process.running, ENDED):
                what = "it does not end after the end of its input and of the connection"
                self.bench.find(what, "end the program once both sides are closed")
            self.bench.see_group_end(process)
        elif self.bench.program.interrupted is not None:
            self.bench.see_end(process, "Ctrl+C", since)
