"""The one poll loop of a case: while one actor waits, what comes for all actors is read.

A program blocks in `write` when nothing reads its terminal: after some 19 KB of output it stops,
and others then wait for it. So no actor waits for itself alone. It asks the loop to go on until
something is true, and the loop serves all descriptors until then. The loop knows no actor and no
step.
"""

from __future__ import annotations

import errno
import select
import time
from collections import deque
from collections.abc import Callable

from conformance.play.transcript import Transcript

READ_SIZE = 1 << 16  # bytes read at once
WRITE_SIZE = 1 << 15  # bytes written at once, before all descriptors are read again
MOST_UNREAD = 64 << 20  # bytes: more than any scenario names, so it is a program without an end

_READABLE = select.POLLIN | select.POLLHUP | select.POLLERR
_WRITABLE = select.POLLOUT | select.POLLHUP | select.POLLERR


class Flood(Exception):
    """An actor sends without end what no step names."""

    def __init__(self, actor: str) -> None:
        super().__init__(actor)
        self.actor = actor


class Loop:
    """All descriptors of one case, and the waiting for them."""

    def __init__(self, transcript: Transcript) -> None:
        self.transcript = transcript
        self.events = 0  # how often something was read
        # How a step waits that is played together with others.
        self.aside: Callable[[Callable[[], bool], float], bool] | None = None
        self._poll = select.poll()
        self._handlers: dict[int, Callable[[], None]] = {}
        self._full: dict[int, bool] = {}  # descriptors whose write blocked; True: writable again

    def watch(self, fd: int, handler: Callable[[], None]) -> None:
        """Call the handler when there is something to read, or an end."""
        self._handlers[fd] = handler
        self._register(fd)

    def forget(self, fd: int) -> None:
        """Stop watching; this may be asked for a descriptor that is not watched."""
        if self._handlers.pop(fd, None):
            self._register(fd)

    def _register(self, fd: int) -> None:
        """Poll for what is wanted of the descriptor now."""
        read = _READABLE if fd in self._handlers else 0
        write = _WRITABLE if fd in self._full else 0
        if read or write:
            self._poll.register(fd, read | write)
        else:
            self._poll.unregister(fd)

    def wait(self, done: Callable[[], bool], deadline: float) -> bool:
        """Serve all until `done()`; False where the deadline (monotonic) comes first."""
        if self.aside:
            return self.aside(done, deadline)
        while not done():
            remaining = deadline - time.monotonic()
            self._turn(max(remaining, 0))
            if remaining <= 0:
                return done()
        return True

    def has_read_since(self, events: int) -> bool:
        """Whether something was read after so many events."""
        return self.events != events

    def let_others_go_on(self) -> None:
        """A good moment for other steps that are played at the same time, if there are any."""
        if self.aside:
            self.aside(lambda: True, 0.0)

    def serve(self) -> None:
        """Read what is there from all, without waiting."""
        self._turn(0)

    def write(
        self, fd: int, write: Callable[[memoryview], int], data: bytes, deadline: float
    ) -> int:
        """Write all of `data` while serving all; returns how much went out in time."""
        view, sent = memoryview(data), 0
        while sent < len(data):
            try:
                sent += write(view[sent : sent + WRITE_SIZE])
            except BlockingIOError:
                if not self._wait_writable(fd, deadline):
                    break
            if sent < len(data):
                self._turn(0)  # read the answers meanwhile, or a server may drop their receiver
        return sent

    def _wait_writable(self, fd: int, deadline: float) -> bool:
        """Serve all until the descriptor is writable again; False at the deadline."""
        self._full[fd] = False
        self._register(fd)
        try:
            return self.wait(lambda: self._full[fd], deadline)
        finally:
            del self._full[fd]
            self._register(fd)

    def _turn(self, seconds: float) -> None:
        for fd, events in self._poll.poll(seconds * 1000):
            if fd in self._full and events & _WRITABLE:
                self._full[fd] = True
            handler = self._handlers.get(fd)
            if handler and events & _READABLE:
                self.events += 1
                handler()


class Source:
    """What comes from one descriptor, kept until a step asks for it."""

    def __init__(
        self, loop: Loop, actor: str, how: str, fd: int, read: Callable[[], bytes]
    ) -> None:
        self.loop = loop
        self.actor = actor
        self.how = how  # for the timeline: "seen", or "error" for standard error
        self.fd = fd
        self.unread = bytearray()
        self.moments: deque[tuple[int, float]] = deque()  # how many bytes had come, and when
        self.total = 0  # bytes that have come
        self.began = False  # whether anything has come
        self.end = ""  # once it has ended: "eof", "reset", or the error in the system's words
        self.take: Callable[[bytes], object] | None = None  # gets what comes at once; nothing waits
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
            # EIO comes from a terminal that no program has open any more.
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
        """Stop reading; what comes stays with the kernel."""
        self.loop.forget(self.fd)

    def resume(self) -> None:
        """Read again."""
        if not self.end:
            self.loop.watch(self.fd, self._on_ready)

    def close(self) -> None:
        """Read no more; closing the descriptor is left to the caller who opened it."""
        self.loop.forget(self.fd)
