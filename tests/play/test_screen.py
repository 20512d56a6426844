"""Actors on a screen: what a person would see, and the state in which a terminal is left."""

from __future__ import annotations

import os
from pathlib import Path
from unittest.mock import Mock

import pytest
from tiny import ECHO, PATIENT, SHORT, played, program, read_scenarios, scenario, write_suite

from conformance.builds.build import Build
from conformance.mistakes import Mistake
from conformance.model import Failure, Medium, Role
from conformance.plan import Selection, plan
from conformance.play.case.poll import Loop, Source
from conformance.play.case.runner import play
from conformance.play.case.transcript import Transcript
from conformance.play.schedule.deadlines import Deadlines
from conformance.play.terminals.screen import Screen
from conformance.read.suite import SuiteFile

CAST = "{ann: client on a screen}"
EXITS = "- ann: {exits: 0}\n- ann: {shows: {last: {matches: '[ -~語]*'}}}\n"
ENDING = "- ann: {presses: Ctrl+D}\n" + EXITS

# Prints what it reads through the terminal's line discipline.
COOKED = """
import sys
for line in sys.stdin:
    print("<" + line.rstrip() + ">", flush=True)
"""

# Prints each typed byte itself; `q` ends it.
RAW = """
import os, signal, sys, termios, tty
before = termios.tcgetattr(0)
tty.setraw(0)
def tell_size(*_):
    os.write(1, b"%dx%d\\r\\n" % tuple(os.get_terminal_size()))
signal.signal(signal.SIGWINCH, tell_size)
tell_size()
while (data := os.read(0, 1)) != b"q":
    os.write(1, data.replace(b"\\r", b"\\r\\n"))
"""
RESTORED = RAW + "termios.tcsetattr(0, termios.TCSANOW, before)\n"


@pytest.fixture
def suite(tmp_path: Path) -> SuiteFile:
    return write_suite(tmp_path)


def failure(suite: SuiteFile, client: str, steps: str, deadline: float = PATIENT) -> Failure | None:
    """The failure when a client with this text is on a screen."""
    one = scenario(suite, "- server: starts\n" + steps, CAST)
    programs = [program(suite.folder, ECHO), program(suite.folder, client, Role.CLIENT)]
    outcome = played(suite, one, *programs, deadline=deadline)
    assert outcome.error is None
    return outcome.failure


def test_the_terminal_shows_what_is_typed_and_what_is_answered(suite: SuiteFile) -> None:
    steps = """\
- ann: starts
- ann: {types: one}
- ann: {shows: [one, <one>]}
- ann: {sends: two}
- ann: {shows: [one, <one>, two‸]}
- ann: {presses: [Backspace, Enter]}
- ann: {shows: {last: [tw, <tw>]}}
"""
    assert failure(suite, COOKED, steps + ENDING) is None


def test_a_row_that_is_another_is_told_with_its_number(suite: SuiteFile) -> None:
    steps = '- ann: starts\n- ann: {types: [one, two]}\n- ann: {shows: ["one", "two", "<1>"]}\n'
    found = failure(suite, COOKED, steps + ENDING, SHORT)
    assert found
    assert found.expected.startswith("row ")
    assert found.seen.startswith("row ")


def test_a_row_that_no_step_names_is_a_failure(suite: SuiteFile) -> None:
    steps = "- ann: starts\n- ann: {types: one}\n- ann: {presses: Ctrl+D}\n- ann: {exits: 0}\n"
    found = failure(suite, COOKED, steps + "- ann: {shows: one}\n", SHORT)
    assert found
    assert (found.expected, found.seen) == ("row 2: ", "row 2: <one>")


def test_what_is_left_on_a_screen_at_the_end_is_said(suite: SuiteFile) -> None:
    steps = "- server: starts\n- ann: starts\n- ann: {presses: Ctrl+D}\n- ann: {exits: 0}\n"
    with pytest.raises(Mistake, match="ann has exited; add what its screen `shows`"):
        scenario(suite, steps, CAST)


def test_wide_characters_take_two_columns(suite: SuiteFile) -> None:
    steps = """\
- ann: {starts: null, size: 8x5}
- ann: {shows: 8x5}
- ann: {sends: "日本語x"}
- ann: {shows: [8x5, "日本語x‸"]}
- ann: {sends: "語"}
- ann: {shows: [8x5, "日本語x", "語‸"]}
- ann: {sends: q}
"""
    assert failure(suite, RESTORED, steps + EXITS) is None


def test_a_window_can_be_resized(suite: SuiteFile) -> None:
    steps = """\
- ann: starts
- ann: {shows: 80x24}
- ann: {resizes: 30x6}
- ann: {shows: [80x24, 30x6, "‸"]}
- ann: {sends: q}
"""
    assert failure(suite, RESTORED, steps + EXITS) is None


@pytest.mark.parametrize(
    ("client", "seen"),
    [
        (RAW, "echo is off, whole lines (canonical mode) is off"),
        (RESTORED + 'os.write(1, b"\\x1b[?25l")\n', "the cursor is hidden"),
        (RESTORED + 'os.write(1, b"\\x1b[?2004h")\n', "the terminal's modes are changed"),
        (
            RESTORED + "before[6][termios.VEOF] = b'x'\n"
            "termios.tcsetattr(0, termios.TCSANOW, before)\n",
            "its settings are changed",
        ),
    ],
)
def test_a_terminal_is_left_as_it_was(suite: SuiteFile, client: str, seen: str) -> None:
    steps = "- ann: starts\n- ann: {shows: 80x24}\n- ann: {sends: q}\n" + EXITS
    found = failure(suite, client, steps)
    assert found
    assert found.expected == "the terminal as it was before"
    assert found.seen.startswith(seen)


def test_a_program_that_writes_for_ever_is_not_waited_for(suite: SuiteFile) -> None:
    steps = "- ann: starts\n- ann: {shows: done}\n- ann: {exits: 0}\n- ann: {shows: done}\n"
    found = failure(suite, "while True: print('and so on')\n", steps, SHORT)
    assert found
    assert (found.expected, found.reason) == ("row 1: done", "the screen differs")


@pytest.mark.parametrize(("mode", "sent"), [("l", "[A"), ("h", "OA")])
def test_keys_are_sent_as_the_mode_of_the_terminal_asks(
    suite: SuiteFile, mode: str, sent: str
) -> None:
    client = RESTORED.replace("tell_size()\nwhile", f"os.write(1, b'\\x1b[?1{mode}>')\nwhile")
    client = client.replace("os.write(1, data.", "os.write(1, data.replace(b'\\x1b', b'E').")
    client += "os.write(1, b'\\x1b[?1l')\n"
    steps = """\
- ann: starts
- ann: {shows: ">‸"}
- ann: {presses: Up}
- ann: {sends: q}
- ann: {exits: 0}
"""
    assert failure(suite, client, steps + f"- ann: {{shows: '>E{sent}'}}\n") is None


def test_a_program_that_is_killed_need_not_restore_its_terminal(suite: SuiteFile) -> None:
    steps = "- ann: starts\n- ann: {shows: 80x24}\n- ann: {is_sent: SIGKILL}\n"
    steps += "- ann: {exits: SIGKILL}\n- ann: {shows: 80x24}\n"
    assert failure(suite, RAW, steps) is None


def test_a_question_of_the_program_is_answered(suite: SuiteFile) -> None:
    asking = 'os.write(1, b"abc\\x1b[6n\\r\\n")\nassert os.read(0, 9) == b"\\x1b[1;4R"\ntell_size()'
    client = RESTORED.replace("\ntell_size()", "\n" + asking)
    steps = "- ann: starts\n- ann: {shows: [abc, 80x24]}\n- ann: {sends: q}\n" + EXITS
    assert failure(suite, client, steps) is None


ASKING = """
import os, select, sys, termios, tty
before = termios.tcgetattr(0)
tty.setraw(0)
os.write(1, b"abc\\x1b[5n\\x1b[6n\\x1b[c\\x1b[>c")
answers = b""
while answers.count(b"c") < 2 and select.select([0], [], [], 60)[0]:
    answers += os.read(0, 99)
termios.tcsetattr(0, termios.TCSANOW, before)
with open(sys.argv[1], "w") as file:
    print(repr(answers)[2:-1], file=file)
"""


def test_questions_are_answered_while_any_step_waits(suite: SuiteFile) -> None:
    answers = r"\x1b[0n\x1b[1;4R\x1b[?6c\x1b[>0;10;0c"
    steps = f"""\
- ann: {{starts: , arguments: "{{scratch}}/answers"}}
- server: {{writes: '{answers}', to: answers}}
- ann: {{exits: 0}}
- ann: {{shows: abc‸}}
"""
    assert failure(suite, ASKING, steps) is None


@pytest.mark.parametrize(
    "sequence",
    [
        b"\x1b[?2004h",
        b"\x1b[1;4m",
        b"\x1b[38:2::10:20:30m",
        b"\x1b[>4;1m",
        b"\x1b[?4m",
        b"\x1b[?u",
        b"\x1b[>1u",
        b"\x1b[<u",
        b"\x1b[=1;1u",
        b"\x1b[?6n",
        b"\x1b[!p",
        b"\x1b[?2026$p",
        b"\x1b[6 q",
        b"\x1b[>q",
        b"\x1b]10;?\x07",
        b"\x1b]11;?\x1b\\",
        b"\x1b]133;A\x1b\\",
        b"\x1bP+q544e\x1b\\",
        b"\x1b_Gi=1\x1b\\",
        b"\x1b=\x1b>",
        b"\xc2\x9b?2004h",
        b"\x1b[1:2A",
        b"\x1b[5J",
        b"\x1b[?3h",
    ],
)
def test_what_a_program_says_to_its_terminal_is_not_shown(sequence: bytes) -> None:
    reading, writing = os.pipe()
    loop = Loop(Transcript())
    source = Source(loop, "ann", "seen", reading, lambda: os.read(reading, 100))
    for cut in range(len(sequence) + 1):
        screen = Screen(source, 40, 5, lambda _: None)
        for piece in (b"one " + sequence[:cut], sequence[cut:] + b"two"):
            os.write(writing, piece)
            loop.serve()
        assert screen.rows(cursor=True) == ["one two‸"], cut
    os.close(reading)
    os.close(writing)


@pytest.mark.parametrize(
    ("sequence", "row"),
    [
        (b"\x1b[1;5D", "on‸e"),
        (b"\x1b[1;9K", "   ‸"),
        (b"\xc2\x9b1;2;9r", "‸one"),
        (b"\x1b[1;2;9H", "o‸ne"),
        (b"\x1b[?25;2004h", "one‸"),
    ],
)
def test_surplus_parameters_are_ignored(sequence: bytes, row: str) -> None:
    source = Mock()
    screen = Screen(source, 40, 5, Mock())
    source.take(b"one" + sequence)
    assert screen.rows(cursor=True) == [row]


# Most of these are in xterm's entry in terminfo (`rep`, `indn`, `dl`, `rin`, `cbt`, `sc`, `rc`).
@pytest.mark.parametrize(
    ("data", "rows"),
    [
        (b"-\x1b[4b", ["-----‸"]),
        ("日\x1b[2b".encode(), ["日日日‸"]),
        (b"\x1b[b", ["‸"]),
        (b"one\r\ntwo\r\nthree\x1b[S", ["two", "three", "     ‸"]),
        (b"one\r\ntwo\r\nthree\x1b[2S", ["three", "", "     ‸"]),
        (b"one\r\ntwo\r\nthree\x1b[H\x1b[2M", ["‸three"]),
        (b"one\r\ntwo\x1b[T", ["", "one‸", "two"]),
        (b"1\r\n2\r\n3\r\n4\x1b[2;3r\x1b[4;2H\x1b[S", ["1", "3", "", "4‸"]),
        (b"\x1b[2I-\x1b[Z+", [" " * 16 + "+‸"]),
        (b"\x1b[3Z|", ["|‸"]),
        (b"\x1b[9999I|", [" " * 39 + "|‸"]),
        (
            b"-\x1b[9999b",
            ["-" * 40, "-‸"],
        ),  # a row: a program must not make the harness draw for hours
        (b"ab\x1b7c\x1b8d\x1b8e", ["abe‸"]),
        (b"ab\x1b[sc\x1b[ud\x1b[ue", ["abe‸"]),
        (b"a\x1b7b\x1b7c\x1b8\x1b8-", ["ab-‸"]),
    ],
)
def test_sequences_that_a_library_uses_work_as_on_a_terminal(data: bytes, rows: list[str]) -> None:
    source = Mock()
    screen = Screen(source, 40, 5, Mock())
    source.take(data)
    assert screen.rows(cursor=True) == rows


def test_a_cursor_behind_a_full_row_is_in_its_last_column() -> None:
    source, reply = Mock(), Mock()
    Screen(source, 5, 5, reply)
    source.take(b"12345\x1b[6n6")
    reply.assert_called_once_with(b"\x1b[1;5R")


@pytest.mark.parametrize(("mode", "sent"), [("l", "onertwo"), ("h", "E[200~onertwoE[201~")])
def test_a_text_is_pasted_as_the_program_asks(suite: SuiteFile, mode: str, sent: str) -> None:
    client = RESTORED.replace("tell_size()\nwhile", f"os.write(1, b'\\x1b[?2004{mode}>')\nwhile")
    client = client.replace('b"\\r", b"\\r\\n"', "b'\\x1b', b'E').replace(b'\\r', b'r'")
    client += "os.write(1, b'\\x1b[?2004l')\n"
    steps = """\
- ann: starts
- ann: {shows: ">‸"}
- ann: {pastes: "one\\ntwo"}
- ann: {sends: q}
- ann: {exits: 0}
"""
    assert failure(suite, client, steps + f"- ann: {{shows: '>{sent}'}}\n") is None


@pytest.mark.parametrize(
    ("steps", "problem"),
    [
        ("- ann: {sees: x}", "ann is on a screen, so `sees` is not for it; use `shows`"),
        ("- ann: {is_asked: x}", "ann is on a screen, so `is_asked` is not for it"),
        ("- ann: {complains: x}", "ann is on a screen, so `complains` is not for it"),
        ("- ann: {enters: hall}", "ann is on a screen, so it cannot see fences"),
        ("- ann: {shows: {first: x}}", "unknown key `first`"),
        ("- ann: {resizes: 80}", "put it in quotes"),
        ("- ann: {resizes: '0x24'}", "a window's size is columns and rows, such as `80x24`"),
        ("- ann: {presses: [Up, Upp]}", "no such key `Upp`; did you mean `Up`?"),
        ("- tom: {pastes: x}", "tom is not on a screen, so `pastes` is not for it"),
        ("- tom: {shows: x}", "tom is not on a screen, so `shows` is not for it"),
        ("- tom: {starts: null, size: 80x24}", "tom is not on a screen, so it has no `size`"),
        ("- eve: {presses: Up}", "eve has no terminal, so `presses` is not for it"),
    ],
)
def test_what_is_not_for_a_medium_is_refused(suite: SuiteFile, steps: str, problem: str) -> None:
    cast = "{ann: client on a screen, tom: client, eve: client on pipes}"
    with pytest.raises(Mistake) as error:
        scenario(suite, f"- server: starts\n- ann: starts\n- eve: starts\n{steps}", cast)
    assert any(problem in one for one in error.value.problems), error.value.problems


# --- Servers in turn -----------------------------------------------------------------------------

IN_TURN = """
- id: it
  title: Each start is another server's
  proves: [ECHO-1]
  servers: in turn
  cast: {ann: wire}
  steps:
"""
ROUND = """
    - server: starts
    - ann: starts
    - ann: {sees: SERVER}
    - ann: closes
    - server: {is_sent: SIGTERM}
    - server: {exits: SIGTERM}
"""
TELLING = """
ready()
while True:
    connection, _ = listener.accept()
    connection.sendall(b"NAME\\n")
    connection.shutdown(socket.SHUT_WR)
    connection.recv(1)
    connection.close()
"""


def servers(suite: SuiteFile, names: str) -> list[Build]:
    """Servers that send their names."""
    builds = []
    for name in names:
        folder = suite.folder / name
        folder.mkdir()
        build = program(folder, TELLING.replace("NAME", name))
        one = build.implementation
        builds.append(Build(type(one)(name, one.role, one.language, folder, one.run), build.argv))
    return builds


def test_each_start_is_the_next_server_and_every_server_comes_first_once(suite: SuiteFile) -> None:
    builds = servers(suite, "abc")
    rounds = "".join(ROUND.replace("SERVER", name) for name in "bcab")
    scenarios = read_scenarios(suite, IN_TURN + rounds)
    cases = plan(scenarios, [build.implementation for build in builds], Selection())
    known = {build.implementation.label: build for build in builds}
    assert ["".join(one.name for one in case.implementations) for case in cases] == [
        "abc",
        "bca",
        "cab",
    ]
    found = [play(case, suite, known, Deadlines(PATIENT)).failure for case in cases]
    assert [one and one.seen for one in found] == ["a", None, "c"]


def test_servers_are_in_turn_or_nothing_is_said_of_them(suite: SuiteFile) -> None:
    with pytest.raises(Mistake, match="the only value here is `in turn`"):
        read_scenarios(suite, (IN_TURN + ROUND).replace("in turn", "by turns"))
    with pytest.raises(Mistake, match="needs a cast without clients"):
        read_scenarios(suite, (IN_TURN + ROUND).replace("ann: wire", "ann: client"))


def test_a_program_is_on_a_terminal_unless_it_is_said() -> None:
    assert [str(medium) for medium in Medium] == ["terminal", "pipes", "screen", "shell"]
