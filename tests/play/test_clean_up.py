"""No program outlives its case, however the case ends."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny import LISTENING, PATIENT, SHORT, only_case, played, program, scenario, write_suite

from conformance.builds.build import Build
from conformance.model import FailureKind, Role
from conformance.play.case import runner
from conformance.play.case.runner import play
from conformance.play.processes import system
from conformance.play.schedule.deadlines import Deadlines
from conformance.read.suite import SuiteFile

# Writes its process id, and ignores the signals that ask it to end.
STAYING = """
import os, signal
for one in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
    signal.signal(one, signal.SIG_IGN)
pids = os.open("pids", os.O_WRONLY | os.O_APPEND)
os.write(pids, b"%d\\n" % os.getpid())
"""
SERVER = STAYING + "ready()\nwhile True: signal.pause()\n"
CLIENT = STAYING + "print('here', flush=True)\nwhile True: signal.pause()\n"

CAST = "{server: server on pipes, ann: client, tom: client on pipes}"
ALL_HERE = """
- server: starts
- ann, tom: starts
- ann, tom: {sees: here}
"""


@pytest.fixture
def suite(tmp_path: Path) -> SuiteFile:
    (tmp_path / "pids").touch()
    return write_suite(tmp_path)


def programs(suite: SuiteFile, server: str = SERVER) -> tuple[Build, Build]:
    return program(suite.folder, server), program(suite.folder, CLIENT, Role.CLIENT)


def pids_of(suite: SuiteFile) -> list[int]:
    """The process ids of all started programs."""
    return [int(line) for line in (suite.folder / "pids").read_text().split()]


def assert_gone(pids: list[int], count: int) -> None:
    assert len(pids) == count
    assert [pid for pid in pids if Path(f"/proc/{pid}").exists()] == []


def test_after_a_case_that_fails_midway(suite: SuiteFile) -> None:
    steps = ALL_HERE + f"- ann: {{sees: more, within: {SHORT}}}\n- ann, tom: {{exits: 0}}\n"
    failure = played(suite, scenario(suite, steps, CAST), *programs(suite)).failure
    assert failure
    assert failure.step.endswith('ann: {sees: "more"}')
    assert_gone(pids_of(suite), 3)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGINT"])
def test_after_a_server_that_ignores(suite: SuiteFile, name: str) -> None:
    steps = (
        f"- server: starts\n- server: {{is_sent: {name}}}\n- server: {{exits: 0, within: {SHORT}}}"
    )
    failure = played(suite, scenario(suite, steps, "{}"), *programs(suite)).failure
    assert failure
    assert failure.seen == "it is still running"
    assert_gone(pids_of(suite), 1)


def test_after_a_server_that_is_stopped(suite: SuiteFile) -> None:
    steps = (
        f"- server: starts\n- server: {{is_sent: SIGSTOP}}\n- server: {{exits: 0, within: {SHORT}}}"
    )
    assert played(suite, scenario(suite, steps, "{}"), *programs(suite)).failure
    assert_gone(pids_of(suite), 1)


# A chain of processes, each of which starts the next one in its own session.
CHAIN = (
    STAYING
    + """
import subprocess, sys
if (more := int(sys.argv[1])):
    subprocess.Popen([sys.executable, "-S", "chain.py", str(more - 1)], start_new_session=True)
else:
    open("last", "w").close()
while True: signal.pause()
"""
)


# Ends when the last process of its chain runs.
FLEEING = """
ready()
null = subprocess.DEVNULL
options = {"start_new_session": True, "stdin": null, "stdout": null, "stderr": null}
subprocess.Popen([sys.executable, "-S", "chain.py", "2"], **options)
open("last").read()
"""


def test_after_programs_that_fled_to_sessions_of_their_own(suite: SuiteFile) -> None:
    """When a process is killed, its children become children of the harness."""
    (suite.folder / "chain.py").write_text(CHAIN)
    os.mkfifo(suite.folder / "last")
    steps = "- server: starts\n- server: {exits: 0}"
    failure = played(suite, scenario(suite, steps, "{}"), *programs(suite, FLEEING)).afterwards
    assert failure
    assert failure.seen == "3 left, and killed"
    assert_gone(pids_of(suite), 3)


FLED = """
import os, subprocess
null = subprocess.DEVNULL
options = {{"start_new_session": True, "stdin": null, "stdout": null, "stderr": null}}
subprocess.Popen(["sleep", "600"], cwd="{}", **options)
"""
PAUSED = "ready()\nsignal.pause()\n"
BOTH_END = """
- server: starts
- ann: starts
- ann: {exits: 0}
- server: {is_sent: SIGTERM}
- server: {exits: SIGTERM}
"""


@pytest.mark.parametrize(
    ("server", "client", "to_blame"),
    [
        pytest.param(FLED.format("."), "", "server-tiny", id="server"),
        pytest.param("", FLED.format("."), "client-tiny", id="client"),
        pytest.param("", FLED.format("/"), "", id="unknown"),
        pytest.param(FLED.format("."), FLED.format("."), "", id="both"),
    ],
)
def test_who_left_them_behind_is_told_by_their_folder(
    server: str, client: str, to_blame: str, suite: SuiteFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "GROUP_SECONDS", 0.0)  # they do not end by themselves
    folders = [suite.folder / "server", suite.folder / "client"]
    for folder in folders:
        folder.mkdir()
    builds = [program(folders[0], server + PAUSED), program(folders[1], client, Role.CLIENT)]
    one = scenario(suite, BOTH_END, "{ann: client}")
    failure = played(suite, one, *builds).afterwards
    assert failure
    assert (failure.kind, failure.program) == (FailureKind.LEFT_OVER, to_blame)


def test_where_the_wait_for_them_is_interrupted(
    suite: SuiteFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl+C, while all programs of a case have ended but for one that nobody knows."""
    (suite.folder / "chain.py").write_text(CHAIN)
    os.mkfifo(suite.folder / "last")

    def interrupted(kept: set[int], seconds: float) -> list[Path | None]:
        monkeypatch.setattr(runner, "reap", system.reap)
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, "reap", interrupted)
    steps = "- server: starts\n- server: {exits: 0}"
    with pytest.raises(KeyboardInterrupt):
        played(suite, scenario(suite, steps, "{}"), *programs(suite, FLEEING))
    assert_gone(pids_of(suite), 3)


def test_no_descriptor_stays_open(suite: SuiteFile) -> None:
    steps = ALL_HERE + f"- ann: {{sees: more, within: {SHORT}}}\n- ann, tom: {{exits: 0}}\n"
    one = scenario(suite, steps, CAST)
    counts = set()
    for _ in range(3):
        assert played(suite, one, *programs(suite)).failure
        counts.add(len(os.listdir("/proc/self/fd")))
    assert len(counts) == 1


# --- Where the playing process itself ends ---------------------------------------------------

OVER = """\
- ann, tom, eve: {exits: 0}
- eve: {shows: over}
"""
MANIFEST = """\
name: tiny
role: {role}
language: Python
run: "{{python}} -I -S {role}.py"
"""


@pytest.fixture
def playing(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A run of a case whose programs are all started, and wait for each other forever."""
    suite = write_suite(tmp_path)
    steps = ALL_HERE + "- eve: starts\n- eve: {types: client}\n- server: {sees: more}\n" + OVER
    scenario(suite, steps, CAST.replace("}", ", eve: client in a shell}"))
    os.mkfifo(tmp_path / "pids")
    for role, text in (("server", LISTENING + SERVER), ("client", CLIENT)):
        home = tmp_path / "servers" / role
        home.mkdir(parents=True)
        (home / f"{role}.py").write_text(text)
        (home / "pids").symlink_to(tmp_path / "pids")
        (home / "implementation.yaml").write_text(MANIFEST.format(role=role))
    words = ["run", str(tmp_path), "--deadline", "600", "--output", str(tmp_path / "output")]
    command = [sys.executable, "-m", "conformance", *words]
    with subprocess.Popen(command, stdout=-3, stderr=-3, start_new_session=True) as process:
        yield process
        process.kill()


def programs_up(folder: Path, count: int) -> list[int]:
    """Wait until so many programs have written their process ids; returns the ids."""
    pipe = os.open(folder / "pids", os.O_RDWR)
    data = b""
    while data.count(b"\n") < count:
        assert select.select([pipe], [], [], PATIENT)[0], "not all programs came up"
        data += os.read(pipe, 1000)
    os.close(pipe)
    return [int(line) for line in data.split()]


def children_of(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def descendants(pid: int) -> list[int]:
    below = children_of(pid)
    return below + [other for child in below for other in descendants(child)]


def assert_ends(pids: list[int], end: str, process: subprocess.Popen[bytes]) -> None:
    """End the run in this way, and wait until all these processes have ended."""
    watched = [os.pidfd_open(pid) for pid in pids]
    if end == "the worker is killed":
        (worker,) = children_of(process.pid)
        os.kill(worker, signal.SIGKILL)
    elif end == "Ctrl+C":
        os.killpg(process.pid, signal.SIGINT)
    else:
        process.send_signal(signal.Signals[end])
    for fd in watched:
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        assert poll.poll(PATIENT * 1000), "a program goes on"
        os.close(fd)


@pytest.mark.parametrize("end", ["the worker is killed", "Ctrl+C", "SIGINT", "SIGKILL"])
def test_after_the_end_of(end: str, playing: subprocess.Popen[bytes], tmp_path: Path) -> None:
    """Programs on terminals, on pipes, jobs of a shell, and the guard process."""
    pids = programs_up(tmp_path, 4)
    everything = descendants(playing.pid)
    assert set(pids) < set(everything)
    assert_ends(everything, end, playing)
    statuses = {"the worker is killed": 1, "SIGKILL": -signal.SIGKILL}
    assert playing.wait(PATIENT) == statuses.get(end, 130)


def test_an_interrupted_case_leaves_nothing(suite: SuiteFile) -> None:
    """Ctrl+C is not a failure: the caller gets it after all programs have ended."""
    steps = "- server: starts\n- tom: starts\n- tom: {sees: more}\n- tom: {exits: 0}\n"
    server, client = programs(suite)
    interrupting = f"import os\nos.kill({os.getpid()}, {int(signal.SIGINT)})\n"
    client.implementation.folder.joinpath("client.py").write_text(interrupting + CLIENT)
    cast = "{server: server on pipes, tom: client on pipes}"
    case, builds = only_case(scenario(suite, steps, cast), server, client)
    with pytest.raises(KeyboardInterrupt):
        play(case, suite, builds, Deadlines(PATIENT))
    assert all(not Path(f"/proc/{pid}").exists() for pid in pids_of(suite))
