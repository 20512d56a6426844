"""Budget Chat as its text has it: one loop, one object for each connection.

What one connection is told stands in the order of what happened, since only the loop says anything.
"""

from __future__ import annotations

import argparse
import asyncio
import re

QUESTION = "Welcome to Budget Chat! What is your name?"
REFUSAL = "A name is letters and digits only. Goodbye."
MOST = 65536  # bytes of a line; the text asks for 1,000 of a message


class Client:
    """One connection; it has no name before it is in the room."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        self.name = ""

    def tell(self, line: str) -> None:
        """Send a line; one who does not read holds nobody up."""
        self.writer.write(f"{line}\n".encode("latin-1"))


class Room:
    """All who have given a good name, in the order in which they came."""

    def __init__(self) -> None:
        self.members: list[Client] = []

    def tell_others(self, line: str, client: Client) -> None:
        for member in self.members:
            if member is not client:
                member.tell(line)

    def enter(self, client: Client, name: str) -> None:
        client.name = name
        client.tell(f"* In the room: {', '.join(member.name for member in self.members) or '-'}")
        self.tell_others(f"* {name} has come", client)
        self.members.append(client)

    def leave(self, client: Client) -> None:
        self.members.remove(client)
        self.tell_others(f"* {client.name} has left", client)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, from its beginning to its end, however that comes."""
        client = Client(writer)
        client.tell(QUESTION)
        try:
            await self.listen(client, reader)
        finally:
            if client.name:
                self.leave(client)
            writer.close()

    async def listen(self, client: Client, reader: asyncio.StreamReader) -> None:
        while (line := await next_line(reader)) is not None:
            if client.name:
                self.tell_others(f"[{client.name}] {line}", client)
            elif re.fullmatch("[A-Za-z0-9]+", line):
                self.enter(client, line)
            else:
                client.tell(REFUSAL)
                return


async def next_line(reader: asyncio.StreamReader) -> str | None:
    """The next whole line, without white space at its end; None where there is no more."""
    try:
        line = await reader.readuntil(b"\n")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError):
        return None
    return line.decode("latin-1").rstrip(" \t\r\n")


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=7003)
    options = parser.parse_args()
    serve = Room().serve
    async with await asyncio.start_server(serve, options.host, options.port, limit=MOST) as server:
        await server.serve_forever()


asyncio.run(main())
