"""A green case means that each claim was checked, and a red one that a rule is broken.

Each test here fails if the harness misses a fault again, or accuses a right program.
"""

from __future__ import annotations

import errno
import os
import subprocess
import time
from contextlib import closing
from pathlib import Path
from unittest.mock import Mock

import pytest
import small_suite
from tiny import (
    ECHO,
    PATIENT,
    SHORT,
    SUITE,
    implementation,
    only_case,
    played,
    program,
    read_scenarios,
    scenario,
    write_suite,
)

from conformance.judge import is_probe, judge
from conformance.mistakes import Mistake
from conformance.model import Failure, FailureKind, Outcome, Role, Verdict
from conformance.plan import Selection
from conformance.play.actors.connection import Wire
from conformance.play.case import poll, runner, together
from conformance.play.case.hold import Hold
from conformance.play.case.poll import Excess, Flood, Loop, Source
from conformance.play.case.runner import play
from conformance.play.case.transcript import KEPT_BYTES, Transcript
from conformance.play.network.tcp import has_ipv6
from conformance.play.processes import confine
from conformance.play.processes.system import children
from conformance.play.schedule.deadlines import Deadlines
from conformance.read.suite import SuiteFile
from conformance.session.player import Player
from conformance.session.request import Request
from conformance.session.session import Session

MEET = "- server: starts\n- ann: starts\n- ann: {types: hello}\n"

# Replies to each line of each connection by `answer`.
ANSWERING = """
def serve(connection):
    with connection:
        for line in connection.makefile("rb"):
            answer(connection, line)
ready()
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"""

# Sends its standard input, and prints all that comes, until the server closes the connection.
CLIENT = """
import socket, sys, threading
connection = socket.create_connection((sys.argv[1], int(sys.argv[2])))
def speak():
    for line in sys.stdin.buffer:
        connection.sendall(line)
threading.Thread(target=speak, daemon=True).start()
{first}
while data := connection.recv(65536):
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
"""


@pytest.fixture
def suite(tmp_path: Path) -> SuiteFile:
    return write_suite(tmp_path)


def answering(expression: str) -> str:
    """A server that replies to each line with these bytes."""
    return f"def answer(connection, line): connection.sendall({expression})\n{ANSWERING}"


def outcome(suite: SuiteFile, server: str, steps: str, cast: str = "{ann: wire}") -> Outcome:
    """The outcome when a server with this text plays these steps."""
    return played(suite, scenario(suite, steps, cast), program(suite.folder, server))


def failure_of(found: Outcome) -> Failure:
    assert found.error is None
    assert found.failure
    return found.failure


# --- Time ------------------------------------------------------------------------------------


def test_within_is_one_deadline_for_all_lines_of_a_step(suite: SuiteFile) -> None:
    """Each line comes soon after the previous one, but all together come much too late."""
    slow = """
def answer(connection, line):
    for _ in range(400):
        select.select([], [], [], 0.02)
        connection.sendall(b"tick\\n")
"""
    steps = MEET + "- ann: {sees: {line: tick, times: 400}, within: 1}"
    failure = failure_of(outcome(suite, slow + ANSWERING, steps))
    assert failure.reason == "nothing more came within 1 s"


def test_a_step_of_many_lines_gets_more_time_where_no_rule_names_one(suite: SuiteFile) -> None:
    steps = MEET + "- ann: {sees: {line: x, times: 5000}}\n- ann: {closes: , rest: ignored}"
    case, _ = only_case(scenario(suite, steps), program(suite.folder, ""))
    deadlines = Deadlines(10, 7)
    one, many = (next(s for s in case.scenario.steps if s.verb == v) for v in ("types", "sees"))
    assert (deadlines.allow(one), deadlines.allow(many)) == (10, 60)
    assert deadlines.longest(case) == 10 * (len(case.scenario.steps) - 1) + 60 + 2 * 7


def test_a_start_has_time_of_its_own(suite: SuiteFile) -> None:
    """This program takes longer to get ready than the deadline of a step."""
    one = program(suite.folder, "select.select([], [], [], 1)\nready()\nsignal.pause()")
    case, builds = only_case(scenario(suite, "- server: {starts: }", "{}"), one)
    assert play(case, suite, builds, Deadlines(0.2, PATIENT)).failure is None


@pytest.mark.parametrize(
    ("step", "reason"),
    [("sees: hello", "nothing more came within 3 s"), ("exits: 0", "after 3 s")],
)
def test_a_step_that_waits_for_a_start_says_how_long(
    suite: SuiteFile, step: str, reason: str
) -> None:
    """The client has not printed anything: its step waits as long as a start may take."""
    steps = f"- server: starts\n- ann: starts\n- ann: {{{step}}}"
    programs = [program(suite.folder, ECHO), program(suite.folder, "input()", Role.CLIENT)]
    case, builds = only_case(scenario(suite, steps, "{ann: client}"), *programs)
    failure = failure_of(play(case, suite, builds, Deadlines(0.2, 3)))
    assert failure.reason == reason


def test_a_step_that_waits_for_a_start_does_so_at_each_line(suite: SuiteFile) -> None:
    slow = "select.select([], [], [], {})\nprint(1, flush=True)\n"
    client = f"import select\n{slow.format(1)}{slow.format(0.1)}input()"
    steps = '- server: starts\n- ann: starts\n- ann: {sees: ["1", "1"]}\n'
    steps += "- ann: {types: ''}\n- ann: {exits: 0}"
    programs = [program(suite.folder, ECHO), program(suite.folder, client, Role.CLIENT)]
    case, builds = only_case(scenario(suite, steps, "{ann: client on pipes}"), *programs)
    assert play(case, suite, builds, Deadlines(0.2, PATIENT)).failure is None


def test_wrong_lines_without_end_do_not_hold_a_case_up(suite: SuiteFile) -> None:
    endless = "def answer(connection, line):\n    while True: connection.sendall(b'no\\n' * 9999)\n"
    failure = failure_of(outcome(suite, endless + ANSWERING, MEET + "- ann: {sees: yes sir}"))
    assert (failure.expected, failure.seen) == ("yes sir", "no")


EITHER = "- either:\n    - [ann: {sees: one}]\n    - [ann: {sees: two}]\n"
TOGETHER = "- together:\n    - ann: {sees: one}\n    - bob: {sees: two}\n"
TOO_MUCH = [Flood("server"), Excess("server", "too much")]


@pytest.mark.parametrize("problem", TOO_MUCH, ids=["flood", "limit"])
@pytest.mark.parametrize("split", [EITHER, TOGETHER], ids=["either", "together"])
def test_too_much_while_several_dialogues_wait_is_a_failure(
    suite: SuiteFile, monkeypatch: pytest.MonkeyPatch, split: str, problem: Exception
) -> None:
    """No step is being played just then, only the loop waits for all of them."""
    raising = Mock(side_effect=problem)
    monkeypatch.setattr(Loop, "has_read_since", raising)
    monkeypatch.setattr(together, "_wait_for_one", raising)
    mute = "def answer(connection, line): pass\n" + ANSWERING
    steps = MEET.replace("ann: starts", "ann, bob: starts") + split + "- ann, bob: closes"
    failure = failure_of(outcome(suite, mute, steps, "{ann: wire, bob: wire}"))
    assert "ann: {sees: " in failure.step
    assert (failure.kind is FailureKind.LIMIT) == isinstance(problem, Excess)


@pytest.mark.parametrize("limited", [False, True], ids=["flood", "limit"])
def test_a_failure_is_held_although_a_program_goes_too_far(
    suite: SuiteFile, monkeypatch: pytest.MonkeyPatch, limited: bool
) -> None:
    """A flood is read no more, and a program over its limit ends the pause."""
    monkeypatch.setattr(poll, "MOST_UNREAD", 1 << 40 if limited else 1000)
    monkeypatch.setattr(confine, "excess", lambda _: "too much")
    endless = "def answer(connection, line):\n    while True: connection.sendall(b'x' * 9999)\n"
    one = scenario(suite, MEET + "- ann: {sees: yes sir}")
    case, builds = only_case(one, program(suite.folder, endless + ANSWERING))
    (reading, writing), said = os.pipe(), Mock()
    try:
        os.write(writing, b"" if limited else b"\n")
        found = play(case, suite, builds, Deadlines(PATIENT), Hold(said, reading), limited)
    finally:
        os.close(reading)
        os.close(writing)
    assert (failure_of(found).kind is FailureKind.LIMIT, said.call_count) == (limited, 1 + limited)


def test_a_fault_of_the_harness_costs_one_case_of_a_run_that_is_held(
    suite: SuiteFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    case, builds = only_case(scenario(suite, MEET), program(suite.folder, ""))
    monkeypatch.setattr(runner, "play", Mock(side_effect=ValueError("a fault")))
    request = Request([suite.folder], Selection(), hold=Hold(Mock()), repeat=2)
    played = list(Player(request, suite, builds).played([case], 1))
    assert ["ValueError: a fault" in (found.error or "") for _, found in played] == [True] * 2


def test_a_pattern_that_takes_for_ever_is_stopped(
    suite: SuiteFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "OVERDUE_SECONDS", 0.0)
    one = scenario(suite, MEET + "- ann: {sees: {matches: '(x+x+)+y'}}")
    case, builds = only_case(one, program(suite.folder, answering("b'x' * 60 + b'\\n'")))
    found = play(case, suite, builds, Deadlines(10, PATIENT / 10))
    assert found.error
    assert found.error.startswith(f"{suite.folder / 'file.yaml'}:9:7: this step does not end")


def test_a_short_step_stops_no_long_one_that_is_played_at_the_same_time(
    suite: SuiteFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "OVERDUE_SECONDS", 0.0)
    steps = f"""
    - server: starts
    - ann: starts
    - bob: starts
    - together:
        - ann: {{sees_nothing_for: {SHORT}}}
        - bob: {{types: hello, within: 0.01}}
    - bob: {{sees: hi}}
    """
    one = scenario(suite, steps, "{ann: wire, bob: wire}")
    case, builds = only_case(one, program(suite.folder, answering("b'hi\\n'")))
    found = play(case, suite, builds, Deadlines(PATIENT, 0.0))
    assert (found.failure, found.error) == (None, None)


# --- Nothing is left unread ------------------------------------------------------------------

TWO = answering("b'one\\ntwo\\n'")


@pytest.mark.parametrize("verb", ["closes", "resets"])
def test_what_came_before_it_goes_must_have_been_named(suite: SuiteFile, verb: str) -> None:
    steps = MEET + f"- ann: {{sees: one}}\n- ann: {verb}"
    failure = failure_of(outcome(suite, TWO, steps))
    assert (failure.seen, failure.reason) == ("two", "an unexpected line")
    assert outcome(suite, TWO, steps.replace(verb, f"{{{verb}: , rest: ignored}}")).failure is None


def scripted(suite: SuiteFile, first: str, steps: str) -> Outcome:
    """The outcome when a client that first does this meets a scripted server."""
    text = "- server: starts\n- tom: starts\n- server: accepts\n" + steps
    one = scenario(suite, text, "{server: scripted, tom: client}")
    return played(suite, one, program(suite.folder, CLIENT.format(first=first), Role.CLIENT))


SAYS_TWO = "connection.sendall(b'one\\ntwo\\n')"
AGAIN = "connection.shutdown(1); connection = socket.create_connection(connection.getpeername())"


def test_a_line_that_a_scripted_server_does_not_name(suite: SuiteFile) -> None:
    for end in ("- server: closes\n", ""):
        steps = f"- server: {{receives: one}}\n{end}- tom: {{is_sent: SIGKILL}}\n"
        failure = failure_of(scripted(suite, SAYS_TWO, steps + "- tom: {exits: SIGKILL}"))
        assert (failure.seen, failure.reason) == ("two", "an unexpected line")


def test_half_a_line_that_a_scripted_server_does_not_name(suite: SuiteFile) -> None:
    steps = "- tom: {is_sent: SIGTERM}\n- tom: {exits: SIGTERM}"
    says = "connection.sendall(b'half'); print('said', flush=True)"
    failure = failure_of(scripted(suite, says, "- tom: {sees: said}\n" + steps))
    assert (failure.seen, failure.reason) == ("half", "text without a line end")


def test_a_line_on_the_connection_before(suite: SuiteFile) -> None:
    steps = "- server: {receives: one}\n- server: accepts\n- server: closes\n- tom: {exits: 0}"
    failure = failure_of(scripted(suite, f"{SAYS_TWO}; {AGAIN}", steps))
    assert failure.expected == "nothing more on the connection before this one"
    assert failure.seen == "two"


def test_a_connection_that_no_step_accepts(suite: SuiteFile) -> None:
    steps = "- tom: {sees: again}\n- tom: {is_sent: SIGTERM}\n- tom: {exits: SIGTERM}"
    failure = failure_of(scripted(suite, f"{AGAIN}; print('again', flush=True)", steps))
    assert failure.expected == "no further connection"


def test_a_read_that_fails_is_no_end_of_file() -> None:
    loop = Loop(Transcript())
    reading, writing = os.pipe()

    def read() -> bytes:
        raise OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))

    source = Source(loop, "ann", "seen", reading, read)
    os.write(writing, b"x")
    assert loop.wait(lambda: bool(source.end), time.monotonic() + PATIENT)
    assert source.end == os.strerror(errno.ETIMEDOUT)
    for fd in (reading, writing):
        os.close(fd)


# --- Files -----------------------------------------------------------------------------------

LOGGING = """
def answer(connection, line):
    exec(line)
    connection.sendall(b"done\\n")
"""


def written(suite: SuiteFile, *statements: str) -> Outcome:
    """Two lines are expected in a file, then the file changes, then a third line is expected."""
    scratch = "- server: {starts: {log: '{scratch}/log'}}\n- ann: starts\n"
    lines = [
        "open(sys.argv[3], 'a').write('one\\\\ntwo\\\\n')",
        *statements,
        "open(sys.argv[3], 'a').write('three\\\\n')",
    ]
    say = [f'- ann: {{types: "{line}"}}\n- ann: {{sees: done}}\n' for line in lines]
    two = "- server: {writes: [one, two], to: log}\n"
    end = "- server: {writes: three, to: log}\n- ann: closes"
    return outcome(suite, LOGGING + ANSWERING, scratch + say[0] + two + "".join(say[1:]) + end)


def test_a_file_that_grows(suite: SuiteFile) -> None:
    assert written(suite).failure is None


def test_a_file_that_was_emptied_is_read_from_its_beginning(suite: SuiteFile) -> None:
    assert written(suite, "os.truncate(sys.argv[3], 0)").failure is None


def test_a_file_in_place_of_another_is_read_from_its_beginning(suite: SuiteFile) -> None:
    assert written(suite, "os.unlink(sys.argv[3])").failure is None


# --- Fences ----------------------------------------------------------------------------------

ROOM = "{ann: wire, bob: wire, carl: wire, dora: wire}"
ALL_IN = "- server: starts\n- ann, bob, carl: comes\n"


def test_a_fence_proves_nothing_of_one_who_is_outside(suite: SuiteFile) -> None:
    outside = ALL_IN + "- dora: starts\n- dora: {sends: boo}\n"
    remedy = "nothing was seen since; let an actor see an effect"
    with pytest.raises(Mistake, match=f"what dora did last: dora is not in hall, and {remedy}"):
        scenario(suite, outside + "- ann: sees_nothing", ROOM)
    with pytest.raises(Mistake, match=remedy):  # a problem of the fence before the ending
        scenario(suite, outside, ROOM)
    scenario(suite, outside + "- dora: {sees: hush}\n- ann: sees_nothing", ROOM)


def test_an_actor_that_acted_unseen_says_a_fence_line(suite: SuiteFile) -> None:
    one = scenario(
        suite,
        ALL_IN + "- ann, bob, carl: {types: hm}\n- ann: sees_nothing",
        ROOM.replace(", dora: wire", ""),
    )
    said = [step.actor for step in one.steps if step.verb == "types" and step.origin == "fence"]
    assert said[:3] == ["carl", "ann", "bob"]


# --- Kinds of failure ------------------------------------------------------------------------

BLAMING = (
    SUITE.replace("  server:\n", "  server:\n    proves: LOUD-1\n", 1)
    .replace("  alone_types", "  proves: ECHO-2\n  alone_proves: LOUD-1\n  alone_types")
    .replace("{exits: SIGTERM}", "{exits: SIGTERM, proves: LOUD-1}")
)
PAUSED = "ready()\nsignal.pause()\n"
ONE_IN = "- server: starts\n- ann: comes\n"
WELCOMING = "b'hello ann, one of 1\\n' if line == b'I am ann\\n' else b'fence!\\n'"


@pytest.fixture
def blaming(tmp_path: Path) -> SuiteFile:
    """A suite that names the rules of its start, its fence and its ending."""
    return write_suite(tmp_path, BLAMING)


def test_a_start_breaks_its_own_rule(blaming: SuiteFile) -> None:
    failure = failure_of(outcome(blaming, "sys.exit('port in use')", MEET + "- ann: closes"))
    assert (failure.kind, failure.requirement) == (FailureKind.START, "LOUD-1")
    assert failure.program == "server-tiny"


def test_a_server_that_says_that_it_is_ready_but_does_not_listen(blaming: SuiteFile) -> None:
    """The server is to blame, and not the actor that finds nobody there."""
    server = """
name = listener.getsockname()[1]
listener.close()
print("ready on", name, flush=True)
signal.pause()
"""
    failure = failure_of(outcome(blaming, server, ONE_IN))
    assert (failure.kind, failure.requirement) == (FailureKind.START, "LOUD-1")
    assert failure.expected.startswith("a socket that listens at port ")
    assert "before it listens" in failure.reason


def test_a_fence_that_is_not_answered_breaks_its_own_rule(blaming: SuiteFile) -> None:
    server = answering(WELCOMING.replace("fence!", "what?"))
    failure = failure_of(outcome(blaming, server, ONE_IN))
    assert (failure.kind, failure.requirement) == (FailureKind.FENCE, "LOUD-1")
    assert failure.program == "server-tiny"


def test_a_fence_that_a_client_breaks_is_not_blamed_on_the_server(blaming: SuiteFile) -> None:
    client = """
import sys
for line in sys.stdin:
    print("hello ann, one of 1" if line == "I am ann\\n" else "what?", flush=True)
"""
    builds = [program(blaming.folder, PAUSED), program(blaming.folder, client, Role.CLIENT)]
    found = played(blaming, scenario(blaming, ONE_IN, "{ann: client}"), *builds)
    failure = failure_of(found)
    assert (failure.kind, failure.program) == (FailureKind.FENCE, "")


def test_a_line_in_front_of_a_fence_breaks_the_scenarios_rule(blaming: SuiteFile) -> None:
    server = answering(WELCOMING.replace("fence!", "boo\\nfence!"))
    failure = failure_of(outcome(blaming, server, ONE_IN))
    assert (failure.kind, failure.requirement) == (FailureKind.STEP, "ECHO-1")


def test_a_program_that_does_not_end_passes_everything_else(blaming: SuiteFile) -> None:
    server = "signal.signal(signal.SIGTERM, lambda *_: os._exit(3))\n" + answering(WELCOMING)
    steps = ONE_IN + "- ann: {leaves: hall}\n- ann: closes\n"
    one = scenario(blaming, steps)
    case, builds = only_case(one, program(blaming.folder, server))
    result = judge(case, play(case, blaming, builds, Deadlines(PATIENT)))
    assert (result.verdict, result.expected, result.failure) == (Verdict.PASSED, True, None)
    assert result.afterwards
    assert (result.afterwards.kind, result.afterwards.requirement) == (FailureKind.ENDING, "LOUD-1")
    assert result.afterwards.seen == "exit status 3"


def test_a_dead_child_without_a_waiting_parent_is_not_left_over(suite: SuiteFile) -> None:
    """The child of a dead child, as in `sh -c '( (true) & ); exec …'`."""
    server = """
if os.fork() == 0:
    if os.fork() == 0: os._exit(0)
    os._exit(0)
os.wait()
ready()
signal.pause()
"""
    steps = "- server: starts\n- server: {is_sent: SIGTERM}\n- server: {exits: SIGTERM}"
    found = outcome(suite, server, steps, "{}")
    assert (found.failure, found.afterwards) == (None, None)


# --- Features --------------------------------------------------------------------------------

PROBED = SUITE + "probes: {server: {loud: file/shouts}}\n"
SHOUTS = """
- id: shouts
  title: Shouting is heard
  proves: [LOUD-1]
  needs: {server: [loud]}
  cast: {ann: wire}
  steps:
    - server: starts
    - ann: starts
    - ann: {types: HELLO}
    - ann: {sees: HELLO}
    - ann: closes
"""


@pytest.mark.parametrize(
    ("answer", "verdict", "expected"),
    [("line", Verdict.PASSED, False), ("b'pardon?\\n'", Verdict.UNSUPPORTED, True)],
)
def test_a_feature_that_is_not_listed_is_absent(
    tmp_path: Path, answer: str, verdict: Verdict, expected: bool
) -> None:
    suite = write_suite(tmp_path, PROBED)
    (one,) = read_scenarios(suite, SHOUTS)
    case, builds = only_case(one, program(tmp_path, answering(answer)))
    assert is_probe(case, suite)
    result = judge(case, play(case, suite, builds, Deadlines(PATIENT)))
    assert (result.verdict, result.expected, result.failure) == (verdict, expected, None)
    assert "server tiny does not list the feature loud" in result.reason


def test_only_one_scenario_probes_a_feature(tmp_path: Path) -> None:
    suite = write_suite(tmp_path, PROBED)
    (one,) = read_scenarios(suite, SHOUTS.replace("shouts", "shouts-on"), "other")
    case, _ = only_case(one, program(tmp_path, ""))
    assert not is_probe(case, suite)
    assert implementation("tiny").features == frozenset()


# --- This machine ----------------------------------------------------------------------------

ENDS = "- server: starts\n- server: {is_sent: SIGTERM}\n- server: {exits: SIGTERM}"


def test_without_pidfds(suite: SuiteFile, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(pid: int) -> int:
        raise PermissionError(errno.EPERM, "no")

    monkeypatch.setattr(os, "pidfd_open", refused)
    found = outcome(suite, "ready()\nsignal.pause()", ENDS, "{}")
    assert (found.failure, found.error) == (None, None)


def test_one_thing_that_cannot_be_taken_away_keeps_none_of_the_others(
    suite: SuiteFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stuck(wire: Wire) -> None:
        raise OSError(errno.EIO, "stuck")

    monkeypatch.setattr(Wire, "destroy", stuck)
    server = "open('pid', 'w').write(str(os.getpid()))\n" + answering("line")
    found = outcome(suite, server, MEET + "- ann: {sees: hello}\n- ann: closes")
    assert found.error
    assert "stuck" in found.error
    pid = int((suite.folder / "pid").read_text())
    assert not Path(f"/proc/{pid}").exists()


def test_a_tool_that_is_not_there_is_told_with_its_place(suite: SuiteFile) -> None:
    steps = "- server: starts\n- server: {runs: nosuchtool --all}"
    found = outcome(suite, "ready()\nsignal.pause()", steps, "{}")
    place = suite.folder / "file.yaml"
    assert found.error == f"{place}:7:7: `nosuchtool` is not on PATH; install it"


# --- Last words ------------------------------------------------------------------------------


def test_first_and_last_words_are_kept_and_found(suite: SuiteFile) -> None:
    server = """
for n in range(100): print("line", n, file=sys.stderr)
sys.exit("the message itself is the last line here")
"""
    found = outcome(suite, server, "- server: starts", "{}")
    errors = failure_of(found).stderr
    assert errors[0] == "server: line 0"
    assert errors[4] == "server: [... 93 lines ...]"
    assert errors[-1] == "server: the message itself is the last line here"
    (written,) = found.output
    assert (written.actor, written.stream) == ("server", "its standard error")
    assert all(f"line {n}\n" in written.text for n in range(100))


def test_a_flood_of_words_is_kept_at_both_ends() -> None:
    transcript = Transcript()
    for n in range(1000):
        transcript.note("ann", "seen", f"{n} ".encode() * 500)
    (written,) = transcript.output
    assert (written.actor, written.stream) == ("ann", "its output")
    assert written.text.startswith("0 0 0 ")
    assert written.text.endswith("999 999 ")
    assert "bytes ...]" in written.text
    assert len(written.text) < 5 * KEPT_BYTES


def test_all_that_was_written_is_kept_of_a_case_that_passes_too(suite: SuiteFile) -> None:
    found = outcome(suite, "ready()\nsignal.pause()", ENDS, "{}")
    assert found.failure is None
    assert [(one.actor, one.stream) for one in found.output] == [("server", "its output")]


def test_a_start_shows_its_command_line(suite: SuiteFile) -> None:
    found = outcome(
        suite, "sys.exit()", f"- server: {{starts: {{loud: very}}, within: {SHORT}}}", "{}"
    )
    assert "server.py 0 --loud very)" in failure_of(found).timeline[0]


def test_children_where_the_kernel_has_no_list_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(path: Path, *_: object) -> str:
        raise FileNotFoundError(path)

    before = children()
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as child:
        with monkeypatch.context() as patch:
            patch.setattr(Path, "read_text", absent)
            found = children()
        assert found - before == {child.pid}
        child.communicate()


def test_a_tool_that_a_program_is_started_under_is_told_when_missing(suite: SuiteFile) -> None:
    steps = '- server: {starts: , under: "nosuchtool -x"}'
    found = outcome(suite, "ready()\nsignal.pause()", steps, "{}")
    assert (
        found.error == f"{suite.folder / 'file.yaml'}:6:7: `nosuchtool` is not on PATH; install it"
    )


def test_a_machine_without_ipv6_blames_no_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = small_suite.write_suite(tmp_path)
    lines = folder / "lines.yaml"
    lines.write_text(lines.read_text().replace("  cast: {}", "  machine: [ipv6]\n  cast: {}"))
    request = Request([folder], Selection(), output=tmp_path / "out", required=True)
    with closing(Session(request)) as session:
        session.build(lambda _: None)
        case = session.cases[1]
        assert (session.result_if_unplayable(case) is None) == has_ipv6()
        monkeypatch.setattr("conformance.session.machine.present", frozenset)
        result = session.result_if_unplayable(case)
    assert result
    assert (result.verdict, result.expected) == (Verdict.UNAVAILABLE, True)
    assert "IPv6" in result.reason
