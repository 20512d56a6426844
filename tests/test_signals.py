"""Programs that tests start have default signals, however pytest itself was started."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

# Started with a signal ignored, as `make test &` in a script is: what would a program inherit?
STARTED = """
import signal, subprocess, sys
signal.signal(signal.Signals[sys.argv[1]], signal.SIG_IGN)
sys.path.append("support")
import conftest
subprocess.run(["grep", "SigIgn", "/proc/self/status"], check=True)
"""


NAMES = ("SIGINT", "SIGHUP", "SIGQUIT", "SIGTERM", "SIGCHLD")


@pytest.mark.parametrize("name", NAMES)
def test_no_program_inherits_that_a_signal_is_ignored(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", STARTED, name],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    ignored = int(done.stdout.split()[1], 16)  # a bit for each signal, from the first one on
    assert [one for one in NAMES if ignored >> signal.Signals[one] - 1 & 1] == []
