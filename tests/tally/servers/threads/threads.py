"""A tally, with a thread for each connection. It takes --port and says when it is ready."""

from __future__ import annotations

import argparse
import signal
import socket
import sys
import threading

lock = threading.Lock()
changes: list[int] = []
watchers: list[socket.socket] = []
connections: set[socket.socket] = set()


def answer(connection: socket.socket, line: str) -> None:
    word, _, rest = line.partition(" ")
    if word == "watch":
        watchers.append(connection)
        say(connection, f"total {sum(changes)}")
    elif word == "add":
        try:
            change(connection, int(rest))
        except ValueError:
            say(connection, "error: not a whole number")
    elif word == "undo" and changes:
        change(connection, -changes[-1])
    elif word == "note":
        for watcher in watchers:
            if watcher is not connection:
                say(watcher, line)
    else:
        say(connection, "error: unknown")


def change(connection: socket.socket, number: int) -> None:
    changes.append(number)
    say(connection, "ok")
    for watcher in watchers:
        say(watcher, f"total {sum(changes)}")


def say(connection: socket.socket, line: str) -> None:
    connection.sendall(f"{line}\n".encode())


def serve(connection: socket.socket) -> None:
    with connection.makefile(encoding="utf-8", newline="\n") as lines:
        for line in lines:
            if line.endswith("\n"):
                with lock:
                    answer(connection, line.rstrip("\n"))
    with lock:
        connections.discard(connection)
        if connection in watchers:
            watchers.remove(connection)
        connection.close()


def stop(*_: object) -> None:
    with lock:
        for connection in connections:
            connection.shutdown(socket.SHUT_RDWR)
    sys.exit()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=7007)
    listener = socket.create_server(("127.0.0.1", parser.parse_args().port))
    signal.signal(signal.SIGTERM, stop)
    print(f"counting at 127.0.0.1:{listener.getsockname()[1]}", flush=True)
    while True:
        connection, _ = listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with lock:
            connections.add(connection)
        threading.Thread(target=serve, args=(connection,), daemon=True).start()


main()
