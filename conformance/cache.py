"""The folders of builds, one for each set of inputs: locked, filled, found again, and removed.

A folder is called `LABEL-FINGERPRINT`; beside it stands the log of its build. Each attempt fills a
new folder inside it, and only an attempt that succeeded is noted: what a killed run left there, or
what its compiler still writes there, is never taken for a build.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

TURN_SECONDS = 1.0
COMPLETE = ".complete"  # names the folder of the attempt that succeeded
HASH_DIGITS = 12
KEPT = 3  # other builds of a program, for a person who goes back and forth between branches


@dataclass(frozen=True, slots=True)
class Cached:
    """The folder for the builds of one implementation from the same inputs."""

    builds: Path
    label: str
    fingerprint: str

    @property
    def home(self) -> Path:
        """The folder."""
        return self.builds / f"{self.label}-{self.fingerprint}"

    @property
    def log(self) -> Path:
        """What the build command printed."""
        return _log(self.home)

    def made(self) -> Path | None:
        """The folder of the attempt that succeeded, if one did."""
        try:
            name = (self.home / COMPLETE).read_text("utf-8")
        except (FileNotFoundError, UnicodeDecodeError):
            return None
        return self.home / name if name and (self.home / name).is_dir() else None

    def new(self) -> Path:
        """An empty folder for another attempt, in place of what earlier ones left."""
        shutil.rmtree(self.home, ignore_errors=True)
        self.home.mkdir(exist_ok=True)
        return Path(tempfile.mkdtemp(prefix="", dir=self.home))

    def complete(self, made: Path) -> None:
        """Note that an attempt succeeded."""
        (self.home / COMPLETE).write_text(made.name, "utf-8")

    def use(self) -> None:
        """Note that it is used now, and remove all but the last few other builds of the program."""
        os.utime(self.home)
        others = sorted(self._others(), key=_last_used, reverse=True)
        for home in others[KEPT:]:
            shutil.rmtree(home, ignore_errors=True)
            _log(home).unlink(missing_ok=True)

    def _others(self) -> list[Path]:
        pattern = re.compile(rf"{re.escape(self.label)}-[0-9a-f]{{{HASH_DIGITS}}}")
        found = [path for path in self.builds.iterdir() if pattern.fullmatch(path.name)]
        return [path for path in found if path != self.home and path.is_dir()]

    @contextmanager
    def locked(self, say: Callable[[], None], ended: threading.Event) -> Iterator[None]:
        """Let one process at a time touch the builds of a program; the lock ends with its process.

        `say` is called once if another process has the lock; `ended` stops the waiting.
        """
        self.builds.mkdir(parents=True, exist_ok=True)
        with open(self.builds / f"{self.label}.lock", "w") as lock:
            if not _is_taken(lock):
                say()
                while not _is_taken(lock):
                    if ended.wait(TURN_SECONDS):
                        raise InterruptedError(errno.EINTR, "interrupted")
            yield


def _log(home: Path) -> Path:
    return home.with_name(home.name + ".log")


def _last_used(home: Path) -> int:
    return home.stat().st_mtime_ns


def _is_taken(lock: TextIO) -> bool:
    """Take the lock, if no other process has it."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
