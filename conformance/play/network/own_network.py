"""A network namespace for a process and its children, which has only a loopback interface.

An ordinary user gets one inside a new user namespace; root needs no user namespace. A process that
has entered a namespace cannot return.
"""

from __future__ import annotations

import ctypes
import fcntl
import functools
import multiprocessing
import os
import socket
import struct
from pathlib import Path

_NEWUSER, _NEWNET = 0x10000000, 0x40000000  # of unshare(2)
_GET_FLAGS, _SET_FLAGS, _UP = 0x8913, 0x8914, 1  # of ioctl(2) for network interfaces


@functools.cache
def is_available() -> bool:
    """Whether a process, and a program under `unshare -r`, can have one; tried in a child."""
    trial = multiprocessing.get_context("fork").Process(target=_try)
    trial.start()
    trial.join()
    return trial.exitcode == 0


def _try() -> None:
    try:
        enter()
        socket.create_server(("127.0.0.1", 0)).close()
        _unshare(_NEWUSER)
    except OSError:
        os._exit(1)


def enter() -> None:
    """Move this process, and its future children, into a new network; raises OSError."""
    user, group = os.geteuid(), os.getegid()
    try:
        _unshare(_NEWNET)
    except PermissionError:  # not root
        _unshare(_NEWUSER | _NEWNET)
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sh", b"lo", 0)
        flags = struct.unpack("16sh", fcntl.ioctl(any_socket, _GET_FLAGS, request))[1]
        fcntl.ioctl(any_socket, _SET_FLAGS, struct.pack("16sh", b"lo", flags | _UP))


def _unshare(what: int) -> None:
    """Call unshare(2) with these flags; raises OSError."""
    if ctypes.CDLL(None, use_errno=True).unshare(what) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"a case cannot get its own network: {os.strerror(number)}")
