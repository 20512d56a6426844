"""The output of a program, a connection or strace so far, and functions that wait for more."""

from __future__ import annotations

import threading
from collections.abc import Callable

PATIENT = 20.0  # to wait for what must come


class Heard:
    """All output that came. A thread reads it, so that a full pipe never blocks the writer."""

    def __init__(self, receive: Callable[[int], bytes]) -> None:
        self.text = ""
        self.ended = False
        self.changed = threading.Condition()
        self.receive = receive
        self.thread = threading.Thread(target=self.listen, daemon=True)
        self.thread.start()

    def listen(self) -> None:
        """Read to the end; a reset is an end, too."""
        data = b"-"
        while data:
            try:
                data = self.receive(65536)
            except OSError:
                data = b""
            with self.changed:
                self.text += data.decode(errors="replace")
                self.ended = not data
                self.changed.notify_all()

    def waits(self, is_so: Callable[[], bool], seconds: float = PATIENT) -> bool:
        """Wait until the condition is true or the end has come; returns whether it is true."""
        with self.changed:
            self.changed.wait_for(lambda: is_so() or self.ended, seconds)
            return is_so()

    def until(self, text: str, seconds: float = PATIENT) -> bool:
        """Wait until the output contains a text; returns whether it does."""
        return self.waits(lambda: text in self.text, seconds)

    def all(self) -> str:
        """Wait for the end; returns all output."""
        with self.changed:
            assert self.changed.wait_for(lambda: self.ended, PATIENT), f"no end after {self.text!r}"
        return self.text
