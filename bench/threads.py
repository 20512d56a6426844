#!/usr/bin/env python3
"""A chat server as people write it first: a thread for each client, and a lock around the room.

    python threads.py --port 8080

It knows names, messages and notices. A client that does not read blocks all others, and so does
Python's global lock; the bench shows how much. It must stay naive: it is there for comparison.
"""

from __future__ import annotations

import argparse
import contextlib
import socket
import threading

PROMPT = b"Enter your screen name: "
STACK = 256 * 1024  # bytes for each thread: thousands of default stacks may not fit


class Room:
    """The users who are in. Sending to them requires the lock."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users: dict[bytes, socket.socket] = {}

    def join(self, name: bytes, connection: socket.socket) -> bool:
        """Admit a user, unless the name is taken."""
        with self._lock:
            if name in self._users:
                return False
            count = len(self._users) + 1
            welcome = b"Welcome, %b (%d online). Type /help for commands.\n" % (name, count)
            connection.sendall(welcome)
            self._tell_others(name, name + b" has joined the chat\n")
            self._users[name] = connection
            return True

    def leave(self, name: bytes) -> None:
        """Remove a user."""
        with self._lock:
            del self._users[name]
            self._tell_others(name, name + b" has left the chat\n")

    def say(self, name: bytes, text: bytes) -> None:
        """Send a message to all others."""
        with self._lock:
            self._tell_others(name, b"%b: %b\n" % (name, text))

    def _tell_others(self, name: bytes, line: bytes) -> None:
        for other, connection in self._users.items():
            if other != name:
                with contextlib.suppress(OSError):  # the thread of that client will notice
                    connection.sendall(line)


def serve(connection: socket.socket, room: Room) -> None:
    """The thread of one client."""
    with connection, contextlib.suppress(OSError), connection.makefile("rb") as lines:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(PROMPT)
        name = lines.readline().strip()
        while name and not room.join(name, connection):
            connection.sendall(b"! name in use: %b\n%b" % (name, PROMPT))
            name = lines.readline().strip()
        if name:
            try:
                for line in lines:
                    room.say(name, line.rstrip(b"\r\n"))
            finally:
                room.leave(name)


def main() -> None:
    """Listen, and start a thread for each connection."""
    parser = argparse.ArgumentParser(description="A chat server with a thread for each client.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    options = parser.parse_args()
    threading.stack_size(STACK)
    room = Room()
    with socket.create_server((options.host, options.port), backlog=1024) as listener:
        print("Listening on {}:{}".format(*listener.getsockname()[:2]), flush=True)
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=serve, args=(connection, room), daemon=True).start()


if __name__ == "__main__":
    main()
