"""After several timeouts in the same situation, deadlines become shorter; a pass undoes this."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from conformance.arguments import Pattern
from conformance.mistakes import Place
from conformance.model import (
    ActorKind,
    Case,
    CastMember,
    Implementation,
    Kind,
    Outcome,
    Role,
    Scenario,
    Split,
    Step,
)
from conformance.play.schedule.deadlines import SHORTENED_BY, Deadlines
from conformance.play.schedule.patience import MOST_TIMEOUTS, Patience

SERVER = Implementation("zig", Role.SERVER, "Zig", Path(), "zig")


def steps(*texts: str, line: int = 1) -> tuple[Step, ...]:
    place = Place("few.yaml", line)
    return tuple(Step(place, "ann", "sees", (Pattern(text, place=place),)) for text in texts)


def case(name: str, some: tuple[Step, ...], server: Implementation = SERVER) -> Case:
    cast = {"ann": CastMember(ActorKind.WIRE)}
    place = Place("few.yaml", 1)
    return Case(
        Scenario(f"few/{name}", "few.yaml", "", (), Kind.SERVER, cast, some, {}, {}, place),
        server,
        (),
    )


CASES = [case(f"case-{n}", steps("hello", "you", f"rest {n}", line=n)) for n in range(9)]
TIMED_OUT = Outcome(10.0, reached=1, timed_out=True)  # at the second step
SHORTENED = replace(TIMED_OUT, shortened=True)
PASSED = Outcome(0.1, reached=3)


def after(*outcomes: Outcome) -> Patience:
    """The state after the outcomes of the first cases."""
    patience = Patience()
    for one, outcome in zip(CASES, outcomes, strict=False):
        patience.note(one, outcome)
    return patience


def test_a_step_that_timed_out_often_enough_gets_less_time() -> None:
    assert after(*[TIMED_OUT] * (MOST_TIMEOUTS - 1)).hint(CASES[-1]) == ()
    assert after(*[TIMED_OUT] * MOST_TIMEOUTS).hint(CASES[-1]) == (1,)


def test_only_in_the_same_situation() -> None:
    patience = after(*[TIMED_OUT] * MOST_TIMEOUTS)
    assert patience.hint(case("other-step", steps("hello", "me"))) == ()
    assert patience.hint(case("other-before", steps("hi", "you"))) == ()
    assert patience.hint(case("more-before", steps("hello", "hello", "you"))) == ()
    other = replace(SERVER, name="ada")
    assert patience.hint(case("other-program", steps("hello", "you"), other)) == ()


@pytest.mark.parametrize(("split", "less"), [(Split.TOGETHER, (1,)), (Split.EITHER, ())])
def test_behind_several_dialogues(split: Split, less: tuple[int, ...]) -> None:
    """The steps before are known exactly, unless a case may have taken different branches."""
    patience = Patience()
    parted = Step(Place("few.yaml", 1), "", "", split=split, branches=(steps("a"), steps("b")))
    for n in range(MOST_TIMEOUTS):
        patience.note(case(f"parted-{n}", (parted, *steps("you"))), TIMED_OUT)
    assert patience.hint(case("parted", (parted, *steps("you")))) == less
    other = replace(parted, branches=(steps("a"), steps("c")))
    assert patience.hint(case("other", (other, *steps("you")))) == ()


def test_not_where_it_ever_came_true() -> None:
    assert after(PASSED, *[TIMED_OUT] * 5).hint(CASES[-1]) == ()
    assert after(*[TIMED_OUT] * 5, PASSED).hint(CASES[-1]) == ()


def test_what_failed_at_once_and_what_the_harness_did_count_for_nothing() -> None:
    failed = replace(TIMED_OUT, timed_out=False)
    broken = replace(TIMED_OUT, error="out of memory")
    assert after(*[failed] * 4, *[broken] * 4).hint(CASES[-1]) == ()


@pytest.mark.parametrize("option", ["within", "not_before"])
def test_a_rules_own_time_is_never_less(option: str) -> None:
    patience = Patience()
    own = tuple(replace(one, options={option: 3.0}) for one in steps("hello", "you"))
    for n in range(5):
        patience.note(case(f"timed-{n}", own), TIMED_OUT)
    assert patience.hint(case("timed", own)) == ()


def test_a_case_that_had_less_time_is_played_again_once_another_passes() -> None:
    patience = after(*[TIMED_OUT] * MOST_TIMEOUTS, SHORTENED, SHORTENED)
    assert patience.to_replay() == []
    patience.note(CASES[-1], PASSED)
    assert patience.to_replay() == CASES[MOST_TIMEOUTS : MOST_TIMEOUTS + 2]


def test_how_much_less() -> None:
    first, second = steps("hello", "you")
    deadlines = Deadlines(step=10.0, start=30.0, shortened=second)
    assert (deadlines.allow(first), deadlines.starting(first)) == (10.0, 30.0)
    assert (deadlines.allow(second), deadlines.starting(second)) == (
        10 / SHORTENED_BY,
        30 / SHORTENED_BY,
    )
    assert deadlines.longest(CASES[0]) == 30.0  # a worker is never stopped for waiting too long
