"""The text for the room: one stream, and a cursor in it for each user.

A line is stored once, however many users receive it. A user's queue is not stored: it is the
stream from the user's position to the end, changed by splices. A splice inserts a text for this
user alone, or skips bytes that it is not sent (its own messages). No line is copied.

`pieces` takes the text to send next out of both, and keeps it in the cursor until it was sent.

Exports: Stream (append), Cursor (attach, insert, skip, pieces, advance, waiting, take, detach).
"""

from __future__ import annotations

import sys

BLOCK_SIZE = 64 * 1024  # bytes of a block of the stream
JOINED_TEXT = 4096  # bytes of consecutive private texts that are joined into one splice
COST = 256  # bytes of memory of a splice or a piece in addition to its text, rounded up
MAX_PIECES = 64  # pieces sent in one system call


class Block:
    """A part of the stream. It links only forward, so blocks that all have read are freed."""

    __slots__ = ("data", "next", "start")

    def __init__(self, start: int) -> None:
        self.start = start  # offset in the stream of its first byte
        self.data = memoryview(bytearray(BLOCK_SIZE))
        self.next: Block | None = None


class Stream:
    """All lines of the room. Only blocks that some cursor still reads are in memory."""

    def __init__(self) -> None:
        self.tail = Block(0)
        self.end = 0  # offset of its end

    def append(self, line: bytes) -> None:
        """Append a line, which may continue in a new block."""
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
    """At the offset `at` of the stream, insert `text`, then skip the next `skip` bytes."""

    __slots__ = ("at", "skip", "text")

    def __init__(self, at: int, text: bytes, skip: int = 0) -> None:
        self.at = at
        self.text = text
        self.skip = skip


class Cursor:
    """One user's position in the stream, and its splices. Outside the room it has only texts."""

    __slots__ = ("at", "block", "private", "ready", "splices", "stream")

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.block: Block | None = None  # the block that it reads; None outside the room
        self.at = 0  # offset in the stream of the next byte to read
        self.splices: list[Splice] = []  # those that are not in `ready` yet
        self.ready: tuple[memoryview, ...] = ()  # pieces before `at` that are not sent yet
        self.private = 0  # bytes of memory of the splices and pieces

    @property
    def waiting(self) -> int:
        """Count the bytes of memory kept for the user, with its own messages and the overhead."""
        return self.private if self.block is None else self.stream.end - self.at + self.private

    def attach(self) -> None:
        """Read the stream from its end on; texts that are queued already come first."""
        self.catch_up()
        for splice in self.splices:
            splice.at = self.at

    def catch_up(self) -> None:
        """Move to the end of the stream, when all of it was sent."""
        self.block, self.at = self.stream.tail, self.stream.end

    def is_at(self, at: int) -> bool:
        """Whether the queue is exactly the stream from `at` on."""
        return self.at == at and not self.splices and not self.ready

    def insert(self, text: bytes) -> None:
        """Append a text for this user alone to its queue."""
        at = self.at if self.block is None else self.stream.end
        last = self.splices[-1] if self.splices else None
        if last and last.at == at and len(last.text) + len(text) <= JOINED_TEXT:
            last.text += text  # its `skip` is 0, because the stream ends here
            self.private += len(text)
        else:
            self.add(Splice(at, text))

    def skip(self, length: int) -> None:
        """Skip the last `length` bytes of the stream."""
        at = self.stream.end - length
        if self.splices and self.splices[-1].at + self.splices[-1].skip == at:
            self.splices[-1].skip += length
        else:
            self.add(Splice(at, b"", length))

    def add(self, splice: Splice) -> None:
        """Append a splice."""
        self.splices.append(splice)
        self.private += COST + len(splice.text)

    def pieces(self, most: int = MAX_PIECES) -> tuple[memoryview, ...]:
        """Return the next pieces to send, `most` at the most; none where all was sent."""
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
        del self.splices[:passed]  # in one step, because there may be many
        self.ready = (*ready,)
        return self.ready

    def stretch(self, end: int) -> memoryview:
        """Move to `end`, or to the end of the block, and return the bytes in between."""
        if self.block is None:
            return memoryview(b"")
        while self.block.next is not None and self.block.next.start <= self.at:
            self.block = self.block.next
        start = self.block.start
        piece = self.block.data[self.at - start : end - start]  # ends with the block
        self.at += len(piece)
        return piece

    def advance(self, count: int) -> None:
        """Remove `count` bytes that were sent."""
        self.private -= count
        sent = 0  # whole pieces
        while sent < len(self.ready) and len(self.ready[sent]) <= count:
            count -= len(self.ready[sent])
            sent += 1
        self.private -= sent * COST
        rest = self.ready[sent:]
        self.ready = (rest[0][count:], *rest[1:]) if count else rest

    def take(self) -> bytes:
        """Remove and return the whole queue."""
        text = b"".join(self.pieces(sys.maxsize))
        self.ready, self.private = (), 0
        return text

    def detach(self) -> None:
        """Leave the stream with a copy of the queue, so that it keeps no later block in memory."""
        text = self.take()
        self.block = None
        if text:
            self.insert(text)

    def clear(self) -> None:
        """Discard the queue and the position in the stream."""
        self.block = None
        self.splices, self.ready, self.private = [], (), 0
