"""The pieces in which bytes reach a program, over one connection, in one direction.

TCP keeps the order of bytes, but not the boundaries between writes. So a correct program behaves in
the same way under every delivery. A piece is sent when the program has read the previous one:
pieces that wait in the kernel together would be read as one. The total time for small pieces has a
limit, so that a delay on a busy machine is never taken for a fault of the program. After this time,
pieces are large.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from random import Random

from conformance.model import Delivery
from conformance.play.case.poll import Loop
from conformance.play.network.tcp import Connection

PATIENCE = 0.25  # seconds for all small pieces of a connection together
FINE = 512  # bytes of one text that are sent in small pieces; the rest goes in ever larger ones
COARSE = 1021  # least bytes of a large piece; a prime, so that it rarely ends where a line ends
SHORT = 16  # most bytes of a small piece that is cut at random
HARD_CUTS = 4  # three of so many pieces end at a hard cut, if there is one


def _hard_cuts(data: bytes) -> Iterator[int]:
    """The places where a cut is hard to handle: within a character, or before an LF."""
    for place in range(1, len(data)):
        if data[place] & 0xC0 == 0x80 or data[place] == ord("\n"):
            yield place


class Outlet:
    """Sends what is put in, piece by piece. It is a `Mover` of the loop."""

    def __init__(self, loop: Loop, connection: Connection, delivery: Delivery, seed: str) -> None:
        self.on_change: Callable[[], None] = lambda: None  # called after each try to send
        self._loop = loop
        self.connection = connection
        self.delivery = delivery
        self._random = Random(seed)  # the same cuts in every run
        self._waiting = bytearray()
        self._fine = 0  # bytes sent since nothing was waiting
        self._patience = PATIENCE  # seconds that are left
        self._looked = 0.0  # the time up to which `_patience` is reduced (monotonic)
        loop.add(self)

    @property
    def pending(self) -> int:
        """The number of bytes that are not sent yet."""
        return len(self._waiting)

    @property
    def waits(self) -> bool:
        """Whether there are bytes to send, and the connection is not blocked."""
        return bool(self._waiting) and not self._loop.is_blocked(self.connection.fd)

    def put(self, data: bytes) -> None:
        """Send these bytes after those that wait."""
        if not self._waiting:
            self._fine, self._looked = 0, time.monotonic()
        self._waiting += data

    def move(self, quiet: bool) -> None:
        """Send the next piece, if it may be sent now."""
        held = self.delivery is Delivery.MERGED and not quiet
        if self._waiting and not held and self._may_go_on():
            self._write(self._next_piece())
            self.on_change()

    def close(self) -> None:
        """Send no more. Call this before the connection is closed."""
        self._waiting.clear()
        self._loop.set_blocked(self.connection.fd, False)
        self._loop.remove(self)

    def _may_go_on(self) -> bool:
        """Whether the last piece was read, or the time for small pieces is over."""
        if self._patience <= 0 or self.connection.is_read():
            return True
        self._spend_time()
        return self._patience <= 0

    def _spend_time(self) -> None:
        now = time.monotonic()
        self._patience -= now - self._looked
        self._looked = now

    def _write(self, count: int) -> None:
        try:
            with memoryview(self._waiting)[:count] as piece:
                sent = self.connection.write(piece)
        except BlockingIOError:
            self._loop.set_blocked(self.connection.fd, True)
            return
        del self._waiting[:sent]
        self._fine += sent
        self._spend_time()

    def _next_piece(self) -> int:
        """The number of bytes in the next piece."""
        whole = len(self._waiting)
        if self.delivery is Delivery.MERGED:
            return whole
        if self._fine >= FINE or self._patience <= 0:
            return min(whole, max(COARSE, self._fine // 8))
        if self.delivery is Delivery.BYTES:
            return 1
        places = list(_hard_cuts(bytes(self._waiting[: 4 * SHORT])))
        if places and self._random.randrange(HARD_CUTS):
            return self._random.choice(places)
        return min(whole, self._random.randint(1, SHORT))
