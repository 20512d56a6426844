"""Output that must never block the server: standard output, and the log."""

from __future__ import annotations

import fcntl
import json
import os
import select
import stat
import time
from contextlib import suppress

LEVELS = {"refuse": "WARN", "error": "ERROR"}  # of these events; all others have INFO
FLAGS = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY


class Sink:
    """A queue of lines for a file. It loses lines that exceed its limit or cannot be written."""

    MAX_PENDING = 1024 * 1024
    LAST_SECONDS = 0.25  # for the rest of the queue when the server ends

    def __init__(self, name: str, descriptor: int) -> None:
        self.name = name
        self.descriptor = descriptor
        self.pending = bytearray()
        self.begun = 0  # bytes of the first line in the queue that were written already
        self.is_blocked = False  # a write would block
        self.is_torn = False  # a line was written in part, and its rest is lost
        self.has_lost = False

    def put(self, line: bytes) -> None:
        if len(self.pending) + len(line) > self.MAX_PENDING:
            self.flush()
        if len(self.pending) + len(line) > self.MAX_PENDING:
            self.lose("not read")
        else:
            self.pending += self.end_of_torn() + line

    def end_of_torn(self) -> bytes:
        """The line end for a line whose rest is lost, before the next line."""
        end, self.is_torn = b"\n" * self.is_torn, False
        return end

    def flush(self) -> None:
        """Write until a write would block. After an error, the whole queue is lost."""
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
        """Write to standard error, unless that would block."""
        with suppress(OSError):
            if select.select([], [2], [], 0)[1]:
                os.write(2, os.fsencode(text))

    def finish(self) -> None:
        """Write the rest before the process ends, but wait only for a short time."""
        self.flush()
        end = time.monotonic() + self.LAST_SECONDS
        while self.is_blocked and (left := end - time.monotonic()) > 0:
            select.select([], [self.descriptor], [], left)
            self.flush()
        if self.is_blocked:
            self.lose("not read")


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
        if self.begun:  # its beginning is in the old file
            del self.pending[: self.pending.find(b"\n") + 1]
            self.begun = 0
        self.is_torn = False

    def record(self, event: str, fields: dict[str, str]) -> None:
        level = LEVELS.get(event, "INFO")
        self.put(self.line({"time": self.now(), "level": level, "msg": event} | fields) + b"\n")

    def now(self) -> str:
        seconds, millis = divmod(time.time_ns() // 1_000_000, 1000)
        return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{millis:03}Z"

    def line(self, event: dict[str, str]) -> bytes:
        text = json.dumps(event, ensure_ascii=False, separators=(",", ":"))
        return text.encode(errors="replace")  # a path may contain bytes that are no text


def standard_output() -> Sink:
    """Open a pipe or terminal again, so that O_NONBLOCK does not affect others that share it."""
    descriptor = 1
    is_writable = fcntl.fcntl(1, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY
    if is_writable and not stat.S_ISREG(os.fstat(1).st_mode):
        with suppress(OSError):  # a socket cannot be opened
            descriptor = os.open("/proc/self/fd/1", FLAGS)
    return Sink("standard output", descriptor)
