"""The beginning of a chat client. It shows what comes, sends what is typed, and ends in order.

PROTOCOL.md has the rules; `conformance next` shows which rule to implement next.
"""

from __future__ import annotations

import argparse
import os
import selectors
import signal
import socket
import sys


def stop(*_: object) -> None:
    """Ctrl+C: the end of the program closes the connection (CLIENT-2)."""
    sys.exit(0)


def main() -> None:
    """Chat until the server or the user ends the connection."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", default="localhost")
    parser.add_argument("--port", type=int, default=8080)
    options, _ = parser.parse_known_args()  # TODO: the other options of PROG-2.
    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    try:
        server = socket.create_connection((options.host, options.port))
    except OSError as error:
        sys.exit(f"cannot connect to {options.host}:{options.port}: {error.strerror}")  # CLIENT-4

    waiting = selectors.DefaultSelector()
    waiting.register(server, selectors.EVENT_READ)
    waiting.register(0, selectors.EVENT_READ)
    typing = True
    while True:
        for key, _ in waiting.select():
            if key.fileobj is server:
                data = server.recv(65536)
                if not data:
                    end(typing)
                os.write(1, data)  # TODO: replace control characters (CLIENT-6).
            elif typed := os.read(0, 65536):
                server.sendall(typed)
            else:
                typing = False
                waiting.unregister(0)
                server.shutdown(socket.SHUT_WR)  # CLIENT-3


def end(typing: bool) -> None:
    """The server closed. TODO: the last line decides the exit status (CLIENT-5)."""
    if typing:
        print("Disconnected", file=sys.stderr)
    sys.exit(0)


main()
