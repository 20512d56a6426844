"""The files that programs write into the folder of a case, and how far steps have read them.

This module knows neither the program that writes a file nor the step that reads it.
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from conformance.play.actors.missed import Missed
from conformance.play.case.poll import READ_SIZE

LINE_SIZE = 16 << 20  # bytes of the longest line that a step can read

_ODD = (errno.ELOOP, errno.ENXIO, errno.EACCES)  # why what a program made cannot be opened


@dataclass(slots=True)
class _Read:
    """One file, and how far it was read. It stays open, so that no new file gets its inode."""

    fd: int
    bytes: int = 0


@dataclass(slots=True)
class Files:
    """The files of one folder. A renamed file is recognized by its inode number.

    The methods raise Missed if what has the name is no file, such as a folder or a pipe.
    """

    folder: Path
    _read: dict[tuple[int, int], _Read] = field(default_factory=dict)  # by device and inode

    def whole(self, name: str) -> bytes | None:
        """All bytes of a file; None if there is no such file."""
        fd = self._fd(name)
        if fd is None:
            return None
        with os.fdopen(fd, "rb") as file:
            return file.read()

    def rest(self, name: str) -> bytes | None:
        """The bytes that no step has read yet, at most 64 KiB; None if there is no such file.

        If the next line is longer than that, they are more, at most `LINE_SIZE`.
        """
        read = self._open(name)
        if read is None:
            return None
        if os.fstat(read.fd).st_size < read.bytes:  # it was truncated, and written again
            read.bytes = 0
        data = os.pread(read.fd, READ_SIZE, read.bytes)
        is_long = len(data) == READ_SIZE and b"\n" not in data
        return os.pread(read.fd, LINE_SIZE, read.bytes) if is_long else data

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
        fd = self._fd(name)
        if fd is None:
            return None
        status = os.fstat(fd)
        known = self._read.setdefault((status.st_dev, status.st_ino), _Read(fd))
        if known.fd != fd:
            os.close(fd)
        return known

    def _fd(self, name: str) -> int | None:
        """A new descriptor for the file; opening a pipe does not wait for a writer."""
        try:
            fd = os.open(self.folder / name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            if error.errno not in _ODD:
                raise
            raise Missed(
                f"the file {name}", os.strerror(error.errno), "it cannot be opened"
            ) from None
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise Missed(f"the file {name}", "a folder, or something else that is no file")
        return fd
