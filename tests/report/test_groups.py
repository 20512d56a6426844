"""What is told once for a program, in front, and not in each of its cases."""

from __future__ import annotations

from dataclasses import replace

from conformance.model import Failure, FailureKind, Kind, Result, Verdict
from conformance.report.failure import finding_text
from conformance.report.findings import findings, others
from conformance.report.run import Run, red

START = Failure(
    requirement="PROG-3",
    actor="server",
    step="scenarios/chat.yaml:14:9  server: starts",
    expected="Listening on 127.0.0.1:{port}",
    seen="",
    reason="it never got ready: exit status 2",
    stderr=tuple(f"server: line {n}" for n in range(9)),
    kind=FailureKind.START,
    program="server-zig",
)
ENDING = replace(START, kind=FailureKind.ENDING, requirement="STOP-1", seen="it is still running")


def result(name: str, failure: Failure | None = None, afterwards: Failure | None = None) -> Result:
    return Result(
        id=f"scenarios/chat.yaml::{name}[zig]",
        scenario=f"chat/{name}",
        kind=Kind.SERVER,
        pairing="zig",
        server="zig",
        clients=(),
        requirements=("CHAT-1",),
        verdict=Verdict.FAILED if failure else Verdict.PASSED,
        expected=failure is None,
        seconds=0.1,
        failure=failure,
        afterwards=afterwards,
    )


def run(*results: Result) -> Run:
    return Run("2026-01-02T03:04:05+00:00", 1.0, len(results), "chat", "0.1.0", results=[*results])


def test_a_program_that_never_starts_is_told_once() -> None:
    step = replace(START, kind=FailureKind.STEP)
    results = [result("a", START), result("b", START), result("c", step)]
    (one,) = findings(results)
    assert one.title == "server zig does not get ready (PROG-3), in 2 cases"
    assert [left.id for left in others(results)] == ["scenarios/chat.yaml::c[zig]"]


def test_an_ending_reddens_the_run_and_no_case() -> None:
    results = [result("a", afterwards=ENDING), result("b", afterwards=ENDING), result("c")]
    assert others(results) == []
    assert red(run(*results)) == ["server zig does not end as it should (STOP-1), in 2 cases"]


def test_an_ending_that_is_a_known_failure_reddens_nothing() -> None:
    known = replace(result("stop", replace(START, requirement="STOP-1")), expected=True)
    assert findings([result("a", afterwards=ENDING), known]) == []


def test_a_finding_shows_the_first_case_and_first_and_last_words() -> None:
    (one,) = findings([result("a", START)])
    text = finding_text(one, {}).splitlines()
    assert text[0] == "server zig does not get ready (PROG-3), in 1 case"
    assert "  why      it never got ready: exit status 2" in text
    errors = [line.split(None, 1)[1] for line in text if line.startswith("  stderr")]
    assert errors == ["server: line 0", "server: line 7", "server: line 8"]
    assert text[-1].endswith("conformance run 'scenarios/chat.yaml::a[zig]'")
