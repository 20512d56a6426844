"""Many users of one server: each byte that a user receives is compared with what the room saw.

A witness joins first, never speaks, and reads everything; what it receives is the order of the
room. Each user must receive the same bytes, from its own join notice on, without its own lines
(CHAT-1 to CHAT-3, JOIN-4, JOIN-5). So a line that is lost, doubled, changed or out of order is
noticed at once, and nothing has to be counted.

It knows nothing of the loads and of tables.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from bench import CannotMeasure
from bench.crowds.room import PROMPT, WELCOME, Loop, Room, connect, received

SHUTDOWN = b"Server is shutting down\n"
AT_ONCE = 500  # users who join together; the next ones wait until these are welcomed


class User:
    """A user who reads everything; `wrong` is the first difference from what the room saw."""

    def __init__(self, room: Room, name: bytes, port: int) -> None:
        self.room = room
        self.name = name
        self.wrong = ""
        self.ended = False
        self.socket = connect(port)
        self._head: bytes | None = b""  # the bytes before the end of the welcome; None afterwards
        self._ahead = b""  # bytes that the witness has not received yet
        self._own = room.own[name]
        self._skipped = 0  # number of the user's own lines passed
        self._at = 0  # position in what the room saw
        self.socket.sendall(name + b"\n")

    @property
    def is_in(self) -> bool:
        """Whether the user was welcomed."""
        return self._head is None

    def say(self, text: bytes) -> None:
        """Send a line; the socket must have room for it, since the server reads or closes."""
        try:
            if self.socket.send(text + b"\n") <= len(text):
                self.wrong = "the server did not read"
        except OSError as error:
            self.wrong = str(error.strerror)

    def read(self) -> None:
        """Read what is available, and compare it."""
        data = received(self.socket)
        if data == b"":
            self.ended = True
            if not self.room.ending:
                self.wrong = "the server closed its connection"
        elif data and self._head is not None:
            self._enter(data)
        elif data:
            self._compare(data)

    def _enter(self, data: bytes) -> None:
        self._head = (self._head or b"") + data
        if welcome := WELCOME.search(self._head):
            if self._head[: welcome.start()] != PROMPT:
                self.wrong = "something came before the welcome"
            rest, self._head = self._head[welcome.end() :], None
            self._at = self.room.place(self.name)
            self._compare(rest)

    def _compare(self, data: bytes) -> None:
        data, self._ahead = self._ahead + data, b""
        while data and not self.wrong:
            size = self._stop() - self._at
            if size == 0:
                self._ahead = data
                return
            same, data = data[:size], data[size:]
            if not self.room.seen.startswith(same, self._at):
                self.wrong = f"not as the room saw it, in {same[:80]!r}"
            self._at += len(same)

    def _stop(self) -> int:
        """The end of the bytes to compare: the user's next own line, or the last whole line."""
        for start, end in self._own[self._skipped :]:
            if start > self._at:
                return start
            self._at = end
            self._skipped += 1
        return self.room.whole

    def has_all(self) -> bool:
        """Whether the user has received all that the witness has, and no more."""
        if self._ahead:
            self._compare(b"")
        return bool(self.wrong) or (self._stop() == self._at == self.room.whole and not self._ahead)


class Crowd:
    """All users, and the loop that waits for them."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.loop = Loop()
        self.room = Room(port)
        self.users: list[User] = []
        self.loop.watch(self.room.socket, self._witness)

    def join(self, names: Sequence[str]) -> None:
        """Let these users join as fast as they can; all others read the notices."""
        for first in range(0, len(names), AT_ONCE):
            self.users += [self._begin(name.encode()) for name in names[first : first + AT_ONCE]]
            self.loop.run(lambda: all(one.is_in or one.wrong for one in self.users[-AT_ONCE:]))
        self.hear(0)

    def _begin(self, name: bytes) -> User:
        user = User(self.room, name, self.port)
        self.loop.watch(user.socket, lambda: self._read(user))
        return user

    def _witness(self) -> None:
        self.room.read()
        if self.room.over:
            self.loop.close(self.room.socket)

    def _read(self, user: User) -> None:
        user.read()
        if user.ended or user.wrong:
            self.loop.close(user.socket)

    def talk(self, speakers: Sequence[User], text: bytes) -> float:
        """Each speaker says a line; returns the seconds until all users have all lines."""
        began, lines = time.monotonic(), self.room.lines + len(speakers)
        for speaker in speakers:
            speaker.say(text)
        self.hear(lines)
        return time.monotonic() - began

    def hear(self, lines: int) -> None:
        """Wait until the room has so many lines and all users have them; note which ones do not."""
        behind = list(self.users)

        def done() -> bool:
            while self.room.lines >= lines and behind and behind[-1].has_all():
                behind.pop()
            return not behind

        try:
            self.loop.run(done)
        except CannotMeasure:
            if self.room.lines < lines:
                raise
            for user in behind:
                user.wrong = user.wrong or "it has not got all, or more than all"

    def end(self, stop: Callable[[], None]) -> None:
        """Stop the server, and wait until it has ended all connections."""
        self.room.ending = True
        stop()
        self.loop.run(lambda: self.room.over and all(one.ended or one.wrong for one in self.users))
        for user in self.users:
            if not user.wrong and not (self.room.seen.endswith(SHUTDOWN) and user.has_all()):
                user.wrong = "it was not told of the shutdown"

    @property
    def faults(self) -> list[str]:
        """What was wrong, for each user with a fault."""
        return [f"{one.name.decode()}: {one.wrong}" for one in self.users if one.wrong]
