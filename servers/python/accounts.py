"""Accounts: the file, the passwords, and the worker threads that do the slow work.

As many workers as there are processors check passwords. They have a low priority, and hold the
interpreter's lock, for which the loop may wait, only for moments. One more worker, the file worker,
is the only one that accesses the file after the start, so checks and changes do not wait for each
other (ACCT-13). A worker knows only its job, and stores the result in it.

Exports: Accounts (hash_of, ask, finished, forget), open_accounts, Job, Task.
"""

from __future__ import annotations

import os
import signal
import stat
import sys
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from enum import StrEnum, auto

HASH = rb"\$2[aby]\$(0[4-9]|1[0-7])\$[./A-Za-z0-9]{53}"
HASH_COST = 10  # of new hashes: each increment doubles the time of a check
MAX_CHANGES = 100  # changes that wait for the file worker
NICENESS = 15  # of the workers that check passwords: all other threads go first
SWITCH_SECONDS = 0.0005  # a worker may run Python this long while the loop waits to run


class Task(StrEnum):
    """What a job does. The log shows these names."""

    CHECK = auto()  # check a password
    REGISTER = auto()  # make an account
    PASSWD = auto()  # change its password
    UNREGISTER = auto()  # remove it
    RELOAD = auto()  # read the file again


class Job:
    """The input of a worker, and its result."""

    def __init__(
        self, task: Task, owner: object, name: bytes, password: bytes, hash: bytes | None
    ) -> None:
        self.task = task
        self.owner = owner  # the user that waits for it; None for RELOAD
        self.name = name
        self.password = password
        self.hash = hash  # of the account when the job was made; None where it did not exist
        self.new_hash: bytes | None = None  # of the account after a change; None after UNREGISTER
        self.done = False  # the password is right, or the account was changed
        self.hashes: dict[bytes, bytes] | None = None  # all accounts after the job
        self.error = ""  # for the log


# ---------------------------------------------------------------------------------------------
# The file


class BadAccounts(OSError):
    """The file cannot be used. The reason is in `strerror`, as in an error of the system."""

    def __init__(self, reason: str) -> None:
        super().__init__(0, reason)


class AccountsFile:
    """The file, and its contents when it was last read or written. Only the file worker uses it."""

    def __init__(self, path: str, name_is_valid: Callable[[bytes], bool]) -> None:
        self.path = path
        self.name_is_valid = name_is_valid
        self.stamp: tuple[int, ...] = ()
        self.data = b""
        self.hashes: dict[bytes, bytes] = {}  # by lower-cased name; replaced, never modified

    def lock(self) -> None:
        """Lock the file for the lifetime of this process (FILE-8)."""
        import fcntl  # here, so that a server without accounts starts faster

        flags = os.O_RDWR | os.O_CREAT | os.O_NOCTTY | os.O_CLOEXEC
        descriptor = os.open(os.path.realpath(self.path) + ".lock", flags, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BadAccounts("in use by another server") from None

    def read(self) -> None:
        """Read the file. On an error, nothing changes."""
        with open(self.path, "rb", opener=open_at_once) as file:
            state = os.fstat(file.fileno())
            if not stat.S_ISREG(state.st_mode):
                raise BadAccounts("not a regular file")
            data = file.read()
        self.hashes = self.parse(data)
        self.stamp, self.data = stamp_of(state), data

    def parse(self, data: bytes) -> dict[bytes, bytes]:
        """Return the hashes by lower-cased name, or raise the reason (FILE-1, FILE-2)."""
        import re

        hashes: dict[bytes, bytes] = {}
        for number, line in enumerate(data.split(b"\n"), 1):
            name, _, hash = line.partition(b":")
            if not line or line.startswith(b"#"):
                continue
            if not self.name_is_valid(name):
                raise BadAccounts(f"line {number}: invalid name")
            if not re.fullmatch(HASH, hash):
                raise BadAccounts(f"line {number}: not a bcrypt hash")
            if name.lower() in hashes:
                raise BadAccounts(f"line {number}: name given twice")
            hashes[name.lower()] = hash
        return hashes

    def change(self, name: bytes, hash: bytes | None) -> None:
        """Change, add or (for None) remove the hash of a name; keep all other lines (FILE-7)."""
        lines = self.data.removesuffix(b"\n").split(b"\n") if self.data else []
        for at, line in enumerate(lines):
            owner, _, _ = line.partition(b":")
            if owner.lower() == name.lower():
                lines[at : at + 1] = [owner + b":" + hash] if hash else []
                break
        else:
            lines.append(name + b":" + (hash or b""))
        data = b"".join(line + b"\n" for line in lines)
        stamp = replace_file(os.path.realpath(self.path), self.stamp, data)
        self.hashes = self.parse(data)
        self.stamp, self.data = stamp, data


def open_at_once(path: str, flags: int) -> int:
    """Open a file. For a FIFO, this does not wait until another program opens it too."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY)


def stamp_of(file: os.stat_result) -> tuple[int, ...]:
    """Return a value that differs after each change of a file (FILE-5)."""
    return file.st_dev, file.st_ino, file.st_size, file.st_mtime_ns, file.st_ctime_ns


def replace_file(path: str, old: tuple[int, ...], data: bytes) -> tuple[int, ...]:
    """Write a new file beside the old one, flush it to disk, and rename it (FILE-7)."""
    new = path + ".new"
    with suppress(FileNotFoundError):  # it may be left from a crash
        os.unlink(new)
    try:
        with opened(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW) as descriptor:
            with os.fdopen(descriptor, "wb", closefd=False) as file:
                file.write(data)
            os.fsync(descriptor)
            if stamp_of(os.stat(path)) != old:
                raise BadAccounts("another program has changed it")
            os.rename(new, path)
            return settle(path, descriptor)
    except OSError:
        with suppress(OSError):
            os.unlink(new)
        raise


def settle(path: str, descriptor: int) -> tuple[int, ...]:
    """Flush a file's new name to disk, and return its stamp. Errors here do not undo the change.

    Without a stamp, the file is read again before the next change.
    """
    stamp: tuple[int, ...] = ()
    with suppress(OSError):
        stamp = stamp_of(os.fstat(descriptor))
    with suppress(OSError), opened(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY) as folder:
        os.fsync(folder)
    return stamp


@contextmanager
def opened(path: str, flags: int) -> Iterator[int]:
    """Open a descriptor for a `with` block, and ignore an error when it is closed."""
    descriptor = os.open(path, flags, 0o600)
    try:
        yield descriptor
    finally:
        with suppress(OSError):
            os.close(descriptor)


# ---------------------------------------------------------------------------------------------
# The workers


class Accounts:
    """The accounts in force, and the interface to the workers that check and change them."""

    def __init__(self, file: AccountsFile) -> None:
        import threading

        self.file = file
        self.hashes = file.hashes
        self.checks: OrderedDict[object, Job] = OrderedDict()  # waiting for a worker, by owner
        self.changes: OrderedDict[object, Job] = OrderedDict()  # waiting for the file worker
        self.added = threading.Condition()  # protects these two
        self.done: deque[Job] = deque()
        self.wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)  # readable: call `finished`
        sys.setswitchinterval(SWITCH_SECONDS)
        kinds = [(self.checks, check_password, NICENESS)] * len(os.sched_getaffinity(0))
        for kind in (*kinds, (self.changes, self.keep, 0)):
            threading.Thread(target=self.work, args=kind, daemon=True).start()

    def work(
        self, jobs: OrderedDict[object, Job], do: Callable[[Job], None], niceness: int
    ) -> None:
        """Do one job after the other. This is a thread. An error ends only the job."""
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        with suppress(OSError):  # it works without
            os.nice(niceness)  # on Linux, of this thread alone
        while True:
            with self.added:
                while not jobs:
                    self.added.wait()
                _, job = jobs.popitem(last=False)
            try:
                do(job)
            except Exception as error:
                reason = getattr(error, "strerror", None) or error
                job.error = f"accounts: cannot {job.task}: {reason}"
            job.password = b""  # not kept longer than needed
            self.done.append(job)
            os.eventfd_write(self.wake, 1)

    def hash_of(self, name: bytes) -> bytes | None:
        """Return the hash of an account, or None where the name is not registered."""
        return self.hashes.get(name.lower())

    def ask(
        self, task: Task, owner: object = None, name: bytes = b"", password: bytes = b""
    ) -> Job | None:
        """Queue a job for a worker; return None where too many changes are queued (ACCT-13)."""
        jobs = self.checks if task is Task.CHECK else self.changes
        if jobs is self.changes and owner is not None and len(jobs) >= MAX_CHANGES:
            return None
        job = Job(task, owner, name, password, self.hash_of(name))
        with self.added:
            jobs[owner] = job
            self.added.notify_all()
        return job

    def forget(self, owner: object) -> None:
        """Cancel an owner's job, if no worker has begun it."""
        with self.added:
            self.checks.pop(owner, None)
            self.changes.pop(owner, None)

    def finished(self) -> list[Job]:
        """Return the finished jobs, and put their accounts in force."""
        os.eventfd_read(self.wake)
        jobs = [self.done.popleft() for _ in range(len(self.done))]
        for job in jobs:
            if job.hashes is not None:
                self.hashes = job.hashes
        return jobs

    def keep(self, job: Job) -> None:
        """Do a job of the file worker. If the account is not as it was, nothing changes."""
        if job.task in (Task.REGISTER, Task.PASSWD):
            job.new_hash = hash_password(job.password)
        try:
            if job.task is Task.RELOAD or stamp_of(os.stat(self.file.path)) != self.file.stamp:
                self.file.read()
            if job.task is not Task.RELOAD and self.file.hashes.get(job.name.lower()) == job.hash:
                self.file.change(job.name, job.new_hash)
                job.done = True
        finally:
            job.hashes = self.file.hashes


def check_password(job: Job) -> None:
    """Check a password. For some hashes of a valid form, bcrypt raises ValueError."""
    import bcrypt

    with suppress(ValueError):
        job.done = bcrypt.checkpw(job.password, job.hash or b"")


def hash_password(password: bytes) -> bytes:
    """Hash a password as `htpasswd -B` does, which writes `$2y$` instead of `$2b$`."""
    import bcrypt

    return b"$2y$" + bcrypt.hashpw(password, bcrypt.gensalt(HASH_COST)).removeprefix(b"$2b$")


def open_accounts(path: str, name_is_valid: Callable[[bytes], bool]) -> Accounts | str:
    """Read and lock the file, and start the workers; or return the error (FILE-3, FILE-8)."""
    file = AccountsFile(path, name_is_valid)
    verb = "read"
    try:
        file.read()  # before it is locked, so that a bad file gets no lock file
        verb = "use"
        file.lock()
        file.read()  # again, because another server may have changed it before the lock
    except OSError as error:
        return f"cannot {verb} accounts {path}: {error.strerror}"
    try:
        return Accounts(file)
    except RuntimeError as error:  # a thread could not be started
        return f"cannot start: {error}"
