"""Parts of a run, played separately and merged: no case is lost or counted twice."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from small_suite import MUTE_SERVER, SERVER, SHOUTING_SERVER, add_server, write_suite

from conformance.cli import main
from conformance.mistakes import Place
from conformance.model import Case, Kind, Scenario
from conformance.session.shard import Shard, fingerprint

DEADLINE = ["--deadline", "60"]  # what must come does come, however busy the machine is
UNNEEDED = "known_failures: {'*-back': nothing fails of it}\n"


def case(name: str) -> Case:
    scenario = Scenario(name, "x.yaml", "", (), Kind.SERVER, {}, (), {}, {}, Place("x.yaml", 1))
    return Case(scenario, None, ())


CASES = [case(f"x/{number}") for number in range(100)]


@pytest.mark.parametrize("of", [1, 2, 3, 7, 100])
@pytest.mark.parametrize("seconds", [{}, {f"x/{n}[]": float(n) for n in range(60)}])
def test_each_case_is_in_one_part(of: int, seconds: dict[str, float]) -> None:
    parts = [Shard(number, of, seconds).places(CASES) for number in range(1, of + 1)]
    assert sorted(place for part in parts for place in part) == list(range(len(CASES)))


def test_more_parts_than_any_machine_counts_take_no_memory() -> None:
    assert Shard(999_999_999, 999_999_999).places(CASES) == []
    assert Shard(100, 999_999_999).places(CASES) == [99]


def test_parts_are_even_by_what_was_measured() -> None:
    seconds = {one.key: 1.0 for one in CASES} | {CASES[0].key: 50.0}
    first, second = (Shard(number, 2, seconds).places(CASES) for number in (1, 2))
    lasts = [sum(seconds[CASES[place].key] for place in part) for part in (first, second)]
    assert max(lasts) - min(lasts) <= 1.0
    assert len(first) != len(second)


def test_another_plan_has_another_fingerprint() -> None:
    assert fingerprint(CASES) == fingerprint(list(CASES))
    assert fingerprint(CASES) != fingerprint(CASES[1:])
    assert fingerprint([case("\udcff")]) != fingerprint([case("\udcfe")])
    assert fingerprint(CASES) != fingerprint(CASES, "bytes")


@pytest.fixture
def suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A suite with three servers, of which one is right."""
    monkeypatch.chdir(tmp_path)
    folder = write_suite(tmp_path).relative_to(tmp_path)
    add_server(folder / "servers", "loud", SHOUTING_SERVER)
    add_server(folder / "servers", "listed", SHOUTING_SERVER, "known_failures: {ECHO-1: loud}\n")
    return folder


def run(suite: Path, output: str, *words: str) -> int:
    return main(["run", str(suite), "--output", output, *DEADLINE, *words])


def parts(suite: Path, *words: str) -> list[str]:
    """Play it in two parts; their folders."""
    folders = ["one", "two"]
    for number, folder in enumerate(folders, 1):
        run(suite, folder, "--shard", f"{number}/2", *words)
    return folders


def ids_in(folder: str, *, failed: bool = False) -> list[str]:
    """The ids of the cases in the results of a folder, or of those that failed."""
    cases = json.loads(Path(folder, "results.json").read_text())["cases"]
    return [case["id"] for case in cases if not (failed and case["expected"])]


def test_parts_are_together_what_the_whole_is(
    suite: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(suite, "whole") == 1
    folders = parts(suite)
    capsys.readouterr()
    assert main(["merge", *folders, "--output", "both"]) == 1
    assert "2 FAILED (1 known)" in capsys.readouterr().out
    assert main(["diff", "whole", "both"]) == 0
    assert capsys.readouterr().out == "no case of 6 changed its verdict\n"
    whole, both = (json.loads(Path(at, "results.json").read_text()) for at in ("whole", "both"))
    assert [one["id"] for one in both["cases"]] == [one["id"] for one in whole["cases"]]
    assert both["planned"] == 6
    for name in Path("whole", "transcripts").iterdir():
        assert Path("both", "transcripts", name.name).read_text()
    assert Path("both", "index.html").is_file()


def test_a_known_failure_that_nothing_needs_is_told_of_the_whole(
    suite: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("loud", "listed"):
        shutil.rmtree(suite / "servers" / name)
    add_server(suite / "servers", "again", SERVER, UNNEEDED)
    folders = parts(suite)
    capsys.readouterr()
    assert main(["merge", *folders, "--output", "both"]) == 1
    assert "no case fails for its known failure `*-back`" in capsys.readouterr().out


def test_parts_of_a_choice_say_nothing_of_the_rest(suite: Path) -> None:
    for name in ("loud", "listed"):
        shutil.rmtree(suite / "servers" / name)
    add_server(suite / "servers", "again", SERVER, UNNEEDED)
    folders = parts(suite, "--server", "again")
    assert main(["merge", *folders, "--output", "both"]) == 0


def spoil(folder: str, **changes: object) -> None:
    """Change what the results in a folder say of its part."""
    path = Path(folder, "results.json")
    data = json.loads(path.read_text())
    data["part"] |= changes
    path.write_text(json.dumps(data))


def test_a_part_is_not_replaced_by_the_whole(
    suite: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = parts(suite)
    before = Path("one", "results.json").read_text()
    assert main(["merge", *folders, "--output", "one"]) == 2
    assert "one: this is a part; name another folder" in capsys.readouterr().err
    assert Path("one", "results.json").read_text() == before


def test_parts_that_do_not_fit(suite: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parts(suite)
    run(suite, "whole")
    add_server(suite / "servers", "new", MUTE_SERVER)
    run(suite, "other", "--shard", "2/2", "-k", "starts")
    capsys.readouterr()
    for name in ("bare", "odd", "huge"):
        shutil.copytree("two", name)
    shutil.rmtree(Path("bare", "transcripts"))
    spoil("odd", places={})
    spoil("huge", of=999_999_999)
    for folders, told in (
        (["one", "bare"], "bare: has no folder transcripts; "),
        (["one", "odd"], "odd: it has cases that do not belong to its part; play the part again"),
        (["huge"], "999999998 parts missing: --shard 1/999999999, 3/999999999, "),
        (["one"], "1 part missing: --shard 2/2"),
        (["one", "one", "two"], "one: part 1 is already in one"),
        (["one", "whole"], "whole: a whole run, not a part; "),
        (["one", "other"], "other: not a part of the same run as one; "),
        (["one", "nowhere"], "nowhere: no such file or folder; "),
    ):
        assert main(["merge", *folders, "--output", "both"]) == 2
        assert told in capsys.readouterr().err
    assert not Path("both").exists()


def test_parts_that_were_divided_in_two_ways(
    suite: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parts(suite)
    data = json.loads(Path("two", "results.json").read_text())
    data["cases"][0]["seconds"] = 1000.0
    Path("measured.json").write_text(json.dumps(data))
    run(suite, "two", "--shard", "2/2", "--measured", "measured.json")
    capsys.readouterr()
    assert main(["merge", "one", "two", "--output", "both"]) == 2
    told = "one, two: these parts do not have each case exactly once; "
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--strict"], ["--delivery", "bytes"], ["--deadline", "50"]])
def test_parts_that_were_played_in_two_ways(
    suite: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    run(suite, "one", "--shard", "1/2")
    run(suite, "two", "--shard", "2/2", *words)
    capsys.readouterr()
    assert main(["merge", "one", "two", "--output", "both"]) == 2
    assert "two: not a part of the same run as one; " in capsys.readouterr().err


def test_all_that_failed_last_in_a_part(suite: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (suite / "servers" / "right" / "server.py").write_text("raise SystemExit(3)")
    (suite / "servers" / "loud" / "server.py").write_text("raise SystemExit(3)")
    folders = parts(suite)
    failed = [ids_in(folder, failed=True) for folder in folders]
    assert sum(map(len, failed)) == 4
    parts(suite, "--last-failed")
    assert [ids_in(folder) for folder in folders] == failed
    capsys.readouterr()
    assert main(["merge", *folders, "--output", "both"]) == 2
    assert "without --last-failed" in capsys.readouterr().err


def test_a_part_without_cases(suite: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(suite, "none", "--shard", "9/9") == 2
    assert "--shard 9/9: of 6 cases, this part has none" in capsys.readouterr().err


@pytest.mark.parametrize("words", ["0/2", "3/2", "1", "1/x", "-1/2", "1/2/3", ""])
def test_what_is_no_part(words: str, suite: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ending:
        run(suite, "none", f"--shard={words}")
    assert ending.value.code == 2
    assert "argument --shard: expected " in capsys.readouterr().err
