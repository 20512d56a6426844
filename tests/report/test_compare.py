"""`conformance compare`: the content of its page, for any suite, and its error messages."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest
from small_suite import SERVER, add_server, write_suite
from test_page import tags, texts
from test_report import HARMFUL, HOSTILE, RULES, SMALL, run

from conformance.cli import main
from conformance.cli.common import GREEN, MISTAKEN
from conformance.mistakes import Place
from conformance.model import Implementation, Role
from conformance.report.compare.data import Compared, compared_data, rules_in
from conformance.report.compare.draw import PAGE, compare_html
from conformance.report.folder.attached import Table
from conformance.report.page.draw import unpacked
from conformance.report.run import Run

ROOT = Path(__file__).parents[2]
NO_RUN = Run(started="", seconds=0.0, planned=0, suite="chat", version="1")


def server(name: str, language: str = "C") -> Implementation:
    place = Place("implementation.yaml", 1)
    return Implementation(
        name, Role.SERVER, language, Path(f"servers/{name}"), "./run", place=place
    )


def compared(**sources: dict[str, str]) -> Compared:
    """Servers with these source files."""
    some = [server(name) for name in sources]
    by_label = {one.label: sources[one.name] for one in some}
    return Compared(some, by_label, RULES, [])


BOTH = compared(
    c={"server.c": "/* CHAT-1 */\nvoid take_line(void)\n{\n}\n"},
    go={"server.go": "// FILE-1.\nfunc takeLine() {\n}\n"},
)


def test_a_cell_names_its_lines_and_its_rules() -> None:
    data = compared_data(BOTH, NO_RUN)
    ((row,),) = [section["rows"] for section in data["roles"]["server"]["sections"]]
    assert row["cells"]["server-c"] == [
        {"file": 0, "name": "take_line", "first": 1, "last": 4, "rules": ["CHAT-1"]}
    ]
    assert row["cells"]["server-go"][0]["rules"] == ["FILE-1"]
    assert data["roles"]["server"]["shared"] == ["takeline"]


def test_verdicts_are_those_of_the_programs_own_cases() -> None:
    data = compared_data(BOTH, run(*SMALL))
    mine = [one for one in SMALL if one.server == "go"]
    assert sum(data["programs"][1]["verdicts"].values()) == len(mine) > 0


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("see A-1 and A-BC-2, not XA-3 or A-30", ["A-1", "A-BC-2"]),
        ("A-1 to A-3", ["A-1", "A-2", "A-3"]),
        ("A-2 to 3", ["A-2", "A-3"]),
        ("A-1 to A-BC-2", ["A-1"]),
        ("", []),
    ],
)
def test_rules_are_named_one_by_one_or_as_a_range(text: str, found: list[str]) -> None:
    known = {id: RULES["CHAT-1"] for id in ("A-1", "A-2", "A-3", "A-BC-2")}
    if text == "A-1 to A-BC-2":
        assert set(rules_in(text, known)) == {"A-1", "A-BC-2"}
    else:
        assert rules_in(text, known) == found
    assert rules_in(text, {}) == []


def test_no_text_breaks_the_page(tmp_path: Path) -> None:
    hostile = compared(
        c={"server.c": f"// {HOSTILE}\nvoid take(void)\n{{\n}}\n"},
        go={f"{HOSTILE}.go": "func take() {\n}\n"},
    )
    page = compare_html(hostile, run(*SMALL), tmp_path)
    assert not HARMFUL.search(page.replace("\n", ""))
    assert tags(page).count("script") == 3
    assert "default-src 'none'" in page
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)|url\((?!#)|@import|src=", page)
    packed = re.findall(r'<script type="text/plain" id="\w+">(.*?)</script>', page)
    assert not [text for part in packed for text in texts(unpacked(part)) if HARMFUL.search(text)]
    (script,) = re.findall(r'<script type="module">(.*?)</script>', page, re.DOTALL)
    assert not re.search(r"^(import|export)\b|\.(inner|outer)HTML", script, re.MULTILINE)
    own = ROOT / "conformance/report/compare/script"
    for path in own.iterdir():
        assert f"\nmodules['{path.name}'] = " in f"\n{script}"


@pytest.mark.parametrize("suite", ["scenarios", "examples/budget-chat", "examples/redis"])
def test_any_suite_can_be_compared(
    suite: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    assert main(["compare", suite, "--output", str(tmp_path)]) == GREEN
    assert capsys.readouterr().out == f"{tmp_path / PAGE}\n"
    assert set(os.listdir(tmp_path)) - {"builds"} == {PAGE}


QUITTER = "raise SystemExit(1)\n"
THREADS = """\
import socket, threading

listener = socket.create_server(("127.0.0.1", 0))
print("ready on", listener.getsockname()[1], flush=True)
while True:
    connection, _ = listener.accept()
    threading.Thread(target=lambda one=connection: one.recv(1), daemon=True).start()
"""


def measured(page: Path) -> Table:
    """The table of measured values."""
    (first,) = re.findall(r'id="first"[^>]*>([^<]*)<', page.read_text("utf-8"))
    (table,) = unpacked(first)["tables"]
    return Table(**table)


def test_start_memory_and_size_are_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("conformance.play.examine.measure.CONNECTIONS", 50)
    suite = write_suite(tmp_path)  # its server handles connections one after the other
    add_server(suite / "servers", "quitter", QUITTER)
    add_server(suite / "servers", "threads", THREADS)
    assert main(["compare", str(suite), "--output", str(tmp_path / "out")]) == GREEN
    table = measured(tmp_path / "out" / PAGE)
    assert table.columns == ["", "server-quitter", "server-right", "server-threads"]
    start, memory, for_each, size = [row[1:] for row in table.rows]
    assert start[0] is None
    assert all(0 < value < 60_000 for value in start[1:])
    assert all(value > 1000 for value in memory[1:])
    assert for_each[:2] == [None, None]
    assert size == [round(len(one) / 1024, 1) for one in (QUITTER, SERVER, THREADS)]
    assert table.notes[-1].startswith("quitter: it does not get ready (conformance doctor ")


def test_what_is_not_on_this_machine_is_not_measured(tmp_path: Path) -> None:
    suite = write_suite(tmp_path)
    add_server(suite / "servers", "other", SERVER, "needs: [nosuchtool]\n")
    assert main(["compare", str(suite), "--output", str(tmp_path / "out")]) == GREEN
    table = measured(tmp_path / "out" / PAGE)
    assert all(row[1] is None for row in table.rows)
    assert table.notes[-1].startswith("other: nosuchtool is not on PATH")


def test_one_program_alone_cannot_be_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    suite = tmp_path / "suite"
    shutil.copytree(ROOT / "examples/budget-chat", suite)
    for name in ("by-name", "threads"):
        shutil.rmtree(suite / "servers" / name)
    assert main(["compare", str(suite), "--output", str(tmp_path / "out")]) == MISTAKEN
    assert "has no two programs of the same role; add" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
