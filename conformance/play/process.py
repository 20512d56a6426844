"""Programs as processes: started, watched to their end, and never left behind."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import os
import select
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from conformance.model import Medium
from conformance.play.guard import Guard
from conformance.play.poll import READ_SIZE, Source, Loop
from conformance.play.terminal import COLUMNS, ROWS, Terminal, open_terminal

_PR_SET_CHILD_SUBREAPER = 36
_PAGE = os.sysconf("SC_PAGE_SIZE")
_TICKS = os.sysconf("SC_CLK_TCK")
LOOK_SECONDS = 0.002  # between two looks at what tells nobody that it changes

# Whatever the harness was started with (a shell's background job has SIGINT ignored), programs
# start with every signal at its default.
_DEFAULT_SIGNALS = sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})


class CannotStart(Exception):
    """The program could not be executed at all."""


@dataclass(frozen=True, slots=True)
class Launch:
    """How a program is to be started."""

    argv: Sequence[str]
    folder: Path  # its working directory
    medium: Medium = Medium.TERMINAL
    size: tuple[int, int] = (COLUMNS, ROWS)  # of a screen
    input: str = ""  # "closed", or a path that its standard input is; "": terminal or pipe
    closed: tuple[int, ...] = ()  # of 1 and 2: standard output and error that it does not get


@functools.cache
def _guard_of(_pid: int) -> Guard:
    """This process's guard; orphans of the programs come to this process too."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    _keep_descriptors()
    return Guard()


def _keep_descriptors() -> None:
    """What this process was started with is not for programs: some count what they have left."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2:
            with contextlib.suppress(OSError):  # the listing's own is closed by now
                os.set_inheritable(int(name), False)


@dataclass(slots=True)
class Process:
    """One running program: session leader of its own, with its standard streams in our hands."""

    actor: str
    pid: int
    pidfd: int  # readable once it has ended
    input_fd: int  # -1: it has none
    output: Source
    errors: Source | None  # None: its standard error is its screen
    terminal: Terminal | None
    loop: Loop
    status: int | None = None  # as os.waitstatus_to_exitcode gives it: < 0 is a signal
    group_is_gone: bool = False  # then its number may be another's
    _fds: list[int] = field(default_factory=list)

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self.status is None

    def wait(self, deadline: float) -> bool:
        """Serve everybody until it has ended; False where the deadline comes first."""
        return self.loop.wait(lambda: self.status is not None, deadline)

    def signal(self, name: str) -> None:
        """Send it a signal, itself alone."""
        if self.running:  # not waited for yet, so that its number is its own
            os.kill(self.pid, signal.Signals[name])

    def end_input(self) -> None:
        """End of file on its standard input."""
        if self.terminal:
            self.write(b"\x04", time.monotonic() + 1)
        elif self.input_fd >= 0:
            os.close(self.input_fd)
            self._fds.remove(self.input_fd)
            self.input_fd = -1

    def write(self, data: bytes, deadline: float) -> bool:
        """Give it input; False where it did not take it all in time."""
        try:
            return self.loop.write(self.input_fd, self._write, data, deadline) == len(data)
        except OSError:  # it is gone; what follows tells
            return True

    def _write(self, data: memoryview) -> int:
        return os.write(self.input_fd, data)

    def cpu_seconds(self) -> float:
        """Processor time that it has used; it must be running."""
        fields = _stat(self.pid)
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def resident(self) -> int:
        """Bytes of memory that it holds; it must be running."""
        return int(Path(f"/proc/{self.pid}/statm").read_text("ascii").split()[1]) * _PAGE

    def destroy(self) -> None:
        """Kill it and its group, and close all that belongs to it."""
        if self.running:
            self._kill_group()
            self._on_end()
        self.end_group(time.monotonic())
        _guard_of(os.getpid()).remove(self.pid)
        self.output.close()
        if self.errors:
            self.errors.close()
        for fd in self._fds:
            os.close(fd)
        self._fds.clear()

    def _on_end(self) -> None:
        self.status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        self.loop.forget(self.pidfd)
        self.loop.transcript.note(self.actor, "event", f"({ending(self.status)})".encode())
        self._look_for_group()

    def end_group(self, deadline: float) -> int:
        """See the others of its process group end; kill those that have not by the deadline.

        Returns how many there were to kill. The kernel gives no number away that a group has.
        """
        while count := len(self._others()):
            if time.monotonic() >= deadline:
                self._kill_group()
                return count
            self.loop.wait(lambda: False, time.monotonic() + LOOK_SECONDS)
        return 0

    def _others(self) -> list[int]:
        """The living processes of its group; the dead ones that came to us are taken away."""
        if self.group_is_gone:
            return []
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-self.pid, os.WNOHANG) != (0, 0):
                pass
        self._look_for_group()
        return [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if self._has(pid)]

    def _look_for_group(self) -> None:
        try:
            os.killpg(self.pid, 0)
        except ProcessLookupError:
            self.group_is_gone = True
        except PermissionError:  # some of it changed its user: it is there
            pass

    def _has(self, pid: int) -> bool:
        """Whether a process is of its group, and lives."""
        fields = _stat(pid)
        return len(fields) > 2 and int(fields[2]) == self.pid and fields[0] not in "ZX"

    def _kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)


def ending(status: int) -> str:
    """How a program ended, in words, of a status as `Process` has it."""
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"killed by {signal.Signals(-status).name}"
    except ValueError:  # a real-time signal
        return f"killed by signal {-status}"


def _stat(pid: int) -> list[str]:
    """What the kernel tells of a process, from its state on; nothing where it is gone."""
    try:
        row = Path(f"/proc/{pid}/stat").read_text("ascii", "replace")
    except OSError:
        return []
    return row.rpartition(")")[2].split()  # the name before it may hold anything


def start(actor: str, launch: Launch, loop: Loop, environment: Mapping[str, str]) -> Process:
    """Start a program; raises CannotStart."""
    guard = _guard_of(os.getpid())
    streams = _Streams(launch)
    try:
        with contextlib.chdir(launch.folder):
            pid = os.posix_spawnp(
                launch.argv[0],
                list(launch.argv),
                dict(environment),
                file_actions=streams.actions,
                setsid=True,
                setsigdef=_DEFAULT_SIGNALS,
                setsigmask=[],
            )
    except OSError as error:
        streams.close()
        raise CannotStart(f"{launch.argv[0]}: {error.strerror}") from None
    guard.add(pid)
    streams.handed_over()
    return _process(actor, pid, streams, loop)


def _process(actor: str, pid: int, streams: _Streams, loop: Loop) -> Process:
    pidfd = _end_of(pid)
    errors_fd = streams.errors_fd
    process = Process(
        actor=actor,
        pid=pid,
        pidfd=pidfd,
        input_fd=streams.input_fd,
        output=Source(loop, actor, "seen", streams.output_fd, _reader(streams.output_fd)),
        errors=Source(loop, actor, "error", errors_fd, _reader(errors_fd))
        if errors_fd >= 0
        else None,
        terminal=streams.terminal,
        loop=loop,
        _fds=sorted({pidfd, streams.output_fd, errors_fd, streams.input_fd} - {-1}),
    )
    loop.watch(pidfd, process._on_end)
    return process


def _end_of(pid: int) -> int:
    """A descriptor that is readable once a child has ended.

    Where the system refuses pidfds (old kernels, some containers), a thread waits for the child
    and then closes the other end of a pipe.
    """
    try:
        return os.pidfd_open(pid)
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.EPERM, errno.EACCES):
            raise
    reading, writing = os.pipe()
    threading.Thread(target=_wait_and_close, args=(pid, writing), daemon=True).start()
    return reading


def _wait_and_close(pid: int, fd: int) -> None:
    with contextlib.suppress(ChildProcessError):
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    os.close(fd)


def _reader(fd: int) -> Callable[[], bytes]:
    return lambda: os.read(fd, READ_SIZE)


class _Streams:
    """The descriptors of a program's standard streams, and how the child is to get them."""

    def __init__(self, launch: Launch) -> None:
        self.terminal = _terminal(launch)
        self.input_fd = self.errors_fd = -1
        self.actions: list[tuple[int, ...] | tuple[int, int, str, int, int]] = []
        self._theirs: list[int] = []
        if self.terminal:
            self._on_terminal(self.terminal)
        else:
            self._on_pipes(with_input=not launch.input)
        if launch.medium is Medium.SCREEN:
            self.actions.append((os.POSIX_SPAWN_DUP2, 0, 2))
        else:
            self.errors_fd = self._pipe_from(2)
        if launch.input == "closed":
            self.actions.append((os.POSIX_SPAWN_CLOSE, 0))
        elif launch.input:
            self.actions.append((os.POSIX_SPAWN_OPEN, 0, launch.input, os.O_RDONLY, 0))
        self.actions += [(os.POSIX_SPAWN_CLOSE, fd) for fd in launch.closed]

    def _on_terminal(self, terminal: Terminal) -> None:
        # Opened by the child, after setsid: so it becomes its controlling terminal.
        self.actions.append((os.POSIX_SPAWN_OPEN, 0, terminal.path, os.O_RDWR, 0))
        self.actions.append((os.POSIX_SPAWN_DUP2, 0, 1))
        self.input_fd = self.output_fd = terminal.fd

    def _on_pipes(self, with_input: bool) -> None:
        if with_input:
            theirs, self.input_fd = os.pipe()
            os.set_blocking(self.input_fd, False)
            self._theirs.append(theirs)
            self.actions.append((os.POSIX_SPAWN_DUP2, theirs, 0))
        self.output_fd = self._pipe_from(1)

    def _pipe_from(self, child_fd: int) -> int:
        ours, theirs = os.pipe()
        os.set_blocking(ours, False)
        self._theirs.append(theirs)
        self.actions.append((os.POSIX_SPAWN_DUP2, theirs, child_fd))
        return ours

    def handed_over(self) -> None:
        """The child has its ends; ours of those would hide its ending."""
        for fd in self._theirs:
            os.close(fd)
        if self.terminal:
            self.terminal.handed_over()

    def close(self) -> None:
        """Nothing was started."""
        self.handed_over()
        for fd in {self.input_fd, self.output_fd, self.errors_fd} - {-1}:
            os.close(fd)


def _terminal(launch: Launch) -> Terminal | None:
    if launch.medium is Medium.PIPES:
        return None
    return open_terminal(launch.size if launch.medium is Medium.SCREEN else None)


# --- What programs leave behind --------------------------------------------------------------


def children() -> set[int]:
    """This process's children, the orphans that came to it among them; the guard is none."""
    guard = _guard_of(os.getpid()).pid
    path = Path(f"/proc/self/task/{os.getpid()}/children")
    try:
        return {int(pid) for pid in path.read_text("ascii").split()} - {guard}
    except FileNotFoundError:  # a kernel without CONFIG_PROC_CHILDREN: its parent tells
        return {child.pid for child in psutil.Process().children()} - {guard}


def bury(kept: set[int], seconds: float) -> int:
    """See all children end but those to be kept, whatever session they fled to.

    Those that have not ended in `seconds` are killed; returns how many. The children of one that
    is killed come to this process in turn.
    """
    deadline, count = time.monotonic() + seconds, 0
    while left := {pid for pid in children() - kept if not _has_ended(pid)}:
        if time.monotonic() < deadline:
            select.select([], [], [], LOOK_SECONDS)  # the kernel tells nobody of a grandchild's end
            continue
        for pid in left:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        count += len(left)
    return count


def _has_ended(pid: int) -> bool:
    """Whether a child has ended; if so, it is taken away."""
    with contextlib.suppress(ChildProcessError):
        return os.waitpid(pid, os.WNOHANG) != (0, 0)
    return True
