"""The wall clock of one running program, set forward and back, for this program only.

On Linux, a program in any language asks for the time by a function that the kernel maps into each
process (the vDSO). This module overwrites the function, in one process, by one that asks the kernel
by a system call, and adds a difference if the wall clock is asked for. Other clocks stay right.
"""

from __future__ import annotations

import os
import platform
import re
import signal
import struct
import subprocess
from pathlib import Path

from conformance.play.processes.system import is_stopped

FUNCTION = "__vdso_clock_gettime"
CODE = bytes.fromhex(
    "b8e4000000"  # mov    $228, %eax         clock_gettime, with the caller's arguments
    "0f05"  #       syscall
    "85ff"  #       test   %edi, %edi         CLOCK_REALTIME is 0
    "750a"  #       jne    end
    "488b1504000000"  # mov difference(%rip), %rdx
    "480116"  #     add    %rdx, (%rsi)       seconds
    "c3"  #  end:   ret
)  # difference: eight bytes


class WallClock:
    """The wall clock of one process."""

    def __init__(self, pid: int, scratch: Path) -> None:
        self._pid, self._memory = pid, Path(f"/proc/{pid}/mem")
        maps = Path(f"/proc/{pid}/maps").read_text()
        (found,) = re.findall(r"(?m)^(\w+)-(\w+) .*\[vdso\]$", maps)
        start, end = (int(number, 16) for number in found)
        image = scratch / "vdso.so"
        with self._memory.open("rb", buffering=0) as memory:
            memory.seek(start)
            image.write_bytes(memory.read(end - start))
        nm = ["nm", "-D", "-S", str(image)]
        names = subprocess.run(nm, capture_output=True, text=True, check=True).stdout
        ((offset, size),) = re.findall(rf"(?m)^(\w+) (\w+) . {FUNCTION}(?:@.*)?$", names)
        at = start + int(offset, 16)
        self._function = range(at, at + int(size, 16))

    def jump(self, seconds: int) -> None:
        """Let the clock differ from the true time by so much from now on."""
        while not self._writes(CODE + struct.pack("<q", seconds)):
            pass

    def _writes(self, code: bytes) -> bool:
        """Stop the process and write, unless one of its threads is inside the function."""
        os.kill(self._pid, signal.SIGSTOP)
        try:
            while not is_stopped(self._pid):
                os.sched_yield()
            if any(map(self._is_inside, Path(f"/proc/{self._pid}/task").iterdir())):
                return False
            with self._memory.open("r+b", buffering=0) as memory:
                memory.seek(self._function.start)
                memory.write(code)
            return True
        finally:
            os.kill(self._pid, signal.SIGCONT)

    def _is_inside(self, thread: Path) -> bool:
        """Whether a thread may be inside the function: the last word is its program counter."""
        word = (thread / "syscall").read_text().split()[-1]
        return word == "running" or int(word, 16) in self._function


def no_wall_clock() -> str:
    """Why this machine cannot do it; empty if it can."""
    return "" if platform.machine() == "x86_64" else "the code is for x86-64 alone"
