"""Measures how long a program takes to start, and how much memory it uses.

It plays no scenario.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from conformance.builds.build import Build
from conformance.model import Medium, Program, Role
from conformance.play.examine.bench import UP, Bench, Started, bench
from conformance.play.examine.server import Server
from conformance.play.network.tcp import Listener, Refused, connect
from conformance.play.processes import system

STARTS = 5
CONNECTIONS = 500
WARM_UP = 20  # connections to warm up, so that code and pools for connections are loaded
ACCEPT_SECONDS = 3.0  # timeout until a server has accepted them all


@dataclass(frozen=True, slots=True)
class Measured:
    """The time and memory of one start."""

    seconds: float  # from the start until a server is ready, or a client has connected
    memory: int  # bytes, at that moment
    per_connection: float | None = None  # bytes for each further idle connection of a server


def measure(build: Build, program: Program, seconds: float) -> Measured | None:
    """The best of STARTS starts; None if the program is not ready within so many seconds."""
    measurements = []
    for number in range(STARTS):
        measured = None
        with bench(build, program, seconds) as one:
            if build.implementation.role is Role.SERVER:
                measured = _server(one, with_connections=number == 0)
            else:
                measured = _client(one)
        if measured is None:
            return None
        measurements.append(measured)
    return Measured(
        seconds=min(one.seconds for one in measurements),
        memory=min(one.memory for one in measurements),
        per_connection=measurements[0].per_connection,
    )


def _server(one: Bench, with_connections: bool) -> Measured | None:
    started = one.start(Medium.TERMINAL)
    port = started and Server.of(one).port(started, UP)
    if not started or not port:
        return None
    measured = _measured(started)
    if not with_connections:
        return measured
    return replace(measured, per_connection=_per_connection(one, started.process.pid, port))


def _client(one: Bench) -> Measured | None:
    listener = Listener(one.scene.host, one.build.implementation.port or 0)
    one.cleaning.callback(listener.close)
    one.scene.port = listener.port
    started = one.start(Medium.TERMINAL)
    connection = started and listener.accept(one.scene.loop, one.by(UP))
    if not started or not connection:
        return None
    one.cleaning.callback(connection.close)
    return _measured(started)


def _measured(started: Started) -> Measured:
    seconds = time.monotonic() - started.process.started
    return Measured(seconds, system.usage(started.process.pid)[0])


def _per_connection(one: Bench, pid: int, port: int) -> float | None:
    """Bytes of memory for each connection; None if the server does not accept them all."""
    if not _accepts(one, pid, port, WARM_UP):
        return None
    before = system.usage(pid)[0]
    if not _accepts(one, pid, port, CONNECTIONS):
        return None
    return max(system.usage(pid)[0] - before, 0) / CONNECTIONS


def _accepts(one: Bench, pid: int, port: int, count: int) -> bool:
    """Open connections, and poll until the server has a file descriptor for each of them."""
    wanted, deadline = system.descriptors(pid) + count, time.monotonic() + ACCEPT_SECONDS
    try:
        for _ in range(count):
            connection = connect(one.scene.host, port, None, deadline)
            one.cleaning.callback(connection.close)
    except (Refused, OSError):  # OSError: this process has no more descriptors
        return False
    for _ in system.looks(deadline):
        if system.descriptors(pid) >= wanted:
            return True
        one.scene.loop.look_again()
    return False
