"""Fuzz tests of the Python programs: lines, commands, the accounts file, the command line.

Hypothesis makes the inputs, only a few in `make test`; `make audit` sets AUDIT_EXAMPLES for more.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import re
import sys
from collections.abc import Callable
from contextlib import suppress
from types import ModuleType
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from audit.fuzz import PROJECT

UNITS = ("server", "client", "stream", "accounts", "log", "options", "terminal")

few = settings(
    max_examples=int(os.environ.get("AUDIT_EXAMPLES", "100")),
    derandomize="AUDIT_EXAMPLES" not in os.environ,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def load(role: str) -> ModuleType:
    """A program as a module; server and client have modules of the same names."""
    folder = str(PROJECT / f"{role}s" / "python")
    sys.path.insert(0, folder)
    try:
        return importlib.import_module(role)
    finally:
        sys.path.remove(folder)
        for unit in UNITS:
            sys.modules.pop(unit, None)


server: Any = load("server")
client: Any = load("client")

# Inputs with a meaning; Hypothesis mixes them with other bytes.
WORDS = [b"/who", b"/msg Bob hi", b"/nick carol", b"/nick BOB", b"//x", b"/quit", b"/help x"]
WORDS += [
    "héllo".encode(),
    "\u202ex".encode(),
    b"\xed\xa0\x80",
    b"x" * 1024,
    b"x" * 1025,
    b"/KICK bob",
]
LINES = st.one_of(st.sampled_from(WORDS), st.binary(max_size=40))
SAID = st.lists(LINES, max_size=12).map(b"\n".join)


# --- Lines ---------------------------------------------------------------------------------------


def said_of(data: bytes, step: int) -> list[bytes]:
    """The server's answer to each line, or the line, if the bytes arrive in pieces of this size."""
    inbox, said = bytearray(), []
    for at in range(0, len(data), step):
        inbox += data[at : at + step]
        while (line := server.take_line(inbox)) is not None:
            said.append(server.check_line(line) or line)
    return said


@few
@given(SAID, st.integers(1, 50))
@example(b"x" * 1024 + b"\r\n", 1025)
def test_lines_do_not_depend_on_how_they_came(data: bytes, step: int) -> None:
    data += b"\n"
    assert said_of(data, step) == said_of(data, len(data))


# --- Commands ------------------------------------------------------------------------------------

HARMFUL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


@pytest.fixture
def new_server(tmp_path: Any) -> Any:
    """Makes servers without a listener; they write a log, and read their console from a file."""
    made = []

    def make() -> Any:
        options = server.Options()
        options.port, options.log = 0, str(tmp_path / "log")
        made.append(server.Server(options, -1))
        return made[-1]

    yield make
    for one in made:
        one.listener.close()
        one.selector.close()


class Nobody:
    """A user's socket: these tests send nothing through it."""


def heard(user: Any) -> bytes:
    """Take all bytes that wait to be sent to a user."""
    data = b""
    while pieces := user.cursor.pieces():
        data += b"".join(pieces)
        user.cursor.advance(sum(map(len, pieces)))
    return data


@few
@given(st.lists(st.tuples(st.integers(0, 3), LINES), max_size=15))
def test_nobody_is_sent_anything_but_good_text(
    new_server: Callable[[], Any], said: list[tuple[int, bytes]]
) -> None:
    room = new_server()
    users = [server.User(Nobody(), "", room.stream) for _ in range(3)]
    room.connections.update(users)
    room.handle_name(users[0], b"alice")
    room.handle_name(users[1], b"Bob")
    for who, line in said:
        for one in line.split(b"\n"):
            if who == 3:
                room.console_line(one)
            elif room.gate(users[who]) is server.Gate.OPEN:
                users[who].inbox += one + b"\n"
                room.take_up(users[who])
        text = b"".join(map(heard, users)) + bytes(room.output.pending)
        assert not HARMFUL.search(text.decode())
        assert room.users == {
            user.name.lower(): user for user in users if user.phase is server.Phase.CHATTING
        }
        room.load = 0


# --- The accounts file ---------------------------------------------------------------------------

HASH = b"$2y$10$abcdefghijklmnopqrstuv0123456789ABCDEFGHIJKLMNOPQRSTU"
ENTRIES = st.sampled_from([b"alice:@", b"BOB:@", b"#c:@", b"", b"-_:@", b"x:$2y$09$y", b"c:@ "])


@few
@given(st.lists(st.one_of(ENTRIES, st.binary(max_size=9)), max_size=6), st.booleans())
def test_a_good_file_that_is_changed_is_good(
    tmp_path: Any, lines: list[bytes], is_kept: bool
) -> None:
    path = tmp_path / "accounts"
    path.write_bytes(b"\n".join(lines).replace(b"@", HASH))
    file = server.open_accounts.__globals__["AccountsFile"](str(path), server.name_is_valid)
    with suppress(OSError):
        file.read()
        wanted = {name: hash for name, hash in file.hashes.items() if name != b"bob"}
        if b"bob" in file.hashes or is_kept:
            file.change(b"bob", HASH.replace(b"10", b"04") if is_kept else None)
        wanted |= {b"bob": HASH.replace(b"10", b"04")} if is_kept else {}
        again = file.parse(path.read_bytes())
        assert again == file.hashes == wanted


# --- The command line ----------------------------------------------------------------------------

NAMES = ["--host", "--port", "--max-clients", "--max-queue", "--join-timeout", "--rate", "--log"]
NAMES += ["--accounts", "--members-only", "--quiet", "--name", "--retries", "--retry-delay"]
VALUES = [
    "",
    "0",
    "1",
    "4096",
    "65535",
    "65536",
    "0.25",
    "1e3",
    "٣",
    "*",
    "9" * 10,
    "1_0",
    " 1",
    "x" * 1025,
]
OPTIONS = st.one_of(
    st.sampled_from(NAMES),
    st.sampled_from(VALUES),
    st.builds("{}={}".format, st.sampled_from(NAMES), st.sampled_from(VALUES)),
    st.text(max_size=8),
)


@few
@given(st.lists(OPTIONS, max_size=5))
@pytest.mark.parametrize("program", [server, client], ids=["server", "client"])
def test_what_the_command_line_says_is_in_its_range(program: Any, words: list[str]) -> None:
    try:
        options = program.parse_options(words)
    except SystemExit as end:
        if end.code not in (0, 2):
            raise
        return
    assert options.host not in ("", "*")
    assert 0 <= int(options.port) <= 65535
    if program is server:
        assert options.max_clients >= 1
        assert options.max_queue >= 4096
        assert options.join_timeout > 0
    else:
        assert len(os.fsencode(options.name or "")) <= 1024
        assert {"\r", "\n"}.isdisjoint(options.name or "")
        assert options.retries >= 0
        assert options.retry_delay > 0


# --- What a client is told -----------------------------------------------------------------------

TOLD = [b"Enter your screen name: ", b"Password: ", b"Welcome, alice (1 online).\n"]
TOLD += [b"alice is now known as carol\n", b"Online (2): a, b\n", b"\x1b[2J", b"\r\n", b"\xe2\x80"]


def shown(pieces: list[bytes]) -> bytes:
    """What a client shows if these pieces arrive."""

    async def listen() -> bytes:
        one = client.Client(client.parse_options([]))
        for piece in pieces:
            await one.receive(piece)
        return bytes(one.tty.out)

    return asyncio.run(listen())


@few
@given(st.lists(st.one_of(st.sampled_from(TOLD), st.binary(min_size=1, max_size=9)), max_size=9))
def test_a_client_shows_nothing_harmful(pieces: list[bytes]) -> None:
    whole = shown([b"".join(pieces)] if pieces else [])
    assert shown(pieces) == whole
    assert not HARMFUL.search(whole.decode())
