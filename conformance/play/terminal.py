"""Terminals, and taking lines from what comes: the one module that imports pexpect.

An `Ear` takes lines and prompts from one source by means of a pexpect spawn. The spawn's own delays
are off (they cost 450 ms in each scenario), and it reads through the poll loop, so that while one
actor waits all others are read too. It knows no step, and no expectation.

The terminals are real ones (a pty, of which the program is session leader). Two of their services
are off, unless the terminal is a screen: they do not echo what is typed, and they do not turn LF
into CR LF. So what is seen is what the program wrote, byte for byte.
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
from pexpect import fdpexpect

from conformance.play.poll import READ_SIZE, Source

COLUMNS, ROWS = 80, 24
_IUTF8 = 0x4000  # Linux's; a character of several bytes is erased as a whole
_FLAGS = {  # settings that programs change, in words; and where each stands in the attributes
    "echo": (3, termios.ECHO),
    "whole lines (canonical mode)": (3, termios.ICANON),
    "signals by keys": (3, termios.ISIG),
    "LF into CR LF": (1, termios.OPOST),
    "CR into LF": (0, termios.ICRNL),
}

_FOUND, _ENDED, _LATE = range(3)  # what pexpect answers


@dataclass(frozen=True, slots=True)
class Heard:
    """What came: a line or a text, or the reason why it did not come."""

    text: bytes  # without its line end; where `why` is set, the beginning that has come
    why: str = ""  # "", "eof", "reset", another error, or "nothing" (before the deadline)


class _Spawn(fdpexpect.fdspawn):  # type: ignore[type-arg]  # generic in its stubs alone
    """pexpect on an open descriptor; only its reading is ours."""

    def __init__(self, source: Source) -> None:
        super().__init__(source.fd, timeout=None, maxread=READ_SIZE)
        self.delaybeforesend = None
        self.delayafterread = None
        self._source = source

    def read_nonblocking(self, size: int = 1, timeout: float | None = -1) -> bytes:
        """Called by pexpect for more input."""
        source = self._source
        # Read every actor, even when this one has data: a harness that reads slowly looks like a
        # slow client, and the server rightly drops it.
        source.loop.serve()
        deadline = time.monotonic() + (timeout if timeout is not None else 0)
        if not source.loop.wait(lambda: bool(source.unread or source.end), deadline):
            raise pexpect.TIMEOUT("nothing came")
        if not source.unread:
            raise pexpect.EOF(source.end)
        data = bytes(source.unread[:size])
        del source.unread[:size]
        return data

    @property
    def unmatched(self) -> bytes:
        """What has come and was in no answer; of this, `buffer` has only what a search needs."""
        found: bytes = self._before.getvalue()  # type: ignore[attr-defined]
        return found


class Ear:
    """Takes lines, prompts and bytes from a source, in which each line ends in the same bytes."""

    def __init__(self, source: Source, line_end: bytes) -> None:
        self._source = source
        self._line_end = line_end
        self._whole_lines = re.compile(b"(?s)\\A.*" + re.escape(line_end))
        self._spawn = _Spawn(source)
        self._lines: deque[bytes] = deque()  # taken from pexpect, and not asked for yet
        self._kept: bytearray | None = None  # what was asked for since `keep`
        self._asked = 0  # bytes that were asked for, so far
        self.ended = False  # the last answer was that there is an end

    # --- Asking once more ---

    def keep(self) -> None:
        """Keep what is asked for from here on, so that it can be put back."""
        self._kept = bytearray()

    def put_back(self, all_of_it: bool) -> None:
        """Put it back, to be asked for again; or keep nothing any more."""
        assert self._kept is not None
        kept, self._kept = self._kept, None
        if all_of_it:
            self._asked -= len(kept)
            self._read_anew(bytes(kept))
            self.ended = False

    def _read_anew(self, before: bytes = b"") -> None:
        """Take nothing that was not asked for as taken; `before` comes once more before it."""
        self._source.unread[:0] = before + self._taken
        self._lines.clear()
        self._spawn = _Spawn(self._source)

    @property
    def _taken(self) -> bytes:
        """What was taken from the source, and not asked for yet."""
        return b"".join(line + self._line_end for line in self._lines) + self._spawn.unmatched

    @property
    def came(self) -> float:
        """When what was last asked for had come (monotonic)."""
        moments, wanted = self._source.moments, self._asked + self.ended
        while len(moments) > 1 and moments[0][0] < wanted:
            moments.popleft()
        return moments[0][1] if moments else time.monotonic()

    def _given(self, data: bytes) -> None:
        self._asked += len(data)
        if self._kept is not None:
            self._kept += data

    # --- Asking ---

    def line(self, deadline: float) -> Heard:
        """The next line."""
        if not self._lines:
            end = self._line_end
            found = self._spawn.expect_exact([end, pexpect.EOF, pexpect.TIMEOUT], _left(deadline))
            heard = self._heard(found)
            if heard.why:
                return heard
            self._lines.append(heard.text.removesuffix(end))
            if end in (self._spawn.buffer or b""):  # all that came with it, at the cost of one
                lines = self._heard(self._spawn.expect_list([self._whole_lines]))
                self._lines.extend(lines.text.removesuffix(end).split(end))
        return Heard(self._next())

    def line_at_hand(self) -> bytes | None:
        """The next line, if it was taken from pexpect already; of a thousand, most were."""
        return self._next() if self._lines else None

    def _next(self) -> bytes:
        line = self._lines.popleft()
        self._given(line + self._line_end)
        return line

    def line_before(self, text: bytes, deadline: float) -> bytes | None:
        """The next line, which stays; None where this text comes first, or no line in time."""

        def is_decided() -> bool:
            rest = self.rest()
            return self._line_end in rest or rest.startswith(text) or bool(self._source.end)

        self._source.loop.wait(is_decided, deadline)
        line, end, _ = self.rest().partition(self._line_end)
        return line if end and not line.startswith(text) else None

    def rest(self) -> bytes:
        """What has come and was not asked for yet. It stays, to be asked for."""
        self._source.loop.serve()
        return self._taken + bytes(self._source.unread)

    def text(self, length: int, deadline: float) -> Heard:
        """The next `length` bytes, or a whole line where one ends before that."""
        end = re.escape(self._line_end)
        within = b"(?:(?!%s).)" % end
        return self._found(b"%s{%d}|%s*%s" % (within, length, within, end), deadline)

    def some(self, length: int, deadline: float) -> Heard:
        """The next bytes, as many as have come, `length` of them at the most."""
        return self._found(b".{1,%d}" % length, deadline)

    def _found(self, expression: bytes, deadline: float) -> Heard:
        """What has come, as far as it is what the expression asks for."""
        if self._lines:
            self._read_anew()
        pattern = re.compile(b"(?s)\\A(?:%s)" % expression)
        found = self._spawn.expect_list([pattern, pexpect.EOF, pexpect.TIMEOUT], _left(deadline))
        heard = self._heard(found)
        if not heard.why:
            self._given(heard.text)
        return heard

    def _heard(self, found: int) -> Heard:
        """What pexpect has found, from the beginning of what came on; or why it has not."""
        text, after = self._spawn.before or b"", self._spawn.after
        self.ended = found == _ENDED
        if self.ended:
            self._given(text)  # nothing can come behind it
        if found == _FOUND:
            assert isinstance(after, bytes)
            return Heard(text + after)
        return Heard(text, "nothing" if found == _LATE else self._source.end)


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
        """The program has opened its end. Close our copy of it, so that its end shows in ours."""
        os.close(self._other)


def open_terminal(size: tuple[int, int] | None = None) -> Terminal:
    """A new terminal; with `size` (columns, rows) a screen, set as terminals of people are."""
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
    """Give a terminal, by either end, another size; its programs get a signal."""
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def left_changed(terminal: Terminal) -> list[str]:
    """Which settings are not as they were before the program started, in words."""
    before, after = terminal.settings, termios.tcgetattr(terminal.fd)
    changed = [
        f"{name} is {'on' if after[place] & flag else 'off'}"
        for name, (place, flag) in _FLAGS.items()
        if (before[place] ^ after[place]) & flag
    ]
    return changed or (["its settings are changed"] if before != after else [])
