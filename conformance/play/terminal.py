"""Terminals, and the taking of lines: the one module that imports pexpect.

Every actor's output is taken through an `Ear`, a pexpect spawn on an open descriptor. pexpect's
own delays are off (they cost 450 ms a scenario), and its reading goes through the stage, so that
waiting for one actor reads all the others too.

The terminal is a real one (a pty, of which the program is session leader). Two of its services
are off, unless it is for a screen: it does not echo what is typed, and it does not turn LF into
CR LF, so that what is seen is what the program wrote, byte for byte.
"""

from __future__ import annotations

import fcntl
import os
import re
import struct
import termios
import time
from collections import deque
from dataclasses import dataclass
from typing import Any

import pexpect
from pexpect import expect, fdpexpect

from conformance.play.poll import READ_SIZE, Source

COLUMNS, ROWS = 80, 24
_IUTF8 = 0x4000  # Linux's; characters of several bytes are erased whole
_FLAGS = {  # what programs change, for people; by its place in the attributes
    "echo": (3, termios.ECHO),
    "whole lines (canonical mode)": (3, termios.ICANON),
    "signals by keys": (3, termios.ISIG),
    "LF into CR LF": (1, termios.OPOST),
    "CR into LF": (0, termios.ICRNL),
}


@dataclass(frozen=True, slots=True)
class Heard:
    """What came: a line or a text, or why it did not."""

    text: bytes  # without its line end; the rest that had come, where `why` is set
    why: str = ""  # "", "eof", "reset", another error, or "nothing" (before the deadline)


class _LastLineEnd(expect.searcher_string):  # type: ignore[type-arg]  # as below
    """What an ear expects: all whole lines that came, at the cost of one."""

    def __init__(self) -> None:
        super().__init__([b"\n", pexpect.EOF, pexpect.TIMEOUT])

    def search(self, buffer: bytes, freshlen: int, searchwindowsize: int | None = None) -> int:
        """What pexpect calls to find the first line end: the last one is found."""
        self.match = b"\n"
        self.start = buffer.rfind(self.match)
        self.end = self.start + 1
        return min(self.start, 0)


class Ear(fdpexpect.fdspawn):  # type: ignore[type-arg]  # generic in its stubs alone
    """Takes lines and prompts from a source."""

    def __init__(self, source: Source) -> None:
        super().__init__(source.fd, timeout=None, maxread=READ_SIZE, use_poll=True)
        self.delaybeforesend = None
        self.delayafterread = None
        self.source = source
        self._line_ends = _LastLineEnd()
        self._lines: deque[bytes] = deque()  # taken from pexpect, and not asked for yet

    def read_nonblocking(self, size: int = 1, timeout: float | None = -1) -> bytes:
        """What pexpect calls for more input; the stage serves everybody meanwhile."""
        source = self.source
        # Even where there is enough: who is read only as fast as it is judged may lag, and be
        # dropped for that, rightly.
        source.stage.serve()
        deadline = time.monotonic() + (timeout if timeout is not None else 0)
        if not source.stage.wait(lambda: bool(source.unread or source.end), deadline):
            raise pexpect.TIMEOUT("nothing came")
        if not source.unread:
            self.flag_eof = True
            raise pexpect.EOF(source.end)
        data = bytes(source.unread[:size])
        del source.unread[:size]
        return data

    def line(self, deadline: float) -> Heard:
        """The next line."""
        if not self._lines:
            found = self.expect_loop(self._line_ends, timeout=_left(deadline))
            text = self.before or b""
            if found != 0:
                return self._heard(found, text)
            self._lines.extend(text.split(b"\n"))
        return Heard(self._lines.popleft())

    def line_at_hand(self) -> bytes | None:
        """The next line, if it is there already: most of a thousand lines are."""
        return self._lines.popleft() if self._lines else None

    def rest(self) -> bytes:
        """What has come and nobody has asked for yet. It stays, to be asked for."""
        self.source.stage.serve()
        taken = b"".join(line + b"\n" for line in self._lines)
        return taken + (self.buffer or b"") + bytes(self.source.unread)

    def text(self, length: int, deadline: float) -> Heard:
        """The next `length` bytes, or a whole line where one ends before that."""
        if self._lines:
            return Heard(self._start_of_line(length))
        pattern = re.compile(rb"(?s)(?:[^\n]{%d}|[^\n]*\n)" % length)
        found = self.expect([pattern, pexpect.EOF, pexpect.TIMEOUT], timeout=_left(deadline))
        text = self.after if found == 0 else self.before
        assert isinstance(text, bytes)
        return self._heard(found, text)

    def _start_of_line(self, length: int) -> bytes:
        line = self._lines.popleft()
        if len(line) < length:
            return line + b"\n"
        self._lines.appendleft(line[length:])
        return line[:length]

    def _heard(self, found: int, text: bytes) -> Heard:
        if found == 0:
            return Heard(text)
        return Heard(text, "nothing" if found == 2 else self.source.end)


def _left(deadline: float) -> float:
    return max(deadline - time.monotonic(), 0)


@dataclass(frozen=True, slots=True)
class Terminal:
    """The two ends of a pty: ours, and the path by which the program opens the other."""

    fd: int
    path: str
    settings: list[Any]  # its attributes before any program has it
    _other: int

    def handed_over(self) -> None:
        """The program has opened its end: let go of ours, so that its ending is seen here."""
        os.close(self._other)


def open_terminal(size: tuple[int, int] | None = None) -> Terminal:
    """A new terminal; with `size` (columns, rows) for a screen, with what people have there."""
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


def resize(fd: int, columns: int, rows: int) -> None:
    """Give a terminal, by either end, another size; its programs are told."""
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def left_changed(terminal: Terminal) -> list[str]:
    """What is set otherwise than before its program came, in words."""
    before, after = terminal.settings, termios.tcgetattr(terminal.fd)
    changed = [
        f"{name} is {'on' if after[place] & flag else 'off'}"
        for name, (place, flag) in _FLAGS.items()
        if (before[place] ^ after[place]) & flag
    ]
    return changed or (["its settings are changed"] if before != after else [])
