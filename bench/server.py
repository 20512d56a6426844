"""A contender while it runs: on its core, until its port accepts, and never left behind."""

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
from bench.child import ending, exits_within, spawned
from bench.contenders import Contender

START_SECONDS = 30.0
LOG_LINES = 5  # of what a server said, where it failed

# Below those that the kernel gives to the load's connections; none is used twice in a run, so that
# connections of the last server that still linger are in nobody's way.
_ports = itertools.count(20000)
_LAST_PORT = 32000


@dataclass(frozen=True, slots=True)
class Server:
    """A contender that accepts connections."""

    process: subprocess.Popen[bytes]
    port: int
    start_seconds: float  # from its first instruction until the port accepted

    def cpu_seconds(self) -> float:
        """Processor time that it has used; it must be running."""
        return proc.cpu_seconds(self.process.pid)

    def resident(self) -> int:
        """Bytes of memory that it holds; it must be running."""
        return proc.resident(self.process.pid)

    def peak(self) -> int:
        """Bytes of memory that it held at most; it must be running."""
        return proc.peak(self.process.pid)


@contextmanager
def serving(contender: Contender, core: int, scratch: Path) -> Iterator[Server]:
    """Run a contender; it is killed at the end, whatever that was."""
    log = scratch / f"{contender.name}.log"
    with ExitStack() as stack:
        port = stack.enter_context(own_port())
        said = stack.enter_context(log.open("wb"))
        command = contender.command(port, scratch)
        process = stack.enter_context(spawned(command, core, contender.folder, said, said))
        try:
            yield Server(process, port, _until_accepting(process, port))
        except CannotMeasure as problem:
            raise CannotMeasure(f"{problem}{_end(process, log, '; ')}") from None
        if end := _end(process, log):
            raise CannotMeasure(end)


@contextmanager
def own_port() -> Iterator[int]:
    """A port that nobody listens at, that no connection lingers at, and that no other run takes."""
    for port in _ports:
        if port > _LAST_PORT:
            raise CannotMeasure("there is no free port left")
        with socket.socket(socket.AF_UNIX) as claim:
            if _is_ours(port, claim):
                yield port
                return


def _is_ours(port: int, claim: socket.socket) -> bool:
    """Whether we can have a port; as long as the claim is open, no other run can."""
    try:
        claim.bind(f"\0chat-bench-port-{port}")  # in the kernel: no file that could stay
        with socket.socket() as probe:
            probe.bind((HOST, port))
    except OSError:
        return False
    return True


def _until_accepting(process: subprocess.Popen[bytes], port: int) -> float:
    """Knock until somebody opens; the seconds that it took."""
    start = time.perf_counter()  # Popen has come back: the child is the program by now
    while (took := time.perf_counter() - start) < START_SECONDS:
        with suppress(OSError), socket.create_connection((HOST, port), timeout=START_SECONDS):
            return time.perf_counter() - start
        if exits_within(process, 0.0005):
            raise CannotMeasure("it does not come up")
    raise CannotMeasure(f"it does not accept connections within {took:.0f} seconds")


def _end(process: subprocess.Popen[bytes], log: Path, before: str = "") -> str:
    """How it ended and what it said last; nothing where it still runs."""
    if not exits_within(process, 0):
        return ""
    lines = log.read_text("utf-8", "replace").strip().splitlines()[-LOG_LINES:]
    return "\n    ".join([f"{before}the server {ending(process)}", *lines])
