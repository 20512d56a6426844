"""Another program changes the accounts file while a server does something with it.

strace stops the server at a chosen system call, so that the test changes the file just then.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen

import live
import pytest
from live import HASH, LANGUAGES, PASSWORD, User, cannot_trace, serving, traced

STOPS = "signal=STOP:when=1"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """An accounts file with one account."""
    if refused := cannot_trace():
        pytest.skip(refused)
    path = tmp_path / "accounts"
    path.write_text(f"old:{HASH}\n")
    return path


def add_while_stopped(pid: int, file: Path, name: str) -> None:
    """Wait until the server is stopped, add an account, and let it go on."""
    stopped = os.waitpid(pid, os.WUNTRACED)[1]
    assert os.WIFSTOPPED(stopped), stopped
    with file.open("a") as accounts:
        accounts.write(f"{name}:{HASH}\n")
    os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_is_added_during_a_change_is_kept(language: str, file: Path) -> None:
    with serving(language, "--accounts", str(file)) as server:
        alice = server.join("alice")
        beside = file.with_name("accounts.new")
        with traced(server, [file, beside], f"--inject=fsync:{STOPS}"):
            alice.types("/register battery staple")
            add_while_stopped(server.process.pid, file, "added")
            assert alice.reply() == "! accounts cannot be changed now"
        assert file.read_text() == f"old:{HASH}\nadded:{HASH}\n"
        alice.types("/register battery staple")
        assert alice.reply() == "Registered alice"


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_is_added_before_the_lock_counts(language: str, file: Path) -> None:
    """The former server may still change the file while the next one starts."""
    program = live.builds()[f"server-{language}"]
    if program.unavailable:
        pytest.skip(program.unavailable)
    # With -D, strace is not the parent: the server is a child of this test.
    trace = ["strace", "-D", "-f", "-o", os.devnull, "--trace=flock", f"--inject=flock:{STOPS}"]
    command = [*trace, *program.argv, "--port", "0", "--quiet", "--accounts", str(file)]
    with Popen(command, cwd=program.implementation.folder, stdin=DEVNULL, stdout=PIPE) as process:
        try:
            add_while_stopped(process.pid, file, "added")
            assert process.stdout
            user = User(int(process.stdout.readline().rpartition(b":")[2]))
            user.types("added", PASSWORD)
            user.sees("Password: ")
            user.sees("Welcome, added ")
        finally:
            process.kill()
