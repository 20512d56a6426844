"""What the command was started with: standard streams and signals, put in order before all else.

A stream may be closed, full, without a reader, or in an encoding that lacks our signs. What is
meant for standard output goes through `show`, so that an error of that stream is never taken for
one of a file; what is meant for standard error goes through `complain`, which is silent where
nobody can hear it.
"""

from __future__ import annotations

import codecs
import io
import os
import signal
import sys
from collections.abc import Callable
from typing import TextIO

from conformance.text import PLAIN
from conformance.text import plain_signs as plain

_STREAMS = {"stdin": "r", "stdout": "w", "stderr": "w"}


class Unshown(Exception):
    """Standard output does not take what is to be shown."""

    def __init__(self, error: Exception) -> None:
        super().__init__(getattr(error, "strerror", None) or str(error))
        # Whoever closed the other end of a pipe has seen enough, and needs no word about it.
        self.silent = isinstance(error, BrokenPipeError)


def prepare() -> None:
    """Make streams and signals what the rest of the program takes for granted."""
    _open_what_is_closed()
    codecs.register_error("plain", _plainly)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="plain")
    _restore_signals()


def _open_what_is_closed() -> None:
    """Else the next file that is opened would become standard input, output or error.

    For reading alone, so that writing to it fails as it does on a closed one.
    """
    for number, (name, mode) in enumerate(_STREAMS.items()):
        if getattr(sys, name) is None:
            try:
                os.fstat(number)
            except OSError:
                os.open(os.devnull, os.O_RDONLY)  # takes the lowest number that is free: this
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", closefd=False))


def _restore_signals() -> None:
    """A shell starts its background jobs with SIGINT ignored; others ignore or block more.

    Ctrl+C must end a run. The status of a child is lost while SIGCHLD is ignored.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signal.valid_signals())


def _plainly(error: UnicodeError) -> tuple[str | bytes, int]:
    """What an encoding lacks, in characters that every encoding has."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(PLAIN.get(char) or _escaped(char) for char in lacking), error.end


def _escaped(char: str) -> str:
    if "\udc80" <= char <= "\udcff":  # a byte of a file's name that is no text
        return f"\\x{ord(char) - 0xDC00:02x}"
    return char.encode("ascii", "backslashreplace").decode("ascii")


def is_plain(stream: TextIO) -> bool:
    """Whether the stream's encoding lacks some of our signs."""
    try:
        "".join(PLAIN).encode(stream.encoding or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return True
    return False


def show(text: str) -> None:
    """Print a text to standard output; raises Unshown."""
    _shown(lambda: print(plain(text) if is_plain(sys.stdout) else text))


def finish() -> None:
    """See that all is out that was shown; raises Unshown."""
    tell(sys.stderr, "")
    _shown(sys.stdout.flush)


def _shown(write: Callable[[], object]) -> None:
    try:
        write()
    except (OSError, ValueError) as error:  # ValueError: of a stream that Python has closed
        _give_up(sys.stdout)
        raise Unshown(error) from None


def complain(text: str) -> None:
    """Print a text to standard error, if anybody can hear it."""
    tell(sys.stderr, text + "\n")


def tell(stream: TextIO, text: str) -> None:
    """Write to a stream where nothing depends on it; one that fails is silent from then on."""
    try:
        stream.write(text)
        stream.flush()
    except (OSError, ValueError):
        _give_up(stream)


def _give_up(stream: TextIO) -> None:
    """Let what is left in its buffer go nowhere, so that Python does not fail over it at exit."""
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
    except (OSError, ValueError):  # a stream that is no file has nothing to lose
        return
