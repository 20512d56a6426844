"""The command with closed or full streams, no home, ignored signals, or few descriptors."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from small_suite import (
    COMMAND,
    PATIENT,
    SERVER,
    SHOUTING_SERVER,
    add_server,
    running,
    told,
    write_suite,
)

from conformance.cli import main

RESULTS = Path("build/conformance/results.json")
VERDICT_SHOWN = "2 PASSED"


@pytest.fixture
def suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A suite with one server, in the folder where the command runs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    return write_suite(tmp_path).relative_to(tmp_path)


def conformance(*words: str, **options: str | None) -> subprocess.CompletedProcess[str]:
    """Run the command with these environment variables; None takes one away."""
    kept = {name: value for name, value in os.environ.items() if name not in options}
    environment = kept | {name: value for name, value in options.items() if value is not None}
    command = [*COMMAND, *words]
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, errors="replace"
    )


def shell(script: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a shell script says: `"$@"` is the command."""
    command = ["bash", "-c", script, "bash", *COMMAND, *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, errors="replace")


def verdicts(path: Path = RESULTS) -> list[str]:
    return [case["verdict"] for case in json.loads(path.read_text("utf-8"))["cases"]]


# Streams


@pytest.mark.usefixtures("suite")
@pytest.mark.parametrize(
    ("redirection", "status", "complaint"),
    [
        (">&-", 2, "standard output cannot be written to: Bad file descriptor\n"),
        (">/dev/full", 2, "standard output cannot be written to: No space left on device\n"),
        ("2>&-", 0, ""),
        ("2>/dev/full", 0, ""),
        ("<&-", 0, ""),
        ("<&- >&- 2>&-", 2, ""),
        (">/dev/full 2>&1", 2, ""),
    ],
)
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_stream_that_is_closed_or_full(
    redirection: str, status: int, complaint: str, unbuffered: str
) -> None:
    done = shell(f'PYTHONUNBUFFERED={unbuffered} exec "$@" {redirection}', "run", "echo")
    assert verdicts() == ["PASSED", "PASSED"]
    assert done.returncode == status, done
    assert not re.search("Traceback|Exception ignored|Error", done.stdout + done.stderr)
    assert done.stderr.endswith(complaint)
    if status == 0:
        assert VERDICT_SHOWN in done.stdout


@pytest.mark.usefixtures("suite")
@pytest.mark.parametrize(
    "words", [["list", "echo"], ["check", "echo"], ["run", "-j", "x"], ["report", "nowhere"]]
)
@pytest.mark.parametrize("redirection", [">&- 2>&-", ">/dev/full 2>/dev/full"])
def test_a_command_that_can_say_nothing_has_its_status(words: list[str], redirection: str) -> None:
    assert shell(f'exec "$@" {redirection}', *words).returncode == 2


@pytest.mark.usefixtures("suite")
def test_a_reader_that_goes_away() -> None:
    process = subprocess.Popen(
        [*COMMAND, "run", "echo"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout
    process.stdout.close()
    _, shown = process.communicate()
    assert process.returncode == 2
    assert shown == "1 of 2 cases\n2 of 2 cases\n"
    assert verdicts() == ["PASSED", "PASSED"]


@pytest.mark.usefixtures("suite")
def test_a_reader_of_errors_that_goes_away() -> None:
    process = subprocess.Popen(
        [*COMMAND, "run", "echo"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr
    process.stderr.close()
    shown, _ = process.communicate()
    assert process.returncode == 0
    assert VERDICT_SHOWN in shown


@pytest.mark.parametrize(
    "options",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "latin-1"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    ],
)
def test_an_encoding_without_our_signs(suite: Path, options: dict[str, str]) -> None:
    add_server(suite / "servers", "shouting", SHOUTING_SERVER)
    done = conformance("run", "echo", "--durations", **options)
    assert done.returncode == 1
    assert done.stdout.isascii()
    assert "\\u" not in done.stdout
    assert "server x client | wire\n----------------+-------\n" in done.stdout
    assert "right           | ok 2\nshouting        | x 1/2\n" in done.stdout
    assert "3 PASSED - 1 FAILED" in done.stdout


def test_what_is_no_sign_of_ours_is_escaped(suite: Path) -> None:
    done = conformance("check", str(suite.rename("café")), PYTHONIOENCODING="ascii")
    assert done.stdout == "caf\\xe9: 2 scenarios, 1 implementation\n"


# The output folder


@pytest.mark.usefixtures("suite")
@pytest.mark.parametrize("output", ["/dev/null", "/dev/null/x", "/proc/none/x", "echo/suite.yaml"])
def test_an_output_folder_that_cannot_be(output: str) -> None:
    done = conformance("run", "echo", "--output", output)
    assert done.returncode == 2
    why = r"(it is no folder|[A-Z][a-z ]+)"
    expected = rf"{output}: cannot be written to: {why}; name another folder by --output\n"
    assert re.fullmatch(expected, done.stderr)


@pytest.mark.usefixtures("suite")
def test_an_output_folder_that_is_full_before_anything_is_played() -> None:
    done = shell('ulimit -f 0; exec "$@"', "run", "echo")
    assert done.returncode == 2
    assert done.stderr == (
        "build/conformance: cannot be written to: File too large; "
        "free space there, or name another folder by --output\n"
    )
    assert [path.name for path in RESULTS.parent.iterdir()] == [".conformance.lock"]


@pytest.mark.usefixtures("suite")
def test_an_output_folder_that_gets_full_costs_the_reports_alone() -> None:
    conformance("run", "echo", "--server", "right", "-k", "starts")
    before = RESULTS.read_bytes()
    done = shell('ulimit -f 1; exec "$@"', "run", "echo")
    assert done.returncode == 2
    assert VERDICT_SHOWN in done.stdout
    assert "reports:" not in done.stdout
    assert done.stderr.endswith(
        ": File too large; free space there, or name another folder by --output\n"
    )
    assert RESULTS.read_bytes() == before


def test_nothing_is_written_beside_the_sources(suite: Path, tmp_path: Path) -> None:
    (suite / "servers" / "right" / "helper.py").write_text("")
    build = "build: '{python} -c \"import helper\"'\n"
    add_server(suite / "servers", "right", SERVER, build)
    before = sorted(tmp_path.rglob("*"))
    assert conformance("run", "echo", "--output", "out").returncode == 0
    assert sorted(path for path in tmp_path.rglob("*") if "out" not in path.parts) == before


def test_names_of_files_that_are_no_text(suite: Path) -> None:
    folder = suite.rename(os.fsdecode(b"b\xff"))
    done = conformance("run", str(folder), "--output", str(folder / "out"))
    assert done.returncode == 0, done
    assert done.stdout.endswith("reports: b\\xff/out/index.html\n")
    again = conformance("report", str(folder / "out"))
    assert (again.returncode, again.stdout) == (0, done.stdout)


def test_a_folder_that_is_gone(suite: Path) -> None:
    done = shell('mkdir gone && cd gone && rmdir ../gone && exec "$@"', "run", str(suite.resolve()))
    assert done.returncode == 2
    assert done.stderr == "the current folder no longer exists: cd to another one\n"


# Variables


CHECKING = """\
build: sh -c 'test -w "$HOME" && test -w "$TMPDIR" && rm "$(mktemp -p "$TMPDIR")"'
"""


@pytest.mark.parametrize(
    "options",
    [
        {"HOME": None, "TMPDIR": "/nowhere"},
        {"HOME": "", "TMPDIR": "/nowhere"},
        {"HOME": "/nowhere", "TMPDIR": "/dev/null"},
        {"TMPDIR": "a + [b] {c} $d"},
    ],
)
def test_builds_have_a_home_and_a_folder_for_temporary_files(
    suite: Path, options: dict[str, str | None]
) -> None:
    Path("a + [b] {c} $d").mkdir()
    if options["TMPDIR"] and options["TMPDIR"].startswith("a"):
        options = options | {"TMPDIR": str(Path(options["TMPDIR"]).resolve())}
    add_server(suite / "servers", "right", SERVER, CHECKING)
    done = conformance("run", "echo", "--output", "out [1] + {x}", **options)
    assert done.returncode == 0, done


# Limits


@pytest.mark.usefixtures("suite")
def test_as_many_jobs_as_there_are_descriptors_for() -> None:
    done = shell('ulimit -n 64; exec "$@"', "run", "echo", "-j", "40")
    assert done.returncode == 0, done
    note = r"-j \d: the limit of 64 open files \(ulimit -n\) is too low for -j 40\n"
    assert re.match(note, done.stderr)


@pytest.mark.usefixtures("suite")
def test_too_few_descriptors_for_any_case() -> None:
    done = shell('ulimit -n 20; exec "$@"', "run", "echo")
    assert done.returncode == 2
    assert re.fullmatch(
        r"this shell allows 20 open files at a time, but \d+ are needed: ulimit -n 1024\n",
        done.stderr,
    )


# Signals


@pytest.mark.usefixtures("suite")
def test_signals_that_are_ignored_at_the_start() -> None:
    done = shell("trap '' INT CHLD PIPE HUP TERM; exec \"$@\"", "run", "echo")
    assert done.returncode == 0, done


def test_a_failed_build_is_never_complete(suite: Path) -> None:
    """While SIGCHLD is ignored, the status of a command is lost, and looks like 0."""
    build = "build: sh -c 'cp server.py {build}; exit 3'\n"
    add_server(suite / "servers", "right", SERVER, build)
    for _ in range(2):
        done = shell("trap '' CHLD; exec \"$@\"", "run", "echo")
        assert done.returncode == 1
        assert verdicts() == ["ERRORED", "ERRORED"]
        assert "ended with status 3" in done.stdout


WAITING_BUILD = """\
build: sh -c 'echo half > {build}/it; echo $$ > up; read line < gate; echo whole > {build}/it'
"""
BLOCKING = (
    "import os, signal, sys\n"
    "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])\n"
    "os.execv(sys.argv[1], sys.argv[1:])\n"
)
IGNORING = ["bash", "-c", "trap '' INT; exec \"$@\"", "bash"]


def build_that_waits(suite: Path) -> Path:
    """Where a build tells its process id in `up`, and waits at `gate`."""
    home = suite / "servers" / "right"
    add_server(suite / "servers", "right", SERVER, WAITING_BUILD)
    for name in ("up", "gate"):
        os.mkfifo(home / name)
    return home


def wait_for_end(pid: int) -> None:
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    assert select.select([fd], [], [], PATIENT)[0], "it goes on"
    os.close(fd)


@pytest.mark.parametrize("start", [[], IGNORING, [sys.executable, "-c", BLOCKING]])
def test_an_interrupt_ends_a_run_and_its_builds(suite: Path, start: list[str]) -> None:
    """To the command alone, as by `kill -INT`; a background job of a script ignores it at first."""
    home = build_that_waits(suite)
    with running("run", "echo", start=start) as process:
        pid = int(told(home / "up"))
        process.send_signal(signal.SIGINT)
        _, shown = process.communicate(timeout=PATIENT)
    wait_for_end(pid)
    assert process.returncode == 130
    assert "Traceback" not in shown


def test_an_interrupt_ends_the_waiting_for_the_build_of_another_run(suite: Path) -> None:
    home = build_that_waits(suite)
    with running("run", "echo") as first:
        told(home / "up")
        with running("run", "echo") as second:
            assert second.stderr
            assert second.stderr.readline() == "another run builds server-right: waiting\n"
            second.send_signal(signal.SIGINT)
            assert second.wait(PATIENT) == 130
        first.send_signal(signal.SIGINT)
        assert first.wait(PATIENT) == 130


def test_an_interrupt_ends_a_run_that_plays(suite: Path) -> None:
    """Though it was started with SIGINT ignored, as a script starts a background job."""
    home = suite / "servers" / "right"
    os.mkfifo(home / "up")
    telling = "import os; open('up', 'w').write(str(os.getpid())); input()\n"
    add_server(suite / "servers", "right", telling)
    words = ["run", "echo", "-j", "1", "--deadline", "600"]
    with running(*words, start=IGNORING) as process:
        pid = int(told(home / "up"))
        process.send_signal(signal.SIGINT)
        shown, _ = process.communicate(timeout=PATIENT)
    wait_for_end(pid)
    assert process.returncode == 130
    assert "red: 2 of 2 planned cases have no result" in shown


def test_a_run_that_is_killed_in_a_build(suite: Path) -> None:
    home = build_that_waits(suite)
    with running("run", "echo") as process:
        orphan = int(told(home / "up"))
        process.kill()
        process.wait()
    with running("run", "echo") as process:
        again = int(told(home / "up"))
        os.killpg(orphan, signal.SIGKILL)
        wait_for_end(orphan)
        (home / "gate").write_text("go\n")
        assert process.wait(PATIENT) == 0
    assert again != orphan
    (program,) = Path("build/conformance/builds").glob("server-right-*/*/it")
    assert program.read_text() == "whole\n"


# Results that are no results


@pytest.fixture
def results(suite: Path) -> str:
    """The text of a good results.json."""
    conformance("run", str(suite))
    return RESULTS.read_text("utf-8")


def damaged(text: str) -> dict[str, str]:
    data = json.loads(text)
    case, program = data["cases"][0], data["implementations"][0]
    programs = {
        "a folder that is none": {"folder": 1},
        "features that are none": {"features": "all"},
        "known failures that are none": {"known_failures": ["ECHO-1"]},
        "an unknown role": {"role": "proxy"},
        "a path for a name": {"name": "../c"},
        "a very long name": {"name": "c" * 300},
        "half a letter for a name": {"name": "\ud800"},
    }
    return {
        "empty": "",
        "cut": text[: len(text) // 2],
        "no JSON": "once upon a time",
        "binary": "\0\x01\x02",
        "deep": "[" * 100_000,
        "a long number": '{"schema": ' + "1" * 5000 + "}",
        "no number": text.replace('"seconds": ', '"seconds": NaN, "x": '),
        "too large a number": text.replace('"seconds": ', '"seconds": 1e999, "x": '),
        "a list": "[]",
        "another schema": json.dumps(data | {"schema": 99}),
        "no schema": json.dumps({k: v for k, v in data.items() if k != "schema"}),
        "no cases": json.dumps({k: v for k, v in data.items() if k != "cases"}),
        "cases that are none": json.dumps(data | {"cases": [1]}),
        "an unknown verdict": json.dumps(data | {"cases": [case | {"verdict": "FINE"}]}),
        "no clients": json.dumps(data | {"cases": [case | {"clients": None}]}),
        "a failure that is none": json.dumps(data | {"cases": [case | {"failure": [1]}]}),
        "seconds that are none": json.dumps(data | {"cases": [case | {"seconds": "long"}]}),
        "a rule without a place": json.dumps(data | {"requirements": {"ECHO-1": {}}}),
        "a program that cannot be": json.dumps(data | {"cases": [case | {"server": "a/b"}]}),
        "implementations that are none": json.dumps(data | {"implementations": ["c"]}),
        **{
            name: json.dumps(data | {"implementations": [program | wrong]})
            for name, wrong in programs.items()
        },
    }


def files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_damaged_results_end_in_one_line_and_nothing_is_replaced(
    results: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("good.json").write_text(results, "utf-8")
    bad = str(RESULTS)
    for name, text in damaged(results).items():
        RESULTS.write_text(text, "utf-8")
        before = files(RESULTS.parent)
        for words in (["report"], ["diff", bad, "good.json"], ["diff", "good.json", bad]):
            assert main(words) == 2, name
            shown = capsys.readouterr()
            assert shown.err.startswith(f"{bad}: not the results of a run: "), name
            assert shown.err.count("\n") == 1
            assert len(shown.err) < 300
            assert shown.out == ""
        assert files(RESULTS.parent) == before, name


@pytest.mark.usefixtures("results")
@pytest.mark.parametrize("path", ["/dev/zero", "/dev/null", "nowhere", "echo", "/proc/self/mem"])
def test_what_holds_no_results(path: str) -> None:
    done = conformance("diff", str(RESULTS), path)
    assert done.returncode == 2
    assert done.stderr.startswith(path)
    assert done.stderr.count("\n") == 1


# What nobody thought of


def patched(patch: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the command with something in it changed."""
    script = f"import sys\n{patch}\nfrom conformance.cli import main\nsys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", script, *words]
    environment = os.environ | {"TMPDIR": os.getcwd()}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


@pytest.mark.usefixtures("suite")
def test_a_fault_of_the_harness_is_one_line_and_a_file() -> None:
    patch = (
        "from conformance.report.terminal import summary\n"
        "summary.matrix = lambda *_: {}['lost\\nkey']"
    )
    done = patched(patch, "run", "echo")
    assert done.returncode == 2
    (line,) = [line for line in done.stderr.splitlines() if "cases" not in line]
    found = re.fullmatch(
        r"conformance: a fault of the harness, please report it: KeyError: 'lost\\nkey'; "
        r"its stack trace is in (.+\.txt)",
        line,
    )
    assert found
    assert "Traceback" in Path(found[1]).read_text()
    assert list(RESULTS.parent.glob(".run-*")) == []


@pytest.mark.usefixtures("suite")
def test_a_fault_in_a_report_costs_no_result() -> None:
    patch = "from conformance.report import reports\nreports.REPORTS['index.html'] = {}.__getitem__"
    done = patched(patch, "run", "echo")
    assert (done.returncode, "please report it: TypeError" in done.stderr) == (2, True), done.stderr
    assert verdicts() == ["PASSED", "PASSED"]
    assert main(["report"]) == 0
    assert (RESULTS.parent / "index.html").is_file()


@pytest.mark.usefixtures("suite")
@pytest.mark.parametrize(
    "start",
    [
        "from conformance.cli import main; main(['run', 'echo'])",
        "import pytest; pytest.main(['-n', '0', 'echo'])",
        "import pytest; pytest.main(['-n', '1', 'echo'])",
    ],
)
def test_a_fault_of_the_harness_in_one_case_costs_no_other_case(start: str) -> None:
    patch = """
from conformance.play.case import runner
play = runner.play
def broken(case, *more):
    return {}["lost"] if case.scenario.id == "starts" else play(case, *more)
runner.play = broken"""
    Path("conftest.py").write_text(patch)  # for the workers of pytest-xdist
    command = [sys.executable, "-c", f"{patch}\n{start}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert verdicts() == ["PASSED", "ERRORED"], done.stdout + done.stderr
    (written,) = RESULTS.parent.glob("transcripts/*starts*.output.txt")
    assert written.read_text().startswith("--- harness: its stack trace ---\nTraceback")
    assert (RESULTS.parent / "index.html").is_file()


@pytest.mark.usefixtures("suite")
@pytest.mark.parametrize(
    ("error", "words"),
    [
        ("PermissionError(13, 'Permission denied', 'some file')", "some file: Permission denied"),
        (
            "BlockingIOError(11, 'Try again')",
            "this machine: Try again; fewer cases at a time (-j) may help",
        ),
    ],
)
def test_what_the_machine_refuses_is_one_line(error: str, words: str) -> None:
    patch = (
        "from conformance.session import player\n"
        "def refuse(*_, **__):\n"
        f"    raise {error}\n"
        "player.play_all = refuse"
    )
    done = patched(patch, "run", "echo")
    assert done.returncode == 2
    assert done.stderr == words + "\n"


def test_another_system_than_linux() -> None:
    done = patched("sys.platform = 'darwin'", "--version")
    assert done.returncode == 2
    assert done.stderr == "conformance: needs Linux, and this is darwin\n"
