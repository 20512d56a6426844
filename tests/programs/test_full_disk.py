"""A full disk, at each page that is written; a log that is removed or cannot be written.

The disk is a small tmpfs in a mount namespace of the server. Zero, one, two, … free pages are left
on it, so that writing fails at each page once.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import network
import pytest
from live import HASH, LANGUAGES, PATIENT, Server, cannot_trace, serving, traced

PAGE = 4096
NAMESPACES = ("unshare", "--map-root-user", "--mount", "sh", "-c")
MOUNT = (
    'mount -t tmpfs -o size=128k,nr_inodes=24 none "$0"; cp "$0.accounts" "$0/accounts"; exec "$@"'
)
ENTER = ("--user", "--mount", "--preserve-credentials", "sh", "-c")
READ_ONLY = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0"'
LINES = [f"line {number} of those that say how the disk gets full" for number in range(200)]
WAITING = "waiting"
ACCOUNTS = f"kept:{HASH}\n" + "# a comment that makes the file long\n" * 250  # three pages


@dataclass
class Disk:
    """The disk of a server, as seen from outside."""

    folder: Path

    def fill(self, pages: int) -> None:
        """Leave at most so many free pages."""
        with (self.folder / "filler").open("wb", buffering=0) as filler, suppress(OSError):
            while filler.write(bytes(PAGE)):
                pass
        size = (self.folder / "filler").stat().st_size
        os.truncate(self.folder / "filler", size - pages * PAGE)

    def fill_names(self) -> None:
        """Create files until no more can be created."""
        with suppress(OSError):
            for number in range(100):
                (self.folder / f"filler{number}").touch()

    def empty(self) -> None:
        """Free the space again."""
        for path in self.folder.glob("filler*"):
            path.unlink()

    def read(self, name: str) -> str:
        return (self.folder / name).read_text()


@contextmanager
def with_disk(language: str, folder: Path, *options: str) -> Iterator[tuple[Server, Disk]]:
    """A server with its own disk; {disk} in options is the disk's folder."""
    if refused := network.refused():
        pytest.skip(refused)
    disk = folder / "disk"
    disk.mkdir()
    disk.with_suffix(".accounts").write_text(ACCOUNTS)
    words = [word.replace("{disk}", str(disk)) for word in options]
    with serving(language, *words, under=(*NAMESPACES, MOUNT, str(disk))) as server:
        # An open folder keeps the disk after the server has ended.
        outside = os.open(f"/proc/{server.process.pid}/root{disk}", os.O_RDONLY)
        try:
            yield server, Disk(Path(f"/proc/self/fd/{outside}"))
        finally:
            os.close(outside)


def stopped(server: Server) -> str:
    """End a server in order; returns its standard error."""
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(PATIENT) == 0
    assert server.process.stderr
    return server.process.stderr.read().decode()


def texts(log: str) -> tuple[list[str], int]:
    """The texts of all messages in a log, and the number of its incomplete lines."""
    found, torn = [], 0
    for line in log.splitlines():
        try:
            found.append(json.loads(line).get("text"))
        except ValueError:
            torn += 1
    return [text for text in found if text], torn


def inside(server: Server, script: str, folder: Path) -> None:
    """Run a script in the server's mount namespace."""
    command = ["nsenter", "--target", str(server.process.pid), *ENTER, script, str(folder)]
    subprocess.run(command, check=True)


class Room:
    """Two users who talk."""

    def __init__(self, server: Server) -> None:
        self.alice, self.bob = server.join("alice"), server.join("bob")
        self.settle()

    def say(self, *lines: str) -> None:
        """Send lines, and wait until the server has handled them."""
        self.alice.types(*lines)
        self.bob.sees(f"alice: {lines[-1]}\n")
        self.settle()

    def settle(self) -> None:
        """Wait until all that came before is logged or lost; what comes now is not logged."""
        self.bob.types("/who")
        self.bob.sees("Online (2): alice, bob\n")

    def chat_until(self, done: Callable[[], bool]) -> None:
        """Send lines repeatedly, until `done` is true."""
        end = time.monotonic() + PATIENT
        while not done():
            assert time.monotonic() < end
            self.say(WAITING)


# --- The log -------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("pages", [0, 1, 2])
def test_the_log_on_a_full_disk(language: str, pages: int, tmp_path: Path) -> None:
    """The chat goes on, at most one line is incomplete, and the lines after it are whole."""
    with with_disk(language, tmp_path, "--log", "{disk}/log") as (server, disk):
        room = Room(server)
        disk.fill(pages)
        room.say(*LINES)
        disk.empty()
        room.say("it goes on")
        room.say("and on")
        said = stopped(server)
        written, torn = texts(disk.read("log"))
        assert said.count("lost") == 1
        assert torn <= 1
        assert written[-2:] == ["it goes on", "and on"]
        assert written[:-2] == LINES[: len(written) - 2] != LINES
        assert json.loads(disk.read("log").splitlines()[-1])["msg"] == "stop"


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_write_of_the_log_that_fails_is_the_only_loss(language: str, tmp_path: Path) -> None:
    if refused := cannot_trace():
        pytest.skip(refused)
    log = tmp_path / "log"
    with serving(language, "--log", str(log)) as server:
        room = Room(server)
        for number in range(3):
            room.say(f"kept {number}")
            with traced(server, [log], "--inject=write:error=ENOSPC"):
                room.say(f"lost {number}")
        room.say("kept")
        said = stopped(server)
    assert texts(log.read_text()) == (["kept 0", "kept 1", "kept 2", "kept"], 0)
    assert said.count("lost") == 1


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_log_that_is_removed_or_cannot_be_written(language: str, tmp_path: Path) -> None:
    with with_disk(language, tmp_path, "--log", "{disk}/log") as (server, disk):
        log, room = disk.folder / "log", Room(server)
        log.unlink()
        room.say("removed")
        server.process.send_signal(signal.SIGHUP)
        room.chat_until(log.exists)
        room.say("anew")
        inside(server, READ_ONLY, tmp_path / "disk")
        server.process.send_signal(signal.SIGHUP)
        room.chat_until(lambda: '"ERROR"' in log.read_text())
        room.say("read-only")
        assert stopped(server) == ""
        written, torn = texts(log.read_text())
        assert [text for text in written if text != WAITING] == ["anew", "read-only"]
        assert torn == 0
        assert log.read_text().count('"ERROR"') == 1
        assert log.stat().st_mode & 0o777 == 0o600


# --- The accounts file ---------------------------------------------------------------------------


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_accounts_file_on_a_full_disk(language: str, tmp_path: Path) -> None:
    """The file is unchanged, the user gets an error, the log has it; with free space, all works."""
    options = ("--accounts", "{disk}/accounts", "--log", str(tmp_path / "log"))
    with with_disk(language, tmp_path, *options) as (server, disk):
        alice = server.join("alice")
        for full in (disk.fill_names, *(lambda n=n: disk.fill(n) for n in range(3))):
            full()
            alice.types("/register battery staple")
            assert alice.reply() == "! accounts cannot be changed now"
            assert disk.read("accounts") == ACCOUNTS
            disk.empty()
            assert names_of(disk) == ["accounts", "accounts.lock"]
        disk.fill(4)
        alice.types("/register battery staple")
        assert alice.reply() == "Registered alice"
        assert disk.read("accounts").startswith(f"{ACCOUNTS}alice:$2y$10$")
        assert stopped(server) == ""
    assert (tmp_path / "log").read_text().count('"ERROR"') == 4


def names_of(disk: Disk) -> Sequence[str]:
    return sorted(path.name for path in disk.folder.iterdir())
