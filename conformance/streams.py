"""Standard streams and signals, as the command found them at its start. It knows no case.

A stream may be closed, full, without a reader, or in an encoding that lacks our signs. All standard
output goes through `show`, so that an error of that stream is never taken for an error of a file.
Messages on standard error go through `complain`, which ignores errors of that stream.
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
        # A reader that closed its end of a pipe has seen enough, and needs no message.
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
    """Otherwise the next file that is opened would become standard input, output or error.

    They are opened only for reading, so that writing fails as it does on a closed stream.
    """
    for number, (name, mode) in enumerate(_STREAMS.items()):
        if getattr(sys, name) is None:
            try:
                os.fstat(number)
            except OSError:
                os.open(os.devnull, os.O_RDONLY)  # the lowest free number, which is this one
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", closefd=False))


def _restore_signals() -> None:
    """Undo what the parent ignored or blocked; a shell's background jobs ignore SIGINT.

    Ctrl+C must end a run, and the status of a child is lost while SIGCHLD is ignored.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signal.valid_signals())


def _plainly(error: UnicodeError) -> tuple[str | bytes, int]:
    """Replace what an encoding lacks by characters that every encoding has."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(PLAIN.get(char) or _escaped(char) for char in lacking), error.end


def _escaped(char: str) -> str:
    if "\udc80" <= char <= "\udcff":  # a byte of a file's name that is not UTF-8
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
    """Flush both outputs; raises Unshown."""
    tell(sys.stderr, "")
    _shown(sys.stdout.flush)


def _shown(write: Callable[[], object]) -> None:
    try:
        write()
    except (OSError, ValueError) as error:  # ValueError: of a stream that Python has closed
        _give_up(sys.stdout)
        raise Unshown(error) from None


def complain(text: str) -> None:
    """Print a text to standard error, if that can be written to."""
    tell(sys.stderr, text + "\n")


def tell(stream: TextIO, text: str) -> None:
    """Write to a stream whose errors do not matter; one that fails is not used again."""
    try:
        stream.write(text)
        stream.flush()
    except (OSError, ValueError):
        _give_up(stream)


def _give_up(stream: TextIO) -> None:
    """Discard what is left in its buffer, so that Python does not fail to write it at exit."""
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
    except (OSError, ValueError):  # a stream that is no file has nothing to lose
        return
