"""Right servers that do in another way what a rule leaves open: no scenario may accuse them.

Each names the scenarios that could. `python -m wrong.right_servers --variant NAME …`
"""

from __future__ import annotations

import ctypes
import json
import os
import socket
import sys
from pathlib import Path

from wrong.right_server import Server
from wrong.sink import Log
from wrong.variant import Variants

VARIANTS = Variants()
right = VARIANTS.right


@right("log/unread-log", "log/unread-at-the-end", "log/log-read-again")
class ClosesWhatItInherits(Server):
    """Like many a daemon, it closes all descriptors that it did not open."""

    @classmethod
    def main(cls, arguments: list[str]) -> int:
        os.closerange(3, 1024)
        return super().main(arguments)


@right("log/full-in-the-middle", "log/full-at-the-end-of-a-line")
class ShowsAnotherCommandLine(Server):
    """It overwrites its command line, so that `ps` shows what it does."""

    def ready(self) -> None:
        fields = Path("/proc/self/stat").read_text("ascii").rpartition(")")[2].split()
        start, end = map(int, fields[45:47])  # arg_start and arg_end of proc(5)
        ctypes.memmove(start, b"chat: waits".ljust(end - start, b"\0"), end - start)
        super().ready()


class SpacedLog(Log):
    def line(self, event: dict[str, str]) -> bytes:
        return json.dumps(event, separators=(" , ", " : ")).encode()


@right(
    "log/log-of-a-slow-one",
    "log/log-of-bad-accounts:malformed",
    "log/log-time",
    "log/log-addresses",
    "log/log-of-an-ipv6-address",
    "log/long-texts",
)
class SpacesOutItsLog(Server):
    """JSON allows spaces before a colon and a comma, and `\\u` for every letter."""

    log_type = SpacedLog


@right("rate/held-back", "accounts/held-while-checked")
class GrowsWhenItHasWork(Server):
    """Its runtime takes 45 MiB for itself when the first connection comes (LIMIT-4: 64)."""

    memory = b""

    def prepare(self, sock: socket.socket) -> None:
        super().prepare(sock)
        self.memory = self.memory or b"x" * (45 * 1024 * 1024)


if __name__ == "__main__":
    sys.exit(VARIANTS.main())
