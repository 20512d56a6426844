"""The ports that programs always take: a network of its own for each case, or turns.

A case whose programs cannot be told a port is played in a network of its own, with a loopback
alone, where the machine allows that: to root, or by user namespaces. A process that has entered
such a network does not come back. Where the machine does not allow it, such cases take turns: one
at a time for each port, across all processes and runs on this machine.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import functools
import multiprocessing
import os
import socket
import struct
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from conformance.model import Case
from conformance.play import system
from conformance.play.actors.missed import Lacking

TURN_SECONDS = 600.0  # that a case waits for its turn at a port
LINGER_SECONDS = 75.0  # connections that have ended keep their port for 60 s
LOOK_SECONDS = 0.5

_NEWUSER, _NEWNET = 0x10000000, 0x40000000  # of unshare(2)
_GET_FLAGS, _SET_FLAGS, _UP = 0x8913, 0x8914, 1  # of ioctl(2) for network interfaces


def ports(case: Case) -> frozenset[int]:
    """The ports that programs of a case take, or connect to, whatever they are told."""
    return frozenset(one.port for one in case.implementations if one.port)


def is_apart(case: Case) -> bool:
    """Whether a case is to be played in a network of its own."""
    return bool(ports(case)) and is_available()


def turns(case: Case) -> frozenset[int]:
    """The ports for which a case has to wait until no other case uses them."""
    return frozenset() if is_apart(case) else ports(case)


@functools.cache
def is_available() -> bool:
    """Whether a process can have a network of its own on this machine: one tries it."""
    trial = multiprocessing.get_context("fork").Process(target=_try)
    trial.start()
    trial.join()
    return trial.exitcode == 0


def _try() -> None:
    try:
        enter()
        socket.create_server(("127.0.0.1", 0)).close()
    except OSError:
        os._exit(1)


def enter() -> None:
    """Give this process, and all that it starts, a new network with a loopback; raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    user, group = os.geteuid(), os.getegid()
    if libc.unshare(_NEWNET) != 0:
        if libc.unshare(_NEWUSER | _NEWNET) != 0:
            number = ctypes.get_errno()
            raise OSError(number, f"no network of its own for a case: {os.strerror(number)}")
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sh", b"lo", 0)
        flags = struct.unpack("16sh", fcntl.ioctl(any_socket, _GET_FLAGS, request))[1]
        fcntl.ioctl(any_socket, _SET_FLAGS, struct.pack("16sh", b"lo", flags | _UP))


# --- Turns ---


@contextmanager
def turn_at(wanted: Iterable[int]) -> Iterator[None]:
    """Hold these ports while the block runs; raises Lacking where others hold them for too long.

    The process that has a turn listens at a name that this network alone has: in a network of its
    own a case never waits, and a turn ends with its process.
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
    """Wait until the listener at a name is gone: then a connection to it ends."""
    remaining = deadline - time.monotonic()
    if remaining <= 0:
        raise Lacking(f"port {port} is used by other cases, in other runs, for too long")
    with socket.socket(socket.AF_UNIX) as waiting:
        waiting.settimeout(remaining)
        try:
            waiting.connect(name)
            waiting.recv(1)
        except OSError:  # it has just ended, or the time is over
            return


def wait_until_free(wanted: Iterable[int]) -> None:
    """Wait until no connection that has ended keeps a port any more."""
    deadline = time.monotonic() + LINGER_SECONDS
    while any(map(system.port_use, wanted)) and time.monotonic() < deadline:
        system.look_again(LOOK_SECONDS)
