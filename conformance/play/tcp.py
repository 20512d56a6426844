"""TCP connections that can do what no program does; beside `network`, this alone imports socket.

It knows no actor and no step.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass

from conformance.play.poll import READ_SIZE, Loop

_PIDFD_GETFD = 438  # the same number on every architecture; Linux 5.6


class Refused(Exception):
    """The connection is refused, at once, or because no answer came in time."""

    def __init__(self, error: OSError) -> None:
        super().__init__(error.strerror or "no answer")
        self.at_once = isinstance(error, ConnectionRefusedError)


@dataclass(slots=True)
class Connection:
    """A TCP connection, non-blocking, small packets not held back."""

    _socket: socket.socket
    _was_reset: bool = False  # a write has failed with it: the kernel says it only once

    @property
    def fd(self) -> int:
        """Its descriptor; -1 once it is closed."""
        return self._socket.fileno()

    def read(self) -> bytes:
        """What has come; b"" at the end of file."""
        data = self._socket.recv(READ_SIZE)
        if self._was_reset and not data:
            raise ConnectionResetError
        return data

    def write(self, data: memoryview) -> int:
        """Send what the kernel takes. A peer that is gone takes all: reading shows its end."""
        try:
            return self._socket.send(data, socket.MSG_NOSIGNAL)
        except BrokenPipeError:
            return len(data)
        except ConnectionResetError:
            self._was_reset = True
            return len(data)

    def end_writing(self) -> None:
        """Half-close: the other side sees an end of file."""
        with contextlib.suppress(OSError):  # it is gone already
            self._socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Close with a reset."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    def close(self) -> None:
        """Close."""
        self._socket.close()


def _prepared(sock: socket.socket) -> Connection:
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return Connection(sock)


def connect(host: str, port: int, receive_buffer: int | None, deadline: float) -> Connection:
    """A connection to a server; raises Refused."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    if receive_buffer:  # before connecting: it decides the window
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    sock.settimeout(max(deadline - time.monotonic(), 0.001))
    try:
        # On one machine the kernel completes a connection by itself, whatever the server does.
        sock.connect((host, port))
    except OSError as error:
        sock.close()
        raise Refused(error) from None
    return _prepared(sock)


def has_ipv6() -> bool:
    """Whether this machine has an IPv6 address of its own."""
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


class Listener:
    """The listening socket of a scripted server."""

    def __init__(self, host: str, port: int) -> None:
        """Listen at a port; 0: at any that is free."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.create_server((host, port), family=family)
        self._socket.setblocking(False)

    @property
    def fd(self) -> int:
        """Its descriptor."""
        return self._socket.fileno()

    @property
    def port(self) -> int:
        """Its port, which the kernel may have chosen."""
        return int(self._socket.getsockname()[1])

    def accept(self, loop: Loop, deadline: float) -> Connection | None:
        """The next connection; None where none comes in time."""
        accepted: list[socket.socket] = []

        def take() -> None:
            accepted.append(self._socket.accept()[0])
            loop.forget(self.fd)

        loop.watch(self.fd, take)
        loop.wait(lambda: bool(accepted), deadline)
        loop.forget(self.fd)
        return _prepared(accepted[0]) if accepted else None

    def close(self) -> None:
        """No more connections."""
        self._socket.close()


# --- Other programs' sockets -----------------------------------------------------------------


def socket_options(pid: int, name: str) -> list[int]:
    """An option's value on every connected TCP socket of a program, read from the kernel."""
    option = getattr(socket, name)
    level = socket.IPPROTO_TCP if name.startswith("TCP_") else socket.SOL_SOCKET
    pidfd = os.pidfd_open(pid)
    try:
        return [sock.getsockopt(level, option) for sock in _connected(pid, pidfd)]
    finally:
        os.close(pidfd)


def knows_option(name: str) -> bool:
    """Whether this machine has a socket option of that name."""
    return name.startswith(("TCP_", "SO_")) and hasattr(socket, name)


def _connected(pid: int, pidfd: int) -> Iterator[socket.socket]:
    libc = ctypes.CDLL(None, use_errno=True)
    for entry in sorted(os.listdir(f"/proc/{pid}/fd"), key=int):
        try:
            link = os.readlink(f"/proc/{pid}/fd/{entry}")
        except OSError:
            continue
        if not link.startswith("socket:"):
            continue
        fd = libc.syscall(_PIDFD_GETFD, pidfd, int(entry), 0)
        if fd < 0:
            raise OSError(ctypes.get_errno(), "its sockets cannot be looked at (pidfd_getfd)")
        with socket.socket(fileno=fd) as sock:
            if sock.family in (socket.AF_INET, socket.AF_INET6) and _has_peer(sock):
                yield sock


def _has_peer(sock: socket.socket) -> bool:
    try:
        sock.getpeername()
    except OSError:
        return False
    return True
