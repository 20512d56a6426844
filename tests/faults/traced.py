"""strace makes system calls of a program fail while it runs, and reports which calls failed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from heard import PATIENT, Heard

LOOP = "anon_inode:[eventpoll]"
WAITS = ("epoll_wait", "epoll_pwait")  # these are traced to notice a program in a busy loop
NOW_AND_THEN = {"EINTR", "EAGAIN", "ECONNABORTED"}  # at every second call; all others at each
# For these calls, strace cannot filter by file.
OF_ANY_FILE = {"accept4", "recvfrom", "sendto", "sendmsg", "shutdown"}
# Programs that make these calls also have threads with sockets of their own, so only the main
# thread is traced.
HAVE_THREADS = {"recvfrom", "sendto", "sendmsg"}


@dataclass(frozen=True)
class Injection:
    """Which calls on which file fail, and how."""

    calls: tuple[str, ...]
    place: str = ""  # any file, if empty
    error: str = ""  # if empty, calls are only traced
    is_first: bool = False  # if strace cannot filter by file, only the first call fails

    def options(self) -> list[str]:
        is_any = not OF_ANY_FILE.isdisjoint(self.calls)
        places = [self.place, LOOP] if self.place and not is_any else []
        options = ["-qq", "-e", "signal=none", *(f"--trace-path={place}" for place in places)]
        if HAVE_THREADS.isdisjoint(self.calls):
            options.append("-f")
        # With `?`, strace accepts a call that this architecture does not have.
        options += ["-e", "trace=" + ",".join(f"?{call}" for call in (*self.calls, *WAITS))]
        if self.error:
            lasting = "1" if is_any and self.is_first else "1+"
            when = "1+2" if self.error in NOW_AND_THEN else lasting
            calls = ",".join(f"?{call}" for call in self.calls)
            options += ["-e", f"inject={calls}:error={self.error}:when={when}"]
        return options


class Traced:
    """Runs strace: on a program from its start (`around`), or for some time (`attach`)."""

    def __init__(self, injection: Injection, folder: Path) -> None:
        self.injection = injection
        self.pipe = Path(tempfile.mkdtemp(dir=folder)) / "trace"  # the program does not inherit it
        os.mkfifo(self.pipe)
        self.reader = -1
        self.heard = Heard(self.receive)
        self.process: subprocess.Popen[bytes] | None = None

    def receive(self, size: int) -> bytes:
        if self.reader < 0:
            self.reader = os.open(self.pipe, os.O_RDONLY)
        return os.read(self.reader, size)

    def command(self) -> list[str]:
        return ["strace", *self.injection.options(), "-o", str(self.pipe)]

    def around(self, argv: Sequence[str]) -> list[str]:
        """The command that runs a program under strace; the process is that of the program."""
        return [*self.command(), "-D", "--", *argv]

    def attach(self, pid: int) -> None:
        """Attach to a running program."""
        command = [*self.command(), "-p", str(pid)]
        command.remove("-qq")  # without it, strace says when it is attached
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE)
        assert self.process.stderr
        said = self.process.stderr.readline()
        assert b"attached" in said, said

    def detach(self) -> None:
        """Detach from the program."""
        if self.process:
            self.process.send_signal(signal.SIGTERM)
            self.process.communicate(timeout=PATIENT)
            self.process = None
            self.heard.all()  # the thread may not have read all that it said

    def passes(self) -> None:
        """End the fault. An error at every second call continues to the end instead."""
        if self.injection.error not in NOW_AND_THEN:
            self.detach()

    def failed(self) -> list[str]:
        """The calls that failed; without an error, all calls."""
        mark = r".*\(INJECTED\)$" if self.injection.error else ""
        names = "|".join(self.injection.calls)
        return re.findall(rf"^(?:\d+ +)?(?:<\.\.\. )?({names})\b{mark}", self.heard.text, re.M)

    def has_failed(self) -> bool:
        """Wait until a call has failed; false if none does in time, or if the program ends."""
        return self.heard.waits(lambda: bool(self.failed()))

    def count(self) -> int:
        """The number of calls."""
        return self.heard.text.count("\n")
