"""A very small suite, for tests of the modules around the core: one rule, one file, servers of a
few lines each.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

COMMAND = [sys.executable, "-m", "conformance"]
PATIENT = 60.0  # seconds to wait for what must come, enough on a busy machine

SUITE = """\
name: echo
protocol: PROTOCOL.md
implementations: [servers/*]
programs:
  server:
    ready: "ready on {port}"
ending:
  - server: {is_sent: SIGTERM}
  - server: {exits: SIGTERM}
"""

PROTOCOL = """\
# Echo

- ECHO-1 (MUST) Each line comes back as it was sent.
"""

SCENARIOS = """\
- id: comes-back
  title: A line comes back
  proves: [ECHO-1]
  cast: {ann: wire}
  steps:
    - server: starts
    - ann: starts
    - ann: {types: "hello"}
    - ann: {sees: "hello"}
    - ann: closes
- id: starts
  title: The server starts
  proves: [ECHO-1]
  cast: {}
  steps:
    - server: starts
"""

MANIFEST = """\
role: server
language: Python
run: "{python} -I -S server.py"
"""

SERVER = """\
import socket

listener = socket.create_server(("127.0.0.1", 0))
print("ready on", listener.getsockname()[1], flush=True)
while True:
    connection, _ = listener.accept()
    with connection:
        for line in connection.makefile("rb"):
            connection.sendall(line)
"""

SHOUTING_SERVER = SERVER.replace("sendall(line)", "sendall(line.upper())")
MUTE_SERVER = SERVER.replace("sendall(line)", "getpeername()")


def write_suite(folder: Path) -> Path:
    """Write the suite with one server, which is right; returns the suite's folder."""
    suite = folder / "echo"
    suite.mkdir()
    (suite / "suite.yaml").write_text(SUITE)
    (suite / "PROTOCOL.md").write_text(PROTOCOL)
    (suite / "lines.yaml").write_text(SCENARIOS)
    add_server(suite / "servers", "right", SERVER)
    return suite


def add_server(folder: Path, name: str, program: str, more: str = "") -> None:
    """Write one more server; `more` is added to its manifest."""
    home = folder / name
    home.mkdir(parents=True, exist_ok=True)
    (home / "server.py").write_text(program)
    (home / "implementation.yaml").write_text(f"name: {name}\n{MANIFEST}{more}")


def told(pipe: Path) -> str:
    """Wait until a program writes into a named pipe; returns what it wrote."""
    fd = os.open(pipe, os.O_RDWR)
    try:
        assert select.select([fd], [], [], PATIENT)[0], f"nothing came through {pipe}"
        return os.read(fd, 1000).decode()
    finally:
        os.close(fd)


def conformance(*words: str) -> subprocess.CompletedProcess[str]:
    """Run the command without a terminal."""
    return subprocess.run([*COMMAND, *words], capture_output=True, text=True, check=False)


@contextmanager
def running(*words: str, start: Sequence[str] = ()) -> Iterator[subprocess.Popen[str]]:
    """The command, while it runs; a test that fails does not wait for its end."""
    pipe = subprocess.PIPE
    command = [*start, *COMMAND, *words]
    with subprocess.Popen(command, text=True, stdin=pipe, stdout=pipe, stderr=pipe) as run:
        try:
            yield run
        finally:
            run.kill()
