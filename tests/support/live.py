"""One of our servers that a test talks to, and strace attached to it.

`strace` can make a chosen system call fail, or kill the program at this call. So a test chooses
the moment by what the program does, not by a clock.
"""

from __future__ import annotations

import functools
import re
import socket
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen

import checkout
import pytest

from conformance.builds.build import Build, build_all
from conformance.read import manifest
from conformance.session.request import OUTPUT

LANGUAGES = ("c", "go", "python")
PATIENT = 60.0  # seconds
PASSWORD, HASH = "correct horse", "$2y$04$xBjhFpoGw.zbLdMy2DPxPOL7KO.b5pozD9NbzGLm2Hroyn6LhmK4y"
CALL = re.compile(r"^\d+ +(\w+)\(", re.MULTILINE)


@functools.cache
def builds() -> dict[str, Build]:
    """All servers and clients, built as a run builds them."""
    folders = (checkout.ROOT / name for name in ("servers", "clients"))
    return build_all(manifest.find(folders), checkout.ROOT / OUTPUT)


class User:
    """A connection to a server."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENT)
        self._come = b""

    def types(self, *lines: str) -> None:
        """Send lines."""
        self.socket.sendall("".join(f"{line}\n" for line in lines).encode())

    def sees(self, text: str) -> str:
        """Wait for a text; returns all that came, up to the end of the text."""
        while (at := self._come.find(text.encode())) < 0:
            data = self.socket.recv(65536)
            assert data, f"the connection ended, without {text!r}; {self._come!r} came"
            self._come += data
        seen, self._come = self._come[: at + len(text)], self._come[at + len(text) :]
        return seen.decode()

    def reply(self) -> str:
        """The next line, without its end; empty if the server has ended the connection."""
        try:
            return self.sees("\n").removesuffix("\n")
        except (AssertionError, ConnectionResetError):
            return ""


@dataclass
class Server:
    """A server that runs."""

    process: Popen[bytes]
    port: int

    def join(self, name: str, password: str = "") -> User:
        """Connect and join; returns the user."""
        user = User(self.port)
        user.types(name, *([password] if password else []))
        user.sees("/help for commands.\n")
        return user


@contextmanager
def serving(language: str, *options: str, under: Sequence[str] = ()) -> Iterator[Server]:
    """Run a server until the end of the block, then kill it; its standard error stays readable."""
    build = builds()[f"server-{language}"]
    assert not build.error, build.error
    if build.unavailable:
        pytest.skip(build.unavailable)
    command = [*under, *build.argv, "--port", "0", "--quiet", *options]
    folder = build.implementation.folder
    with Popen(command, cwd=folder, stdin=DEVNULL, stdout=PIPE, stderr=PIPE) as process:
        try:
            assert process.stdout
            yield Server(process, int(process.stdout.readline().rpartition(b":")[2]))
        finally:
            process.kill()


@contextmanager
def traced(server: Server, paths: Sequence[Path], *options: str) -> Iterator[Popen[str]]:
    """Attach strace to all threads of a server, for calls that use these files."""
    command = ["strace", "-f", *options]
    for path in paths:
        command += ["-P", str(path)]
    with Popen([*command, "-p", str(server.process.pid)], stderr=PIPE, text=True) as strace:
        try:
            assert strace.stderr
            said = ""
            while " attached" not in said:
                line = strace.stderr.readline()
                assert line, f"strace has ended: {said}"
                said += line
            yield strace
        finally:
            strace.terminate()


@dataclass(frozen=True)
class Moment:
    """The moment just before a system call."""

    call: str
    number: int  # counted among the calls of this name, from 1

    def inject(self, what: str) -> str:
        """The option with which strace does this at the moment."""
        return f"--inject={self.call}:{what}:when={self.number}"


def moments(trace: Path) -> list[Moment]:
    """All calls in the output of strace."""
    counts: Counter[str] = Counter()
    found = []
    for call in CALL.findall(trace.read_text()):
        counts[call] += 1
        found.append(Moment(call, counts[call]))
    return found


def cannot_trace() -> str:
    """Why strace cannot attach to a program on this machine; empty if it can."""
    with Popen(["sleep", "60"]) as sleeper:
        try:
            with traced(Server(sleeper, 0), []):
                return ""
        except (FileNotFoundError, AssertionError) as error:
            return f"{error} (apt-get install strace)"
        finally:
            sleeper.kill()
