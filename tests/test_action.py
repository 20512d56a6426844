"""The action for GitHub's CI: its steps, run as a runner does, and their output."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import yaml
from checkout import ROOT, environment
from small_suite import SERVER, SHOUTING_SERVER, add_server, write_suite

ACTION = yaml.safe_load((ROOT / "action.yml").read_text("utf-8"))


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a job runs: a suite, and a server of one's own."""
    monkeypatch.chdir(tmp_path)
    write_suite(tmp_path)
    add_server(tmp_path, "mine", SHOUTING_SERVER)
    return tmp_path


def act(**inputs: str) -> subprocess.CompletedProcess[str]:
    """The last step of the action, with what a runner tells it."""
    step = ACTION["runs"]["steps"][-1]
    given = {name: words.get("default", "") for name, words in ACTION["inputs"].items()} | inputs
    told = {key: given[text[11:-3]] for key, text in step["env"].items()}
    runner = {
        "GITHUB_ACTION_PATH": str(ROOT),
        "GITHUB_ACTIONS": "true",
        "GITHUB_STEP_SUMMARY": "summary",
        "GITHUB_OUTPUT": "output",
        "PYTHONPATH": str(ROOT),
    }
    return subprocess.run(
        ["bash", "-e", "-c", step["run"]],
        env=environment() | told | runner,
        capture_output=True,
        text=True,
        check=False,
    )


MINE = {"implementation": "mine", "suite": "echo", "arguments": "--server mine --deadline 60"}


def test_a_failure_is_annotated_and_summed_up(repository: Path) -> None:
    done = act(**MINE)
    assert done.returncode == 1, done.stderr
    (error,) = [line for line in done.stdout.splitlines() if line.startswith("::error ")]
    assert error.startswith("::error file=echo/lines.yaml,line=9,col=7,title=ECHO-1 ")
    assert "expected hello%0Aseen     HELLO" in error
    assert "ECHO-1" in Path("summary").read_text()
    assert Path("output").read_text() == "results=build/conformance/results.json\n"


def test_a_program_that_fails_elsewhere_is_annotated_at_its_manifest(repository: Path) -> None:
    add_server(repository, "mine", "raise SystemExit(1)")
    done = act(**MINE)
    assert "::error file=mine/implementation.yaml,line=1,title=server mine " in done.stdout


def test_a_right_program_is_green(repository: Path) -> None:
    add_server(repository, "mine", SERVER)
    done = act(**MINE)
    assert done.returncode == 0, done.stderr
    assert "::error" not in done.stdout


def test_with_a_baseline_only_what_broke_fails(repository: Path) -> None:
    act(**MINE)
    os.rename("build/conformance/results.json", "before.json")
    assert act(**MINE, baseline="before.json").returncode == 0
    add_server(repository, "mine", "raise SystemExit(1)")
    done = act(**MINE, baseline="before.json")
    assert done.returncode == 1
    assert "broke (1)" in done.stdout
    assert "broke (1)" in Path("summary").read_text()


def test_a_mistake_is_no_failure_of_the_program(repository: Path) -> None:
    done = act(**MINE | {"implementation": "nowhere"})
    assert done.returncode == 2
    assert "nowhere" in done.stderr
