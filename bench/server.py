"""A contender while it runs: started on its core, ready when its port accepts, killed at the end.

It knows nothing of rows, of the load and of what is measured.
"""

from __future__ import annotations

import itertools
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from bench import HOST, CannotMeasure, proc
from bench.child import exits_within, spawned
from bench.contenders import Contender
from conformance.play.processes.process import ending

START_SECONDS = 30.0
LOG_LINES = 5  # the last lines of a failed server's output that are shown

# These are below the ports that the kernel gives to the load's connections. None is used twice in
# a run, since connections of an earlier server may linger on its port.
_ports = itertools.count(20000)
_LAST_PORT = 32000


@dataclass(frozen=True, slots=True)
class Server:
    """A contender that accepts connections."""

    process: subprocess.Popen[bytes]
    port: int
    start_seconds: float  # from its first instruction until its port accepted

    def cpu_seconds(self) -> float:
        """Processor time that it has used so far; it must be running."""
        return proc.cpu_seconds(self.process.pid)

    def resident(self) -> int:
        """Bytes of memory that it holds now; it must be running."""
        return proc.resident(self.process.pid)

    def peak(self) -> int:
        """The most bytes of memory that it has held; it must be running."""
        return proc.peak(self.process.pid)


@contextmanager
def serving(contender: Contender, core: int, scratch: Path) -> Iterator[Server]:
    """Run a contender until the end of the block, and kill it then."""
    log = scratch / f"{contender.name}.log"
    with ExitStack() as stack:
        port = stack.enter_context(own_port())
        said = stack.enter_context(log.open("wb"))
        command = contender.command(port, scratch)
        process = stack.enter_context(spawned(command, core, contender.folder, said))
        try:
            yield Server(process, port, _until_accepting(process, port))
        except CannotMeasure as problem:
            raise CannotMeasure(f"{problem}{_end(process, log, '; ')}") from None
        if end := _end(process, log):
            raise CannotMeasure(end)


@contextmanager
def own_port() -> Iterator[int]:
    """A port on which nothing listens and no connection lingers, and that no other run takes."""
    for port in _ports:
        if port > _LAST_PORT:
            raise CannotMeasure("there is no free port left")
        with socket.socket(socket.AF_UNIX) as claim:
            if _is_ours(port, claim):
                yield port
                return


def _is_ours(port: int, claim: socket.socket) -> bool:
    """Whether this run has got the port; no other run can get it while the claim is open."""
    try:
        claim.bind(f"\0chat-bench-port-{port}")  # an abstract address: it leaves no file behind
        with socket.socket() as probe:
            probe.bind((HOST, port))
    except OSError:
        return False
    return True


def _until_accepting(process: subprocess.Popen[bytes], port: int) -> float:
    """Connect again and again until the server accepts; the seconds that this took."""
    start = time.perf_counter()  # Popen returns once the program is executed
    while (took := time.perf_counter() - start) < START_SECONDS:
        with suppress(OSError), socket.create_connection((HOST, port), timeout=START_SECONDS):
            return time.perf_counter() - start
        if exits_within(process, 0.0005):
            raise CannotMeasure("it does not come up")
    raise CannotMeasure(f"it does not accept connections within {took:.0f} seconds")


def _end(process: subprocess.Popen[bytes], log: Path, before: str = "") -> str:
    """How it ended and the last lines of its output; nothing if it still runs."""
    if not exits_within(process, 0):
        return ""
    lines = log.read_text("utf-8", "replace").strip().splitlines()[-LOG_LINES:]
    return "\n    ".join([f"{before}the server ended: {ending(process.returncode)}", *lines])
