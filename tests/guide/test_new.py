"""`conformance new`: the folder that it makes is built and played, and says what to do next."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import checkout
import pytest
from small_suite import write_suite

from conformance.builds.build import lacking
from conformance.cli import main
from conformance.guide import new
from conformance.model import Role
from conformance.read import manifest

TEMPLATES = sorted((checkout.ROOT / "scenarios" / "templates").iterdir())
SCENARIOS = checkout.ROOT / "scenarios"
FIRST = {  # what the template implements
    Role.SERVER: [str(SCENARIOS), "JOIN-1"],
    Role.CLIENT: [f"{SCENARIOS}/client.yaml::sends-what-is-typed"],
}
MOST_LINES = 90


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def make(role: str, folder: str, language: str, suite: Path = SCENARIOS) -> int:
    return main(["new", role, folder, "--language", language, "--suite", str(suite)])


@pytest.mark.parametrize("role", Role)
def test_what_is_made_plays_what_comes_first(
    role: Role, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # For a client, each call would read all scenarios, which takes time.
    monkeypatch.setattr(new, "_first_rules", lambda *_: [])
    for template in TEMPLATES:
        assert make(role, f"made/my-{template.name}", template.name) == 0
    made = manifest.find([here / "made"])
    assert [one.name for one in made] == [f"my-{template.name}" for template in TEMPLATES]
    names = ",".join(one.name for one in made)
    assert main(["run", "--implementation", "made", f"--{role}", names, *FIRST[role]]) == 0
    cases = json.loads(Path("build/conformance/results.json").read_text())["cases"]
    passed = {case["id"].partition("[")[2] for case in cases if case["verdict"] == "PASSED"}
    assert passed == {f"{one.name}]" for one in made if not lacking(one)}


def test_the_next_rule_is_named(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make("server", "mine", "python")
    (play,) = re.findall(r"^play the first rules:  (.*)$", capsys.readouterr().out, re.M)
    words = shlex.split(play)[1:]
    assert words[-2:] == ["PROG-3", "JOIN"]
    assert main([*words, "-k", "bad-names:empty"]) == 1
    capsys.readouterr()
    assert main(["next"]) == 1
    assert capsys.readouterr().out.startswith("next: JOIN-2 ")


def test_a_client_plays_first_what_is_about_clients(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make("client", "mine", "python")
    assert re.search(r"^play the first rules:  .* CLIENT$", capsys.readouterr().out, re.M)


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_a_template_is_short_and_says_where_to_go_on(template: Path) -> None:
    for role in Role:
        (program,) = [one for one in (template / role).iterdir() if one.suffix != ".yaml"]
        text = program.read_text("utf-8")
        assert "TODO" in text
        assert len(text.splitlines()) <= MOST_LINES


def test_a_language_is_named_as_its_manifest_has_it_too(here: Path) -> None:
    make("server", "one", "c++")
    assert manifest.load(Path("one/implementation.yaml")).language == "C++"
    assert Path("one/server.cpp").is_file()


@pytest.mark.parametrize("language", ["Zig", "D # the second", 'it"s: \\ ?', "null"])
def test_for_any_other_language_there_is_a_manifest(language: str, here: Path) -> None:
    assert make("server", "one", language) == 0
    path = Path("one/implementation.yaml")
    assert [*Path("one").iterdir()] == [path]
    assert manifest.load(path).language == language
    uncommented = re.sub(r"^# ([a-z_]+: )", r"\1", path.read_text(), flags=re.M)
    path.write_text(uncommented)
    assert manifest.load(path).needs == ("compiler",)  # the commented examples are valid


def test_the_manifest_tells_how_the_suite_calls_the_program(here: Path) -> None:
    make("server", "one", "Zig")
    text = Path("one/implementation.yaml").read_text()
    assert "--host {host} --port {port} --quiet" in text
    assert "Listening on {host}:{port}" in text


def test_a_suite_without_templates(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    suite = write_suite(here)
    assert make("server", "echo/servers/mine", "python", suite) == 0
    shown = capsys.readouterr().out
    assert "has no templates" in shown
    assert "conformance run" not in shown  # there is nothing to play yet
    assert shown.count("\n") == 2


@pytest.mark.parametrize(
    ("folder", "problem"),
    [
        ("full", "full: already exists; name a new or an empty folder"),
        ("file", "file: already exists; name a new or an empty folder"),
        ("mixed", "mixed: a program cannot have the name of this folder; "),
        ("x" * 65, f"{'x' * 65}: a program cannot have the name of this folder; use 1 to 64 "),
        ("a b", "a b: a program cannot have the name of this folder; "),
    ],
)
def test_no_folder_is_made(
    folder: str, problem: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("full/inner").mkdir(parents=True)
    Path("file").touch()
    assert make("server", folder, "python") == 2
    assert capsys.readouterr().err.startswith(problem)
    assert not list(Path("full").glob("*.*"))


def test_no_suite_here(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new", "server", "mine", "--language", "c"]) == 2
    assert "suite.yaml:1:1: no such file" in capsys.readouterr().err
    assert not Path("mine").exists()
