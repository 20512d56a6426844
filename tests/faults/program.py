"""A program under test on pipes, its output, and how it ends."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from heard import PATIENT, Heard
from traced import Traced

from conformance.builds.build import Build

CRASHES = ("Traceback", "panic:", "goroutine ", "Sanitizer", "runtime error", "fatal error")


class Program:
    """A server or a client, with or without strace from its start."""

    def __init__(self, build: Build) -> None:
        self.build = build
        self.reader, self.writer = os.pipe()  # standard output; strace needs its name

    def run(self, options: Sequence[str], traced: Traced | None) -> None:
        argv: Sequence[str] = [*self.build.argv, *options]
        self.process = subprocess.Popen(
            traced.around(argv) if traced else argv,
            cwd=self.build.implementation.folder,
            env={**os.environ, "ASAN_OPTIONS": "detect_leaks=0"},  # impossible under strace
            stdin=subprocess.PIPE,
            stdout=self.writer,
            stderr=subprocess.PIPE,
        )
        os.close(self.writer)
        self.out = Heard(lambda size: os.read(self.reader, size))
        assert self.process.stderr
        err = self.process.stderr.fileno()
        self.err = Heard(lambda size: os.read(err, size))

    def stream(self, name: str) -> str:
        """A standard stream, as strace names it."""
        if name == "stdout":
            return f"pipe:[{os.fstat(self.reader).st_ino}]"
        number = ("stdin", "stdout", "stderr").index(name)
        return os.readlink(f"/proc/{self.process.pid}/fd/{number}")

    def reads(self, line: str) -> None:
        """Write a line to its standard input."""
        assert self.process.stdin
        self.process.stdin.write(f"{line}\n".encode())
        self.process.stdin.flush()

    def status(self) -> int:
        """Its exit status; it must not have crashed."""
        status = self.process.wait(PATIENT)
        said = self.err.all()[-600:]
        assert not any(crash in said for crash in CRASHES), f"crashes: {said}"
        assert status >= 0, f"dies by signal {-status}: {said}"
        return status

    def ends_with(self, status: int) -> None:
        seen = self.status()
        assert seen == status, f"status {seen}, not {status}: {self.err.text[-600:]!r}"

    def close(self) -> None:
        if hasattr(self, "process"):
            self.process.kill()
            self.process.communicate()
            self.out.all()
        os.close(self.reader)


def socket_of(local: int, remote: int) -> str:
    """A TCP socket with these two ports, as strace names it."""
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, here, there, *fields = line.split()
        if [int(side.rpartition(":")[2], 16) for side in (here, there)] == [local, remote]:
            return f"socket:[{fields[6]}]"
    raise AssertionError(f"no socket has the ports {local} and {remote}")
