"""The pytest plugin: `pytest SUITE` does what `conformance run SUITE` does."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from small_suite import MUTE_SERVER, SERVER, SHOUTING_SERVER, add_server, write_suite

from conformance.pytest_plugin import WORKERS_PER_PROCESSOR

pytest_plugins = ["pytester"]

RESULTS = Path("build/conformance/results.json")

# With workers and without; both must do the same.
WORKERS = pytest.mark.parametrize("workers", ["0", "2"])


@pytest.fixture
def suite(pytester: pytest.Pytester) -> Path:
    """A suite with one server, in the folder where pytest runs."""
    pytester.makeini("[pytest]\n")  # so that this folder is the root
    return write_suite(pytester.path).relative_to(pytester.path)


@pytest.fixture
def every_verdict(suite: Path) -> Path:
    """The same with a server for each verdict."""
    servers = suite / "servers"
    known = "known_failures: {lines/comes-back: it is mute}\n"
    add_server(servers, "absent", SERVER, "needs: [no-such-tool]\n")
    add_server(servers, "broken", SERVER, "build: sh -c 'echo no such word; exit 1'\n")
    add_server(servers, "mute", MUTE_SERVER, known)
    add_server(servers, "shouting", SHOUTING_SERVER)
    return suite


def verdicts() -> dict[str, tuple[str, bool]]:
    """Verdict, and whether it was expected, by case, as results.json has them."""
    cases = json.loads(RESULTS.read_text())["cases"]
    return {case["id"]: (case["verdict"], case["expected"]) for case in cases}


@WORKERS
def test_every_verdict_in_pytests_words(
    pytester: pytest.Pytester, every_verdict: Path, workers: str
) -> None:
    done = pytester.runpytest_subprocess("-n", workers, "--deadline", "2", str(every_verdict))
    # right 2, mute 1, shouting 1; shouting 1 and broken 2; absent 2; mute 1
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


@WORKERS
def test_the_same_results_as_the_command(
    pytester: pytest.Pytester, every_verdict: Path, workers: str
) -> None:
    words = ["--deadline", "2", str(every_verdict)]
    pytester.runpytest_subprocess("-n", workers, *words)
    found = verdicts()
    RESULTS.unlink()
    pytester.run(sys.executable, "-m", "conformance", "run", *words)
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
        (["echo", "--server", "other"], 2),
        (["echo", "--implementation", "elsewhere"], 6),
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


def test_an_unexpected_pass_fails(pytester: pytest.Pytester, suite: Path) -> None:
    add_server(suite / "servers", "mended", SERVER, "known_failures: {lines/starts: a reason}\n")
    done = pytester.runpytest_subprocess(str(suite))
    done.assert_outcomes(passed=3, failed=1)
    done.stdout.fnmatch_lines(
        ["*passed, but is listed as a known failure of server mended: a reason"]
    )


def test_what_is_required_must_be_available(pytester: pytest.Pytester, suite: Path) -> None:
    add_server(suite / "servers", "absent", SERVER, "needs: [no-such-tool]\n")
    pytester.runpytest_subprocess(str(suite), "--require").assert_outcomes(passed=2, failed=2)


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


def test_a_mistake_stops_everything_and_has_its_place(
    pytester: pytest.Pytester, suite: Path
) -> None:
    file = suite / "lines.yaml"
    file.write_text(file.read_text().replace("ECHO-1", "ECHO-9"))
    done = pytester.runpytest_subprocess(str(suite))
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    done.stderr.fnmatch_lines(["*echo/lines.yaml:3:*ECHO-9*"])


def test_without_a_suite_the_plugin_is_silent(pytester: pytest.Pytester, suite: Path) -> None:
    pytester.makepyfile("def test_nothing(): pass")
    (pytester.path / "other.yaml").write_text("- not a scenario")
    done = pytester.runpytest_subprocess()
    done.assert_outcomes(passed=1)
    done.stdout.no_fnmatch_line("*conformance*===*")
    assert suite.exists()
    assert not Path("build").exists()


NOTE_WORKERS = """
from pathlib import Path

def pytest_sessionstart(session):
    if worker := getattr(session.config, "workerinput", None):
        Path("workers").write_text(str(worker["workercount"]))
"""


def workers(pytester: pytest.Pytester, *words: str) -> int:
    """How many there were, as each of them is told by pytest-xdist."""
    pytester.makeconftest(NOTE_WORKERS)
    pytester.runpytest_subprocess("-n", *words)
    return int(Path("workers").read_text())


def test_more_workers_than_processors(
    pytester: pytest.Pytester, suite: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For a suite alone, and unless a person says how many."""
    pytester.makepyfile("def test_it(): pass")
    processors = workers(pytester, "auto", "test_more_workers_than_processors.py")
    assert workers(pytester, "auto", str(suite)) == processors * WORKERS_PER_PROCESSOR
    assert workers(pytester, "1", str(suite)) == 1
    monkeypatch.setenv("PYTEST_XDIST_AUTO_NUM_WORKERS", "2")
    assert workers(pytester, "auto", str(suite)) == 2
