"""A client on pipes; the test plays its server."""

from __future__ import annotations

import signal
import socket

from chat import PROMPT
from heard import PATIENT, Heard
from program import Program, socket_of
from traced import Traced

from conformance.builds.build import Build

WELCOME = "Welcome, ann (1 online). Type /help for commands.\n"
RETRIES = 9  # the waits double, so that the client still tries when a fault has ended, however late
LOST = f"Connection lost, retrying in 0.1 s (1 of {RETRIES})"


class Client(Program):
    """A client in the room of a server that the test plays."""

    def __init__(self, build: Build) -> None:
        super().__init__(build)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.host = "127.0.0.1"
        self.listener.settimeout(PATIENT)
        self.port = self.listener.getsockname()[1]
        self.received = self.shown = 0  # how much of its output the test has checked

    def start(self, traced: Traced | None = None) -> None:
        retries = ["--retries", str(RETRIES), "--retry-delay", "0.1"]
        self.run(["--host", self.host, "--port", str(self.port), *retries], traced)

    def socket(self) -> str:
        return socket_of(self.connection.getpeername()[1], self.port)

    def accept(self) -> None:
        self.connection, _ = self.listener.accept()
        self.connection.settimeout(None)
        self.heard = Heard(self.connection.recv)
        self.received = 0

    def enters(self) -> None:
        """The client connects, answers the prompt, and is welcomed."""
        self.accept()
        self.hears(PROMPT)
        self.reads("ann")
        self.sends("ann\n")
        self.hears(WELCOME)
        self.shows(PROMPT + WELCOME)

    def comes_back(self) -> None:
        """The client connects again and answers the prompt by itself, without showing it."""
        self.accept()
        self.hears(PROMPT)
        self.sends("ann\n")
        self.hears(WELCOME)

    def hears(self, text: str) -> None:
        self.connection.sendall(text.encode())

    def sends(self, text: str) -> None:
        """The server must receive this next."""
        self.heard.waits(lambda: len(self.heard.text) >= self.received + len(text))
        sent = self.heard.text[self.received :]
        assert sent == text, f"it sends {sent!r}, not {text!r}"
        self.received += len(text)

    def shows(self, text: str) -> None:
        """Standard output must receive this next."""
        self.out.waits(lambda: len(self.out.text) >= self.shown + len(text))
        seen = self.out.text[self.shown :]
        assert seen == text, f"it shows {seen!r}, not {text!r}"
        self.shown += len(text)

    def talk(self, text: str) -> None:
        """Lines in both directions, several times."""
        for number in range(3):
            self.hears(f"bob: {text} {number}\n")
            self.shows(f"bob: {text} {number}\n")
            self.reads(f"{text} {number}")
            self.sends(f"{text} {number}\n")

    def complains(self, line: str) -> None:
        assert self.err.until(f"{line}\n"), f"standard error has {self.err.text!r}, not {line!r}"

    def closes_in_order(self) -> None:
        """The client ends its side, and has sent and shown nothing more."""
        rest = self.heard.all()[self.received :]
        assert not rest, f"it sends {rest!r} at the end"
        self.connection.close()
        rest = self.out.all()[self.shown :]
        assert not rest, f"it shows {rest!r} at the end"

    def ends(self) -> None:
        """Stop the client by SIGINT."""
        self.process.send_signal(signal.SIGINT)
        self.closes_in_order()
        self.ends_with(0)

    def close(self) -> None:
        super().close()
        self.listener.close()
