"""The poll loop of a case: while one actor waits, the loop reads for all actors.

A program blocks in `write` when nobody reads its terminal: it stops after about 19 KB of output,
and the others then wait for it. So no actor blocks on its own descriptor. It passes a condition to
the loop, and the loop serves all descriptors until the condition is true. The loop knows no actor
and no step.
"""

from __future__ import annotations

import errno
import os
import select
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

from conformance.play.case.transcript import Transcript
from conformance.play.processes.system import LOOK_SECONDS

READ_SIZE = 1 << 16  # bytes in one read
WRITE_SIZE = 1 << 15  # bytes in one write; between two writes, all descriptors are read
TURN_SECONDS = 1.0  # of one wait at most: a signal just before it takes effect when it ends
METER_SECONDS = 0.25  # between two checks of the limits, where programs have limits
MOST_UNREAD = 64 << 20  # bytes; no scenario reads so many, so the program writes without end

_READABLE = select.POLLIN | select.POLLHUP | select.POLLERR
_WRITABLE = select.POLLOUT | select.POLLHUP | select.POLLERR
_GONE = select.POLLHUP | select.POLLERR


class Flood(Exception):
    """An actor sends without end, and no step reads it."""

    def __init__(self, actor: str) -> None:
        super().__init__(actor)
        self.actor = actor


class Excess(Exception):
    """The program of an actor exceeds a limit."""

    def __init__(self, actor: str, what: str) -> None:
        super().__init__(actor, what)
        self.actor = actor
        self.what = what


class Mover(Protocol):
    """Something that forwards bytes at a time that no descriptor signals, such as an `Outlet`."""

    @property
    def waits(self) -> bool:
        """Whether it has bytes to forward, and its descriptor is not blocked."""

    def move(self, quiet: bool) -> None:
        """Forward what it can. `quiet`: no descriptor had an event just now."""


class Loop:
    """Polls all descriptors of one case."""

    def __init__(self, transcript: Transcript) -> None:
        self.transcript = transcript
        self.events = 0  # number of reads so far
        # Replaces `wait` for a step of a `together`, which must let the other steps run.
        self.cooperative_wait: Callable[[Callable[[], bool], float], bool] | None = None
        self.meter: Callable[[], object] | None = None  # called every METER_SECONDS
        self._metered = 0.0  # when it was last called (monotonic)
        self._poll = select.poll()
        self._handlers: dict[int, Callable[[], None]] = {}
        self._blocked: set[int] = set()  # descriptors whose write has blocked
        self._ends: set[int] = set()  # descriptors that are watched only for their end
        self._movers: list[Mover] = []

    def watch(self, fd: int, handler: Callable[[], None]) -> None:
        """Call the handler when the descriptor is readable, or at end of file."""
        self._handlers[fd] = handler
        self._register(fd)

    def watch_end(self, fd: int, handler: Callable[[], None]) -> None:
        """Call the handler when both sides are closed for writing, or at an error."""
        self._ends.add(fd)
        self.watch(fd, handler)

    def forget(self, fd: int) -> None:
        """Stop watching; does nothing if the descriptor is not watched."""
        self._ends.discard(fd)
        if self._handlers.pop(fd, None):
            self._register(fd)

    def add(self, mover: Mover) -> None:
        """Call this mover in each turn, after all descriptors."""
        self._movers.append(mover)

    def remove(self, mover: Mover) -> None:
        """No longer call this mover."""
        self._movers.remove(mover)

    def _register(self, fd: int) -> None:
        """Tell `poll` which events of this descriptor matter now."""
        read = _READABLE if fd in self._handlers else 0
        if fd in self._ends:
            read = _GONE
        write = _WRITABLE if fd in self._blocked else 0
        if read or write:
            self._poll.register(fd, read | write)
        else:
            self._poll.unregister(fd)

    def wait(self, done: Callable[[], bool], deadline: float) -> bool:
        """Serve all descriptors until `done()`; False if the deadline (monotonic) comes first."""
        if self.cooperative_wait:
            return self.cooperative_wait(done, deadline)
        while not done():
            remaining = deadline - time.monotonic()
            # After a stall, what was written meanwhile may still be on its way through the kernel.
            self._turn(remaining if remaining > 0 else min(-remaining, LOOK_SECONDS))
            if remaining <= 0:
                return done()
        return True

    def has_read_since(self, events: int) -> bool:
        """Whether something was read since `self.events` had this value."""
        return self.events != events

    def look_again(self) -> None:
        """Wait a moment, where no event signals what somebody waits for."""
        self.wait(lambda: False, time.monotonic() + LOOK_SECONDS)

    def yield_to_others(self) -> None:
        """Let steps that are played at the same time run, if there are any."""
        if self.cooperative_wait:
            self.cooperative_wait(lambda: True, 0.0)

    def serve(self) -> None:
        """Read what has come on all descriptors, without waiting."""
        self._turn(0)

    def write(
        self, fd: int, write: Callable[[memoryview], int], data: bytes, deadline: float
    ) -> int:
        """Write all of `data` while serving all descriptors; returns the bytes written in time."""
        view, sent = memoryview(data), 0
        while sent < len(data):
            try:
                sent += write(view[sent : sent + WRITE_SIZE])
            except BlockingIOError:
                if not self._wait_writable(fd, deadline):
                    break
            if sent < len(data):
                self._turn(0)  # read the answers: a server may drop a client that does not
        return sent

    def _wait_writable(self, fd: int, deadline: float) -> bool:
        """Serve all descriptors until this one is writable; False if the deadline comes first."""
        self.set_blocked(fd, True)
        try:
            return self.wait(lambda: not self.is_blocked(fd), deadline)
        finally:
            self.set_blocked(fd, False)

    def is_blocked(self, fd: int) -> bool:
        """Whether a write has blocked, and the descriptor is not writable again yet."""
        return fd in self._blocked

    def set_blocked(self, fd: int, blocked: bool) -> None:
        """True: a write has blocked, so poll until it is writable. False: no longer poll."""
        if blocked != (fd in self._blocked):
            (self._blocked.add if blocked else self._blocked.discard)(fd)
            self._register(fd)

    def _turn(self, seconds: float) -> None:
        if self.meter:
            seconds = min(seconds, METER_SECONDS)
            if time.monotonic() >= self._metered + METER_SECONDS:
                self.meter()
                self._metered = time.monotonic()
        seconds = min(seconds, TURN_SECONDS)
        waiting = [mover for mover in self._movers if mover.waits]
        events = self._poll.poll(0 if waiting else seconds * 1000)
        for fd, what in events:
            if what & _WRITABLE:
                self.set_blocked(fd, False)
            handler = self._handlers.get(fd)
            if handler and what & _READABLE:
                self.events += 1
                handler()
        for mover in waiting:
            mover.move(quiet=not events)
        if waiting:
            os.sched_yield()  # to the process that is to read these bytes


class Source:
    """Reads one descriptor, and keeps the bytes until a step takes them."""

    def __init__(
        self, loop: Loop, actor: str, how: str, fd: int, read: Callable[[], bytes]
    ) -> None:
        self.loop = loop
        self.actor = actor
        self.how = how  # for the timeline: "seen", or "error" for standard error
        self.fd = fd
        self.unread = bytearray()
        self.moments: deque[tuple[int, float]] = deque()  # total after each read, and its time
        self.total = 0  # bytes read so far
        self.began = False  # whether anything has come
        self.end = ""  # after the end: "eof", "reset", or the text of the system's error
        self.take: Callable[[bytes], object] | None = None  # gets all bytes; then none are kept
        self._read = read
        loop.watch(fd, self._on_ready)

    def _on_ready(self) -> None:
        try:
            data = self._read()
        except BlockingIOError:
            return
        except ConnectionResetError:
            self._finish("reset")
        except OSError as error:
            # A pty gives EIO when no program has its other end open any more.
            self._finish("eof" if error.errno == errno.EIO else error.strerror or "an error")
        else:
            self._take(data) if data else self._finish("eof")

    def _take(self, data: bytes) -> None:
        self.began = True
        self.total += len(data)
        self.loop.transcript.note(self.actor, self.how, data)
        if self.take:
            self.take(data)
            return
        self.moments.append((self.total, time.monotonic()))
        self.unread += data
        if len(self.unread) > MOST_UNREAD:
            raise Flood(self.actor)

    def _finish(self, end: str) -> None:
        self.end = end
        self.moments.append((self.total + 1, time.monotonic()))
        self.loop.forget(self.fd)
        if self.how == "seen":
            words = {"eof": "end of file", "reset": "the connection was reset"}
            self.loop.transcript.note(self.actor, "event", f"({words.get(end, end)})".encode())

    def pause(self) -> None:
        """Stop reading; what comes stays in the kernel's buffer."""
        self.loop.forget(self.fd)

    def resume(self) -> None:
        """Read again."""
        if not self.end:
            self.loop.watch(self.fd, self._on_ready)

    def close(self) -> None:
        """Read no more. The descriptor stays open: the caller who opened it closes it."""
        self.loop.forget(self.fd)
