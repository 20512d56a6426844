"""The beginning of a chat server. It asks each user for a name, and ends in order.

PROTOCOL.md has the rules; `conformance next` shows which rule to implement next.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
from asyncio import StreamReader, StreamWriter

PROMPT = b"Enter your screen name: "  # JOIN-1
NOTICE = b"Server is shutting down\n"  # STOP-1

users: set[StreamWriter] = set()


async def talk(reader: StreamReader, writer: StreamWriter) -> None:
    """Serve one connection until its end."""
    users.add(writer)
    writer.write(PROMPT)
    while line := await reader.readline():
        on_line(writer, line.removesuffix(b"\n"))
    users.discard(writer)
    writer.close()


def on_line(user: StreamWriter, line: bytes) -> None:
    """A line has arrived. TODO: the first line is the name (JOIN-2 to JOIN-4)."""


async def main() -> None:
    """Serve until Ctrl+C."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    options, _ = parser.parse_known_args()  # TODO: the other options of PROG-1.

    server = await asyncio.start_server(talk, options.host, options.port)
    host, port = server.sockets[0].getsockname()[:2]
    print(f"Listening on {host}:{port}", flush=True)  # PROG-3

    told = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    await told.wait()
    for user in users:
        # TODO: send the first line end only if a prompt is pending.
        user.write(b"\n" + NOTICE)
        user.write_eof()


asyncio.run(main())
