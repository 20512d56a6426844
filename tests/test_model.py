"""The model: the argument of a step has the type that its verb needs, or there is a message."""

from __future__ import annotations

import pytest

from conformance.mistakes import Place
from conformance.model import Step


def test_a_step_gives_its_argument_as_the_type_that_is_asked_for() -> None:
    step = Step(Place("it.yaml", 3, 5), "alice", "sends", b"hello")
    assert step.takes(bytes) == b"hello"


def test_an_argument_of_another_type_is_a_fault_that_names_verb_and_place() -> None:
    step = Step(Place("it.yaml", 3, 5), "alice", "sends", "hello")
    with pytest.raises(TypeError, match="`sends` needs bytes, and has str"):
        step.takes(bytes)
