"""A suite of a few lines with programs of a few lines, for tests of the core."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent, indent

from conformance.builds.build import Build
from conformance.model import Case, Implementation, Outcome, Role, Scenario
from conformance.plan import cases_of
from conformance.play.case.runner import play
from conformance.play.schedule.deadlines import Deadlines
from conformance.read.scenario import load_file
from conformance.read.suite import SuiteFile, load_suite

PATIENT = 60.0  # to wait for what must come, enough on a busy machine
SHORT = 0.3  # to wait for what must not come

PROTOCOL = """\
# A protocol of a few rules

- ECHO-1 (MUST) A line comes back.
- ECHO-2 (MUST) Nothing else does.
- LOUD-1 (MUST) *(feature: loud)* Shouting is heard.
"""

SUITE = """\
name: tiny
protocol: PROTOCOL.md
implementations: [servers/*]
programs:
  server:
    arguments: "{port}"
    ready: "ready on {port}"
  client:
    arguments: "{host} {port} {name}"
verbs:
  greets:
    meaning: It says its name, and is greeted; all others see it come.
    argument: name
    steps:
      - "{actor}": {types: "I am {name}"}
      - "{actor}": {enters: hall, as: "{name}"}
      - "{actor}": {sees: "hello {name}, one of {hall}", proves: ECHO-2}
      - "everyone in hall but {actor}": {sees: "{name} is here"}
  comes:
    meaning: It starts and greets.
    argument: name
    steps:
      - "{actor}": starts
      - "{actor}": {greets: "{name}"}
  ends:
    steps:
      client:
        - "{actor}": {exits: 0}
      wire:
        - "{actor}": is_closed
  turns:
    meaning: It stands for itself, and so for nothing.
    steps:
      - "{actor}": turns
fence:
  group: hall
  types: "fence {n}"
  others_see: "{name}: fence {n}"
  alone_types: fence?
  alone_sees: fence!
ending:
  - server: {is_sent: SIGTERM}
  - everyone: ends
  - server: {exits: SIGTERM}
"""

# Each server begins with this. The text after it uses `listener`, and calls `ready`.
LISTENING = """\
import os, select, signal, socket, subprocess, sys, threading, time
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
def ready():
    print("ready on", listener.getsockname()[1], flush=True)
"""

ECHO = """
ready()
while True:
    connection, _ = listener.accept()
    for line in connection.makefile("rb"):
        connection.sendall(line)
    connection.close()
"""


def write_files(folder: Path, text: str = SUITE, protocol: str = PROTOCOL) -> None:
    """Write a suite into a folder."""
    folder.mkdir(exist_ok=True)
    (folder / "PROTOCOL.md").write_text(protocol)
    (folder / "suite.yaml").write_text(text, "utf-8")


def write_suite(folder: Path, text: str = SUITE) -> SuiteFile:
    """Write a suite into a folder, and read it."""
    write_files(folder, text)
    return load_suite(folder)


def read_scenarios(suite: SuiteFile, text: str, name: str = "file") -> list[Scenario]:
    """Write a scenario file into the suite's folder, and read it."""
    path = suite.folder / f"{name}.yaml"
    path.write_text(dedent(text))
    return load_file(suite, path)


def scenario(suite: SuiteFile, steps: str, cast: str = "{ann: wire}") -> Scenario:
    """A scenario with these steps that proves ECHO-1 and ECHO-2."""
    head = f"- id: it\n  title: It\n  proves: [ECHO-1, ECHO-2]\n  cast: {cast}\n  steps:\n"
    (one,) = read_scenarios(suite, head + indent(dedent(steps).strip("\n"), "    "))
    return one


def implementation(name: str, role: Role = Role.SERVER, **more: object) -> Implementation:
    """An implementation without files."""
    return Implementation(name, role, "Python", Path.cwd(), "", **more)  # type: ignore[arg-type]


def program(
    folder: Path,
    text: str,
    role: Role = Role.SERVER,
    beginning: str = LISTENING,
    **more: object,
) -> Build:
    """A program with this text, ready to run; the text of a server follows `beginning`."""
    path = folder / f"{role}.py"
    path.write_text(beginning + text if role is Role.SERVER else text)
    one = Implementation(
        "tiny",
        role,
        "Python",
        folder,
        f"{{python}} {path.name}",
        **more,  # type: ignore[arg-type]
    )
    return Build(one, (sys.executable, "-I", "-S", path.name))


def only_case(one: Scenario, *programs: Build) -> tuple[Case, Mapping[str, Build]]:
    """A case of the scenario with these programs, and the programs by their labels, for `play`."""
    servers = [p.implementation for p in programs if p.implementation.role is Role.SERVER]
    clients = [p.implementation for p in programs if p.implementation.role is Role.CLIENT]
    (case,) = cases_of(one, servers, clients)
    return case, {program.implementation.label: program for program in programs}


def played(suite: SuiteFile, one: Scenario, *programs: Build, deadline: float = PATIENT) -> Outcome:
    """The outcome of the scenario when these programs play it."""
    case, builds = only_case(one, *programs)
    return play(case, suite, builds, Deadlines(deadline))
