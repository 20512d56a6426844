"""Names in a file that do not exist: a feature, a scenario, an option, a file."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_suite import write_suite as write_small_suite
from test_mistakes import assert_told
from tiny import SUITE, implementation, read_scenarios, scenario, write_files, write_suite

from conformance.arguments import Pattern
from conformance.cli import main
from conformance.cli.common import GREEN, MISTAKEN
from conformance.mistakes import Mistake, meant
from conformance.model import Role, Step
from conformance.plan import Selection
from conformance.read import manifest
from conformance.read.scenario import load
from conformance.session.request import Request
from conformance.session.session import Session

SCENARIOS = """\
- id: both
  title: For a server and a client
  proves: [ECHO-1]
  cast: {ann: client}
  examples: [{id: one}, {id: two}]
  steps:
    - server: starts
    - ann: starts
    - ann: {exits: 0}
- id: alone
  title: For a server
  proves: [ECHO-1]
  cast: {ann: wire}
  steps:
    - server: starts
    - ann: comes
- id: loud
  title: For a loud server
  proves: [LOUD-1]
  needs: {server: [loud]}
  cast: {ann: wire}
  steps:
    - server: starts
    - ann: comes
"""

MANIFEST = """\
name: it
role: server
language: Python
run: "{python} server.py"
"""


def test_of_many_names_the_nearest_are_told() -> None:
    names = [f"scenario-{n}" for n in range(99)] * 2
    told = meant("zzz7", names, "conformance list")
    assert told.startswith("the nearest are scenario-")
    assert told.endswith("; `conformance list` shows all")
    assert told.count("scenario-") == 3
    assert meant("b", ["x", "x"], "conformance list") == "known: x"


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def told(more: str, text: str = MANIFEST) -> list[str]:
    """The problems with names in a manifest, for a suite of two files."""
    write_files(Path(), SUITE.replace("[servers/*]", "[]"))
    Path("file.yaml").write_text(SCENARIOS)
    Path("other.yaml").write_text(SCENARIOS)
    Path("implementation.yaml").write_text(text + more)
    try:
        manifest.check_against(manifest.find([Path()]), *load([Path("file.yaml")]))
    except Mistake as mistake:
        return mistake.problems
    return []


@pytest.mark.parametrize("name", ["both", "both:one", "alone", "*", "bo*"])
def test_known_failures_that_there_are(name: str) -> None:
    assert told(f"known_failures: {{file/{name}: why}}\nfeatures: [loud]\n") == []


@pytest.mark.parametrize("name", ["'*'", "ECHO-2", "other/*", "'*one'"])
@pytest.mark.parametrize("excuse", ["known_failures", "may_fail"])
def test_failures_by_pattern_or_rule(name: str, excuse: str) -> None:
    assert told(f"{excuse}: {{{name}: why}}\n") == []


@pytest.mark.parametrize("name", ["file/bath*", "ECHO-3", "another/*"])
def test_patterns_and_rules_that_there_are_not(name: str) -> None:
    (problem,) = told(f"may_fail: {{{name}: why}}\n")
    assert problem.startswith(f"implementation.yaml:5:12: no such scenario or rule `{name}`, ")


def test_names_that_there_are_not_are_told_at_once() -> None:
    more = (
        "features: [laud]\nknown_failures:\n  file/bath: why\n  file/both:three: why\n  both: why\n"
    )
    assert_told(
        Mistake(told(more)),
        "implementation.yaml:5:12: no rule of the protocol text is marked with the feature "
        "`laud`; did you mean `loud`?",
        "implementation.yaml:7:3: no such scenario or rule `file/bath`, written "
        "`FILE/ID` or `FILE/ID:EXAMPLE`, with `*` for any part; did you mean `file/both`?",
        "implementation.yaml:8:3: no such scenario or rule `file/both:three`",
        "implementation.yaml:9:3: no such scenario or rule `both`",
    )


@pytest.mark.parametrize(
    ("name", "text"),
    [("alone", MANIFEST.replace("role: server", "role: client")), ("loud", MANIFEST)],
)
def test_a_known_failure_that_is_never_played(name: str, text: str) -> None:
    """A scenario for another role, or for a feature that the manifest does not list."""
    (problem,) = told(f"known_failures: {{file/{name}: why}}\n", text)
    assert problem.startswith(f"implementation.yaml:5:18: `file/{name}` is never played by ")


def test_known_failures_of_files_that_are_not_read_are_held_to_the_files_names() -> None:
    assert told("known_failures: {other/whatever: why}\n") == []
    assert told("known_failures: {another/both: why}\n") != []


def test_a_run_tells_of_names_before_anything_is_played() -> None:
    suite = write_small_suite(Path())
    with (suite / "servers" / "right" / "implementation.yaml").open("a") as file:
        file.write("features: [loud]\n")
    with pytest.raises(Mistake, match="marked with the feature `loud`; known: none"):
        Session(Request([suite], Selection()))


@pytest.mark.parametrize("also", [[], ["tests/echo"]])
def test_a_check_holds_manifests_to_the_suite(also: list[str]) -> None:
    """It uses the suite that is named, otherwise the default one."""
    Path("tests").mkdir()
    usual = write_small_suite(Path("tests") if also else Path())
    usual = usual if also else usual.rename("scenarios")
    folder = usual / "servers" / "right"
    assert main(["check", *also, str(folder)]) == GREEN
    with (folder / "implementation.yaml").open("a") as file:
        file.write("known_failures: {lines/gone: why}\n")
    assert main(["check", *also, str(folder)]) == MISTAKEN
    assert main(["check", *also, str(folder / "implementation.yaml")]) == MISTAKEN


# --- Options and files ---------------------------------------------------------------------------

TAKES = SUITE.replace('"{port}"\n', '"{port}"\n    takes: [max-clients, quiet]\n')


def test_an_option_that_the_suite_does_not_know() -> None:
    suite = write_suite(Path(), TAKES)
    with pytest.raises(Mistake) as caught:
        scenario(suite, "- server: {starts: {max-client: 1, quiet: yes}}\n- ann: comes")
    assert_told(caught.value, "file.yaml:6:25: no such option `max-client`; did you mean `max-cl")


def test_an_option_that_an_example_or_a_verb_gives() -> None:
    verb = (
        'verbs:\n  opens:\n    steps:\n      - "{actor}": {starts: {max-clients: 1, quit: yes}}\n'
    )
    suite = write_suite(Path(), TAKES.replace("verbs:\n", verb))
    with pytest.raises(Mistake) as caught:
        scenario(suite, "- server: opens\n- ann: comes")
    assert_told(caught.value, "suite.yaml:14:46: no such option `quit`; did you mean `quiet`?")


def test_options_are_any_where_the_suite_does_not_say_which() -> None:
    scenario(write_suite(Path()), "- server: {starts: {max-client: 1}}\n- ann: comes")


def test_a_program_that_the_suite_says_nothing_of() -> None:
    text = SUITE.replace('  server:\n    arguments: "{port}"\n    ready: "ready on {port}"\n', "")
    with pytest.raises(Mistake, match="the suite does not describe servers"):
        scenario(write_suite(Path(), text), "- server: starts\n- ann: comes")


def test_an_input_that_is_there() -> None:
    suite = write_suite(Path())
    Path("words.txt").write_text("hello\n")
    for name in ("words.txt", "/dev/null", "closed", "{scratch}/made"):
        steps = f'- server: starts\n- tom: {{starts: , input: "{name}"}}\n- tom: {{exits: 0}}'
        scenario(suite, steps, "{tom: client on pipes}")


def test_folders_that_there_are_not() -> None:
    """Without this mistake, a run of the scenarios without servers would be green."""
    suite = write_small_suite(Path())
    text = (suite / "suite.yaml").read_text()
    (suite / "suite.yaml").write_text(text.replace("[servers/*]", "[servers/*, clionts/*]"))
    with pytest.raises(Mistake) as caught:
        Session(Request([suite], Selection()))
    assert_told(
        caught.value,
        "echo/suite.yaml:3:30: `clionts/*` matches no folder with an implementation.yaml; correct",
    )


def test_a_manifest_that_would_be_overlooked() -> None:
    suite = write_small_suite(Path())
    folder = suite / "servers" / "right"
    (folder / "implementation.yaml").rename(folder / "implementation.yml")
    with pytest.raises(Mistake) as caught:
        load([suite])
    assert_told(caught.value, "echo/servers/right/implementation.yml:1:1: rename it to `.yaml`")


# --- As typed ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "value"),
    [
        (word, word)
        for word in ("1:30", "010", "0x1F", "1_000", "1e3", "1.50", "on", "off", "n", "+5", ".inf")
    ]
    + [("2001-01-01", "2001-01-01"), ('"yes"', "yes"), ("'5'", "5"), ("9" * 400, "9" * 400)]
    + [("yes", ""), ("true", ""), ("no", None), ("False", None)],
)
def test_an_option_is_given_as_it_is_typed(typed: str, value: str | None) -> None:
    one = scenario(write_suite(Path()), f"- server: {{starts: {{it: {typed}}}}}\n- ann: comes")
    assert one.steps[0].argument == {"it": value}


@pytest.mark.parametrize("word", ["1:30", "010", "on", "0x1F", "1_000", "2001-01-01", "=", "<<"])
def test_a_line_is_what_is_typed(word: str) -> None:
    one = scenario(write_suite(Path()), f"- server: starts\n- ann: comes\n- ann: {{types: {word}}}")
    said = [line.text for step in one.steps if step.verb == "types" for line in lines_of(step)]
    assert word in said


def lines_of(step: Step) -> tuple[Pattern, ...]:
    assert isinstance(step.argument, tuple)
    return step.argument


def test_implementations_keep_the_places_of_their_names() -> None:
    Path("implementation.yaml").write_text(MANIFEST + "features: [a]\nknown_failures: {b/c: why}\n")
    (one,) = manifest.find([Path()])
    assert {name: place.line for name, place in one.places.items()} == {"a": 5, "b/c": 6}
    assert implementation("it", Role.SERVER).places == {}
    assert read_scenarios(write_suite(Path()), SCENARIOS)
