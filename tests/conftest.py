"""Signals as a person at a terminal has them, however the tests were started."""

from __future__ import annotations

import signal

import pytest

# Each program inherits that a signal is ignored, as it is after `make test &` in a script, under
# `nohup` and in some CI runners. Then the programs under test would not end as they should. What a
# program inherits is the default wherever there is a handler here.
ENDING = (signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM)


def pass_over(number: int, frame: object) -> None:
    """Do nothing: this process goes on to ignore what it was started to ignore."""


def reset_ignored_signals() -> None:
    """Make sure that nothing the tests start ignores a signal."""
    for number in ENDING:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, pass_over)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # some tests interrupt themselves
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # where it is ignored, no status is to be had


reset_ignored_signals()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest tests come first, so that none of them is alone at the end."""
    items.sort(key=lambda item: "test_sanitizers" not in item.nodeid)
