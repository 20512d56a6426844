"""The command `conformance`: what it shows, what it writes, and its exit status."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from small_suite import (
    COMMAND,
    SCENARIOS,
    SERVER,
    SHOUTING_SERVER,
    add_server,
    conformance,
)

from conformance.cli import main
from conformance.model import Kind, Result, Verdict
from conformance.report.terminal.progress import Progress

# Comes up only where it has no more than its three streams, and what lists them.
COUNTING_SERVER = f"import os\nassert len(os.listdir('/proc/self/fd')) == 4\n{SERVER}"


def results() -> dict[str, dict[str, object]]:
    """The cases of the last run, by their ids without the file."""
    cases = json.loads(Path("build/conformance/results.json").read_text())["cases"]
    return {case["id"].partition("::")[2]: case for case in cases}


# run


def test_a_green_run(suite: Path) -> None:
    done = conformance("run", str(suite))
    assert done.returncode == 0, done
    assert "2 PASSED" in done.stdout
    assert [case["verdict"] for case in results().values()] == ["PASSED", "PASSED"]


def test_programs_get_nothing_that_the_command_was_started_with(suite: Path) -> None:
    add_server(suite / "servers", "right", COUNTING_SERVER)
    with open(os.devnull) as null:
        command = [*COMMAND, "run", str(suite)]
        done = subprocess.run(command, capture_output=True, check=False, pass_fds=[null.fileno()])
    assert done.returncode == 0, done


def test_durations_tell_where_the_time_goes(suite: Path) -> None:
    done = conformance("run", str(suite), "--durations", "3")
    slow, _, spent = done.stdout.partition("\n\n")
    assert slow.startswith("the slowest cases:\n")
    assert re.search(r" s  echo/lines.yaml::[a-z-]+\[right\]\n", slow)
    rows = spent.partition("\n\n")[0].splitlines()
    assert re.fullmatch(r"the steps that took most of [0-9.]+ s .*:", rows[0])
    assert len(rows) == 4
    for row in rows[1:]:
        assert re.fullmatch(r" +[0-9.]+ s +[0-9]+%  \S+ [a-z_]+  \([0-9]+ × [0-9.]+ ms\)", row)
    assert any("server-right starts" in row for row in rows)


def test_no_durations_unless_asked(suite: Path) -> None:
    assert "slowest" not in conformance("run", str(suite)).stdout


def test_a_run_writes_every_report(suite: Path) -> None:
    conformance("run", str(suite), "--output", "out")
    files = {str(file.relative_to("out")) for file in Path("out").rglob("*") if file.is_file()}
    assert files >= {
        "results.json",
        "junit.xml",
        "summary.md",
        "index.html",
        "badges/server-right.json",
        "transcripts/echo_lines.yaml_comes-back[right].timed.txt",
        "transcripts/echo_lines.yaml_comes-back[right].txt",
        "transcripts/echo_lines.yaml_starts[right].timed.txt",
        "transcripts/echo_lines.yaml_starts[right].txt",
    }


def test_the_results_have_all_that_the_page_says_of_a_scenario(suite: Path) -> None:
    conformance("run", str(suite), "--output", "out")
    data = json.loads(Path("out/results.json").read_text("utf-8"))
    assert data["scenarios"]["lines/comes-back"] == {
        "title": "A line comes back",
        "file": "echo/lines.yaml",
        "line": 1,
        "cast": {"ann": "wire", "server": "server"},
    }
    assert data["sources"] == {"echo/lines.yaml": SCENARIOS}
    name = "out/transcripts/echo_lines.yaml_comes-back[right]"
    lines = Path(f"{name}.timed.txt").read_text("utf-8").splitlines()
    found = [re.fullmatch(r" *[\d.]+ ms  line (\d+)( \(ending\))?  (.*)", row) for row in lines]
    places = [f"{row[1]}{row[2] or ''} {row[3]}" for row in found if row]
    assert places == [
        *("6 server * starts", "7 ann * connects", "8 ann > hello", "9 ann < hello"),
        *("10 ann * closes", "10 (ending) server * is sent SIGTERM"),
        "10 (ending) server * exits SIGTERM",
    ]
    said = [row[3] for row in found if row]
    assert Path(f"{name}.txt").read_text("utf-8").splitlines() == said


def test_the_command_that_a_failure_names_plays_it_again(suite: Path) -> None:
    add_server(Path("other folder"), "shouting", SHOUTING_SERVER)
    first = conformance("run", str(suite), "--implementation", "other folder").stdout
    (again,) = re.findall(r"^  again +(.+)$", first, re.MULTILINE)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        again, shell=True, capture_output=True, text=True, env=os.environ | {"PATH": path}
    )
    assert done.returncode == 1, done
    shown = [re.search(r"^FAILED .*?^  again", out, re.M | re.S) for out in (first, done.stdout)]
    assert all(shown)
    assert {"comes-back[shouting]"} == set(results())


def test_a_failure_is_red_and_shown(suite: Path) -> None:
    add_server(suite / "servers", "shouting", SHOUTING_SERVER)
    done = conformance("run", str(suite))
    assert done.returncode == 1
    assert "ECHO-1 (MUST) Each line comes back as it was sent." in done.stdout
    assert "red: 1 FAILED" in done.stdout
    assert "FAILED echo/lines.yaml::comes-back[shouting]" in done.stderr


def test_a_should_that_is_not_kept_is_red_only_where_that_is_asked(suite: Path) -> None:
    add_server(suite / "servers", "shouting", SHOUTING_SERVER)
    rules = suite / "PROTOCOL.md"
    rules.write_text(rules.read_text().replace("MUST", "SHOULD"))
    done = conformance("run", str(suite))
    assert done.returncode == 0, done
    assert "advice: ECHO-1 (SHOULD) is not kept in 1 case, first: echo/lines.yaml::" in done.stdout
    assert results()["comes-back[shouting]"]["verdict"] == "WARNED"
    done = conformance("run", str(suite), "--strict")
    assert done.returncode == 1, done
    assert "red: 1 FAILED" in done.stdout


def test_the_order_of_results_is_that_of_the_plan(suite: Path) -> None:
    for name in ("a", "b", "z"):
        add_server(suite / "servers", name, SERVER)
    conformance("run", str(suite), "-j", "4")
    listed = conformance("list", str(suite)).stdout.splitlines()
    assert [str(case["id"]) for case in results().values()] == listed
    assert len(listed) == 8


def test_a_missing_tool_is_no_failure_unless_required(suite: Path) -> None:
    add_server(suite / "servers", "absent", SERVER, "needs: [no-such-tool]\n")
    done = conformance("run", str(suite))
    assert done.returncode == 0
    shown = " ".join(done.stdout.split())
    manifest = "echo/servers/absent/implementation.yaml"
    assert f"? server absent: no-such-tool is not on PATH, needed by {manifest}" in shown
    assert results()["starts[absent]"]["verdict"] == "UNAVAILABLE"
    done = conformance("run", str(suite), "--require")
    assert done.returncode == 1
    assert "red: 2 UNAVAILABLE, but required" in done.stdout


def test_a_failed_build_is_an_error_of_its_cases_alone(suite: Path) -> None:
    add_server(suite / "servers", "broken", SERVER, "build: sh -c 'echo no; exit 1'\n")
    assert conformance("run", str(suite)).returncode == 1
    verdicts = {id: case["verdict"] for id, case in results().items()}
    assert verdicts["starts[broken]"] == "ERRORED"
    assert verdicts["starts[right]"] == "PASSED"


def test_the_log_of_a_failed_build_is_named_in_full(suite: Path) -> None:
    add_server(suite / "servers", "broken", SERVER, "build: sh -c 'seq 1000; exit 1'\n")
    done = conformance("run", str(suite), "--output", "a long path/" * 12)
    (path,) = set(re.findall(r"^ +all of it: (.+)$", done.stdout, re.MULTILINE))
    assert Path(path).read_text().endswith("\n999\n1000\n")


def test_known_failures_are_strict_both_ways(suite: Path) -> None:
    known = "known_failures: {lines/comes-back: a reason}\n"
    add_server(suite / "servers", "shouting", SHOUTING_SERVER, known)
    assert conformance("run", str(suite)).returncode == 0
    (suite / "servers" / "shouting" / "server.py").write_text(SERVER)
    done = conformance("run", str(suite))
    assert done.returncode == 1
    assert "red: 1 PASSED, but listed as a known failure" in done.stdout


@pytest.mark.parametrize("edit", ["open(it, 'ab').write(b'# \\xff')", "os.remove(it)"])
def test_a_file_that_changes_meanwhile_costs_no_results(suite: Path, edit: str) -> None:
    head = f"import os\nit = '../../lines.yaml'\nos.path.exists(it) and {edit}\n"
    add_server(suite / "servers", "right", head + SERVER)
    assert main(["run", str(suite), "-j", "1"]) == 0
    assert set(results()) == {"comes-back[right]", "starts[right]"}


@pytest.mark.parametrize(
    ("words", "ids"),
    [
        ([], {"comes-back[other]", "comes-back[right]", "starts[other]", "starts[right]"}),
        (["--server", "other"], {"comes-back[other]", "starts[other]"}),
        (["-k", "STARTS"], {"starts[other]", "starts[right]"}),
        (["./echo/lines.yaml::starts"], {"starts[other]", "starts[right]"}),
        (["echo/lines.yaml::starts[right]"], {"starts[right]"}),
    ],
)
def test_which_cases_are_chosen(
    suite: Path, words: list[str], ids: set[str], capsys: pytest.CaptureFixture[str]
) -> None:
    add_server(suite / "servers", "other", SERVER)
    has_path = any(word.partition("::")[0].endswith("yaml") for word in words)
    assert main(["list", *words, *([] if has_path else ["echo"])]) == 0
    assert {line.partition("::")[2] for line in capsys.readouterr().out.split()} == ids


def test_a_file_that_is_named_twice_is_played_once(
    suite: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["echo/lines.yaml::starts", str(Path("echo/lines.yaml").resolve()), "echo/../echo"]
    assert main(["list", *names[:2]]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
    assert main(["list", *names]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_an_implementation_joins_from_a_folder_of_its_own(suite: Path) -> None:
    add_server(Path("elsewhere"), "guest", SERVER)
    assert conformance("run", str(suite), "--implementation", "elsewhere").returncode == 0
    assert set(results()) == {
        f"{scenario}[{server}]"
        for scenario in ("comes-back", "starts")
        for server in ("guest", "right")
    }


def test_a_suites_own_implementation_may_be_named_again(suite: Path) -> None:
    assert main(["list", str(suite), "--implementation", str(suite / "servers" / "right")]) == 0


def test_ctrl_c_ends_a_run_and_leaves_nothing_running(suite: Path) -> None:
    """The first case passes; the second waits for a line that does not come."""
    scenarios = (suite / "lines.yaml").read_text().partition("- id: starts")
    (suite / "lines.yaml").write_text(
        "".join(scenarios[1:]) + scenarios[0].replace("sees: ", "sees: never ")
    )
    # By another name first: the server may be ended at any moment.
    note_pid = "import os; open('new', 'w').write(str(os.getpid())); os.replace('new', 'pid')\n"
    (suite / "servers" / "right" / "server.py").write_text(note_pid + SERVER)
    words = [*COMMAND, "run", str(suite), "-j", "1", "--deadline", "60"]
    with subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as run:
        assert run.stderr is not None
        assert run.stderr.readline() == "1 of 2 cases\n"
        run.send_signal(signal.SIGINT)
        shown, _ = run.communicate()
    assert run.returncode == 130
    assert "red: 1 of 2 planned cases has no result" in shown
    with pytest.raises(ProcessLookupError):
        os.kill(int((suite / "servers" / "right" / "pid").read_text()), 0)


# Mistakes


def mistake(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What the command complains about, having done nothing."""
    assert main(words) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert not Path("build").exists()
    return shown.err


def test_a_mistake_in_a_scenario_has_its_place(
    suite: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = suite / "lines.yaml"
    file.write_text(
        file.read_text().replace("sees:", "seees:").replace("proves: [ECHO-1]", "proves: [ECHO-9]")
    )
    shown = mistake(capsys, "run", str(suite))
    assert re.search(r"^echo/lines\.yaml:\d+:\d+: .*ECHO-9", shown, re.MULTILINE)


def test_a_name_that_nobody_has(suite: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert mistake(capsys, "run", str(suite), "--server", "rihgt").startswith(
        "--server rihgt: no such server"
    )


def test_a_path_that_is_not_there(suite: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert suite.exists()
    assert mistake(capsys, "run", "ehco") == "ehco: no such file or folder\n"


@pytest.mark.usefixtures("suite")
@pytest.mark.parametrize("command", ["run", "list", "check"])
def test_where_there_is_no_suite(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert mistake(capsys, command) == (
        "scenarios: no such folder here; name a suite: conformance run path/to/scenarios\n"
    )


@pytest.mark.parametrize(
    ("option", "value", "wanted"),
    [
        ("-j", "0", "a whole number, 1 or more"),
        ("-j", "1.5", "a whole number, 1 or more"),
        ("--durations", "-1", "a whole number, 0 or more"),
        ("--durations", "echo", "a whole number, 0 or more"),
        ("--deadline", "0", "a number of seconds, more than 0 and at most 86400"),
        ("--deadline", "inf", "a number of seconds, more than 0 and at most 86400"),
        ("--deadline", "nan", "a number of seconds, more than 0 and at most 86400"),
        ("--deadline", "x", "a number of seconds, more than 0 and at most 86400"),
        ("--server", ",", "names, with commas between them"),
        ("--output", "", "a folder"),
    ],
)
def test_values_that_mean_nothing(
    option: str, value: str, wanted: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["run", option, value])
    assert ended.value.code == 2
    shown = capsys.readouterr().err.splitlines()[-1]
    assert shown.endswith(f": expected {wanted}, not `{value}`")
    assert option in shown


# The other commands


def test_words_stand_on_both_sides_of_options(
    suite: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["list", str(suite), "--server", "right", "ECHO-1", "-k", "comes"]) == 0
    assert capsys.readouterr().out == "echo/lines.yaml::comes-back[right]\n"


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("run --sever c", "conformance run: error: --sever: no such option; did you mean `--ser"),
        ("new --x server d --language q", "--x: no such option; known: --help, --language,"),
        ("explain A B", "conformance explain: error: B: unexpected argument; see conformance exp"),
        ("run --\x1b[2J", "--\\x1b[2J: no such option; known: "),
    ],
)
def test_words_that_no_command_takes(
    words: str, complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words.split(" "))
    assert ended.value.code == 2
    assert complaint in capsys.readouterr().err


def test_check_reads_whatever_it_is_given(suite: Path, capsys: pytest.CaptureFixture[str]) -> None:
    server = suite / "servers" / "right"
    paths = [
        suite,
        suite / "suite.yaml",
        suite / "lines.yaml",
        suite / "servers",
        server / "implementation.yaml",
    ]
    assert main(["check", *map(str, paths)]) == 0
    assert [line.partition(": ")[2] for line in capsys.readouterr().out.splitlines()] == [
        "2 scenarios, 1 implementation",
        "1 rule",
        "2 scenarios",
        "1 implementation",
        "the server right",
    ]


def test_check_reports_the_mistakes_of_all_files(
    suite: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (suite / "lines.yaml").write_text("- id: x\n")
    manifest = suite / "servers" / "right" / "implementation.yaml"
    manifest.write_text("name: right\n")
    assert main(["check", str(suite / "lines.yaml"), str(manifest), "nowhere.yaml"]) == 2
    shown = capsys.readouterr().err
    assert f"{suite}/lines.yaml:1:" in shown
    assert f"{manifest}:1:" in shown
    assert "nowhere.yaml: no such file" in shown


def test_check_reads_the_manifests_of_a_suite(
    suite: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = suite / "servers" / "right" / "implementation.yaml"
    manifest.write_text(manifest.read_text() + "features: [flying]\n")
    assert main(["check", str(suite)]) == 2
    assert f"{manifest}:5:12: no rule " in capsys.readouterr().err


def test_list_requirements(suite: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--requirements", str(suite)]) == 0
    assert "lines/comes-back, lines/starts" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["next", "report"])
def test_without_a_run_there_is_nothing_to_show(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = conformance(command)
    told = "build/conformance: no such file or folder; `conformance run` writes it\n"
    assert (done.returncode, done.stderr) == (2, told)


def test_report_draws_everything_again(suite: Path) -> None:
    first = conformance("run", str(suite)).stdout
    output = Path("build/conformance")
    pages = {
        name: (output / name).read_text() for name in ("index.html", "junit.xml", "summary.md")
    }
    for name in pages:
        (output / name).unlink()
    again = conformance("report")
    assert (again.returncode, again.stdout) == (0, first)
    assert {name: (output / name).read_text() for name in pages} == pages


def test_list_says_what_cannot_be_played(suite: Path, capsys: pytest.CaptureFixture[str]) -> None:
    protocol, lines = suite / "PROTOCOL.md", suite / "lines.yaml"
    protocol.write_text(f"{protocol.read_text()}- BACK-1 (MAY) *(feature: back)* It is back.\n")
    lines.write_text(lines.read_text().replace("cast: {}", "cast: {}\n  needs: {server: [back]}"))
    add_server(suite / "servers", "able", SERVER, "features: [back]\n")
    add_server(suite / "servers", "absent", SERVER, "features: [back]\nneeds: [no-such-tool]\n")
    assert main(["list", str(suite), "-k", "starts"]) == 0
    manifest = "echo/servers/absent/implementation.yaml"
    assert capsys.readouterr().out.splitlines() == [
        "echo/lines.yaml::starts[able]",
        "echo/lines.yaml::starts[absent]  "
        f"(unavailable: no-such-tool is not on PATH, needed by {manifest})",
        "echo/lines.yaml::starts[right]  "
        "(unsupported: server right does not list the feature back)",
    ]


def test_two_programs_of_one_run_are_compared(suite: Path) -> None:
    add_server(suite / "servers", "shouting", SHOUTING_SERVER)
    conformance("run", str(suite))
    done = conformance("diff", "build/conformance", "--server", "right,shouting")
    assert (done.returncode, done.stdout) == (
        0,
        "passed by right alone (1):\n  lines/comes-back[*]: right PASSED, shouting FAILED\n",
    )


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ([], "diff: name two runs (OLD NEW), or one run and two names (OLD --server c,go)\n"),
        (["build/conformance", "--server", "a,b"], "diff: name two runs "),
        (["--server", "right,rihgt"], "--server rihgt: no such server in this run; did you mean"),
        (["--client", "a,b"], "--client a: no such client in this run; known: none\n"),
    ],
)
def test_what_cannot_be_compared(suite: Path, words: list[str], complaint: str) -> None:
    conformance("run", str(suite))
    done = conformance("diff", "build/conformance", *words)
    assert done.returncode == 2
    assert done.stderr.startswith(complaint)


@pytest.mark.parametrize("pair", ["a", "a,b,c", "a,", ",b", "a,a"])
def test_a_pair_is_two_names(pair: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["diff", "old", "--server", pair])
    assert f"expected two names, as in `c,go`, not `{pair}`" in capsys.readouterr().err


def test_diff_names_what_broke(suite: Path) -> None:
    conformance("run", str(suite), "--output", "old")
    (suite / "servers" / "right" / "server.py").write_text(SHOUTING_SERVER)
    conformance("run", str(suite), "--output", "new")
    done = conformance("diff", "old", "new/results.json")
    assert done.returncode == 1
    assert "comes-back[right]: PASSED → FAILED" in done.stdout
    assert conformance("diff", "new", "old").returncode == 0  # what is mended is no fault


def test_who_stops_reading_gets_no_trace(suite: Path) -> None:
    listing = subprocess.Popen(
        [*COMMAND, "list", str(suite)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert listing.stdout is not None
    listing.stdout.close()
    _, shown = listing.communicate()
    assert shown == ""


# Progress


def result(number: int, *, expected: bool = True) -> Result:
    """One more result."""
    verdict = Verdict.PASSED if expected else Verdict.FAILED
    return Result(
        id=f"case-{number}",
        scenario="few/case",
        kind=Kind.SERVER,
        pairing="right",
        server="right",
        clients=(),
        requirements=(),
        verdict=verdict,
        expected=expected,
        seconds=0.0,
    )


def test_progress_elsewhere_is_a_line_at_each_tenth() -> None:
    stream = io.StringIO()
    progress = Progress(100, stream.write, live=False)
    for number in range(100):
        progress.played(result(number, expected=number != 42))
    progress.close()
    lines = stream.getvalue().splitlines()
    assert lines[0] == "10 of 100 cases"
    assert lines[4] == "FAILED case-42"
    assert lines[-1] == "100 of 100 cases, 1 not as expected"
    assert len(lines) == 11


def test_progress_on_a_terminal_is_one_live_line() -> None:
    stream = io.StringIO()
    progress = Progress(2, stream.write, live=True)
    progress.played(result(0))
    progress.played(result(1, expected=False))
    progress.close()
    start = "\r\033[K"
    assert stream.getvalue() == (
        f"{start}1 of 2 cases  case-0"
        f"{start}FAILED case-1\n"
        f"{start}2 of 2 cases, 1 not as expected  case-1"
        f"{start}"
    )


@pytest.mark.parametrize(
    "words",
    ["run", "check", "next", "exec", "doctor", "new server --language x", "merge"],
)
def test_no_name_drives_the_terminal_of_a_mistake(
    words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words.split(), "\x1b[2J\u202ename"]) in (1, 2)
    shown = capsys.readouterr()
    assert "\\x1b[2J\\u202ename" in shown.out + shown.err
    assert not {"\x1b", "\u202e"} & set(shown.out + shown.err)
