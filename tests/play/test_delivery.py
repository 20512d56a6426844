"""Delivery in pieces: a right program does not notice it, and a wrong program fails."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tiny import ECHO, PATIENT, SHORT, SUITE, only_case, program, scenario, write_suite

from conformance.builds.build import Build
from conformance.judge import expectation
from conformance.model import Case, Delivery, Implementation, Outcome, Role, Verdict
from conformance.plan import ONE_IN, delivered
from conformance.play.case.runner import play
from conformance.play.network import delivery
from conformance.play.schedule.deadlines import Deadlines
from conformance.read.suite import SuiteFile
from conformance.session.options import DELIVERIES

# Prints the number of bytes of each read.
COUNTING = """
ready()
while True:
    connection, _ = listener.accept()
    sizes, data = [], b""
    while not data.endswith(b"!"):
        got = connection.recv(4096)
        sizes.append(str(len(got)))
        data += got
    connection.sendall(" ".join(sizes).encode() + b"\\n")
"""

# Takes each read for one line. The second program handles one line, and drops the rest.
A_READ_IS_A_LINE = """
ready()
while True:
    connection, _ = listener.accept()
    while data := connection.recv(4096):
        connection.sendall(data.strip(b"\\n") + b"\\n")
    connection.close()
"""
ONE_LINE_IN_A_READ = """
ready()
while True:
    connection, _ = listener.accept()
    rest = b""
    while data := connection.recv(4096):
        rest += data
        if b"\\n" in rest:
            connection.sendall(rest[:rest.index(b"\\n") + 1])
            rest = b""
    connection.close()
"""

# Sends what is typed, shows what comes, and ends its side at the end of its input.
CLIENT = """
import os, select, socket, sys
server = socket.create_connection((sys.argv[1], int(sys.argv[2])))
inputs = [0, server]
while True:
    for one in select.select(inputs, [], [])[0]:
        if one == 0:
            data = os.read(0, 4096)
            server.sendall(data)
            if not data:
                server.shutdown(socket.SHUT_WR)
                inputs.remove(0)
        else:
            data = server.recv(4096)
            if not data:
                sys.exit()
            os.write(1, data)
"""

IN_PIECES = [one for one in Delivery if one is not Delivery.WHOLE]


@pytest.fixture
def suite(tmp_path: Path) -> SuiteFile:
    return write_suite(tmp_path / "suite", SUITE)


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each piece waits until the previous one is read, however busy the machine is."""
    monkeypatch.setattr(delivery, "PATIENCE", PATIENT)


def played(
    suite: SuiteFile,
    how: Delivery,
    steps: str,
    cast: str,
    *programs: Build,
    deadline: float = PATIENT,
) -> Outcome:
    case, builds = only_case(scenario(suite, steps, cast), *programs)
    return play(replace(case, delivery=how), suite, builds, Deadlines(deadline))


def sizes(suite: SuiteFile, how: Delivery, text: str) -> list[int]:
    """The number of bytes of each read of a server, for two texts sent by a connection."""
    steps = f"- server: starts\n- ann: starts\n- ann: {{sends: {text!r}}}\n- ann: {{sends: '!'}}\n"
    steps += "- ann: {sees: {matches: '[0-9 ]+'}}\n- server: {is_sent: SIGKILL}\n"
    server = program(suite.folder, COUNTING)
    outcome = played(suite, how, steps + "- ann: {closes: , rest: ignored}", "{ann: wire}", server)
    (line,) = [line for line in outcome.transcript.splitlines() if line.startswith("ann < ")]
    return [int(word) for word in line.split()[2:]]


def test_bytes_are_read_one_by_one(suite: SuiteFile) -> None:
    assert sizes(suite, Delivery.BYTES, "twelve bytes") == [1] * 13


def test_pieces_are_the_same_each_time(suite: SuiteFile) -> None:
    first = sizes(suite, Delivery.SPLIT, "a text that is cut at several places")
    assert len(first) > 2
    assert sizes(suite, Delivery.SPLIT, "a text that is cut at several places") == first


def test_writes_that_follow_each_other_are_read_as_one(suite: SuiteFile) -> None:
    assert sizes(suite, Delivery.MERGED, "twelve bytes") == [13]


def test_cuts_are_rather_where_they_hurt() -> None:
    assert list(delivery._hard_cuts("aü\r\nb€".encode())) == [2, 4, 7, 8]


TWO_LINES = """
- server: starts
- ann: starts
- ann: {types: one line}
- ann: {types: another}
- ann: {sees: [one line, another]}
- ann: ends_input
- ann: is_closed
- server: {is_sent: SIGKILL}
- server: {exits: SIGKILL}
"""
ONE_LINE = TWO_LINES.replace("- ann: {types: another}\n", "").replace(", another", "")


@pytest.mark.parametrize(
    ("server", "steps", "failing"),
    [
        (ECHO, TWO_LINES, set()),
        (A_READ_IS_A_LINE, ONE_LINE, {Delivery.BYTES, Delivery.SPLIT}),
        (ONE_LINE_IN_A_READ, TWO_LINES, {Delivery.MERGED}),
    ],
)
@pytest.mark.parametrize("how", IN_PIECES)
def test_a_wrong_server_is_found(
    suite: SuiteFile, how: Delivery, server: str, steps: str, failing: set[Delivery]
) -> None:
    # Only a line that is dropped takes the whole time; handing over single bytes takes some itself.
    seconds = SHORT if server == ONE_LINE_IN_A_READ and how in failing else PATIENT
    one = program(suite.folder, server)
    outcome = played(suite, how, steps, "{ann: wire}", one, deadline=seconds)
    assert outcome.error is None
    assert bool(outcome.failure) == (how in failing)
    if outcome.failure:  # after a cut before the line end, one more line comes
        assert outcome.failure.step.endswith(("ann: is_closed", 'line"]}', 'another"]}'))


@pytest.mark.parametrize("how", IN_PIECES)
def test_between_programs_all_is_handed_on(suite: SuiteFile, how: Delivery) -> None:
    """Lines in both directions, an end of one side, the end of the other, and a second start."""
    steps = """
    - server: starts
    - ann: starts
    - ann: {types: [ünë, two]}
    - ann: {sees: [ünë, two]}
    - ann: {sends: no line end}
    - ann: ends_input
    - ann: {gets: no line end}
    - ann: {exits: 0}
    - server: {is_sent: SIGKILL}
    - server: {exits: SIGKILL}
    - bob: starts
    - bob: {complains: {last: {contains: refused}}}
    - bob: {exits: 1}
    - server: {starts: , same_port: yes}
    - ann: starts
    - ann: {types: again}
    - ann: {sees: again}
    - server: {is_sent: SIGKILL}
    - server: {exits: SIGKILL}
    - ann: {exits: 0}
    """
    server = program(suite.folder, ECHO)
    client = program(suite.folder, CLIENT, Role.CLIENT)
    cast = "{ann: client on pipes, bob: client on pipes}"
    outcome = played(suite, how, steps, cast, server, client)
    assert (outcome.error, outcome.failure) == (None, None)


def test_a_reset_is_handed_on(suite: SuiteFile) -> None:
    resetting = """
import struct
ready()
connection, _ = listener.accept()
connection.recv(100)
connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
connection.close()
signal.pause()
"""
    steps = """
    - server: starts
    - ann: starts
    - ann: {types: hello}
    - ann: {complains: {last: {contains: reset by peer}}}
    - ann: {exits: 1}
    - server: {is_sent: SIGKILL}
    - server: {exits: SIGKILL}
    """
    programs = program(suite.folder, resetting), program(suite.folder, CLIENT, Role.CLIENT)
    outcome = played(suite, Delivery.BYTES, steps, "{ann: client on pipes}", *programs)
    assert (outcome.error, outcome.failure) == (None, None)


def test_last_words_arrive_although_a_line_crosses_them(suite: SuiteFile) -> None:
    """The server has closed when the client writes; the client reads only after that."""
    closing = """
ready()
connection, _ = listener.accept()
connection.sendall(b"the room is full\\ncome back later\\n")
connection.close()
print("closed", flush=True)
signal.pause()
"""
    late = """
import socket, sys
server = socket.create_connection((sys.argv[1], int(sys.argv[2])))
server.sendall(sys.stdin.readline().encode())
try:
    while data := server.recv(4096):
        sys.stdout.buffer.raw.write(data)
except ConnectionResetError:
    pass
"""
    steps = """
    - server: starts
    - ann: starts
    - server: {sees: closed}
    - ann: {types: hello}
    - ann: {sees: [the room is full, come back later]}
    - ann: {exits: 0}
    - server: {is_sent: SIGKILL}
    - server: {exits: SIGKILL}
    """
    programs = program(suite.folder, closing), program(suite.folder, late, Role.CLIENT)
    for how in Delivery:
        outcome = played(suite, how, steps, "{ann: client on pipes}", *programs)
        assert (outcome.error, outcome.failure) == (None, None), how


# --- Which cases are delivered how ---


def test_every_delivery_can_be_asked_for() -> None:
    assert (*Delivery, "mixed") == DELIVERIES


def test_one_case_in_ten_is_mixed_and_always_the_same(suite: SuiteFile) -> None:
    one = scenario(suite, ONE_LINE)
    some = [Case(one, Implementation(f"s{n}", Role.SERVER, "", Path(), ""), ()) for n in range(500)]
    first = [delivered(case, "mixed").delivery for case in some]
    assert first == [delivered(case, "mixed").delivery for case in some]
    for how in IN_PIECES:
        assert 0 < first.count(how) < len(some) / ONE_IN
    assert all(delivered(case, "bytes").delivery is Delivery.BYTES for case in some)


def test_a_client_that_goes_its_own_way_is_unsupported(suite: SuiteFile) -> None:
    programs = program(suite.folder, ECHO), program(suite.folder, CLIENT, Role.CLIENT, port=6667)
    steps = "- server: starts\n- ann: starts\n- ann: {exits: 0}"
    case, builds = only_case(scenario(suite, steps, "{ann: client on pipes}"), *programs)
    assert expectation(case, builds) is None
    known = expectation(replace(case, delivery=Delivery.SPLIT), builds)
    told = "client-tiny always connects to port 6667, so no proxy can be in between"
    assert known == (Verdict.UNSUPPORTED, f"no delivery by split: {told}")
