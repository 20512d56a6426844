"""Placeholders are filled in correctly if the folder for temporary files has a strange name."""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path

import pytest
from tiny import played, program, scenario, write_suite

from conformance.arguments import Pattern
from conformance.text import complete, fill, lone_brace, plain, quoted

NAMES = ['a b+[c]{d}"e', "it's", "{n} {host} {scratch}", "a\\b$(x)*?", "#&;|<>~"]

# Writes a line into the file of its argument, and sends each client the path.
TELLING = """
import json
path = sys.argv[3]
with open(path, "w") as file:
    print("written", path, file=file)
ready()
while True:
    connection, _ = listener.accept()
    said = [path, path, json.dumps({"path": path}), "1 " + path, "2 " + path, path]
    connection.sendall("".join(line + chr(10) for line in said).encode())
"""

STEPS = """\
- server: {starts: {file: "{scratch}/out"}}
- ann: starts
- ann: {sees: "{scratch}/out"}
- ann: {sees: {matches: "{scratch}/o[a-z]{2}"}}
- ann: {sees: {json: {path: "{scratch}/out"}}}
- ann: {sees: {line: "{n} {scratch}/out", times: 2}}
- ann: {sees: {starts: "{scratch}/"}}
- server: {makes: out, holding: "^written "}
- server: {writes: "written {scratch}/out", to: out}
"""


@pytest.fixture(params=NAMES)
def odd_folder(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A folder for temporary files, with a strange name."""
    folder = tmp_path / str(request.param)
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)  # so that the variable is read again
    return folder


def failure(folder: Path, steps: str) -> object:
    """The failure when the steps are played."""
    suite = write_suite(folder / "suite")
    outcome = played(suite, scenario(suite, steps), program(suite.folder, TELLING))
    return outcome.failure or outcome.error


def test_what_is_filled_in_is_plain_text(odd_folder: Path) -> None:
    assert failure(odd_folder, STEPS + "- ann: closes") is None


def test_a_command_line_is_cut_into_words_before_it_is_filled(odd_folder: Path) -> None:
    steps = '- server: {runs: "cp {scratch}/out {scratch}/copy"}\n- server: {makes: copy}\n'
    assert failure(odd_folder, STEPS + steps + "- ann: closes") is None


# --- What fills ----------------------------------------------------------------------------------

VALUES = {"scratch": "/tmp/{n}{{b", "host": "[::1]"}


@pytest.mark.parametrize("value", ["", "a", "{", "{{", "{n}", "{{n}", "a{host}", "\\{", '"{', "[+"])
@pytest.mark.parametrize("how", ["is", "matches", "json"])
def test_a_pattern_takes_what_is_filled_into_it_as_plain_text(how: str, value: str) -> None:
    text = json.dumps({"at": "{scratch}"}) if how == "json" else "at {scratch}"
    line = json.dumps({"at": value}) if how == "json" else f"at {value}"
    (pattern,) = Pattern(text, how).filled({"scratch": value}).each()
    assert pattern.meets(line)
    assert not pattern.meets(line.replace("at", "it"))


def test_lines_are_counted_beside_what_is_filled_in() -> None:
    counted = Pattern("{n} {scratch}", times=2).filled(VALUES)
    assert [one.text for one in counted.each()] == ["1 /tmp/{n}{{b", "2 /tmp/{n}{{b"]


def test_a_text_is_completed_at_once() -> None:
    assert complete("{scratch} {{host} {other} {", VALUES) == "/tmp/{n}{{b {host} {other} {"
    assert plain(fill(quoted("a{n}{{b"), {"n": "1"})) == "a{n}{{b"


@pytest.mark.parametrize(
    ("text", "lone"),
    [
        *(("{build/x", True), ("{", True), ("{{{", True), ("{A}", True)),
        *(("{build}/x", False), ("{{build/x", False), ("{{{build}", False), ("}", False)),
    ],
)
def test_a_brace_by_itself_is_known(text: str, lone: bool) -> None:
    assert lone_brace(text) is lone


@pytest.mark.parametrize(
    ("wanted", "line", "meets"),
    [
        ('{"a": 1}', '{"a": 1}', True),
        ('{"a": 1}', '{"a": 1.0}', True),
        ('{"a": 1}', '{"a": true}', False),
        ('{"a": true}', '{"a": 1}', False),
        ('{"a": false}', '{"a": 0}', False),
        ('{"a": "*"}', '{"a": 5}', False),
        ('{"a": "*"}', '{"a": "*"}', True),
    ],
)
def test_a_truth_is_no_number(wanted: str, line: str, meets: bool) -> None:
    assert Pattern(wanted, "json").meets(line) is meets


def test_an_expression_is_compiled_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It is compiled when it is read: compiling it for each line would cost more than matching."""
    one = scenario(
        write_suite(tmp_path / "suite"),
        '- server: starts\n- ann: comes\n- ann: {sees: {matches: "only[h]ere+"}}',
    )
    monkeypatch.setattr(re, "compile", lambda *_: pytest.fail("compiled again"))
    patterns = [step.argument for step in one.steps if step.verb == "sees"]
    found = [p for lines in patterns if isinstance(lines, tuple) for p in lines]
    (pattern,) = [pattern for pattern in found if pattern.how == "matches"]
    assert pattern.meets("onlyhereee")
