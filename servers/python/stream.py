"""What all in the room read: one stream of text, and a cursor in it for each user.

A line is kept once, however many get it. A user's queue is not stored: it is the stream from the
user's place to the end, with `splices` in it, each a text for this user alone or a stretch that
it is not sent (its own lines). So nothing is copied for a recipient.

Offers: Stream (append), Cursor (attach, insert, skip, pieces, advance, waiting, detach).
"""

from __future__ import annotations

from itertools import islice

TYPE_CHECKING = False  # as in typing, which is slow to import
if TYPE_CHECKING:
    from collections.abc import Iterator

BLOCK_SIZE = 64 * 1024  # bytes of a block of the stream
JOINED_TEXT = 4096  # bytes of private texts in a row that are kept as one
SPLICE_COST = 256  # bytes of memory that a splice takes besides its text, rounded up
ALL = 1 << 62  # bytes; more than there are


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

    __slots__ = ("at", "block", "index", "private", "splices", "stream", "taken")

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.block: Block | None = None  # where it reads; None outside the room
        self.at = 0  # offset of the next byte of the stream
        self.splices: list[Splice] = []
        self.index = 0  # of the next splice; above 0 only in the midst of a walk
        self.taken = 0  # bytes of its text that are behind us
        self.private = 0  # bytes of memory that the splices take

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
        return self.at == at and not self.splices

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
        self.private += SPLICE_COST + len(splice.text)

    def next_piece(self, most: int = ALL) -> memoryview:
        """Move over the next bytes that lie together, at most so many, and give them.

        Nothing is given, and what is left out here is passed, where `most` is 0 or all was given.
        """
        end = self.at if self.block is None else self.stream.end
        while self.index < len(self.splices):
            splice = self.splices[self.index]
            if self.at < splice.at:
                end = splice.at
                break
            if self.taken < len(splice.text):
                piece = memoryview(splice.text)[self.taken : self.taken + most]
                self.taken += len(piece)
                return piece
            self.at += splice.skip
            self.taken = 0
            self.index += 1
        return self.stretch(min(end, self.at + most))

    def stretch(self, end: int) -> memoryview:
        """Move over the stream to `end`, or to where the block ends, and give what is there."""
        block, at = self.block, self.at
        if block is None or at >= end:
            return memoryview(b"")
        while block.next is not None and block.next.start <= at:
            self.block = block = block.next
        self.at = end = min(end, block.start + BLOCK_SIZE)
        return block.data[at - block.start : end - block.start]

    def pieces(self, most: int | None = None) -> list[memoryview]:
        """Look ahead: the same walk, on a copy. At most so many pieces are given."""
        ahead = Cursor(self.stream)
        ahead.block, ahead.at = self.block, self.at
        ahead.splices, ahead.taken = self.splices, self.taken
        walk: Iterator[memoryview] = iter(ahead.next_piece, b"")
        return list(islice(walk, most))

    def advance(self, count: int) -> None:
        """Move on by `count` bytes that were sent, and past what is left out there."""
        while piece := self.next_piece(count):
            count -= len(piece)
        for splice in self.splices[: self.index]:
            self.private -= SPLICE_COST + len(splice.text)
        del self.splices[: self.index]
        self.index = 0
        while self.block and self.block.next and self.block.next.start <= self.at:
            self.block = self.block.next

    def detach(self) -> None:
        """Leave the room with a copy of what waits, so that nothing later is kept for this user."""
        text = b"".join(self.pieces())
        self.clear()
        if text:
            self.insert(text)

    def clear(self) -> None:
        """Throw away what waits, and the place in the stream."""
        self.block = None
        self.splices = []
        self.taken = self.private = 0
