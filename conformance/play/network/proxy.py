"""A proxy between the client programs of a case and their server, which forwards bytes in pieces.

Connections of the harness itself need no proxy: they write in pieces. Otherwise the proxy is
transparent: it forwards half-closes, resets and refusals. It also forwards backpressure from a side
that does not read, because it buffers little. It knows no actor and no step.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from conformance.model import Case, Delivery
from conformance.play.case.poll import Loop
from conformance.play.network.delivery import Outlet
from conformance.play.network.tcp import Connection, HeldPort, Listener, Refused, connect

MOST_HELD = 4096  # bytes; when so many wait in one direction, the proxy stops reading
CONNECT_SECONDS = 1.0


def needs_proxy(case: Case) -> bool:
    """Whether client programs of a case talk to a server program, with a delivery in pieces."""
    return case.delivery is not Delivery.WHOLE and bool(case.server and case.clients)


class Proxy:
    """Listens at a port of its own, on the server's address, while the server runs."""

    def __init__(self, loop: Loop, host: str, delivery: Delivery, seed: str) -> None:
        self._loop = loop
        self._delivery = delivery
        self._seed = seed
        self._host = host
        self._held_port = HeldPort(host)
        self._listener: Listener | None = None  # None: connections are refused
        self._server = (host, 0)
        self._connections: list[_ProxiedConnection] = []

    @property
    def port(self) -> int:
        """The port for clients; it stays the same when the server starts again."""
        return self._held_port.port

    def open(self, host: str, port: int) -> None:
        """Accept connections, and forward them to the server at this address."""
        self.close()
        self._server = (host, port)
        self._listener = Listener(self._host, self.port, held=True)
        self._loop.watch(self._listener.fd, self._accept)

    def close(self) -> None:
        """Refuse new connections, as a stopped server does. Open connections stay."""
        if self._listener:
            self._loop.forget(self._listener.fd)
            self._listener.close()
            self._listener = None

    @property
    def held(self) -> int:
        """The number of bytes that are not forwarded yet, to sides that would take them."""
        return sum(connection.held for connection in self._connections)

    def destroy(self) -> None:
        """Stop listening, and reset all connections."""
        self.close()
        self._held_port.close()
        for connection in self._connections:
            connection.reset()

    def _accept(self) -> None:
        assert self._listener
        client = self._listener.take()
        try:
            server = connect(*self._server, None, time.monotonic() + CONNECT_SECONDS)
        except Refused:
            client.reset()
            self.close()  # refuse the next ones at once
            return
        client.keep_little()
        server.keep_little()
        seed = f"{self._seed} {len(self._connections)}"
        self._connections.append(
            _ProxiedConnection(self._loop, client, server, self._delivery, seed)
        )


class _ProxiedConnection:
    """A connection through the proxy: one from a client, and one to the server."""

    def __init__(
        self, loop: Loop, client: Connection, server: Connection, delivery: Delivery, seed: str
    ) -> None:
        there = _Direction(loop, client, Outlet(loop, server, delivery, f"{seed} there"), self)
        back = _Direction(loop, server, Outlet(loop, client, delivery, f"{seed} back"), self)
        there.opposite, back.opposite = back, there
        self._connections = (client, server)
        self._directions = [there, back]

    @property
    def held(self) -> int:
        """The number of bytes that are not forwarded yet, to sides that would take them."""
        return sum(
            direction.outlet.pending for direction in self._directions if direction.outlet.waits
        )

    def has_ended(self) -> None:
        """Close both connections if both directions have ended."""
        if all(direction.ended for direction in self._directions):
            self._close(Connection.close)

    def reset(self) -> None:
        """Reset both connections, unless they are closed."""
        self._close(Connection.reset)

    def _close(self, how: Callable[[Connection], None]) -> None:
        directions, self._directions = self._directions, []
        for direction in directions:
            direction.stop()
        for connection in self._connections if directions else ():
            how(connection)


class _Direction:
    """One direction of a connection through the proxy."""

    def __init__(
        self, loop: Loop, source: Connection, outlet: Outlet, owner: _ProxiedConnection
    ) -> None:
        self.opposite: _Direction  # from the target to the source
        self.ended = False  # the end of the source was forwarded
        self.outlet = outlet
        self.outlet.on_change = self._go_on
        self._loop = loop
        self._source, self._target = source, outlet.connection
        self._owner = owner
        self._end = ""  # of the source: "eof" or "reset"
        loop.watch(source.fd, self._read)

    def stop(self) -> None:
        """Forward no more."""
        self.outlet.close()
        self._loop.forget(self._source.fd)

    def _read(self) -> None:
        try:
            data = self._source.read(MOST_HELD)
        except BlockingIOError:
            return
        except OSError:
            self._source_has_ended("reset")
            return
        if not data:
            self._source_has_ended("eof")
            return
        self.outlet.put(data)
        if self.outlet.pending >= MOST_HELD:
            self._loop.forget(self._source.fd)

    def _source_has_ended(self, how: str) -> None:
        """Forward the end of the source, after the bytes that came before it."""
        self._end = "reset" if self._source.is_gone else how
        self._loop.forget(self._source.fd)
        if self._end == "eof":
            self._loop.watch_end(self._source.fd, self._see_whether_it_was_reset)
        self._go_on()

    def _see_whether_it_was_reset(self) -> None:
        """Both sides are closed for writing: find out whether it was a reset."""
        self._loop.forget(self._source.fd)
        if self._source.has_failed():
            self._source_has_ended("reset")

    def _end_by_reset(self) -> None:
        """Forward what the source, which is gone, has sent before; then reset the connection."""
        if self._end:  # else `_read` comes to the end
            self._source_has_ended("reset")

    def _go_on(self) -> None:
        """Continue after a piece was sent, or after the source has ended."""
        if self._target.is_gone and not self._source.is_gone:
            self.opposite._end_by_reset()
        elif self._target.is_gone or (self._end == "reset" and not self.outlet.waits):
            self._owner.reset()
        elif self._end == "eof" and not self.outlet.pending and not self.ended:
            self.ended = True
            self._target.end_writing()
            self._owner.has_ended()
        elif not self._end and self.outlet.pending < MOST_HELD:
            self._loop.watch(self._source.fd, self._read)
