"""Options of `conformance run` for daily work: by rule, -x, --last-failed, --watch, --hold."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from checkout import ROOT
from small_suite import (
    MUTE_SERVER,
    PROTOCOL,
    SERVER,
    SHOUTING_SERVER,
    SUITE,
    add_server,
    conformance,
    running,
    write_suite,
)

from conformance.cli import main

DEADLINE = ["--deadline", "60"]  # what must come does come, however busy the machine is

LATER = """\
- id: later
  title: It starts for another rule
  proves: [LATE-1]
  cast: {}
  steps:
    - server: starts
"""


@pytest.fixture
def suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A suite with two rules and one server, in the folder where the command runs."""
    monkeypatch.chdir(tmp_path)
    folder = write_suite(tmp_path).relative_to(tmp_path)
    (folder / "PROTOCOL.md").write_text(f"{PROTOCOL}- LATE-1 (MUST) It is there.\n")
    (folder / "later.yaml").write_text(LATER)
    return folder


def played() -> set[str]:
    """The cases of the last run."""
    cases = json.loads(Path("build/conformance/results.json").read_text())["cases"]
    return {case["id"].partition("::")[2] for case in cases}


def wrong(suite: Path, server: str = SHOUTING_SERVER) -> None:
    """Make the server a wrong one."""
    (suite / "servers" / "right" / "server.py").write_text(server)


# By rule


@pytest.mark.parametrize(
    ("words", "chosen"),
    [
        (["LATE-1"], {"later"}),
        (["LATE"], {"later"}),
        (["LATE-1", "ECHO"], {"later", "comes-back", "starts"}),
        (["-k", "late-1"], {"later"}),
        (["ECHO-1", "-k", "comes"], {"comes-back"}),
    ],
)
def test_the_cases_of_a_rule(
    suite: Path, words: list[str], chosen: set[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["list", str(suite), *words]) == 0
    listed = capsys.readouterr().out.split()
    assert {re.findall(r"::(.*)\[", case)[0] for case in listed} == chosen


def test_a_rule_that_is_not_there(suite: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", str(suite), "LATE-2"]) == 2
    message = "LATE-2: there is no such file and no such rule; did you mean `LATE-1`?\n"
    assert capsys.readouterr().err == message


def test_a_scenario_by_the_name_that_play_takes(
    suite: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    suite.rename("scenarios")
    assert main(["list", "scenarios"]) == 0
    (case, *_) = capsys.readouterr().out.split()
    named = case.removeprefix("scenarios/").replace(".yaml::", "/")
    for name in (named, named.partition("[")[0]):
        assert main(["list", name]) == 0
        assert case in capsys.readouterr().out.split()


def test_a_scenario_by_its_line(suite: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = next(one for one in sorted(suite.glob("*.yaml")) if one.name != "suite.yaml")
    assert main(["list", f"{file}:3"]) == 2
    assert f"by its id, not by its line: {file}::ID" in capsys.readouterr().err


def test_a_rule_alone_is_one_of_the_default_suite(suite: Path) -> None:
    suite.rename("scenarios")
    assert main(["list", "LATE-1"]) == 0


# Stopping early, and what failed


@pytest.mark.parametrize("words", [["-x"], ["--maxfail", "2"]])
def test_it_stops_after_so_many(suite: Path, words: list[str]) -> None:
    wrong(suite, "raise SystemExit(3)")
    done = conformance("run", str(suite), "-j", "1", *words)
    most = 1 if words == ["-x"] else 2
    assert done.returncode == 1
    assert f"red: {3 - most} of 3 planned case" in done.stdout
    assert len(played()) == most
    assert re.search(r"stopped after \d cases? not as expected", done.stderr)


def test_only_what_failed_last(suite: Path) -> None:
    wrong(suite)
    assert conformance("run", str(suite)).returncode == 1
    conformance("run", str(suite), "--last-failed")
    assert played() == {"comes-back[right]"}
    wrong(suite, SERVER)
    assert conformance("run", str(suite), "--last-failed").returncode == 0
    assert played() == {"comes-back[right]"}
    done = conformance("run", str(suite), "--last-failed")
    assert "nothing failed in the last run: playing all cases" in done.stderr
    assert len(played()) == 3


def test_what_failed_last_in_a_file_whose_name_is_no_text(suite: Path) -> None:
    wrong(suite)
    os.rename(suite / "lines.yaml", suite / os.fsdecode(b"\xff.yaml"))
    assert conformance("run", str(suite), "--shard", "1/1").returncode == 1
    for words in (["--shard", "1/1"], []):
        done = conformance("run", str(suite), "--last-failed", *words)
        assert done.returncode == 1, done
        assert played() == {"comes-back[right]"}


def test_what_failed_last_where_nothing_was_played(suite: Path) -> None:
    done = conformance("run", str(suite), "--last-failed")
    assert "no results of an earlier run: playing all cases" in done.stderr
    assert done.returncode == 0


# The next step


def test_what_to_do_next(suite: Path) -> None:
    wrong(suite)
    ran = conformance("run", str(suite))
    assert "what to do next: conformance next\n" in ran.stdout
    done = conformance("next")
    assert done.returncode == 1
    assert done.stdout.startswith("next: ECHO-1 `hello`, in 1 case")
    tried = re.findall(r"conformance (run .*)", done.stdout)
    assert tried[-1] == "run --server right echo ECHO-1"
    wrong(suite, SERVER)
    assert conformance(*tried[-1].split()).returncode == 0
    assert conformance("next").returncode == 0


# Watching


def read_until(stream: Iterator[str], text: str) -> list[str]:
    """The lines up to one that begins so."""
    lines = []
    for line in stream:
        lines.append(line.rstrip("\n"))
        if line.startswith(text):
            return lines
    raise AssertionError(f"{text!r} never came: {lines}")


def test_what_failed_is_played_again_when_a_file_changes(suite: Path) -> None:
    wrong(suite)
    with running("run", str(suite), "--watch", *DEADLINE) as run:
        assert run.stdout
        first = read_until(run.stdout, "waiting for a change")
        assert "red: 1 FAILED" in first
        wrong(suite, SERVER)
        again = read_until(run.stdout, "waiting for a change")
        assert again[0].startswith("changed: ")
        assert again[0].endswith("echo/servers/right/server.py")
        assert [line for line in again if "PASSED" in line or line.startswith("no failed")] == [
            next(line for line in again if line.startswith("1 PASSED in ")),
            "no failed case is left: playing all cases again",
            next(line for line in again if line.startswith("3 PASSED in ")),
        ]
        run.send_signal(signal.SIGINT)
        assert run.wait() == 130


def test_all_are_played_when_what_failed_has_another_name(suite: Path) -> None:
    wrong(suite)
    with running("run", str(suite), "--watch", *DEADLINE) as run:
        assert run.stdout
        read_until(run.stdout, "waiting for a change")
        file = suite / "lines.yaml"
        file.write_text(file.read_text().replace("comes-back", "is-back"))
        again = read_until(run.stdout, "waiting for a change")
        assert "no failed case is left: playing all cases again" in again
        assert "FAILED echo/lines.yaml::is-back[right]" in again
        assert "red: 1 FAILED" in again


def test_a_mistake_while_it_watches_is_told_and_waited_out(suite: Path) -> None:
    with running("run", str(suite), "--watch", *DEADLINE) as run:
        assert run.stdout
        assert run.stderr
        read_until(run.stdout, "waiting for a change")
        (suite / "later.yaml").write_text("- id: x\n")
        read_until(run.stderr, "echo/later.yaml:1:")
        read_until(run.stdout, "waiting for a change")
        (suite / "later.yaml").write_text(LATER)
        assert any("3 PASSED" in line for line in read_until(run.stdout, "waiting for a change"))
        (suite / "suite.yaml").write_text(SUITE[:20])
        read_until(run.stderr, "echo/suite.yaml:")
        read_until(run.stdout, "waiting for a change")
        (suite / "suite.yaml").write_text(SUITE)
        assert any("3 PASSED" in line for line in read_until(run.stdout, "waiting for a change"))


def test_what_programs_write_beside_their_sources_is_no_change_for_ever(suite: Path) -> None:
    """Each run of it changes a file; else it would be played again and again."""
    wrong(suite, f"open('log', 'a').write('x')\n{SERVER}")
    with running("run", str(suite), "--watch", *DEADLINE) as run:
        assert run.stdout
        lines = read_until(run.stdout, "waiting for a change")
        assert sum("PASSED in" in line for line in lines) <= 2
        assert lines[-2].startswith("taken for a program's own file")
        assert lines[-2].endswith("servers/right/log")


# Holding


def test_a_failure_is_held_with_its_programs_up(suite: Path) -> None:
    wrong(suite)
    with running("run", str(suite), "-k", "comes-back", "--hold", *DEADLINE) as run:
        assert run.stdin
        assert run.stderr
        said = "\n".join(read_until(run.stderr, "Enter goes on"))
        assert "held: echo/lines.yaml::comes-back[right]" in said
        pid = int(re.findall(r"server: server-right, pid (\d+)", said)[0])
        host, port = re.findall(r"the server listens on (\S+), port (\d+)", said)[0]
        os.kill(pid, 0)
        socket.create_connection((host, int(port))).close()
        run.stdin.write("\n")
        run.stdin.flush()
        assert run.stdout
        assert "red: 1 FAILED" in run.stdout.read()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_ctrl_c_while_a_failure_is_held_ends_the_run(suite: Path) -> None:
    wrong(suite, "raise SystemExit(3)")
    with running("run", str(suite), "--hold", *DEADLINE) as run:
        assert run.stderr
        read_until(run.stderr, "Enter goes on")
        run.send_signal(signal.SIGINT)
        assert run.stdout
        shown = run.stdout.read()
    assert "red: 2 of 3 planned cases have no result" in shown
    assert "red: 1 FAILED" in shown


# By hand


def test_a_program_is_run_by_hand_as_it_is_built(suite: Path) -> None:
    says = "import sys; print(sys.argv[1:]); raise SystemExit(7)"
    add_server(suite / "servers", "saying", says)
    done = conformance("exec", "saying", "--suite", str(suite), "--", "--port", "8", "a b")
    assert (done.returncode, done.stdout) == (7, "['--port', '8', 'a b']\n")


def test_a_program_by_hand_has_what_is_known_of_its_environment(suite: Path) -> None:
    says = "import os; print(os.environ['WORD'], os.environ.get('PORT'))"
    words = 'environment: {WORD: "{{here}", PORT: "{port}"}\n'
    add_server(suite / "servers", "saying", says, words)
    done = conformance("exec", "saying", "--suite", str(suite))
    assert (done.returncode, done.stdout) == (0, f"{{here}} {os.environ.get('PORT')}\n")


def test_a_program_of_a_folder_of_its_own_needs_no_suite(suite: Path) -> None:
    add_server(Path("mine"), "mine", "print('here')")
    done = conformance("exec", "mine", "--implementation", "mine")
    assert (done.returncode, done.stdout) == (0, "here\n")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("rihgt", "rihgt: no such implementation; did you mean `right`?\n"),
        (
            "both",
            "both: both a server and a client have this name; use server-both or client-both\n",
        ),
        ("absent", "server absent: no-such-tool is not on PATH, needed by "),
    ],
)
def test_what_cannot_be_run_by_hand(suite: Path, name: str, message: str) -> None:
    add_server(suite / "servers", "both", SERVER)
    add_server(Path("more"), "client-both", "")
    manifest = Path("more/client-both/implementation.yaml")
    text = manifest.read_text().replace("name: client-both", "name: both")
    manifest.write_text(text.replace("role: server", "role: client"))
    add_server(suite / "servers", "absent", SERVER, "needs: [no-such-tool]\n")
    done = conformance("exec", name, "--suite", str(suite), "--implementation", "more")
    assert done.returncode == 2
    assert done.stderr.startswith(message)


# A beginner


def test_what_a_beginner_sees_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server of 40 lines that prompts and relays: the first lines say what to mend first."""
    monkeypatch.chdir(ROOT)
    chosen = ["--implementation", "tests/support/beginner", "--server", "beginner"]
    words = [*chosen, "--output", str(tmp_path), "--deadline", "5", "scenarios/chat.yaml"]
    done = conformance("run", *words, "--client", "python", "-j", "16")
    assert done.returncode == 1
    head, first, *rest = done.stdout.splitlines()
    assert head == "Mend first:"
    assert re.fullmatch(r"  JOIN-4 `Welcome, .*`: (\d+) of \1 stop here", first)
    assert any("JOIN-4 (MUST) An accepted name gets" in line for line in rest[:5])
    assert conformance("next", str(tmp_path)).stdout.startswith("next: JOIN-4 `Welcome, ")


def test_a_mute_server_costs_one_deadline_a_case_only_at_first(suite: Path) -> None:
    """Twelve equal cases, one at a time: a few wait for their time, the others for a tenth."""
    text = (suite / "lines.yaml").read_text()
    one = text.partition("- id: starts")[0]
    cases = (one.replace("comes-back", f"no-{n}").replace("LATE", "ECHO") for n in range(12))
    (suite / "lines.yaml").write_text("".join(cases))
    wrong(suite, MUTE_SERVER)
    done = conformance("run", str(suite), "ECHO-1", "-j", "1", "--deadline", "2")
    assert done.returncode == 1
    results = json.loads(Path("build/conformance/results.json").read_text())["cases"]
    reasons = [case["failure"]["reason"] for case in results]
    shortened = [
        why
        for why in reasons
        if why.startswith("nothing more came within 0.2 s; the deadline of 2 s was")
    ]
    assert 8 <= len(shortened) <= 9
