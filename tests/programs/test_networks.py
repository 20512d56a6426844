"""Clients in networks that do not answer: an address that hangs, a silent resolver.

Each client runs in its own network namespace. The test gets the sockets of this namespace, and
plays the resolver and the server.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import network
import pexpect
import pytest
from network import HANGS, ONLY_PORT, PORT, SERVES

from conformance.builds.build import Build, build_all
from conformance.read import manifest
from conformance.session.request import OUTPUT

ROOT = Path(__file__).parents[2]
PATIENT = 20.0  # for anything without a prescribed time
NEXT_ADDRESS, ENDING = 5.0, 5.0  # the two seconds of a rule, and three for a busy machine
NAME, PROMPT, CTRL_C = "chat.example", "Enter your screen name: ", "\x03"


@pytest.fixture(scope="module", params=["c", "go", "python"])
def build(request: pytest.FixtureRequest) -> Build:
    """A client, built as a run builds it, if this machine allows a network namespace."""
    if reason := network.refused():
        pytest.skip(f"no program can have a network of its own on this machine: {reason}")
    (made,) = build_all(manifest.find([ROOT / "clients" / request.param]), ROOT / OUTPUT).values()
    assert not made.error, made.error
    if made.unavailable:
        pytest.skip(made.unavailable)
    return made


@dataclass
class Client:
    """A client on a terminal, and the sockets of its network."""

    terminal: pexpect.spawn[str]
    resolver: socket.socket
    server: socket.socket
    attempts: socket.socket  # attempts to connect to the address that hangs

    def answer(self, *addresses: str) -> None:
        """Answer the client's query for the name with these addresses, and with none of IPv6."""
        records = [b"\xc0\x0c\0\1\0\1\0\0\0\0\0\4" + socket.inet_aton(one) for one in addresses]
        kinds: set[bytes] = set()
        while len(kinds) < 2:
            query, client = self.resolver.recvfrom(4096)
            question = query[12 : query.index(b"\0", 12) + 5]
            kind = question[-4:-2]
            kinds.add(kind)
            found = records if kind == b"\0\1" else []
            head = query[:2] + bytes([0x81, 0x80, 0, 1, 0, len(found), 0, 0, 0, 0])
            self.resolver.sendto(head + question + b"".join(found), client)

    def is_asked(self) -> socket.socket:
        """Accept its connection, and send the prompt, which it must show."""
        connection, _ = self.server.accept()
        connection.sendall(PROMPT.encode())
        self.terminal.expect_exact(PROMPT.rstrip())  # it may write a space by moving the cursor
        return connection

    def ends(self, status: int) -> None:
        self.terminal.expect_exact(pexpect.EOF, timeout=ENDING)
        self.terminal.wait()
        assert (self.terminal.exitstatus, self.terminal.signalstatus) == (status, None)


@contextmanager
def started(build: Build, folder: Path, host: str, port: int = PORT) -> Iterator[Client]:
    connects = "SELF" if port == ONLY_PORT else "OTHERS"
    words = [*network.IN_ITS_OWN, sys.executable, network.__file__, "test", connects]
    words += [str(build.implementation.folder), *build.argv]
    words += ["--host", host, "--port", str(port), "--retry-delay", "0.1"]
    terminal_kind = {**os.environ, "TERM": "xterm"}
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "test"))
        listener.listen()
        listener.settimeout(PATIENT)
        terminal = pexpect.spawn(
            words[0], words[1:], PATIENT, cwd=folder, env=terminal_kind, encoding="utf-8"
        )
        terminal.delaybeforesend = None
        try:
            sent = listener.accept()[0]
            sockets = [socket.socket(fileno=fd) for fd in socket.recv_fds(sent, 4, 5)[1]]
            for each in sockets:
                each.settimeout(PATIENT)
            yield Client(terminal, *sockets[:3])
        finally:
            terminal.kill(signal.SIGKILL)
            terminal.wait()  # a busy machine needs more time for its end than close() gives it
            terminal.close()


def test_an_address_that_hangs_delays_the_next_by_two_seconds(build: Build, tmp_path: Path) -> None:
    """CLIENT-7."""
    with started(build, tmp_path, NAME) as client:
        client.answer(HANGS, SERVES)
        client.attempts.recv(4096)
        client.server.settimeout(NEXT_ADDRESS)
        client.is_asked()


def test_ctrl_c_while_an_address_hangs(build: Build, tmp_path: Path) -> None:
    """CLIENT-2."""
    with started(build, tmp_path, HANGS) as client:
        client.attempts.recv(4096)
        client.terminal.send(CTRL_C)
        client.ends(0)


def test_ctrl_c_while_the_resolver_is_silent(build: Build, tmp_path: Path) -> None:
    """CLIENT-2."""
    with started(build, tmp_path, NAME) as client:
        client.resolver.recv(4096)
        client.terminal.send(CTRL_C)
        client.ends(0)


def test_typing_while_the_resolver_is_silent_on_the_way_back(build: Build, tmp_path: Path) -> None:
    """BACK-7, CLIENT-2."""
    with started(build, tmp_path, NAME) as client:
        client.answer(SERVES)
        with client.is_asked() as connection:
            client.terminal.send("ann\r")
            assert connection.recv(4096) == b"ann\n"
            connection.sendall(b"Welcome, ann (1 online). Type /help for commands.\n")
            client.terminal.expect_exact("Type /help for commands.")
        client.resolver.recv(4096)
        client.terminal.send("~")
        client.terminal.expect_exact("~", timeout=ENDING)
        client.terminal.send(CTRL_C)
        client.ends(0)


def test_it_is_never_connected_to_itself(build: Build, tmp_path: Path) -> None:
    """CLIENT-9."""
    with started(build, tmp_path, "127.0.0.1", ONLY_PORT) as client:
        client.terminal.expect_exact(f"cannot connect to 127.0.0.1:{ONLY_PORT}: ")
        client.ends(1)
