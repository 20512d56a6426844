"""The mutants: each table fits its sources, and a sample chosen by the change is killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from mutants.functions import functions
from mutants.kept import Kept
from mutants.mutant import PROJECT, Found, Mutant, Verdict
from mutants.operators import generated
from mutants.order import fingerprint, ordered
from mutants.playing import Stage
from mutants.report import summary, write
from mutants.table import Table, load, read
from ours import SCENARIOS, SUITE

from conformance.mistakes import Mistake
from conformance.model import Role
from conformance.plan import cases_of
from conformance.read import manifest

SAMPLE = 10  # mutants of a test run
LEAST = {"servers": 80, "clients": 50, "tests": 20}  # mutants of a program, by its first folder

TABLES = load()

TABLE = """\
program: server-c
folder: servers/c
file: server.c
mutants:
- rule: CHAT-1
  what: all comes back
  change: TEXT
  to: nothing
"""

SOURCES = {
    "a.c": "static int one(int a)\n{\n    if (a) {\n    }\n}\n\nint two(void)\n{\n}\n",
    "a.go": "func one() {\n\tif x {\n\t}\n}\n\nfunc (s *T) two() {\n}\n",
    "a.js": "function one() {\n  if (x) {\n  }\n}\n\nclass A {\n  two(a) {\n  }\n}\n",
    "a.py": "def one():\n\n    if x:\n        f()\n\n\nclass B:\n    def two(self):\n        f()\n",
    "a.rs": "fn one() {\n    if x {\n    }\n}\n\nimpl A {\n    pub fn two(&self) {\n    }\n}\n",
}


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "tests.mutants", *arguments]
    return subprocess.run(words, cwd=PROJECT, text=True, capture_output=True, check=False)


def git(*arguments: str) -> list[str]:
    """The lines that git says; none, where this is no checkout of it."""
    try:
        answer = subprocess.run(["git", *arguments], cwd=PROJECT, text=True, capture_output=True)
    except FileNotFoundError:
        return []
    return answer.stdout.splitlines() if answer.returncode == 0 else []


def changed() -> list[str]:
    """The files that this branch changes; none on the main one."""
    bases = (git("merge-base", "HEAD", name) for name in ("origin/main", "main"))
    base = next((lines[0] for lines in bases if lines), "HEAD")
    return git("diff", "--name-only", base)


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.program)
def test_a_table_has_enough_mutants_of_rules_that_there_are(table: Table) -> None:
    told = [mutant for mutant in table.mutants if not mutant.equivalent]
    assert len(told) >= LEAST[table.folder.parts[0]]
    assert {mutant.rule for mutant in table.made} <= {*SUITE.requirements}
    assert len({mutant.hash for mutant in table.mutants}) == len(table.mutants)


def test_an_entry_that_does_not_fit_its_source_any_more_is_told_with_its_line(
    tmp_path: Path,
) -> None:
    path = tmp_path / "server-c.yaml"
    path.write_text(TABLE.replace("TEXT", "no such text"))
    with pytest.raises(Mistake) as raised:
        read(path)
    told = f"{path}:5: `no such text` is not in servers/c/server.c; take the source as it is now"
    assert raised.value.problems[0].startswith(told)


def test_an_entry_that_fits_twice_is_to_name_its_function(tmp_path: Path) -> None:
    path = tmp_path / "server-c.yaml"
    path.write_text(TABLE.replace("TEXT", "return;"))
    with pytest.raises(Mistake, match=r"times in servers/c/server\.c; make it longer, or name"):
        read(path)


@pytest.mark.parametrize(("old", "new"), [("what:", "wat:"), ("  to: nothing\n", "")])
def test_a_key_that_is_strange_or_missing_is_told(tmp_path: Path, old: str, new: str) -> None:
    path = tmp_path / "server-c.yaml"
    path.write_text(TABLE.replace(old, new))
    with pytest.raises(Mistake, match=r"server-c.yaml:5: (unknown: wat|missing: to)"):
        read(path)


@pytest.mark.parametrize("file", SOURCES)
def test_functions_are_found_in_every_language(file: str) -> None:
    text = SOURCES[file]
    one, two = functions(file, text)
    assert (one.name, two.name) == ("one", "two")
    assert "two" not in text[one.start : one.end]
    assert "if" in text[one.start : one.end]


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.program)
def test_operators_edit_what_stands_there(table: Table) -> None:
    found = generated(table.program, table.folder)
    for mutant in found:
        text = (PROJECT / mutant.path).read_text("utf-8")
        assert text[mutant.start :].startswith(mutant.before)
        assert mutant.after != mutant.before
    kinds = {mutant.id.partition("/")[2].rpartition("-")[0] for mutant in found}
    assert {"bound", "other", "both", "negate", "drop", "stays", "swap", "truth"} <= kinds


def test_cases_of_the_rule_come_first_and_those_that_found_it_before_them() -> None:
    found = manifest.find([PROJECT / "servers" / "c"])
    cases = [case for one in SCENARIOS for case in cases_of(one, found, [])]
    assert "CHAT-5" in ordered(cases, "CHAT-5")[0].scenario.claims
    last = ordered(cases, "CHAT-5")[-1]
    assert ordered(cases, "CHAT-5", [last.key])[0] is last


def test_a_case_is_another_one_when_its_steps_change() -> None:
    found = manifest.find([PROJECT / "servers" / "c"])
    case = cases_of(next(one for one in SCENARIOS if Role.CLIENT not in one.needs), found, found)[0]
    shorter = replace(case, scenario=replace(case.scenario, steps=case.scenario.steps[1:]))
    titled = replace(case, scenario=replace(case.scenario, title="another"))
    assert fingerprint(shorter) != fingerprint(case) == fingerprint(titled)


def a_mutant() -> Mutant:
    return next(table for table in TABLES if table.program == "server-c").made[0]


def test_what_was_found_is_kept_as_long_as_it_holds(tmp_path: Path) -> None:
    mutant, kept = a_mutant(), Kept(tmp_path / "kept.json")
    kept.keep(mutant, Found(Verdict.SURVIVED, passed=("one", "two")))
    again = Kept(kept.path)
    assert again.holds(mutant, {"a": "one", "b": "two"}) == again.before(mutant)
    assert again.holds(mutant, {"a": "one", "b": "another"}) is None
    kept.keep(mutant, Found(Verdict.KILLED, ("a",), "one"))
    assert kept.holds(mutant, {"a": "one", "b": "another"})
    assert kept.holds(mutant, {"a": "another"}) is None
    assert kept.before(replace(mutant, after=mutant.after + " ")) is None


def test_results_are_written_as_reports_read_them(tmp_path: Path) -> None:
    mutant, found = a_mutant(), Found(Verdict.KILLED, ("chat/alone[c]",), seconds=1.25)
    write([(mutant, found)], tmp_path / "results.json")
    (row,) = json.loads((tmp_path / "results.json").read_text("utf-8"))["mutants"]
    assert row == {
        **{"id": mutant.id, "program": "server-c", "file": "servers/c/server.c"},
        **{"line": mutant.line, "rule": mutant.rule, "what": mutant.what},
        **{"before": mutant.before, "after": mutant.after, "verdict": "KILLED"},
        **{"killed_by": ["chat/alone[c]"], "reason": "", "seconds": 1.2},
    }


def test_survivors_are_shown_with_their_edit() -> None:
    mutant = a_mutant()
    lines = list(summary([(mutant, Found(Verdict.SURVIVED))]))
    where = f"SURVIVED {mutant.id}  {mutant.path}:{mutant.line}  {mutant.what}"
    assert lines[-3:] == [where, f"  - {mutant.before}", f"  + {mutant.after}"]


def test_a_name_that_no_mutant_has_is_told() -> None:
    answer = run("--program", "server-cobol")
    assert (answer.returncode, answer.stdout) == (2, "")
    assert answer.stderr.startswith("no mutant is left")


def test_a_program_that_cannot_run_here_is_told_and_none_of_its_mutants_survives(
    tmp_path: Path,
) -> None:
    manifest = "name: none\nrole: server\nlanguage: None\nneeds: [no-such-program]\nrun: none\n"
    (tmp_path / "implementation.yaml").write_text(manifest)
    with pytest.raises(Mistake, match=r"server-none: .*no-such-program"):
        Stage("server-none", tmp_path)


def test_no_mutant_of_a_sample_survives() -> None:
    """Those of the files that the branch changes, else always the same."""
    jobs = len(os.sched_getaffinity(0))
    answer = run("--sample", f"{SAMPLE}", "--jobs", f"{jobs}", "--changed", *changed(), "-")
    assert answer.returncode == 0, answer.stdout + answer.stderr
