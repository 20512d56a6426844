"""A program as a process: started, watched to its end, and never left behind.

It knows no actor and no step; what a program writes is kept in its sources.
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
from collections.abc import Sequence
from dataclasses import dataclass, field

from conformance.play import system
from conformance.play.guard import Guard
from conformance.play.launch import Launch, Streams
from conformance.play.poll import READ_SIZE, Loop, Source
from conformance.play.terminal import Terminal
from conformance.text import signal_name

_PR_SET_CHILD_SUBREAPER = 36

# A program starts with every signal at its default, however the harness itself was started: a
# background job of a shell, for instance, has SIGINT ignored.
_DEFAULT_SIGNALS = sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})


class CannotStart(Exception):
    """The program could not be executed at all."""


def guard() -> Guard:
    """This process's guard; before the first call, this process can start no program."""
    return _guard_of(os.getpid())


@functools.cache
def _guard_of(_pid: int) -> Guard:
    """The guard of a process; from now on orphans of its programs become its children."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    _keep_descriptors()
    return Guard()


def _keep_descriptors() -> None:
    """Keep what this process has open from programs: some count the descriptors that are left."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2:
            with contextlib.suppress(OSError):  # the descriptor of the listing is closed by now
                os.set_inheritable(int(name), False)


@dataclass(slots=True)
class Process:
    """One running program: the leader of a session of its own, with our ends of its streams."""

    actor: str
    pid: int
    pidfd: int  # readable once it has ended
    input_fd: int  # -1: it has none
    output: Source
    errors: Source | None  # None: its standard error is its screen
    terminal: Terminal | None
    loop: Loop
    status: int | None = None  # as os.waitstatus_to_exitcode gives it: < 0 is a signal
    group_is_gone: bool = False  # then another process may have its number
    started: float = field(default_factory=time.monotonic)
    _fds: list[int] = field(default_factory=list)

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self.status is None

    def wait(self, deadline: float) -> bool:
        """Serve all until it has ended; False where the deadline comes first."""
        return self.loop.wait(lambda: self.status is not None, deadline)

    def signal(self, name: str) -> None:
        """Send a signal to it alone, not to its group."""
        if self.running:  # it was not waited for yet, so no other process has its number
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
        except OSError:  # it has ended; the steps that follow say so
            return True

    def answer(self, data: bytes) -> None:
        """Give it what its terminal answers, at once; lost where it reads nothing, or has ended."""
        with contextlib.suppress(OSError):
            os.write(self.input_fd, data)

    def _write(self, data: memoryview) -> int:
        return os.write(self.input_fd, data)

    def destroy(self) -> None:
        """Kill it and its group, and close all that belongs to it."""
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
        self.loop.forget(self.pidfd)
        self.loop.transcript.note(self.actor, "event", f"({ending(self.status)})".encode())
        self._look_for_group()

    def end_group(self, deadline: float) -> int:
        """See the others of its process group end; kill those that have not by the deadline.

        Returns how many there were to kill. While a group has a number, no other process gets it.
        """
        while count := len(self._others()):
            if time.monotonic() >= deadline:
                self._kill_group()
                return count
            self.loop.wait(lambda: False, time.monotonic() + system.LOOK_SECONDS)
        return 0

    def _others(self) -> list[int]:
        """The living processes of its group; those that ended as our children are waited for."""
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
        except PermissionError:  # a process of it changed its user, so the group is there
            pass

    def _kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)


def ending(status: int) -> str:
    """How a program ended, in words, of a status as `Process` has it."""
    if status >= 0:
        return f"exit status {status}"
    return f"killed by {signal_name(-status)}"


def start(actor: str, launch: Launch, loop: Loop) -> Process:
    """Start a program; raises CannotStart."""
    its_guard = guard()
    streams, argv = Streams(launch), [*_ignoring(launch.ignored), *launch.argv]
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
    streams.handed_over()
    return _process(actor, pid, streams, loop)


def _ignoring(names: Sequence[str]) -> list[str]:
    """The beginning of a command line: a shell that ignores these, and becomes the program.

    A signal ignored in this process, if only for a moment, might be the one that is to end it.
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
