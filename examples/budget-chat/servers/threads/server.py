"""Budget Chat, wrong in three ways: a thread for each connection.

A reset is an exception, which ends the thread before it tells the others. `strip` takes the white
space at both ends of a line. And an empty line is taken for the end of the connection.
"""

from __future__ import annotations

import argparse
import contextlib
import socketserver
import threading

lock = threading.Lock()
room: dict[str, Connection] = {}


class Connection(socketserver.StreamRequestHandler):
    """One client."""

    def handle(self) -> None:
        self.tell("Please tell me your name.")
        name = self.hear()
        if not (name.isascii() and name.isalnum()) or not self.enter(name):
            self.tell("That is no name for you here.")
            return
        while message := self.hear():
            with lock:
                tell_others(name, f"[{name}] {message}")
        with lock:
            del room[name]
            tell_others(name, f"* {name} went away")

    def enter(self, name: str) -> bool:
        with lock:
            if name in room:
                return False
            self.tell(f"* {len(room)} before you: {' '.join(room)}")
            tell_others(name, f"* {name} came in")
            room[name] = self
            return True

    def hear(self) -> str:
        line = self.rfile.readline().decode("latin-1")
        return line.strip() if line.endswith("\n") else ""

    def tell(self, line: str) -> None:
        self.wfile.write(f"{line}\n".encode("latin-1"))


def tell_others(name: str, line: str) -> None:
    """Send a line to all but one."""
    for other, connection in room.items():
        if other != name:
            with contextlib.suppress(OSError):  # it is gone, which its own thread finds out
                connection.tell(line)


class Server(socketserver.ThreadingTCPServer):
    """A thread for each client, none of which holds up the end."""

    daemon_threads = True
    allow_reuse_address = True


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=7003)
    options = parser.parse_args()
    with Server((options.host, options.port), Connection) as server:
        server.serve_forever()


main()
