"""System calls that fail: a sample of the table's cells, another one for each program.

`make faults` plays all cells.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import draw
import pytest
from programs import PLAYS, Builds, build_programs, play_cell
from server_plays import ServerPlay
from table import LANGUAGES, Cell, Row, cells, read_table
from traced import Injection, Traced

STEPS = {"server": 12, "client": 7}  # one cell of so many is played

# Calls without a row: they cannot fail, or the program can do nothing about a failure.
LEFT_OUT = {
    "brk mmap munmap mprotect madvise mremap": "memory: a program without it ends",
    "futex sched_yield membarrier": "locks within a program",
    "nanosleep clock_nanosleep timer_settime timer_create timer_delete": "clocks of Go's runtime",
    "rt_sigaction rt_sigprocmask rt_sigreturn sigaltstack tgkill alarm": "how signals are handled",
    "getpid gettid getrusage sched_getaffinity prlimit64 uname sysinfo": "process and machine",
    "set_robust_list rseq exit exit_group arch_prctl": "the life of a thread",
    "clone clone3 eventfd2 pipe2": "in a running program, only Go's runtime makes these",
    "getsockopt getpeername getsockname": "the kernel's data about a socket",
    "fcntl ioctl lseek": "the state of a descriptor; for a terminal, failures are ignored",
    "getrandom": "it never fails once the system has started",
    "readlink readlinkat getcwd access newfstatat fstat": "files that are opened next",
    "epoll_ctl epoll_create1": "an existing descriptor is watched",
    "unlink unlinkat": "of a file that may be missing",
    "setpriority": "works without it, too",
    "restart_syscall": "the kernel continues a call after a stop",
    "close": "the kernel gives no error for a connection",
    "recvfrom sendto": "between threads: no signal interrupts them, and the buffer has room",
}


def sample(role: str, program: str) -> list[Cell]:
    """Some cells of a program, not the same as for the others."""
    own = [cell for cell in cells() if (cell.role, cell.program) == (role, program)]
    return own[LANGUAGES.index(program) * 4 % STEPS[role] :: STEPS[role]]


SAMPLE = [cell for role in PLAYS for program in LANGUAGES for cell in sample(role, program)]


@pytest.fixture(scope="module")
def builds(tmp_path_factory: pytest.TempPathFactory) -> Builds:
    return build_programs(tmp_path_factory.mktemp("sanitized"))


@pytest.mark.parametrize("cell", SAMPLE, ids=str)
def test_a_call_that_fails(cell: Cell, builds: Builds) -> None:
    played = play_cell(builds, cell)
    assert played.strace.failed(), "the program makes no such call: mend the table"


@pytest.mark.parametrize("program", LANGUAGES)
@pytest.mark.parametrize("role", PLAYS)
def test_each_call_has_a_row(role: str, program: str, builds: Builds, tmp_path: Path) -> None:
    """Each call of a running program is in the table or left out."""
    word = "talks" if role == "server" else "is lost"
    row = Row("all", {program: ("all",)}, "", word, {}, "", "")
    play = PLAYS[role](builds[role, program], Cell(row, role, program, ""), tmp_path)
    try:
        play.settle()
        strace = Traced(Injection(("all",)), tmp_path)
        strace.attach(play.program.process.pid)
        play.scenes[word]()
        if isinstance(play, ServerPlay):
            for scene in ("hangs up", "registers"):
                play.scenes[scene]()
        play.afterwards()
        strace.detach()
    finally:
        play.close()
    made = set(re.findall(r"^(?:\d+ +)?(\w+)\(", strace.heard.text, re.M))
    rows = {call for one in read_table()[role] for call in one.calls.get(program, ())}
    unknown = made - rows - set(" ".join(LEFT_OUT).split())
    assert made & rows
    assert not unknown, f"no row of the table has {sorted(unknown)}"


def test_each_row_has_a_rule() -> None:
    text = (Path(__file__).parents[2] / "PROTOCOL.md").read_text("utf-8")
    for rows in read_table().values():
        for row in rows:
            assert f"- {row.rule} (" in text, row.what
            assert row.fates, row.what


def test_the_table_is_drawn(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`make faults` for a few cells."""
    monkeypatch.setattr(draw, "FILE", tmp_path / "table.md")
    monkeypatch.setattr(draw, "ROOT", tmp_path)
    assert draw.main(["server-c: close the old log"]) == 0
    assert "| close the old log | close | EIO | ✓ served | not played |" in draw.FILE.read_text()


def test_what_goes_wrong_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A table that expects something else is reported."""
    monkeypatch.setattr(draw, "FILE", tmp_path / "table.md")
    monkeypatch.setattr(draw, "ROOT", tmp_path)
    (cell,) = (one for one in cells() if str(one) == "server-go: open the log: EACCES")
    wrong = replace(cell, row=replace(cell.row, fates={"EACCES": "starts"}))
    monkeypatch.setattr(draw, "cells", lambda: [wrong])
    assert draw.main([]) == 1
    assert "server-go: open the log: EACCES: ✗ it ends" in capsys.readouterr().out
