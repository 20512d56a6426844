"""The load generator of the bench counts each thing that a server does wrong, and nothing else.

It is built with sanitizers here. Of what it measures, only that is tested which does not depend on
the speed of the machine.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bench_servers
import pytest
from bench_servers import RIGHT, WRONG, Server, running

from bench import PROJECT, contenders
from bench.peers import PEERS, Peer
from bench.server import own_port, serving

CORE = min(os.sched_getaffinity(0))
PATIENT = 60.0  # seconds: enough on a busy machine
COUNTS = ("lost", "duplicates", "swapped", "echoes", "damaged", "dropped")
NOTHING_WRONG = dict.fromkeys(COUNTS, 0)
FLOOD = ("flood", "--seconds", "0.15", "--warm-up", "0.02")

Run = Callable[..., subprocess.CompletedProcess[str]]


def built(name: str, folder: Path) -> Path:
    """One of the bench's C programs, with no warning and with sanitizers."""
    program = folder / name
    flags = ["-std=gnu11", "-O1", "-g", "-Wall", "-Wextra", "-Werror"]
    flags += ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    source = PROJECT / "bench" / f"{name}.c"
    subprocess.run(["gcc", *flags, "-o", program, source], check=True, timeout=PATIENT)
    return program


@pytest.fixture(scope="session")
def generator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The load generator."""
    return built("load", tmp_path_factory.mktemp("load"))


@pytest.fixture(scope="session")
def yardstick(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The least that a chat server can do."""
    return built("yardstick", tmp_path_factory.mktemp("yardstick"))


@pytest.fixture
def run(generator: Path) -> Run:
    """A function that runs the load generator until it ends."""

    def go(*words: str, protocol: str = "chat", port: int) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [generator, "--protocol", protocol, "--port", str(port), *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENT,
            check=False,
        )

    return go


def result(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """Its result: the last line that it printed."""
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def flooded(run: Run, *words: str, **where: Any) -> subprocess.CompletedProcess[str]:
    """A flood in which something comes: on a busy machine, that takes longer."""
    for seconds in ("0.4", "4", "40"):
        done = run("flood", "--seconds", seconds, "--warm-up", "0.02", *words, **where)
        found = result(done)
        assert counts(found) == NOTHING_WRONG
        if found["deliveries"]:
            return done
    raise AssertionError("nothing came")


def counts(found: dict[str, Any]) -> dict[str, int]:
    """Its counts of what went wrong."""
    return {name: found[name] for name in COUNTS}


def why(done: subprocess.CompletedProcess[str]) -> str:
    """The last line of its error message."""
    return done.stderr.splitlines()[-1]


# --- Right servers -------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", RIGHT)
@pytest.mark.parametrize(("senders", "receivers"), [(1, 4), (2, 5)])
def test_a_right_server_has_done_nothing_wrong(
    run: Run, protocol: str, senders: int, receivers: int
) -> None:
    words = ("--senders", str(senders), "--receivers", str(receivers))
    with running(RIGHT[protocol]()) as server:
        done = flooded(run, *words, protocol=protocol, port=server.port)
    found = result(done)
    assert done.stdout.splitlines()[:-1] == ["begin", "end"]
    assert (found["protocol"], found["mode"]) == (protocol, "flood")
    assert (found["senders"], found["receivers"]) == (senders, receivers)
    assert found["users"] == receivers + (senders == 1)
    assert found["sent"] > 0
    assert found["rate"] == pytest.approx(found["deliveries"] / found["seconds"], rel=0.001)


@pytest.mark.parametrize("size", [40, 41, 48, 65, 1000])
def test_all_bytes_of_payloads_of_any_size_are_looked_at(run: Run, size: int) -> None:
    words = (*FLOOD, "--senders", "2", "--receivers", "3", "--size", str(size))
    with running(bench_servers.Damaging()) as server:
        found = result(run(*words, port=server.port))
    assert counts(found) == NOTHING_WRONG | {"damaged": server.wrongs}


@pytest.mark.parametrize("window", [1, 7])
def test_no_more_messages_are_in_flight_than_may_be(run: Run, window: int) -> None:
    words = (*FLOOD, "--senders", "2", "--receivers", "3", "--in-flight", str(window))
    with running(Server()) as server:
        assert counts(result(run(*words, port=server.port))) == NOTHING_WRONG
    assert 1 <= server.most_at_once <= window


@pytest.mark.parametrize("protocol", ["nats", "irc"])
def test_pings_are_answered(run: Run, protocol: str) -> None:
    with running(RIGHT[protocol]()) as server:
        result(run("idle", "--users", "6", "--seconds", "0.2", protocol=protocol, port=server.port))
    assert isinstance(server, bench_servers.Nats | bench_servers.Irc)
    assert server.pongs == 6 * (2 if protocol == "irc" else 1)


# --- Wrong servers -------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", WRONG)
def test_each_wrong_is_counted_as_what_it_is(run: Run, wrong: str) -> None:
    make, count = WRONG[wrong]
    with running(make()) as server:
        found = result(run(*FLOOD, "--senders", "3", "--receivers", "4", port=server.port))
    assert server.wrongs > 0
    assert counts(found) == NOTHING_WRONG | {count: server.wrongs}


def test_of_two_messages_in_one_line_one_is_damaged_and_one_is_lost(run: Run) -> None:
    with running(bench_servers.Joining()) as server:
        found = result(run(*FLOOD, "--receivers", "4", port=server.port))
    assert server.wrongs > 0
    assert counts(found) == NOTHING_WRONG | {"damaged": server.wrongs, "lost": server.wrongs}


@pytest.mark.parametrize("protocol", ["redis", "nats", "irc"])
@pytest.mark.parametrize(
    ("wrong", "count"),
    [
        (bench_servers.Losing, "lost"),
        (bench_servers.Swapping, "swapped"),
        (bench_servers.Duplicating, "duplicates"),
        (bench_servers.DamagingTexts, "damaged"),
    ],
)
def test_wrongs_are_counted_in_every_protocol(
    run: Run, protocol: str, wrong: type[Server], count: str
) -> None:
    with running(type("Both", (wrong, RIGHT[protocol]), {})()) as server:
        words = (*FLOOD, "--senders", "2", "--receivers", "4")
        found = result(run(*words, protocol=protocol, port=server.port))
    assert server.wrongs > 0
    assert counts(found) == NOTHING_WRONG | {count: server.wrongs}


# --- The other modes -----------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", RIGHT)
def test_a_rate_is_kept(run: Run, protocol: str) -> None:
    words = ("rate", "--senders", "2", "--receivers", "5", "--deliveries", "800")
    with running(RIGHT[protocol]()) as server:
        done = run(
            *words, "--seconds", "0.5", "--warm-up", "0.1", protocol=protocol, port=server.port
        )
    found = result(done)
    assert counts(found) == NOTHING_WRONG
    assert done.stdout.splitlines()[:-1] == ["begin", "end"]
    assert found["sent"] == 100  # 200 a second, each to four
    assert found["deliveries"] == 400
    assert found["rate"] == pytest.approx(800)


def test_at_a_rate_a_server_that_pauses_is_not_waited_for(run: Run) -> None:
    words = ("rate", "--receivers", "4", "--deliveries", "400", "--seconds", "0.5")
    with running(bench_servers.Pausing()) as server:
        found = result(run(*words, "--warm-up", "0", port=server.port))
    assert counts(found) == NOTHING_WRONG
    assert found["sent"] == 50
    # One message alone met the pause; but 30 of the 50 were due while it lasted.
    assert found["latency_us"]["max"] > 290_000
    assert found["latency_us"]["p50"] > 30_000


def test_latency_counts_from_when_a_message_was_due(generator: Path) -> None:
    words = ["rate", "--receivers", "4", "--deliveries", "400", "--seconds", "1.5"]
    with running(Server()) as server:
        command = [str(generator), "--protocol", "chat", "--port", str(server.port), *words]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout
            assert process.stdout.readline() == "begin\n"
            process.send_signal(signal.SIGSTOP)  # late itself, it does not blame the messages
            assert not select.select([process.stdout], [], [], 0.3)[0]
            process.send_signal(signal.SIGCONT)
            assert process.stdout.readline() == "end\n"
            found = json.loads(process.stdout.readline())
    assert counts(found) == NOTHING_WRONG
    assert found["sent"] == 150
    assert found["latency_us"]["p99"] > 200_000  # 30 were due meanwhile; one at most was under way


def test_idle_users_are_there_until_the_end(generator: Path) -> None:
    with running(Server()) as server:
        words = ["idle", "--users", "40", "--seconds", "1.5"]
        command = [str(generator), "--protocol", "chat", "--port", str(server.port), *words]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout
            assert process.stdout.readline() == "ready\n"
            assert {user.name for user in server.users if user.joined} == names(40)
            found = json.loads(process.stdout.readline())
    assert (found["mode"], found["users"]) == ("idle", 40)
    assert found["seconds"] >= 1.5
    assert counts(found) == NOTHING_WRONG


@pytest.mark.parametrize("protocol", RIGHT)
def test_users_who_join_leave_in_order(run: Run, protocol: str) -> None:
    with running(Counting.of(RIGHT[protocol])) as server:
        words = ("joins", "--users", "50", "--concurrent", "7")
        found = result(run(*words, protocol=protocol, port=server.port))
    assert isinstance(server, Counting)
    assert server.come == server.gone == 50
    assert server.most <= 7
    assert counts(found) == NOTHING_WRONG
    assert found["rate"] == pytest.approx(50 / found["seconds"], rel=0.001)
    assert found["latency_us"]["p50"] > 0


def names(count: int) -> set[bytes]:
    """The names of so many users."""
    return {b"u%d" % i for i in range(count)}


class Counting(Server):
    """Counts the users who come and go; otherwise it is one of the right servers."""

    come = gone = most = 0

    @classmethod
    def of(cls, right: type[Server]) -> Server:
        """Such a server for one protocol."""
        made: Server = cls() if right is Server else type("Both", (cls, right), {})()
        return made

    def accept(self) -> None:
        super().accept()
        self.come += 1
        self.most = max(self.most, len(self.users))

    def drop(self, user: bench_servers.User) -> None:
        """End a connection."""
        self.gone += user in self.users and user.joined
        super().drop(user)


# --- What cannot be carried out ------------------------------------------------------------------


def test_who_is_refused_says_so(run: Run) -> None:
    with running(bench_servers.Refusing()) as server:
        done = run(*FLOOD, "--receivers", "2", port=server.port)
    assert done.returncode == 1
    assert why(done) == 'load: u0 cannot enter: the server says "! name in use: u0"'


def test_a_server_that_ends_all_connections_is_an_error(run: Run) -> None:
    with running(bench_servers.Leaving()) as server:
        done = run(*FLOOD, "--receivers", "2", port=server.port)
    assert done.returncode == 1
    assert why(done).endswith("nobody is left")


def test_a_port_at_which_nobody_listens_is_an_error(run: Run) -> None:
    with own_port() as port:
        done = run(*FLOOD, "--receivers", "2", port=port)
    assert done.returncode == 1
    assert why(done) == f"load: cannot connect to 127.0.0.1:{port}: Connection refused"


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ([], "MODE is missing"),
        (["stroll"], "no such mode: stroll"),
        (["flood", "idle"], "no such mode: idle"),
        (["flood", "--size", "39"], "--size: not a number from 40 to 1000: 39"),
        (["flood", "--senders", "1.5"], "--senders: not a number from 1 to 60000: 1.5"),
        (["flood", "--seconds", "soon"], "--seconds: not a number from 0.001 to 1e+06: soon"),
        (["flood", "--receivers"], "--receivers: a value is missing"),
        (["flood", "--users", "3"], "--users: not for flood"),
        (["idle", "--colour", "3"], "no such option: --colour"),
        (["flood", "--senders", "3", "--receivers", "2"], "as many as --receivers: 3"),
        (["flood"], "nobody but the sender would receive: 1"),
        (["idle", "--protocol", "smtp"], "no such protocol: smtp"),
        (
            ["flood", "--receivers", "2", "--protocol", "irc", "--size", "500"],
            "at most 400 for irc",
        ),
    ],
)
def test_a_bad_command_line_is_an_error(run: Run, words: list[str], complaint: str) -> None:
    done = run(*words, port=1)
    assert done.returncode == 2
    assert why(done).endswith(complaint)


# --- The yardstick, and real servers -------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        ("--senders", "1", "--receivers", "20"),
        ("--senders", "20", "--receivers", "20"),
        ("--senders", "20", "--receivers", "20", "--in-flight", "1"),
        ("--senders", "10", "--receivers", "20", "--in-flight", "5000", "--size", "900"),
        ("--senders", "10", "--receivers", "20", "--stuck", "2"),
    ],
)
def test_the_yardstick_is_right(
    run: Run, yardstick: Path, tmp_path: Path, words: tuple[str, ...]
) -> None:
    with serving(contenders.yardstick(str(yardstick)), CORE, tmp_path) as server:
        flooded(run, *words, port=server.port)
        joined = result(run("joins", "--users", "100", port=server.port))
    assert counts(joined) == NOTHING_WRONG


@pytest.mark.parametrize("peer", PEERS, ids=lambda one: one.name)
def test_real_servers_have_done_nothing_wrong(run: Run, peer: Peer, tmp_path: Path) -> None:
    """With the configuration of the bench."""
    contender = contenders.installed(peer)
    if not contender:
        pytest.skip(f"{peer.program} is not installed")
    tmp_path.chmod(0o755)  # some of them run as nobody
    with serving(contender, CORE, tmp_path) as server:
        where = {"protocol": peer.protocol, "port": server.port}
        flooded(run, "--senders", "3", "--receivers", "10", **where)
        joined = result(run("joins", "--users", "20", **where))
    assert counts(joined) == NOTHING_WRONG
