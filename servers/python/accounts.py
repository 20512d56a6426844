"""Accounts: the file, the passwords, and the workers that do what takes long.

Checks are done by as many workers as there are processors. They give way to all other threads, and
hold the interpreter, which the loop may wait for, only for moments. All that touches the file after
the start is done by one worker apart, the clerk, one job after the other (ACCT-13). A worker knows
nothing but its job; what came of it is put in there, and the loop takes it from `finished`.

Offers: Accounts (hash_of, ask, finished, forget), open_accounts, Job, Task.
"""

from __future__ import annotations

import os
import signal
import stat
import sys
from collections import OrderedDict, deque
from collections.abc import Callable
from contextlib import suppress
from enum import StrEnum, auto

HASH = rb"\$2[aby]\$(0[4-9]|1[0-7])\$[./A-Za-z0-9]{53}"
HASH_COST = 10  # of new hashes: 2 ** 10 rounds, some hundredths of a second
MAX_CHANGES = 100  # that wait for the clerk
NICENESS = 15  # of those who check: others who wake up take the processor from them at once
SWITCH_SECONDS = 0.0005  # that a worker may run Python while the loop waits to


class Task(StrEnum):
    """What a worker is to do."""

    CHECK = auto()  # whether a password is the right one
    REGISTER = auto()  # make an account
    PASSWD = auto()  # change its password
    UNREGISTER = auto()  # take it away
    RELOAD = auto()  # read the file


class Job:
    """Work for a worker, with all that it needs, and what came of it."""

    def __init__(
        self, task: Task, owner: object, name: bytes, password: bytes, hash: bytes | None
    ) -> None:
        self.task = task
        self.owner = owner  # for whom; None for a RELOAD
        self.name = name  # the account's, as the owner has it
        self.password = password
        self.hash = hash  # the account's when this was asked for; None where it was none
        self.new_hash: bytes | None = None  # REGISTER, PASSWD: the hash of the password
        self.done = False  # the password is right, or the account was changed
        self.hashes: dict[bytes, bytes] | None = None  # the accounts that the clerk leaves
        self.error = ""  # what went wrong, for the log


# ---------------------------------------------------------------------------------------------
# The file


class BadAccounts(OSError):
    """What the file holds cannot be used. It has its reason where the system's errors have it."""

    def __init__(self, reason: str) -> None:
        super().__init__(0, reason)


class AccountsFile:
    """The file, and what it held when it was last read or written."""

    def __init__(self, path: str, name_is_valid: Callable[[bytes], bool]) -> None:
        self.path = path
        self.name_is_valid = name_is_valid
        self.stamp: tuple[int, ...] = ()
        self.data = b""
        self.hashes: dict[bytes, bytes] = {}  # by lower name; never changed, but replaced

    def lock(self) -> None:
        """Keep other servers from the file as long as this one lives (FILE-8)."""
        import fcntl  # late, as is all that a server without accounts can start without

        flags = os.O_RDWR | os.O_CREAT | os.O_NOCTTY | os.O_CLOEXEC
        descriptor = os.open(os.path.realpath(self.path) + ".lock", flags, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BadAccounts("in use by another server") from None

    def read(self) -> None:
        """Read the file; where it cannot be used, all stays as it was."""
        with open(self.path, "rb", opener=open_at_once) as file:
            state = os.fstat(file.fileno())
            if not stat.S_ISREG(state.st_mode):
                raise BadAccounts("not a regular file")
            data = file.read()
        self.hashes = self.parse(data)
        self.stamp, self.data = stamp_of(state), data

    def parse(self, data: bytes) -> dict[bytes, bytes]:
        """Read the accounts from what the file holds (FILE-1, FILE-2)."""
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
        """Give a name another hash, or none; all other lines stay as they are (FILE-7)."""
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
    """Open a file. If it is a pipe, that must not wait until a program writes to it."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY)


def stamp_of(file: os.stat_result) -> tuple[int, ...]:
    """Give what is another after each change to a file."""
    return file.st_dev, file.st_ino, file.st_size, file.st_mtime_ns, file.st_ctime_ns


def replace_file(path: str, old: tuple[int, ...], data: bytes) -> tuple[int, ...]:
    """Write a file beside the old one, and put it in its place once it is on the disk."""
    new = path + ".new"
    with suppress(FileNotFoundError):  # left over from a crash
        os.unlink(new)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    try:
        with os.fdopen(os.open(new, flags, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            if stamp_of(os.stat(path)) != old:
                raise BadAccounts("it was changed meanwhile")
            os.rename(new, path)
            stamp = stamp_of(os.fstat(file.fileno()))
    except OSError:
        with suppress(OSError):
            os.unlink(new)
        raise
    with suppress(OSError):  # the new one is in place, so that this is no failure of the change
        folder = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    return stamp


# ---------------------------------------------------------------------------------------------
# The workers


class Accounts:
    """The accounts in force, and the way to check and change them beside the loop."""

    def __init__(self, file: AccountsFile) -> None:
        import threading

        self.file = file  # from here on the clerk's alone
        self.hashes = file.hashes
        self.checks: OrderedDict[object, Job] = OrderedDict()  # that wait for a worker, by owner
        self.changes: OrderedDict[object, Job] = OrderedDict()  # that wait for the clerk
        self.added = threading.Condition()  # to be held while these two are used
        self.done: deque[Job] = deque()
        self.wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)  # readable: see `finished`
        sys.setswitchinterval(SWITCH_SECONDS)
        kinds = [(self.checks, check_password, NICENESS)] * len(os.sched_getaffinity(0))
        for kind in (*kinds, (self.changes, self.keep, 0)):
            threading.Thread(target=self.work, args=kind, daemon=True).start()

    def work(
        self, jobs: OrderedDict[object, Job], do: Callable[[Job], None], niceness: int
    ) -> None:
        """Do one job after the other, in a thread. An error ends a job, and no more than that."""
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        os.nice(niceness)  # of this thread alone
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
            job.password = b""  # kept no longer than it is needed
            self.done.append(job)
            os.eventfd_write(self.wake, 1)

    def hash_of(self, name: bytes) -> bytes | None:
        """Give the hash of an account, or None where the name is none."""
        return self.hashes.get(name.lower())

    def ask(
        self, task: Task, owner: object = None, name: bytes = b"", password: bytes = b""
    ) -> Job | None:
        """Ask a worker to do something, or give None where too many changes wait (ACCT-13)."""
        jobs = self.checks if task is Task.CHECK else self.changes
        if jobs is self.changes and owner is not None and len(jobs) >= MAX_CHANGES:
            return None
        job = Job(task, owner, name, password, self.hash_of(name))
        with self.added:
            jobs[owner] = job
            self.added.notify_all()
        return job

    def forget(self, owner: object) -> None:
        """Take back an owner's job, if no worker has begun it."""
        with self.added:
            self.checks.pop(owner, None)
            self.changes.pop(owner, None)

    def finished(self) -> list[Job]:
        """Take back the jobs that are done; the accounts that they left count from now on."""
        os.eventfd_read(self.wake)
        jobs = [self.done.popleft() for _ in range(len(self.done))]
        for job in jobs:
            if job.hashes is not None:
                self.hashes = job.hashes
        return jobs

    def keep(self, job: Job) -> None:
        """Do one job of the clerk's; where the account is not as it was, nothing changes."""
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
    """See whether a password is the right one; some hashes no password has."""
    import bcrypt

    with suppress(ValueError):
        job.done = bcrypt.checkpw(job.password, job.hash or b"")


def hash_password(password: bytes) -> bytes:
    """Hash a password as `htpasswd -B` does: it writes `$2y$` for `$2b$`."""
    import bcrypt

    return b"$2y$" + bcrypt.hashpw(password, bcrypt.gensalt(HASH_COST)).removeprefix(b"$2b$")


def open_accounts(path: str, name_is_valid: Callable[[bytes], bool]) -> Accounts | str:
    """Read the file, lock it, and start the workers; or say why that cannot be (FILE-3, FILE-8)."""
    file = AccountsFile(path, name_is_valid)
    verb = "read"
    try:
        file.read()  # before it is locked, so that a bad one gets no lock file beside it
        verb = "use"
        file.lock()
        file.read()  # until now another server may have changed it
        return Accounts(file)
    except OSError as error:
        return f"cannot {verb} accounts {path}: {error.strerror}"
    except RuntimeError as error:
        return f"cannot start workers: {error}"
