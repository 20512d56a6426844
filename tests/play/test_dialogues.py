"""What may come in several ways, at the same time, or not too early."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest
from test_playing import ANSWERING, fails, passes, step
from tiny import ECHO, SHORT, SUITE, write_suite

from conformance.model import FailureKind
from conformance.read.suite import SuiteFile

# Replies to each line with the lines in it, which are separated by `|`.
SPEAKING = (
    """
def answer(connection, line):
    connection.sendall(line.replace(b"|", b"\\n") + b"\\n")
"""
    + ANSWERING
)

# Ends a connection as its first line demands.
ENDING = """
ready()
def serve(end):
    line = end.recv(100).strip()
    if line == b"reset":
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, bytes([1, 0, 0, 0] + [0] * 4))
    end.sendall(b"too bad\\n" * (b"reason" in line) + b"why? " * (b"prompt" in line))
    if b"prompt" in line:
        end.recv(1)
    end.close()
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"""

# Says `now` after the number of seconds in each line.
LATER = (
    """
def answer(connection, line):
    threading.Timer(float(line), connection.sendall, [b"now\\n"]).start()
"""
    + ANSWERING
)

TWO = "{ann: wire, bob: wire}"


@pytest.fixture
def suite(tmp_path: Path) -> SuiteFile:
    return write_suite(tmp_path)


def said(line: str, *steps: str) -> str:
    """Steps after ann has typed a line."""
    return "\n".join(["- server: starts", "- ann: starts", f"- ann: {{types: '{line}'}}", *steps])


# --- Optional lines ---

MAYBE = "- ann: {sees: [one, {optional: [two, {starts: thr}]}, four]}"


@pytest.mark.parametrize(
    "line", ["one|two|three|four", "one|three|four", "one|two|four", "one|four"]
)
def test_what_is_optional_may_come_or_not(suite: SuiteFile, line: str) -> None:
    passes(suite, SPEAKING, said(line, MAYBE))


@pytest.mark.parametrize("line", ["one|three|two|four", "one|two|two|four", "one|five|four"])
def test_what_is_optional_comes_once_and_in_its_order(suite: SuiteFile, line: str) -> None:
    assert fails(suite, SPEAKING, said(line, MAYBE)).expected == "four"


def test_a_line_that_may_come_at_the_end_of_a_step(suite: SuiteFile) -> None:
    """Only the next step shows whether it came."""
    steps = ("- ann: {sees: [one, {optional: two}]}", "- ann: {sees: three}")
    passes(suite, SPEAKING, said("one|two|three", *steps))
    passes(suite, SPEAKING, said("one|three", *steps))
    passes(suite, SPEAKING, said("one|two", steps[0], "- ann: closes"))
    assert fails(suite, SPEAKING, said("one|2|3", *steps)).seen == "2"


def test_optional_lines_among_mingled_ones(suite: SuiteFile) -> None:
    sees = "- ann: {sees_all: [[a, {optional: b}, c], [x, {optional: y}]]}"
    passes(suite, SPEAKING, said("x|a|b|y|c|end", sees, "- ann: {sees: end}"))
    passes(suite, SPEAKING, said("a|c|x|y|end", sees, "- ann: {sees: end}"))
    passes(suite, SPEAKING, said("a|c|x|end", sees, "- ann: {sees: end}"))
    assert fails(suite, SPEAKING, said("a|c|b|x", sees)).seen == "b"


@pytest.mark.parametrize(
    ("line", "sequences"),
    [
        ("a|c|a|b", "[[a, b], [a, c]]"),
        ("ab|ac", "[[{starts: a}], [ab]]"),
        ("a|a|a|b|b|c", "[[a, b], [a, b], [a, c]]"),
        ("a|b", "[[a, {optional: b}], [b]]"),
    ],
)
def test_a_line_that_fits_several_sequences(suite: SuiteFile, line: str, sequences: str) -> None:
    """Only a later line shows to which of them it belongs."""
    sees = f"- ann: {{sees_all: {sequences}}}"
    passes(suite, SPEAKING, said(f"{line}|end", sees, "- ann: {sees: end}"))
    wrong = line.rpartition("|")[0] + "|other"
    assert fails(suite, SPEAKING, said(wrong, sees)).seen == "other"


def test_what_is_captured_where_a_line_fits_several_sequences(suite: SuiteFile) -> None:
    """Each line is captured by the one sequence to which it belongs in the end."""
    first, second = ("[{matches: 'id (?P<" + name + ">.)'}" for name in ("one", "two"))
    steps = (f"- ann: {{sees_all: [{first}, c], {second}, b]]}}", "- ann: {types: '{one} {two}'}")
    for line, ids in (("id 1|id 2|b|c", "1 2"), ("id 1|b|id 2|c", "2 1")):
        passes(suite, SPEAKING, said(line, *steps, f"- ann: {{sees: {ids}}}"))


@pytest.mark.parametrize("line", ["reason", "without"])
def test_a_reason_that_may_come_before_the_end(suite: SuiteFile, line: str) -> None:
    passes(suite, ENDING, said(line, "- ann: {sees: {optional: too bad}}", "- ann: is_closed"))


@pytest.mark.parametrize("line", ["reason, prompt", "prompt"])
def test_a_reason_that_may_come_before_a_prompt(suite: SuiteFile, line: str) -> None:
    steps = ("- ann: {sees: {optional: too bad}}", '- ann: {is_asked: "why? "}', "- ann: resets")
    passes(suite, ENDING, said(line, *steps))


# --- What was seen, used again ---


def test_a_dialogue_that_is_not_played_captures_nothing(suite: SuiteFile) -> None:
    """Its first line fits, and names another number than the line before."""
    either = """
    - ann: {sees: {matches: 'id (?P<id>[0-9]+)'}}
    - either:
      - - ann: {sees: [{matches: 'id (?P<id>[0-9]+)'}, mended]}
      - - ann: {sees: [{starts: id}, broken]}
    - ann: {types: "number {id}"}
    - ann: {sees: number 1}
    """
    passes(suite, SPEAKING, said("id 1|id 2|broken", *dedent(either).splitlines()))


def test_what_was_captured_is_used_again(suite: SuiteFile) -> None:
    steps = said(
        "id 4.2",
        "- ann: {sees: {matches: 'id (?P<it>[0-9.]+)'}}",
        "- ann: {types: 'and {it}'}",
        "- ann: {sees: 'and {it}'}",
        '- ann: {sends: "{it}, {{it}\\n"}',
        "- ann: {sees: {matches: '{it}, \\{{it\\}'}}",
    )
    found = passes(suite, SPEAKING, steps)
    assert "ann > and {it}\nann < and {it}\nann >> {it}, {it}" in found.transcript
    failure = fails(suite, SPEAKING, steps.replace("types: 'and {it}'", "types: 'and 4x2'"))
    assert (failure.expected, failure.seen) == ("and 4.2", "and 4x2")


# --- Items in any order, and long texts ---


@pytest.mark.parametrize("line", ["here: bob, ann, carl.", "here: carl, bob, ann."])
def test_items_in_any_order(suite: SuiteFile, line: str) -> None:
    sees = '- ann: {sees: {line: "here: {items}.", items: [ann, bob, carl]}}'
    passes(suite, SPEAKING, said(line, sees))
    wrong = fails(suite, SPEAKING, said(line.replace("bob", "ann"), sees))
    assert wrong.expected == "in any order: here: ann, bob, carl."
    fails(suite, SPEAKING, said(line.replace("bob, ", ""), sees))
    fails(suite, SPEAKING, said(line.replace("bob", "bob, bob"), sees))


@pytest.mark.parametrize(("items", "line"), [("a, b", "b a"), ("", "")])
def test_items_that_stand_in_one_text(suite: SuiteFile, items: str, line: str) -> None:
    sees = f'- ann: {{sees: {{line: "[{{items}}]", items: "{items}", between: " "}}}}'
    passes(suite, SPEAKING, said(f"[{line}]", sees))
    fails(suite, SPEAKING, said(f"[{line}c]", sees))


def test_a_text_that_is_repeated(suite: SuiteFile) -> None:
    steps = """
    - server: starts
    - ann: starts
    - ann: {types: "a {ha*3}!"}
    - ann: {sees: "a hahaha!"}
    - ann: {types: ["{x*1000}", "{{x*3}"]}
    - ann: {sees: [{starts: "{x*999}"}, "{{x*3}"]}
    - ann: {sends: "{y*1000}\\n"}
    - ann: {sees: {matches: "y{1000}"}}
    """
    passes(suite, ECHO, steps)
    assert fails(suite, ECHO, steps.replace("{x*999}", "{x*1001}")).seen == "x" * 1000


# --- Either ---

EITHER = """\
- either:
    - - ann: {sees: "no"}
      - ann: {types: why?}
      - ann: {sees: why?}
    - - ann: {sees: "yes"}
- ann: {types: more}
- ann: {sees: more}"""


@pytest.mark.parametrize("line", ["yes", "no"])
def test_one_of_several_dialogues(suite: SuiteFile, line: str) -> None:
    found = passes(suite, SPEAKING, said(line, EITHER))
    assert ("why?" in found.transcript) == (line == "no")


def test_none_of_several_dialogues(suite: SuiteFile) -> None:
    """It fails at once: more waiting would not help."""
    failure = fails(suite, SPEAKING, said("perhaps", EITHER))
    assert (failure.expected, failure.seen) == ("no or yes", "perhaps")
    assert failure.reason == "none of 2 dialogues begins like this: another line"


def test_a_dialogue_that_begins_and_goes_wrong(suite: SuiteFile) -> None:
    failure = fails(suite, SPEAKING, said("no", EITHER.replace("sees: why?", "sees: so")))
    assert (failure.expected, failure.seen) == ("so", "why?")


@pytest.mark.parametrize("line", ["reset", "reason", "prompt", "end", "reason, prompt"])
def test_dialogues_of_several_kinds(suite: SuiteFile, line: str) -> None:
    """A line, a prompt, an end, a reset: trying one alternative takes nothing from the others."""
    steps = """\
- either:
    - - ann: is_reset
    - - ann: is_closed
    - - ann: {is_asked: "why? "}
      - ann: resets
    - - ann: {sees: too bad}
      - ann: {resets: , rest: ignored}"""
    passes(suite, ENDING, said(line, steps))


def test_dialogues_of_several_actors(suite: SuiteFile) -> None:
    """The dialogue that begins is played; the others may wait forever."""
    steps = """\
- bob: starts
- bob: {types: hello}
- either:
    - - ann: {sees: hello}
    - - bob: {sees: hello}"""
    found = passes(suite, SPEAKING, said("", "- ann: {sees: ''}", steps), TWO)
    assert "bob < hello" in found.transcript


def test_dialogues_that_never_begin(suite: SuiteFile) -> None:
    steps = f"""\
- either:
    - - ann: {{sees: one, within: {SHORT}}}
      - ann: resets
    - - ann: {{is_closed: , within: {SHORT}}}"""
    failure = fails(suite, LATER, said("3600", steps))
    assert failure.expected == "one or end of file"


def test_each_dialogue_has_its_own_time(suite: SuiteFile) -> None:
    """The time of one dialogue is over long before something comes; that of the other is not."""
    steps = "- either: [[ann: {sees: FIRST}], [ann: {sees: SECOND}]]"
    late = steps.replace("FIRST", "now, within: 0.01").replace("SECOND", "then")
    failure = fails(suite, LATER, said("4", late))
    assert (failure.expected, failure.seen) == ("now or then", "now")
    assert failure.reason.endswith("begins like this: nothing more came within 0.01 s")
    in_time = steps.replace("FIRST", "now").replace("SECOND", "then, within: 0.01")
    passes(suite, LATER, said("0.3", in_time))


# --- An end in one way or another ---


def test_an_end_by_a_reset_where_that_is_as_good(suite: SuiteFile) -> None:
    ends = "- ann: {is_closed: , by_reset: yes}"
    passes(suite, ENDING, said("reset", ends))
    passes(suite, ENDING, said("end", ends))
    assert fails(suite, ENDING, said("reset", "- ann: is_closed")).seen == "a reset"
    assert fails(suite, ENDING, said("reason", ends)).seen == "too bad"


# --- Together ---


def test_bytes_at_the_same_time(suite: SuiteFile) -> None:
    """The actors' bytes are mixed: neither has sent everything before the other begins."""
    server = """
ready()
ends = [listener.accept()[0], listener.accept()[0]]
got = {end: b"" for end in ends}
while not all(got.values()):
    for end in select.select(ends, [], [])[0]:
        got[end] += end.recv(1)
ends[0].sendall(b"%d %d\\n" % tuple(map(len, got.values())))
while True:
    for end in select.select(ends, [], [])[0]:
        end.recv(1)
"""
    steps = """
    - server: starts
    - ann: starts
    - bob: starts
    - together:
        - ann: {dribbles: "{a*10000}"}
        - bob: {dribbles: "{b*10000}"}
    - ann: {sees: {matches: "1?[0-9]{1,3} 1?[0-9]{1,3}"}}
    """
    passes(suite, server, steps, TWO)


def test_one_waits_while_another_goes_on(suite: SuiteFile) -> None:
    """Each actor waits for what the other does after its own first step."""
    server = """
ready()
one, other = listener.accept()[0], listener.accept()[0]
lines = [end.makefile("rb") for end in (one, other)]
for _ in range(3):
    other.sendall(lines[0].readline())
    one.sendall(lines[1].readline())
signal.pause()
"""
    steps = """
    - server: starts
    - ann: starts
    - bob: starts
    - together:
        - ann: {types: a1}
        - ann: {sees: b1}
        - ann: {types: a2}
        - ann: {sees: b2}
        - bob: {sees: a1}
        - bob: {types: b1}
        - bob: {sees: a2}
        - bob: {types: b2}
    """
    passes(suite, server, steps, TWO)
    failure = fails(suite, server, steps.replace("sees: a2", "sees: a3"), TWO)
    assert (step(failure), failure.seen) == ('bob: {sees: "a3"}', "a2")


# --- Silence, and times ---


def test_nothing_for_a_time(suite: SuiteFile) -> None:
    silent, long = f"- ann: {{sees_nothing_for: {SHORT}}}", "- ann: {sees_nothing_for: 50}"
    passes(suite, ENDING, said("prompt", '- ann: {is_asked: "why? "}', silent, "- ann: resets"))
    failure = fails(suite, LATER, said("0.05", long))
    assert (failure.expected, failure.seen) == ("nothing for 50 s", "now")
    assert fails(suite, ENDING, said("end", long)).reason == "the output ended"
    failure = fails(suite, ENDING, said("reason, prompt", "- ann: {sees: too bad}", silent))
    assert (failure.seen, failure.reason) == ("why? ", "text without a line end")


def test_not_before_its_time(suite: SuiteFile) -> None:
    passes(suite, LATER, said("0.3", "- ann: {sees: now, not_before: 0.3}"))
    failure = fails(suite, LATER, said("0.1", "- ann: {sees: now, not_before: 50}"))
    assert (failure.expected, failure.reason) == ("not before 50 s", "too early")


def test_the_moment_counts_at_which_something_came(suite: SuiteFile) -> None:
    """The time of arrival counts, not the time at which a step looks, which is late here."""
    look = ("- bob: starts", "- bob: {sees_nothing_for: 5}")
    sees = "- ann: {sees: now, since: ann, TIME}"
    early = fails(suite, LATER, said("0.01", *look, sees.replace("TIME", "not_before: 5")), TWO)
    assert early.reason == "too early"
    passes(suite, LATER, said("0.01", *look, sees.replace("TIME", "within: 4.9")), TWO)
    late = fails(suite, LATER, said("1", *look, sees.replace("TIME", "within: 0.9")), TWO)
    assert late.reason == "too late"


# Passes on to the first connection what the second one says, and when it goes.
PASSING_ON = """
ready()
one, other = listener.accept()[0], listener.accept()[0]
for line in other.makefile("rb"):
    one.sendall(line)
one.sendall(b"gone\\n")
one.recv(99)
signal.pause()
"""

BRIEF = """
import os, socket, sys
print("here\\ngone", flush=True)
print("oh", file=sys.stderr, flush=True)
connection = socket.create_connection((sys.argv[1], int(sys.argv[2])))
connection.sendall(b"here\\n")
os._exit(0)
"""

# All that tom does is over when ann acts, and the last step looks at it still later.
OVER = f"""
- server: starts
- ann: starts
- tom: starts
- ann: {{sees_all: [here, gone]}}
- ann: {{sees_nothing_for: {SHORT}}}
- ann: {{types: hello}}
- ann: {{sees_nothing_for: 0.1}}
"""


@pytest.mark.parametrize(
    "last",
    [
        '- tom: {gets: "here\\ngone\\n", TIME}',
        "- tom: {sees_as: ann, TIME}",
        "- tom: {prints: [here], TIME}",
        "- tom: {complains: oh, TIME}\n- tom: {exits: 0, rest: ignored}",
        "- tom: {sees: [here, gone]}\n- tom: {exits: 0, TIME}",
    ],
)
def test_the_moment_counts_for_all_that_a_program_does(suite: SuiteFile, last: str) -> None:
    def steps(time: str) -> str:
        return OVER + last.replace("TIME", f"since: ann, {time}")

    cast = "{ann: wire, tom: client}"
    early = fails(suite, PASSING_ON, steps("not_before: 0.1"), cast, BRIEF)
    assert early.reason == "too early"
    passes(suite, PASSING_ON, steps("within: 0.01"), cast, BRIEF)


# --- A fence where nobody answers one who is alone ---

WITNESSED = SUITE.replace(
    "  alone_types: fence?\n  alone_sees: fence!\n", "  witness: {comes: comes, goes: parts}\n"
).replace(
    "fence:\n",
    """\
  parts:
    steps:
      - "{actor}": closes
      - "everyone in hall but {actor}": {sees: "{name} is gone"}
      - "{actor}": {leaves: hall}
fence:
""",
    1,
)

HALL = """
ready()
members, lock = {}, threading.Lock()
def tell(line, *but):
    for one in members:
        if one not in but:
            one.sendall(line.encode() + b"\\n")
def serve(end):
    for line in end.makefile(encoding="utf-8", newline="\\n"):
        line = line.rstrip("\\n")
        with lock:
            if end not in members:
                members[end] = line.removeprefix("I am ")
                end.sendall(f"hello {members[end]}, one of {len(members)}\\n".encode())
                tell(f"{members[end]} is here", end)
            elif line != "quiet":
                tell(f"{members[end]}: {line}", end)
            elif ECHOES:
                end.sendall(b"an echo\\n")
    with lock:
        name = members.pop(end)
        tell(f"{name} is gone")
    end.close()
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"""


def test_another_comes_for_a_fence(tmp_path: Path) -> None:
    suite = write_suite(tmp_path / "hall", WITNESSED)
    steps = """
    - server: starts
    - ann: comes
    - ann: {types: quiet}
    - ann: sees_nothing
    - ann: {types: quiet}
    """
    found = passes(suite, "ECHOES = False\n" + HALL, steps)
    assert found.transcript.count("witness * connects") == 2
    assert found.transcript.count("witness < ann: fence") == 2
    failure = fails(suite, "ECHOES = True\n" + HALL, steps)
    assert (failure.seen, failure.kind) == ("an echo", FailureKind.STEP)
