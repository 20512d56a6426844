"""Asks the kernel about the sockets of other programs. It knows no actor and no step."""

from __future__ import annotations

import ctypes
import errno
import math
import os
import socket
import struct
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any, TypeAlias

_PIDFD_GETFD = 438  # the same number on every architecture; Linux 5.6


def socket_options(pids: Iterable[int], name: str) -> list[int]:
    """The value of a socket option on each connected TCP socket of these processes."""
    level = socket.IPPROTO_TCP if name.startswith("TCP_") else socket.SOL_SOCKET
    return [sock.getsockopt(level, getattr(socket, name)) for sock in _connected(pids)]


def seconds_to_notice(pids: Iterable[int]) -> list[float]:
    """For each connected TCP socket: how long the kernel keeps it after its peer has vanished.

    This is what the socket's options say of a connection on which nothing is sent.
    """
    return [_seconds_to_notice(sock) for sock in _connected(pids)]


def _seconds_to_notice(sock: socket.socket) -> float:
    if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE):
        return math.inf
    options = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
    idle, interval, count = (sock.getsockopt(socket.IPPROTO_TCP, option) for option in options)
    if limit := sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) / 1000:
        # Then the kernel ends it at the first probe after this time, but at the second probe at
        # the earliest, and does not count the probes (see `tcp_keepalive_timer` in Linux).
        count = max(1, math.ceil((limit - idle) / interval))
    return idle + interval * count


def knows_option(name: str) -> bool:
    """Whether this machine has a socket option of that name."""
    return name.startswith(("TCP_", "SO_")) and hasattr(socket, name)


def _connected(pids: Iterable[int]) -> Iterator[socket.socket]:
    for pid in pids:
        with suppress(ProcessLookupError):  # it has just ended
            pidfd = os.pidfd_open(pid)
            try:
                yield from _connected_of(pid, pidfd)
            finally:
                os.close(pidfd)


def _connected_of(pid: int, pidfd: int) -> Iterator[socket.socket]:
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        entries = sorted(os.listdir(f"/proc/{pid}/fd"), key=int)
    except FileNotFoundError:  # it has just ended
        return
    for entry in entries:
        try:
            link = os.readlink(f"/proc/{pid}/fd/{entry}")
        except OSError:
            continue
        if not link.startswith("socket:"):
            continue
        fd = libc.syscall(_PIDFD_GETFD, pidfd, int(entry), 0)
        if fd < 0 and ctypes.get_errno() == errno.EBADF:  # closed meanwhile
            continue
        if fd < 0:
            raise OSError(ctypes.get_errno(), "its sockets cannot be inspected (pidfd_getfd)")
        with socket.socket(fileno=fd) as sock:
            if sock.family in (socket.AF_INET, socket.AF_INET6) and _has_peer(sock):
                yield sock


def _has_peer(sock: socket.socket) -> bool:
    try:
        sock.getpeername()
    except OSError:
        return False
    return True


# --- Unread bytes and listeners: asked by sock_diag(7), because no event tells of them ---

_DIAG, _BY_FAMILY, _REQUEST, _ERROR = 4, 20, 1, 2  # of linux/netlink.h and linux/sock_diag.h
_LISTENS = 10  # TCP_LISTEN: if a connection is gone, the kernel finds the listening socket
_ASKED = struct.Struct("=IHHII BBBxI HH16s16sI8s".replace(" ", ""))
_ANSWER = struct.Struct("=IHHII BBxx48xI II".replace(" ", ""))
_REFUSAL = struct.Struct("=IHHIIi")  # an answer that is an error
_Address: TypeAlias = tuple[Any, ...]


def unread_at(reader: _Address, writer: _Address) -> int:
    """The number of bytes that the reader has received but not read.

    0 if the reader is gone, or the kernel does not tell.
    """
    state, unread = _asked(reader, writer) or (_LISTENS, 0)
    return 0 if state == _LISTENS else unread


def has_listener(host: str, port: int) -> bool:
    """Whether a socket of this machine listens at this address and port.

    Also True if the kernel does not tell. No connection is made, so the listener notices nothing.
    """
    answer = _asked((host, port), (host, 0))  # no connection comes from port 0
    return answer is None or answer[0] == _LISTENS


def _asked(local: _Address, remote: _Address) -> tuple[int, int] | None:
    """The state and the unread bytes of the socket that gets what remote sends to local.

    (0, 0) if there is no such socket, None if the kernel does not tell.
    """
    family = socket.AF_INET6 if ":" in local[0] else socket.AF_INET
    ends = [socket.inet_pton(family, host) for host, *_ in (local, remote)]
    ports = [socket.htons(port) for _, port, *_ in (local, remote)]
    head = (_ASKED.size, _BY_FAMILY, _REQUEST, 0, 0, family, socket.IPPROTO_TCP, 0, 0xFFF)
    try:
        # A socket kept for later would keep the network of an earlier case, too.
        with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, _DIAG) as diag:
            diag.settimeout(1)
            diag.send(_ASKED.pack(*head, *ports, *ends, 0, b"\xff" * 8))
            answer = diag.recv(4096)
    except OSError:
        return None
    if len(answer) >= _ANSWER.size:
        _, kind, _, _, _, _, state, _, unread, _ = _ANSWER.unpack_from(answer)
        if kind != _ERROR:
            return state, unread
    return (0, 0) if _error_of(answer) == errno.ENOENT else None


def _error_of(answer: bytes) -> int:
    """The error number in an answer of the kernel; 0 if it has none."""
    if len(answer) < _REFUSAL.size:
        return 0
    _, kind, _, _, _, error = _REFUSAL.unpack_from(answer)
    return -error if kind == _ERROR else 0
