"""Manifests of programs that were written elsewhere, and how the harness plays these programs."""

from __future__ import annotations

import socket
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from ports import a_free_port
from tiny import ECHO, LISTENING, PATIENT, SHORT, played, program, scenario, write_suite

from conformance.arguments import Pattern, Ready
from conformance.builds.build import Build
from conformance.model import Failure, FailureKind, Outcome, Role
from conformance.play.actors.missed import Lacking
from conformance.play.network import fixed_ports
from conformance.play.processes import system
from conformance.read.suite import SuiteFile

HEARD = """
- server: starts
- ann: starts
- ann: {types: hello}
- ann: {sees: hello}
"""
SILENT = ECHO.replace("ready()", "")

# Shows what its server sends, until the server ends the connection.
CLIENT = """
import socket, sys
print(socket.create_connection((sys.argv[1], int(sys.argv[2]))).makefile().readline().rstrip())
"""
GREETED = """
- server: starts
- ann: starts
- server: accepts
- server: {types: hello}
- ann: {sees: hello}
- server: closes
- ann: {exits: 0}
"""
SCRIPTED = "{server: scripted, ann: client}"


@pytest.fixture
def suite(tmp_path: Path) -> SuiteFile:
    return write_suite(tmp_path)


def outcome(suite: SuiteFile, *programs: Build, steps: str = HEARD, cast: str = "") -> Outcome:
    return played(suite, scenario(suite, steps, cast or "{ann: wire}"), *programs)


def passes(suite: SuiteFile, *programs: Build, steps: str = HEARD, cast: str = "") -> None:
    found = outcome(suite, *programs, steps=steps, cast=cast)
    assert (found.failure, found.error) == (None, None)


def fails(suite: SuiteFile, *programs: Build, steps: str = "- server: starts") -> Failure:
    found = outcome(suite, *programs, steps=steps, cast="{}")
    assert found.failure, found.error
    return found.failure


# --- The environment, the address -----------------------------------------------------------------


def test_an_environment_with_what_is_known_of_the_case(suite: SuiteFile) -> None:
    listening = LISTENING.replace("sys.argv[1]", "os.environ['PORT']")
    steps = """
    - server: starts
    - server: {sees: "{scratch} ann's {host}"}
    """
    text = ECHO.replace("ready()", "ready(); print(os.environ['WORDS'], flush=True)")
    build = program(suite.folder, text, beginning=listening, arguments="")
    given = {"PORT": "{port}", "WORDS": "{scratch} ann's {host}"}
    passes(suite, replace(build, environment=given), steps=steps, cast="{}")


def test_an_address_that_a_server_always_has(suite: SuiteFile) -> None:
    listening = LISTENING.replace("127.0.0.1", "127.0.0.9")
    passes(suite, program(suite.folder, ECHO, beginning=listening, host="127.0.0.9"))


# --- Getting ready --------------------------------------------------------------------------------

READY_LINE = 'print("ready on", listener.getsockname()[1], flush=True)'


def announcing(suite: SuiteFile, text: str, ready: Ready, start: float | None = None) -> Build:
    beginning = LISTENING.replace(READY_LINE, text)
    return program(suite.folder, ECHO, beginning=beginning, ready=ready, start=start)


@pytest.mark.parametrize(
    "line",
    [
        Pattern("at {host}, port {port}"),
        Pattern("port {port}", "contains"),
        Pattern(".*[,] po{1}rt {port}", "matches"),
    ],
    ids=str,
)
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_ready_line_among_others(suite: SuiteFile, line: Pattern, stream: str) -> None:
    text = (
        "print('Welcome', 'at 127.0.0.1, port ' + str(listener.getsockname()[1]), sep='\\n', "
        f"file=sys.{stream}, flush=True)"
    )
    ready = Ready(line, first=False, in_errors=stream == "stderr")
    passes(suite, announcing(suite, text, ready))


def test_a_ready_line_that_names_no_port(suite: SuiteFile) -> None:
    ready = Ready(Pattern("up .*", "matches"), first=False, in_errors=True)
    passes(suite, announcing(suite, "print('up again', file=sys.stderr, flush=True)", ready))


@pytest.mark.parametrize("port", ["0", "65536", "80800", "9" * 5000, "x"])
def test_a_ready_line_that_names_what_is_no_port(suite: SuiteFile, port: str) -> None:
    ready = Ready(Pattern("port (?P<port>.*)", "matches"))
    build = announcing(suite, f"print('port', {port!r}, flush=True)", ready)
    failure = fails(suite, build)
    assert failure.kind is FailureKind.START
    assert failure.reason == "no port from 1 to 65535"


def test_a_ready_line_that_does_not_come(suite: SuiteFile) -> None:
    ready = Ready(Pattern("up at {port}", "contains"), first=False)
    failure = fails(suite, announcing(suite, "print('on'); sys.exit(3)", ready))
    assert failure.kind is FailureKind.START
    assert failure.expected == "a line that contains up at {port}"
    assert failure.reason == "it never got ready: exit status 3"


def test_a_start_that_takes_too_long(suite: SuiteFile) -> None:
    ready = Ready(Pattern("up"), first=False)
    build = announcing(suite, "print('wait', flush=True)", ready, start=SHORT)
    failure = fails(suite, build)
    assert failure.reason == f"it never got ready: nothing more came within {SHORT} s"


def test_a_start_may_take_longer_than_a_step(suite: SuiteFile) -> None:
    text = f"print('wait', flush=True); select.select([], [], [], {3 * SHORT}); print('up')"
    ready = Ready(Pattern("up"), first=False)
    build = announcing(suite, f"{text}; sys.stdout.flush()", ready, start=PATIENT)
    found = played(suite, scenario(suite, "- server: starts", "{}"), build, deadline=SHORT)
    assert (found.failure, found.error) == (None, None)


# --- Programs of several processes ----------------------------------------------------------------

# Starts the program that serves, waits for its end, and ends in the same way, as a shell does.
LAUNCHING = """
import os, sys
child = os.fork()
if child:
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os._exit(128 - status if status < 0 else status)
"""
SIGNALLED = """
- server: starts
- ann: starts
- ann: {types: hello}
- ann: {sees: hello}
- server: {has_socket_option: {TCP_NODELAY: 1}}
- server: {grows_less_than: 64 MiB}
- server: {is_sent: SIGTERM}
- server: {exits: SIGTERM}
- ann: is_closed
"""
NO_DELAY = ECHO.replace(
    "    for line",
    "    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)\n    for line",
)


def test_the_process_that_listens_is_sent_signals_and_measured(suite: SuiteFile) -> None:
    deaf = "if child:\n    import signal\n    signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    launching = LAUNCHING.replace("if child:\n", deaf)
    build = program(suite.folder, NO_DELAY, beginning=launching + LISTENING, children=True)
    passes(suite, build, steps=SIGNALLED)
    alone = program(suite.folder, NO_DELAY, beginning=launching + LISTENING)
    assert outcome(suite, alone, steps=SIGNALLED).failure


def test_a_process_that_listened_and_has_ended(suite: SuiteFile) -> None:
    then = "os.write(2, b'gone\\n'); signal.pause(); os._exit"
    launching = "import signal" + LAUNCHING.replace("os._exit", then)
    steps = "- server: starts\n- server: {is_sent: SIGKILL}\n- server: {complains: gone}\n"
    steps += "- server: {grows_less_than: 1 MiB}"
    build = program(suite.folder, ECHO, beginning=launching + LISTENING, children=True)
    failure = fails(suite, build, steps=steps)
    assert failure.reason == "the process that listened has ended"


# --- Ports that programs always take --------------------------------------------------------------


def test_a_client_that_always_connects_to_one_port(suite: SuiteFile) -> None:
    port = a_free_port()
    text = CLIENT.replace("sys.argv[1], int(sys.argv[2])", f"'127.0.0.1', {port}")
    client = program(suite.folder, text, Role.CLIENT, port=port)
    passes(suite, client, steps=GREETED, cast=SCRIPTED)
    echo = ECHO.replace("    for line", "    connection.sendall(b'hi\\n')\n    for line")
    server = program(suite.folder, echo)
    steps = "- server: starts\n- ann: starts\n- ann: {sees: hi}\n- ann: {exits: 0}"
    passes(suite, server, client, steps=steps, cast="{ann: client}")


def test_a_server_that_does_not_listen_where_its_client_connects(suite: SuiteFile) -> None:
    listening = LISTENING.replace("int(sys.argv[1])", "0")
    server = program(suite.folder, ECHO, beginning=listening)
    client = program(suite.folder, CLIENT, Role.CLIENT, port=a_free_port())
    steps = "- server: starts\n- ann: starts\n- ann: {exits: 0}"
    found = outcome(suite, server, client, steps=steps, cast="{ann: client}")
    assert found.failure is None
    assert "server-tiny listens at port " in str(found.error)


def test_a_port_in_use_is_an_error_of_the_set_up(suite: SuiteFile) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        listening = LISTENING.replace("int(sys.argv[1])", str(port))
        found = outcome(suite, program(suite.folder, ECHO, beginning=listening, port=port))
    assert found.failure is None
    assert f"port {port}, which server-tiny needs, is in use" in str(found.error)


def test_two_servers_of_a_case_that_always_take_the_same_port(suite: SuiteFile) -> None:
    port = a_free_port()
    listening = LISTENING.replace("int(sys.argv[1])", str(port))
    steps = (
        "- server: starts\n- rival: starts\n- rival: {is_sent: SIGTERM}\n- rival: {exits: SIGTERM}"
    )
    build = program(suite.folder, ECHO, beginning=listening, port=port)
    found = outcome(suite, build, steps=steps, cast="{rival: server}")
    assert found.failure is None
    assert "another program of this case always takes the same port" in str(found.error)


def test_a_port_in_use_that_no_manifest_names_is_one_too(suite: SuiteFile) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        listening = LISTENING.replace("int(sys.argv[1])", str(other.getsockname()[1]))
        found = outcome(suite, program(suite.folder, ECHO, beginning=listening))
    assert found.failure is None
    assert "say so in its manifest (`port: 8080`)" in str(found.error)


def test_a_scripted_server_whose_port_is_in_use(suite: SuiteFile) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        client = program(suite.folder, CLIENT, Role.CLIENT, port=other.getsockname()[1])
        found = outcome(suite, client, steps=GREETED, cast=SCRIPTED)
    assert found.failure is None
    assert "the scripted server cannot listen at " in str(found.error)


def test_a_wrong_ready_line_is_no_port_in_use(suite: SuiteFile) -> None:
    """The program itself listens on it."""
    port = a_free_port()
    listening = LISTENING.replace("int(sys.argv[1])", str(port)).replace("ready on", "raedy on")
    failure = fails(suite, program(suite.folder, ECHO, beginning=listening, port=port))
    assert failure.reason == "not its ready line"


def test_a_port_at_which_connections_linger_is_waited_for(
    suite: SuiteFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The program cannot bind the port, so it is started again when the port is free."""
    waited: list[object] = []
    lingering = suite.folder / "lingering"
    lingering.touch()

    def wait(wanted: object) -> None:
        waited.append(wanted)
        lingering.unlink()

    monkeypatch.setattr(fixed_ports, "wait_until_free", wait)
    monkeypatch.setattr(system, "port_use", lambda _: "lingers")
    port = a_free_port()
    listening = f"import os\nassert not os.path.exists({str(lingering)!r})\n" + LISTENING
    listening = listening.replace("int(sys.argv[1])", str(port))
    passes(suite, program(suite.folder, ECHO, beginning=listening, port=port))
    assert waited == [{port}]


def test_a_port_that_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """The system's table of ports is read until the port is free."""
    uses = iter(["lingers", "lingers", ""])
    monkeypatch.setattr(system, "port_use", lambda _: next(uses))
    monkeypatch.setattr(fixed_ports, "LOOK_SECONDS", 0.001)
    fixed_ports.wait_until_free([1])
    assert list(uses) == []


def test_who_uses_a_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = int(listener.getsockname()[1])
        assert system.port_use(port) == "others"
        connection = socket.create_connection(("127.0.0.1", port))
        accepted, _ = listener.accept()
        for one in (accepted, connection):  # the end that closes first keeps the port for a minute
            one.close()
    assert system.port_use(port) == "lingers"


# --- Turns ----------------------------------------------------------------------------------------


def test_a_turn_is_waited_for() -> None:
    port, order = a_free_port(), []
    started, done = threading.Event(), threading.Event()

    def other() -> None:
        started.set()
        with fixed_ports.hold_ports([port]):
            order.append("second")
        done.set()

    with fixed_ports.hold_ports([port]):
        threading.Thread(target=other, daemon=True).start()
        assert started.wait(PATIENT)
        assert not done.wait(SHORT)
        order.append("first")
    assert done.wait(PATIENT)
    assert order == ["first", "second"]


def test_a_turn_that_never_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fixed_ports, "TURN_SECONDS", SHORT)
    port = a_free_port()
    again = fixed_ports.hold_ports([port])
    with (
        fixed_ports.hold_ports([port]),
        pytest.raises(Lacking, match=f"have used port {port}"),
        again,
    ):
        pass


def test_a_case_without_its_turn_is_an_error(
    suite: SuiteFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fixed_ports, "TURN_SECONDS", SHORT)
    port = a_free_port()
    with fixed_ports.hold_ports([port]):
        found = outcome(suite, program(suite.folder, SILENT, port=port))
    assert "other cases have used port" in str(found.error)
