"""Actors in a shell: a program as a job, which is stopped, put into the background, and ended."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from tiny import ECHO, PATIENT, SHORT, played, program, scenario, write_suite

from conformance.mistakes import Mistake
from conformance.model import Outcome, Role
from conformance.play.actors import meters
from conformance.read.suite import SuiteFile

CAST = "{ann: client in a shell}"

# Prints whether it leads a process group, as a job does, its name, and then what it reads.
TELLING = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
print("a job" if os.getpid() == os.getpgrp() else "a part of one", *sys.argv[3:], flush=True)
for line in sys.stdin:
    print("<" + line.rstrip() + ">", flush=True)
sys.exit(3)
"""
EXIT = "- ann: {types: exit 0}\n- ann: {exits: 0}\n- ann: {shows: {last: [$ exit 0, exit]}}\n"


@pytest.fixture
def suite(tmp_path: Path) -> SuiteFile:
    return write_suite(tmp_path)


def outcome(
    suite: SuiteFile, steps: str, client: str = TELLING, deadline: float = PATIENT
) -> Outcome:
    """The outcome when a client with this text is in a shell."""
    one = scenario(suite, "- server: starts\n" + steps, CAST)
    programs = [program(suite.folder, ECHO), program(suite.folder, client, Role.CLIENT)]
    found = played(suite, one, *programs, deadline=deadline)
    assert found.error is None
    return found


def passes(suite: SuiteFile, steps: str, client: str = TELLING) -> None:
    found = outcome(suite, steps, client)
    assert (found.failure, found.afterwards) == (None, None)


def test_a_program_is_a_command_of_the_shell(suite: SuiteFile) -> None:
    steps = """\
- ann: starts
- ann: {shows: "$ ‸"}
- ann: {types: client --more 'two words'}
- ann: {shows: [$ client --more 'two words', a job ann --more two words, "‸"]}
- ann: {types: one}
- ann: {shows: {last: [one, <one>, "‸"]}}
- ann: {presses: Ctrl+D}
- ann: {shows: {last: [<one>, "$ ‸"]}}
- ann: {types: echo status $?}
- ann: {shows: {last: [status 3, "$ ‸"]}}
"""
    passes(suite, steps + EXIT)


@pytest.mark.parametrize("name", ["a:b", "a\udcffb"])
def test_a_program_is_a_command_whatever_the_folder_of_the_case_is_called(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / name
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    steps = """\
- ann: starts
- ann: {types: client}
- ann: {shows: [$ client, a job ann, "‸"]}
- ann: {presses: Ctrl+D}
- ann: {shows: {last: [a job ann, "$ ‸"]}}
"""
    passes(write_suite(folder / "suite"), steps + EXIT)


def test_a_program_is_a_job(suite: SuiteFile) -> None:
    """The shell stops the program itself: no other process is between them."""
    steps = """\
- ann: {starts: , under: nice}
- ann: {types: client}
- ann: {shows: {last: [a job ann, "‸"]}}
- ann: {presses: Ctrl+Z}
- ann: {shows: {last: ["^Z", "[1]+  Stopped                 client", "$ ‸"]}}
- ann: {types: fg}
- ann: {shows: {last: [$ fg, client, "‸"]}}
- ann: {types: one}
- ann: {shows: {last: [one, <one>, "‸"]}}
- ann: {presses: Ctrl+C}
- ann: {shows: {last: ["^C", "$ ‸"]}}
"""
    passes(suite, steps + EXIT)


def test_a_program_in_the_background(suite: SuiteFile) -> None:
    steps = """\
- ann: starts
- ann: {types: "client > /dev/null &"}
- ann: {shows: [$ client > /dev/null &, {matches: '.1. [0-9]+'}, "$ ‸"]}
- ann: {types: wait %1}
- ann: {shows: {last: ["[1]+  Stopped                 client > /dev/null", "$ ‸"]}}
- ann: {idles_for: 0.2}
- ann: {types: fg}
- ann: {shows: {last: [client > /dev/null, "‸"]}}
- ann: {presses: Ctrl+D}
- ann: {shows: {last: "$ ‸"}}
"""
    passes(suite, steps + EXIT)


def test_a_job_that_computes_is_not_idle(suite: SuiteFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meters, "_IDLE_SHARE", 0.01)  # more is sure on a busy machine, too
    steps = """\
- ann: starts
- ann: {types: client}
- ann: {shows: [$ client, 'on', "‸"]}
- ann: {idles_for: 1}
"""
    failure = outcome(suite, steps + EXIT, "print('on', flush=True)\nwhile True: pass").failure
    assert failure
    assert failure.expected == "less than 1% of a processor"


@pytest.mark.parametrize("ignores", [False, True])
def test_a_job_that_outlives_its_shell(suite: SuiteFile, ignores: bool) -> None:
    client = "import signal\nprint('here', flush=True)\nwhile True: signal.pause()\n"
    if ignores:  # the shell's signal for a stopped job
        client = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + client
    steps = """\
- ann: starts
- ann: {types: client}
- ann: {shows: {last: [here, "‸"]}}
- ann: {presses: Ctrl+Z}
- ann: {shows: {last: "$ ‸"}}
- ann: {types: exit}
- ann: {shows: {last: [There are stopped jobs., "$ ‸"]}}
- ann: {types: exit}
- ann: {exits: 1}
- ann: {shows: {last: [$ exit, exit]}}
"""
    found = outcome(suite, steps, client)
    assert found.failure is None
    assert (found.afterwards and found.afterwards.seen) == (
        "1 left, and killed" if ignores else None
    )


def test_what_a_program_leaves_of_the_terminal_is_seen_at_the_end_of_the_shell(
    suite: SuiteFile,
) -> None:
    client = "import os\nos.write(1, b'\\x1b[?25l')\n"
    steps = "- ann: starts\n- ann: {types: client}\n- ann: {shows: {last: '$ ‸'}}\n" + EXIT
    failure = outcome(suite, steps, client).failure
    assert failure
    assert failure.seen.startswith("the cursor is hidden")


def test_a_shell_that_is_not_ready(suite: SuiteFile, monkeypatch: pytest.MonkeyPatch) -> None:
    tools = suite.folder / "tools"
    tools.mkdir()
    (tools / "bash").write_text("#!/bin/sh\necho mine\nread line\n")
    (tools / "bash").chmod(0o700)
    monkeypatch.setenv("PATH", str(tools), prepend=":")
    failure = outcome(suite, "- ann: starts\n" + EXIT, deadline=SHORT).failure
    assert failure
    assert failure.expected == "row 1: $ ‸"


@pytest.mark.parametrize(
    ("steps", "problem"),
    [
        ("- ann: {sees: x}", "ann is in a shell, so `sees` is not for it; use `shows`"),
        ("- ann: {is_sent: SIGTERM}", "ann is in a shell, so `is_sent` is not for it"),
        ("- ann: {grows_less_than: 1 MiB}", "so `grows_less_than` is not for it"),
        ("- ann: {has_socket_option: {SO_TYPE: 1}}", "so `has_socket_option` is not for it"),
        ("- ann: {enters: hall}", "ann is on a screen, so it cannot see fences"),
        ("- ann: {types: exit}\n- ann: {exits: 0}", "add what its screen `shows`"),
    ],
)
def test_what_is_not_for_a_shell_is_refused(suite: SuiteFile, steps: str, problem: str) -> None:
    with pytest.raises(Mistake) as error:
        scenario(suite, f"- server: starts\n- ann: starts\n{steps}", CAST)
    assert any(problem in one for one in error.value.problems), error.value.problems


def test_no_server_is_in_a_shell(suite: SuiteFile) -> None:
    with pytest.raises(Mistake, match="no such kind of actor: `server in a shell`"):
        scenario(suite, "- server: starts", "{server: server in a shell}")
