"""Standard streams and signals, whatever state the parent process left them in.

A stream may be closed, full, a broken pipe, or in an encoding that lacks our signs. All standard
output goes through `show`, so that its errors are told apart from errors of files. Messages on
standard error go through `complain`, which ignores errors of that stream.
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
    """Standard output cannot be written to."""

    def __init__(self, error: Exception) -> None:
        super().__init__(getattr(error, "strerror", None) or str(error))
        # A closed pipe means that the reader (such as `head`) has finished, which is no error.
        self.silent = isinstance(error, BrokenPipeError)


def prepare() -> None:
    """Bring streams and signals into the state that the rest of the program relies on."""
    _open_what_is_closed()
    codecs.register_error("plain", _plainly)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="plain")
    _restore_signals()


def _open_what_is_closed() -> None:
    """Open /dev/null for closed streams, so that no file gets the descriptors 0, 1 or 2.

    It is opened only for reading: writing still fails, as it does on a closed stream.
    """
    for number, (name, mode) in enumerate(_STREAMS.items()):
        if getattr(sys, name) is None:
            try:
                os.fstat(number)
            except OSError:
                os.open(os.devnull, os.O_RDONLY)  # takes the lowest free descriptor: this one
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", closefd=False))


def _restore_signals() -> None:
    """Handle signals that the parent process ignored or blocked.

    A shell starts background jobs with SIGINT ignored, but Ctrl+C must end a run. While SIGCHLD is
    ignored, the exit status of a child is lost.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signal.valid_signals())


def _plainly(error: UnicodeError) -> tuple[str | bytes, int]:
    """The error handler `plain`: replace characters that the encoding lacks by ASCII ones."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(PLAIN.get(char) or _escaped(char) for char in lacking), error.end


def _escaped(char: str) -> str:
    if "\udc80" <= char <= "\udcff":  # a byte of a file name that is not UTF-8
        return f"\\x{ord(char) - 0xDC00:02x}"
    return char.encode("ascii", "backslashreplace").decode("ascii")


def is_plain(stream: TextIO) -> bool:
    """Whether the encoding of the stream lacks some of our signs."""
    try:
        "".join(PLAIN).encode(stream.encoding or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return True
    return False


def show(text: str) -> None:
    """Print a text to standard output. Raises Unshown."""
    _shown(lambda: print(plain(text) if is_plain(sys.stdout) else text))


def finish() -> None:
    """Flush standard error and standard output. Raises Unshown."""
    tell(sys.stderr, "")
    _shown(sys.stdout.flush)


def _shown(write: Callable[[], object]) -> None:
    try:
        write()
    except (OSError, ValueError) as error:  # ValueError: Python has closed the stream
        _give_up(sys.stdout)
        raise Unshown(error) from None


def complain(text: str) -> None:
    """Print a text to standard error; ignore errors."""
    tell(sys.stderr, text + "\n")


def tell(stream: TextIO, text: str) -> None:
    """Write to a stream and ignore errors; later output to a stream that failed is discarded."""
    try:
        stream.write(text)
        stream.flush()
    except (OSError, ValueError):
        _give_up(stream)


def _give_up(stream: TextIO) -> None:
    """Redirect the stream to /dev/null, so that flushing its buffer at exit does not fail."""
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
    except (OSError, ValueError):  # a stream without a descriptor
        return
