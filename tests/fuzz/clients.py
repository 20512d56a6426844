"""Clients that play random visits with a server of a few lines.

What the text says that comes of it must have come before the next thing is done, so that orders are
the same.
"""

from __future__ import annotations

import re
import socket
import struct
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from conformance.builds.build import Build
from fuzz.streams import PATIENT, Ears, Stream, Stuck, pieces
from fuzz.visit import Event, Happening, Visit
from fuzz.visitor import NEXT, Visitor, is_all_shown, whole

RESETS = struct.pack("ii", 1, 0)  # SO_LINGER: closing is a reset
HURRIED = re.compile("\ufffd+")  # CLIENT-6 leaves open how many stand for a run that is not UTF-8
TEXT = "PROTOCOL.md"


@dataclass
class Client:
    """One that runs, and its connection."""

    build: Build
    visit: Visit
    ears: Ears = field(default_factory=Ears)
    sent: Stream = field(default_factory=lambda: Stream("sent", -1))

    def play(self) -> dict[str, bytes]:
        """What it showed, complained of and sent, and its status."""
        with socket.create_server(("127.0.0.1", 0)) as self.listener:
            self.listener.settimeout(PATIENT)
            return self._start(*self.listener.getsockname())

    def _start(self, host: str, port: int) -> dict[str, bytes]:
        argv = [*self.build.argv, "--host", host, "--port", str(port)]
        argv += [
            word for name, value in self.visit.options.items() for word in (f"--{name}", value)
        ]
        pipe = subprocess.PIPE
        folder = self.build.implementation.folder
        with subprocess.Popen(argv, cwd=folder, stdin=pipe, stdout=pipe, stderr=pipe) as process:
            assert process.stdin
            assert process.stdout
            assert process.stderr
            self.process, self.keyboard = process, process.stdin
            self.shown = self._hear(Stream("shown", process.stdout.fileno()))
            self.complained = self._hear(Stream("complained", process.stderr.fileno()))
            try:
                self._play()
            except Stuck as problem:
                process.kill()
                return self._result() | {"stuck": str(problem).encode()}
            finally:
                self.ears.selector.close()
                self.connection.close()
            return self._result()

    def _play(self) -> None:
        visitor = Visitor(self.visit)
        for one in whole(self.visit):
            resets = one.event is Event.RESETS and is_all_shown(visitor.said)
            visitor.happens(one)
            if not self.shown.ended:
                self._happens(one, resets)
                self._wait(visitor)
        self.listener.close()  # it waits for the end of a connection that it has made meanwhile
        self.ears.wait(lambda: self.shown.ended and self.complained.ended)

    def _happens(self, one: Happening, resets: bool) -> None:
        with suppress(OSError):
            match one.event:
                case Event.ACCEPTS:
                    self._accept()
                case Event.SAYS:
                    for piece in pieces(one.data, one.cuts):
                        self.connection.sendall(piece)
                case Event.TYPES if not self.keyboard.closed:
                    self.keyboard.write(one.data)
                    self.keyboard.flush()
                case Event.ENDS:
                    self.keyboard.close()
                case Event.CLOSES | Event.RESETS:
                    self._close(resets)

    def _accept(self) -> None:
        self.connection, _ = self.listener.accept()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        before = self.sent.text + NEXT if self.sent.ended else b""
        self.sent = self._hear(Stream("sent", self.connection.fileno(), before))

    def _close(self, resets: bool) -> None:
        """Each line that it typed was received, so that this end decides how it is closed."""
        if resets:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESETS)
            self.ears.forget(self.sent)
            self.sent.ended = "reset"
        else:
            with suppress(OSError):
                self.connection.shutdown(socket.SHUT_WR)
            self.ears.wait(lambda: self.sent.ended)
        self.connection.close()

    def _hear(self, stream: Stream) -> Stream:
        self.ears.hear(stream)
        return stream

    def _wait(self, visitor: Visitor) -> None:
        """Wait until all has come of what has happened."""
        seen = visitor.seen
        tail = visitor.said.rpartition(b"\n")[2] if is_all_shown(visitor.said) else b""

        def has_come() -> bool:
            lines = all(one.text.count(b"\n") >= seen[one.who].count(b"\n") for one in self.streams)
            closed = bool(self.sent.ended) or not visitor.has_closed
            return lines and closed and self.shown.text.endswith(tail)

        self.ears.wait(lambda: self.shown.ended or has_come())

    @property
    def streams(self) -> tuple[Stream, ...]:
        return self.shown, self.complained, self.sent

    def _result(self) -> dict[str, bytes]:
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(PATIENT)
        found = {one.who: one.text for one in self.streams}
        if not self.keyboard.closed:  # a half line may wait
            lines, end, _ = found["sent"].rpartition(b"\n")
            found["sent"] = lines + end
        return found | {"status": str(self.process.returncode).encode()}


def play(builds: Mapping[str, Build], visit: Visit) -> dict[str, dict[str, bytes]]:
    """What all of them did, each with a process of its own."""
    return {name: Client(one, visit).play() for name, one in builds.items()}


def expected(visit: Visit) -> dict[str, bytes]:
    """What the text says that is to be seen."""
    visitor = Visitor(visit)
    for one in whole(visit):
        visitor.happens(one)
    return visitor.seen


def differs(visit: Visit, seen: Mapping[str, Mapping[str, bytes]]) -> str:
    """What not all did alike, or not as the text says; or nothing."""
    all_of_it = [*seen.values(), expected(visit)]
    for what in ("stuck", "shown", "complained", "sent", "status"):
        texts = {one.get(what, b"") for one in all_of_it}
        if len({alike(visit, text) if what == "shown" else text for text in texts}) > 1:
            return what
    return ""


def said_in(visit: Visit) -> bytes:
    return b"".join(one.data for one in visit.happenings if one.event is Event.SAYS)


def alike(visit: Visit, shown: bytes) -> bytes:
    try:
        said_in(visit).decode()
    except UnicodeDecodeError:
        return HURRIED.sub("\ufffd", shown.decode(errors="replace")).encode()
    return shown
