"""The expansion of the steps in a scenario file into the steps that are played."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny import SUITE, read_scenarios, scenario, write_suite

from conformance.arguments import Pattern
from conformance.mistakes import Mistake
from conformance.model import ActorKind, CastMember, Kind, Origin, Role, Scenario, Step
from conformance.read.suite import SuiteFile

ROOM = "{ann: wire, bob: wire, carl: wire}"


@pytest.fixture
def suite(tmp_path: Path) -> SuiteFile:
    return write_suite(tmp_path)


def shown(step: Step) -> str:
    """A step in the words of a scenario."""
    match step.argument:
        case None:
            return f"{step.actor} {step.verb}"
        case (*parts,):
            return f"{step.actor} {step.verb} " + " | ".join(map(str, parts))
    return f"{step.actor} {step.verb} {step.argument}"


def patterns(step: Step) -> tuple[Pattern, ...]:
    assert isinstance(step.argument, tuple)
    return step.argument


def spelled_out(one: Scenario) -> list[str]:
    """All steps except the server's start, the ending, and the fence before it."""
    steps = [shown(step) for step in one.steps]
    assert steps[0] == "server starts"
    return steps[1 : steps.index("server is_sent SIGTERM")]


COMES = """
- server: starts
- ann: comes
- bob: comes
"""
CAME = [
    "ann starts",
    "ann types I am ann",
    "ann sees hello ann, one of 1",
    "bob starts",
    "bob types I am bob",
    "bob sees hello bob, one of 2",
    "ann sees bob is here",
]
FENCES = [
    "bob types fence 1",
    "ann sees bob: fence 1",
    "ann types fence 2",
    "bob sees ann: fence 2",
]


def test_shorthands_are_spelled_out_and_groups_are_counted(suite: SuiteFile) -> None:
    assert spelled_out(scenario(suite, COMES, "{ann: wire, bob: wire}")) == CAME + FENCES


def test_a_shorthand_takes_another_name(suite: SuiteFile) -> None:
    one = scenario(suite, "- server: starts\n- ann: {comes: Anna}\n- bob: comes", ROOM_OF_TWO)
    assert spelled_out(one)[:3] == [
        "ann starts",
        "ann types I am Anna",
        "ann sees hello Anna, one of 1",
    ]
    assert "bob sees Anna: fence 2" in spelled_out(one)


ROOM_OF_TWO = "{ann: wire, bob: wire}"


def test_what_a_person_wrote_is_told_from_what_it_stands_for(suite: SuiteFile) -> None:
    one = scenario(suite, COMES + "- ann: {sees: more}\n", ROOM_OF_TWO)
    assert [shown(step) for step in one.steps if step.origin is Origin.WRITTEN] == [
        "server starts",
        "ann sees more",
    ]


def test_every_step_of_a_shorthand_stands_where_the_shorthand_does(suite: SuiteFile) -> None:
    one = scenario(suite, COMES, ROOM_OF_TWO)
    lines = {
        step.place.line for step in one.steps if step.actor == "ann" and "hello" in shown(step)
    }
    assert lines == {7}
    assert {Path(step.place.file).name for step in one.steps} == {"file.yaml"}


def test_the_suites_ending_follows_where_the_server_runs(suite: SuiteFile) -> None:
    one = scenario(suite, COMES, ROOM_OF_TWO)
    assert [shown(step) for step in one.steps][-4:] == [
        "server is_sent SIGTERM",
        "ann is_closed",
        "bob is_closed",
        "server exits SIGTERM",
    ]


def test_no_ending_follows_where_the_server_has_ended(suite: SuiteFile) -> None:
    one = scenario(suite, "- server: starts\n- server: {exits: 0}", "{}")
    assert [shown(step) for step in one.steps] == ["server starts", "server exits 0"]


UNREAD = """
- server: starts
- ann: starts
- server: accepts
- server: stops_reading
- ann: {exits: 0}
"""


def test_a_scripted_server_must_read_at_the_end(suite: SuiteFile) -> None:
    """It reads until the client ends the connection, so it would wait in vain."""
    with pytest.raises(Mistake, match="server does not read at the end; add `reads_again`"):
        scenario(suite, UNREAD, "{server: scripted, ann: client}")


@pytest.mark.parametrize("end", ["reads_again", "resets", "{closes: , rest: ignored}"])
def test_a_scripted_server_that_need_not_read_more(suite: SuiteFile, end: str) -> None:
    scenario(suite, f"{UNREAD}- server: {end}", "{server: scripted, ann: client}")


def test_no_ending_follows_a_scripted_server(suite: SuiteFile) -> None:
    steps = (
        "- server: starts\n- ann: starts\n- server: accepts\n- server: closes\n- ann: {exits: 0}"
    )
    one = scenario(suite, steps, "{server: scripted, ann: client}")
    assert shown(one.steps[-1]) == "ann exits 0"
    assert one.kind is Kind.CLIENT


def test_a_fence_for_one_who_is_alone(suite: SuiteFile) -> None:
    one = scenario(suite, "- server: starts\n- ann: comes")
    assert spelled_out(one)[3:] == ["ann types fence?", "ann sees fence!"]


def test_no_fence_where_nobody_is_in_the_group(suite: SuiteFile) -> None:
    one = scenario(suite, "- server: starts\n- ann: starts")
    assert spelled_out(one) == ["ann starts"]


def test_a_fence_is_double_and_begins_with_who_acted_last(suite: SuiteFile) -> None:
    """So it comes after everything that the last act caused, for the actor of this act, too."""
    steps = COMES + "- carl: comes\n- bob: {types: hello}\n- ann: sees_nothing\n"
    one = scenario(suite, steps, ROOM)
    at = [shown(step) for step in one.steps].index("bob types hello") + 1
    assert [shown(step) for step in one.steps][at : at + 6] == [
        "bob types fence 1",
        "ann sees bob: fence 1",
        "carl sees bob: fence 1",
        "ann types fence 2",
        "bob sees ann: fence 2",
        "carl sees ann: fence 2",
    ]


TOLD = '  types: "fence {n}"\n  others_see: "{name}: fence {n}"\n'


def test_a_fence_where_nothing_is_passed_on(tmp_path: Path) -> None:
    """Each actor asks by itself; actors that acted without a visible effect ask first."""
    asking = write_suite(tmp_path, SUITE.replace(TOLD, "").replace("fence?", '[fence, "?"]'))
    acts = "- carl: comes\n- bob: {types: hello}\n- ann: {types: hello}\n- carl: sees_nothing"
    steps = [shown(step) for step in scenario(asking, COMES + acts, ROOM).steps]
    at = steps.index("ann types hello") + 1
    assert steps[at : at + 8] == [
        "bob types fence | ?",
        "bob sees fence!",
        "ann types fence | ?",
        "ann sees fence!",
        "bob types fence | ?",  # ann's act may have reached bob after his first answer
        "bob sees fence!",
        "carl types fence | ?",
        "carl sees fence!",
    ]


def test_such_a_fence_begins_with_who_acted_last(tmp_path: Path) -> None:
    asking = write_suite(tmp_path, SUITE.replace(TOLD, ""))
    acts = "- bob: {types: hello}\n- bob: {sees: hello}\n- ann: sees_nothing"
    steps = [shown(step) for step in scenario(asking, COMES + acts, ROOM_OF_TWO).steps]
    at = steps.index("bob sees hello") + 1
    assert steps[at : at + 4 : 2] == ["bob types fence?", "ann types fence?"]


def test_each_fence_has_a_number_of_its_own(suite: SuiteFile) -> None:
    one = scenario(suite, COMES + "- ann: sees_nothing\n- ann: sees_nothing\n", ROOM_OF_TWO)
    said = [shown(step) for step in one.steps if "types fence" in shown(step)]
    assert [words.rpartition(" ")[2] for words in said] == ["1", "2", "3", "4", "5", "6"]


def test_a_fence_can_prove_a_rule_of_its_own(suite: SuiteFile) -> None:
    one = scenario(suite, COMES + "- ann: {sees_nothing: , proves: LOUD-1}\n", ROOM_OF_TWO)
    proving = [shown(step) for step in one.steps if step.proves == "LOUD-1"]
    assert proving == FENCES


def test_everyone_is_who_has_started_and_not_ended(suite: SuiteFile) -> None:
    one = scenario(
        suite,
        """
        - server: starts
        - ann, bob: starts
        - everyone: {types: first}
        - ann: resets
        - carl: starts
        - everyone: {types: second}
        """,
        ROOM,
    )
    assert [step for step in spelled_out(one) if "types" in step] == [
        "ann types first",
        "bob types first",
        "bob types second",
        "carl types second",
    ]


def test_everyone_in_and_outside_the_group(suite: SuiteFile) -> None:
    one = scenario(
        suite,
        COMES
        + """
        - carl: starts
        - everyone in hall: {types: in}
        - everyone outside hall: {types: out}
        - everyone in hall but ann: {types: but}
        - carl: {sees: "out"}
        """.replace("        ", ""),
        ROOM,
    )
    assert spelled_out(one)[8:12] == [
        "ann types in",
        "bob types in",
        "carl types out",
        "bob types but",
    ]


def test_entering_and_leaving_by_hand(suite: SuiteFile) -> None:
    one = scenario(
        suite,
        """
        - server: starts
        - ann, bob: starts
        - ann: {enters: hall, as: Anna}
        - bob: {greets: bob}
        - ann: {leaves: hall}
        - bob: sees_nothing
        """,
        ROOM_OF_TWO,
    )
    assert spelled_out(one)[2:7] == [
        "bob types I am bob",
        "bob sees hello bob, one of 2",
        "ann sees bob is here",
        "bob types fence?",
        "bob sees fence!",
    ]


def test_several_actors_each_in_turn(suite: SuiteFile) -> None:
    one = scenario(suite, "- server: starts\n- ann, bob: comes", ROOM_OF_TWO)
    assert spelled_out(one)[: len(CAME)] == CAME


def test_the_options_of_a_shorthand_go_to_the_steps_that_take_them(suite: SuiteFile) -> None:
    one = scenario(
        suite,
        "- server: starts\n- ann: {comes: ann, within: 2, receive_buffer: 4096, proves: LOUD-1}",
    )
    start, types, sees = (step for step in one.steps if step.own_rule == "LOUD-1")
    assert start.options == {"within": 2, "receive_buffer": 4096}
    assert types.options == sees.options == {"within": 2}


def test_examples_fill_the_steps_and_the_title(suite: SuiteFile) -> None:
    ones = read_scenarios(
        suite,
        """
        - id: says
          title: "It says {word}"
          proves: [ECHO-1]
          cast: {ann: wire}
          examples:
            - {id: much, word: "a {{word} too many"}
            - {id: nothing, word: ""}
          steps:
            - server: starts
            - ann: starts
            - ann: {types: "<{word}>"}
        """,
    )
    assert [one.key for one in ones] == ["file/says:much", "file/says:nothing"]
    assert [one.id for one in ones] == ["says:much", "says:nothing"]
    assert [one.title for one in ones] == ["It says a {word} too many", "It says "]
    said = [next(step for step in one.steps if step.verb == "types") for one in ones]
    texts = [[pattern.text for pattern in patterns(step)[0].each()] for step in said]
    assert texts == [["<a {word} too many>"], ["<>"]]


def test_placeholders_that_are_filled_when_the_case_is_played(suite: SuiteFile) -> None:
    sees = '- ann: {sees: {line: "{n} at {port}, {{port}", times: 2}}'
    one = scenario(suite, f"- server: starts\n- ann: starts\n{sees}")
    (pattern,) = patterns(one.steps[2])
    lines = [single.text for single in pattern.filled({"port": "80"}).each()]
    assert lines == ["1 at 80, {port}", "2 at 80, {port}"]


@pytest.mark.parametrize(
    ("cast", "clients", "kind"),
    [
        ("{ann: wire}", "", Kind.SERVER),
        ("{}", "", Kind.SERVER),
        ("{ann: client}", "", Kind.PAIRING),
        ("{ann: client on pipes}", "", Kind.PAIRING),
        ("{ann: client}", "clients: mixed", Kind.MIXED),
    ],
)
def test_the_cast_decides_how_cases_multiply(
    suite: SuiteFile, cast: str, clients: str, kind: Kind
) -> None:
    step = "- ann: starts" if "ann" in cast else ""
    (one,) = read_scenarios(
        suite,
        f"""
        - id: it
          title: It
          proves: [ECHO-1]
          cast: {cast}
          {clients}
          steps:
            - server: starts
            {step}
        """,
    )
    assert one.kind is kind


def test_the_server_is_in_every_cast(suite: SuiteFile) -> None:
    assert scenario(suite, "- server: starts", "{}").cast == {
        "server": CastMember(ActorKind.SERVER)
    }


def test_the_step_as_written_is_kept_for_people(suite: SuiteFile) -> None:
    one = scenario(suite, f"- server: starts\n- ann: starts\n- ann: {{types: [a, {'b' * 90}]}}")
    assert [step.source for step in one.steps[1:3]] == [
        "ann: starts",
        'ann: {types: ["a", "' + "b" * 70 + "…}",
    ]


# --- Names, examples, witnesses ------------------------------------------------------------------


def test_the_names_of_those_in_a_group_stand_in_shorthands(tmp_path: Path) -> None:
    text = SUITE.replace(
        "verbs:\n",
        """\
verbs:
  looks:
    steps:
      - "{actor}": {sees: "{hall_names} ({hall}), not {hall_others}"}
""",
    )
    steps = COMES + "- bob: looks\n"
    one = scenario(write_suite(tmp_path / "names", text), steps, ROOM_OF_TWO)
    assert "bob sees ann, bob (2), not ann" in spelled_out(one)


def test_one_example_needs_more_than_the_others(suite: SuiteFile) -> None:
    text = """
    - id: it
      title: It
      proves: [ECHO-1]
      cast: {}
      steps: [server: starts]
      examples:
        - {id: plain}
        - {id: loud, needs: {server: [loud]}, machine: [ipv6]}
        - {id: quiet, without: {server: [loud]}}
    """
    plain, loud, quiet = read_scenarios(suite, text)
    assert (plain.needs, plain.without, plain.machine) == ({}, {}, frozenset())
    assert (loud.needs, loud.machine) == ({Role.SERVER: frozenset({"loud"})}, frozenset({"ipv6"}))
    assert (quiet.key, quiet.without) == ("file/it:quiet", {Role.SERVER: frozenset({"loud"})})


def test_a_witness_comes_where_one_is_alone(tmp_path: Path) -> None:
    text = SUITE.replace(
        "  alone_types: fence?\n  alone_sees: fence!\n",
        "  witness: {comes: comes, goes: parts}\n",
    ).replace(
        "fence:\n",
        """\
  parts:
    steps:
      - "{actor}": closes
      - "{actor}": {leaves: hall}
fence:
""",
    )
    suite = write_suite(tmp_path / "witness", text)
    steps = (
        "- server: starts\n- ann: comes\n- ann: {types: hm}\n- ann: sees_nothing\n- ann: closes\n"
    )
    one = scenario(suite, steps + "- ann: {leaves: hall}")
    came = [shown(step) for step in one.steps][5:-3]
    assert came == [
        "witness starts",
        "witness types I am witness",
        "witness sees hello witness, one of 2",
        "ann sees witness is here",
        "witness types fence 1",
        "ann sees witness: fence 1",
        "ann types fence 2",
        "witness sees ann: fence 2",
        "witness closes",
    ]
    assert one.cast["witness"].kind is ActorKind.WIRE
    assert {step.origin for step in one.steps if step.actor == "witness"} == {Origin.FENCE}
