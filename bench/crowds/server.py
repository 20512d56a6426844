"""One of our servers that runs: its memory, descriptors and threads."""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import CannotMeasure, proc
from bench.child import exits_within, spawned
from conformance.builds.build import Build
from conformance.play.processes.process import ending

END_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Server:
    """A server that accepts connections."""

    name: str
    process: subprocess.Popen[bytes]
    port: int

    def resident(self) -> int:
        """The memory that it uses now, in bytes."""
        return proc.resident(self.process.pid)

    def peak(self) -> int:
        """Its maximum memory, in bytes."""
        return proc.peak(self.process.pid)

    def descriptors(self) -> int:
        """The number of its open files and connections."""
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    def threads(self) -> int:
        """The number of its operating system threads."""
        return len(list(Path(f"/proc/{self.process.pid}/task").iterdir()))

    def settles(self, descriptors: int, seconds: float) -> bool:
        """Wait until it has no more descriptors than this; false after so many seconds."""
        for _ in range(int(seconds * 50)):
            if self.descriptors() <= descriptors or exits_within(self.process, 0.02):
                break
        return self.descriptors() <= descriptors

    def goroutines(self) -> int:
        """The number of goroutines of a Go server, which SIGQUIT prints; this ends the server."""
        self.process.send_signal(signal.SIGQUIT)
        assert self.process.stderr
        return len(
            re.findall(rb"^created by (?!runtime)", self.process.stderr.read(), re.MULTILINE)
        )

    def stop(self) -> None:
        """Ask it to shut down."""
        self.process.send_signal(signal.SIGTERM)

    def has_ended(self) -> str:
        """How it ended; waits for its end."""
        if not exits_within(self.process, END_SECONDS):
            return f"still runs {END_SECONDS:g} seconds later"
        return ending(self.process.returncode)


@contextmanager
def serving(build: Build, core: int, *options: str) -> Iterator[Server]:
    """Run a server on a core until the end of the block, and kill it then."""
    one = build.implementation
    command = [*build.argv, "--port", "0", "--quiet", *options]
    with spawned(command, core, one.folder, subprocess.PIPE) as process:
        assert process.stdout
        ready = process.stdout.readline()
        if not ready.startswith(b"Listening on "):
            raise CannotMeasure(f"{one.name} does not start: {ready.decode()}")
        yield Server(one.name, process, int(ready.rpartition(b":")[2]))
