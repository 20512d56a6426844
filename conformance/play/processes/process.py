"""A program as a process: starts it, watches for its end, and kills all that is left of it.

It knows no actor and no step. Its `Source`s keep what the program writes.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from conformance.play.case.poll import READ_SIZE, Loop, Source
from conformance.play.processes import confine, system
from conformance.play.processes.guard import Guard
from conformance.play.terminals.launch import Launch, Streams
from conformance.play.terminals.terminal import Terminal
from conformance.text import signal_name

_PR_SET_CHILD_SUBREAPER = 36

# A program starts with the default action for each signal, even if the harness ignores some: a
# shell's background job, for instance, ignores SIGINT.
_DEFAULT_SIGNALS = sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})


class CannotStart(Exception):
    """The program could not be executed."""


def guard() -> Guard:
    """The guard of this process; call it before the first program starts."""
    return _guard_of(os.getpid())


@functools.cache
def _guard_of(_pid: int) -> Guard:
    """Start the guard of a process, and make it a subreaper: orphans become its children."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    _keep_descriptors()
    return Guard()


def _keep_descriptors() -> None:
    """Let programs inherit no descriptor: some of them count the descriptors that they have."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2:
            with contextlib.suppress(OSError):  # the descriptor of the listing is closed by now
                os.set_inheritable(int(name), False)


@dataclass(slots=True)
class Process:
    """One program, which leads a session of its own, with our ends of its streams."""

    actor: str
    pid: int
    pidfd: int  # becomes readable when it ends
    input_fd: int  # -1: closed, or none
    output: Source
    errors: Source | None  # None: its standard error goes to its screen
    terminal: Terminal | None
    loop: Loop
    status: int | None = None  # as os.waitstatus_to_exitcode gives it: -N is signal N
    at_end: Callable[[], None] = lambda: None  # called when it has ended
    group_is_gone: bool = False  # if True, its id may belong to another process group
    started: float = 0.0  # the time just before posix_spawn(3) (monotonic)
    ended: float = 0.0  # the time at which its end was noticed (monotonic)
    _fds: list[int] = field(default_factory=list)

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self.status is None

    def wait(self, deadline: float) -> bool:
        """Serve all descriptors until it has ended; False if the deadline comes first."""
        return self.loop.wait(lambda: self.status is not None, deadline)

    def signal(self, name: str) -> None:
        """Send a signal to the process only, not to its group."""
        if self.running:  # waitpid(2) has not been called, so no other process has its id
            os.kill(self.pid, signal.Signals[name])

    def end_input(self) -> None:
        """Give it an end of file on its standard input."""
        if self.terminal:
            self.write(b"\x04", time.monotonic() + 1)
        elif self.input_fd >= 0:
            os.close(self.input_fd)
            self._fds.remove(self.input_fd)
            self.input_fd = -1

    def write(self, data: bytes, deadline: float) -> bool:
        """Write to its standard input; False if it did not take all bytes in time."""
        try:
            return self.loop.write(self.input_fd, self._write, data, deadline) == len(data)
        except OSError:  # it has ended; the next steps notice
            return True

    def answer(self, data: bytes) -> None:
        """Write an answer of its terminal, without waiting; lost if it does not read it."""
        with contextlib.suppress(OSError):
            os.write(self.input_fd, data)

    def _write(self, data: memoryview) -> int:
        return os.write(self.input_fd, data)

    def destroy(self) -> None:
        """Kill it and its process group, and close all its descriptors."""
        if self.running:
            self._kill_group()
            self._on_end()
        self.end_group(time.monotonic())
        guard().remove(self.pid)
        self.output.close()
        if self.errors:
            self.errors.close()
        for fd in self._fds:
            os.close(fd)
        self._fds.clear()

    def _on_end(self) -> None:
        self.status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        self.ended = time.monotonic()
        self.loop.forget(self.pidfd)
        self.loop.transcript.note(self.actor, "event", f"({ending(self.status)})".encode())
        self._look_for_group()
        self.at_end()

    def end_group(self, deadline: float) -> int:
        """Wait for the other processes of its group; kill those that run at the deadline.

        Returns how many were killed. While a process group exists, no new process gets its id.
        """
        for _ in system.looks(deadline):
            if not self._others():
                return 0
            self.loop.look_again()
        if count := len(self._others()):
            self._kill_group()
        return count

    def _others(self) -> list[int]:
        """The living processes of its group; zombies among our children are reaped first."""
        if self.group_is_gone:
            return []
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-self.pid, os.WNOHANG) != (0, 0):
                pass
        self._look_for_group()
        return [] if self.group_is_gone else system.group_members(self.pid)

    def _look_for_group(self) -> None:
        try:
            os.killpg(self.pid, 0)
        except ProcessLookupError:
            self.group_is_gone = True
        except PermissionError:  # a process in it has changed its user, so the group exists
            pass

    def _kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)


def ending(status: int) -> str:
    """How a program ended, as text; `status` is as in `Process`."""
    if status >= 0:
        return f"exit status {status}"
    return f"killed by {signal_name(-status)}"


def start(actor: str, launch: Launch, loop: Loop) -> Process:
    """Start a program; raises CannotStart."""
    its_guard = guard()
    before = [*_ignoring(launch.ignored), *(confine.prefix() if launch.confined else [])]
    streams, argv = Streams(launch), [*before, *launch.argv]
    began = time.monotonic()  # here, because the program may run before posix_spawnp returns
    try:
        with contextlib.chdir(launch.folder):
            pid = os.posix_spawnp(
                argv[0],
                argv,
                dict(launch.environment),
                file_actions=streams.actions,
                setsid=True,
                setsigdef=_DEFAULT_SIGNALS,
                setsigmask=[signal.Signals[name] for name in launch.blocked],
            )
    except OSError as error:
        streams.close()
        raise CannotStart(f"{launch.argv[0]}: {error.strerror}") from None
    its_guard.add(pid)
    streams.close_child_ends()
    process = _process(actor, pid, streams, loop)
    process.started = began
    return process


def _ignoring(names: Sequence[str]) -> list[str]:
    """The first words of a command line: a shell that ignores these signals, then executes it.

    This process does not ignore them, not even for a moment: a signal that is to end it would be
    lost.
    """
    numbers = " ".join(str(signal.Signals[name].value) for name in names)
    return ["sh", "-c", f"trap '' {numbers}\nexec \"$@\"", "sh"] if names else []


def _process(actor: str, pid: int, streams: Streams, loop: Loop) -> Process:
    def source(how: str, fd: int) -> Source:
        return Source(loop, actor, how, fd, lambda: os.read(fd, READ_SIZE))

    process = Process(
        actor=actor,
        pid=pid,
        pidfd=_end_of(pid),
        input_fd=streams.input_fd,
        output=source("seen", streams.output_fd),
        errors=source("error", streams.errors_fd) if streams.errors_fd >= 0 else None,
        terminal=streams.terminal,
        loop=loop,
    )
    process._fds = sorted({process.pidfd, *streams.fds})
    loop.watch(process.pidfd, process._on_end)
    return process


def _end_of(pid: int) -> int:
    """A descriptor that becomes readable when a child ends.

    If the system refuses pidfds (old kernels, some containers), it is the end of a pipe: a thread
    waits for the child, then closes the other end.
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
