"""The verbs, played by very short programs: what passes, what fails, and the messages."""

from __future__ import annotations

import errno
import math
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from tiny import ECHO, LISTENING, SHORT, SUITE, played, program, scenario, write_suite

from conformance.model import Failure, FailureKind, Outcome, Role
from conformance.play.actors import meters
from conformance.play.processes.process import Process
from conformance.read.suite import SuiteFile

# Replies to each line of a connection by `answer`.
ANSWERING = """
def serve(connection):
    try:
        for line in connection.makefile("rb"):
            answer(connection, line.rstrip(b"\\n"))
    except ConnectionResetError:
        print("reset", flush=True)
    connection.close()
ready()
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"""

# Relays lines in both directions, until the server ends the connection.
CLIENT = """
import select, socket, sys
connection = socket.create_connection((sys.argv[1], int(sys.argv[2])))
sources = [connection, sys.stdin.buffer.raw]
while True:
    for source in select.select(sources, [], [])[0]:
        if source is connection:
            data = connection.recv(65536)
            if not data:
                sys.exit()
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
        elif data := source.read(65536):
            connection.sendall(data)
        else:
            connection.shutdown(socket.SHUT_WR)
            sources.remove(source)
"""

PIPES = "{server: server on pipes}"
ACCOUNTED = SUITE.replace("  server:\n", "  server:\n    errors: accounted\n", 1)


@pytest.fixture
def suite(tmp_path: Path) -> SuiteFile:
    return write_suite(tmp_path)


def outcome(
    suite: SuiteFile, server: str, steps: str, cast: str = "{ann: wire}", client: str = CLIENT
) -> Outcome:
    """The outcome when a server with this text plays these steps."""
    programs = [program(suite.folder, server), program(suite.folder, client, Role.CLIENT)]
    return played(suite, scenario(suite, steps, cast), *programs)


def passes(suite: SuiteFile, *arguments: str) -> Outcome:
    found = outcome(suite, *arguments)
    assert (found.failure, found.error) == (None, None)
    return found


def fails(suite: SuiteFile, *arguments: str) -> Failure:
    found = outcome(suite, *arguments)
    assert found.error is None
    assert found.failure
    return found.failure


def step(failure: Failure) -> str:
    """The step, as written in the file."""
    return failure.step.partition("  ")[2]


# --- Starting --------------------------------------------------------------------------------


@pytest.mark.parametrize("cast", ["{}", PIPES])
def test_a_server_that_gets_ready(suite: SuiteFile, cast: str) -> None:
    passes(suite, ECHO, "- server: starts", cast)


def test_a_server_that_never_gets_ready(suite: SuiteFile) -> None:
    failure = fails(suite, "signal.pause()", f"- server: {{starts: , within: {SHORT}}}", "{}")
    assert step(failure) == "server: starts"
    assert failure.expected == "ready on {port}"
    assert failure.reason == f"it never got ready: nothing more came within {SHORT} s"


def test_a_server_that_dies_at_the_start(suite: SuiteFile) -> None:
    failure = fails(suite, 'sys.exit("no luck today")', "- server: starts", "{}")
    assert failure.reason == "it never got ready: exit status 1"
    assert failure.stderr == ("server: no luck today",)


@pytest.mark.parametrize(
    "measured",
    ["has_socket_option: {TCP_NODELAY: 1}", "notices_loss_within: 5", "grows_less_than: 1 MiB"],
)
def test_a_server_that_has_just_died_is_not_measured(
    suite: SuiteFile, measured: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The harness has not looked at its end yet. An ordinary user cannot see its sockets then."""

    def kill(process: Process, name: str) -> None:
        os.kill(process.pid, signal.Signals[name])
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)

    monkeypatch.setattr(Process, "signal", kill)
    steps = f"- server: starts\n- server: {{is_sent: SIGKILL}}\n- server: {{{measured}}}"
    failure = fails(suite, ECHO, steps, "{}")
    assert (failure.expected, failure.seen) == ("a running program", "killed by SIGKILL")


def test_a_server_that_dies_once_it_is_ready(suite: SuiteFile) -> None:
    failure = fails(suite, "ready()", "- server: starts\n- server: {idles_for: 60}", "{}")
    assert (failure.expected, failure.seen) == ("a running program", "exit status 0")


def test_a_server_that_says_something_before_it_is_ready(suite: SuiteFile) -> None:
    failure = fails(suite, "print('hello')" + ECHO, "- server: starts", "{}")
    assert (failure.seen, failure.reason) == ("hello", "not its ready line")


def test_a_server_that_floods_its_terminal_before_it_is_ready(suite: SuiteFile) -> None:
    failure = fails(suite, "while True: print('x' * 100)", "- server: starts", "{}")
    assert (failure.seen, failure.reason) == ("x" * 100, "not its ready line")


def test_of_a_very_long_line_a_failure_holds_the_difference(suite: SuiteFile) -> None:
    long = "sys.stderr.write('e' * 60_000); print('x' * 9_999_999 + 'y')"
    steps = "- server: starts\n- ann: starts\n- ann: {types: 'x'}\n"
    steps += "- ann: {sees: '{x*9999999}z'}"
    server = ECHO.replace("sendall(line)", "sendall(b'x' * 9_999_999 + b'y' + line[-1:])")
    failures = [fails(suite, long + ECHO, "- server: starts", "{}"), fails(suite, server, steps)]
    assert all(len(repr(one)) < 40_000 for one in failures)
    assert all(one.seen.endswith("… (10,000,000 characters)") for one in failures)
    assert ("xz…" in failures[1].expected, "xy…" in failures[1].seen) == (True, True)


def test_a_ready_line_that_stays_in_a_buffer(suite: SuiteFile) -> None:
    server = ECHO.replace("ready()", "print('ready on', listener.getsockname()[1])")
    passes(suite, server, "- server: starts", "{}")  # Python itself flushes lines on a terminal
    failure = fails(suite, server, f"- server: {{starts: , within: {SHORT}}}", PIPES)
    assert failure.reason == f"it never got ready: nothing more came within {SHORT} s"


def test_a_program_that_cannot_be_executed(suite: SuiteFile) -> None:
    one = replace(program(suite.folder, ""), argv=("./absent",))
    failure = played(suite, scenario(suite, "- server: starts", "{}"), one).failure
    assert failure
    assert failure.seen == f"./absent: {os.strerror(errno.ENOENT)}"


def test_a_folder_that_is_gone(suite: SuiteFile) -> None:
    one = program(suite.folder, "")
    one = replace(one, implementation=replace(one.implementation, folder=suite.folder / "gone"))
    failure = played(suite, scenario(suite, "- server: starts", "{}"), one).failure
    assert failure
    assert os.strerror(errno.ENOENT) in failure.seen


TELLING = """
ready()
print(*sys.argv[1:], os.environ.get("GREETING"), flush=True)
"""


def test_options_and_a_wrapper(suite: SuiteFile) -> None:
    passes(
        suite,
        TELLING,
        """
        - server: {starts: {loud: yes, size: 5, shy: no}, under: env GREETING=hello}
        - server: {sees: 0 --loud --size 5 hello}
        - server: {exits: 0}
        """,
        "{}",
    )


def test_arguments_instead_of_all_options(suite: SuiteFile) -> None:
    """Without the option for the port, no ready line is expected."""
    found = passes(
        suite,
        TELLING.replace("ready()", ""),
        """
        - server: {starts: , arguments: "0 'two words' {port}"}
        - server: {sees: 0 two words 0 None}
        - server: {exits: 0}
        """,
        "{}",
    )
    assert found.transcript.splitlines()[0] == "server * starts 0 'two words' {port}"


def test_the_suites_own_options_can_be_taken_away(tmp_path: Path) -> None:
    text = SUITE.replace('ready: "', 'options: {calm: yes, depth: 3}\n    ready: "')
    passes(
        write_suite(tmp_path / "with-options", text),
        TELLING,
        """
        - server: starts
        - server: {sees: 0 --calm --depth 3 None}
        - server: {exits: 0}
        - server: {starts: {calm: no, depth: 4}}
        - server: {sees: 0 --depth 4 None}
        - server: {exits: 0}
        """,
        "{}",
    )


def test_a_port_that_is_looked_up(tmp_path: Path) -> None:
    """A program that prints nothing is ready when it listens."""
    text = SUITE.replace('    ready: "ready on {port}"\n', "")
    server = ECHO.replace("ready()", "")
    steps = "- server: starts\n- ann: starts\n- ann: {types: hello}\n- ann: {sees: hello}"
    suite = write_suite(tmp_path / "silent", text)
    passes(suite, server, steps)
    failure = fails(suite, server, '- server: {starts: , under: "false"}', "{}")  # ends at once
    assert failure.reason == "it never got ready"


def test_a_ready_line_without_a_port(tmp_path: Path) -> None:
    text = SUITE.replace("ready on {port}", "ready")
    server = ECHO.replace("ready()", "print('ready', flush=True)")
    steps = "- server: starts\n- ann: starts\n- ann: {types: hello}\n- ann: {sees: hello}"
    passes(write_suite(tmp_path / "terse", text), server, steps)


def test_a_fixed_port(suite: SuiteFile) -> None:
    """A program that takes no port gets its own address in each case."""
    text = ECHO.replace("ready()", "print('ready on 31404', flush=True)")
    listening = "import socket, sys\nlistener = socket.create_server((sys.argv[1], 31404))\n"
    one = program(suite.folder, text, beginning=listening, arguments="{host}", port=31404)
    steps = "- server: starts\n- ann: starts\n- ann: {types: hello}\n- ann: {sees: hello}"
    for _ in range(2):
        found = played(suite, scenario(suite, steps), one)
        assert (found.failure, found.error) == (None, None)


# Listens on a first port, then on the given port; or a child process does that.
TWO_PORTS = """
other, listener = listener, socket.create_server((sys.argv[1], 31405))
"""
IN_A_CHILD = """
if os.fork():
    listener.close()
    os.wait()
    os._exit(0)
"""


@pytest.mark.parametrize(
    "first",
    [TWO_PORTS, IN_A_CHILD, TWO_PORTS + IN_A_CHILD],
    ids=["the given one of two", "in a child", "the given one in a child"],
)
def test_a_port_that_no_line_announces(tmp_path: Path, first: str) -> None:
    """It is found in the program, or in a process that it has started."""
    suite = write_suite(tmp_path / "silent", SUITE.replace("ready on {port}", ""))
    listening = LISTENING.replace('"127.0.0.1", int(sys.argv[1])', "sys.argv[1], 0")
    port = 31405 if TWO_PORTS in first else None
    one = program(
        suite.folder,
        first + ECHO.replace("ready()", ""),
        beginning=listening,
        arguments="{host}",
        port=port,
    )
    steps = "- server: starts\n- ann: starts\n- ann: {types: hello}\n- ann: {sees: hello}"
    found = played(suite, scenario(suite, steps), one)
    assert (found.failure, found.error) == (None, None)


@pytest.mark.parametrize(
    ("stdin", "said"),
    [("closed", "none"), ("/dev/null", "b''"), ("words.txt", "b'some words'")],
)
@pytest.mark.parametrize("cast", ["{}", PIPES])
def test_another_standard_input(suite: SuiteFile, stdin: str, said: str, cast: str) -> None:
    (suite.folder / "words.txt").write_text("some words")
    server = """
ready()
try:
    print(os.read(0, 100), flush=True)
except OSError:
    print("none", flush=True)
"""
    steps = f"""
    - server: {{starts: , input: {stdin}}}
    - server: {{sees: "{said}"}}
    - server: {{exits: 0}}
    """
    passes(suite, server, steps, cast)


def test_the_same_port_again(suite: SuiteFile) -> None:
    passes(
        suite,
        ECHO,
        """
        - server: starts
        - ann: starts
        - ann: {types: hello}
        - ann: {sees: hello}
        - server: {is_sent: SIGTERM}
        - server: {exits: SIGTERM}
        - ann: is_closed
        - ann: is_refused
        - server: {starts: , same_port: yes}
        - ann: starts
        - ann: {types: "{port}"}
        - ann: {sees: "{port}"}
        """,
    )


# --- Ending ----------------------------------------------------------------------------------

ENDING = """
ready()
line = input()
"""


DEATH = "os.kill(os.getpid(), signal.SIGKILL)"
IN_WORDS = {
    "0": "exit status 0",
    "nonzero": "an exit status above 0",
    "SIGTERM": "killed by SIGTERM",
    "[3, SIGTERM]": "exit status 3 or killed by SIGTERM",
}


@pytest.mark.parametrize(
    ("end", "wanted", "seen"),
    [
        ("sys.exit(3)", "0", "exit status 3"),
        ("sys.exit(0)", "nonzero", "exit status 0"),
        (DEATH, "0", "killed by SIGKILL"),
        (DEATH, "nonzero", "killed by SIGKILL"),
        (DEATH, "SIGTERM", "killed by SIGKILL"),
        (DEATH, "[3, SIGTERM]", "killed by SIGKILL"),
    ],
)
def test_another_exit(suite: SuiteFile, end: str, wanted: str, seen: str) -> None:
    steps = f"- server: starts\n- server: {{types: end}}\n- server: {{exits: {wanted}}}"
    failure = fails(suite, ENDING + end, steps, "{}")
    assert failure.expected == IN_WORDS[wanted]
    assert failure.seen == seen
    assert any(f"({seen})" in row for row in failure.timeline)


@pytest.mark.parametrize(
    ("end", "wanted"),
    [
        ("sys.exit(3)", "3"),
        ("sys.exit(3)", "nonzero"),
        ("os.abort()", "SIGABRT"),
        ("os.abort()", "[nonzero, SIGABRT]"),
    ],
)
def test_the_exit_that_is_wanted(suite: SuiteFile, end: str, wanted: str) -> None:
    steps = f"- server: starts\n- server: {{types: end}}\n- server: {{exits: {wanted}}}"
    passes(suite, ENDING + end, steps, "{}")


def test_a_program_that_does_not_end(suite: SuiteFile) -> None:
    steps = f"- server: starts\n- server: {{exits: 0, within: {SHORT}}}"
    failure = fails(suite, ECHO, steps, "{}")
    assert (failure.seen, failure.reason) == ("it is still running", f"after {SHORT} s")


STAYING = """
signal.signal(signal.SIGHUP, signal.SIG_IGN)  # of the terminal that goes
ready()
line = input()
subprocess.Popen([sys.executable, "-S", "-c", "import signal; signal.pause()"], **{options})
"""
TO_THE_END = "- server: starts\n- server: {types: end}\n- server: {exits: 0}"


def leaves(suite: SuiteFile, server: str) -> Failure:
    """If a program leaves processes behind, the case passes, and the run reports it."""
    found = passes(suite, server, TO_THE_END, "{}")
    assert found.afterwards
    assert found.afterwards.kind is FailureKind.LEFT_OVER
    assert (found.afterwards.requirement, found.afterwards.program) == ("", "server-tiny")
    return found.afterwards


def test_a_child_that_is_left_behind(suite: SuiteFile) -> None:
    failure = leaves(suite, STAYING.replace("{options}", "{}"))
    assert failure.expected == "no process left behind"
    assert failure.seen == "1 left, and killed"


def test_a_child_that_is_left_behind_until_after_the_deadline(suite: SuiteFile) -> None:
    """It holds the output open until it is killed, which is later than the program may end."""
    steps = "- server: starts\n- server: {types: end}\n- server: {exits: 0, within: 5}"
    found = passes(suite, STAYING.replace("{options}", "{}"), steps, PIPES)
    assert found.afterwards
    assert found.afterwards.seen == "1 left, and killed"


def test_a_child_that_fled_to_a_session_of_its_own(suite: SuiteFile) -> None:
    options = "{'start_new_session': True, 'stdin': -3, 'stdout': -3, 'stderr': -3}"  # DEVNULL
    failure = leaves(suite, STAYING.replace("{options}", options))
    assert failure.step.endswith("at the end")
    assert failure.seen == "1 left, and killed"


def test_a_child_that_holds_the_output_open(suite: SuiteFile) -> None:
    server = STAYING.replace("{options}", "{'start_new_session': True}")
    steps = "- server: starts\n- server: {types: end}\n- server: {exits: 0, within: 10}"
    failure = fails(suite, server, steps, PIPES)
    assert failure.reason == "it has ended, but another process holds its output open"


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_something_unnamed_before_the_end(tmp_path: Path, stream: str) -> None:
    suite = write_suite(tmp_path, ACCOUNTED)
    failure = fails(suite, ENDING + f"print('by the way', file=sys.{stream})", TO_THE_END, "{}")
    assert (failure.seen, failure.reason) == ("by the way", "an unexpected line")


def test_standard_error_is_free_unless_the_suite_accounts_for_it(suite: SuiteFile) -> None:
    passes(suite, ENDING + "print('by the way', file=sys.stderr)", TO_THE_END, "{}")
    some = TO_THE_END.replace("- server: {exits", "- server: {complains: [a, c]}\n- server: {exits")
    passes(suite, ENDING + "print('a\\nb\\nc\\nd', file=sys.stderr)", some, "{}")
    failure = fails(suite, ENDING + "print('c\\na', file=sys.stderr)", some, "{}")
    assert failure.expected == "among the lines of standard error: c"


def test_half_a_line_before_the_end(suite: SuiteFile) -> None:
    failure = fails(suite, ENDING + "print('and', end='')", TO_THE_END, "{}")
    assert (failure.seen, failure.reason) == ("and", "text without a line end")


def test_standard_error(suite: SuiteFile) -> None:
    passes(
        suite,
        ENDING + "print('one\\ntwo', file=sys.stderr)",
        "- server: starts\n- server: {types: end}\n"
        "- server: {complains: [one, {starts: t}]}\n- server: {exits: 0}",
        "{}",
    )


def test_the_last_line_of_standard_error(suite: SuiteFile) -> None:
    steps = "- server: starts\n- server: {types: end}\n- server: {complains: {last: {ends: two}}}"
    passes(
        suite,
        ENDING + "print('one\\ntwo', file=sys.stderr)",
        f"{steps}\n- server: {{exits: 0}}",
        "{}",
    )
    failure = fails(suite, ENDING + "print('two\\none', file=sys.stderr)", steps, "{}")
    assert failure.seen == "one"


def test_output_of_which_parts_are_named(suite: SuiteFile) -> None:
    starts = '- server: {starts: , arguments: "0"}\n'
    steps = starts + "- server: {prints: [--port, --host]}\n- server: {exits: 0}"
    passes(suite, "print('use --host HOST\\n    --port PORT', end='')", steps, "{}")
    failure = fails(suite, "print('use --port PORT')", steps, "{}")
    assert failure.expected == "somewhere in its output: --host"


@pytest.mark.parametrize(
    ("step", "end"),
    [
        ("presses: Ctrl+C", "SIGINT"),
        ("presses: Ctrl+\\", "SIGQUIT"),
        ("is_sent: SIGUSR1", "SIGUSR1"),
    ],
)
def test_keys_and_signals(suite: SuiteFile, step: str, end: str) -> None:
    server = "signal.signal(signal.SIGINT, signal.SIG_DFL)" + ECHO
    passes(
        suite, server, f"- server: starts\n- server: {{{step}}}\n- server: {{exits: {end}}}", "{}"
    )


# Prints which of the usual signals would not end it.
TELLS = """
ready()
for line in open("/proc/self/status"):
    if line.startswith(("SigBlk", "SigIgn")):
        name, _, bits = line.partition(":")
        known = [signal.SIGHUP, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM]
        print(name, *(one.name for one in known if int(bits, 16) >> one - 1 & 1), flush=True)
"""


@pytest.mark.parametrize(
    ("options", "blocked", "ignored"),
    [
        ("", "", ""),
        (", blocked: [SIGTERM, SIGINT]", " SIGINT SIGTERM", ""),
        (", ignored: [SIGHUP, SIGINT]", "", " SIGHUP SIGINT"),
        (", ignored: SIGTERM, blocked: SIGTERM", " SIGTERM", " SIGTERM"),
        (", ignored: SIGUSR1, under: nice", "", " SIGUSR1"),
    ],
)
def test_signals_at_the_start(suite: SuiteFile, options: str, blocked: str, ignored: str) -> None:
    steps = f"""
    - server: {{starts: {options}}}
    - server: {{sees: ["SigBlk{blocked}", "SigIgn{ignored}"]}}
    - server: {{exits: 0}}
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2, signal.SIGTERM])
    try:
        passes(suite, TELLS, steps, PIPES)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@pytest.mark.parametrize("cast", ["{}", PIPES])
def test_the_end_of_input(suite: SuiteFile, cast: str) -> None:
    server = "ready()\nprint(repr(sys.stdin.read()), flush=True)"
    steps = """
    - server: starts
    - server: {types: hello}
    - server: ends_input
    - server: {sees: "'hello\\\\n'"}
    - server: {exits: 0}
    """
    passes(suite, server, steps, cast)


# --- Seeing ----------------------------------------------------------------------------------

MEET = "- server: starts\n- ann: starts\n"


def answering(text: str) -> str:
    """A server that executes this for each line."""
    return f"def answer(connection, line):\n    {text}\n" + ANSWERING


GREETING = "connection.sendall(b'hello ann, one of 1\\n')"
EXTRA = "connection.sendall(b'and?\\n')"


def test_a_line_that_no_step_names_breaks_the_scenarios_own_rule(suite: SuiteFile) -> None:
    """It came before what a shorthand expected, and does not break the shorthand's rule."""
    failure = fails(suite, answering(f"{EXTRA}; {GREETING}"), "- server: starts\n- ann: comes")
    assert failure.requirement == "ECHO-1"
    assert (failure.expected, failure.seen) == ("hello ann, one of 1", "and?")
    assert failure.reason == "an unexpected line before the expected one"
    assert step(failure) == 'ann: {sees: "hello ann, one of 1"}'


def test_another_line_breaks_the_rule_of_the_step(suite: SuiteFile) -> None:
    failure = fails(suite, answering(EXTRA), "- server: starts\n- ann: comes")
    assert failure.requirement == "ECHO-2"
    assert (failure.seen, failure.reason) == ("and?", "another line")


def test_a_line_that_no_step_names_before_a_step_that_proves_a_rule(suite: SuiteFile) -> None:
    steps = MEET + "- ann: {types: hello}\n- ann: {sees: {starts: hello}, proves: ECHO-2}"
    failure = fails(suite, answering(f"{EXTRA}; {GREETING}"), steps)
    assert failure.requirement == "ECHO-2"


def test_a_line_that_no_step_names_is_found_at_the_end(suite: SuiteFile) -> None:
    fencing = """
    if line == b"fence?":
        connection.sendall(b"and?\\nfence!\\n")
    else:
        connection.sendall(b"hello ann, one of 1\\n")
"""
    failure = fails(suite, answering(fencing), "- server: starts\n- ann: comes")
    assert (failure.requirement, failure.seen) == ("ECHO-1", "and?")


def test_nothing_before_the_deadline(suite: SuiteFile) -> None:
    failure = fails(suite, answering("pass"), MEET + f"- ann: {{sees: hello, within: {SHORT}}}")
    assert failure.reason == f"nothing more came within {SHORT} s"


def test_a_line_without_its_end(suite: SuiteFile) -> None:
    server = answering("connection.sendall(b'hel')")
    failure = fails(suite, server, MEET + "- ann: {types: a}\n- ann: {sees: hello, within: 10}")
    assert failure.seen == "hel"
    assert failure.reason == "nothing more came within 10 s, only this without a line end"


def test_lines_that_were_sent_are_counted(suite: SuiteFile) -> None:
    """So that as many answers are not taken for a flood."""
    steps = MEET + "- ann: {types: [a, b, c]}\n- ann: {sends: d}\n- ann: {sees: hello}"
    assert fails(suite, answering("connection.sendall(b'no\\n')"), steps).sent == 4


def test_the_end_instead_of_a_line(suite: SuiteFile) -> None:
    server = answering("connection.shutdown(socket.SHUT_RDWR)")
    failure = fails(suite, server, MEET + "- ann: {types: a}\n- ann: {sees: hello}")
    assert failure.reason == "the output ended"


def test_prompts(suite: SuiteFile) -> None:
    server = answering("connection.sendall('größer? '.encode())")
    passes(suite, server, MEET + '- ann: {types: a}\n- ann: {is_asked: "größer? "}\n- ann: closes')


def test_a_prompt_with_a_line_end(suite: SuiteFile) -> None:
    server = answering("connection.sendall(b'yes?\\nhello\\n')")
    asked = MEET + "- ann: {types: a}\n- ann: {is_asked: yes?}\n"
    failure = fails(suite, server, asked + "- ann: {sees: hello}")
    why = "an unexpected empty line before the expected one"
    assert (failure.seen, failure.reason) == ("", why)
    failure = fails(suite, server, asked.replace("yes?", "yes? no?"))
    assert (failure.seen, failure.reason) == ("yes?⏎", "a prompt was expected")


def test_patterns(suite: SuiteFile) -> None:
    server = answering("connection.sendall(b'one two three\\n' * 4)")
    passes(
        suite,
        server,
        MEET
        + """- ann: {types: a}
- ann: {receives: [{starts: one}, {ends: three}, {contains: two}, {matches: "[a-z ]+"}]}
- ann: closes
""",
    )


def test_lines_that_are_counted(suite: SuiteFile) -> None:
    passes(
        suite,
        ECHO,
        MEET
        + '- ann: {types: {line: "line {n}", times: 1000}}\n'
        + '- ann: {sees: {line: "line {n}", times: 1000}}\n- ann: closes',
    )


INTERLEAVING = answering("connection.sendall(b'a1\\nb1\\nb2\\na2\\n')")
IN_ANY_ORDER = '{sees_all: [{line: "a{n}", times: 2}, {line: "b{n}", times: 2}]}'


def test_lines_in_any_order(suite: SuiteFile) -> None:
    steps = MEET + f"- ann: {{types: a}}\n- ann: {IN_ANY_ORDER}\n- ann: closes"
    passes(suite, INTERLEAVING, steps)
    failure = fails(suite, INTERLEAVING.replace("b1\\nb2", "b2\\nb1"), steps)
    assert (failure.expected, failure.seen) == ("a2 or b1", "b2")


def test_lines_in_the_order_that_another_saw(suite: SuiteFile) -> None:
    server = """
count = 0
def answer(connection, line):
    connection.sendall(line.replace(b" ", b"\\n") + b"\\n")
""" + ANSWERING  # fmt: skip
    steps = f"""
    - server: starts
    - ann, bob: starts
    - ann: {{types: a1 b1 b2 a2}}
    - ann: {IN_ANY_ORDER}
    - bob: {{types: ORDER}}
    - bob: {{sees_as: ann}}
    - ann, bob: closes
    """
    cast = "{ann: wire, bob: wire}"
    passes(suite, server, steps.replace("ORDER", "a1 b1 b2 a2"), cast)
    failure = fails(suite, server, steps.replace("ORDER", "a1 b1 a2 b2"), cast)
    assert (failure.expected, failure.seen) == ("b2", "a2")


def test_everything_that_comes_is_shown_in_a_failure(suite: SuiteFile) -> None:
    failure = fails(suite, answering("pass"), MEET + f"- ann: {{sees: hello, within: {SHORT}}}")
    rows = [" ".join(row.split()[2:]) for row in failure.timeline]
    assert rows[0] == f"server * (starts {sys.executable} -I -S server.py 0)"
    assert rows[1].startswith("server < ready on ")
    assert rows[2] == "ann * (connects)"


# --- Wires -----------------------------------------------------------------------------------

HANGING_UP = """
import struct
def answer(connection, line):
    if line == b"reset":
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        os.close(connection.detach())
        os._exit(0)
    connection.shutdown(socket.SHUT_RDWR)
""" + ANSWERING  # fmt: skip


def test_a_close_is_told_from_a_reset(suite: SuiteFile) -> None:
    server = HANGING_UP
    end = "- ann: {END}"
    close, reset = MEET + "- ann: {types: close}\n" + end, MEET + "- ann: {types: reset}\n" + end
    passes(suite, server, close.replace("{END}", "is_closed"))
    failure = fails(suite, server, close.replace("{END}", "is_reset"))
    assert failure.seen == "end of file"
    exits = "\n- server: {exits: 0}"
    passes(suite, server, reset.replace("{END}", "is_reset") + exits)
    failure = fails(suite, server, reset.replace("{END}", "is_closed"))
    assert (failure.seen, failure.reason) == ("a reset", "not closed in order")


def test_a_wire_closes_or_resets(suite: SuiteFile) -> None:
    server = answering("pass").replace("connection.close()", "print('end', flush=True)")
    passes(suite, server, MEET + "- ann: closes\n- server: {sees: end}")
    passes(suite, server, MEET + "- ann: resets\n- server: {sees: [reset, end]}")


def test_half_a_close(suite: SuiteFile) -> None:
    passes(
        suite,
        ECHO,
        MEET + "- ann: {types: a}\n- ann: ends_input\n- ann: {sees: a}\n- ann: is_closed",
    )


def test_bytes(suite: SuiteFile) -> None:
    server = answering("connection.sendall(repr(line).encode() + b'\\n')")
    passes(
        suite,
        server,
        MEET
        + """- ann: {sends: [{hex: "ff fe 00"}, "a\\u2028", {text: "bc", times: 3}, "\\r\\n"]}
- ann: {sees: "b'\\\\xff\\\\xfe\\\\x00a\\\\xe2\\\\x80\\\\xa8bcbcbc\\\\r'"}
- ann: {dribbles: "größer\\n"}
- ann: {sees: "b'gr\\\\xc3\\\\xb6\\\\xc3\\\\x9fer'"}
- ann: closes
""",
    )


# Eight megabytes.
MANY_LINES = """
lines = [b"x" + b"y" * 999 + b" %d\\n" % n for n in range(1, 8001)]
def answer(connection, line):
    if line == b"send":
        connection.sendall(b"".join(lines))
    elif line == b"print":
        os.write(1, b"".join(lines))
    connection.sendall(b"done\\n")
""" + ANSWERING  # fmt: skip
SEES_THEM = f'{{sees: {{line: "x{"y" * 999} {{n}}", times: 8000}}}}'


def test_one_who_does_not_read_and_reads_again(suite: SuiteFile) -> None:
    """The megabytes wait in the server, and no other actor waits for them."""
    passes(
        suite,
        MANY_LINES,
        f"""
        - server: starts
        - ann: {{starts: , receive_buffer: 4096}}
        - bob: starts
        - ann: stops_reading
        - ann: {{types: send}}
        - bob: {{types: hello}}
        - bob: {{sees: done}}
        - ann: reads_again
        - ann: {SEES_THEM}
        - ann: {{sees: done}}
        - ann, bob: closes
        """,
        "{ann: wire, bob: wire}",
    )


@pytest.mark.parametrize("kind", ["server", "server on pipes"])
def test_output_is_taken_while_another_is_waited_for(suite: SuiteFile, kind: str) -> None:
    """A program whose output is not read would block, and the others would wait for it."""
    steps = f"""
    - server: starts
    - ann: starts
    - ann: {{types: print}}
    - ann: {{sees: done}}
    - server: {SEES_THEM}
    - ann: closes
    """
    passes(suite, MANY_LINES, steps, f"{{ann: wire, server: {kind}}}")


def test_one_who_floods(suite: SuiteFile) -> None:
    server = answering("while True: os.write(1, b'x' * 65535 + b'\\n')")
    steps = MEET + "- ann: {types: a}\n- ann: {sees: done}"
    failure = fails(suite, server, steps, "{ann: wire, server: server on pipes}")
    assert (failure.seen, failure.reason) == ("server sends without end", "a flood")


def test_a_server_that_resets_what_is_being_sent_to_it(suite: SuiteFile) -> None:
    server = """
ready()
connection, _ = listener.accept()
connection.recv(1)
connection.close()  # with so much unread, this is a reset
signal.pause()
"""
    passes(suite, server, MEET + "- ann: {sends: {text: x, times: 33554432}}\n- ann: is_reset")


def test_a_server_that_ends_its_side_but_goes_on_reading(suite: SuiteFile) -> None:
    server = """
ready()
connection, _ = listener.accept()
connection.shutdown(socket.SHUT_WR)
size = 0
while size < 33554432:
    size += len(connection.recv(65536))
print("all of it", flush=True)
signal.pause()
"""
    sends = "- ann: {sends: {text: x, times: 33554432}}\n"
    steps = MEET + sends + "- server: {sees: all of it}\n- ann: is_closed"
    passes(suite, server, steps)


def test_a_server_that_does_not_read(suite: SuiteFile) -> None:
    steps = MEET + f"- ann: {{sends: {{text: x, times: 33554432}}, within: {SHORT}}}"
    failure = fails(suite, "ready()\nsignal.pause()", steps)
    assert failure.reason == "the other side does not read"


def test_a_program_that_does_not_read(suite: SuiteFile) -> None:
    steps = f"- server: starts\n- server: {{sends: {{text: x, times: 1048576}}, within: {SHORT}}}"
    failure = fails(suite, "ready()\nsignal.pause()", steps, PIPES)
    assert failure.reason == "the program does not read"


def test_a_refused_connection(suite: SuiteFile) -> None:
    ended = "- server: starts\n- server: {is_sent: SIGTERM}\n- server: {exits: SIGTERM}\n"
    passes(suite, ECHO, ended + "- ann: is_refused")
    failure = fails(suite, ECHO, ended + "- ann: starts\n- ann: is_closed")
    assert (failure.expected, failure.seen) == ("a connection", "Connection refused")
    failure = fails(suite, ECHO, "- server: starts\n- ann: is_refused")
    assert failure.seen == "an accepted one"


# --- Clients, and a server that is played ----------------------------------------------------


@pytest.mark.parametrize("kind", ["client", "client on pipes"])
def test_a_client(suite: SuiteFile, kind: str) -> None:
    steps = """
    - server: starts
    - ann: starts
    - ann: {types: [one, two]}
    - ann: {sees: [one, two]}
    - ann: ends_input
    - ann: {exits: 0}
    """
    passes(suite, ECHO, steps, f"{{ann: {kind}}}")


SCRIPTED = "{server: scripted, ann: client on pipes}"


def test_a_server_that_is_played(suite: SuiteFile) -> None:
    passes(
        suite,
        ECHO,
        """
        - server: starts
        - ann: starts
        - server: accepts
        - server: {dribbles: "größer\\n"}
        - ann: {sees: größer}
        - ann: {types: hello}
        - server: {receives: hello}
        - ann: ends_input
        - server: is_closed
        - server: {types: farewell}
        - ann: {sees: farewell}
        - server: closes
        - ann: {exits: 0}
        - ann: starts
        - server: accepts
        - server: closes
        - ann: {exits: 0}
        """,
        SCRIPTED,
    )


def test_a_client_that_does_not_connect(suite: SuiteFile) -> None:
    accepts = f"- server: {{accepts: , within: {SHORT}}}\n"
    steps = f"- server: starts\n- ann: starts\n{accepts}- ann: {{exits: 0}}"
    failure = fails(suite, ECHO, steps, SCRIPTED, "import signal; signal.pause()")
    assert failure.reason == "the client does not connect"


def test_no_client_has_connected(suite: SuiteFile) -> None:
    steps = "- server: starts\n- ann: starts\n- server: {sees: hello}\n- ann: {exits: 0}"
    failure = fails(suite, ECHO, steps, SCRIPTED)
    assert failure.reason == "no step has taken a connection yet"


# --- What the system knows of a program ------------------------------------------------------

NO_DELAY = "connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)"
IS_SET = "connection.sendall(b'set\\n')"
KEEPALIVE = {"SO_KEEPALIVE": 1, "TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 15}
HAS_NO_DELAY = "- server: {has_socket_option: {TCP_NODELAY: 1}}"


def test_socket_options(suite: SuiteFile) -> None:
    asked = MEET + f"- ann: {{types: a}}\n- ann: {{sees: set}}\n{HAS_NO_DELAY}\n- ann: closes"
    passes(suite, answering(f"{NO_DELAY}; {IS_SET}"), asked)
    failure = fails(suite, answering(IS_SET), asked)
    assert failure.seen == "[0]"
    failure = fails(suite, ECHO, f"- server: starts\n{HAS_NO_DELAY}", "{}")
    assert failure.seen == "no connection"
    failure = fails(
        suite, ECHO, f"- server: starts\n{HAS_NO_DELAY}".replace("NODELAY", "TURBO"), "{}"
    )
    assert failure.seen == "none of that name on this machine"


FORKING = f"""
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
ready()
while True:
    connection, _ = listener.accept()
    if not os.fork():
        {NO_DELAY}
        for line in connection.makefile("rb"):
            connection.sendall(line)
        os._exit(0)
    connection.close()
"""


def test_socket_options_of_a_child(suite: SuiteFile) -> None:
    """A child for each connection serves it; the process that listens has closed it."""
    steps = MEET + f"- ann: {{types: a}}\n- ann: {{sees: a}}\n{HAS_NO_DELAY}\n- ann: closes"
    passes(suite, FORKING, steps)
    wrong = FORKING.replace(NO_DELAY, "pass")
    assert fails(suite, wrong, steps).seen == "[0]"


def option(name: str, value: int) -> str:
    level = "SOL_SOCKET" if name.startswith("SO_") else "IPPROTO_TCP"
    return f"connection.setsockopt(socket.{level}, socket.{name}, {value}); "


@pytest.mark.parametrize(
    ("options", "seen"),
    [
        ({"TCP_KEEPIDLE": 60}, "no keepalive (SO_KEEPALIVE)"),
        ({"SO_KEEPALIVE": 1, "TCP_KEEPIDLE": 120}, "it ends after 795 s"),  # 120 + 75 * 9
        (KEEPALIVE | {"TCP_KEEPCNT": 4}, ""),
        (KEEPALIVE | {"TCP_KEEPCNT": 5}, "it ends after 135 s"),
        (KEEPALIVE | {"TCP_KEEPCNT": 9, "TCP_USER_TIMEOUT": 110_000}, ""),  # at 120 s
        (KEEPALIVE | {"TCP_KEEPCNT": 1, "TCP_USER_TIMEOUT": 121_000}, "it ends after 135 s"),
        (KEEPALIVE | {"TCP_KEEPINTVL": 70, "TCP_USER_TIMEOUT": 1_000}, "it ends after 130 s"),
    ],
)
def test_a_peer_that_vanishes(suite: SuiteFile, options: dict[str, int], seen: str) -> None:
    server = answering("".join(option(*each) for each in options.items()) + IS_SET)
    steps = MEET + "- ann: {types: a}\n- ann: {sees: set}\n- server: {notices_loss_within: 120}"
    if not seen:
        passes(suite, server, steps + "\n- ann: closes")
    else:
        assert fails(suite, server, steps).seen == seen
    failure = fails(suite, ECHO, "- server: starts\n- server: {notices_loss_within: 120}", "{}")
    assert failure.seen == "no connection"


def test_idling(suite: SuiteFile, monkeypatch: pytest.MonkeyPatch) -> None:
    idle = "- server: starts\n- server: {idles_for: 0.5}"
    passes(suite, ECHO, idle, "{}")
    monkeypatch.setattr(meters, "_IDLE_SHARE", 0.01)  # more is sure on a busy machine, too
    failure = fails(suite, "ready()\nwhile True: pass", idle, "{}")
    assert failure.expected == "less than 1% of a processor"


def test_what_spins_is_found_on_a_machine_that_gives_it_little_time(
    suite: SuiteFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(meters, "_IDLE_SHARE", math.inf)  # as if it got less than that
    idle = "- server: starts\n- server: {idles_for: 0.5}"
    passes(suite, ECHO, idle, "{}")
    failure = fails(suite, "ready()\nwhile True: pass", idle, "{}")
    assert failure.expected == "a program that waits for something"


def test_growing(suite: SuiteFile) -> None:
    server = "kept = []\n" + answering(
        "kept.append(b'x' * (64 << 20)); connection.sendall(b'ok\\n')"
    )
    steps = (
        MEET
        + "- ann: {types: a}\n- ann: {sees: ok}\n- server: {grows_less_than: SIZE}\n- ann: closes"
    )
    passes(suite, server, steps.replace("SIZE", "1 GiB"))
    failure = fails(suite, server, steps.replace("SIZE", "16 MiB"))
    assert failure.expected == "grown by less than 16384 KiB since it was ready"


# --- The transcript --------------------------------------------------------------------------


def test_like_behaviour_leaves_like_transcripts(suite: SuiteFile) -> None:
    steps = """
    - server: starts
    - ann: starts
    - bob: starts
    - ann: {types: "over :{port}"}
    - ann: {sees: {contains: "over :{port}"}}
    - ann: {types: "in {scratch}"}
    - ann: {sees: {contains: "{scratch}"}}
    - ann: ends_input
    - ann: is_closed
    - bob: {types: [b, {line: "c{n}", times: 1000}]}
    - bob: {sees: [b, {line: "c{n}", times: 1000}]}
    """
    cast = "{ann: wire, bob: client}"
    server = answering(
        "connection.sendall((b'it said %b, first' if b':' in line else b'%b') % line + b'\\n')"
    )
    steps += "- bob: ends_input\n    - bob: {exits: 0}\n"
    first, second = (passes(suite, server, steps, cast).transcript for _ in range(2))
    assert first == second
    assert (
        first
        == """\
server * starts
ann * connects
bob * starts
ann > over :{port}
ann < it said over :{port}, first
ann > in {scratch}
ann < in {scratch}
ann * ends its side
ann * is closed
bob > b
bob > c{n} (times 1000)
bob < b
bob < c{n} (times 1000)
bob * ends its input
bob * exits 0
server * is sent SIGTERM
server * exits SIGTERM
"""
    )


WRITES = answering(
    'log.write(\'{"time":"now","name":"ann","n":3}\\n\'); log.write(\'half\'); log.flush();'
    " connection.sendall(b'ok\\n')"
)


def test_what_a_program_writes_to_files(suite: SuiteFile) -> None:
    server = "log = open(sys.argv[sys.argv.index('--log') + 1], 'a')\n" + WRITES
    meet = MEET.replace("server: starts", 'server: {starts: {log: "{scratch}/chat.log"}}')
    asked = meet + "- ann: {types: a}\n- ann: {sees: ok}\n"
    row = "{time: '*', name: ann, n: 3}"
    passes(
        suite, server, f"{asked}- server: {{writes: {{json: {row}}}, to: chat.log}}\n- ann: closes"
    )
    renamed = "- server: {runs: mv chat.log old.log}\n"
    line = f"- server: {{writes: {{json: {row}}}, to: old.log}}\n- ann: closes"
    passes(suite, server, asked + renamed + line)
    for other, why in (
        ("{name: ann, time: '*', n: 3}", "the keys stand in another order, or one of them twice"),
        ("{time: '*', name: ann}", "`n` is too much"),
        ("{time: '*', name: bob, n: 3, m: 1}", "`name` is another; `m` is missing"),
    ):
        wrong = f"{asked}- server: {{writes: {{json: {other}}}, to: chat.log}}\n- ann: closes"
        failure = fails(suite, server, wrong)
        assert failure.reason == f"another line in chat.log: {why}"
    assert failure.expected == '{"name": "bob", "m": 1}'
    assert failure.seen == '{"name": "ann"}'
    nothing = f"{asked}- server: {{writes: [], to: chat.log}}\n- ann: closes"
    assert '"ann"' in fails(suite, server, nothing).seen
    absent = f"{asked}- server: {{writes: [], to: caht.log}}\n- ann: closes"
    assert fails(suite, server, absent).seen == "there is no such file"
    two = f"[{{contains: ann}}, half], to: chat.log, within: {SHORT}"
    more = f"{asked}- server: {{writes: {two}}}\n- ann: closes"
    assert fails(suite, server, more).reason == "nothing more came in chat.log"


@pytest.mark.parametrize("verb", ["makes: log", "makes: log, holding: one", "writes: one, to: log"])
@pytest.mark.parametrize(
    ("made", "seen"),
    [
        ("os.mkdir(sys.argv[3])", "a folder, or something else that is no file"),
        ("os.mkfifo(sys.argv[3])", "a folder, or something else that is no file"),
        ("os.symlink('log', sys.argv[3])", os.strerror(errno.ELOOP)),
    ],
)
def test_what_a_program_makes_in_place_of_a_file(
    suite: SuiteFile, verb: str, made: str, seen: str
) -> None:
    steps = f'- server: {{starts: {{log: "{{scratch}}/log"}}}}\n- server: {{{verb}}}'
    failure = fails(suite, made + ECHO, steps, "{}")
    assert (failure.expected, failure.seen) == ("the file log", seen)


def test_a_long_line_in_a_file(suite: SuiteFile) -> None:
    server = "open(sys.argv[3], 'w').write('x' * 70000 + 'y\\n' + 'z\\n')" + ECHO
    starts = '- server: {starts: {log: "{scratch}/log"}}\n'
    passes(suite, server, starts + "- server: {writes: ['{x*70000}y', z], to: log}", "{}")


def test_a_tool_that_fails(suite: SuiteFile) -> None:
    failure = fails(suite, ECHO, "- server: starts\n- server: {runs: test -e nothing}", "{}")
    assert failure.reason == "status 1"


@pytest.mark.parametrize(
    ("text", "mode", "why"),
    [
        ("#!/bin/sh", 0o600, "Permission denied"),
        ("#!/no/such/shell", 0o700, "No such file or directory"),
        ("\1", 0o700, "Exec format error"),
    ],
)
def test_a_tool_that_cannot_be_run_is_told_with_its_place(
    suite: SuiteFile, text: str, mode: int, why: str
) -> None:
    made = suite.folder / "made"
    made.write_text(text)
    made.chmod(mode)
    runs = f"- server: {{runs: cp {made} tool}}\n- server: {{runs: ./tool}}"
    found = outcome(suite, ECHO, f"- server: starts\n{runs}", "{}")
    assert found.error == f"{suite.folder}/file.yaml:8:7: `./tool` cannot be run: {why}"


def test_a_tool_that_the_scenario_makes(suite: SuiteFile) -> None:
    steps = "- server: starts\n- server: {runs: cp /bin/true tool}\n- server: {runs: ./tool}"
    passes(suite, ECHO, steps, "{}")


def test_a_program_without_standard_output(suite: SuiteFile) -> None:
    """Then only its listening socket shows that it is ready."""
    server = ECHO.replace("ready()", "assert sys.stdout is None")
    steps = MEET.replace("server: starts", "server: {starts: , output: closed}")
    passes(suite, server, steps + "- ann: {types: a}\n- ann: {sees: a}\n- ann: closes")


def test_a_program_whose_output_is_not_read(suite: SuiteFile) -> None:
    server = answering("print('x' * 1000000, flush=True); connection.sendall(b'ok\\n')")
    unread = f"{MEET}- server: stops_reading\n- ann: {{types: a}}\n"
    read = "- server: reads_again\n- server: {sees: {matches: x+}}\n- ann: closes"
    failure = fails(suite, server, f"{unread}- ann: {{sees: ok, within: {SHORT}}}\n{read}")
    assert failure.reason.startswith("nothing more came")
    passes(
        suite, server, unread + read.replace("- ann: closes", "- ann: {sees: ok}\n- ann: closes")
    )
