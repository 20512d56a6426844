"""Programs that always use the same port: each case gets its own network, or cases take turns.

A case whose programs cannot be told a port is played in a network of its own, if the machine allows
this. Otherwise such cases take turns: one at a time for each port, across all processes and runs on
this machine.
"""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager

from conformance.model import Case
from conformance.play.actors.missed import Lacking
from conformance.play.network import own_network
from conformance.play.processes import system

TURN_SECONDS = 600.0  # for a case to get its turn at a port
LINGER_SECONDS = 75.0  # for closed connections to free their port: TIME_WAIT lasts 60 s
LOOK_SECONDS = 0.5


def ports(case: Case) -> frozenset[int]:
    """The fixed ports at which programs of a case listen, or to which they connect."""
    return frozenset(one.port for one in case.implementations if one.port)


def gets_own_network(case: Case) -> bool:
    """Whether a case is played in a network of its own."""
    return bool(ports(case)) and own_network.is_available()


def exclusive_ports(case: Case) -> frozenset[int]:
    """The ports that a case may use only while no other case uses them."""
    return frozenset() if gets_own_network(case) else ports(case)


# --- Turns ---


@contextmanager
def hold_ports(wanted: Iterable[int]) -> Iterator[None]:
    """Hold these ports while the block runs; raises Lacking if others hold them for too long.

    The process that has a turn listens at an abstract Unix socket. Each network namespace has its
    own names, so a case in a network of its own never waits. The turn ends with its process.
    """
    deadline = time.monotonic() + TURN_SECONDS
    with ExitStack() as held:
        for port in sorted(wanted):
            held.enter_context(_turn(port, deadline))
        yield


def _turn(port: int, deadline: float) -> socket.socket:
    name = f"\0conformance-port-{port}"
    while True:
        turn = socket.socket(socket.AF_UNIX)
        try:
            turn.bind(name)
            turn.listen()
            return turn
        except OSError as error:
            turn.close()
            if error.errno != errno.EADDRINUSE:
                raise
        _wait_for_end(name, port, deadline)


def _wait_for_end(name: str, port: int, deadline: float) -> None:
    """Wait until the listener at a name is gone: a connection to it ends then."""
    remaining = deadline - time.monotonic()
    if remaining <= 0:
        seconds = f"{TURN_SECONDS:g} seconds"
        raise Lacking(f"other cases have used port {port} for {seconds}; wait until their runs end")
    with socket.socket(socket.AF_UNIX) as waiting:
        waiting.settimeout(remaining)
        try:
            waiting.connect(name)
            waiting.recv(1)
        except OSError:  # the listener has just ended, or the time is over
            return


def wait_until_free(wanted: Iterable[int]) -> None:
    """Wait until no closed connection keeps one of these ports (TIME_WAIT)."""
    deadline = time.monotonic() + LINGER_SECONDS
    while any(map(system.port_use, wanted)) and time.monotonic() < deadline:
        system.look_again(LOOK_SECONDS)
