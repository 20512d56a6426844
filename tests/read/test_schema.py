"""The published schemas for editors: they accept our files, and are generated from the code."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import tiny
from jsonschema import Draft7Validator
from jsonschema.validators import validator_for
from referencing import Registry, Resource

import conformance
from conformance.cli import main
from conformance.read import schema
from conformance.read.yaml_tree import Node, read

ROOT = Path(__file__).parents[2]
FOLDER = Path(conformance.__file__).parent / "schema"
SCHEMAS: dict[str, Any] = {path.stem: json.loads(path.read_text()) for path in FOLDER.iterdir()}
REGISTRY: Registry[Any] = Registry().with_resources(
    (f"{name}.json", Resource.from_contents(schema)) for name, schema in SCHEMAS.items()
)


def problems(name: str, path: Path) -> list[str]:
    """The problems that a schema finds in a YAML file."""
    validator = Draft7Validator(SCHEMAS[name], registry=REGISTRY)
    return [error.message for error in validator.iter_errors(plain(read(path)))]


def plain(node: Node) -> Any:
    """A tree without its positions."""
    if isinstance(node.value, list):
        return [plain(item) for item in node.value]
    if isinstance(node.value, dict):
        return {key: plain(entry) for key, entry in node.value.items()}
    return node.value


def our_files() -> list[tuple[str, Path]]:
    """Every YAML file of the project, with its schema."""
    suites = [ROOT / "scenarios" / "suite.yaml", *sorted(ROOT.glob("examples/*/suite.yaml"))]
    files = [path for suite in suites for path in sorted(suite.parent.glob("*.yaml"))]
    manifests = [*ROOT.glob("*/*/implementation.yaml"), *ROOT.glob("examples/*/*/*/*.yaml")]
    return [
        *(("suite" if path in suites else "scenarios", path) for path in files),
        *(("implementation", path) for path in sorted(manifests)),
    ]


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_schema_is_one(name: str) -> None:
    assert validator_for(SCHEMAS[name]) is Draft7Validator
    Draft7Validator.check_schema(SCHEMAS[name])


@pytest.mark.parametrize(("name", "path"), our_files(), ids=lambda it: getattr(it, "name", it))
def test_our_files_keep_their_schema(name: str, path: Path) -> None:
    assert problems(name, path) == []


# --- Mistakes ------------------------------------------------------------------------------------

SCENARIO = """\
- id: greeting
  title: A greeting is answered
  proves: [HELLO-1]
  cast: {alice: client}
  steps:
    - server: starts
    - alice: {types: hello}
    - alice: {sees: hello, within: 1}
"""
MANIFEST = "{name: it, role: server, language: C, run: it}"


MISTAKES = {
    "scenarios": [
        ("title:", "titel:"),
        ("id: greeting", "id: Greeting"),
        ("[HELLO-1]", "HELLO-1"),
        ("alice: client", "alice: person"),
        ("types: hello", "types: 5"),
        ("types: hello", "types: hello, rest: ignored"),
        ("types: hello", "types: hello, sees: hello"),
        ("types: hello", "presses: Ctrl-C"),
        ("types: hello", 'sends: {text: x, hex: "00"}'),
        ("types: hello", "exits: 256"),
        ("within: 1", "within: soon"),
        ("within: 1", "whithin: 1"),
        ("sees: hello", "sees: {contains: hello, time: 5}"),
        ("- server: starts", "- {server: starts, alice: starts}"),
        ("sees: hello", "sees_all: []"),
        ("sees: hello", "sees: {contains: ''}"),
        ("sees: hello", "sees: {json: {}}"),
        ("sees: hello", "grows_less_than: 0 MiB"),
        ("types: hello", "presses: []"),
        ("types: hello", "has_socket_option: {}"),
        ("cast:", "needs: {server: []}\n  cast:"),
        ("cast:", "without: {}\n  cast:"),
        ("- alice: {sees: hello, within: 1}", "- either: [[alice: {sees: hello}]]"),
        ("- alice: {sees: hello, within: 1}", "- together: {alice: starts}"),
        ("sees: hello", "sees: {line: hello, items: 5}"),
        ("within: 1", "not_before: 0"),
        ("types: hello", "types: hello, not_before: 1"),
        ("cast:", "examples: [{id: a, needs: {}}]\n  cast:"),
    ],
    "implementation": [
        ("role: server", "role: proxy"),
        ("run: it", "ruin: it"),
        ("run: it", "run: it, ruin: it"),
    ],
    "suite": [
        ("others_see:", "others:"),
        ("meaning:", "means:"),
        ("alone_types: fence?", "witness: {comes: comes}"),
        ("ready:", "redy:"),
        ('arguments: "{port}"', "takes: [--port]"),
    ],
}
RIGHT = {"scenarios": SCENARIO, "implementation": MANIFEST, "suite": tiny.SUITE}


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [(name, right, wrong) for name, pairs in MISTAKES.items() for right, wrong in pairs],
)
def test_a_mistake_is_found(name: str, right: str, wrong: str, tmp_path: Path) -> None:
    path = tmp_path / "it.yaml"
    path.write_text(RIGHT[name])
    assert problems(name, path) == []
    path.write_text(RIGHT[name].replace(right, wrong))
    assert problems(name, path) != []


def test_several_dialogues_are_taken(tmp_path: Path) -> None:
    path = tmp_path / "it.yaml"
    path.write_text(
        SCENARIO
        + """\
    - either:
        - - alice: {sees: {line: "{items}", items: [a, b]}, since: alice starts, not_before: 1}
        - - alice: {sees: [{optional: hello}, {matches: "(?P<it>.)"}]}
          - either: [[alice: {sees: a}], [alice: {sees: b}]]
    - together: [alice: {types: "{x*9}"}, server: {sees_nothing_for: 1}]
  examples: [{id: one, needs: {server: [loud]}}]
"""
    )
    assert problems("scenarios", path) == []


# --- Made from the code --------------------------------------------------------------------------


@pytest.mark.parametrize("name", schema.documents())
def test_a_schema_is_that_of_the_code(name: str) -> None:
    """If this fails, run `make format`."""
    told = (FOLDER / f"{name}.json").read_text("utf-8")
    assert told == schema.as_text(schema.documents()[name])


def test_every_reference_of_a_schema_leads_somewhere() -> None:
    for name, document in SCHEMAS.items():
        found = re.findall(r'"\$ref": "([^"#]*)#/definitions/([^"]*)"', json.dumps(document))
        for file, definition in found:
            there = SCHEMAS[file.removesuffix(".json") or name]
            assert definition in there["definitions"], (name, file, definition)


def test_the_command_writes_the_schemas_and_the_table(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Verbs\n\n" + schema.HEADER[0] + "\n|---|\n| `old` |\n\nMore\n")
    assert main(["schema", str(tmp_path / "a" / "b"), "--table", str(page)]) == 0
    assert {path.stem for path in (tmp_path / "a" / "b").iterdir()} == set(SCHEMAS)
    assert page.read_text() == "\n".join(["# Verbs", "", *schema.table(), "", "More", ""])


@pytest.mark.parametrize(
    ("page", "told"), [(b"# No verbs\n", "no table of verbs"), (b"\xff", "not UTF-8")]
)
def test_a_page_without_a_table_is_a_mistake(
    page: bytes, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "page.md"
    path.write_bytes(page)
    assert main(["schema", str(tmp_path), "--table", str(path)]) == 2
    assert f"{path}: {told}" in capsys.readouterr().err
