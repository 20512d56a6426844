"""The accounts file, and the threads that check passwords while the loop continues."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import queue
import re
import stat
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import cache

COST = 10  # of new hashes
HASH = re.compile(rb"\$2[aby]\$(0[4-9]|1[0-7])\$[./A-Za-z0-9]{53}")
NAME = re.compile(rb"[A-Za-z0-9_-]{1,32}")


class Bad(Exception):
    """The file is malformed; the text is the rest of the error message, after the file's name."""


class InUse(Exception):
    """Another server has the file."""


class Accounts:
    """One htpasswd file at `path`; `hashes` has the hash of each lower-cased name."""

    MODE = 0o600

    def __init__(self, path: str) -> None:
        self.path = path
        self.hashes: dict[bytes, bytes] = {}
        self.lock = threading.Lock()  # one change at a time

    def load(self) -> None:
        """Read the file again; raises OSError or Bad, and then changes nothing."""
        self.hashes = self.parse(self.read())

    def hold(self) -> None:
        """Lock the file until this process ends; raises InUse."""
        path = os.path.realpath(self.path) + ".lock"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, self.MODE)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InUse from None

    def read(self) -> bytes:
        """Raises OSError if it is not a regular file, and does not block on a pipe."""
        with os.fdopen(os.open(self.path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise OSError(errno.EINVAL, "not a regular file")
            return file.read()

    def parse(self, data: bytes) -> dict[bytes, bytes]:
        hashes: dict[bytes, bytes] = {}
        for number, line in enumerate(data.split(b"\n"), 1):
            if line and not line.startswith(b"#"):
                name, colon, hashed = line.partition(b":")
                if why := self.fault(name, colon, hashed, hashes):
                    raise Bad(f"line {number}: {why}")
                hashes[name.lower()] = hashed
        return hashes

    def fault(self, name: bytes, colon: bytes, hashed: bytes, others: dict[bytes, bytes]) -> str:
        if not colon:
            return "not NAME:HASH"
        if not NAME.fullmatch(name):
            return "invalid name"
        if not HASH.fullmatch(hashed):
            return "not a bcrypt hash"
        return "name given twice" if name.lower() in others else ""

    # Changes, called in a thread

    def add(self, name: bytes, password: bytes) -> bytes | None:
        """Returns the hash, or None if the name has an account already."""
        hashed = hash_of(password)
        return hashed if self.change(name, hashed, None) else None

    def set(self, name: bytes, password: bytes, before: bytes) -> bytes | None:
        """Returns the new hash, or None if the account no longer has the hash `before`."""
        hashed = hash_of(password)
        return hashed if self.change(name, hashed, before) else None

    def remove(self, name: bytes, before: bytes) -> bytes | None:
        return b"" if self.change(name, b"", before) else None

    def change(self, name: bytes, hashed: bytes, before: bytes | None) -> bool:
        """Read the file again, then replace or remove a line; False if its hash is not `before`."""
        with self.lock:
            data = self.read()
            if self.parse(data).get(name.lower()) != before:
                return False
            lines = [line for line in self.lines(data) if not self.is_of(line, name)]
            if hashed:
                lines.append(b"%s:%s" % (name, hashed))
            self.replace(b"".join(line + b"\n" for line in lines))
            return True

    def lines(self, data: bytes) -> list[bytes]:
        return data.removesuffix(b"\n").split(b"\n") if data else []

    def is_of(self, line: bytes, name: bytes) -> bool:
        return line.partition(b":")[0].lower() == name.lower()

    def replace(self, data: bytes) -> None:
        """Replace the file atomically: a crash leaves the old file or the new one."""
        path = os.path.realpath(self.path)
        aside = f"{path}.{os.getpid()}"
        try:
            self.write(aside, data)
            os.rename(aside, path)
        except OSError:
            with suppress(OSError):
                os.unlink(aside)
            raise
        folder = os.open(os.path.dirname(path), os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)

    def write(self, path: str, data: bytes) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        with os.fdopen(os.open(path, flags, self.MODE), "wb") as file:
            os.fchmod(file.fileno(), self.MODE)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())


class Pool:
    """At most one thread for each processor. After each job, `wake` is called."""

    SIZE = len(os.sched_getaffinity(0))

    def __init__(self, wake: Callable[[], None]) -> None:
        self.wake = wake
        self.jobs: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self.threads = 0

    def run(self, job: Callable[[], None]) -> None:
        """Run a job when a thread is free. The threads do not keep the process alive."""
        self.jobs.put(job)
        if self.threads < self.SIZE:
            self.threads += 1
            threading.Thread(target=self.work, daemon=True).start()

    def work(self) -> None:
        while True:
            self.jobs.get()()
            self.wake()


# bcrypt, from the system's libcrypt: ctypes releases Python's lock during a call


class _Data(ctypes.Structure):
    _fields_ = (("opaque", ctypes.c_char * 32768),)


@cache
def _library() -> ctypes.CDLL:
    library = ctypes.CDLL("libcrypt.so.1")
    library.crypt_r.restype = ctypes.c_char_p
    library.crypt_gensalt_rn.restype = ctypes.c_char_p
    return library


def is_right(password: bytes, hashed: bytes) -> bool:
    found: bytes | None = _library().crypt_r(password, hashed, ctypes.byref(_Data()))
    return found == hashed


def hash_of(password: bytes) -> bytes:
    salt = ctypes.create_string_buffer(192)
    _library().crypt_gensalt_rn(b"$2y$", ctypes.c_ulong(COST), None, 0, salt, len(salt))
    hashed: bytes | None = _library().crypt_r(password, salt, ctypes.byref(_Data()))
    assert hashed
    return hashed
