"""Terminals, and a reader of lines. This is the only module that imports pexpect.

A `LineReader` takes lines and prompts from one source through a pexpect spawn. The delays of
pexpect are off (they cost 450 ms in each scenario). The spawn reads through the poll loop, so that
all other actors are read while one waits. This module knows no step, and no expectation.

The terminals are real ones (a pty, whose session leader is the program). Unless the terminal is a
screen, two of its functions are off: it does not echo input, and it does not turn LF into CR LF. So
the harness sees what the program wrote, byte for byte.
"""

from __future__ import annotations

import fcntl
import os
import re
import struct
import termios
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pexpect
from pexpect import fdpexpect

from conformance.play.case.poll import READ_SIZE, Source

COLUMNS, ROWS = 80, 24
_IUTF8 = 0x4000  # of Linux: Backspace erases a character of several bytes as a whole
_FLAGS = {  # settings that programs change: name, index in the termios attributes, flag
    "echo": (3, termios.ECHO),
    "whole lines (canonical mode)": (3, termios.ICANON),
    "signals by keys": (3, termios.ISIG),
    "LF into CR LF": (1, termios.OPOST),
    "CR into LF": (0, termios.ICRNL),
}

_FOUND, _ENDED, _LATE = range(3)  # the index that pexpect returns


@dataclass(frozen=True, slots=True)
class Heard:
    """What came: a line or a text, or the reason why none came."""

    text: bytes  # without its line end; if `why` is set, the part that has come
    why: str = ""  # "", "eof", "reset", another error, or "nothing" (came before the deadline)


class _Spawn(fdpexpect.fdspawn):  # type: ignore[type-arg]  # generic only in its stubs
    """pexpect on an open descriptor; it reads through the poll loop.

    pexpect's own timeouts follow the wall clock, which may be set meanwhile. So it has none here.
    """

    def __init__(self, source: Source) -> None:
        super().__init__(source.fd, timeout=None, maxread=READ_SIZE)
        self.delaybeforesend = None
        self.delayafterread = None
        self._source = source
        self._deadline = 0.0  # of the present search (monotonic)
        self._is_over = False  # the deadline is: no more is read, but what has come is looked at

    def by(self, deadline: float) -> _Spawn:
        """Begin a search that ends at this time (monotonic), but looks at what has come."""
        self._deadline, self._is_over = deadline, False
        return self

    def read_nonblocking(self, size: int = 1, timeout: float | None = None) -> bytes:
        """Called by pexpect for more input; `timeout` is always None."""
        source = self._source
        if not self._is_over:
            self._is_over = time.monotonic() > self._deadline
            # Read every actor, even when this one has data: a harness that reads slowly looks like
            # a slow client, and the server rightly drops it.
            source.loop.serve()
            source.loop.wait(self._has_come, self._deadline)
        if not self._has_come():
            raise pexpect.TIMEOUT("nothing came")
        if not source.unread:
            raise pexpect.EOF(source.end)
        data = bytes(source.unread[:size])
        del source.unread[:size]
        return data

    def _has_come(self) -> bool:
        return bool(self._source.unread or self._source.end)

    @property
    def unmatched(self) -> bytes:
        """All bytes that pexpect has read but not matched; its `buffer` may lack some of them."""
        found: bytes = self._before.getvalue()  # type: ignore[attr-defined]
        return found


class LineReader:
    """Takes lines, prompts and bytes from a source; all lines have the same line end."""

    def __init__(self, source: Source, line_end: bytes) -> None:
        self._source = source
        self._line_end = line_end
        self._whole_lines = re.compile(b"(?s)\\A.*" + re.escape(line_end))
        self._spawn = _Spawn(source)
        self._lines: deque[bytes] = deque()  # read by pexpect, but not taken yet
        self._kept: bytearray | None = None  # the bytes taken since `keep`
        self._asked = 0  # number of bytes taken so far
        self.ended = False  # the last result was the end of the source

    # --- Putting back ---

    def keep(self) -> None:
        """From now on, keep what is taken, so that it can be put back."""
        self._kept = bytearray()

    def put_back(self, all_of_it: bool) -> None:
        """Stop keeping; `all_of_it`: put back what was taken since `keep`."""
        assert self._kept is not None
        kept, self._kept = self._kept, None
        if all_of_it:
            self._asked -= len(kept)
            self._push_back(bytes(kept))
            self.ended = False

    def _push_back(self, before: bytes = b"") -> None:
        """Give back to the source what was read but not taken; `before` is put before it."""
        self._source.unread[:0] = before + self._taken
        self._lines.clear()
        self._spawn = _Spawn(self._source)

    @property
    def _taken(self) -> bytes:
        """The bytes that were read from the source, but not taken yet."""
        return b"".join(line + self._line_end for line in self._lines) + self._spawn.unmatched

    @property
    def came(self) -> float:
        """The time (monotonic) at which the last taken bytes had come."""
        wanted = self._asked + self.ended
        moments = (moment for total, moment in self._source.moments if total >= wanted)
        return next(moments, time.monotonic())

    def _given(self, data: bytes) -> None:
        self._asked += len(data)
        if self._kept is not None:
            self._kept += data

    # --- Taking ---

    def line(self, deadline: float) -> Heard:
        """The next line."""
        if not self._lines:
            end = self._line_end
            found = self._spawn.by(deadline).expect_exact([end, pexpect.EOF, pexpect.TIMEOUT])
            heard = self._heard(found)
            if heard.why:
                return heard
            self._lines.append(heard.text.removesuffix(end))
            if end in (self._spawn.buffer or b""):  # take all whole lines in one search
                lines = self._heard(self._spawn.expect_list([self._whole_lines]))
                self._lines.extend(lines.text.removesuffix(end).split(end))
        return Heard(self._next())

    def buffered_line(self) -> bytes | None:
        """The next line, if it is in the buffer already; None otherwise. Does not wait."""
        return self._next() if self._lines else None

    def _next(self) -> bytes:
        line = self._lines.popleft()
        self._given(line + self._line_end)
        return line

    def line_before(self, text: bytes, deadline: float) -> bytes | None:
        """The next line, without taking it; None if this text comes first, or no line in time."""

        def is_decided() -> bool:
            rest = self.rest()
            return self._line_end in rest or rest.startswith(text) or bool(self._source.end)

        self._source.loop.wait(is_decided, deadline)
        line, end, _ = self.rest().partition(self._line_end)
        return line if end and not line.startswith(text) else None

    def rest(self) -> bytes:
        """All bytes that have come and were not taken, without taking them."""
        self._source.loop.serve()
        return self._taken + bytes(self._source.unread)

    def text(self, length: int, deadline: float) -> Heard:
        """The next `length` bytes, or the next line if it is shorter."""
        end = re.escape(self._line_end)
        within = b"(?:(?!%s).)" % end
        return self._found(b"%s{%d}|%s*%s" % (within, length, within, end), deadline)

    def some(self, length: int, deadline: float) -> Heard:
        """The next bytes: all that have come, but at most `length`."""
        return self._found(b".{1,%d}" % length, deadline)

    def _found(self, expression: bytes, deadline: float) -> Heard:
        """Take the bytes that match the expression at the beginning of what has come."""
        if self._lines:
            self._push_back()
        pattern = re.compile(b"(?s)\\A(?:%s)" % expression)
        found = self._spawn.by(deadline).expect_list([pattern, pexpect.EOF, pexpect.TIMEOUT])
        heard = self._heard(found)
        if not heard.why:
            self._given(heard.text)
        return heard

    def _heard(self, found: int) -> Heard:
        """The result of a pexpect search: the bytes up to the end of the match, or why none."""
        text, after = self._spawn.before or b"", self._spawn.after
        self.ended = found == _ENDED
        if self.ended:
            self._given(text)  # nothing can come after it
        if found == _FOUND:
            assert isinstance(after, bytes)
            return Heard(text + after)
        return Heard(text, "nothing" if found == _LATE else self._source.end)


@dataclass(frozen=True, slots=True)
class Terminal:
    """The two ends of a pty: ours, and the path at which the program opens the other one."""

    fd: int
    path: str
    settings: list[Any]  # its attributes before the program starts
    _other: int

    def close_child_ends(self) -> None:
        """Close our copy of the program's end, so that we see when the program closes it."""
        os.close(self._other)


def open_terminal(size: tuple[int, int] | None = None) -> Terminal:
    """A new terminal; with `size` (columns, rows), a screen with the settings people have."""
    ours, other = os.openpty()
    attributes = termios.tcgetattr(other)
    if size:
        attributes[0] |= _IUTF8
    else:
        attributes[1] &= ~termios.OPOST
        attributes[3] &= ~termios.ECHO
    termios.tcsetattr(other, termios.TCSANOW, attributes)
    resize(other, *(size or (COLUMNS, ROWS)))
    os.set_blocking(ours, False)
    return Terminal(ours, os.ttyname(other), termios.tcgetattr(other), other)


def why_no_terminal() -> str:
    """Why this machine gives us no terminal; empty if it does."""
    try:
        one = open_terminal()
    except OSError as error:
        return f"none can be opened: {error.strerror}"
    one.close_child_ends()
    os.close(one.fd)
    return ""


@contextmanager
def keys_of(fd: int) -> Iterator[None]:
    """Within the block, each key that a person presses comes at once, and is not echoed."""
    before = termios.tcgetattr(fd)
    keys = termios.tcgetattr(fd)
    keys[3] &= ~(termios.ECHO | termios.ICANON)
    termios.tcsetattr(fd, termios.TCSADRAIN, keys)
    try:
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)


def resize(fd: int, columns: int, rows: int) -> None:
    """Change the size of a terminal, through either end; its programs get SIGWINCH."""
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def left_changed(terminal: Terminal) -> list[str]:
    """The settings that are not as they were before the program started, as texts."""
    before, after = terminal.settings, termios.tcgetattr(terminal.fd)
    changed = [
        f"{name} is {'on' if after[place] & flag else 'off'}"
        for name, (place, flag) in _FLAGS.items()
        if (before[place] ^ after[place]) & flag
    ]
    return changed or (["its settings are changed"] if before != after else [])
