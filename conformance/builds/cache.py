"""The cache of builds: one folder for each set of inputs.

A folder is called `LABEL-FINGERPRINT`, and the log of its build is beside it. Each attempt fills a
new subfolder, and the file `.complete` names the attempt that succeeded. So the files of a killed
run, or of a compiler that still writes, are never taken for a build.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

TURN_SECONDS = 1.0
COMPLETE = ".complete"  # names the folder of the attempt that succeeded
HASH_DIGITS = 12
KEPT = 3  # older builds of a program, for a person who switches between branches
UNUSED_SECONDS = 30 * 86_400.0  # a build that was not used for so long is removed

_HOME = re.compile(rf"[a-z]+-.+-[0-9a-f]{{{HASH_DIGITS}}}")


class Held:
    """Keeps a build from being removed while this process, or one forked from it, plays it."""

    def __init__(self, home: Path) -> None:
        """Hold a folder of the cache, which must exist."""
        self._fd = os.open(home, os.O_RDONLY)
        with suppress(OSError):  # some file systems lock no folders: then nothing is held
            fcntl.flock(self._fd, fcntl.LOCK_SH)

    def __del__(self) -> None:
        os.close(self._fd)


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
        """The folder of the attempt that succeeded; None if none did."""
        try:
            name = (self.home / COMPLETE).read_text("utf-8")
        except (FileNotFoundError, UnicodeDecodeError):
            return None
        return self.home / name if name and (self.home / name).is_dir() else None

    def new(self) -> Path:
        """Make an empty folder for another attempt; removes those of earlier attempts."""
        shutil.rmtree(self.home, ignore_errors=True)
        self.home.mkdir(exist_ok=True)
        return Path(tempfile.mkdtemp(prefix="", dir=self.home))

    def complete(self, made: Path) -> None:
        """Note that an attempt succeeded."""
        (self.home / COMPLETE).write_text(made.name, "utf-8")

    def use(self, alone: bool = False) -> Held:
        """Note that it is used now, and remove the oldest other builds that nobody holds.

        `alone`: remove all others, because this build has overwritten their files.
        """
        os.utime(self.home)
        others = sorted(self._others(), key=_last_used, reverse=True)
        for home in others[0 if alone else KEPT :]:
            if alone or not _is_held(home):
                _remove(home)
        return Held(self.home)

    def _others(self) -> list[Path]:
        pattern = re.compile(rf"{re.escape(self.label)}-[0-9a-f]{{{HASH_DIGITS}}}")
        found = [path for path in self.builds.iterdir() if pattern.fullmatch(path.name)]
        return [path for path in found if path != self.home and path.is_dir()]

    @contextmanager
    def locked(self, say: Callable[[], None], ended: threading.Event) -> Iterator[None]:
        """Lock the builds of a program against other processes; a lock ends with its process.

        `say` is called once if another process has the lock. `ended` ends the wait: it raises
        InterruptedError.
        """
        self.builds.mkdir(parents=True, exist_ok=True)
        with open(self.builds / f"{self.label}.lock", "w") as lock:
            if not _is_taken(lock):
                say()
                while not _is_taken(lock):
                    if ended.wait(TURN_SECONDS):
                        raise InterruptedError(errno.EINTR, "interrupted")
            yield


def remove_unused(builds: Path) -> None:
    """Remove the builds that no run has used for UNUSED_SECONDS, also of removed programs."""
    for home in list(builds.iterdir()) if builds.is_dir() else ():
        if _HOME.fullmatch(home.name) and _is_unused(home):
            with open(builds / f"{home.name.rpartition('-')[0]}.lock", "w") as lock:
                if _is_taken(lock) and _is_unused(home) and not _is_held(home):
                    _remove(home)


def _is_unused(home: Path) -> bool:
    with suppress(FileNotFoundError):  # another run has removed it
        return home.is_dir() and home.stat().st_mtime < time.time() - UNUSED_SECONDS
    return False


def _remove(home: Path) -> None:
    shutil.rmtree(home, ignore_errors=True)
    _log(home).unlink(missing_ok=True)


def _log(home: Path) -> Path:
    return home.with_name(home.name + ".log")


def _is_held(home: Path) -> bool:
    fd = os.open(home, os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return isinstance(error, BlockingIOError)
    finally:
        os.close(fd)
    return False


def _last_used(home: Path) -> int:
    return home.stat().st_mtime_ns


def _is_taken(lock: TextIO) -> bool:
    """Try to take the lock; False if another process has it."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
