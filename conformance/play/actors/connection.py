"""Actors that are a connection: a wire to the server, and a server that does what the steps say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from conformance.arguments import Bytes
from conformance.model import Step, Trait
from conformance.play.actors.base import Actor, Part, verb
from conformance.play.actors.hearing import Stream
from conformance.play.actors.missed import Lacking, Missed
from conformance.play.poll import Source
from conformance.play.tcp import Connection, Listener, Refused, connect
from conformance.text import decode


@dataclass(slots=True)
class _Line:
    """One connection and what comes over it."""

    connection: Connection
    source: Source
    stream: Stream
    gone: bool = False
    is_free: bool = False  # a step has said that anything may still come

    def close(self, how: Callable[[], None]) -> None:
        if not self.gone:
            self.source.close()
            how()
            self.gone = True


class Peer(Actor):
    """What wires and scripted servers share."""

    def __init__(self, part: Part) -> None:
        super().__init__(part)
        self._lines: list[_Line] = []  # the last one is the one in use
        self.line_end = part.scene.line_end
        part.scene.loop.transcript.line_ends[self.name] = self.line_end

    def _open(self, connection: Connection) -> None:
        source = Source(self.scene.loop, self.name, "seen", connection.fd, connection.read)
        self._output = Stream(source, self, self.line_end)
        self._lines.append(_Line(connection, source, self._output))

    @property
    def _line(self) -> _Line:
        """The connection in use; raises Missed where there is none."""
        if not self._lines or self._lines[-1].gone:
            raise Missed("a connection", "none", "there is none to act on")
        return self._lines[-1]

    def destroy(self) -> None:
        for line in self._lines:
            line.close(line.connection.close)

    # --- What it does ---

    def send(self, data: bytes, step: Step) -> None:
        connection = self._line.connection
        self.scene.loop.transcript.note(self.name, "sent", data)
        sent = self.scene.loop.write(connection.fd, connection.write, data, self.deadline(step))
        if sent < len(data):
            reason = "the other side does not read"
            raise Missed(f"{len(data)} bytes are taken", f"{sent} are", reason)

    @verb
    def dribbles(self, step: Step) -> None:
        """Each byte in a packet of its own."""
        data = step.takes(Bytes)
        for byte in data.whole(self.scene.values):
            self.send(bytes([byte]), step)
            self.scene.loop.let_others_go_on()
        self.note(">.", decode(data.whole(self.scene.shown)))

    @verb
    def ends_input(self, step: Step) -> None:
        self._line.connection.end_writing()
        self.did("ends its side")

    @verb
    def closes(self, step: Step) -> None:
        line = self._line
        self._leave(line, step)
        # What still comes is read and dropped: closing with unread bytes would be a reset.
        line.connection.end_writing()
        self.did("closes")

    @verb
    def resets(self, step: Step) -> None:
        line = self._line
        self._leave(line, step)
        line.close(line.connection.reset)
        self.did("resets")

    def _leave(self, line: _Line, step: Step) -> None:
        """Check that all that has come was named, unless the step leaves that open."""
        line.is_free = "rest" in step.options
        if not line.is_free:
            line.stream.check_rest("nothing more before it closes")

    @verb
    def stops_reading(self, step: Step) -> None:
        self._line.source.pause()
        self.did("stops reading")

    @verb
    def reads_again(self, step: Step) -> None:
        self._line.source.resume()
        self.did("reads again")

    # --- What it sees ---

    @verb
    def receives(self, step: Step) -> None:
        self.sees(step)

    @verb
    def is_closed(self, step: Step) -> None:
        end = self.output.end("end of file", step)
        if end != "eof" and not (end == "reset" and step.options.get("by_reset")):
            seen = "a reset" if end == "reset" else end
            raise Missed("end of file", seen, "closed, but not in order")
        self._let_go()
        self.did("is closed")

    def _let_go(self) -> None:
        """What follows from the other side's end of file: this side ends too."""
        line = self._line
        line.close(line.connection.close)

    @verb
    def is_reset(self, step: Step) -> None:
        end = self.output.end("a reset", step)
        if end != "reset":
            raise Missed("a reset", "end of file" if end == "eof" else end)
        line = self._line
        line.close(line.connection.close)
        self.did("is reset")


class Wire(Peer):
    """A raw connection to the server."""

    @verb
    def starts(self, step: Step) -> None:
        size = step.options.get("receive_buffer")
        assert size is None or isinstance(size, int)
        try:
            self._open(connect(self.scene.host, self.scene.port, size, self.deadline(step)))
        except Refused as error:
            raise Missed("a connection", str(error)) from None
        self.did("connects")

    @verb
    def is_refused(self, step: Step) -> None:
        try:
            connect(self.scene.host, self.scene.port, None, self.deadline(step)).close()
        except Refused as error:
            if not error.at_once:
                raise Missed("a refused connection", str(error)) from None
            self.did("is refused")
            return
        raise Missed("a refused connection", "an accepted one")


class ScriptedServer(Peer):
    """A server that does what the steps say, to judge clients alone."""

    def __init__(self, part: Part) -> None:
        super().__init__(part)
        self._listener: Listener | None = None

    @verb
    def starts(self, step: Step) -> None:
        try:
            self._listener = Listener(self.scene.host, self.scene.fixed_port)
        except OSError as error:
            place = f"{self.scene.host}, port {self.scene.fixed_port}"
            raise Lacking(f"the scripted server cannot listen at {place}: {error}") from None
        self.scene.port = self._listener.port
        self.did("listens")

    @verb
    def accepts(self, step: Step) -> None:
        assert self._listener  # the reader of scenarios has seen `starts` before
        if self._lines and not self._lines[-1].is_free:
            self.output.check_rest("nothing more on the connection before this one")
        connection = self._listener.accept(self.scene.loop, self.deadline(step))
        if connection is None:
            raise Missed("a connection", "none", "the client does not connect")
        self._open(connection)
        self.did("accepts")

    def _let_go(self) -> None:
        """A server may go on sending to a client that has ended its side."""

    def deadline(self, step: Step) -> float:
        """A client that has not written anything yet may still be starting."""
        waits = Trait.WAITS_FOR_A_START in step.traits and self.scene.someone_starts()
        if not waits or "within" in step.options:
            return self.until
        return self.until + self.scene.deadlines.starting(step)

    def finish(self, step: Step) -> None:
        """Every connection is read to its end, and none is left that no step has accepted."""
        for line in self._lines:
            if not line.gone and not line.is_free:
                line.stream.end("nothing more, and the end of the connection", step)
        if self._listener and self._listener.accept(self.scene.loop, 0.0):
            raise Missed("no further connection", "one", "no step has accepted it", extra=True)

    def destroy(self) -> None:
        super().destroy()
        if self._listener:
            self._listener.close()
