"""Connections that are reset in each phase: the user leaves once, and nothing stays open."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator

import pytest
from chat import SECRET, Server, User
from programs import Builds, build_programs
from table import LANGUAGES

AT_ONCE = struct.pack("ii", 1, 0)
TIMES, MOST_ROUNDS = 20, 300

# What the client has sent before the reset. {n} makes each name unique.
PHASES = {
    "connected": "",
    "in a name": "car",
    "behind a name": "carol{n}\n",
    "behind a message": "carol{n}\nhello\n",
    "in a long line": "carol{n}\n" + "x" * 60_000,
    "behind many commands": "carol{n}\n" + "/who\n" * 5_000,
    "behind a refused name": "a b\n",
    "at a password": "eve\n",
    "while a password is checked": f"eve\n{SECRET}\n",
}


@pytest.fixture(scope="module")
def builds(tmp_path_factory: pytest.TempPathFactory) -> Builds:
    return build_programs(tmp_path_factory.mktemp("sanitized"))


@pytest.fixture(scope="module", params=LANGUAGES)
def server(
    request: pytest.FixtureRequest, builds: Builds, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """One server for all phases, with two users in its room."""
    made = Server(builds["server", request.param], tmp_path_factory.mktemp("server"))
    assert made.start(), made.err.text
    for name in ("ann", "bob"):
        made.joins(name)
    yield made
    made.close()


def descriptors(server: Server) -> int:
    return len(os.listdir(f"/proc/{server.process.pid}/fd"))


def reset(port: int, sent: str) -> None:
    """Connect, send this, and reset the connection; the server may have handled it already."""
    with socket.create_connection(("127.0.0.1", port)) as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
        one.setblocking(False)
        if sent:
            one.send(sent.encode())


def heard_until(user: User, line: str) -> list[str]:
    lines = []
    while (seen := user.next()) != line:
        assert not seen.endswith("<no end>"), f"{user.name} is cut off"
        lines.append(seen)
    return lines


@pytest.mark.parametrize("phase", PHASES)
def test_a_reset_leaves_nothing_behind(server: Server, phase: str) -> None:
    """LEAVE-1, LEAVE-3, JOIN-6."""
    before = descriptors(server)
    for number in range(TIMES):
        reset(server.port, PHASES[phase].format(n=number))
    last = User(server.port, "last")  # the server accepts it after all of them
    assert last.is_asked()
    last.close()
    lines = []
    for step in range(MOST_ROUNDS):  # each round is an exchange, during which the server continues
        gone = descriptors(server) == before
        server.room["ann"].types(f"round {step}")
        lines += heard_until(server.room["bob"], f"ann: round {step}")
        if gone:
            break
    assert gone, "connections are left"
    came = {line.split()[0].rstrip(":") for line in lines}
    assert came <= {f"carol{number}" for number in range(TIMES)} | {"eve"}
    for name in came:
        own = [line for line in lines if line.split()[0].rstrip(":") == name]
        joins, leaves = f"{name} has joined the chat", f"{name} has left the chat"
        if name == "eve":
            assert own == [joins, leaves] * (len(own) // 2)
        else:
            assert own in ([joins, leaves], [joins, f"{name}: hello", leaves])
    ann = server.room["ann"]
    assert sorted(heard_by(ann, server)) == sorted(lines)


def heard_by(user: User, server: Server) -> list[str]:
    """What one user has heard of the reset connections so far."""
    server.room["bob"].types("that is all")
    return heard_until(user, "bob: that is all")
