"""results.json, written and read, and when a run is red."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from conformance.mistakes import Mistake, Place
from conformance.model import Failure, FailureKind, Kind, Requirement, Result, Role, Verdict
from conformance.report.folder.attached import Fate, Mutant, Mutants, Table
from conformance.report.folder.results import (
    RESULTS_FILE,
    read,
    result_from_json,
    result_to_json,
    write,
)
from conformance.report.folder.transcripts import output_name, timed_name, transcript_name
from conformance.report.run import Described, Run, Script, red

FAILURE = Failure(
    requirement="CHAT-1",
    actor="bob",
    step="scenarios/chat.yaml:14:9  bob: sees",
    expected="alice: hello",
    seen="alice: hallo",
    reason="the next line differs",
    timeline=("alice > hello", "bob < alice: hallo"),
    stderr=("warning",),
)

LEFT_OVER = replace(FAILURE, kind=FailureKind.LEFT_OVER, program="server-c", requirement="")


def result(
    name: str, verdict: Verdict = Verdict.PASSED, expected: bool = True, seen: str = ""
) -> Result:
    return Result(
        id=f"scenarios/chat.yaml::{name}[go+c]",
        scenario=f"chat/{name}",
        kind=Kind.PAIRING,
        pairing="go+c",
        server="go",
        clients=("c",),
        requirements=("CHAT-1",),
        verdict=verdict,
        expected=expected,
        seconds=0.25,
        failure=replace(FAILURE, seen=seen) if verdict is Verdict.FAILED else None,
    )


def run(*results: Result, planned: int | None = None) -> Run:
    return Run(
        started="2026-01-02T03:04:05+00:00",
        seconds=1.5,
        planned=len(results) if planned is None else planned,
        suite="chat",
        version="0.1.0",
        toolchains={"go": "go1.22"},
        implementations=[asdict(Described("go", Role.SERVER))],
        results=list(results),
        requirements={
            "CHAT-1": Requirement("CHAT-1", "MUST", "A line goes to all.", None, Place("P.md", 7))
        },
        folders=["../mine"],
        scenarios={"chat/one": Script("One", "chat.yaml", 3, {"ann": "client"})},
        sources={"chat.yaml": "- id: one\n"},
        mutants=Mutants("now", [Mutant("1", "c", "f.c", 2, "", "", "a", "b", Fate.SURVIVED)]),
        tables=[Table("t", "now", ["n"], [[1], [None]])],
    )


def test_a_run_comes_back_as_it_went(tmp_path: Path) -> None:
    odd = result("two", Verdict.FAILED, False, seen="\x00 \x1b[31m <b> \u2028")
    whole = run(result("one"), odd)
    write(whole, tmp_path)
    assert read(tmp_path) == whole
    assert read(tmp_path / RESULTS_FILE) == whole
    assert [path.name for path in tmp_path.iterdir()] == [RESULTS_FILE]


def test_the_keys_of_a_case_are_those_that_are_published(tmp_path: Path) -> None:
    write(run(result("one"), result("two", Verdict.FAILED, False)), tmp_path)
    data = json.loads((tmp_path / RESULTS_FILE).read_text())
    passed, failed = data["cases"]
    assert data["schema"] == 1
    assert set(passed) == {
        *("id", "scenario", "server", "clients", "requirements", "verdict", "expected", "seconds"),
        *("kind", "pairing"),
    }
    assert set(failed) - set(passed) == {"failure"}
    assert failed["clients"] == ["c"]
    assert failed["verdict"] == "FAILED"
    assert {"requirement", "actor", "step", "expected", "seen"} <= set(failed["failure"])


@pytest.mark.parametrize(
    ("kind", "server", "clients", "pairing"),
    [
        (Kind.PAIRING, "go", ("c",), "go+c"),
        (Kind.SERVER, "go", (), "go"),
        (Kind.CLIENT, None, ("c",), "c"),
        (Kind.MIXED, "go", ("c", "py"), "go+mixed"),
        (Kind.MIXED, "go", ("c",), "go+mixed"),
    ],
)
def test_an_older_file_had_kind_and_pairing_in_the_id_alone(
    tmp_path: Path, kind: Kind, server: str | None, clients: tuple[str, ...], pairing: str
) -> None:
    one = replace(result("one"), kind=kind, server=server, clients=clients, pairing=pairing)
    whole = run(replace(one, id=f"scenarios/chat.yaml::one[{pairing}]"))
    write(whole, tmp_path)
    data = json.loads((tmp_path / RESULTS_FILE).read_text())
    for case in data["cases"]:
        del case["kind"], case["pairing"]
    (tmp_path / RESULTS_FILE).write_text(json.dumps(data))
    assert read(tmp_path) == whole


def test_bytes_that_are_no_text_do_not_make_json_that_others_refuse(tmp_path: Path) -> None:
    write(run(result("one", Verdict.FAILED, False, seen="a\udcff\ud800")), tmp_path)
    text = (tmp_path / RESULTS_FILE).read_text()
    (case,) = read(tmp_path).results
    assert case.failure is not None
    assert case.failure.seen == "a\\xff\\ud800"
    json.loads(text)["cases"][0]["failure"]["seen"].encode()


def test_a_result_travels_alone() -> None:
    failed = result("two", Verdict.FAILED, False)
    assert result_from_json(json.loads(json.dumps(result_to_json(failed)))) == failed


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": 99}', '{"schema": 1}', "null"])
def test_what_is_not_the_results_of_a_run_is_a_mistake(tmp_path: Path, text: str) -> None:
    (tmp_path / RESULTS_FILE).write_text(text)
    with pytest.raises(Mistake, match=r"results\.json: not the results of a run"):
        read(tmp_path)


@pytest.mark.parametrize("odd", [{"clients": []}, {"server": None}, {"kind": "client"}])
def test_a_case_without_the_programs_of_its_kind_is_a_mistake(
    tmp_path: Path, odd: dict[str, object]
) -> None:
    write(run(result("one")), tmp_path)
    data = json.loads((tmp_path / RESULTS_FILE).read_text())
    data["cases"][0] |= odd
    (tmp_path / RESULTS_FILE).write_text(json.dumps(data))
    with pytest.raises(Mistake, match="has not the programs of its kind"):
        read(tmp_path)


def test_results_that_are_not_there_are_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(Mistake, match="nowhere: no such file or folder; "):
        read(tmp_path / "nowhere")


def test_a_run_as_expected_is_green() -> None:
    expected = [
        result("a"),
        result("b", Verdict.FAILED),  # a known failure
        result("c", Verdict.UNSUPPORTED),
        result("d", Verdict.UNAVAILABLE),
    ]
    assert red(run(*expected)) == []


@pytest.mark.parametrize(
    ("bad", "reasons"),
    [
        (run(), ["no case was planned"]),
        (run(result("a"), planned=3), ["2 of 3 planned cases have no result"]),
        (run(result("a"), result("a")), ["1 of 2 planned cases has no result"]),
        (
            run(result("a", Verdict.UNAVAILABLE)),
            ["no case was played: all are unsupported or unavailable"],
        ),
        (run(result("a"), result("b", Verdict.FAILED, False)), ["1 FAILED"]),
        (run(result("a", Verdict.ERRORED, False)), ["1 ERRORED"]),
        (
            run(result("a", Verdict.PASSED, False)),
            ["1 PASSED, but listed as a known failure"],
        ),
        (
            run(result("a"), result("b", Verdict.UNAVAILABLE, False)),
            ["1 UNAVAILABLE, but required"],
        ),
        (
            run(replace(result("a"), afterwards=LEFT_OVER), result("b")),
            ["server c leaves processes behind, in 1 case"],
        ),
    ],
)
def test_why_a_run_is_red(bad: Run, reasons: list[str]) -> None:
    assert red(bad) == reasons


def test_the_file_of_a_transcript_has_a_name_that_any_file_system_takes() -> None:
    name = transcript_name("scenarios/chat.yaml::to-all:empty[go+c]")
    assert name == "scenarios_chat.yaml_to-all_empty[go+c].txt"
    assert "/" not in transcript_name("../../\x00\n")
    others = {transcript_name(f"{letter}.yaml::it[go]") for letter in "éè\udce9\udce8"}
    assert len(others) == 4
    assert transcript_name("\udce9.yaml::it[go]") == transcript_name("\\xe9.yaml::it[go]")
    longest = f"{'x' * 500}/chat.yaml::{'y' * 500}[{'z' * 64}+{'z' * 64}]"
    for named in (transcript_name, timed_name, output_name):
        assert len(named(longest)) <= 255
        assert named(longest) != named("x" + longest)
