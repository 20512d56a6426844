"""The first minutes with the programs, typed into shells on terminals as docs/chat.md tells it.

`test_readme` checks that what is typed here is what docs/chat.md says.
"""

from __future__ import annotations

import errno
import fcntl
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import checkout
import pexpect
import pytest
from pexpect.popen_spawn import PopenSpawn

from conformance.builds.build import Build, build_all, find_program
from conformance.read import manifest
from conformance.session.request import OUTPUT

PORT = 8080

PATIENT = 60.0  # seconds: what must come does come, however busy the machine is
BUILDING = 600.0  # seconds: `go run` may compile a whole standard library before it listens

# By hand, each in a terminal of its own, from the project's folder on.
SERVERS = {
    "python": "cd servers/python && python server.py",
    "go": "cd servers/go && go run server.go",
    "c": "cd servers/c && gcc -o chat_server server.c && ./chat_server",
}
CLIENTS = {
    "python": "cd clients/python && python client.py",
    "go": "cd clients/go && go run client.go",
    "c": "cd clients/c && gcc -o chat_client client.c && ./chat_client",
}
COMPILERS = {"go": "go", "c": "gcc"}

# Programs of the system that are good clients, by the Debian package that has them.
NETCAT = f"nc localhost {PORT}"
NETCAT_PIPE = f"printf 'alice\\nhi\\n/who\\n' | nc -N localhost {PORT}"
TELNET = f"telnet localhost {PORT}"
PACKAGES = {
    "nc": "netcat-openbsd",
    "telnet": "telnet",
    "htpasswd": "apache2-utils",
    "openssl": "openssl",
    "socat": "socat",
}

# An account, and a server that knows it.
ACCOUNTS = (
    "htpasswd -B -c accounts alice",
    "cd servers/python && python server.py --accounts ../../accounts",
)

# A TLS proxy: a certificate, the proxy beside the server, the one beside a client, the client.
CERTIFICATE = (
    "openssl req -x509 -newkey rsa:2048 -nodes -days 365 -subj /CN=localhost "
    "-addext subjectAltName=DNS:localhost -keyout chat.key -out chat.crt"
)
TLS_PORT, TUNNEL_PORT = 8443, 8081
TLS = (
    CERTIFICATE,
    f"socat OPENSSL-LISTEN:{TLS_PORT},reuseaddr,fork,cert=chat.crt,key=chat.key,verify=0 "
    f"TCP:localhost:{PORT}",
    f"socat TCP-LISTEN:{TUNNEL_PORT},bind=localhost,reuseaddr,fork "
    f"OPENSSL:localhost:{TLS_PORT},cafile=chat.crt",
    f"cd clients/python && python client.py --port {TUNNEL_PORT}",
)

GREETING = "Enter your screen name: "
PROMPT = "what next? "


class Shell:
    """A person at a terminal."""

    def __init__(self, folder: Path) -> None:
        self.screen = pexpect.spawn(
            "bash",
            ["--norc", "--noprofile", "--noediting", "+o", "history"],
            cwd=str(folder),
            env={**checkout.environment(), "PS1": PROMPT, "PROMPT_COMMAND": "", "TERM": "dumb"},
            encoding="utf-8",
            timeout=PATIENT,
        )
        self.screen.delaybeforesend = None
        self.sees(PROMPT)

    def types(self, line: str) -> None:
        self.screen.send(f"{line}\n")

    def sees(self, text: str, seconds: float = PATIENT) -> None:
        self.screen.expect_exact(text, timeout=seconds)

    def presses_ctrl_c(self) -> None:
        self.screen.sendintr()

    def is_back(self) -> int:
        """The program has ended, and left nothing behind; its exit status."""
        self.sees(PROMPT)
        assert self.screen.pid
        assert programs_of(self.screen.pid) == []
        self.types("echo status=$?.")
        self.screen.expect(r"\nstatus=([0-9]+)\.\r\n")
        status = number(self.screen.match)
        self.sees(PROMPT)
        return status

    def joins(self, name: str, online: int) -> None:
        self.sees(GREETING)
        self.types(name)
        self.sees(f"Welcome, {name} ({online} online). Type /help for commands.\r\n")

    def ends(self) -> None:
        self.screen.terminate(force=True)
        self.screen.wait()  # a busy machine needs more time for its end than close() gives it
        self.screen.close()


def number(match: object) -> int:
    """What was found in the brackets of a pattern."""
    assert isinstance(match, re.Match)
    return int(match[1])


def programs_of(shell: int) -> list[str]:
    """The programs that run at a shell's terminal, besides the shell."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = path.read_text("ascii", "replace").rpartition(")")
        except OSError:  # it has ended just now
            continue
        if int(rest.split()[3]) == shell and int(path.parent.name) != shell:
            found.append(name)
    return found


@pytest.fixture
def sit_down(tmp_path: Path) -> Iterator[Callable[[], Shell]]:
    """People at terminals, each in the same copy of the project's programs."""
    project = checkout.copy(tmp_path)
    shells: list[Shell] = []

    def shell() -> Shell:
        shells.append(Shell(project))
        return shells[-1]

    yield shell
    for one in shells:
        one.ends()


@pytest.fixture
def default_port() -> Iterator[None]:
    """The one port that all by-hand lines use: tests take turns, on the whole machine."""
    path = Path(tempfile.gettempdir()) / f"port-{PORT}.lock"
    if not path.exists():
        path.touch()
    with path.open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for host in ("127.0.0.1", "::1"):
            if not is_free(host):
                pytest.fail(
                    f"port {PORT} of {host} is taken by another program, and this test needs it; "
                    f"see who it is by: ss -ltnp 'sport = :{PORT}'"
                )
        yield


def is_free(host: str) -> bool:
    """Whether a server could listen there; true too where the machine has no such address."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, PORT), family=family).close()
    except OSError as error:
        return error.errno != errno.EADDRINUSE
    return True


@pytest.fixture(params=SERVERS)
def language(request: pytest.FixtureRequest) -> str:
    """A language that this machine can compile."""
    name = str(request.param)
    if (compiler := COMPILERS.get(name)) and not find_program(compiler):
        pytest.skip(f"{compiler} is not on PATH")
    return name


def assert_ended_well(status: int, language: str) -> None:
    """After Ctrl+C: 0, but for `go run`, which then ends with 1, whatever its program did."""
    assert status == 0 or language == "go"


@pytest.mark.usefixtures("default_port")
def test_a_conversation_by_hand(language: str, sit_down: Callable[[], Shell]) -> None:
    server, alice, bob = sit_down(), sit_down(), sit_down()
    server.types(SERVERS[language])
    server.sees(f"Listening on 127.0.0.1:{PORT}\r\n", BUILDING)
    alice.types(CLIENTS[language])
    alice.sees(GREETING, BUILDING)
    alice.types("alice")
    alice.sees("Welcome, alice (1 online). Type /help for commands.\r\n")
    bob.types(CLIENTS[language])
    bob.joins("bob", online=2)
    alice.sees("bob has joined the chat\r\n")
    alice.types("hello, bob")
    bob.sees("alice: hello, bob\r\n")
    bob.types("hello, alice")
    alice.sees("bob: hello, alice\r\n")
    server.sees("bob: hello, alice\r\n")

    bob.presses_ctrl_c()
    assert_ended_well(bob.is_back(), language)
    alice.sees("bob has left the chat\r\n")
    server.sees("bob has left the chat\r\n")

    server.presses_ctrl_c()
    alice.sees("Server is shutting down\r\n")
    alice.sees("Disconnected\r\n")
    assert alice.is_back() == 0
    server.sees("Server is shutting down\r\n")
    assert_ended_well(server.is_back(), language)
    assert is_free("127.0.0.1")


@pytest.mark.usefixtures("default_port")
def test_ctrl_c_at_a_prompt_for_the_name(language: str, sit_down: Callable[[], Shell]) -> None:
    server, alice, bob = sit_down(), sit_down(), sit_down()
    server.types(SERVERS[language])
    server.sees("Listening on", BUILDING)
    for person in (alice, bob):
        person.types(CLIENTS[language])
        person.sees(GREETING, BUILDING)
    bob.presses_ctrl_c()
    assert_ended_well(bob.is_back(), language)
    server.presses_ctrl_c()
    alice.sees("\r\nServer is shutting down\r\nDisconnected\r\n")
    assert alice.is_back() == 0
    assert_ended_well(server.is_back(), language)


# --- Other programs as clients -------------------------------------------------------------------


@pytest.fixture(scope="session")
def servers() -> dict[str, Build]:
    """All servers, built as a run builds them."""
    return build_all(manifest.find((checkout.ROOT / "servers").iterdir()), checkout.ROOT / OUTPUT)


@pytest.fixture
def port(servers: dict[str, Build], language: str) -> Iterator[int]:
    """A server of that language, running; its port."""
    build = servers[f"server-{language}"]
    assert not build.error, build.error
    if build.unavailable:
        pytest.skip(build.unavailable)
    argv = [*build.argv, "--port", "0"]
    server = PopenSpawn(argv, PATIENT, cwd=str(build.implementation.folder), encoding="utf-8")
    try:
        server.expect(r"Listening on 127\.0\.0\.1:([0-9]+)\n")
        yield number(server.match)
        server.kill(signal.SIGTERM)
        assert server.proc.wait(PATIENT) == 0
    finally:
        server.proc.kill()


def need(program: str) -> None:
    """Fail where the program is not there, or is another one of that name."""
    install = f"install it by: apt-get install {PACKAGES[program]}"
    assert shutil.which(program), f"{program} is missing; {install}"
    if program == "nc":
        about = subprocess.run([program, "-h"], capture_output=True, text=True, check=False)
        assert "OpenBSD" in about.stderr, f"this nc knows no -N; {install}"


def at(line: str, port: int) -> str:
    """A line of docs/chat.md for a server that runs elsewhere."""
    return line.replace(str(PORT), str(port))


def say(person: PopenSpawn[str], line: str) -> None:
    person.send(f"{line}\n")  # type: ignore[no-untyped-call]


def netcat(name: str, online: int, port: int) -> PopenSpawn[str]:
    """One who has joined by `nc` between two pipes."""
    person = PopenSpawn(at(NETCAT, port).split(), PATIENT, encoding="utf-8")
    person.expect_exact(GREETING)
    say(person, name)
    person.expect_exact(f"Welcome, {name} ({online} online). Type /help for commands.\n")
    return person


def quit_netcat(name: str, person: PopenSpawn[str]) -> None:
    """Say /quit; netcat goes on until the end of its input, whatever the server does."""
    say(person, "/quit")
    person.expect_exact(f"Goodbye, {name}\n")
    person.sendeof()
    assert person.proc.wait(PATIENT) == 0


def test_netcat_is_a_client(port: int) -> None:
    need("nc")
    nora, ned = netcat("nora", 1, port), netcat("ned", 2, port)
    nora.expect_exact("ned has joined the chat\n")
    say(nora, "grüß dich")
    ned.expect_exact("nora: grüß dich\n")
    quit_netcat("ned", ned)
    nora.expect_exact("ned has left the chat\n")
    quit_netcat("nora", nora)


def test_a_pipe_into_netcat_is_a_client(port: int) -> None:
    need("nc")
    nora = netcat("nora", 1, port)
    alice = subprocess.run(
        at(NETCAT_PIPE, port),
        shell=True,
        capture_output=True,
        text=True,
        timeout=PATIENT,
        check=True,
    )
    welcome = "Welcome, alice (2 online). Type /help for commands.\n"
    assert alice.stdout == f"{GREETING}{welcome}Online (2): alice, nora\n"
    nora.expect_exact(
        "alice has joined the chat\nalice: hi\nalice has left the chat\n",
    )
    quit_netcat("nora", nora)


def test_telnet_is_a_client(port: int, sit_down: Callable[[], Shell]) -> None:
    need("telnet")
    tess, tom = sit_down(), sit_down()
    for online, (name, person) in enumerate({"tess": tess, "tom": tom}.items(), 1):
        person.types(at(TELNET, port))
        person.joins(name, online)
    tess.sees("tom has joined the chat\r\n")
    tess.types("grüß dich")
    tom.sees("tess: grüß dich\r\n")
    tom.types("//who are you?")
    tess.sees("tom: /who are you?\r\n")
    tom.types("/who")
    tom.sees("Online (2): tess, tom\r\n")
    tom.types("/quit")
    tom.sees("Goodbye, tom\r\n")
    tom.is_back()
    tess.sees("tom has left the chat\r\n")
    tess.types("/quit")
    tess.sees("Goodbye, tess\r\n")
    tess.is_back()


# --- Accounts, and a TLS proxy -------------------------------------------------------------------

READY = f"Listening on 127.0.0.1:{PORT}\r\n"


def ends_with_ctrl_c(person: Shell) -> int:
    person.presses_ctrl_c()
    return person.is_back()


@pytest.mark.usefixtures("default_port")
def test_an_account_by_hand(sit_down: Callable[[], Shell]) -> None:
    """The real `htpasswd`, asked as a person is; the password is not on the screen."""
    need("htpasswd")
    host, alice = sit_down(), sit_down()
    making, serving = ACCOUNTS
    host.types(making)
    for prompt in ("New password: ", "Re-type new password: "):
        host.sees(prompt)
        host.types("open sesame")
    host.sees(PROMPT)
    host.types(serving)
    host.sees(READY)
    alice.types(CLIENTS["python"])
    alice.sees(GREETING)
    alice.types("alice")
    alice.sees("Password: ")
    alice.types("open sesame")
    alice.screen.expect_exact("Welcome, alice (1 online). Type /help for commands.\r\n")
    assert "sesame" not in str(alice.screen.before)
    assert ends_with_ctrl_c(alice) == 0
    assert ends_with_ctrl_c(host) == 0


@pytest.mark.usefixtures("default_port")
def test_a_tls_proxy_by_hand(sit_down: Callable[[], Shell]) -> None:
    need("openssl")
    need("socat")
    certificate, outer, inner, client = TLS
    host, proxy, tunnel, alice = (sit_down() for _ in range(4))
    proxy.types(certificate)
    proxy.sees(PROMPT)
    host.types(SERVERS["python"])
    host.sees(READY)
    for shell, command, port in ((proxy, outer, TLS_PORT), (tunnel, inner, TUNNEL_PORT)):
        shell.types(command)
        wait_until_listened(port)
    alice.types(client)
    alice.joins("alice", 1)
    host.sees("alice has joined the chat\r\n")
    alice.types("/quit")
    alice.sees("Goodbye, alice\r\nDisconnected\r\n")
    assert alice.is_back() == 0
    for shell in (tunnel, proxy):
        shell.presses_ctrl_c()
        shell.sees(PROMPT)
    assert ends_with_ctrl_c(host) == 0


def wait_until_listened(port: int) -> None:
    """Until somebody listens there, as the kernel's table says: nobody has to be connected."""
    deadline = time.monotonic() + PATIENT
    while not re.search(f":{port:04X} [0-9A-F:]+ 0A ", Path("/proc/net/tcp").read_text("ascii")):
        assert time.monotonic() < deadline, f"nobody listens on {port}"
