"""`conformance explain`: the text about a rule or a scenario."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from small_suite import PROTOCOL, SERVER, SHOUTING_SERVER, add_server, write_suite

from conformance.cli import main
from conformance.guide.dialogue import MOST_LINES, WIDTH, dialogue, has_origin
from conformance.mistakes import Place
from conformance.model import Origin, Step
from conformance.play.case import transcript
from conformance.play.case.transcript import Row

DIALOGUE = """\
  server · starts
  ann    · connects
         → hello
         ← hello
         · closes
"""


def explain(suite: Path, name: str, *words: str) -> int:
    return main(["explain", name, "--suite", str(suite), *words])


@pytest.mark.parametrize("name", ["ECHO-1", "echo-1"])
def test_a_rule(name: str, suite: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert explain(suite, name) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(
        "ECHO-1 (MUST) Each line comes back as it was sent.\n"
        "\n"
        "proven by:\n"
        "  echo/lines.yaml:1   lines/comes-back: A line comes back\n"
        "  echo/lines.yaml:11  lines/starts: The server starts\n"
    )
    assert "\nlines/starts[right], played now:\n\n  server · starts\n" in shown  # the shortest


@pytest.mark.parametrize(
    "name",
    ["lines/comes-back", "echo/lines.yaml::comes-back", "echo/lines.yaml::comes-back[right]"],
)
def test_a_scenario(name: str, suite: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert explain(suite, name) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("lines/comes-back: A line comes back\necho/lines.yaml:1, with ")
    assert "\nECHO-1 (MUST) Each line comes back as it was sent.\n" in shown
    assert DIALOGUE in shown


def test_what_was_said_in_the_last_run(suite: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add_server(suite / "servers", "shouting", SHOUTING_SERVER)
    assert main(["run", str(suite), "--output", "out"]) == 1
    (suite / "servers" / "right" / "server.py").unlink()  # so nothing can be played
    capsys.readouterr()
    assert explain(suite, "lines/comes-back", "--output", "out") == 0
    shown = capsys.readouterr().out
    title, dialogue_and_end = shown.split("\n\n", 2)[2].split("\n\n", 1)
    assert re.fullmatch(r"lines/comes-back\[right\], as it passed (\d+ \w+ ago|just now):", title)
    assert dialogue_and_end.startswith(DIALOGUE)
    where = "from the last run, in out, with server right; --play plays it now\n"
    assert dialogue_and_end.endswith(where)


def test_of_a_rule_the_last_run_shows_a_case_that_passed(
    suite: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add_server(suite / "servers", "shouting", SHOUTING_SERVER)
    main(["run", f"{suite}/lines.yaml::comes-back", "--output", "out"])
    capsys.readouterr()
    assert explain(suite, "ECHO-1", "--output", "out") == 0
    assert "\nlines/comes-back[right], as it passed " in capsys.readouterr().out
    # none of the selected programs has passed, so a case is played
    assert explain(suite, "ECHO-1", "--output", "out", "--server", "shouting") == 0
    assert "\nlines/starts[shouting], played now:\n" in capsys.readouterr().out


def test_what_is_played_now_although_there_was_a_run(
    suite: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["run", str(suite), "--output", "out"])
    assert explain(suite, "ECHO-1", "--output", "out", "--play") == 0
    assert "\nlines/starts[right], played now:\n" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["", "{}", '{"schema": 1}'])
def test_results_that_cannot_be_read_are_none(
    text: str, suite: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("out").mkdir()
    Path("out/results.json").write_text(text)
    assert explain(suite, "ECHO-1", "--output", "out") == 0
    assert "played now:" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("started", "age"),
    [
        ("2000-01-01T00:00:00+00:00", r"\d+ days ago"),
        ("2999-01-01T00:00:00+00:00", "just now"),
        ("yesterday", "at an unknown time"),
    ],
)
def test_how_old_a_run_is(
    started: str, age: str, suite: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["run", str(suite), "--output", "out"])
    file = Path("out/results.json")
    file.write_text(json.dumps(json.loads(file.read_text("utf-8")) | {"started": started}))
    explain(suite, "ECHO-1", "--output", "out")
    assert re.search(f", as it passed {age}:", capsys.readouterr().out)


def test_the_programs_are_chosen(suite: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add_server(suite / "servers", "shouting", SHOUTING_SERVER)
    assert explain(suite, "lines/comes-back", "--server", "shouting") == 1
    shown = capsys.readouterr().out
    assert "FAILED echo/lines.yaml::comes-back[shouting]" in shown
    assert "expected hello\n  seen     HELLO\n" in shown


def test_a_rule_that_nothing_proves(suite: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (suite / "PROTOCOL.md").write_text(f"{PROTOCOL}- ECHO-2 (MAY) Nothing at all.\n")
    assert explain(suite, "ECHO-2") == 0
    assert capsys.readouterr().out == "ECHO-2 (MAY) Nothing at all.\n\nno scenario proves it\n"


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("ECO-1", "ECO-1: no such scenario or rule; did you mean `ECHO-1`?"),
        (
            "lines/come-back",
            "lines/come-back: no such scenario or rule; did you mean `lines/comes-",
        ),
        (
            "echo/lines.yaml::starts[wrong]",
            "echo/lines.yaml::starts[wrong]: no such case; did you mean `echo/lines.yaml::starts[",
        ),
    ],
)
def test_an_unknown_name(
    name: str, problem: str, suite: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert explain(suite, name) == 2
    assert capsys.readouterr().err.startswith(problem)


def test_what_cannot_be_played_here(suite: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add_server(suite / "servers", "right", "", "needs: [cobc-of-1959]\n")
    assert explain(suite, "ECHO-1") == 2
    told = capsys.readouterr()
    assert told.out.startswith("ECHO-1 (MUST)")
    assert "cannot be played here: cobc-of-1959 is not on PATH" in told.err


def test_what_does_not_build(suite: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add_server(suite / "servers", "right", "", "build: '{python} -c \"1 +\"'\n")
    assert explain(suite, "ECHO-1") == 2
    assert "cannot be played here: the build ended with status 1" in capsys.readouterr().err


# --- The dialogue ---

STEP = Step(Place("file", 1), "x", "sees")
FENCE = Step(Place("file", 1), "x", "sees", origin=Origin.FENCE)


def row(actor: str, mark: str, text: str, step: Step = STEP) -> Row:
    return Row(actor, mark, text, step, 0.0)


def test_who_sees_the_same_stands_in_one_line() -> None:
    rows = [row("tom", ">", "hi"), row("ann", "<", "tom: hi"), row("eve", "<", "tom: hi")]
    assert dialogue(rows) == ["tom      → hi", "ann, eve ← tom: hi"]


def test_what_is_seen_twice_stands_there_twice() -> None:
    assert dialogue([row("ann", "<", "hi"), row("ann", "<", "hi")]) == ["ann ← hi", "    ← hi"]


def test_acts_of_different_steps_stand_apart() -> None:
    other = Step(Place("file", 2), "x", "exits")
    rows = [row("ann", "*", "exits 0"), row("tom", "*", "exits 0", other)]
    assert dialogue(rows) == ["ann · exits 0", "tom · exits 0"]


def test_fences_are_left_out() -> None:
    rows = [row("ann", ">", "hi"), row("ann", ">", "1", FENCE), row("tom", "<", "1", FENCE)]
    assert dialogue(rows) == [
        "ann → hi",
        "(nothing else has come: 1 line more, left out here, prove it)",
    ]


def test_a_long_dialogue_has_its_beginning_and_its_end() -> None:
    lines = dialogue([row("ann", "<", f"{n} {'x' * WIDTH}") for n in range(1000)])
    assert len(lines) == MOST_LINES + 1
    assert lines[0].startswith("ann ← 0 x")
    assert lines[MOST_LINES // 2] == f"… {1000 - MOST_LINES} more lines …"
    assert lines[-1].startswith("    ← 999 x")
    assert max(map(len, lines)) == WIDTH


def test_a_pattern_names_implementations_here_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    suite = write_suite(tmp_path)
    add_server(tmp_path / "others", "mine", SERVER)
    monkeypatch.chdir(tmp_path)
    words = ["--suite", str(suite), "--implementation", "others/*", "--server", "mine"]
    assert main(["explain", "lines/starts", *words]) == 0


@pytest.mark.parametrize("step", [STEP, FENCE, None])
def test_a_row_with_its_time_is_read_back(step: Step | None) -> None:
    one = Row("ann", ">", "a  b (ending) ", step, 0.25)
    read = transcript.row(one.timed)
    assert read
    assert (read.actor, read.mark, read.text, read.seconds) == ("ann", ">", one.text, 0.25)
    assert (read.step is None) == (step is None)
    assert has_origin(read, Origin.FENCE) == (step is FENCE)
