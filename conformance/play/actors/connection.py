"""Actors that use raw connections: a wire to the server, and a server that the steps script."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from conformance.arguments import Bytes
from conformance.model import Delivery, Step, Trait
from conformance.play.actors.base import Actor, Part, verb
from conformance.play.actors.missed import Lacking, Missed
from conformance.play.actors.stream import Stream
from conformance.play.case.poll import Source
from conformance.play.network.delivery import Outlet
from conformance.play.network.tcp import Connection, Listener, Refused, connect
from conformance.text import decode


@dataclass(slots=True)
class _Line:
    """One connection, and what comes over it."""

    connection: Connection
    source: Source
    stream: Stream
    outlet: Outlet | None  # None: each write is sent as a whole
    gone: bool = False
    is_free: bool = False  # a step has allowed that anything may still come

    def close(self, how: Callable[[], None]) -> None:
        if not self.gone:
            if self.outlet:
                self.outlet.close()
            self.source.close()
            how()
            self.gone = True


class Peer(Actor):
    """The common part of wires and scripted servers."""

    def __init__(self, part: Part) -> None:
        super().__init__(part)
        self._lines: list[_Line] = []  # the last one is in use
        self.line_end = part.scene.line_end
        part.scene.loop.transcript.line_ends[self.name] = self.line_end

    def _open(self, connection: Connection) -> None:
        source = Source(self.scene.loop, self.name, "seen", connection.fd, connection.read)
        self._output = Stream(source, self, self.line_end)
        scene, outlet = self.scene, None
        if scene.delivery is not Delivery.WHOLE:
            seed = f"{scene.seed} {self.name} {len(self._lines)}"
            outlet = Outlet(scene.loop, connection, scene.delivery, seed)
        self._lines.append(_Line(connection, source, self._output, outlet))

    @property
    def _line(self) -> _Line:
        """The connection in use; raises Missed if there is none."""
        if not self._lines or self._lines[-1].gone:
            raise Missed("a connection", "none", "no connection is open")
        return self._lines[-1]

    def destroy(self) -> None:
        for line in self._lines:
            line.close(line.connection.close)

    # --- What it does ---

    def send(self, data: bytes, step: Step) -> None:
        line, loop = self._line, self.scene.loop
        loop.transcript.note(self.name, "sent", data)
        if line.outlet:
            sent = self._send_in_pieces(data, line.outlet, step)
        else:
            connection = line.connection
            sent = loop.write(connection.fd, connection.write, data, self.deadline(step))
        if sent < len(data):
            reason = "the other side does not read"
            raise Missed(f"{len(data)} bytes are taken", f"{sent} are", reason)

    def _send_in_pieces(self, data: bytes, outlet: Outlet, step: Step) -> int:
        """The number of bytes that were sent in time, or that wait to be merged with the next."""
        outlet.put(data)
        if not (self.says_more and outlet.delivery is Delivery.MERGED):
            self.scene.loop.wait(lambda: not outlet.pending, self.deadline(step))
            return len(data) - outlet.pending
        return len(data)

    @verb
    def dribbles(self, step: Step) -> None:
        """Send each byte in a packet of its own."""
        data = step.takes(Bytes)
        for byte in data.whole(self.scene.values):
            self.send(bytes([byte]), step)
            self.scene.loop.yield_to_others()
        self.note(">.", decode(data.whole(self.scene.shown)))

    @verb
    def ends_input(self, step: Step) -> None:
        self._line.connection.end_writing()
        self.did("ends its side")

    @verb
    def closes(self, step: Step) -> None:
        line = self._line
        self._leave(line, step)
        # Only half-close, and read on: to close with unread bytes would send a reset.
        line.connection.end_writing()
        self.did("closes")

    @verb
    def resets(self, step: Step) -> None:
        line = self._line
        self._leave(line, step)
        line.close(line.connection.reset)
        self.did("resets")

    def _leave(self, line: _Line, step: Step) -> None:
        """Check that steps have named all that has come, unless the option `rest` is given."""
        line.is_free = "rest" in step.options
        if not line.is_free:
            line.stream.check_rest("nothing more before it closes")

    @verb
    def stops_reading(self, step: Step) -> None:
        self._line.source.pause()
        self.did("stops reading")

    @verb
    def reads_again(self, step: Step) -> None:
        self._line.connection.widen()
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
            raise Missed("end of file", seen, "not closed in order")
        self._let_go()
        self.did("is closed")

    def _let_go(self) -> None:
        """Close this side, after the end of file from the other side."""
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
    """A server that does what the steps say, so that only the clients are judged."""

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
        assert self._listener  # scenarios in which `starts` is missing are refused when read
        if self._lines and not self._lines[-1].is_free:
            self.output.check_rest("nothing more on the connection before this one")
        connection = self._listener.accept(self.scene.loop, self.deadline(step))
        if connection is None:
            raise Missed("a connection", "none", "the client does not connect")
        self._open(connection)
        self.did("accepts")

    def _let_go(self) -> None:
        """Keep the connection: a server may still send to a client that has half-closed."""

    def deadline(self, step: Step) -> float:
        """A client that has not written anything yet may still be starting."""
        waits = Trait.WAITS_FOR_A_START in step.traits and self.scene.any_is_starting()
        if not waits or "within" in step.options:
            return self.until
        return self.until + self.scene.deadlines.starting(step)

    def finish(self, step: Step) -> None:
        """Read each connection to its end, and check that no connection waits to be accepted."""
        for line in self._lines:
            if not line.gone and not line.is_free:
                line.stream.end("nothing more, and the end of the connection", step)
        if self._listener and self._listener.accept(self.scene.loop, 0.0):
            raise Missed("no further connection", "one", "no step has accepted it", extra=True)

    def destroy(self) -> None:
        super().destroy()
        if self._listener:
            self._listener.close()
