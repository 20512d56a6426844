"""Connections that never join: silent, with half a name, or with an endless line."""

from __future__ import annotations

import select
import time
from enum import Enum

from bench.crowds.room import PROMPT, Loop, connect, received

TOO_LONG = b"! line too long (limit 1024 bytes)\n"
TIMED_OUT = b"\n! timed out\n"
PIECE = b"x" * 65536


class Kind(Enum):
    """What a connection sends."""

    SILENT = "say nothing"
    HALF = "say half a name"
    ENDLESS = "send a line without end"


class Guest:
    """A connection that never joins; `got` is all that the server sent to it."""

    def __init__(self, kind: Kind, port: int, loop: Loop, endless: int) -> None:
        self.kind = kind
        self.began = time.monotonic()
        self.seconds = 0.0  # until the server ended the connection
        self.line_seconds = 0.0  # until the end of the endless line was sent, if at all
        self.got = b""
        self._left = endless if kind is Kind.ENDLESS else 0  # bytes to send
        self._loop = loop
        self._socket = connect(port)
        if kind is Kind.HALF:
            self._socket.sendall(b"half-a-na")
        writes = select.EPOLLOUT if self._left else 0
        loop.watch(self._socket, self._move, select.EPOLLIN | writes)

    def _move(self) -> None:
        """Read what is there, and send more of the endless line, which ends once."""
        data = received(self._socket)
        if data == b"":
            self.seconds = time.monotonic() - self.began
            self._loop.close(self._socket)
            return
        self.got += data or b""
        if self._left:
            self._send()

    def _send(self) -> None:
        try:
            self._left -= self._socket.send(PIECE[: self._left])
            if self._left == 0:
                self._socket.send(b"\n" + PIECE[:512])
                self.line_seconds = time.monotonic() - self.began
        except BlockingIOError:
            return
        except OSError:
            self._left = 0  # the server has ended the connection; the next read shows it
        if self._left == 0:
            self._loop.change(self._socket, select.EPOLLIN)

    def is_right(self, timeout: float, late: float, must: float) -> bool:
        """Whether it received the prescribed lines in time, and not too early.

        If the line's end was sent before `must` seconds had passed, there must be a reply to it.
        """
        silent, told = PROMPT + TIMED_OUT, PROMPT + TOO_LONG + PROMPT + TIMED_OUT
        must_tell = 0 < self.line_seconds < must
        may_tell = self.line_seconds > 0
        good = (may_tell and self.got == told) or (not must_tell and self.got == silent)
        return good and timeout <= self.seconds < late
