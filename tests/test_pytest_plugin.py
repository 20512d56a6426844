"""The pytest plugin: `pytest SUITE` plays the same cases as `conformance run SUITE`."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from small_suite import SERVER, SHOUTING_SERVER, add_server, write_suite
from tiny import PATIENT

from conformance import pytest_plugin
from conformance.pytest_plugin import (
    OPTIONS,
    PREFIX,
    WORKERS_PER_PROCESSOR,
    WORKERS_VARIABLE,
    cases,
)

pytest_plugins = ["pytester"]

RESULTS = Path("build/conformance/results.json")

# One case at a time, by workers of pytest-xdist, and by those of the harness: all do the same.
WORKERS = pytest.mark.parametrize("workers", ["0", "2", "auto"])


@pytest.fixture
def suite(pytester: pytest.Pytester) -> Path:
    """A suite with one server, in the folder where pytest runs."""
    pytester.makeini("[pytest]\n")  # so that this folder is the root
    return write_suite(pytester.path).relative_to(pytester.path)


@pytest.fixture
def failing(suite: Path) -> Path:
    """The same with two servers that fail: cases 2 and 3 of 6."""
    for name in ("shouting", "yelling"):
        add_server(suite / "servers", name, SHOUTING_SERVER)
    return suite


@pytest.fixture
def every_verdict(suite: Path) -> Path:
    """The same with a server for each verdict."""
    servers = suite / "servers"
    known = "known_failures: {lines/comes-back: it yells}\n"
    add_server(servers, "absent", SERVER, "needs: [no-such-tool]\n")
    add_server(servers, "broken", SERVER, "build: sh -c 'echo no such word; exit 1'\n")
    add_server(servers, "shouting", SHOUTING_SERVER)
    add_server(servers, "yelling", SHOUTING_SERVER, known)
    return suite


def verdicts() -> dict[str, tuple[str, bool]]:
    """Verdict, and whether it was expected, by case, as results.json has them."""
    cases = json.loads(RESULTS.read_text())["cases"]
    return {case["id"]: (case["verdict"], case["expected"]) for case in cases}


@WORKERS
def test_every_verdict_in_pytests_words(
    pytester: pytest.Pytester, every_verdict: Path, workers: str
) -> None:
    done = pytester.runpytest_subprocess("-n", workers, str(every_verdict))
    # right 2, shouting 1, yelling 1; shouting 1 and broken 2; absent 2; yelling 1
    done.assert_outcomes(passed=4, failed=3, skipped=2, xfailed=1)
    assert done.ret == pytest.ExitCode.TESTS_FAILED
    done.stdout.fnmatch_lines(
        [
            "*ECHO-1 (MUST) Each line comes back as it was sent.",
            "*4 PASSED*",
            "red: 1 FAILED",
            "red: 2 ERRORED",
        ]
    )


def test_what_concerns_a_program_as_a_whole_is_told_once_and_first(
    pytester: pytest.Pytester, suite: Path
) -> None:
    add_server(suite / "servers", "dead", "raise SystemExit(3)")
    done = pytester.runpytest_subprocess(str(suite))
    done.assert_outcomes(passed=2, failed=2)
    text = done.stdout.str().partition("= conformance =")[2]
    assert text.count("server dead does not get ready") == 1
    assert text.index("server dead does not get ready") < text.index("server × client")


@WORKERS
def test_the_same_results_as_the_command(
    pytester: pytest.Pytester, every_verdict: Path, workers: str
) -> None:
    pytester.runpytest_subprocess("-n", workers, str(every_verdict))
    found = verdicts()
    RESULTS.unlink()
    pytester.run(sys.executable, "-m", "conformance", "run", str(every_verdict))
    assert found == verdicts()
    assert len(found) == 10


def test_builds_are_made_once_and_not_for_a_listing(pytester: pytest.Pytester, suite: Path) -> None:
    build = "build: sh -c 'echo built >> ../../../builds.txt'\n"
    add_server(suite / "servers", "built", SERVER, build)
    listing = pytester.runpytest_subprocess("--collect-only", "-q", str(suite))
    listing.stdout.fnmatch_lines(["*starts?built?*"])
    assert not Path("builds.txt").exists()
    pytester.runpytest_subprocess("-n", "2", str(suite)).assert_outcomes(passed=4)
    assert Path("builds.txt").read_text() == "built\n"


@pytest.mark.parametrize(
    ("words", "passed"),
    [
        (["echo"], 4),
        (["echo/lines.yaml"], 4),
        (["echo/lines.yaml::starts[right]"], 1),
        (["echo", "-k", "starts and other"], 1),
        (["echo", "--conformance-server", "other"], 2),
        (["echo", "--conformance-implementation", "elsewhere"], 6),
    ],
)
def test_which_cases_are_chosen(
    pytester: pytest.Pytester, suite: Path, words: list[str], passed: int
) -> None:
    add_server(suite / "servers", "other", SERVER)
    add_server(Path("elsewhere"), "guest", SERVER)
    done = pytester.runpytest_subprocess(*words)
    done.assert_outcomes(passed=passed)
    assert done.ret == pytest.ExitCode.OK
    assert len(verdicts()) == passed


@pytest.mark.parametrize(("rule", "count"), [("ECHO-1", 2), ("echo-1", 2), ("ECHO-2", 0)])
def test_the_cases_of_a_rule(pytester: pytest.Pytester, suite: Path, rule: str, count: int) -> None:
    done = pytester.runpytest_subprocess(str(suite), "-k", rule)
    done.assert_outcomes(passed=count, deselected=2 - count)


def test_what_pytest_leaves_out_says_nothing_of_known_failures(
    pytester: pytest.Pytester, suite: Path
) -> None:
    known = "known_failures: {lines/comes-*: it yells}\n"
    add_server(suite / "servers", "yelling", SHOUTING_SERVER, known)
    done = pytester.runpytest_subprocess(str(suite), "-k", "starts")
    done.assert_outcomes(passed=2, deselected=2)
    assert done.ret == pytest.ExitCode.OK


def test_the_command_of_a_failure_names_whom_the_program_is_judged_against(
    pytester: pytest.Pytester, suite: Path
) -> None:
    add_server(Path("elsewhere"), "guest", SHOUTING_SERVER)
    words = ["--conformance-implementation", "elsewhere", "--conformance-against", "right"]
    done = pytester.runpytest_subprocess(str(suite), *words)
    done.stdout.fnmatch_lines(
        ["*conformance run --implementation elsewhere --against right *comes-back?guest?*"]
    )


def test_an_unexpected_pass_fails(pytester: pytest.Pytester, suite: Path) -> None:
    add_server(suite / "servers", "mended", SERVER, "known_failures: {lines/starts: a reason}\n")
    done = pytester.runpytest_subprocess(str(suite))
    done.assert_outcomes(passed=3, failed=1)
    done.stdout.fnmatch_lines(
        ["*passed, but is listed as a known failure of server mended: a reason"]
    )


def test_a_should_that_is_not_kept_fails_only_where_that_is_asked(
    pytester: pytest.Pytester, suite: Path
) -> None:
    add_server(suite / "servers", "shouting", SERVER.replace("sendall(line)", "sendall(line * 2)"))
    rules = suite / "PROTOCOL.md"
    rules.write_text(rules.read_text().replace("MUST", "SHOULD"))
    pytester.runpytest_subprocess(str(suite)).assert_outcomes(passed=3, xfailed=1)
    done = pytester.runpytest_subprocess(str(suite), "--conformance-strict")
    done.assert_outcomes(passed=3, failed=1)


def test_what_is_required_must_be_available(pytester: pytest.Pytester, suite: Path) -> None:
    add_server(suite / "servers", "absent", SERVER, "needs: [no-such-tool]\n")
    pytester.runpytest_subprocess(str(suite), "--conformance-require").assert_outcomes(
        passed=2, failed=2
    )


@WORKERS
def test_a_result_that_is_lost_is_red(pytester: pytest.Pytester, suite: Path, workers: str) -> None:
    """pytest sees nothing wrong, but one of two planned cases brought no result."""
    pytester.makeconftest(
        """
        import pytest

        @pytest.hookimpl(wrapper=True)
        def pytest_runtest_makereport(item):
            report = yield
            if item.name.startswith("starts"):
                report.user_properties.clear()
            return report
        """
    )
    done = pytester.runpytest_subprocess("-n", workers, str(suite))
    done.assert_outcomes(passed=2)
    assert done.ret == pytest.ExitCode.TESTS_FAILED
    done.stdout.fnmatch_lines(["red: 1 of 2 planned cases has no result"])


def test_a_file_whose_name_is_no_text(pytester: pytest.Pytester, suite: Path) -> None:
    os.rename(suite / "lines.yaml", suite / os.fsdecode(b"\xff.yaml"))
    done = pytester.runpytest_subprocess("-q", str(suite))  # so that pytest does not print it
    done.assert_outcomes(passed=2)
    assert done.ret == pytest.ExitCode.OK
    assert len(verdicts()) == 2


def test_a_mistake_stops_everything_and_has_its_place(
    pytester: pytest.Pytester, suite: Path
) -> None:
    file = suite / "lines.yaml"
    file.write_text(file.read_text().replace("ECHO-1", "ECHO-9"))
    done = pytester.runpytest_subprocess(str(suite))
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    done.stderr.fnmatch_lines(["*echo/lines.yaml:3:*ECHO-9*"])


# --- What people use with pytest -------------------------------------------------------------


@pytest.mark.parametrize("workers", ["2", "auto"])
def test_last_failed(pytester: pytest.Pytester, failing: Path, workers: str) -> None:
    words = ["-n", workers, str(failing)]
    pytester.runpytest_subprocess(*words).assert_outcomes(passed=4, failed=2)
    pytester.runpytest_subprocess(*words, "--lf").assert_outcomes(failed=2)
    assert {"echo/lines.yaml::comes-back[shouting]", "echo/lines.yaml::comes-back[yelling]"} == set(
        verdicts()
    )


@pytest.mark.parametrize("workers", ["0", "auto"])
def test_failed_first(pytester: pytest.Pytester, failing: Path, workers: str) -> None:
    words = ["-v", "-n", workers, str(failing)]
    pytester.runpytest_subprocess(*words)
    done = pytester.runpytest_subprocess(*words, "--ff")
    order = re.findall(r"\[(\w+)\] (FAILED|PASSED)", done.stdout.str())
    assert order[:2] == [("shouting", "FAILED"), ("yelling", "FAILED")]
    assert [verdict for _, verdict in order[2:]] == ["PASSED"] * 4


@pytest.mark.parametrize("workers", ["0", "auto"])
def test_stepwise(pytester: pytest.Pytester, failing: Path, workers: str) -> None:
    words = ["--sw", "-n", workers, str(failing)]
    pytester.runpytest_subprocess(*words).assert_outcomes(passed=1, failed=1)
    pytester.runpytest_subprocess(*words).assert_outcomes(failed=1, deselected=1)
    pytester.runpytest_subprocess(*words, "--sw-skip").assert_outcomes(failed=2, deselected=1)


@pytest.mark.parametrize("workers", ["0", "auto"])
@pytest.mark.parametrize(("word", "failed"), [("-x", 1), ("--maxfail=2", 2)])
def test_an_end_after_failures(
    pytester: pytest.Pytester, failing: Path, word: str, failed: int, workers: str
) -> None:
    done = pytester.runpytest_subprocess(word, "-n", workers, str(failing))
    done.assert_outcomes(passed=1, failed=failed)
    assert done.ret == pytest.ExitCode.TESTS_FAILED
    assert verdicts()["echo/lines.yaml::comes-back[shouting]"] == ("FAILED", False)


@pytest.mark.parametrize("workers", ["2", "auto"])
def test_pytests_own_junit_xml(pytester: pytest.Pytester, failing: Path, workers: str) -> None:
    pytester.runpytest_subprocess("--junitxml", "its.xml", "-n", workers, str(failing))
    its = ET.parse("its.xml").getroot()
    cases = list(its.iter("testcase"))
    assert len(cases) == 6
    assert sum(case.find("failure") is not None for case in cases) == 2
    assert all(float(case.attrib["time"]) > 0 for case in cases)
    assert not list(its.iter("property"))
    assert RESULTS.with_name("junit.xml").exists()


@pytest.mark.parametrize(
    "words",
    [
        ["-p", "no:terminal"],
        ["-p", "no:terminal", "-n", "2"],
        ["-p", "no:cacheprovider"],
        ["-p", "no:xdist"],
        ["-q", "-n", "auto"],
        ["-s"],
        ["--tx", "2*popen", "--dist", "load"],
        ["--import-mode=importlib"],
        ["--durations", "2"],
        ["-n", "auto", "--maxprocesses", "1"],
    ],
    ids=" ".join,
)
def test_with(pytester: pytest.Pytester, failing: Path, words: list[str]) -> None:
    done = pytester.runpytest_subprocess(*words, str(failing))
    assert done.ret == pytest.ExitCode.TESTS_FAILED
    assert done.stderr.str() == ""
    if "no:terminal" not in words:
        done.assert_outcomes(passed=4, failed=2)
    found = list(verdicts().values())
    assert (found.count(("PASSED", True)), found.count(("FAILED", False))) == (4, 2)


ROOT_ELSEWHERE = [
    ("", ["--rootdir", "elsewhere", "echo"]),
    ("elsewhere", ["--rootdir", ".", "../echo"]),
]
WAYS = [
    ("", ["echo/"]),
    ("", ["./echo"]),
    ("", ["{here}/echo"]),
    ("", ["link"]),
    ("", ["-o", "testpaths=echo"]),
    ("elsewhere", ["../echo/lines.yaml"]),
    (
        "elsewhere",
        ["{here}/link/lines.yaml::starts[right]", "../link/lines.yaml::comes-back[right]"],
    ),
    ("echo", []),
    ("echo", ["lines.yaml", "--import-mode=importlib"]),
]


@pytest.mark.parametrize(
    ("workers", "folder", "words"),
    [
        *(("auto", *way) for way in WAYS + ROOT_ELSEWHERE),
        *(("2", *way) for way in ROOT_ELSEWHERE),
    ],
    ids=str,
)
def test_however_the_suite_is_named(
    pytester: pytest.Pytester,
    suite: Path,
    monkeypatch: pytest.MonkeyPatch,
    workers: str,
    folder: str,
    words: list[str],
) -> None:
    here = Path.cwd()
    (here / "elsewhere").mkdir()
    (here / "link").symlink_to(suite)
    monkeypatch.chdir(here / folder)
    named = [word.format(here=here) for word in words]
    done = pytester.runpytest_subprocess("-n", workers, *named)
    assert done.ret == pytest.ExitCode.OK
    done.assert_outcomes(passed=2)
    done.stdout.fnmatch_lines(["conformance: 2 cases, *"])
    assert len(verdicts()) == 2


def test_test_paths_and_options_of_the_environment(
    pytester: pytest.Pytester, suite: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytester.makeini(f"[pytest]\ntestpaths = {suite}\n")
    add_server(suite / "servers", "other", SERVER)
    monkeypatch.setenv("PYTEST_ADDOPTS", f"{PREFIX}server other {PREFIX}output out")
    pytester.runpytest_subprocess().assert_outcomes(passed=2)
    assert Path("out/results.json").exists()


@pytest.mark.parametrize("words", [[], ["-n", "auto"]], ids=" ".join)
def test_the_header_says_what_is_done(
    pytester: pytest.Pytester, suite: Path, words: list[str]
) -> None:
    done = pytester.runpytest_subprocess(*words, str(suite))
    done.stdout.fnmatch_lines([f"conformance: 2 cases, {2 if words else 1} at a time"])
    done.stdout.no_fnmatch_line("*workers*")


def test_workers_of_pytest_xdist_stand_in_the_header(
    pytester: pytest.Pytester, suite: Path
) -> None:
    done = pytester.runpytest_subprocess("-n", "1", str(suite))
    done.stdout.fnmatch_lines(["conformance: 2 cases, played by the workers of pytest-xdist"])


def test_workers_in_another_folder_give_complete_results(
    pytester: pytest.Pytester, suite: Path, tmp_path: Path
) -> None:
    """As those on another machine have it, to which pytest-xdist copies the suite."""
    here, there = suite.resolve(), tmp_path / "there"
    there.mkdir()
    worker = f"popen//chdir={there}//python={sys.executable}"
    done = pytester.runpytest_subprocess(
        "--dist", "load", "--tx", worker, "--rsyncdir", str(here), str(here)
    )
    assert done.ret == pytest.ExitCode.OK
    assert (there / suite.name / "suite.yaml").is_file()
    assert {id.partition("::")[0] for id in verdicts()} == {str(here / "lines.yaml")}
    assert len(verdicts()) == 2


def test_how_many_workers(
    pytester: pytest.Pytester, suite: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None for a suite alone, several a processor beside tests; what a person says counts."""

    def workers(*words: str) -> int:
        config = pytester.parseconfig("-n", "auto", *words)
        count: int = config.hook.pytest_xdist_auto_num_workers(config=config)
        return count

    tests = str(pytester.makepyfile("def test_it(): pass"))
    monkeypatch.delenv(WORKERS_VARIABLE, raising=False)
    processors = workers("-p", "no:conformance", tests)
    assert workers(tests) == processors
    assert workers(str(suite)) == 0
    assert workers(str(suite), tests) == processors * WORKERS_PER_PROCESSOR
    monkeypatch.setenv(WORKERS_VARIABLE, "2")
    assert workers(str(suite)) == workers(str(suite), tests) == 2


# --- An end by Ctrl+C -------------------------------------------------------------------------

# Plays its first case, tells its process id, and stays, whatever asks it to go.
STAYING = """
import os, signal
if not os.path.exists("played"):
    open("played", "w").close()
else:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with open("pids", "w") as pids:
        print(os.getpid(), file=pids)
    while True:
        signal.pause()
"""


@pytest.mark.parametrize("ignored", [False, True], ids=["", "ignored at first"])
@pytest.mark.parametrize("words", [[], ["-n", "1"], ["-n", "auto", "--maxprocesses", "1"]], ids=str)
def test_an_interrupted_run_leaves_results_and_no_programs(
    pytester: pytest.Pytester, suite: Path, words: list[str], ignored: bool
) -> None:
    server = suite / "servers" / "right"
    (server / "server.py").write_text(STAYING + SERVER)
    os.mkfifo(server / "pids")
    pipe = os.open(server / "pids", os.O_RDWR)
    trap = "trap '' INT CHLD; " if ignored else ""
    words = ["-v", *words, f"{PREFIX}deadline", "600"]
    command = [sys.executable, "-m", "pytest", *words, str(suite)]
    with subprocess.Popen(
        ["sh", "-c", f'{trap}exec "$@"', "sh", *command],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            assert select.select([pipe], [], [], PATIENT)[0], "the second case did not begin"
            program = os.pidfd_open(int(os.read(pipe, 100)))
            assert process.stdout
            # A worker of pytest-xdist begins the second case before the first is counted.
            assert any("PASSED" in line for line in process.stdout)
            os.killpg(process.pid, signal.SIGINT)
            assert select.select([program], [], [], PATIENT)[0], "the program goes on"
            output, _ = process.communicate(timeout=PATIENT)
        finally:
            process.kill()
    assert process.returncode == pytest.ExitCode.INTERRUPTED
    assert verdicts() == {"echo/lines.yaml::comes-back[right]": ("PASSED", True)}
    assert "red: 1 of 2 planned cases has no result" in output


def test_what_was_played_ahead_counts_where_its_item_was_not_reached(
    pytester: pytest.Pytester, suite: Path
) -> None:
    pytester.makeconftest(
        """
        import pytest

        @pytest.hookimpl(trylast=True)
        def pytest_collection_finish(session):
            session.items.reverse()

        def pytest_runtest_logfinish():
            raise KeyboardInterrupt
        """
    )
    done = pytester.runpytest_subprocess(str(suite))
    assert done.ret == pytest.ExitCode.INTERRUPTED
    done.assert_outcomes(passed=1)
    assert len(verdicts()) == 2


# --- A good guest -----------------------------------------------------------------------------


def test_without_a_suite_the_plugin_is_silent(pytester: pytest.Pytester, suite: Path) -> None:
    pytester.makepyfile("def test_nothing(): pass")
    (pytester.path / "other.yaml").write_text("- not a scenario")
    done = pytester.runpytest_subprocess()
    done.assert_outcomes(passed=1)
    done.stdout.no_re_match_line("conformance:|=.*conformance")
    assert suite.exists()
    assert not Path("build").exists()


@pytest.mark.parametrize("workers", ["0", "1"])
def test_a_project_with_a_suite_file_and_options_of_its_own(
    pytester: pytest.Pytester, workers: str
) -> None:
    Path("suite.yaml").write_text("name: songs\nprotocol: https\nparts: [allemande\n")
    pytester.makeconftest(
        f"""
        import pytest

        def pytest_addoption(parser):
            for name in {[name for name in OPTIONS if name != "strict"]!r}:  # pytest has that one
                parser.addoption("--" + name)

        @pytest.fixture
        def output(pytestconfig):
            return pytestconfig.option.output
        """
    )
    pytester.makepyfile("def test_it(output): assert output == 'mine'")
    words = ["-n", workers, "--output", "mine", "--server", "none"]
    for named in ([], ["."]):
        done = pytester.runpytest_subprocess(*words, *named)
        done.assert_outcomes(passed=1)
        done.stdout.no_re_match_line("conformance:|=.*conformance")
    assert not Path("mine").exists()


def test_a_python_file_in_the_suites_folder_is_no_scenario(
    pytester: pytest.Pytester, suite: Path
) -> None:
    (suite / "test_it.py").write_text("def test_it(): pass")
    pytester.runpytest_subprocess(str(suite / "test_it.py")).assert_outcomes(passed=1)
    assert not Path("build").exists()
    for workers in ("0", "2", "auto"):
        done = pytester.runpytest_subprocess("-n", workers, str(suite))
        done.assert_outcomes(passed=3)
        assert len(verdicts()) == 2


def test_without_a_suite_nothing_else_is_imported() -> None:
    """An import costs time, and fails where a dependency is broken: no concern of other tests."""
    names = "{name for name in sys.modules if name.startswith('conformance.')}"
    script = f"import sys, conformance.pytest_plugin; print({names})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert eval(done.stdout) == {
        "conformance.pytest_plugin",
        "conformance.session",
        "conformance.session.options",
    }


@pytest.mark.parametrize("words", [["deadline", "soon"], ["server", "nosuch"]], ids=" ".join)
def test_a_wrong_option_is_named(pytester: pytest.Pytester, suite: Path, words: list[str]) -> None:
    option, value = words
    done = pytester.runpytest_subprocess(PREFIX + option, value, str(suite))
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    done.stderr.fnmatch_lines([f"*{option}*{value}*"])


def test_an_output_folder_that_is_not_ours(pytester: pytest.Pytester, suite: Path) -> None:
    """It is told which option names another; files of a person stay."""
    Path("mine").mkdir()
    Path("mine/results.json").write_text("1")
    done = pytester.runpytest_subprocess(f"{PREFIX}output", "mine", str(suite))
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    done.stderr.fnmatch_lines([f"*mine/results.json: *{PREFIX}output*"])
    assert [path.name for path in Path("mine").iterdir()] == ["results.json"]


def test_a_terminal_that_knows_ascii_alone(
    pytester: pytest.Pytester, failing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    done = pytester.runpytest_subprocess(str(failing))
    done.assert_outcomes(passed=4, failed=2)
    done.stdout.fnmatch_lines(["right*| ok 2"])


def test_every_option_has_our_name_in_it(pytester: pytest.Pytester) -> None:
    texts = [
        pytester.runpytest_subprocess("--help", *words).stdout.lines
        for words in (["-p", "no:conformance"], [])
    ]
    without, with_ours = (
        {word for line in lines for word in re.findall(r"^  (-[-\w]+)", line)} for lines in texts
    )
    ours = with_ours - without
    assert {PREFIX + name for name in OPTIONS} <= ours
    assert all(option.startswith(PREFIX) for option in ours)


@pytest.mark.parametrize("named", [[], ["echo"]], ids=["without a suite", "with one"])
def test_signals_that_were_ignored(
    pytester: pytest.Pytester, suite: Path, named: list[str]
) -> None:
    """Ctrl+C must end a run, and children must be waited for; the host gets back what it had."""
    heard = "is not" if named else "is"
    pytester.makepyfile(
        f"""
        import signal

        def test_it():
            assert signal.getsignal(signal.SIGINT) {heard} signal.SIG_IGN
            assert signal.getsignal(signal.SIGCHLD) {heard} signal.SIG_IGN
        """
    )
    words = ["test_signals_that_were_ignored.py", *named]
    host = (
        "import pytest, signal\n"
        "both = signal.SIGINT, signal.SIGCHLD\n"
        "for one in both: signal.signal(one, signal.SIG_IGN)\n"
        f"status = pytest.main({words!r})\n"
        "assert all(signal.getsignal(one) is signal.SIG_IGN for one in both)\n"
        "raise SystemExit(status)"
    )
    assert pytester.run(sys.executable, "-c", host).ret == pytest.ExitCode.OK


def test_nothing_of_pytests_inside_is_used() -> None:
    for module in (pytest_plugin, cases):
        text = Path(str(module.__file__)).read_text()
        assert not re.search(r"\b_pytest\b|\b_tw\b", text)
