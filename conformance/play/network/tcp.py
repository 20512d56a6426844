"""TCP connections with full control: half-close, reset, small buffers, a port that stays reserved.

It knows no actor and no step.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass

from conformance.play.case.poll import READ_SIZE, Loop
from conformance.play.network.sockets import unread_at

LITTLE = 16 << 10  # bytes
LARGE = 4 << 20  # bytes; the kernel may allow less


class Refused(Exception):
    """The connection was refused at once, or no answer came in time."""

    def __init__(self, error: OSError) -> None:
        super().__init__(error.strerror or "no answer")
        self.at_once = isinstance(error, ConnectionRefusedError)


@dataclass(slots=True)
class Connection:
    """A TCP connection: non-blocking, with TCP_NODELAY."""

    _socket: socket.socket
    _is_narrow: bool  # its receive buffer is small
    _was_reset: bool = False  # a write failed with ECONNRESET, which the kernel reports only once
    is_gone: bool = False  # a write failed: the other side takes no more bytes

    @property
    def fd(self) -> int:
        """Its descriptor; -1 once it is closed."""
        return self._socket.fileno()

    def read(self, most: int = READ_SIZE) -> bytes:
        """Read what has come; b"" at end of file. Raises OSError, also BlockingIOError."""
        data = self._socket.recv(most)
        if self._was_reset and not data:
            raise ConnectionResetError
        return data

    def write(self, data: memoryview) -> int:
        """Write what the kernel takes; returns the number of bytes. Raises BlockingIOError.

        If the peer is gone, all bytes count as written: a read then shows the end.
        """
        try:
            return self._socket.send(data, socket.MSG_NOSIGNAL)
        except (BrokenPipeError, ConnectionResetError) as error:
            self._was_reset |= isinstance(error, ConnectionResetError)
            self.is_gone = True
            return len(data)

    def is_read(self) -> bool:
        """Whether the other side, on this machine, has read all that was sent.

        Also True if the kernel does not tell, or the other side is gone.
        """
        try:
            ends = self._socket.getpeername(), self._socket.getsockname()
        except OSError:  # it was reset
            return True
        return unread_at(*ends) == 0

    def has_failed(self) -> bool:
        """Whether the socket has a pending error (SO_ERROR); this call clears it."""
        return bool(self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))

    def keep_little(self) -> None:
        """Make the kernel's buffers for both directions small."""
        for buffer in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            self._socket.setsockopt(socket.SOL_SOCKET, buffer, LITTLE)

    def widen(self) -> None:
        """Enlarge a small receive buffer, so that what waits comes in few pieces."""
        if self._is_narrow:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, LARGE)

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


def _prepared(sock: socket.socket, is_narrow: bool = False) -> Connection:
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return Connection(sock, is_narrow)


def connect(host: str, port: int, receive_buffer: int | None, deadline: float) -> Connection:
    """Connect to a server; raises Refused. `deadline` is monotonic."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    if receive_buffer:  # before connect(2), which chooses the TCP window
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    sock.settimeout(max(deadline - time.monotonic(), 0.001))
    try:
        # On one machine, the kernel completes the handshake even if the server does not accept.
        sock.connect((host, port))
    except OSError as error:
        sock.close()
        raise Refused(error) from None
    return _prepared(sock, is_narrow=receive_buffer is not None)


def has_ipv6() -> bool:
    """Whether this machine has an IPv6 address of its own."""
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


class HeldPort:
    """Reserves a port, so that no other process gets it while no listener is open."""

    def __init__(self, host: str) -> None:
        """Reserve a free port."""
        self._socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._socket.bind((host, 0))
        self.port = int(self._socket.getsockname()[1])

    def close(self) -> None:
        """Free the port."""
        self._socket.close()


class Listener:
    """The listening socket of a scripted server or a proxy."""

    def __init__(self, host: str, port: int, held: bool = False) -> None:
        """Listen at a port; 0: at any free port. `held`: a HeldPort reserves it."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.create_server((host, port), family=family, reuse_port=held)
        self._socket.setblocking(False)

    @property
    def fd(self) -> int:
        """Its descriptor."""
        return self._socket.fileno()

    @property
    def port(self) -> int:
        """Its port, which the kernel may have chosen."""
        return int(self._socket.getsockname()[1])

    def accept(
        self, loop: Loop, deadline: float, cancelled: Callable[[], bool] = lambda: False
    ) -> Connection | None:
        """Wait for the next connection; None if none comes in time, or `cancelled()` is true."""
        accepted: list[Connection] = []

        def take() -> None:
            accepted.append(self.take())
            loop.forget(self.fd)

        loop.watch(self.fd, take)
        loop.wait(lambda: bool(accepted) or cancelled(), deadline)
        loop.forget(self.fd)
        return accepted[0] if accepted else None

    def take(self) -> Connection:
        """Accept a connection that is waiting."""
        return _prepared(self._socket.accept()[0])

    def close(self) -> None:
        """Stop listening."""
        self._socket.close()
