"""Data attached to a run: mistakes have clear messages, the data are kept, and shown again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import checkout
import pytest
from test_report import SMALL, run

from conformance.cli import main
from conformance.report.folder import results
from conformance.report.folder.attached import Fate, Mutants, Table, read

TABLE = {
    "title": "Load",
    "when": "2026-01-02T03:04:05+00:00",
    "columns": ["server", "lines"],
    "rows": [["c", 1100000], ["go", None]],
}
MUTANT = {
    "id": "server-c/031",
    "program": "server-c",
    "file": "servers/c/server.c",
    "line": 123,
    "rule": "CHAT-1",
    "what": "the sender sees it, too",
    "before": "if (user != sender)",
    "after": "if (1)",
    "verdict": "KILLED",
    "killed_by": ["chat/hello[go+c]"],
    "reason": "",
    "seconds": 1.2,
}
MUTANTS = {"when": TABLE["when"], "mutants": [MUTANT, MUTANT | {"id": "2", "verdict": "SURVIVED"}]}


def written(folder: Path, data: Any, name: str = "table.json") -> Path:
    path = folder / name
    path.write_text(data if isinstance(data, str) else json.dumps(data))
    return path


def test_the_table_in_contributing_can_be_attached(tmp_path: Path) -> None:
    (text,) = checkout.blocks("docs/report.md", "json")
    assert isinstance(read(written(tmp_path, text)), Table)


def test_the_kind_of_a_file_is_told_by_its_keys(tmp_path: Path) -> None:
    assert isinstance(read(written(tmp_path, TABLE)), Table)
    found = read(written(tmp_path, MUTANTS))
    assert isinstance(found, Mutants)
    assert [one.verdict for one in found.mutants] == [Fate.KILLED, Fate.SURVIVED]


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ("{", "cannot be attached: "),
        ("[]", "`the file` is [], expected dict"),
        ({"title": "t"}, "the file has no `when`"),
        (TABLE | {"rows": [["c"]]}, "row 1 has 1 of 2 cells"),
        (TABLE | {"rows": [["c", {}]]}, "row 1 has a cell that is neither a text nor a number"),
        (TABLE | {"columns": "x"}, '`columns` is "x", expected list'),
        ({"when": "w", "mutants": [MUTANT | {"verdict": "dead"}]}, '`verdict` is "dead"'),
        ({"when": "w", "mutants": [MUTANT | {"line": "3"}]}, '`line` is "3", expected int'),
        ({"when": "w", "mutants": [{}]}, "mutants has no `id`"),
        ("[" * 100_000, "cannot be attached: "),
    ],
)
def test_a_file_that_is_wrong_is_a_mistake(
    data: Any, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, data)
    results.write(run(*SMALL), tmp_path)
    before = sorted(tmp_path.iterdir())
    assert main(["report", str(tmp_path), "--attach", str(path)]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"{path}: ")
    assert told in said
    assert "a table has `title`" in said
    assert sorted(tmp_path.iterdir()) == before


def test_a_file_that_is_not_there_is_a_mistake(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results.write(run(*SMALL), tmp_path)
    assert main(["report", str(tmp_path), "--attach", str(tmp_path / "none.json")]) == 2
    assert "none.json: cannot be read: No such file or directory\n" in capsys.readouterr().err


def test_what_is_attached_stays_with_the_run(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    results.write(run(*SMALL), out)
    files = [written(tmp_path, TABLE), written(tmp_path, MUTANTS, "mutants.json")]
    words = [word for path in files for word in ("--attach", str(path))]
    assert main(["report", str(out), *words]) == 1  # the status of the run of this report
    assert main(["report", str(out)]) == 1
    found = results.read(out)
    assert found.tables == [read(files[0])]
    assert found.mutants == read(files[1])
    newer = TABLE | {"rows": []}
    main(["report", str(out), "--attach", str(written(tmp_path, newer))])
    assert [table.rows for table in results.read(out).tables] == [[]]
