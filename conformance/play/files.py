"""The files that programs write into a case's own folder, and how far the steps have named them.

It knows neither the program that writes a file nor the step that asks.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from conformance.play.poll import READ_SIZE


@dataclass(slots=True)
class _Read:
    """How far one file was read. It stays open, so that no new file gets its inode number."""

    fd: int
    bytes: int = 0


@dataclass(slots=True)
class Files:
    """The files of one folder; a file that was renamed is found again by its inode number."""

    folder: Path
    _read: dict[tuple[int, int], _Read] = field(default_factory=dict)  # by device and inode

    def rest(self, name: str) -> bytes | None:
        """What no step has named yet, 64 KiB at the most; None where there is no such file."""
        read = self._open(name)
        if read is None:
            return None
        if os.fstat(read.fd).st_size < read.bytes:  # it was emptied, and written again
            read.bytes = 0
        return os.pread(read.fd, READ_SIZE, read.bytes)

    def take(self, name: str, count: int) -> None:
        """A step has named so many bytes."""
        if read := self._open(name):
            read.bytes += count

    def close(self) -> None:
        """Close all files."""
        for read in self._read.values():
            os.close(read.fd)
        self._read.clear()

    def _open(self, name: str) -> _Read | None:
        try:
            fd = os.open(self.folder / name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            return None
        status = os.fstat(fd)
        known = self._read.setdefault((status.st_dev, status.st_ino), _Read(fd))
        if known.fd != fd:
            os.close(fd)
        return known
