"""Cases that are played several times, and known failures in manifests."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree as Xml

import pytest
from small_suite import SERVER, SHOUTING_SERVER, add_server, write_suite

from conformance.cli import main
from conformance.cli.common import GREEN, RED
from conformance.report.folder.results import read

pytest_plugins = ["pytester"]

# Every second time that it is started, it shouts. Several may start at once; each adds
# its byte by one system call, which leaves the position behind its own.
EVERY_SECOND = """\
with open("starts.log", "ab", buffering=0) as starts:
    starts.write(b"x")
    count = starts.tell() - 1
""" + SERVER.replace("sendall(line)", "sendall(line if count % 2 else line.upper())")

ONE = "lines.yaml::comes-back"


@pytest.fixture
def suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A suite with a server that fails every second time, in the folder where commands run."""
    monkeypatch.chdir(tmp_path)
    suite = write_suite(tmp_path).relative_to(tmp_path)
    add_server(suite / "servers", "second", EVERY_SECOND)
    return suite


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str]:
    status = main(["run", "-j", "1", *map(str, words)])
    return status, capsys.readouterr().out


def test_a_report_says_how_often_a_case_passed(
    suite: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, shown = run(capsys, "--repeat", 4, f"{suite}/{ONE}", "--server", "second")
    assert status == RED
    assert "  repeated 2 of 4 passed\n" in shown
    told = f"2 of 4 passed: {suite}/{ONE}[second]: fails 15% to 85% of the time"
    assert told in " ".join(shown.split())
    assert "\n1 case × 4: 1 flaky\n" in shown
    output = Path("build/conformance")
    (case,) = json.loads((output / "results.json").read_text())["cases"]
    assert (case["played"], case["passed"], case["verdict"]) == (4, 2, "FAILED")
    assert read(output).results[0].repeated == "2 of 4 passed"
    assert "2 of 4 passed" in (output / "index.html").read_text()
    assert "2 of 4 passed" in (output / "summary.md").read_text()
    failure = Xml.parse(output / "junit.xml").find(".//failure")
    assert failure is not None
    assert failure.get("message", "").startswith("2 of 4 passed; expected ")
    (transcript,) = (output / "transcripts").glob("*.output.txt")  # that of one that failed
    assert "second" in transcript.name


def test_for_minutes_cases_are_played_again_and_again(
    suite: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It ends at once, at the first failure, which is that of the second round."""
    other = EVERY_SECOND.replace("count % 2", "not count % 2")
    add_server(suite / "servers", "second", other)
    status, shown = run(capsys, "--minutes", 60, "-x", f"{suite}/{ONE}", "--server", "second")
    assert status == RED
    assert "\n1 case × 2: 1 flaky\n" in shown
    assert read(Path("build/conformance")).results[0].repeated == "1 of 2 passed"


def test_what_may_fail_is_green_and_counted_apart(
    suite: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add_server(suite / "servers", "second", EVERY_SECOND, "may_fail: {ECHO-1: a race}\n")
    status, shown = run(capsys, "--repeat", 2, f"{suite}/{ONE}")
    assert status == GREEN
    assert "1 PASSED · 1 FAILED (1 may fail)" in shown
    cases = json.loads(Path("build/conformance/results.json").read_text())["cases"]
    (failed,) = [case for case in cases if case["verdict"] == "FAILED"]
    assert (failed["known"], failed["may_fail"], failed["expected"]) == ("ECHO-1", True, True)
    assert failed["reason"] == "possible failure of server second: a race"


def test_known_failures_by_rule_of_which_nothing_fails_are_red(
    suite: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = "known_failures: {ECHO-1: ticket 1}\n"
    add_server(suite / "servers", "second", SHOUTING_SERVER, words)
    assert run(capsys, suite)[0] == GREEN
    add_server(suite / "servers", "second", SERVER, words)
    assert run(capsys, suite, "--server", "second")[0] == GREEN  # a part of a run cannot tell
    status, shown = run(capsys, suite)
    assert status == RED
    told = "server second: no case fails for its known failure `ECHO-1`; remove it"
    assert f"red: {told}" in shown
    assert main(["report"]) == RED  # drawn again, it says the same


@pytest.mark.parametrize("workers", ["0", "1", "auto"])
def test_pytest_repeats_likewise(pytester: pytest.Pytester, workers: str) -> None:
    pytester.makeini("[pytest]\n")  # so that this folder is the root
    suite = write_suite(pytester.path).relative_to(pytester.path)
    add_server(suite / "servers", "second", EVERY_SECOND)
    words = ["-n", workers, "--conformance-repeat=4"]
    done = pytester.runpytest_subprocess(f"{suite}/{ONE}[second]", *words)
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines(["*repeated 2 of 4 passed"])
