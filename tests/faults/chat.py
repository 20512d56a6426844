"""A server with a chat room, its users, and the lines that each of them receives."""

from __future__ import annotations

import json
import signal
import socket
from contextlib import suppress
from pathlib import Path

from heard import PATIENT, Heard
from program import Program, socket_of
from traced import Traced

from conformance.builds.build import Build

PROMPT, PASSWORD_PROMPT = "Enter your screen name: ", "Password: "
SHUTDOWN = "Server is shutting down"
KNOWN, SECRET = (
    "eve:$2y$04$ckx8t.QSTGRvHw/2yLDyI.h/jsVHMjiUtdmRaClhPhgAPH09Z4xii\n",
    "secret of eve",
)


class User:
    """A raw connection. Every received line must be expected by a test."""

    def __init__(self, port: int, name: str, host: str = "127.0.0.1") -> None:
        self.name = name
        self.socket = socket.create_connection((host, port), PATIENT)
        self.socket.settimeout(None)
        self.heard = Heard(self.socket.recv)
        self.at = 0

    def next(self) -> str:
        """The next line; at the end of the connection, the incomplete last line."""
        self.heard.waits(lambda: "\n" in self.heard.text[self.at :])
        line, end, _ = self.heard.text[self.at :].partition("\n")
        self.at += len(line) + len(end)
        return line + ("" if end else "<no end>")

    def sees(self, line: str) -> None:
        seen = self.next()
        assert seen == line, f"{self.name} sees {seen!r}, not {line!r}"

    def is_asked(self, prompt: str = PROMPT) -> bool:
        """Wait for a prompt; false if the connection ends instead."""
        if not self.heard.waits(lambda: prompt in self.heard.text[self.at :]):
            return False
        seen = self.heard.text[self.at :]
        assert seen == prompt, f"{self.name} is asked {seen!r}, not {prompt!r}"
        self.at += len(prompt)
        return True

    def types(self, line: str) -> None:
        self.socket.sendall(f"{line}\n".encode())

    def is_closed(self) -> None:
        """Wait for the end of the connection; nothing else must come before it."""
        rest = self.heard.all()[self.at :]
        assert not rest, f"{self.name} sees {rest!r} at the end"
        self.socket.close()

    def close(self) -> None:
        """End the connection; the reading thread notices this and ends."""
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.heard.all()
        self.socket.close()


class Server(Program):
    """A server with a log and accounts, the users in its room, and the lines sent to the room."""

    def __init__(self, build: Build, folder: Path) -> None:
        super().__init__(build)
        self.log, self.accounts = folder / "log", folder / "accounts"
        self.accounts.write_text(KNOWN)
        self.room: dict[str, User] = {}
        self.said: list[str] = []
        self.host = "127.0.0.1"

    def start(self, traced: Traced | None = None) -> bool:
        """Start the server; returns whether it gets ready."""
        files = ["--log", str(self.log), "--accounts", str(self.accounts)]
        self.run(["--host", self.host, "--port", "0", *files], traced)
        return self.out.until("\n")

    @property
    def port(self) -> int:
        return int(self.out.text.partition("\n")[0].rpartition(":")[2])

    def socket_of(self, place: str) -> str:
        """The listener, or the server's socket for a user, as strace names it."""
        user = self.room.get(place)
        return socket_of(self.port, user.socket.getsockname()[1] if user else 0)

    # What users do.

    def joins(self, name: str, password: str = "") -> User:
        """A user joins, and tries again if the connection is closed; all others see the notice."""
        user = User(self.port, name, self.host)
        while not user.is_asked():
            user.close()
            user = User(self.port, name, self.host)
        self.enters(user, password)
        return user

    def enters(self, user: User, password: str = "") -> None:
        user.types(user.name)
        if password:
            assert user.is_asked(PASSWORD_PROMPT)
            user.types(password)
        self.room[user.name] = user
        user.sees(f"Welcome, {user.name} ({len(self.room)} online). Type /help for commands.")
        self.others_see(user.name, f"{user.name} has joined the chat")

    def others_see(self, name: str, line: str) -> None:
        self.said.append(line)
        for other in self.room.values():
            if other.name != name:
                other.sees(line)

    def leaves(self, name: str) -> None:
        """A user ends the connection; all others see the notice."""
        user = self.room.pop(name)
        user.close()
        self.others_see(name, f"{name} has left the chat")

    def talk(self, text: str) -> None:
        """Each user in the room says a line, and all others see it and no other line."""
        for name, user in list(self.room.items()):
            user.types(text)
            self.others_see(name, f"{name}: {text}")

    def ends(self) -> None:
        """Stop the server by SIGINT: all users see the notice, and it ends in order."""
        self.process.send_signal(signal.SIGINT)
        self.others_see("", SHUTDOWN)
        for user in self.room.values():
            user.is_closed()
        self.ends_with(0)

    # What the server has written.

    def shown(self) -> list[str]:
        """The lines of the room from standard output."""
        return self.out.all().splitlines()[1:]

    def logged(self) -> list[str]:
        """The messages in the log; each line of the log must be whole."""
        events = [json.loads(line) for line in self.log.read_text().splitlines()]
        return [f"{one['name']}: {one['text']}" for one in events if one["msg"] == "message"]

    def close(self) -> None:
        super().close()
        for user in self.room.values():
            user.socket.close()
