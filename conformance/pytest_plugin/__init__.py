"""The plugin that pytest loads in every run. It has no effect without a suite.

A suite takes part if pytest's command line (or its `testpaths`) names its folder, or a file in it.
The rest of the harness is imported only then.
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

from conformance.session.options import CHOOSING, PLAYING

PREFIX = "--conformance-"  # of each option, so that it differs from those of other plugins
OPTIONS = CHOOSING | PLAYING

WORKERS_PER_PROCESSOR = 3
WORKERS_VARIABLE = "PYTEST_XDIST_AUTO_NUM_WORKERS"  # if a person sets it, it counts

# Keys that each suite.yaml of this harness has. Other tools may have files of the same name.
_OUR_KEYS = re.compile(rb"""^["']?(protocol|programs)["']?\s*:""", re.MULTILINE)

_most = pytest.StashKey[int | None]()  # cases in parallel; None: as many as the machine allows


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options of `conformance run`."""
    group = parser.getgroup("conformance", "conformance of servers and clients")
    for name, words in OPTIONS.items():
        same = {"help": f"as --{name} of `conformance run`"}
        group.addoption(PREFIX + name, **words | same)


@pytest.hookimpl(wrapper=True, optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> Generator[None, int, int]:
    """The number of pytest-xdist workers for `-n auto`.

    0 if only suites are named, because the harness has workers of its own. With other tests, there
    are several for each processor, because cases mostly wait.
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
    """Read the named suite, if there is one; a mistake in it ends pytest."""
    if not (paths := _suite_paths(config)):
        return
    from conformance.pytest_plugin.cases import Cases, Controller, Worker

    options = {name.replace("-", "_"): config.getoption(PREFIX + name) for name in OPTIONS}
    cases = Cases(config, paths, options)
    config.pluginmanager.register(cases, "conformance-cases")
    if config.option.collectonly:
        return
    if hasattr(config, "workerinput"):
        player: object = Worker(cases)
    else:
        _hear_signals(config)
        player = Controller(cases, config.stash.get(_most, 1))
    config.pluginmanager.register(player, "conformance-player")


def _suite_paths(config: pytest.Config) -> list[Path]:
    """The arguments that are the folder of a suite, or a file in one."""
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
    """Handle SIGINT and SIGCHLD until pytest ends: a shell's background job ignores SIGINT.

    If SIGINT is ignored, Ctrl+C does not end a run. If SIGCHLD is, the status of children is lost.
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
