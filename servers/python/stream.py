"""What all in the room read: one stream of text, and a cursor in it for each user.

A line is kept once, however many get it. A user's queue is not stored: it is the stream from the
user's place to the end, with `splices` in it, each a text for this user alone or a stretch that
it is not sent (its own lines). So nothing is copied for a recipient.

What is to be sent next is taken out of both as `pieces` of memory, which wait until it was sent.

Offers: Stream (append), Cursor (attach, insert, skip, pieces, advance, waiting, take, detach).
"""

from __future__ import annotations

import sys

BLOCK_SIZE = 64 * 1024  # bytes of a block of the stream
JOINED_TEXT = 4096  # bytes of private texts in a row that are kept as one
COST = 256  # bytes of memory that a splice or a piece takes besides its text, rounded up
MAX_PIECES = 64  # that the kernel is handed in one call


class Block:
    """A stretch of the stream. It links only forward, so what all have read frees itself."""

    __slots__ = ("data", "next", "start")

    def __init__(self, start: int) -> None:
        self.start = start  # offset in the stream of its first byte
        self.data = memoryview(bytearray(BLOCK_SIZE))
        self.next: Block | None = None


class Stream:
    """All that the room has said; only what some cursor has still to read is in memory."""

    def __init__(self) -> None:
        self.tail = Block(0)
        self.end = 0  # offset of its end

    def append(self, line: bytes) -> None:
        """Add a line, which may go on in a new block."""
        while line:
            at = self.end - self.tail.start
            if at == BLOCK_SIZE:
                self.tail.next = Block(self.end)
                self.tail = self.tail.next
                at = 0
            part = line[: BLOCK_SIZE - at]
            self.tail.data[at : at + len(part)] = part
            self.end += len(part)
            line = line[len(part) :]


class Splice:
    """At the offset `at` of the stream put in `text`, then leave out the next `skip` bytes."""

    __slots__ = ("at", "skip", "text")

    def __init__(self, at: int, text: bytes, skip: int = 0) -> None:
        self.at = at
        self.text = text
        self.skip = skip


class Cursor:
    """One user's place in the stream, and its splices. Outside the room it has only texts."""

    __slots__ = ("at", "block", "private", "ready", "splices", "stream")

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.block: Block | None = None  # where it reads; None outside the room
        self.at = 0  # offset of the next byte of the stream
        self.splices: list[Splice] = []  # those ahead of `at`
        self.ready: tuple[memoryview, ...] = ()  # what lies before it, and is still to be sent
        self.private = 0  # bytes of memory that splices and pieces take

    @property
    def waiting(self) -> int:
        """Bytes kept in memory for the user, its own lines and the bookkeeping too; 0: no more."""
        return self.private if self.block is None else self.stream.end - self.at + self.private

    def attach(self) -> None:
        """Read the stream from here on; what waited comes first."""
        self.catch_up()
        for splice in self.splices:
            splice.at = self.at

    def catch_up(self) -> None:
        """Go to the end of the stream: all of it was sent."""
        self.block, self.at = self.stream.tail, self.stream.end

    def is_at(self, at: int) -> bool:
        """Whether exactly the stream from `at` on is to be sent."""
        return self.at == at and not self.splices and not self.ready

    def insert(self, text: bytes) -> None:
        """Put in a text for this user alone, behind all that waits."""
        at = self.at if self.block is None else self.stream.end
        last = self.splices[-1] if self.splices else None
        if last and last.at == at and len(last.text) + len(text) <= JOINED_TEXT:
            last.text += text  # it leaves out nothing yet: the stream ends here
            self.private += len(text)
        else:
            self.add(Splice(at, text))

    def skip(self, length: int) -> None:
        """Leave out the last `length` bytes of the stream."""
        at = self.stream.end - length
        if self.splices and self.splices[-1].at + self.splices[-1].skip == at:
            self.splices[-1].skip += length
        else:
            self.add(Splice(at, b"", length))

    def add(self, splice: Splice) -> None:
        """Put a splice behind the others."""
        self.splices.append(splice)
        self.private += COST + len(splice.text)

    def pieces(self, most: int = MAX_PIECES) -> tuple[memoryview, ...]:
        """Get ready what is to be sent next, at most so many pieces; none where all was sent."""
        ready, passed = [*self.ready], 0
        while len(ready) < most:
            splice = self.splices[passed] if passed < len(self.splices) else None
            if splice is None or self.at < splice.at:
                piece = self.stretch(self.stream.end if splice is None else splice.at)
                if not piece:
                    break
            else:
                piece = memoryview(splice.text)
                self.at += splice.skip
                self.private -= COST + len(piece)
                passed += 1
            if piece:
                ready.append(piece)
                self.private += COST + len(piece)
        del self.splices[:passed]  # at once, for there may be many
        self.ready = (*ready,)
        return self.ready

    def stretch(self, end: int) -> memoryview:
        """Move over the stream to `end`, or to where the block ends, and give what is there."""
        if self.block is None:
            return memoryview(b"")
        while self.block.next is not None and self.block.next.start <= self.at:
            self.block = self.block.next
        start = self.block.start
        piece = self.block.data[self.at - start : end - start]  # no more than the block has
        self.at += len(piece)
        return piece

    def advance(self, count: int) -> None:
        """Drop `count` bytes that were sent."""
        self.private -= count
        sent = 0  # whole pieces
        while sent < len(self.ready) and len(self.ready[sent]) <= count:
            count -= len(self.ready[sent])
            sent += 1
        self.private -= sent * COST
        rest = self.ready[sent:]
        self.ready = (rest[0][count:], *rest[1:]) if count else rest

    def take(self) -> bytes:
        """Give all that waits, and hold it no longer."""
        text = b"".join(self.pieces(sys.maxsize))
        self.ready, self.private = (), 0
        return text

    def detach(self) -> None:
        """Leave the room with a copy of what waits, so that nothing later is kept for this user."""
        text = self.take()
        self.block = None
        if text:
            self.insert(text)

    def clear(self) -> None:
        """Throw away what waits, and the place in the stream."""
        self.block = None
        self.splices, self.ready, self.private = [], (), 0
