"""The pool: each case is played once, whatever a worker does, and no worker is left."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from conformance.mistakes import Place
from conformance.model import Case, Implementation, Kind, Outcome, Role, Scenario
from conformance.play.network import own_network
from conformance.play.network.sockets import has_listener
from conformance.play.schedule import pool
from conformance.play.schedule.pool import play_all

CASES = [
    Case(
        Scenario(f"few/case-{n}", "few.yaml", "", (), Kind.SERVER, {}, (), {}, {}, Place("", 1)),
        None,
        (),
    )
    for n in range(6)
]
FIRST = CASES[0]

# A worker of pytest-xdist has a second thread when it forks; the command does not.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")

Play = Callable[[Case], Outcome]


def says_its_id(case: Case) -> Outcome:
    """Play a case; its transcript is its id."""
    return Outcome(0.0, transcript=case.id)


def played(play: Play, jobs: int, cases: list[Case] = CASES) -> dict[str, Outcome]:
    """All outcomes, by the id of the case."""
    return {case.id: outcome for case, outcome in play_all(cases, play, jobs=jobs)}


@pytest.mark.parametrize("jobs", [1, 2, 20])
def test_every_case_gets_its_own_outcome(jobs: int) -> None:
    outcomes = played(says_its_id, jobs)
    assert {id: outcome.transcript for id, outcome in outcomes.items()} == {
        case.id: case.id for case in CASES
    }


def test_no_cases_no_workers() -> None:
    assert played(says_its_id, 2, []) == {}


def test_as_many_at_the_same_time_as_jobs() -> None:
    """Each case waits until three are running, so with fewer jobs none would end."""
    meeting = multiprocessing.get_context("fork").Barrier(3)

    def meet(case: Case) -> Outcome:
        meeting.wait()
        return says_its_id(case)

    assert len(played(meet, 3)) == len(CASES)


def test_each_worker_has_its_own_session() -> None:
    """So it gets as much of a busy machine as a program does."""

    def tell_its_session(_: Case) -> Outcome:
        return Outcome(0.0, transcript=f"{os.getpid()} in {os.getsid(0)}")

    for outcome in played(tell_its_session, 2).values():
        worker, session = outcome.transcript.split(" in ")
        assert worker == session


def test_a_worker_that_dies_costs_its_own_case_alone() -> None:
    def die(case: Case) -> Outcome:
        if case is FIRST:
            os.kill(os.getpid(), signal.SIGKILL)
        return says_its_id(case)

    outcomes = played(die, 2)
    assert "ended with status -9" in str(outcomes.pop(FIRST.id).error)
    assert len(outcomes) == len(CASES) - 1
    assert all(outcome.error is None for outcome in outcomes.values())


def test_what_the_harness_throws_is_an_error_of_its_case() -> None:
    def throw(case: Case) -> Outcome:
        if case is FIRST:
            raise ZeroDivisionError("a bug")
        return says_its_id(case)

    outcomes = played(throw, 2)
    thrown = outcomes.pop(FIRST.id)
    assert str(thrown.error).endswith("report it: ZeroDivisionError: a bug")
    assert [one.stream for one in thrown.output] == ["its stack trace"]
    assert all(outcome.error is None for outcome in outcomes.values())


def test_workers_that_are_stopped_clean_up_first(tmp_path: Path) -> None:
    """The first case stops the iteration while others are playing."""
    playing = multiprocessing.get_context("fork").Barrier(3)

    def wait_for_ever(case: Case) -> Outcome:
        if case is FIRST:
            playing.wait()
            return says_its_id(case)
        try:
            playing.wait()
            while True:  # no pause, which may begin just after the signal that is to end it
                os.sched_yield()
        finally:
            (tmp_path / case.scenario.id).write_text(str(os.getpid()))

    outcomes = play_all(CASES[:3], wait_for_ever, jobs=3)
    assert next(outcomes)[0] is FIRST
    outcomes.close()
    stopped = {file.name: int(file.read_text()) for file in tmp_path.iterdir()}
    assert sorted(stopped) == ["case-1", "case-2"]
    for pid in stopped.values():
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_ctrl_c_while_a_worker_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(multiprocessing.context.ForkProcess, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        played(says_its_id, 2)


def test_ctrl_c_is_for_the_parent_alone() -> None:
    def interrupt(case: Case) -> Outcome:
        os.kill(os.getpid(), signal.SIGINT)
        return says_its_id(case)

    assert all(outcome.error is None for outcome in played(interrupt, 2).values())


def test_programs_that_a_case_starts_do_not_inherit_a_deafness_to_ctrl_c() -> None:
    def start(case: Case) -> Outcome:
        kill_itself = ["sh", "-c", "kill -INT $$; echo deaf"]
        pid = os.posix_spawnp("sh", kill_itself, os.environ)
        return Outcome(0.0, transcript=str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])))

    assert played(start, 1, [FIRST])[FIRST.id].transcript == str(-signal.SIGINT)


def test_a_case_that_takes_longer_than_its_steps_may_is_stopped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pool, "MARGIN_SECONDS", 0.0)

    def never_ends(case: Case) -> Outcome:
        if case is FIRST:
            signal.pause()
        return says_its_id(case)

    def limit(case: Case) -> float:
        return 0.2 if case is FIRST else 60.0

    outcomes = {case.id: one for case, one in play_all(CASES, never_ends, jobs=2, limit=limit)}
    assert str(outcomes[FIRST.id].error).endswith("longer than all its steps may take")
    assert [one.error for id, one in outcomes.items() if id != FIRST.id] == [None] * 5


# --- Cases whose programs always take the same port ---

ALWAYS = Implementation("always", Role.SERVER, "Python", Path(), "", port=19999)
TAKING = [replace(case, server=ALWAYS) for case in CASES[:3]]


def in_which_network() -> str:
    return os.readlink("/proc/self/ns/net")


@pytest.mark.parametrize("jobs", [1, 2])
def test_each_has_a_network_of_its_own(jobs: int) -> None:
    """With its own loopback; others use the same port at the same time, as does this process."""
    if not own_network.is_available():
        pytest.skip("this machine gives no process a network of its own")
    held = []  # kept open after the case

    def listen(case: Case) -> Outcome:
        if case.server:
            held.append(socket.create_server(("", port)))
            socket.create_connection(("127.0.0.1", port)).close()
        return Outcome(0.0, transcript=in_which_network())

    cases = [*TAKING, *CASES[3:]]
    with socket.create_server(("127.0.0.1", 0)) as home:
        port = home.getsockname()[1]
        outcomes = played(listen, jobs, cases)
    assert [outcome.error for outcome in outcomes.values()] == [None] * len(cases)
    at_home = {id for id, one in outcomes.items() if one.transcript == in_which_network()}
    assert at_home == {case.id for case in CASES[3:]}


def test_a_worker_keeps_nothing_of_the_networks_it_was_in() -> None:
    if not own_network.is_available():
        pytest.skip("this machine gives no process a network of its own")

    def look(case: Case) -> Outcome:
        assert not has_listener("127.0.0.1", 19999)
        return Outcome(0.0, transcript=str(len(os.listdir("/proc/self/fd"))))

    outcomes = played(look, 1, TAKING)
    assert [outcome.error for outcome in outcomes.values()] == [None] * len(TAKING)
    assert len({outcome.transcript for outcome in outcomes.values()}) == 1


def test_without_such_networks_one_at_a_time_for_each_port(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(own_network, "is_available", lambda: False)
    meeting = multiprocessing.get_context("fork").Barrier(2)

    def alone(case: Case) -> Outcome:
        if case.server is None:
            meeting.wait()  # meanwhile, as many other cases are played as there is room for
            return Outcome(0.0)
        (tmp_path / "taken").touch(exist_ok=False)
        if case is TAKING[0]:
            meeting.wait()
        (tmp_path / "taken").unlink()
        return Outcome(0.0, transcript=in_which_network())

    outcomes = played(alone, 2, [*TAKING, CASES[5]])
    assert [outcome.error for outcome in outcomes.values()] == [None] * 4
    assert outcomes[TAKING[1].id].transcript == in_which_network()


def test_a_network_that_cannot_be_had_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_network, "is_available", lambda: True)

    def refuse() -> None:
        raise OSError("no more networks")

    monkeypatch.setattr(own_network, "enter", refuse)
    errors = {outcome.error for outcome in played(says_its_id, 1, TAKING).values()}
    assert errors == {"this machine: no more networks"}
