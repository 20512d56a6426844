"""Clients that join and leave as fast as they can, in all ways of leaving."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable

from bench.crowds.room import WELCOME, Loop, connect, enter, received

RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close sends a reset
AT_A_TIME = 64  # clients at the same time


class Passer:
    """One connection from its start to its end; then the next one starts."""

    def __init__(self, number: int, port: int, loop: Loop, gone: Callable[[], None]) -> None:
        self._loop = loop
        self._gone = gone
        self._socket = connect(port)
        self._seen = b""
        name = b"p%d\n" % number
        before, self._then = WAYS[number % len(WAYS)]
        if before is not None:
            self._socket.sendall(before.replace(b"NAME\n", name))
        loop.watch(self._socket, self._read)

    def _read(self) -> None:
        data = received(self._socket)
        if data == b"":
            self._loop.close(self._socket)
            self._gone()
        elif data and self._then:
            self._seen += data
            self._then(self)

    def reset(self) -> None:
        """After the welcome, reset the connection."""
        if WELCOME.search(self._seen):
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            self._loop.close(self._socket)
            self._gone()

    def hang_up(self) -> None:
        """After the welcome, end our side; the server ends the other side."""
        if WELCOME.search(self._seen):
            self._then = None
            self._socket.shutdown(socket.SHUT_WR)

    def turn_away(self) -> None:
        """At the name prompt, end without a name."""
        self._then = None
        self._socket.shutdown(socket.SHUT_WR)


Then = Callable[[Passer], None] | None
WAYS: list[tuple[bytes | None, Then]] = [
    (b"NAME\n/quit\n", None),
    (b"NAME\n", Passer.hang_up),
    (b"NAME\n", Passer.reset),
    (b"no name\nNAME\nhello\n/nick \n/quit\n", None),
    (b"half a na", Passer.turn_away),
]


class Churn:
    """Many clients that join and leave, and a watcher that checks the notices."""

    def __init__(self, port: int) -> None:
        self.loop = Loop()
        self.count = 0  # connections so far
        self.joins = 0
        self.present: set[bytes] = set()
        self.wrong = 0  # notices that contradict earlier ones
        self._port = port
        self._here = 0  # connections now
        self._rest = b""
        self._watcher = connect(port)
        enter(self._watcher, b"watcher")
        self.loop.watch(self._watcher, self._watch)

    def go_on(self, seconds: float) -> None:
        """Run for so long; at the end, only the watcher is connected."""
        end = time.monotonic() + seconds
        self._end = end
        for _ in range(AT_A_TIME):
            self._come()
        self.loop.run(lambda: self._here == 0 and not self.present)

    def _come(self) -> None:
        self.count += 1
        self._here += 1
        Passer(self.count, self._port, self.loop, self._left)

    def _left(self) -> None:
        self._here -= 1
        if time.monotonic() < self._end:
            self._come()

    def _watch(self) -> None:
        """A user who joins must be absent, and a user who leaves must be present."""
        lines = (self._rest + (received(self._watcher) or b"")).split(b"\n")
        self._rest = lines.pop()
        for line in lines:
            name, _, rest = line.partition(b" ")
            if rest == b"has joined the chat":
                self.joins += 1
                self.wrong += name in self.present
                self.present.add(name)
            elif rest == b"has left the chat":
                self.wrong += name not in self.present
                self.present.discard(name)
