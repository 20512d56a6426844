"""What pytest loads in every run. Without a suite, nothing here has an effect.

A suite takes part when its folder, or a file in it, is named on pytest's command line (or is among
its `testpaths`). Only then is the rest of the harness imported.
"""

from __future__ import annotations

import os
import re
import signal
import threading
from collections.abc import Generator
from functools import partial
from pathlib import Path

import pytest

from conformance.options import CHOOSING, PLAYING

PREFIX = "--conformance-"  # of each option, so that no other plugin has it
OPTIONS = CHOOSING | PLAYING

WORKERS_PER_PROCESSOR = 3
WORKERS_VARIABLE = "PYTEST_XDIST_AUTO_NUM_WORKERS"  # by which a person says how many

# What each suite.yaml of this harness says. Other tools may have files of the same name.
_OUR_KEYS = re.compile(rb"""^["']?(protocol|programs)["']?\s*:""", re.MULTILINE)

_most = pytest.StashKey[int | None]()  # cases at a time; None: as many as fit


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options of `conformance run`."""
    group = parser.getgroup("conformance", "conformance of servers and clients")
    for name, words in OPTIONS.items():
        same = {"help": f"as --{name} of `conformance run`"}
        group.addoption(PREFIX + name, **words | same)


@pytest.hookimpl(wrapper=True, optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> Generator[None, int, int]:
    """With `-n auto`, a suite alone needs no workers of pytest-xdist: the harness has its own.

    Beside other tests there are several for each processor, because cases mostly wait.
    """
    count = yield
    paths = _suite_paths(config)
    if not paths or WORKERS_VARIABLE in os.environ:
        return count
    if len(paths) < len(config.args):
        return count * WORKERS_PER_PROCESSOR
    config.stash[_most] = config.option.maxprocesses
    return 0


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Read the suite that is named, if one is; a mistake in it stops everything here."""
    if not (paths := _suite_paths(config)):
        return
    from conformance import pytest_cases

    options = {name.replace("-", "_"): config.getoption(PREFIX + name) for name in OPTIONS}
    cases = pytest_cases.Cases(config, paths, options)
    config.pluginmanager.register(cases, "conformance-cases")
    if config.option.collectonly:
        return
    if hasattr(config, "workerinput"):
        player: object = pytest_cases.Worker(cases)
    else:
        _hear_signals(config)
        player = pytest_cases.Controller(cases, config.stash.get(_most, 1))
    config.pluginmanager.register(player, "conformance-player")


def _suite_paths(config: pytest.Config) -> list[Path]:
    """Those of the paths among the arguments that are a suite's folder, or files in one."""
    named = [argument.partition("::")[0] for argument in config.args]
    return [Path(path) for path in named if _is_of_suite(path)]


def _is_of_suite(path: str) -> bool:
    if os.path.isdir(path):
        folder = path
    elif path.endswith(".yaml") and os.path.isfile(path):
        folder = os.path.dirname(path)
    else:
        return False
    try:
        text = Path(folder, "suite.yaml").read_bytes()
    except OSError:
        return False
    return len(set(_OUR_KEYS.findall(text))) == 2


def _hear_signals(config: pytest.Config) -> None:
    """Until the end, react to SIGINT and SIGCHLD, which a shell's background job ignores.

    Without them, Ctrl+C would not end a run, and the status of children would be lost.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        config.add_cleanup(partial(_ignore, signal.SIGINT))
    if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        config.add_cleanup(partial(_ignore, signal.SIGCHLD))


def _ignore(number: signal.Signals) -> None:
    signal.signal(number, signal.SIG_IGN)
