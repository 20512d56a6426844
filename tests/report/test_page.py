"""The page without a browser: its content, and that no text breaks it."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from test_report import HARMFUL, HOSTILE, RULES, SMALL, failed, hostile, result, run

from conformance.model import Failure, FailureKind, Outcome, Result, Verdict, Written
from conformance.report.findings.standing import Standing, standings
from conformance.report.folder.attached import Fate, Mutant, Mutants, Table
from conformance.report.folder.transcripts import (
    Transcripts,
    output_name,
    timed_name,
    transcript_name,
)
from conformance.report.page.data import first_data, said_data
from conformance.report.page.draw import index_html, unpacked
from conformance.report.run import Run, Script

__all__ = ["hostile"]  # a fixture


def tags(page: str) -> list[str]:
    """Every element that a browser would see."""
    found: list[str] = []

    class Parser(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            found.append(tag)

    Parser().feed(page)
    return found


def texts(data: Any) -> list[str]:
    """All texts in plain data."""
    if isinstance(data, str):
        return [data]
    items = [*data.keys(), *data.values()] if isinstance(data, dict) else data
    return [text for item in items for text in texts(item)] if isinstance(items, list) else []


def test_the_page_needs_no_network(tmp_path: Path) -> None:
    page = index_html(run(*SMALL), tmp_path)
    assert "default-src 'none'" in page
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)|url\((?!#)|@import|src=", page)
    assert not {"link", "img", "iframe"} & set(tags(page))


def test_the_page_is_one_script_of_all_modules() -> None:
    page = index_html(run(*SMALL))
    modules = Path(__file__).parents[2] / "conformance/report/page/script"
    (script,) = re.findall(r'<script type="module">(.*?)</script>', page, re.DOTALL)
    assert sorted(re.findall(r"^modules\['(.*)'\] = ", script, re.MULTILINE)) == sorted(
        path.name for path in modules.iterdir()
    )
    assert not re.search(r"^(import|export)\b", script, re.MULTILINE)
    assert not re.search(r"\.(inner|outer)HTML|insertAdjacent|document\.write|\beval\b", script)


def test_no_text_breaks_the_page(hostile: Run, tmp_path: Path) -> None:
    id = hostile.results[0].id
    (tmp_path / transcript_name(id)).write_text(HOSTILE, "utf-8", "surrogateescape")
    said = f"--- bob: its output ---\n{HOSTILE}"
    (tmp_path / output_name(id)).write_text(said, "utf-8", "surrogateescape")
    hostile = replace(
        hostile,
        scenarios={"chat/one": Script(HOSTILE, HOSTILE, 1, {HOSTILE: HOSTILE})},
        sources={HOSTILE: HOSTILE},
        mutants=Mutants(
            HOSTILE, [Mutant(HOSTILE, HOSTILE, "", 1, "", HOSTILE, HOSTILE, HOSTILE, Fate.KILLED)]
        ),
        tables=[Table(HOSTILE, HOSTILE, [HOSTILE], [[HOSTILE]], [HOSTILE])],
    )
    page = index_html(hostile, tmp_path)
    assert not HARMFUL.search(page.replace("\n", ""))
    assert tags(page).count("script") == 3
    found = re.findall(r'<script type="text/plain" id="\w+">(.*?)</script>', page)
    inside = [text for part in found for text in texts(unpacked(part))]
    assert not [text for text in inside if HARMFUL.search(text)]
    assert any(text.startswith("x\\x1b[31m\\x00") for text in inside)


def test_the_page_holds_each_transcript_once(tmp_path: Path) -> None:
    for place, one in enumerate(SMALL[:5]):
        text = "carol > other" if one.verdict is Verdict.FAILED else "alice > hello"
        (tmp_path / transcript_name(one.id)).write_text(f"{text}\n")
        timed = f"     {place}.5 ms  line 7 (fence)  {text}\n"
        (tmp_path / timed_name(one.id)).write_text(timed)
    data = said_data(run(*SMALL), tmp_path)
    assert data["transcripts"] == [[[7, "fence", "alice > hello"]], [[7, "fence", "carol > other"]]]
    assert [one.get("transcript") for one in data["said"]][:6] == [0, 1, 1, 0, 0, None]
    assert [one.get("times") for one in data["said"]][:6] == [[5], [15], [25], [35], [45], None]


def test_a_transcript_without_times_is_shown_too(tmp_path: Path) -> None:
    (tmp_path / transcript_name(SMALL[0].id)).write_text("alice > hello\nbob < hello\n")
    data = said_data(run(SMALL[0]), tmp_path)
    assert data["transcripts"] == [[[0, "", "alice > hello"], [0, "", "bob < hello"]]]
    assert "times" not in data["said"][0]


def test_of_long_texts_the_page_holds_the_beginning(tmp_path: Path) -> None:
    id = SMALL[0].id
    text = "alice > hello\n" * 10_000
    (tmp_path / transcript_name(id)).write_text(text)
    heads = [f"--- {name}: its output ---\n" for name in ("ann", "bob")]
    (tmp_path / output_name(id)).write_text(f"{heads[0]}{text}\n{heads[1]}one\n")
    data = said_data(run(SMALL[0]), tmp_path)
    ((*_, (_, _, last)),) = data["transcripts"]
    assert last == f"… 110,000 more characters in {transcript_name(id)}"
    long, short = data["said"][0]["output"]["streams"]
    assert long["lines"][-1] == f"… 110,000 more characters in {output_name(id)}"
    assert short == {"actor": "bob", "what": "its output", "lines": ["one"]}
    assert len(data["transcripts"][0]) < 2000


@pytest.mark.parametrize("line", ["--- alice: its output ---", "\\--- alice: its output ---"])
def test_no_program_can_write_what_looks_like_another_stream(line: str, tmp_path: Path) -> None:
    streams = (
        Written("bob", "its output", f"{line}\nforged"),
        Written("carol", "its output", line),
    )
    Transcripts(tmp_path).keep(SMALL[0].id, Outcome(0.0, output=streams))
    (said, *_) = said_data(run(SMALL[0]), tmp_path)["said"]
    shown = [(one["actor"], one["what"], one["lines"]) for one in said["output"]["streams"]]
    assert shown == [(one.actor, one.stream, one.text.split("\n")) for one in streams]


def test_a_text_without_streams_does_not_break_the_page(tmp_path: Path) -> None:
    (tmp_path / output_name(SMALL[0].id)).write_text("Traceback\n")
    assert said_data(run(SMALL[0]), tmp_path)["said"][0]["output"]["streams"] == []


def test_the_page_says_what_to_mend_first() -> None:
    data = first_data(run(*SMALL, failed("two", "go", "python")))
    (one,) = data["mend"]
    assert one["text"].startswith("CHAT-1 `alice: hello`: 2 of ")
    assert one["rule"] == "CHAT-1"
    assert one["case"] in {case["id"] for case in data["cases"]}


def test_a_cell_of_the_page_leads_to_its_cases() -> None:
    data = first_data(run(*SMALL))
    names = [one["name"] for one in data["grid"]["columns"]]
    cells = {
        (row["name"], name): cell
        for row in data["grid"]["rows"]
        for name, cell in zip(names, row["cells"], strict=True)
        if cell
    }
    assert cells["go", "py"] == {"text": "✗ 0/1", "mark": "✗"}
    assert {(case["row"], case["column"]) for case in data["cases"]} == set(cells)


# What a run shows for each rule and implementation


def shown(*results: Result, **known: dict[str, str]) -> dict[str, dict[str, Standing]]:
    """The results by rule, with these known failures of implementations (`client_c`)."""
    some = [
        {"role": label.partition("_")[0], "name": label.partition("_")[2], "known_failures": keys}
        for label, keys in known.items()
    ]
    return standings(replace(run(*results), implementations=some))


def of_chat_1(*results: Result, **known: dict[str, str]) -> dict[str, Standing]:
    return {label: mine["CHAT-1"] for label, mine in shown(*results, **known).items()}


def test_a_program_that_passes_keeps_the_rule() -> None:
    assert of_chat_1(result("a", "go", "c")) == {
        "server-go": Standing.KEPT,
        "client-c": Standing.KEPT,
    }


def test_both_are_suspected_where_nothing_tells_them_apart() -> None:
    assert set(of_chat_1(failed("a", "go", "c")).values()) == {Standing.SUSPECTED}


def test_the_program_that_other_pairings_accuse_breaks_the_rule_alone() -> None:
    cases = [failed("a", "go", "c"), failed("a", "go", "py")]
    cases += [result("a", "py", "c"), result("a", "py", "py")]
    assert of_chat_1(*cases) == {
        "server-go": Standing.BROKEN,
        "server-py": Standing.KEPT,
        "client-c": Standing.KEPT,
        "client-py": Standing.KEPT,
    }


def test_of_mixed_clients_those_that_pass_elsewhere_are_acquitted() -> None:
    cases = [failed("room", "go", "c", "py"), failed("a", "go", "c"), result("a", "go", "py")]
    assert of_chat_1(*cases) == {
        "server-go": Standing.KEPT,
        "client-c": Standing.BROKEN,
        "client-py": Standing.KEPT,
    }


def test_nothing_is_said_of_those_who_did_not_break_the_rule_at_which_a_room_stops() -> None:
    failure = Failure("FILE-1", "bob", "a.yaml:1:1  x", "a", "b")
    room = replace(failed("room", "go", "c", "py"), failure=failure)
    standing = shown(room, failed("a", "go", "c"), result("a", "go", "py"))
    assert standing["client-c"]["FILE-1"] is Standing.BROKEN
    assert not any("FILE-1" in standing[label] for label in ("server-go", "client-py"))


def test_what_the_headline_says_is_not_said_again() -> None:
    data = first_data(run(failed("a", "go"), result("b", "go"), planned=3))
    assert data["totals"] == "1 PASSED · 1 FAILED"
    assert data["notes"] == ["1 of 3 planned cases has no result"]


def test_one_that_others_are_judged_with_is_not_judged() -> None:
    some: list[dict[str, Any]] = [{"role": "client", "name": "c"}]
    some += [{"role": "server", "name": "mine", "given": True}]
    own = replace(run(result("a", "mine", "c")), implementations=some, against="c")
    assert list(standings(own)) == ["server-mine"]


def test_a_program_that_is_judged_alone_is_at_fault() -> None:
    assert of_chat_1(failed("a", "go")) == {"server-go": Standing.BROKEN}


def test_a_case_that_stops_elsewhere_says_nothing_of_its_own_rule() -> None:
    failure = Failure("FILE-1", "bob", "a.yaml:1:1  x", "a", "b")
    one = result("a", "go", verdict=Verdict.FAILED, expected=False, failure=failure)
    assert shown(one) == {"server-go": {"FILE-1": Standing.BROKEN, "CHAT-1": Standing.OPEN}}
    assert of_chat_1(one, result("b", "go")) == {"server-go": Standing.KEPT}


def test_what_does_not_start_is_named() -> None:
    failure = Failure("CHAT-1", "bob", "x", "a", "b", kind=FailureKind.START, program="client-c")
    one = result("a", "go", "c", verdict=Verdict.FAILED, expected=False, failure=failure)
    assert of_chat_1(one) == {"server-go": Standing.OPEN, "client-c": Standing.BROKEN}


def test_a_known_failure_is_that_of_the_program_which_lists_it() -> None:
    one = replace(failed("a", "go", "c"), expected=True, known="chat/a")
    assert of_chat_1(one, client_c={"chat/a": "ticket"}, server_go={}) == {
        "server-go": Standing.OPEN,
        "client-c": Standing.KNOWN,
    }


def test_advice_that_is_not_kept_is_no_fault() -> None:
    one = replace(failed("a", "go"), verdict=Verdict.WARNED, expected=True)
    assert of_chat_1(one) == {"server-go": Standing.ADVICE}


@pytest.mark.parametrize("verdict", [Verdict.UNSUPPORTED, Verdict.UNAVAILABLE])
def test_what_was_not_played_shows_nothing(verdict: Verdict) -> None:
    assert shown(result("a", "go", verdict=verdict)) == {"server-go": {}}


def test_all_rules_are_in_the_page() -> None:
    assert list(first_data(run(*SMALL))["rules"]) == list(RULES)
