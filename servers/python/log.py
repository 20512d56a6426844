"""Standard output and the log, which never delay the chat (LOG-4, LOG-5).

Lines are collected, and written once a round. Lines that are not accepted yet wait, up to a limit;
lines beyond the limit are lost, and a message on standard error says so once.

Exports: Sink (put, flush, finish), open_output, open_log, reopen, log_event, write_all.
"""

from __future__ import annotations

import os
import select
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from selectors import EVENT_WRITE, BaseSelector

MAX_PENDING = 1024 * 1024  # bytes of lines that wait in a sink
WRITE_SIZE = 64 * 1024  # bytes written in one system call
LAST_WORDS_SECONDS = 0.1  # to write the last lines, before the process ends
WRITE_SECONDS = 1.0  # to write a last message, where nobody reads it
LEVELS = {"refuse": "WARN", "error": "ERROR"}  # of events; all others are INFO


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
        self.selector = selector  # calls `flush` when the descriptor is writable again
        self.write = write  # writes to the descriptor; never blocks
        self.pending = bytearray()
        self.torn = False  # the last line was written only in part
        self.blocked = False  # the descriptor is not writable
        self.lost = False  # lines were lost, and this was reported

    def put(self, line: bytes) -> None:
        """Add a line, or lose it where too much waits."""
        if len(self.pending) + len(line) > MAX_PENDING and not self.blocked:
            self.flush()
        if len(self.pending) + len(line) > MAX_PENDING:
            self.report_loss("not read")
        else:
            self.pending += line

    def flush(self) -> None:
        """Write the lines, as far as the descriptor takes them. An error loses them (LOG-5)."""
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
            self.pending[:] = b"\n" if self.torn else b""  # ends the incomplete line (LOG-6)
            self.report_loss(str(error.strerror))
        self.block(False)

    def block(self, blocked: bool) -> None:
        """Have the selector wait for a blocked sink. If it cannot, the next flush tries again."""
        with suppress(OSError):
            if blocked and not self.blocked:
                self.selector.register(self.descriptor, EVENT_WRITE, self.flush)
            elif self.blocked and not blocked:
                self.selector.unregister(self.descriptor)
            self.blocked = blocked

    def finish(self) -> None:
        """Write the last lines before the process ends, for LAST_WORDS_SECONDS at the most."""
        end = time.monotonic() + LAST_WORDS_SECONDS
        self.flush()
        while self.blocked and (left := end - time.monotonic()) > 0:
            waiter = select.poll()
            waiter.register(self.descriptor, select.POLLOUT)
            waiter.poll(left * 1000)
            self.flush()
        if self.pending:
            self.report_loss("not read")

    def report_loss(self, reason: str) -> None:
        """Report on standard error, once, that lines are lost."""
        if not self.lost:
            text = f"chat-server: lines for {self.name} are lost: {reason}\n"
            with suppress(OSError):
                self.lost = write_if_ready(2, os.fsencode(text)) > 0


def open_output(selector: BaseSelector) -> Sink:
    """Make a sink of standard output.

    A file never blocks. A pipe or a terminal is opened again, as non-blocking: to change the given
    descriptor would change it for all processes that share it.
    """
    name = "standard output"
    if stat.S_ISREG(os.fstat(1).st_mode):
        return Sink(name, 1, selector)
    try:
        flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY
        return Sink(name, os.open("/proc/self/fd/1", flags), selector)
    except OSError:  # a socket, or a pipe or terminal that belongs to another user
        return Sink(name, 1, selector, write_if_ready)


def open_log(path: str) -> int:
    """Open the log for appending. Opening a FIFO does not wait for a reader."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_NOCTTY
    return os.open(path, flags, 0o600)


def reopen(log: Sink) -> None:
    """Continue in a new file at the log's path: logrotate has renamed the old one (LOG-7)."""
    log.flush()
    try:
        descriptor = open_log(log.name)
    except OSError as error:
        log_event(log, "error", error=f"cannot open log {log.name}: {error.strerror}")
        return
    log.block(False)
    with suppress(OSError):  # a network file system may report a full disk only now
        os.close(log.descriptor)
    log.descriptor = descriptor
    if log.torn:  # the rest of this line belongs to the old file
        del log.pending[: log.pending.find(b"\n") + 1]
        log.torn = False


def log_event(log: Sink | None, event: str, **fields: bytes | str) -> None:
    """Write an event to the log, if there is one, as a line of JSON (LOG-2)."""
    if log is None:
        return
    import json  # here, so that a server without a log starts faster

    seconds, millis = divmod(time.time_ns() // 1_000_000, 1000)
    now = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{millis:03}Z"
    record = {"time": now, "level": LEVELS.get(event, "INFO"), "msg": event}
    for name, value in fields.items():
        record[name] = value.decode() if isinstance(value, bytes) else value
    line = json.dumps(record, ensure_ascii=False, separators=(",", ":")) + "\n"
    log.put(line.encode(errors="replace"))  # a path may have any bytes


def write_if_ready(descriptor: int, data: bytes, wait: float = 0) -> int:
    """Write to a descriptor in blocking mode, but no more than it takes without blocking."""
    if not select.select([], [descriptor], [], wait)[1]:
        raise BlockingIOError
    return os.write(descriptor, data[: select.PIPE_BUF])


def write_all(descriptor: int, data: bytes) -> None:
    """Write a last message to standard output or standard error; ignore errors."""
    with suppress(OSError):
        while data:
            data = data[write_if_ready(descriptor, data, WRITE_SECONDS) :]
