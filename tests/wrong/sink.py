"""Where a server's lines go that must hold up nobody: standard output, and the log."""

from __future__ import annotations

import fcntl
import json
import os
import select
import stat
import time
from contextlib import suppress

LEVELS = {"refuse": "WARN", "error": "ERROR"}  # of events; of all others, INFO
FLAGS = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY


class Sink:
    """Lines that are not taken at once wait; what is too much, or cannot be written, is lost."""

    MAX_PENDING = 1024 * 1024
    LAST_SECONDS = 0.25  # for what still waits at the end

    def __init__(self, name: str, descriptor: int) -> None:
        self.name = name
        self.descriptor = descriptor
        self.pending = bytearray()
        self.begun = 0  # bytes of the first line that waits that have been written
        self.is_blocked = False  # it takes no more for now
        self.is_torn = False  # a line was written in part, and the rest of it is lost
        self.has_lost = False

    def put(self, line: bytes) -> None:
        if len(self.pending) + len(line) > self.MAX_PENDING:
            self.flush()
        if len(self.pending) + len(line) > self.MAX_PENDING:
            self.lose("not read")
        else:
            self.pending += self.end_of_torn() + line

    def end_of_torn(self) -> bytes:
        """What ends a line whose rest is lost, before the next one."""
        end, self.is_torn = b"\n" * self.is_torn, False
        return end

    def flush(self) -> None:
        """Write what is taken. What is not taken for good is lost, a line that was begun too."""
        self.is_blocked = False
        try:
            while self.pending:
                self.written(os.write(self.descriptor, self.pending))
        except BlockingIOError:
            self.is_blocked = True
        except OSError as error:
            self.pending.clear()
            self.is_torn = self.is_torn or self.begun > 0
            self.begun = 0
            self.lose(str(error.strerror))

    def written(self, count: int) -> None:
        end = self.pending.rfind(b"\n", 0, count) + 1
        self.begun = count - end if end else self.begun + count
        del self.pending[:count]

    def lose(self, why: str) -> None:
        if not self.has_lost:
            self.has_lost = True
            self.complain(f"chat-server: lines for {self.name} are lost: {why}\n")

    def complain(self, text: str) -> None:
        """Say it on standard error, if that is heard at once."""
        with suppress(OSError):
            if select.select([], [2], [], 0)[1]:
                os.write(2, os.fsencode(text))

    def finish(self) -> None:
        """Write what waits before the process ends, if it is taken soon."""
        self.flush()
        end = time.monotonic() + self.LAST_SECONDS
        while self.is_blocked and (left := end - time.monotonic()) > 0:
            select.select([], [self.descriptor], [], left)
            self.flush()


class Log(Sink):
    """A file with an event on each line, as JSON."""

    MODE = 0o600
    HOW = os.O_APPEND

    def __init__(self, path: str) -> None:
        super().__init__(path, self.open(path))

    def open(self, path: str) -> int:
        return os.open(path, FLAGS | os.O_CREAT | self.HOW, self.MODE)

    def reopen(self) -> None:
        """Go on in a new file at the same path."""
        self.flush()
        descriptor = self.open(self.name)
        os.close(self.descriptor)
        self.descriptor = descriptor
        if self.begun:  # and never to be whole
            del self.pending[: self.pending.find(b"\n") + 1]
            self.begun = 0

    def record(self, event: str, fields: dict[str, str]) -> None:
        level = LEVELS.get(event, "INFO")
        self.put(self.line({"time": self.now(), "level": level, "msg": event} | fields) + b"\n")

    def now(self) -> str:
        seconds, millis = divmod(time.time_ns() // 1_000_000, 1000)
        return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{millis:03}Z"

    def line(self, event: dict[str, str]) -> bytes:
        text = json.dumps(event, ensure_ascii=False, separators=(",", ":"))
        return text.encode(errors="replace")  # a path may be no text


def standard_output() -> Sink:
    """What blocks is opened anew, lest it block, or not block all others who have it open too."""
    descriptor = 1
    is_writable = fcntl.fcntl(1, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY
    if is_writable and not stat.S_ISREG(os.fstat(1).st_mode):
        with suppress(OSError):  # a socket
            descriptor = os.open("/proc/self/fd/1", FLAGS)
    return Sink("standard output", descriptor)
