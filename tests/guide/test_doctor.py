"""`conformance doctor` finds each general fault of a program, and nothing else."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import small_suite
from ports import a_free_port
from small_suite import add_server

from conformance.arguments import Pattern, Ready
from conformance.builds.build import Build
from conformance.cli import main
from conformance.guide import toolbox
from conformance.model import Implementation, Program, Role
from conformance.play.examine.bench import GONE, UP, WIDTH, Finding, bench
from conformance.play.examine.client import examine_client
from conformance.play.examine.server import examine_server

SECONDS = 8.0
START = 60.0  # for programs that get ready, enough on a busy machine
SILENT = 8.0  # for programs that do not: the whole time passes
PROGRAMS = {
    Role.SERVER: Program(
        "--host {host} --port {port}",
        options={"quiet": ""},
        ready=Ready(Pattern("ready on {port}")),
        interrupted=0,
    ),
    Role.CLIENT: Program("{host} {port}", errors="accounted", interrupted=0),
}

SERVER = """\
import os, signal, socket, subprocess, sys
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda *_: sys.exit(0))
words = dict(zip(sys.argv[1::2], sys.argv[2::2]))
listener = socket.create_server(("127.0.0.1", int(words["--port"])))
print("ready on", listener.getsockname()[1], flush=True)
while True:
    listener.accept()
"""

CLIENT = """\
import os, selectors, signal, socket, subprocess, sys
signal.signal(signal.SIGINT, lambda *_: os._exit(0))
server = socket.create_connection((sys.argv[1], int(sys.argv[2])))
waiting = selectors.DefaultSelector()
waiting.register(server, selectors.EVENT_READ)
waiting.register(0, selectors.EVENT_READ)
while True:
    for key, _ in waiting.select():
        if key.fileobj is server:
            data = server.recv(1000)
            if not data:
                sys.exit()
            os.write(1, data)
        elif typed := os.read(0, 1000):
            server.sendall(typed)
        else:
            waiting.unregister(0)
            server.shutdown(socket.SHUT_WR)
"""


@dataclass(frozen=True)
class Wrong:
    """A program with one fault: the changed text, and the expected finding."""

    old: str
    new: str
    found: str
    remedy: str
    start: float = START


def build(folder: Path, role: Role, text: str, **more: object) -> Build:
    (folder / "program.py").write_text(text)
    one = Implementation("it", role, "Python", folder, "", **more)  # type: ignore[arg-type]
    return Build(one, (sys.executable, "-I", "-S", "program.py"))


def findings(one: Build, seconds: float = SECONDS) -> list[Finding]:
    program = PROGRAMS[one.implementation.role]
    if one.implementation.role is Role.SERVER:
        return examine_server(one, program, seconds)
    return examine_client(one, program, seconds, "\n")


def sees(wrong: Wrong, right: str, role: Role, folder: Path) -> None:
    assert right.count(wrong.old) == 1
    text = right.replace(wrong.old, wrong.new)
    (found,) = findings(build(folder, role, text, start=wrong.start))
    assert wrong.found in found.what
    assert wrong.remedy in found.remedy


@pytest.mark.parametrize(("role", "text"), [(Role.SERVER, SERVER), (Role.CLIENT, CLIENT)])
def test_nothing_is_found_in_what_is_right(role: Role, text: str, tmp_path: Path) -> None:
    assert findings(build(tmp_path, role, text), 60) == []


READY_LINE = 'print("ready on", listener.getsockname()[1], flush=True)'

WRONG_SERVERS = {
    "says-nothing": Wrong(
        READY_LINE, "", ", but prints no line `ready on {port}` within 8 s", "print it when", SILENT
    ),
    "says-nothing-and-listens": Wrong(
        READY_LINE,
        "",
        "it listens at port ",
        "set `ready` in its manifest to what it prints",
        SILENT,
    ),
    "says-something-else-first": Wrong(
        READY_LINE,
        f'print("hello"); {READY_LINE}',
        "the first line is `hello`, not `ready on {port}`",
        "set `ready`",
    ),
    "ends-no-line": Wrong(
        "flush=True",
        'flush=True, end=""',
        "there is no line end after `ready on ",
        "write it",
        SILENT,
    ),
    "names-another-port": Wrong(
        "listener.getsockname()[1]",
        "1",
        "it announces port 1, but listens at another",
        "print the port",
    ),
    "names-no-port": Wrong(
        "listener.getsockname()[1]",
        "80800",
        "its ready line names no port from 1 to 65535: `ready on 80800`",
        "print the port",
    ),
    "listens-everywhere": Wrong(
        '"127.0.0.1"', '"0.0.0.0"', "it listens at 0.0.0.0, instead of 127.0.0.1", "bind to"
    ),
    "knows-no-quiet": Wrong(
        "words = ",
        'assert "--quiet" not in sys.argv, "no such option"\nwords = ',
        "it does not start with --quiet; it says: AssertionError: no such option",
        "ignore unknown options",
    ),
    "crashes": Wrong(
        "words = ",
        'sys.exit("oh no")\nwords = ',
        "it ends before it is ready, with exit status 1; it says: oh no",
        "run it as a case does: ",
    ),
    "dies-by-ctrl-c": Wrong(
        "(signal.SIGINT, signal.SIGTERM)",
        "(signal.SIGTERM,)",
        "on Ctrl+C it ends with killed by SIGINT, not 0",
        "handle Ctrl+C, shut down, and exit with 0",
    ),
    "dies-by-sigterm": Wrong(
        "(signal.SIGINT, signal.SIGTERM)",
        "(signal.SIGINT,)",
        "on SIGTERM it ends with killed by SIGTERM, not 0",
        "handle SIGTERM",
    ),
    "does-not-end": Wrong(
        "for number in (signal.SIGINT, signal.SIGTERM):",
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\nfor number in (signal.SIGTERM,):",
        " s after Ctrl+C",
        "without waiting",
    ),
    "leaves-a-process": Wrong(
        "words = ",
        'subprocess.Popen(["tail", "-f", "/dev/null"], process_group=0)\nwords = ',
        "it ends and leaves processes behind",
        "end its child processes",
    ),
    "writes-without-end": Wrong(
        READY_LINE,
        'while True: os.write(1, b"y" * 50_000)',
        "it writes without end: more than 64 MiB",
        "write only what the protocol asks for",
    ),
    "prints-more": Wrong(
        "while True:",
        'print("a b c")\nwhile True:',
        "it prints more on standard output: `a b c`",
        "print only the ready line",
    ),
}


@pytest.mark.parametrize("name", WRONG_SERVERS)
def test_a_wrong_server(name: str, tmp_path: Path) -> None:
    sees(WRONG_SERVERS[name], SERVER, Role.SERVER, tmp_path)


def test_a_server_that_does_not_flush(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked to end, which takes long on a busy machine, as does the end of the other one."""
    for name in ("server.TOLD", "bench.ENDED", "bench.GONE"):
        monkeypatch.setattr(f"conformance.play.examine.{name}", 8.0)
    found = "through a pipe, its ready line comes only when it ends"
    sees(Wrong(", flush=True", "", found, "flush", SILENT), SERVER, Role.SERVER, tmp_path)


@pytest.mark.parametrize("leaves", ["", "os.dup2(os.open(os.devnull, os.O_WRONLY), 1)"])
def test_a_server_that_goes_into_the_background(leaves: str, tmp_path: Path) -> None:
    """It still prints its ready line, or gives its standard output up before that."""
    fork = f"if os.fork(): os._exit(0)\nos.setsid()\nif os.fork(): os._exit(0)\n{leaves}\n"
    found = findings(build(tmp_path, Role.SERVER, SERVER.replace("words =", f"{fork}words =")))
    first = found[0]
    assert "background" in first.what + first.remedy
    assert "--foreground or -D" in first.remedy
    assert not any("announces port" in one.what for one in found)


def test_a_server_with_a_port_of_its_own(tmp_path: Path) -> None:
    port = a_free_port()
    found = f"with port 0, it listens at port {port} each time; it says: OSError: "
    wrong = Wrong('int(words["--port"])', str(port), found, "set `port` in its manifest")
    sees(wrong, SERVER, Role.SERVER, tmp_path)


def test_a_server_that_says_in_its_manifest_how_it_differs(tmp_path: Path) -> None:
    text = SERVER.replace(READY_LINE, 'print("hello")').replace('int(words["--port"])', "0")
    one = build(tmp_path, Role.SERVER, text, arguments="", ready=Ready())
    assert findings(one, 60) == []


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    text = SERVER.replace("127.0.0.1", "0.0.0.0").replace("sys.exit(0)", "sys.exit(3)")
    found = [one.what for one in findings(build(tmp_path, Role.SERVER, text, start=START))]
    assert found == [
        "it listens at 0.0.0.0, instead of 127.0.0.1",
        "on Ctrl+C it ends with exit status 3, not 0",
        "on SIGTERM it ends with exit status 3, not 0",
    ]


WRONG_CLIENTS = {
    "does-not-connect": Wrong(
        "server = socket.create_connection((sys.argv[1], int(sys.argv[2])))",
        "signal.pause()",
        "it does not connect to port ",
        "connect to the host and port on its command line: ",
        SILENT,
    ),
    "cannot-connect": Wrong(
        "(sys.argv[1], int(sys.argv[2]))",
        '("127.0.0.1", 1)',
        ", and ends with exit status 1; it says: ConnectionRefusedError: ",
        "connect to the host",
    ),
    "ends-at-once": Wrong(
        "server = ",
        "sys.exit(3)\nserver = ",
        ", and ends with exit status 3",
        "connect to the host",
    ),
    "shows-nothing": Wrong(
        "os.write(1, data)",
        "pass",
        ", it does not show what the server sends",
        "flush",
    ),
    "does-not-flush": Wrong(
        "os.write(1, data)",
        "sys.stdout.write(data.decode())",
        "through pipes, it does not show what the server sends",
        "flush",
    ),
    "sends-nothing": Wrong(
        "server.sendall(typed)",
        "pass",
        ", it does not send what is typed",
        "read standard input while it waits for the server",
    ),
    "does-not-end-its-side": Wrong(
        "server.shutdown(socket.SHUT_WR)",
        "pass",
        "at the end of its input, it does not close its sending side of the connection",
        "then call shutdown",
    ),
    "does-not-end": Wrong(
        "sys.exit()",
        "waiting.unregister(server); break",
        "it does not end after the end of its input and of the connection",
        "end the program",
    ),
    "dies-by-ctrl-c": Wrong(
        "os._exit(0)",
        "os._exit(4)",
        "on Ctrl+C it ends with exit status 4, not 0",
        "handle Ctrl+C",
    ),
    "writes-to-standard-error": Wrong(
        "waiting = ",
        'print("connected", file=sys.stderr)\nwaiting = ',
        "it writes to standard error: `connected`",
        "only what a rule of the protocol",
    ),
}


@pytest.mark.parametrize("name", WRONG_CLIENTS)
def test_a_wrong_client(name: str, tmp_path: Path) -> None:
    wrong, once = WRONG_CLIENTS[name], name not in ("shows-nothing", "sends-nothing")
    text = CLIENT.replace(wrong.old, wrong.new)
    found = findings(build(tmp_path, Role.CLIENT, text, start=wrong.start))
    assert len(found) == (1 if once else 2)  # on a terminal, and on pipes
    for one in found:
        assert wrong.found in one.what
        assert wrong.remedy in one.remedy


def test_a_flood_is_quoted_by_its_beginning(tmp_path: Path) -> None:
    text = SERVER.replace(READY_LINE, 'print("y" * 50_000, flush=True)')
    (found,) = findings(build(tmp_path, Role.SERVER, text, start=START))
    assert found.what == f"the first line is `{'y' * (WIDTH - 1)}…`, not `ready on {{port}}`"


def test_one_deadline_for_all(tmp_path: Path) -> None:
    with bench(build(tmp_path, Role.SERVER, ""), PROGRAMS[Role.SERVER], 4) as one:
        assert one.by(UP) == pytest.approx(one.began + one.start_seconds)
        assert one.by(GONE) == pytest.approx(one.began + 4)


def test_a_slow_start_leaves_as_much_time_for_the_rest(tmp_path: Path) -> None:
    slow = build(tmp_path, Role.SERVER, "", start=30)
    with bench(slow, PROGRAMS[Role.SERVER], 4) as one:
        assert one.by(UP) == pytest.approx(one.began + 30)
        assert one.by(GONE) - one.by(UP) == pytest.approx((GONE - UP) * 4)
        one.is_up()
        assert one.by(GONE) == pytest.approx(one.was_up + 4)


# --- The command ---


def doctor(suite: Path, name: str) -> int:
    words = ["--suite", str(suite), "--deadline", f"{START:g}"]
    return main(["doctor", str(suite / "servers" / name), *words])


def test_a_right_program_is_green(suite: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add_server(suite / "servers", "right", small_suite.SERVER)
    assert doctor(suite, "right") == 0
    head = "✓ server right (Python), echo/servers/right"
    assert capsys.readouterr().out == f"{head}: no problem found\n"


def test_a_wrong_program_is_red(suite: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add_server(suite / "servers", "wrong", "raise SystemExit('oh\\x1b[2Jno')")
    assert doctor(suite, "wrong") == 1
    head, finding, remedy = capsys.readouterr().out.splitlines()
    assert head == "✗ server wrong (Python), echo/servers/wrong: 1 finding"
    assert finding.endswith("it ends before it is ready, with exit status 1; it says: oh\\x1b[2Jno")
    assert remedy.startswith("    → run it as a case does: ")


def test_mistakes_in_a_manifest(suite: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add_server(suite / "servers", "wrong", "", "port: 99999\nruns: x\n")
    assert doctor(suite, "wrong") == 1
    shown = capsys.readouterr().out.splitlines()
    place = "✗ echo/servers/wrong/implementation.yaml"
    assert shown == [
        f"{place}:6:1: unknown key `runs` in a manifest; did you mean `run`?",
        f"{place}:5:7: `port` must be a whole number from 1 to 65535",
    ]


def test_no_manifest(suite: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", str(suite), "--suite", str(suite)]) == 1
    assert "no implementation.yaml in it" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_a_manifest_that_is_no_file(
    kind: str, suite: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = suite / "new"
    folder.mkdir()
    path = folder / "implementation.yaml"
    {"link": lambda: path.symlink_to("nowhere"), "pipe": lambda: os.mkfifo(path)}.get(
        kind, path.mkdir
    )()
    assert main(["doctor", str(folder), "--suite", str(suite)]) == 1
    assert "implementation.yaml: this is no readable file" in capsys.readouterr().out


def test_what_does_not_build(suite: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add_server(suite / "servers", "wrong", "", "build: '{python} -c \"1 +\"'\n")
    assert doctor(suite, "wrong") == 1
    shown = capsys.readouterr().out
    assert "✗ the build ended with status 1: " in shown
    assert "SyntaxError: invalid syntax" in shown
    assert "→ correct the sources, or `build` in its manifest" in shown


def test_what_is_missing(suite: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add_server(suite / "servers", "cobol", "", "needs: [cobc-of-1959]\n")
    assert doctor(suite, "cobol") == 1
    assert "→ install `cobc-of-1959`, so that PATH leads there" in capsys.readouterr().out


def test_this_machine(suite: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add_server(suite / "servers", "cobol", "", "needs: [cobc-of-1959]\n")
    assert main(["doctor", "--suite", str(suite)]) == 1
    shown = capsys.readouterr().out
    assert "✓ python: " in shown
    assert "✗ cobc-of-1959: is not on PATH, needed by server-cobol\n    → install" in shown


def test_how_to_get_what_is_missing() -> None:
    assert toolbox.package_of("node") == "apt-get install nodejs"
