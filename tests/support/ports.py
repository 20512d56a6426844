"""Ports for programs that always take the same one."""

from __future__ import annotations

import itertools
import os
import socket
from contextlib import suppress

# A hundred for each worker: their process ids follow one another.
_ports = itertools.count(10000 + os.getpid() % 100 * 100)


def a_free_port() -> int:
    """A port that the system assigns to no connection, and no other worker of pytest uses."""
    for port in _ports:
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise AssertionError
