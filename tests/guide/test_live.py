"""`conformance play`: a case at human speed, on a terminal and as a picture."""

from __future__ import annotations

import os
import re
import sys
import xml.etree.ElementTree as xml
from pathlib import Path

import checkout
import pexpect
import pytest
from small_suite import PATIENT, SERVER, SHOUTING_SERVER, add_server

from conformance.cli import main

NAME = "lines/comes-back"
ACTS = 5  # acts before the ending
SVG = "{http://www.w3.org/2000/svg}"


def play(suite: Path, *words: str) -> int:
    return main(["play", NAME, "--suite", str(suite), *words])


def texts(element: xml.Element) -> str:
    """All visible text in a part of a picture."""
    return "".join(element.itertext()).replace("\N{NO-BREAK SPACE}", " ")


def test_on_no_terminal_it_is_a_dialogue(suite: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert play(suite) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("server · starts\nann    · connects\n       → hello\n       ← hello\n")
    assert re.search(r"^PASSED echo/lines.yaml::comes-back\[right\], in [0-9.]+ s$", shown, re.M)


def test_a_failure_is_told(suite: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add_server(suite / "servers", "right", SHOUTING_SERVER)
    assert play(suite) == 1
    assert "FAILED echo/lines.yaml::comes-back[right]\n  ECHO-1 (MUST)" in capsys.readouterr().out


@pytest.mark.parametrize("words", [["play"], ["explain", "--play"]])
def test_what_goes_wrong_after_all_steps_is_told(
    words: list[str], suite: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The server passes the case, but does not end as the suite's ending says."""
    head = "import os, signal, socket\nsignal.signal(signal.SIGTERM, lambda *_: os._exit(3))"
    add_server(suite / "servers", "right", SERVER.replace("import socket", head, 1))
    assert main([*words, NAME, "--suite", str(suite)]) == 1
    shown = capsys.readouterr().out
    assert "server right does not end as it should (ECHO-1), in 1 case\n" in shown
    assert "  expected killed by SIGTERM\n" in shown


def test_step_needs_a_terminal(suite: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert play(suite, "--step") == 2
    assert "--step: it needs a terminal" in capsys.readouterr().err


def test_an_unknown_scenario(suite: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["play", "lines/come-back", "--suite", str(suite)]) == 2
    told = "lines/come-back: no such scenario; did you mean `lines/comes-back`?\n"
    assert capsys.readouterr().err == told


# --- As a picture ---


def test_a_picture_moves_from_act_to_act(suite: Path) -> None:
    assert play(suite, "--record", "it.svg", "--pace", "2") == 0
    frames = xml.parse("it.svg").getroot().findall(f"{SVG}g/{SVG}g")
    moves = [frame.find(f"{SVG}animate") for frame in frames]
    assert [frame.get("display") for frame in frames] == ["none"] * ACTS + ["inline"]
    for number, move in enumerate(moves):
        assert move is not None
        assert move.get("dur") == f"{2 * (ACTS + 4)}s"
        assert float(str(move.get("keyTimes")).split(";")[1]) == pytest.approx(
            number / (ACTS + 4), abs=1e-4
        )
    said = texts(frames[2])
    assert '▶    8     - ann: {types: "hello"}' in said
    assert "→ hello" in said
    assert "← hello" not in said
    assert "← hello" in texts(frames[3])
    assert "now the suite's ending" in texts(frames[-1])


def test_a_picture_shows_what_failed(suite: Path) -> None:
    add_server(suite / "servers", "right", SHOUTING_SERVER)
    assert play(suite, "--record", "it.svg") == 1
    last = xml.parse("it.svg").getroot().findall(f"{SVG}g/{SVG}g")[-1]
    assert "expected hello, seen HELLO" in texts(last)
    assert '▶    9     - ann: {sees: "hello"}' in texts(last)


def test_no_text_breaks_a_picture(suite: Path) -> None:
    (scenarios := suite / "lines.yaml").write_text(
        scenarios.read_text().replace('"hello"', '"</text> & [red]\\e[2J \\u202e \\U0001F600"')
    )
    assert play(suite, "--record", "it.svg") == 0
    said = texts(xml.parse("it.svg").getroot())
    assert "→ </text> & [red]\\x1b[2J \\u202e" in said
    assert "\x1b" not in Path("it.svg").read_text()


def test_a_picture_is_an_svg(suite: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert play(suite, "--record", "it.png") == 2
    assert capsys.readouterr().err == "it.png: the picture is an SVG; name it it.svg\n"


def test_the_picture_in_the_readme_is_of_the_scenario_as_it_is() -> None:
    last = (
        xml.parse(checkout.ROOT / "docs/pictures/play.svg").getroot().findall(f"{SVG}g/{SVG}g")[-1]
    )
    shown = texts(last)
    chat = (checkout.ROOT / "scenarios/chat.yaml").read_text("utf-8")
    steps = chat.partition("- id: everyone-but-the-sender\n")[2].partition("\n\n")[0]
    for line in steps.partition("  steps:\n")[2].splitlines():
        assert line in shown


# --- On a terminal ---


@pytest.fixture
def person(suite: Path) -> pexpect.spawn[str]:
    """A person who plays it on a terminal, and continues by keys."""
    words = ["-m", "conformance", "play", NAME, "--suite", str(suite), "--step"]
    environment = os.environ | {"TERM": "xterm-256color"}
    return pexpect.spawn(
        sys.executable,
        words,
        timeout=PATIENT,
        dimensions=(30, 100),
        encoding="utf-8",
        env=environment,
    )


def marked(line: int) -> str:
    return f"▶ {line:4}"


def test_each_key_shows_the_next_act(person: pexpect.spawn[str]) -> None:
    person.expect_exact(marked(6))
    for line in (7, 8, 9, 10):
        person.send("x")
        person.expect_exact(marked(line))
    person.send("x")
    person.expect_exact("now the suite's ending")
    person.send("x")
    person.expect_exact("PASSED echo/lines.yaml::comes-back[right]")
    person.expect(pexpect.EOF)
    assert person.wait() == 0


def test_q_ends_it_and_the_terminal_is_as_before(person: pexpect.spawn[str]) -> None:
    person.expect_exact(marked(6))
    assert not person.getecho()
    person.send("q")
    person.expect_exact("PASSED")
    assert person.getecho()
    person.expect(pexpect.EOF)
    assert person.wait() == 0


def test_ctrl_c_ends_it(person: pexpect.spawn[str]) -> None:
    person.expect_exact(marked(6))
    person.sendintr()
    person.expect(pexpect.EOF)
    assert person.wait() == 130
