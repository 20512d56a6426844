"""A network namespace for a program: a resolver, a server, and an address that never answers.

    unshare --map-root-user --net --mount python network.py TEST SELF|OTHERS FOLDER PROGRAM...

It makes the sockets of this network, sends them over the Unix socket TEST, and then becomes the
program, which runs in FOLDER. With SELF, `ONLY_PORT` is the only ephemeral port.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import subprocess
import sys
from pathlib import Path

IN_ITS_OWN = ("unshare", "--map-root-user", "--net", "--mount")
PORT, ONLY_PORT = 8080, 40000
RESOLVES, HANGS, SERVES = "127.0.0.1", "127.0.0.2", "127.0.0.3"
SIOCSIFFLAGS, IFF_UP = 0x8914, 1


def refused() -> str:
    """Why this machine allows no such network; empty if it does."""
    try:
        command = [*IN_ITS_OWN, "mount", "--bind", "/etc", "/etc"]
        done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    except FileNotFoundError as error:
        return str(error)
    return done.stderr.strip() if done.returncode else ""


def sockets() -> list[socket.socket]:
    """All sockets of the network, in this order: the resolver; the server; a raw socket that gets
    each attempt to connect to the address that never answers; the listener of this address, and
    a connection that fills its queue.

    A listener with a full queue ignores further attempts to connect.
    """
    resolver = socket.socket(type=socket.SOCK_DGRAM)
    fcntl.ioctl(resolver, SIOCSIFFLAGS, struct.pack("16sh", b"lo", IFF_UP))
    resolver.bind((RESOLVES, 53))
    server = socket.create_server((SERVES, PORT))
    hanging = socket.create_server((HANGS, PORT), backlog=0)
    filling = socket.create_connection((HANGS, PORT))
    attempts = socket.socket(type=socket.SOCK_RAW, proto=socket.IPPROTO_TCP)  # gets a copy of each
    attempts.bind((HANGS, 0))
    return [resolver, server, attempts, hanging, filling]


def replace(name: str, line: str) -> None:
    """Replace a file in /etc, for this program only, by one with this line."""
    Path(name).write_text(f"{line}\n")
    subprocess.run(["mount", "--bind", name, f"/etc/{name}"], check=True)


def leave_one_port() -> None:
    """Leave one ephemeral port, so that TCP connects it to itself, though nothing listens there."""
    Path("/proc/sys/net/ipv4/ip_local_port_range").write_text(f"{ONLY_PORT} {ONLY_PORT}")
    with socket.create_connection(("127.0.0.1", ONLY_PORT)) as itself:
        assert itself.getsockname() == itself.getpeername()
        at_once = struct.pack("ii", 1, 0)  # sends a reset, so that the port is free at once
        itself.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)


def main(place: str, connects: str, folder: str, *program: str) -> None:
    replace("resolv.conf", f"nameserver {RESOLVES}")
    replace("nsswitch.conf", "hosts: files dns")
    made = sockets()
    if connects == "SELF":
        leave_one_port()
    with socket.socket(socket.AF_UNIX) as test:
        test.connect(place)
        socket.send_fds(test, [b"made"], [each.fileno() for each in made])
    os.chdir(folder)
    os.execv(program[0], program)


if __name__ == "__main__":
    main(*sys.argv[1:])
