"""An output that nobody reads: at most 1 MiB of lines wait for it (LOG-5)."""

from __future__ import annotations

import fcntl
import os
import select
from pathlib import Path

import pytest
from live import LANGUAGES, PATIENT, User, serving

MOST = 1024 * 1024  # bytes of lines that may wait
PIPE = 64 * 1024  # bytes that the pipe holds itself
SLACK = 16 * 1024  # for the lines of the test's own
LINE = "x" * 1000
MANY = 1500  # lines, more than may wait


class Pipe:
    """A log that is a pipe, of which the test reads as much as it likes."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        fcntl.fcntl(self.descriptor, fcntl.F_SETPIPE_SZ, PIPE)

    def read(self) -> bytes:
        """What comes next; waits for it."""
        assert select.select([self.descriptor], [], [], PATIENT)[0]
        return os.read(self.descriptor, PIPE)


def has_logged(user: User, *lines: str) -> None:
    """Send lines, and wait until the server has handled them."""
    user.types(*lines, "/who")
    user.sees("Online (1): alice\n")


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_mebibyte_waits_also_after_a_part_was_read(language: str, tmp_path: Path) -> None:
    pipe = Pipe(tmp_path / "log")
    with serving(language, "--log", str(tmp_path / "log")) as server:
        alice = server.join("alice")
        has_logged(alice, *[LINE] * MANY)
        read = 0
        while read < MOST // 2:
            read += len(pipe.read())
        has_logged(alice, *[LINE] * MANY)
        waited = pipe.read()
        while b"the end" not in waited:
            has_logged(alice, "the end")  # it is lost while there is no room
            waited += pipe.read()
        assert len(waited) <= MOST + PIPE + SLACK
    os.close(pipe.descriptor)
