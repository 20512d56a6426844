"""What comes from several places at a time, and waiting for it."""

from __future__ import annotations

import os
import selectors
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise

PATIENT = 60.0  # seconds for what must come: a check of a password, on a busy machine
READ_SIZE = 1 << 16

Wait = Callable[[], object]  # whether what is waited for has come


class Stuck(Exception):
    """What must come has not come."""


@dataclass
class Stream:
    """What comes from one place: standard output, a log, or a connection."""

    who: str
    descriptor: int
    text: bytes = b""  # all that has come
    told: int = 0  # bytes of it that belong to the steps before
    ended: str = ""  # how, where it has

    def news(self) -> bytes:
        return self.text[self.told :]

    def read(self) -> None:
        try:
            data = os.read(self.descriptor, READ_SIZE)
        except OSError as error:
            self.ended = error.strerror or "an error"
            return
        self.text += data
        self.ended = "" if data else "end of file"


class Ears:
    """Hears all streams at the same time."""

    def __init__(self) -> None:
        self.selector = selectors.DefaultSelector()

    def hear(self, stream: Stream) -> None:
        self.selector.register(stream.descriptor, selectors.EVENT_READ, stream)

    def forget(self, stream: Stream) -> None:
        with suppress(KeyError, ValueError):
            self.selector.unregister(stream.descriptor)

    def wait(self, done: Wait) -> None:
        """Take what comes until that is so; raises Stuck where it is not to be."""
        end = time.monotonic() + PATIENT
        while not done():
            if not (ready := self.selector.select(max(0, end - time.monotonic()))):
                raise Stuck("what must come has not come")
            for key, _ in ready:
                key.data.read()
                if key.data.ended:
                    self.selector.unregister(key.fd)


def pieces(data: bytes, cuts: tuple[int, ...]) -> list[bytes]:
    """The data, each piece for a packet of its own."""
    places = [0, *sorted({cut for cut in cuts if 0 < cut < len(data)}), len(data)]
    return [data[start:end] for start, end in pairwise(places)]
