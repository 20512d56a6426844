"""A change of the accounts file that is interrupted, by `kill -9` or by a failing call.

Each system call of a change is tried: the server is killed before it, or the call fails, as on a
full disk. strace selects the calls, so that none is missed and none depends on time.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from live import (
    HASH,
    LANGUAGES,
    PASSWORD,
    PATIENT,
    Moment,
    Server,
    User,
    cannot_trace,
    moments,
    serving,
    traced,
)

ACCOUNT = re.compile(rb"\w+:\$2y\$10\$[./A-Za-z0-9]{53}\n")
NEW_PASSWORD = "battery staple"
MOST = 60  # system calls of a change
# By default, for changes that hash a password, which takes time, only calls that write are tried.
EVERY = "EVERY_MOMENT" in os.environ
WRITING = {"open", "openat", "write", "fsync", "fchmod", "rename", "renameat", "unlink", "unlinkat"}
CANNOT = "! accounts cannot be changed now"


@dataclass(frozen=True)
class Change:
    """A command that changes the accounts file."""

    command: str
    reply: str
    has_account: bool  # before the change
    keeps_account: bool

    def done(self, name: str, before: bytes, after: bytes) -> bool:
        """Whether the change was made; the file must be the old or the new one, nothing else."""
        if before == after:
            return False
        start = name.encode() + b":"
        others, own = split(after, start)
        assert others == split(before, start)[0]
        assert [bool(ACCOUNT.fullmatch(line)) for line in own] == [True] * self.keeps_account
        return True


CHANGES = {
    "register": Change(f"/register {NEW_PASSWORD}", "Registered", False, True),
    "passwd": Change(f"/passwd {NEW_PASSWORD}", "Password changed", True, True),
    "unregister": Change("/unregister", "Unregistered", True, False),
}


def split(data: bytes, start: bytes) -> tuple[list[bytes], list[bytes]]:
    """The other lines, and the lines that begin with `start`."""
    lines = data.splitlines(keepends=True)
    own = [line for line in lines if line.startswith(start)]
    return [line for line in lines if line not in own], own


class Bench:
    """A folder with an accounts file, and users who make the same change one after the other."""

    def __init__(self, change: Change, folder: Path) -> None:
        self.change = change
        self.file = folder / "accounts"
        self.log = folder / "log"
        self.trace = folder.parent / f"{folder.name}.trace"
        self.paths = [self.file, folder / "accounts.new", folder]
        self.options = ["--accounts", str(self.file), "--log", str(self.log)]
        kept = "# nobody's\n\nkept:" + HASH + "\n"
        names = [f"u{number}" for number in range(MOST)] if change.has_account else []
        self.file.write_text(kept + "".join(f"{name}:{HASH}\n" for name in names))

    def user(self, server: Server, number: int) -> User:
        """A user who may make the change."""
        return server.join(f"u{number}", PASSWORD if self.change.has_account else "")

    def recorded(self, language: str) -> Sequence[Moment]:
        """The moments of a successful change that must be tried."""
        with serving(language, *self.options) as server:
            user = self.user(server, 0)
            with traced(server, self.paths, "-o", str(self.trace)) as strace:
                user.types(self.change.command)
                assert user.reply().startswith(self.change.reply)
            strace.wait()
        found = moments(self.trace)
        assert {"write", "fsync"} < {moment.call for moment in found}
        every = EVERY or not self.change.keeps_account
        return [one for one in found if every or one.call in WRITING]


@pytest.fixture(params=CHANGES)
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Bench:
    if refused := cannot_trace():
        pytest.skip(refused)
    folder = tmp_path / "folder"
    folder.mkdir()
    return Bench(CHANGES[request.param], folder)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_kill_before_any_call_leaves_the_old_file_or_the_new_one(
    language: str, bench: Bench
) -> None:
    killed = 0
    found = bench.recorded(language)
    for number, moment in enumerate(found, 1):
        before = bench.file.read_bytes()
        with serving(language, *bench.options) as server:
            user = bench.user(server, number)
            with traced(server, bench.paths, moment.inject("signal=KILL")) as strace:
                user.types(bench.change.command)
                if not (told := user.reply()):
                    strace.wait(PATIENT)  # detaching would hang during an exit
            done = bench.change.done(f"u{number}", before, bench.file.read_bytes())
            assert done or not told
            killed += not told
    # The next change removes what a killed one left, so its moments are not counted again.
    assert killed >= len(found) - 2
    with serving(language, *bench.options) as server:
        user = bench.user(server, len(found) + 1)
        user.types(bench.change.command)
        assert user.reply().startswith(bench.change.reply)
    assert {path.name for path in bench.file.parent.iterdir()} == {
        "accounts",
        "accounts.lock",
        "log",
    }
    assert bench.file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("language", LANGUAGES)
def test_where_a_call_fails_the_file_is_as_the_user_is_told(language: str, bench: Bench) -> None:
    found = bench.recorded(language)
    with serving(language, *bench.options) as server:
        other = server.join("other")
        users = []  # kept, so that no user leaves meanwhile
        for number, moment in enumerate(found, 1):
            users.append(user := bench.user(server, number))
            before, errors = bench.file.read_bytes(), errors_in(bench.log)
            with traced(server, bench.paths, moment.inject("error=ENOSPC")):
                user.types(bench.change.command)
                told = user.reply()
            other.types(f"told {number}")
            user.sees(f"other: told {number}\n")
            done = bench.change.done(f"u{number}", before, bench.file.read_bytes())
            assert told.startswith(bench.change.reply if done else CANNOT), moment
            assert errors_in(bench.log) - errors == (not done), moment
            user.types(bench.change.command)
            again = user.reply()
            assert done or again.startswith(bench.change.reply), moment
        assert errors_in(bench.log) > 0
    assert {path.name for path in bench.file.parent.iterdir()} == {
        "accounts",
        "accounts.lock",
        "log",
    }


def errors_in(log: Path) -> int:
    """The number of errors in the log."""
    return log.read_text().count('"level":"ERROR"')
