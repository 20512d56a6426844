"""The wall clock is set forward and back: durations are measured by the monotonic clock.

The time for joining, the rate limit and a client's delays must not end early when the wall clock
is set forward, and must not hang when it is set back; the times in the log follow it. The same
holds on a machine that has been up for thirty years. The tests wait for what must come, and
measure only that it does not come early.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from subprocess import PIPE, Popen

import live
import pytest
from live import LANGUAGES, Server, User, serving
from wall_clock import WallClock, no_wall_clock

HOUR = 3600
JUMPS = (HOUR, -HOUR, 0)
DELAY = 5  # seconds until a client tries again; at its second attempt it is twice that
CLOSE = 300  # seconds: a time in the log is that of now, or an hour away
JOIN_TIMEOUT, RATE, TYPED = 5, 4, 10
LATER = ["unshare", "--map-root-user", "--time", "--monotonic", "1000000000", "--boottime"]
LATER += ["1000000000", "--fork", "--kill-child"]


def cannot(under: Sequence[str]) -> str:
    """Why this machine cannot do it; empty if it can."""
    if not under:
        return no_wall_clock()
    done = subprocess.run([*under, "true"], capture_output=True, text=True, check=False)
    return no_wall_clock() or done.stderr


def pid_of(server: Server) -> int:
    """The server's own process id, if unshare has started it as a child."""
    pid = server.process.pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return (
        int(children[0])
        if children and Path(f"/proc/{pid}/comm").read_text() == "unshare\n"
        else pid
    )


@pytest.mark.parametrize("under", [[], LATER], ids=["now", "after-thirty-years"])
@pytest.mark.parametrize("language", LANGUAGES)
def test_a_server_whose_clock_is_set(language: str, under: Sequence[str], tmp_path: Path) -> None:
    if refused := cannot(under):
        pytest.skip(refused)
    log = tmp_path / "log"
    options = ["--log", str(log), "--join-timeout", str(JOIN_TIMEOUT), "--rate", str(RATE)]
    with serving(language, *options, under=under) as server:
        alice, bob = server.join("alice"), server.join("bob")
        clock = WallClock(pid_of(server), tmp_path)
        for jump in JUMPS:
            began, silent = time.monotonic(), User(server.port)
            silent.sees("Enter your screen name: ")
            alice.types(*(f"{jump}, {number}" for number in range(TYPED)))
            bob.sees(f"alice: {jump}, 0\n")
            clock.jump(jump)
            bob.sees(f"alice: {jump}, {TYPED - 1}\n")
            assert time.monotonic() - began >= (TYPED - RATE) / RATE - 0.1
            silent.sees("\n! timed out\n")
            assert time.monotonic() - began >= JOIN_TIMEOUT
            bob.types("/who")  # after the reply, all earlier events are in the log
            bob.sees("Online (2): alice, bob\n")
            assert abs(stamp_of(log, f"{jump}, {TYPED - 1}") - time.time() - jump) < CLOSE


def stamp_of(log: Path, text: str) -> float:
    """The time of a message in the log."""
    (line,) = (
        line for line in map(json.loads, log.read_text().splitlines()) if line.get("text") == text
    )
    assert line["time"].endswith("Z")
    return datetime.fromisoformat(line["time"]).astimezone(UTC).timestamp()


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_client_whose_clock_is_set_tries_again_in_time(language: str, tmp_path: Path) -> None:
    if refused := no_wall_clock():
        pytest.skip(refused)
    build = live.builds()[f"client-{language}"]
    if build.unavailable:
        pytest.skip(build.unavailable)
    with serving(language) as server:
        words = [
            "--port",
            str(server.port),
            "--name",
            "alice",
            "--retries",
            "2",
            "--retry-delay",
            str(DELAY),
        ]
        command = [*build.argv, *words]
        client = Popen(
            command, cwd=build.implementation.folder, stdin=PIPE, stdout=PIPE, stderr=PIPE
        )
        assert client.stdin
        assert client.stdout
        assert client.stderr
        while b"Welcome" not in (line := client.stdout.readline()):
            assert line
        clock, began = WallClock(client.pid, tmp_path), time.monotonic()
    for number, jump in ((1, HOUR), (2, -HOUR)):
        assert f"({number} of 2)" in client.stderr.readline().decode()
        clock.jump(jump)
        client.stdin.write(b"typed\n")  # wakes it, so it computes its timeout again
        client.stdin.flush()
    assert client.stderr.read().endswith(b"typed\nGiving up after 2 attempts\n")
    assert time.monotonic() - began >= 3 * DELAY
    assert client.wait(live.PATIENT) == 1
