"""Thirty submissions, some of them hostile: each is judged, and none affects another."""

from __future__ import annotations

import csv
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from small_suite import SERVER, SHOUTING_SERVER, SUITE, add_server, write_suite

from conformance.cli import main
from conformance.play.processes import confine, system
from conformance.report.page.draw import unpacked

ROOT = Path(__file__).parents[1]
PATIENT = ["--deadline", "60"]  # what must come does come, however busy the machine is

FILLER = """\
import itertools
for n in itertools.count():
    open(f'junk{n}', 'wb').write(bytes(1 << 20))
"""
FORKER = """\
import os, signal
while True:
    try:
        if os.fork() == 0:
            signal.pause()
    except OSError:
        signal.pause()
"""
EATER = "eaten = [bytearray(b'x' * (8 << 20)) for _ in range(24)]\ninput()\n"
QUITTER = "raise SystemExit(1)\n"


@pytest.fixture
def submissions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A suite with a client to be judged against, and a folder for submissions."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(confine, "WRITTEN", 8 << 20)
    monkeypatch.setattr(confine, "PROCESSES", 20)
    monkeypatch.setattr(confine, "MEMORY", 128 << 20)
    write_suite(tmp_path)
    add_server(tmp_path / "submissions", "ann", SERVER)
    add_server(tmp_path / "submissions", "bob", SHOUTING_SERVER)
    return tmp_path / "submissions"


def judged(*words: str) -> dict[str, dict[str, str]]:
    """A run of them all: the rows of its table, by name."""
    main(["run", "echo", "--implementation", "submissions/*", "--against", "right", *words])
    with open("build/conformance/submissions.csv", newline="") as file:
        return {row["name"]: row for row in csv.DictReader(file)}


def shown(page: Path) -> str:
    """The cases that a page shows."""
    (first,) = re.findall(r'id="first"[^>]*>([^<]*)<', page.read_text())
    return " ".join(name for case in unpacked(first)["cases"] for name in (case["server"],))


def test_each_is_judged_and_has_a_page(submissions: Path) -> None:
    rows = judged(*PATIENT)
    assert {name: (row["passed"], row["first broken"]) for name, row in rows.items()} == {
        "ann": ("2", ""),
        "bob": ("1", "ECHO-1"),
    }
    folder = Path("build/conformance/submissions")
    pages = {path.name: shown(path) for path in folder.iterdir()}
    assert sorted(pages) == ["server-ann.html", "server-bob.html"]
    assert {"ann", "bob"} & set(pages["server-ann.html"].split()) == {"ann"}


def test_the_table_has_the_cases_that_this_machine_cannot_play(submissions: Path) -> None:
    add_server(submissions, "cat", SERVER, "needs: [no-such-tool]\n")
    row = judged(*PATIENT)["cat"]
    assert (row["passed"], row["failed"], row["unavailable"]) == ("0", "0", "2")


@pytest.mark.parametrize(
    ("program", "told"),
    [
        pytest.param(FILLER, "more than 8 MiB written", id="disk"),
        pytest.param(FORKER, "20 processes and threads, or more", id="forks"),
        pytest.param(EATER, "more than 128 MiB of memory", id="memory"),
    ],
)
def test_one_without_bounds_harms_no_other(
    program: str, told: str, submissions: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add_server(submissions, "mallory", program)
    rows = judged(*PATIENT)
    assert rows["ann"]["passed"] == "2"
    assert rows["mallory"]["failed"] == "2"
    shown = capsys.readouterr().out
    assert "server mallory exceeds a resource limit: 2 of 6 stop here" in shown
    assert told in shown
    written = sum(path.stat().st_size for path in submissions.joinpath("mallory").iterdir())
    assert written < 1 << 30  # it was stopped within a look, and not played again


WITH_CLIENTS = SUITE.replace("ending:", '  client:\n    arguments: "{host} {port}"\nending:')
TALK = """\
- id: talk
  title: What a client sends comes back
  proves: [ECHO-1]
  cast: {ann: client on pipes}
  examples: [{id: one}, {id: two}]
  steps:
    - server: starts
    - ann: starts
    - ann: {types: hello}
    - ann: {sees: hello}
    - ann: ends_input
    - ann: {exits: 0}
"""
CLIENT = """\
import socket, sys
server = socket.create_connection((sys.argv[1], int(sys.argv[2])))
for line in sys.stdin.buffer:
    server.sendall(line)
    sys.stdout.buffer.write(server.recv(100))
    sys.stdout.flush()
"""
SEND = "            connection.sendall(line)"
EATING = f"""\
            if line == b"!\\n":
                eaten = b"x" * (192 << 20)
                signal.pause()
{SEND}"""


def test_what_one_does_to_the_reference_harms_no_other(submissions: Path) -> None:
    """The server with which all clients are judged takes much memory for a line of one of them."""
    Path("echo/suite.yaml").write_text(WITH_CLIENTS)
    Path("echo/lines.yaml").write_text(TALK)
    eating = SERVER.replace(SEND, EATING).replace("import ", "import signal, ", 1)
    add_server(Path("echo/servers"), "right", eating)
    shutil.rmtree(submissions)
    for name, said in (("ann", "line"), ("mallory", "b'!\\n'"), ("zoe", "line")):
        add_server(submissions, name, CLIENT.replace("sendall(line)", f"sendall({said})"))
        manifest = submissions / name / "implementation.yaml"
        manifest.write_text(manifest.read_text().replace("role: server", "role: client"))
    rows = judged("-j", "1", *PATIENT)
    assert {name: row["passed"] for name, row in rows.items()} == {
        "ann": "2",
        "mallory": "0",
        "zoe": "2",
    }


def test_without_a_tool_for_limits_nobody_is_judged(
    submissions: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(submissions))
    assert main(["run", "echo", "--implementation", "submissions/*", "--against", "right"]) == 2
    assert "--against: `prlimit` is not on PATH" in capsys.readouterr().err


FORKED = """\
import os, signal, sys
shared = os.urandom(1 << 20) * 24
for _ in range(4):
    if os.fork() == 0:
        own = os.urandom(1 << 20) * int(sys.argv[1])
        print("up", flush=True)
        signal.pause()
signal.pause()
"""


@pytest.mark.parametrize(("own", "told"), [("0", ""), ("24", "more than 64 MiB of memory")])
def test_what_processes_share_counts_once(
    own: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five processes use 24 MiB together, which are 120 MiB if one counts them for each."""
    monkeypatch.setattr(confine, "MEMORY", 64 << 20)
    words = [sys.executable, "-I", "-S", "-c", FORKED, own]
    with subprocess.Popen(words, stdout=subprocess.PIPE, start_new_session=True) as process:
        try:
            assert process.stdout
            assert [process.stdout.readline() for _ in range(4)] == [b"up\n"] * 4
            assert system.usage(process.pid)[0] > confine.MEMORY
            assert confine.excess(process.pid) == told
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def test_those_that_cannot_be_read_are_told_and_stop_nobody(
    submissions: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (submissions / "empty").mkdir()
    (submissions / "wrong").mkdir()
    (submissions / "wrong" / "implementation.yaml").write_text("name: [")
    rows = judged(*PATIENT)
    assert sorted(rows) == ["ann", "bob"]
    shown = capsys.readouterr().out
    assert "red: not judged: submissions/wrong/implementation.yaml:" in shown
    assert "red: not judged: submissions/empty: no implementation.yaml" in shown


def test_those_with_one_name_are_called_as_their_folders(submissions: Path) -> None:
    for name in ("carol", "dan_2"):
        add_server(submissions, name, QUITTER)
        manifest = submissions / name / "implementation.yaml"
        manifest.write_text(manifest.read_text().replace(f"name: {name}", "name: mine"))
    assert sorted(judged(*PATIENT)) == ["ann", "bob", "carol", "dan-2"]


def test_a_folder_with_a_very_long_name_has_a_page(submissions: Path) -> None:
    folders = [f"{letter}{'x' * 199}" for letter in "ab"]
    for folder in folders:
        add_server(submissions, folder, QUITTER)
        manifest = submissions / folder / "implementation.yaml"
        manifest.write_text(manifest.read_text().replace(f"name: {folder}", "name: mine"))
    one, other, *_ = sorted(name for name in judged(*PATIENT) if name not in ("ann", "bob"))
    assert [len(one), len(other)] == [64, 64]
    assert one.endswith("-" + "x" * 51)
    assert Path(f"build/conformance/submissions/server-{one}.html").is_file()


def test_one_with_the_name_of_ours_is_called_as_its_folder(submissions: Path) -> None:
    """As a copy of a program of ours would be, or one whose folder has such a name."""
    for folder in ("carol", "right"):
        add_server(submissions, folder, QUITTER)
        manifest = submissions / folder / "implementation.yaml"
        manifest.write_text(manifest.read_text().replace(f"name: {folder}", "name: right"))
    rows = judged(*PATIENT)
    assert sorted(rows) == ["ann", "bob", "carol", "submissions-right"]
    assert rows["carol"]["passed"] == "0"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "--against right: name what to judge by --implementation"),
        (["--implementation", "no*"], "no*: no implementation.yaml"),
    ],
)
def test_nobody_is_judged(
    words: list[str], told: str, submissions: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "echo", "--against", "right", *words]) == 2
    assert told in capsys.readouterr().err


def test_nobody_has_the_name_that_is_named(
    submissions: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "echo", "--implementation", "submissions/*", "--against", "rihgt"]) == 2
    assert "--against rihgt: no such implementation" in capsys.readouterr().err


def test_scenarios_that_set_limits_of_their_own_hold_for_a_program_with_limits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody may raise a limit above the one that such a program has."""
    monkeypatch.chdir(ROOT)
    mine = tmp_path / "mine"
    shutil.copytree("servers/python", mine, ignore=shutil.ignore_patterns("__pycache__"))
    output = ["--output", str(tmp_path / "report")]
    judged = ["--implementation", str(mine), "--against", "python", *PATIENT, *output]
    assert main(["run", *setting_limits(), *judged]) == 0, capsys.readouterr().out


def setting_limits() -> Iterator[str]:
    """The scenarios of a server whose text names the tool that sets limits."""
    for file in sorted(Path("scenarios").glob("*.yaml")):
        for text in re.split(r"^- id: ", file.read_text(), flags=re.MULTILINE)[1:]:
            if "server: {starts:" in text and (f"{confine.TOOL} --" in text or "*limit" in text):
                yield f"{file}::{text.split()[0]}"
