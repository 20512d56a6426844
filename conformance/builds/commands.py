"""Runs commands to their end, for builds and versions. It knows no implementation."""

from __future__ import annotations

import errno
import os
import pwd
import signal
import subprocess
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from conformance.text import signal_name

# A Go command must not download another toolchain, and must not send telemetry. Python must not
# write files beside the sources.
ENVIRONMENT = {"GOTOOLCHAIN": "local", "GOTELEMETRY": "off", "PYTHONDONTWRITEBYTECODE": "1"}


@dataclass(frozen=True, slots=True)
class Answer:
    """How a command ended, and what it printed."""

    status: int | None  # None: it could not be started, or did not end
    ending: str
    output: str


class Commands:
    """The running commands, each with its children in a process group of its own."""

    def __init__(self) -> None:
        self.ended = threading.Event()
        self._running: set[int] = set()
        self._lock = threading.Lock()

    def run(
        self, argv: Sequence[str], folder: Path, seconds: float, environment: Mapping[str, str]
    ) -> Answer:
        """Run a command to its end; no input; standard output and standard error together.

        The output goes to a file: a process that the command leaves behind could keep a pipe open.
        Raises InterruptedError after `end`.
        """
        with tempfile.TemporaryFile() as output:
            try:
                process = self._start(argv, folder, environment, output)
            except OSError as error:
                return Answer(None, f"could not be started: {error.strerror}", "")
            status: int | None = None
            try:
                status = process.wait(seconds)
                ending = _ending(status)
            except subprocess.TimeoutExpired:
                ending = f"did not end within {seconds:g} seconds"
            self._end(process)
            output.seek(0)
            return Answer(status, ending, output.read().decode(errors="replace"))

    def end(self) -> None:
        """Kill all running commands, and start no others."""
        with self._lock:
            self.ended.set()
            for group in self._running:
                _kill(group)

    def _start(
        self, argv: Sequence[str], folder: Path, environment: Mapping[str, str], output: IO[bytes]
    ) -> subprocess.Popen[bytes]:
        with self._lock:
            if self.ended.is_set():
                raise InterruptedError(errno.EINTR, "interrupted")
            process = subprocess.Popen(
                argv,
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                process_group=0,
            )
            self._running.add(process.pid)
            return process

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        with self._lock:
            self._running.discard(process.pid)
            if process.poll() is None:
                _kill(process.pid)
        process.wait()


def _kill(group: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


def _ending(status: int) -> str:
    if status >= 0:
        return f"ended with status {status}"
    return f"was killed by {signal_name(-status)}"


def environment_of_a_build(spare: Path, path: str) -> dict[str, str]:
    """Our environment, with a home and a folder for temporary files, which compilers need.

    `spare` becomes the home if the user has none. `path` is PATH.
    """
    own = os.environ | ENVIRONMENT | {"PATH": path}
    if not Path(own.get("TMPDIR") or "/").is_dir():
        own["TMPDIR"] = tempfile.gettempdir()
    if not Path(own.get("HOME") or "?").is_dir():
        own["HOME"] = str(_home_of_the_user() or spare)
    if not os.access(own["HOME"], os.W_OK):
        own.setdefault("XDG_CACHE_HOME", str(spare / ".cache"))
    spare.mkdir(parents=True, exist_ok=True)
    return own


def _home_of_the_user() -> Path | None:
    try:
        home = Path(pwd.getpwuid(os.getuid()).pw_dir)
    except KeyError:  # the user has no entry, as in some containers
        return None
    return home if home.is_dir() and os.access(home, os.W_OK) else None
