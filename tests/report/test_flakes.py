"""How surely a report says that cases do not flake."""

from __future__ import annotations

from dataclasses import replace

import pytest

from conformance.model import Kind, Result, Verdict
from conformance.report.findings.flakes import SHOWN, flaky_cases, interval

ONE = Result("a.yaml::b[c]", "a/b", Kind.SERVER, "c", "c", (), (), Verdict.PASSED, True, 0.1)


def played(times: int, passed: int, id: str = ONE.id) -> Result:
    return replace(ONE, id=id, played=times, passed=passed)


@pytest.mark.parametrize(
    ("count", "of", "low", "high"),  # the same values as in statsmodels
    [(0, 10, 0.0, 0.2775), (1, 20, 0.0089, 0.2361), (5, 10, 0.2366, 0.7634), (10, 10, 0.7225, 1.0)],
)
def test_the_interval_is_wilsons(count: int, of: int, low: float, high: float) -> None:
    assert interval(count, of) == pytest.approx((low, high), abs=0.0001)


def test_what_was_played_once_tells_nothing() -> None:
    assert flaky_cases([ONE]) == []


def test_where_none_differed_the_rule_of_three_says_what_may_go_unseen() -> None:
    told = "with 95 % confidence, fewer than 1 play in 17,280 differs"
    assert flaky_cases([played(20, 20)] * 2592) == [f"2592 cases × 20: none was flaky; {told}"]


def test_what_always_fails_does_not_differ() -> None:
    (line,) = flaky_cases([played(30, 0)])
    assert line.startswith("1 case × 30: none was flaky")


def test_only_cases_that_differed_are_named() -> None:
    names = [f"a.yaml::{number}[c]" for number in range(SHOWN + 2)]
    lines = flaky_cases([played(3, 3), *(played(4, 3, name) for name in names)])
    assert lines[0] == "3 of 4 passed: a.yaml::0[c]: fails 5% to 70% of the time"
    assert lines[SHOWN:] == [
        "and 2 more flaky cases",
        "13 cases × 3 to 4: 12 flaky",
    ]
