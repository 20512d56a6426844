"""A fault in a client: it must receive and send during the fault and afterwards."""

from __future__ import annotations

import socket
from pathlib import Path

from guest import LOST, Client
from play import Play
from table import Cell

from conformance.builds.build import Build


class ClientPlay(Play):
    """One client; the test plays its server."""

    def __init__(self, build: Build, cell: Cell, folder: Path) -> None:
        super().__init__(build, cell, folder)
        self.program = self.client = Client(build)
        self.scenes |= {
            "hears": self.talks,
            "speaks": self.talks,
            "talks": self.talks,
            "shows": self.shows,
            "ends its input": self.ends_its_input,
            "is lost": self.is_lost,
            "ends": lambda: self.client.ends(),
        }

    def place(self) -> str:
        on = self.cell.row.file
        return self.client.stream(on) if on.startswith("std") else self.client.socket()

    def message(self) -> str:
        return self.cell.row.message.format(port=self.client.port)

    def begins(self) -> bool:
        self.client.start(self.strace)
        if self.fate == "ends":
            return False
        self.client.enters()
        self.afterwards()
        return True

    def settle(self) -> None:
        self.client.start()
        self.client.enters()
        self.client.talk("before")

    def afterwards(self) -> None:
        if self.fate == "later":
            self.client.comes_back()
        if self.fate != "ends" and self.cell.row.does != "ends":
            self.client.talk("afterwards")
            self.client.ends()

    # During the fault.

    def talks(self) -> None:
        if self.fate == "lost":
            self.loses_connection()
        else:
            self.client.talk("while it lasts")

    def loses_connection(self) -> None:
        """The line whose sending failed may come after the reconnection, or never."""
        client = self.client
        if self.cell.row.does == "hears":
            client.hears("bob: hello\n")
        else:
            client.reads("hello")
            assert self.strace.has_failed(), "no call failed"
            client.connection.shutdown(socket.SHUT_WR)
        client.complains(LOST)
        client.comes_back()
        client.complains("Reconnected as ann")
        client.reads("I am back")
        client.heard.until("I am back\n")
        client.received = len(client.heard.text)
        assert client.heard.text in ("ann\nI am back\n", "ann\nhello\nI am back\n")

    def shows(self) -> None:
        """The client cannot write to standard output: it ends in order."""
        self.client.hears("bob: hello\n")
        self.client.closes_in_order()
        self.client.ends_with(1)

    def ends_its_input(self) -> None:
        """The client ends its side, and still shows what comes."""
        client = self.client
        client.reads("it is not read")
        assert client.heard.all() == "ann\n" + "".join(f"before {n}\n" for n in range(3))
        client.hears("bob: bye\n")
        client.shows("bob: bye\n")
        client.connection.close()
        client.ends_with(0)

    def is_lost(self) -> None:
        """The connection ends; the client connects again."""
        client = self.client
        client.connection.shutdown(socket.SHUT_RDWR)
        client.heard.all()
        client.connection.close()
        if self.fate == "later":
            client.complains(LOST)
            assert self.strace.has_failed(), "no call failed"
        else:
            client.comes_back()
