"""What no scenario shows of accounts: the file after `kill -9`, programs without the library."""

from __future__ import annotations

import re
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import PIPE, Popen

import pytest

from conformance.build import Build, build_all, find_program
from conformance.read import manifest
from conformance.session import OUTPUT

ROOT = Path(__file__).parents[2]
LANGUAGES = ("c", "go", "python")
PATIENT = 60.0  # seconds

HASH = "$2y$04$" + "a" * 53
KEPT = f"# two who were there before\n\nkept:{HASH}\nlast:{HASH}"  # and no end of the last line
LINE = re.compile(r"[a-z0-9]+:\$2y\$[01][0-9]\$[./A-Za-z0-9]{53}")
USERS = 3  # that register at one time
# When to kill: after so many seconds, or so many replies, while the next one is being written. A
# registration takes some 50 ms of hashing.
KILLS = [(0.008 * step, USERS) for step in range(16)]
KILLS += [(PATIENT, replies) for replies in (1, 2, 3) for _ in range(3)]


@pytest.fixture(scope="module")
def builds() -> dict[str, Build]:
    """All servers, built as a run builds them."""
    return build_all(manifest.find((ROOT / "servers").iterdir()), ROOT / OUTPUT)


@pytest.fixture(params=LANGUAGES)
def build(request: pytest.FixtureRequest, builds: dict[str, Build]) -> Build:
    made = builds[f"server-{request.param}"]
    assert not made.error, made.error
    if made.unavailable:
        pytest.skip(made.unavailable)
    return made


@dataclass
class Server:
    """One that runs with an accounts file, and its users."""

    process: Popen[str]
    port: int
    users: dict[str, socket.socket] = field(default_factory=dict)

    def join(self, name: str) -> None:
        user = socket.create_connection(("127.0.0.1", self.port), timeout=PATIENT)
        user.sendall(f"{name}\n".encode())
        self.users[name] = user
        seen = b""
        while b"Welcome, " not in seen:
            data = user.recv(4096)
            assert data, seen
            seen += data

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(PATIENT)
        for user in self.users.values():
            user.close()
        assert self.process.stdout
        self.process.stdout.close()


def started(build: Build, accounts: Path) -> Server:
    command = [*build.argv, "--port", "0", "--accounts", str(accounts), "--quiet"]
    process = Popen(command, cwd=build.implementation.folder, stdin=PIPE, stdout=PIPE, text=True)
    assert process.stdin
    assert process.stdout
    process.stdin.close()
    return Server(process, int(process.stdout.readline().rpartition(":")[2]))


def registered(users: Sequence[socket.socket], seconds: float, replies: int) -> Iterator[str]:
    """Who is told so, until that time is over or so many are; then is the moment to kill."""
    end = time.monotonic() + seconds
    waiting = dict.fromkeys(users, b"")
    enough = len(users) - replies
    while len(waiting) > enough and (left := end - time.monotonic()) > 0:
        for user in select.select(list(waiting), [], [], left)[0]:
            waiting[user] += user.recv(4096)
            assert b"! " not in waiting[user], waiting[user]
            if told := re.search(rb"Registered (\w+)\n", waiting[user]):
                del waiting[user]
                yield told[1].decode()


def test_the_file_survives_a_kill_at_any_moment(build: Build, tmp_path: Path) -> None:
    """It is the old one or a new one, whole, and whoever was told so has an account in it."""
    accounts = tmp_path / "accounts"
    accounts.write_text(KEPT)
    promised: set[str] = set()
    for moment, (seconds, replies) in enumerate(KILLS):
        server = started(build, accounts)
        for number in range(USERS):
            server.join(f"u{moment}x{number}")
        for name, user in server.users.items():
            user.sendall(f"/register password-of-{name}\n".encode())
        promised.update(registered(list(server.users.values()), seconds, replies))
        server.kill()
        check_file(accounts, promised)
    assert len(promised) >= 18
    check_passwords(accounts, sorted(promised)[-3:])


def check_file(accounts: Path, promised: set[str]) -> None:
    text = accounts.read_text()
    assert text.startswith(KEPT)
    lines = text.removeprefix(KEPT).removeprefix("\n").splitlines()
    assert all(LINE.fullmatch(line) for line in lines), text
    names = [line.partition(":")[0] for line in lines]
    assert len(names) == len(set(names))
    assert promised <= set(names)
    if names:
        assert text.endswith("\n")
        assert accounts.stat().st_mode & 0o777 == 0o600
    others = {path.name for path in accounts.parent.iterdir()} - {accounts.name}
    assert len(others) <= 2, "what is left over by kills, beside the lock, piles up"


def check_passwords(accounts: Path, names: Sequence[str]) -> None:
    """Apache's own program knows them."""
    assert find_program("htpasswd"), "htpasswd is missing: apt-get install apache2-utils"
    for name in names:
        command = ["htpasswd", "-vb", str(accounts), name, f"password-of-{name}"]
        subprocess.run(command, check=True, capture_output=True)


# --- Programs without the library ----------------------------------------------------------------


def plain(language: str, folder: Path) -> list[str]:
    """A server as it is where nothing is installed."""
    if language == "python":
        return [sys.executable, "-E", "-s", "-S", str(ROOT / "servers/python/server.py")]
    program = folder / "chat_server"
    subprocess.run(["gcc", "-o", program, ROOT / "servers/c/server.c"], check=True)
    return [str(program)]


@pytest.mark.parametrize(
    ("language", "remedy"),
    [("python", "pip install bcrypt"), ("c", "gcc -DACCOUNTS -o chat_server server.c -lcrypt")],
)
def test_a_server_without_the_library_says_what_to_do(
    language: str, remedy: str, tmp_path: Path
) -> None:
    command = plain(language, tmp_path)
    done = subprocess.run(
        [*command, "--accounts", "accounts"], capture_output=True, text=True, check=False
    )
    last = done.stderr.splitlines()[-1]
    assert (done.returncode, done.stdout) == (2, "")
    assert "--accounts" in last
    assert remedy in last


@pytest.mark.parametrize("language", ["python", "c"])
def test_a_server_without_the_library_does_all_else(language: str, tmp_path: Path) -> None:
    process = Popen([*plain(language, tmp_path), "--port", "0"], stdin=PIPE, stdout=PIPE, text=True)
    assert process.stdout
    server = Server(process, int(process.stdout.readline().rpartition(":")[2]))
    server.join("ann")
    server.users["ann"].sendall(b"/register open sesame\n")
    assert server.users["ann"].recv(4096) == b"! unknown command: /register (try /help)\n"
    server.kill()
