"""Small crowds find no fault in our servers, and find the faults of wrong ones."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import bench_servers
import pytest
from bench_servers import Server, User, running

from bench import PROJECT
from bench.crowds.crowd import Crowd
from bench.table import grid

SMALL = ("--users", "100", "--minutes", "0.03", "--join-timeout", "3")
CORE = min(os.sched_getaffinity(0))


@pytest.mark.parametrize("name", ["c", "go", "python"])
def test_a_small_crowd_finds_nothing_wrong(name: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench.crowds", *SMALL, "--server", name, "--output", str(tmp_path)],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    made = json.loads((tmp_path / "table.json").read_text("utf-8"))
    assert set(made) == {"title", "when", "columns", "rows", "notes"}
    assert made["columns"] == ["", f"server-{name}"]
    assert len(made["rows"]) >= 20
    table = grid(made["columns"], made["rows"])
    assert table in done.stdout
    assert table in (tmp_path / "table.md").read_text("utf-8")


def spoils_one(server: type[bench_servers.Wrong]) -> bench_servers.Wrong:
    """A server that is wrong to u1 alone."""

    class ToOne(server):  # type: ignore[misc, valid-type]
        def spoiled(self, sender: User, receiver: User, messages: list[bytes]) -> Iterable[bytes]:
            if receiver.name != b"u1":
                return messages
            found: Iterable[bytes] = super().spoiled(sender, receiver, messages)
            return found

    made: bench_servers.Wrong = ToOne()
    return made


class Echoing(Server):
    """Sends the first message of a piece back."""

    def relay(self, sender: User, texts: list[bytes]) -> None:
        super().relay(sender, texts)
        if sender.name == b"u0":
            self.send(sender, self.message(sender, texts[0]))


def crowd_at(server: Server) -> Crowd:
    """Three users, of whom two say two lines at once, a few times."""
    crowd = Crowd(server.port)
    crowd.join(["u0", "u1", "u2"])
    for _ in range(bench_servers.EVERY):
        for user in (crowd.users[0], crowd.users[2]):
            if not user.wrong:
                lines = crowd.room.lines + 2
                user.say(b"one\ntwo")
                crowd.loop.run(lambda lines=lines: crowd.room.lines >= lines)  # type: ignore[misc]
    crowd.hear(0)
    return crowd


def test_nothing_is_wrong_with_a_right_server() -> None:
    with running(Server()) as server:
        assert crowd_at(server).faults == []


WRONG: dict[str, Callable[[], Server]] = {
    one.__name__: lambda one=one: spoils_one(one)  # type: ignore[misc]
    for one in (
        bench_servers.Losing,
        bench_servers.Swapping,
        bench_servers.Duplicating,
        bench_servers.DuplicatingLater,
        bench_servers.Damaging,
        bench_servers.Renaming,
        bench_servers.Inventing,
    )
}


@pytest.mark.parametrize("name", WRONG)
def test_what_one_user_got_wrong_is_found(name: str) -> None:
    with running(WRONG[name]()) as server:
        (fault,) = crowd_at(server).faults
    assert fault.startswith("u1: not as the room saw it")


def test_an_echo_is_found() -> None:
    with running(Echoing()) as server:
        assert [fault[:3] for fault in crowd_at(server).faults] == ["u0:"]


def test_a_connection_that_the_server_closes_is_found() -> None:
    with running(bench_servers.Dropping()) as server:
        assert crowd_at(server).faults == ["u2: the server closed its connection"]
