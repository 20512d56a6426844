"""Line ends other than LF, and bytes that are not lines."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny import ECHO, SUITE, played, program, scenario, write_suite

from conformance.model import Failure, Outcome, Role
from conformance.read.suite import SuiteFile

CRLF = SUITE.replace("programs:", 'line_end: "\\r\\n"\nprograms:', 1)

SOON = 10  # seconds: enough for what comes at once, on a busy machine, too

MEET = "- server: starts\n- ann: starts\n"
ASKS = MEET + "- ann: {types: a}\n"

# Connects, sends a line with CR LF, and prints the bytes of the reply.
CLIENT = """
import socket, sys
connection = socket.create_connection((sys.argv[1], int(sys.argv[2])))
connection.sendall(b"hello\\r\\n")
print(connection.recv(100))
"""


@pytest.fixture
def suite(tmp_path: Path) -> SuiteFile:
    return write_suite(tmp_path, CRLF)


def answering(data: str) -> str:
    """A server that waits for input, sends these bytes, and then sends back all input."""
    return f"""
ready()
while True:
    connection, _ = listener.accept()
    connection.recv(100)
    connection.sendall({data})
    while data := connection.recv(65536):
        connection.sendall(data)
    connection.close()
"""


def outcome(suite: SuiteFile, server: str, steps: str, cast: str = "{ann: wire}") -> Outcome:
    programs = [program(suite.folder, server), program(suite.folder, CLIENT, Role.CLIENT)]
    return played(suite, scenario(suite, steps, cast), *programs)


def passes(suite: SuiteFile, *arguments: str) -> None:
    found = outcome(suite, *arguments)
    assert (found.failure, found.error) == (None, None)


def fails(suite: SuiteFile, *arguments: str) -> Failure:
    failure = outcome(suite, *arguments).failure
    assert failure
    return failure


# --- Lines ---------------------------------------------------------------------------------------


def test_lines_are_said_and_seen_by_the_suites_line_end(suite: SuiteFile) -> None:
    steps = r"""
- ann: {types: [one, two]}
- ann: {gets: "one\r\ntwo\r\n"}
- ann: {sends: "three\nfour\r\n\r\n"}
- ann: {sees: [{matches: "three\\nfour"}, ""]}
- ann: closes
"""
    passes(suite, ECHO, MEET + steps.strip("\n"))


def test_a_line_that_ends_in_the_usual_line_end_alone(suite: SuiteFile) -> None:
    failure = fails(
        suite, answering(r"b'hello\n'"), ASKS + f"- ann: {{sees: hello, within: {SOON}}}"
    )
    assert failure.seen == "hello⏎"
    assert failure.reason == (
        f'nothing more came within {SOON} s, only this without the line end "\\r\\n"'
    )


def test_what_no_step_names_is_told_by_the_line(suite: SuiteFile) -> None:
    failure = fails(
        suite, answering(r"b'hello\r\nand\nmore\r\n'"), ASKS + "- ann: {sees: hello}\n- ann: closes"
    )
    assert (failure.seen, failure.reason) == ("and⏎more", "an unexpected line")
    half = answering(r"b'hello\r\nand\n'")
    failure = fails(suite, half, ASKS + "- ann: {sees: hello}\n- ann: closes")
    assert failure.seen == "and⏎"
    assert failure.reason == 'text without the line end "\\r\\n"'


def test_a_prompt(suite: SuiteFile) -> None:
    asked = ASKS + '- ann: {is_asked: "name? "}\n- ann: closes'
    passes(suite, answering("b'name? '"), asked)
    failure = fails(suite, answering(r"b'name?\n'"), asked)  # without CR, LF is an ordinary byte
    assert (failure.seen, failure.reason) == ("name?⏎", "a prompt was expected")


def test_a_prompt_with_the_line_end_behind_it(suite: SuiteFile) -> None:
    server = answering(r"b'one\r\ntwo\r\n'")
    failure = fails(suite, server, ASKS + "- ann: {sees: one}\n- ann: {is_asked: two more}")
    assert (failure.seen, failure.reason) == ("two\\r⏎", "a prompt was expected")


def test_a_scripted_server_has_the_same_line_end(suite: SuiteFile) -> None:
    """The output of a program still ends in LF."""
    steps = """
- server: starts
- ann: starts
- server: accepts
- server: {sees: hello}
- server: {types: welcome}
- ann: {sees: "b'welcome\\\\r\\\\n'"}
- ann: {exits: 0}
- server: is_closed
"""
    passes(suite, ECHO, steps.strip("\n"), "{server: scripted, ann: client}")


def test_the_timeline_is_cut_at_the_suites_line_end(suite: SuiteFile) -> None:
    failure = fails(
        suite, answering(r"b'one\r\ntwo\nthree\r\n'"), ASKS + "- ann: {sees: [one, two]}"
    )
    shown = [row.partition(" ms  ")[2] for row in failure.timeline]
    assert shown[-3:] == ["ann > a", "ann < one", "ann < two⏎three"]


# --- Bytes ---------------------------------------------------------------------------------------


def test_bytes_are_seen_as_they_are(suite: SuiteFile) -> None:
    server = answering(r"b'one\r\n\x00\xff\r' + b'x' * 100_000 + b'\ntwo\r\nthree\r\n'")
    steps = r"""
- ann: {sees: one}
- ann: {gets: [{hex: "00 ff 0d"}, {text: x, times: 100000}, "\nt"]}
- ann: {sees: [wo, three]}
- ann: closes
"""
    passes(suite, server, ASKS + steps.strip("\n"))


def test_bytes_behind_lines_that_came_with_them(suite: SuiteFile) -> None:
    server = answering(r"b'one\r\ntwo\r\nthree\r\nfour\r\n'")
    steps = r"""
- ann: {sees: one}
- ann: {gets: "two\r\nth"}
- ann: {sees: ree}
- ann: {gets: "four\r\n"}
- ann: closes
"""
    passes(suite, server, ASKS + steps.strip("\n"))


def test_another_byte(suite: SuiteFile) -> None:
    server = answering("b'a' * 99_999 + b'b'")
    failure = fails(suite, server, ASKS + "- ann: {gets: {text: a, times: 100001}}")
    assert failure.expected == "…" + "a" * 62
    assert failure.seen == "…" + "a" * 60 + "b"
    assert failure.reason == "byte 100000 of 100001: it differs"


def test_bytes_that_do_not_come(suite: SuiteFile) -> None:
    failure = fails(suite, answering("b'abc'"), ASKS + f"- ann: {{gets: abcdef, within: {SOON}}}")
    assert (failure.expected, failure.seen) == ("abcdef", "abc")
    assert failure.reason == f"byte 4 of 6: nothing more came within {SOON} s"


def test_the_end_instead_of_bytes(suite: SuiteFile) -> None:
    server = answering("b'abc'").replace("while data := connection.recv(65536):", "if False:")
    failure = fails(suite, server, ASKS + "- ann: {gets: abcdef}")
    assert failure.reason == "byte 4 of 6: the output ended"


def test_more_bytes_than_were_named_are_found_at_the_end(suite: SuiteFile) -> None:
    failure = fails(suite, answering("b'abcdef'"), ASKS + "- ann: {gets: abc}\n- ann: closes")
    assert failure.seen == "def"
    assert failure.reason == 'text without the line end "\\r\\n"'
