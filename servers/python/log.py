"""Where lines go that must delay no one: standard output, and the log with its lines of JSON.

Lines are gathered, and written once a round. What is not taken at once waits, up to a bound; then
lines are lost, which standard error says once.

Offers: Sink (put, flush, finish), open_output, open_log, reopen, log_event, write_all.
"""

from __future__ import annotations

import os
import select
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from selectors import EVENT_WRITE, BaseSelector

MAX_PENDING = 1024 * 1024  # bytes that may wait in a sink
WRITE_SIZE = 64 * 1024  # bytes written in one go
FINISH_SECONDS = 0.1  # for what waits, before the process ends
WRITE_SECONDS = 1.0  # for a last message that standard output or error does not take
LEVELS = {"refuse": "WARN", "error": "ERROR"}  # of events; of all others, INFO


class Sink:
    """A descriptor to which lines are written, and the lines that wait for it."""

    def __init__(
        self,
        name: str,
        descriptor: int,
        selector: BaseSelector,
        write: Callable[[int, bytes], int] = os.write,
    ) -> None:
        self.name = name
        self.descriptor = descriptor
        self.selector = selector  # it calls `flush` once a blocked sink takes more
        self.write = write  # to the descriptor; never blocks
        self.pending = bytearray()
        self.torn = False  # a line was begun, and not ended yet
        self.blocked = False  # it takes no more for now
        self.lost = False  # lines were lost, and that was said

    def put(self, line: bytes) -> None:
        """Add a line, whole, or lose it where too much waits."""
        if len(self.pending) + len(line) > MAX_PENDING and not self.blocked:
            self.flush()
        if len(self.pending) + len(line) > MAX_PENDING:
            self.report_loss("not read")
        else:
            self.pending += line

    def flush(self) -> None:
        """Write what waits, as far as it is taken. An error loses it (LOG-5)."""
        try:
            while self.pending:
                chunk = bytes(self.pending[:WRITE_SIZE])
                count = self.write(self.descriptor, chunk)
                self.torn = chunk[count - 1 : count] != b"\n"
                del self.pending[:count]
        except BlockingIOError:
            self.block(True)
            return
        except OSError as error:
            self.pending[:] = b"\n" if self.torn else b""  # the next line begins anew (LOG-6)
            self.report_loss(str(error.strerror))
        self.block(False)

    def block(self, blocked: bool) -> None:
        """Let the selector wait for a blocked sink. Where it cannot, the next flush tries again."""
        with suppress(OSError):
            if blocked and not self.blocked:
                self.selector.register(self.descriptor, EVENT_WRITE, self.flush)
            elif self.blocked and not blocked:
                self.selector.unregister(self.descriptor)
            self.blocked = blocked

    def finish(self) -> None:
        """Write what still waits before the process ends, for a moment at the most."""
        end = time.monotonic() + FINISH_SECONDS
        self.flush()
        while self.blocked and (left := end - time.monotonic()) > 0:
            waiter = select.poll()
            waiter.register(self.descriptor, select.POLLOUT)
            waiter.poll(left * 1000)
            self.flush()

    def report_loss(self, reason: str) -> None:
        """Say on standard error, once, that lines are lost."""
        if not self.lost:
            self.lost = True
            text = f"chat-server: lines for {self.name} are lost: {reason}\n"
            with suppress(OSError):
                write_if_ready(2, os.fsencode(text))


def open_output(selector: BaseSelector) -> Sink:
    """Make a sink of standard output.

    A file never blocks. All else is opened anew, so as not to block: to change the descriptor that
    there is would change it for all processes that share it.
    """
    name = "standard output"
    if stat.S_ISREG(os.fstat(1).st_mode):
        return Sink(name, 1, selector)
    try:
        flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY
        return Sink(name, os.open("/proc/self/fd/1", flags), selector)
    except OSError:  # a socket, or a pipe or a terminal of another user's
        return Sink(name, 1, selector, write_if_ready)


def open_log(path: str) -> int:
    """Open the log, at its end."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_NOCTTY
    return os.open(path, flags, 0o600)


def reopen(log: Sink) -> None:
    """Go on in a new file at the log's path: logrotate has moved the old one away (LOG-7)."""
    log.flush()
    try:
        descriptor = open_log(log.name)
    except OSError as error:
        log_event(log, "error", error=f"cannot open log {log.name}: {error.strerror}")
        return
    log.block(False)
    with suppress(OSError):  # that a disk far away is full may be known only now
        os.close(log.descriptor)
    log.descriptor = descriptor
    if log.torn:  # the rest of that line belongs to the old file
        del log.pending[: log.pending.find(b"\n") + 1]
        log.torn = False


def log_event(log: Sink | None, event: str, **fields: bytes | str) -> None:
    """Log an event, where there is a log, as a line of JSON (LOG-2)."""
    if log is None:
        return
    import json  # late, for without a log the program starts more quickly without it

    seconds, millis = divmod(time.time_ns() // 1_000_000, 1000)
    now = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{millis:03}Z"
    record = {"time": now, "level": LEVELS.get(event, "INFO"), "msg": event}
    for name, value in fields.items():
        record[name] = value.decode() if isinstance(value, bytes) else value
    line = json.dumps(record, ensure_ascii=False, separators=(",", ":")) + "\n"
    log.put(line.encode(errors="replace"))  # a path may hold any bytes


def write_if_ready(descriptor: int, data: bytes, wait: float = 0) -> int:
    """Write to a descriptor that blocks only as much as it is sure to take at once."""
    if not select.select([], [descriptor], [], wait)[1]:
        raise BlockingIOError
    return os.write(descriptor, data[: select.PIPE_BUF])


def write_all(descriptor: int, data: bytes) -> None:
    """Write a last message to standard output or error, which may be closed, broken or full."""
    with suppress(OSError):
        while data:
            data = data[write_if_ready(descriptor, data, WRITE_SECONDS) :]
