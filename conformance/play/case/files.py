"""The files that programs write into the folder of a case, and how far steps have read them.

This module knows neither the program that writes a file nor the step that reads it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from conformance.play.case.poll import READ_SIZE


@dataclass(slots=True)
class _Read:
    """One file, and how far it was read. It stays open, so that no new file gets its inode."""

    fd: int
    bytes: int = 0


@dataclass(slots=True)
class Files:
    """The files of one folder. A renamed file is recognized by its inode number."""

    folder: Path
    _read: dict[tuple[int, int], _Read] = field(default_factory=dict)  # by device and inode

    def rest(self, name: str) -> bytes | None:
        """The bytes that no step has read yet, at most 64 KiB; None if there is no such file."""
        read = self._open(name)
        if read is None:
            return None
        if os.fstat(read.fd).st_size < read.bytes:  # it was truncated, and written again
            read.bytes = 0
        return os.pread(read.fd, READ_SIZE, read.bytes)

    def take(self, name: str, count: int) -> None:
        """Count these bytes as read by a step."""
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
