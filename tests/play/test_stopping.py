"""`is_sent: SIGSTOP`: the next step finds a program in which nothing runs any more."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny import ECHO, SHORT, played, program, scenario, write_suite

from conformance.play.processes import system

STOPPED = "- server: starts\n- server: {is_sent: SIGSTOP}\n"

THREADS = """
import threading
for _ in range(20):
    threading.Thread(target=threading.Event().wait).start()
print("they run", flush=True)
"""


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    """A child with many threads, none of which ends by itself."""
    command = [sys.executable, "-I", "-S", "-c", THREADS]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"they run\n"
        yield process
        process.kill()


def test_stopped_are_all_threads_or_none(process: subprocess.Popen[bytes]) -> None:
    assert not system.is_stopped(process.pid)
    process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED)  # the kernel tells it once all threads stand
    assert system.is_stopped(process.pid)
    process.send_signal(signal.SIGCONT)
    os.waitid(os.P_PID, process.pid, os.WCONTINUED)
    assert not system.is_stopped(process.pid)


def test_what_has_ended_counts_as_stopped(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert system.is_stopped(process.pid)  # a zombie
    process.wait()
    assert system.is_stopped(process.pid)


def test_the_next_step_waits_until_it_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`SIGSTOP` reaches the threads one after another: here, the first two looks come too early."""
    looks = iter([False, False, True])
    monkeypatch.setattr(system, "is_stopped", lambda _: next(looks))
    suite = write_suite(tmp_path)
    steps = STOPPED + "- server: {is_sent: SIGKILL}\n- server: {exits: SIGKILL}\n"
    outcome = played(suite, scenario(suite, steps, "{}"), program(suite.folder, ECHO))
    assert outcome.failure is None
    assert next(looks, None) is None


def test_what_does_not_stop_in_time_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system, "is_stopped", lambda _: False)
    suite = write_suite(tmp_path)
    steps = STOPPED.replace("SIGSTOP", f"SIGSTOP, within: {SHORT}")
    outcome = played(suite, scenario(suite, steps, "{}"), program(suite.folder, ECHO))
    assert outcome.failure
    assert outcome.failure.reason == "it does not stop"
