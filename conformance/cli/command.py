"""The command `conformance`: it parses its command line, runs a command, and explains errors."""

from __future__ import annotations

import errno
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence

from conformance.cli import streams
from conformance.cli.common import INTERRUPTED, MISTAKEN, Arguments
from conformance.cli.parser import EXEC, parser
from conformance.cli.streams import complain
from conformance.mistakes import Mistake


def main(words: Sequence[str] | None = None) -> int:
    """Run the command that `words` (default: those of sys.argv) name; return the exit status."""
    try:
        streams.prepare()
        try:
            return _run(words)
        finally:  # argparse ends the program by SystemExit
            streams.finish()
    except streams.Unshown as unshown:
        if not unshown.silent:
            complain(f"standard output cannot be written to: {unshown}")
        return MISTAKEN
    except KeyboardInterrupt:
        return INTERRUPTED


def _run(words: Sequence[str] | None) -> int:
    """Parse the command line and run the command; explain an error and return its exit status."""
    arguments = _parsed(sys.argv[1:] if words is None else words)
    command: Callable[[Arguments], int] = arguments.command
    try:
        _check_working_directory()
        return command(arguments)
    except Mistake as mistake:
        complain("\n".join(mistake.problems))
    except streams.Unshown:
        raise
    except OSError as error:
        complain(_trouble(error))
    except Exception as error:
        complain(_fault(error))
    return MISTAKEN


def _parsed(words: Sequence[str]) -> Arguments:
    """The parsed command line; the words after `--` are options for the program of `exec`."""
    own, dashes, options = list(words), "--", []
    if own[:1] == [EXEC] and dashes in own:
        place = own.index(dashes)
        own, options = own[:place], own[place + 1 :]
    whole = parser()
    if "_ARGCOMPLETE" in os.environ:  # a shell asks for completions
        from conformance.cli import completion

        completion.offer(whole)
    arguments = whole.parse_args(own)
    arguments.options = options
    return arguments


def _check_working_directory() -> None:
    try:
        os.getcwd()
    except FileNotFoundError:
        raise Mistake(["the current folder no longer exists: cd to another one"]) from None


def _trouble(error: OSError) -> str:
    """Describe an error of the operating system that the code at its origin did not explain."""
    reason = error.strerror or type(error).__name__
    if error.filename is not None:
        return f"{os.fsdecode(error.filename)}: {reason}"
    scarce = error.errno in (errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.ENOMEM)
    return f"this machine: {reason}" + ("; fewer cases at a time (-j) may help" if scarce else "")


def _fault(error: Exception) -> str:
    """Describe an error of the harness in one line; write its stack trace into a file."""
    words = (traceback.format_exception_only(error)[-1].strip().splitlines() or [""])[0]
    try:
        number, path = tempfile.mkstemp(prefix="conformance-", suffix=".txt")
        with os.fdopen(number, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write("".join(traceback.format_exception(error)))
        where = f"its stack trace is in {path}"
    except OSError as problem:
        where = f"its stack trace could not be written: {problem.strerror}"
    return f"conformance: a fault of the harness, please report it: {words}; {where}"
