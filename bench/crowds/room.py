"""Connections to a server, the loop that waits for all of them, and what the room saw.

It knows nothing of the users who compare this, and of the loads.
"""

from __future__ import annotations

import itertools
import re
import select
import socket
from collections import defaultdict
from collections.abc import Callable

from bench import HOST, CannotMeasure

PATIENCE = 60.0  # for anything that must come
READ_SIZE = 256 * 1024
NO_PORT_YET = 24  # IP_BIND_ADDRESS_NO_PORT, which `socket` does not name before Python 3.12
PROMPT = b"Enter your screen name: "
WELCOME = re.compile(rb"Welcome, \S+ \(\d+ online\)\. Type /help for commands\.\n")

# Each source address has its own ports, so that none waits for a port that was used before.
_sources = itertools.cycle(f"127.0.0.{number}" for number in range(2, 34))


def connect(port: int, receive_buffer: int = 0) -> socket.socket:
    """Connect to the server."""
    one = socket.socket()
    if receive_buffer:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    one.setsockopt(socket.IPPROTO_IP, NO_PORT_YET, 1)
    one.bind((next(_sources), 0))
    one.settimeout(PATIENCE)
    one.connect((HOST, port))
    return one


def enter(one: socket.socket, name: bytes) -> bytes:
    """Join; returns what came after the welcome."""
    one.sendall(name + b"\n")
    seen = b""
    while not (welcome := WELCOME.search(seen)):
        data = one.recv(READ_SIZE)
        if not data:
            raise CannotMeasure(f"{name.decode()} cannot join: {seen.decode()}")
        seen += data
    return seen[welcome.end() :]


def received(one: socket.socket) -> bytes | None:
    """The available bytes; None if there are none; empty at the end, also after a reset."""
    try:
        return one.recv(READ_SIZE)
    except BlockingIOError:
        return None
    except OSError:
        return b""


def drain(one: socket.socket) -> None:
    """Read and discard what has come to a blocking connection."""
    while select.select([one], [], [], 0)[0] and one.recv(READ_SIZE):
        pass


class Loop:
    """Waits for all connections, and calls the function of each connection that has input."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._handlers: dict[int, Callable[[], None]] = {}

    def watch(
        self, one: socket.socket, handler: Callable[[], None], events: int = select.EPOLLIN
    ) -> None:
        """From now on, the connection is non-blocking, and its function is called for input."""
        one.setblocking(False)
        self._handlers[one.fileno()] = handler
        self._epoll.register(one.fileno(), events)

    def change(self, one: socket.socket, events: int) -> None:
        """Wait for other events."""
        self._epoll.modify(one.fileno(), events)

    def close(self, one: socket.socket) -> None:
        """Close a connection, and stop watching it."""
        del self._handlers[one.fileno()]
        one.close()

    def run(self, done: Callable[[], bool]) -> None:
        """Call functions until `done` is true."""
        while not done():
            events = self._epoll.poll(PATIENCE)
            if not events:
                raise CannotMeasure(f"nothing came for {PATIENCE:g} seconds")
            for descriptor, _ in events:
                if handler := self._handlers.get(descriptor):
                    handler()


class Room:
    """What the room saw, as its witness received it."""

    def __init__(self, port: int) -> None:
        self.socket = connect(port)
        self.seen = bytearray(enter(self.socket, b"witness"))  # nothing, since nobody else is there
        self.whole = 0  # number of bytes up to the end of the last whole line
        self.lines = 0
        self.ending = False  # the server was asked to shut down
        self.over = False  # the server has ended the connection
        self.places: dict[bytes, int] = {}  # where each user's part begins, by name
        self.own: defaultdict[bytes, list[tuple[int, int]]] = defaultdict(list)  # lines, by name
        self.left: list[bytes] = []  # names

    def wait(self) -> None:
        """Wait for input, and read it."""
        if not select.select([self.socket], [], [], PATIENCE)[0]:
            raise CannotMeasure(f"the witness heard nothing for {PATIENCE:g} seconds")
        self.read()

    def read(self) -> None:
        """Read what is available, and note each new whole line."""
        data = received(self.socket)
        if data == b"" and not self.ending:
            raise CannotMeasure("the server closed the connection of the witness")
        self.over = data == b""
        self.seen += data or b""
        end = self.seen.rfind(b"\n") + 1
        for line in bytes(self.seen[self.whole : end]).splitlines(keepends=True):
            self._note(line, self.whole, self.whole + len(line))

    def _note(self, line: bytes, start: int, end: int) -> None:
        self.whole = end
        self.lines += 1
        name, _, rest = line.partition(b" ")
        if name.endswith(b":"):
            self.own[name[:-1]].append((start, end))
        elif rest == b"has joined the chat\n":
            self.places[name] = end
        elif rest == b"has left the chat\n":
            self.left.append(name)

    def place(self, name: bytes) -> int:
        """Where the part of the room that a user sees begins."""
        while name not in self.places:
            self.wait()
        return self.places[name]
