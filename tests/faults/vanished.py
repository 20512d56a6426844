"""A network cable that is unplugged: servers lose their users, and clients lose their server.

    unshare --map-root-user --net --mount python vanished.py FOLDER

All programs are tested at once, in a network namespace, since the test waits for two minutes.
"""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

sys.path.insert(1, str(Path(__file__).parents[1] / "support"))

from chat import Server
from guest import LOST, Client
from programs import build_programs
from table import LANGUAGES

HERE, THERE = "10.9.0.1", "10.9.0.2"
TWO_MINUTES = 123.0  # the time of the rule, and three seconds for a busy machine
CLONE_NEWNET = 0x40000000
T = TypeVar("T")


class OtherEnd:
    """The other end of a cable: a thread with its sockets in a second network namespace."""

    def __init__(self) -> None:
        self.thread = ThreadPoolExecutor(1)
        self.do(self.leave)
        number = str(self.do(threading.get_native_id))
        run("ip link set lo up")
        run("ip link add here type veth peer name there")
        run(f"ip link set there netns {number}")
        run(f"ip addr add {HERE}/24 dev here")
        run("ip link set here up")
        self.do(lambda: run(f"ip addr add {THERE}/24 dev there"))
        self.do(lambda: run("ip link set there up"))

    def do(self, work: Callable[[], T]) -> T:
        return self.thread.submit(work).result()

    @staticmethod
    def leave() -> None:
        if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "unshare")

    def pull_the_cable(self) -> None:
        self.do(lambda: run("ip link set there down"))


def run(command: str) -> None:
    subprocess.run(command.split(), check=True)


def server_without_ann(server: Server, other: OtherEnd, speaks: bool) -> Callable[[], None]:
    """Let ann join from the other end; returns a check to call after the cable is unplugged."""
    server.host = HERE
    assert server.start(), server.err.text
    other.do(lambda: server.joins("ann"))
    bob = server.joins("bob")

    def sees_her_leave() -> None:
        if speaks:  # so that data for her waits for an acknowledgement
            bob.types("are you there?")
        assert bob.heard.waits(lambda: "ann has left the chat\n" in bob.heard.text, TWO_MINUTES)
        server.room.pop("ann")
        bob.sees("ann has left the chat")
        server.joins("ann")  # the name is free again
        server.talk("all is well")
        server.close()

    return sees_her_leave


def client_without_server(client: Client, other: OtherEnd, speaks: bool) -> Callable[[], None]:
    """Start a client whose server is at the other end; returns a check, as above."""
    client.listener.close()
    client.host = THERE
    client.listener = other.do(lambda: socket.create_server((THERE, 0)))
    client.port = client.listener.getsockname()[1]
    client.start()
    client.enters()

    def notices() -> None:
        if speaks:
            client.reads("are you there?")
        assert client.err.until(f"{LOST}\n", TWO_MINUTES), client.err.text
        client.close()

    return notices


def main(folder: Path) -> None:
    other = OtherEnd()
    builds = build_programs(folder)
    waiting = []
    for language in LANGUAGES:
        for speaks in (False, True):
            own = folder / f"{language}-{speaks}"
            own.mkdir()
            server = Server(builds["server", language], own)
            waiting.append(server_without_ann(server, other, speaks))
            client = Client(builds["client", language])
            waiting.append(client_without_server(client, other, speaks))
    other.pull_the_cable()
    with ThreadPoolExecutor(len(waiting)) as pool:
        for noticed in [pool.submit(one) for one in waiting]:
            noticed.result()
    print("all noticed", flush=True)
    os._exit(0)  # skip the threads that still read from the other end


if __name__ == "__main__":
    main(Path(sys.argv[1]))
