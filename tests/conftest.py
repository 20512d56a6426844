"""What all tests share: default signals for the programs that they start, and a small suite."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from small_suite import write_suite

# A program inherits ignored signals, as after `make test &` in a script, under `nohup`, and in some
# CI runners. Then the programs under test would not end as they should. A signal that has a handler
# in this process is set to its default in a program that this process starts.
ENDING = (signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM)


def pass_over(number: int, frame: object) -> None:
    """Do nothing, so this process still ignores the signal."""


def reset_ignored_signals() -> None:
    """Let the programs that the tests start ignore no signal."""
    for number in ENDING:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, pass_over)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # some tests interrupt themselves
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # if it is ignored, no exit status can be read


reset_ignored_signals()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the longest tests start first, so that no worker is left with one of them at the end."""
    longest = ("test_sanitizers", "test_vanished")
    items.sort(key=lambda item: not any(name in item.nodeid for name in longest))


@pytest.fixture
def suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A suite with one server, which is right, in the working directory."""
    monkeypatch.chdir(tmp_path)
    return write_suite(tmp_path).relative_to(tmp_path)
