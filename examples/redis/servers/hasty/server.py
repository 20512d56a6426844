"""A small server of this protocol that is wrong on purpose, in three ways in which people go wrong.

It keeps a line that a read has not brought to its end, but forgets such an array (FORM-4). It finds
the end of a value by its line end, and not by its length (FORM-3). It counts the keys of `EXISTS`
as a set (KEY-3). It has none of the features.
"""

from __future__ import annotations

import argparse
import shlex
import signal
import socket
import sys
import threading
from collections import defaultdict
from collections.abc import Iterator
from typing import ClassVar

DATABASES = 16
ARGUMENTS = {  # the least and the most of each command
    "ping": (0, 1),
    "echo": (1, 1),
    "quit": (0, 0),
    "select": (1, 1),
    "get": (1, 1),
    "set": (2, 2),
    "del": (1, 99),
    "exists": (1, 99),
    "mget": (1, 99),
    "incr": (1, 1),
}


class Refused(Exception):
    """What is no request."""


def requests(lines: list[str]) -> Iterator[list[str]]:
    """The requests in the lines that one read has brought."""
    while lines:
        head = lines.pop(0)
        if not head.startswith("*"):
            yield words(head)
            continue
        count = number(head[1:])
        taken, lines = lines[: 2 * count], lines[2 * count :]
        for length in taken[::2]:
            if not length.startswith("$") or number(length[1:]) < 0:
                raise Refused(f"expected a bulk string, got {length}")
        if len(taken) == 2 * count:
            yield taken[1::2]


def words(line: str) -> list[str]:
    try:
        found = shlex.split(line)
    except ValueError:
        raise Refused("unbalanced quotes in request") from None
    return [word.encode().decode("unicode_escape") for word in found]


def number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise Refused("invalid length") from None


def bulk(text: str | None) -> str:
    return "$-1\r\n" if text is None else f"${len(text)}\r\n{text}\r\n"


class Client(threading.Thread):
    """One connection."""

    lock = threading.Lock()
    stores: ClassVar[defaultdict[int, dict[str, str]]] = defaultdict(dict)

    def __init__(self, connection: socket.socket) -> None:
        super().__init__(daemon=True)
        self.connection = connection
        self.database = 0

    def run(self) -> None:
        with self.connection:
            begun = ""
            try:
                while data := self.connection.recv(1 << 20):
                    *lines, begun = (begun + data.decode("latin-1")).split("\r\n")
                    for request in requests(lines):
                        reply = self.answer(request)
                        self.connection.sendall(reply.encode("latin-1"))
                        if request and request[0].lower() == "quit" and reply == "+OK\r\n":
                            return
            except Refused as why:
                self.connection.sendall(f"-ERR Protocol error: {why}\r\n".encode("latin-1"))
            except ConnectionError:
                return

    def answer(self, request: list[str]) -> str:
        if not request:
            return ""
        name, arguments = request[0].lower(), request[1:]
        if name not in ARGUMENTS:
            return f"-ERR unknown command '{request[0].splitlines()[0]}'\r\n"
        least, most = ARGUMENTS[name]
        if not least <= len(arguments) <= most:
            return f"-ERR wrong number of arguments for '{name}' command\r\n"
        with Client.lock:
            reply: str = getattr(self, f"do_{name}")(*arguments)
        return reply

    @property
    def store(self) -> dict[str, str]:
        return Client.stores[self.database]

    def do_ping(self, text: str | None = None) -> str:
        return "+PONG\r\n" if text is None else bulk(text)

    def do_echo(self, text: str) -> str:
        return bulk(text)

    def do_quit(self) -> str:
        return "+OK\r\n"

    def do_select(self, text: str) -> str:
        if not text.isdecimal() or int(text) >= DATABASES:
            return "-ERR DB index is out of range\r\n"
        self.database = int(text)
        return "+OK\r\n"

    def do_get(self, key: str) -> str:
        return bulk(self.store.get(key))

    def do_set(self, key: str, value: str) -> str:
        self.store[key] = value
        return "+OK\r\n"

    def do_del(self, *keys: str) -> str:
        return f":{sum(self.store.pop(key, None) is not None for key in keys)}\r\n"

    def do_exists(self, *keys: str) -> str:
        return f":{len(set(keys) & self.store.keys())}\r\n"

    def do_mget(self, *keys: str) -> str:
        return f"*{len(keys)}\r\n" + "".join(bulk(self.store.get(key)) for key in keys)

    def do_incr(self, key: str) -> str:
        try:
            value = int(self.store.get(key, "0")) + 1
        except ValueError:
            value = 1 << 63
        if not -(1 << 63) <= value < 1 << 63:
            return "-ERR value is not an integer or out of range\r\n"
        self.store[key] = str(value)
        return f":{value}\r\n"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=6379)
    listener = socket.create_server(("127.0.0.1", parser.parse_args().port))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    print(f"listening on 127.0.0.1:{listener.getsockname()[1]}", flush=True)
    while True:
        Client(listener.accept()[0]).start()


if __name__ == "__main__":
    main()
