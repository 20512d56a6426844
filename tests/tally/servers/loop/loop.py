"""A tally on one loop. It takes an address, always uses port 7007, and prints nothing."""

from __future__ import annotations

import re
import select
import signal
import socket
import sys

PORT = 7007


class Tally:
    def __init__(self) -> None:
        self.total = 0
        self.unread: dict[socket.socket, bytes] = {}  # of each connection, since its last line
        self.watchers: list[socket.socket] = []

    def take(self, connection: socket.socket) -> None:
        data = connection.recv(65536)
        *lines, self.unread[connection] = (self.unread[connection] + data).split(b"\n")
        for line in lines:
            self.answer(connection, line.decode())
        if not data:
            del self.unread[connection]
            self.watchers = [one for one in self.watchers if one is not connection]
            connection.close()

    def answer(self, connection: socket.socket, line: str) -> None:
        if line == "watch":
            self.watchers.append(connection)
            say(connection, f"total {self.total}")
        elif line.startswith("note "):
            for watcher in self.watchers:
                if watcher is not connection:
                    say(watcher, line)
        elif found := re.fullmatch("add (-?[0-9]+)", line):
            self.total += int(found[1])
            say(connection, "ok")
            for watcher in self.watchers:
                say(watcher, f"total {self.total}")
        elif line.startswith("add"):
            say(connection, "error: not a whole number")
        else:
            say(connection, "error: unknown")


def say(connection: socket.socket, line: str) -> None:
    connection.sendall(f"{line}\n".encode())


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    listener = socket.create_server((sys.argv[1], PORT))
    tally = Tally()
    while True:
        for ready in select.select([listener, *tally.unread], [], [])[0]:
            if ready is listener:
                tally.unread[listener.accept()[0]] = b""
            else:
                tally.take(ready)


main()
