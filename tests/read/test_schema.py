"""The published schemas, for editors: they take our own files, and know what the code knows."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import tiny
from jsonschema import Draft7Validator
from jsonschema.validators import validator_for
from referencing import Registry, Resource

import conformance
from conformance.mistakes import Mistake
from conformance.model import CAST_MEMBERS, ActorKind
from conformance.read import manifest
from conformance.read.suite import load_suite
from conformance.read.verbs import BOOKKEEPING, COMMON_OPTIONS, KEYS, VERBS
from conformance.read.yaml_tree import Node, read

ROOT = Path(__file__).parents[2]
FOLDER = Path(conformance.__file__).parent / "schema"
SCHEMAS: dict[str, Any] = {path.stem: json.loads(path.read_text()) for path in FOLDER.iterdir()}
REGISTRY: Registry[Any] = Registry().with_resources(
    (f"{name}.json", Resource.from_contents(schema)) for name, schema in SCHEMAS.items()
)

DEFINITIONS = SCHEMAS["scenarios"]["definitions"]
STEP = DEFINITIONS["verb"]
VERBS_WITH_OPTIONS = {
    **{name: {**verb.options, **COMMON_OPTIONS} for name, verb in VERBS.items()},
    **BOOKKEEPING,
}


def problems(name: str, path: Path) -> list[str]:
    """What a schema finds wrong with a YAML file."""
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
    """Every YAML file of the project, with the schema that it keeps."""
    suite = ROOT / "scenarios" / "suite.yaml"
    scenarios = [path for path in sorted(suite.parent.glob("*.yaml")) if path != suite]
    manifests = sorted(ROOT.glob("*/*/implementation.yaml"))
    return [
        ("suite", suite),
        *(("scenarios", path) for path in scenarios),
        *(("implementation", path) for path in manifests),
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
    ],
    "implementation": [
        ("role: server", "role: proxy"),
        ("run: it", "ruin: it"),
        ("run: it", "run: it, ruin: it"),
    ],
    "suite": [
        ("others_see:", "others:"),
        ("meaning:", "means:"),
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


# --- What the code knows -------------------------------------------------------------------------


def test_the_verbs_and_their_options_are_those_of_the_code() -> None:
    options = {option for known in VERBS_WITH_OPTIONS.values() for option in known}
    assert set(STEP["properties"]) == {*VERBS_WITH_OPTIONS, *options}
    beside = {
        verb: set(rule["propertyNames"]["enum"]) for verb, rule in STEP["dependencies"].items()
    }
    assert beside == {verb: {verb, *known} for verb, known in VERBS_WITH_OPTIONS.items()}


def test_the_verbs_without_argument_are_those_of_the_code() -> None:
    bare = {name for name, verb in VERBS.items() if verb.argument is None or not verb.needed}
    assert set(DEFINITIONS["bare"]["anyOf"][0]["enum"]) == {*bare, "sees_nothing"}


def test_the_keys_of_a_keyboard_are_those_of_the_code() -> None:
    assert DEFINITIONS["key"]["anyOf"][0]["enum"] == list(KEYS)


def known_keys(error: pytest.ExceptionInfo[Mistake]) -> set[str]:
    """Those that a fault about an unknown key names."""
    found = re.search(
        r"unknown key `0` in [^;]*; known: ([\w, ]+)", "\n".join(error.value.problems)
    )
    assert found
    return set(found[1].split(", "))


def test_the_keys_of_a_scenario_are_those_of_the_code(tmp_path: Path) -> None:
    suite = tiny.write_suite(tmp_path)
    with pytest.raises(Mistake) as error:
        tiny.read_scenarios(suite, "- {'0': 0}")
    assert known_keys(error) == set(DEFINITIONS["scenario"]["properties"])


@pytest.mark.parametrize(
    ("verb", "definition"), [("sees", "lines"), ("types", "said"), ("sends", "bytes")]
)
def test_the_keys_of_what_is_said_are_those_of_the_code(
    verb: str, definition: str, tmp_path: Path
) -> None:
    suite = tiny.write_suite(tmp_path)
    with pytest.raises(Mistake) as error:
        tiny.scenario(suite, f"- server: starts\n- ann: starts\n- ann: {{{verb}: {{'0': 0}}}}")
    known = set(DEFINITIONS[definition]["anyOf"][2]["properties"])
    patterns = {"starts", "ends", "contains", "matches", "json"} if definition == "said" else set()
    assert known_keys(error) == known | patterns  # what is typed is no pattern, and told so


def test_the_keys_of_a_manifest_are_those_of_the_code(tmp_path: Path) -> None:
    path = tmp_path / "implementation.yaml"
    path.write_text("'0': 0")
    with pytest.raises(Mistake) as error:
        manifest.load(path)
    assert known_keys(error) == set(SCHEMAS["implementation"]["properties"])


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("'0': 0", []),
        ("programs: {server: {'0': 0}}", ["definitions", "program"]),
        ("verbs: {it: {'0': 0}}", ["definitions", "shorthand"]),
        ("fence: {'0': 0}", ["definitions", "fence"]),
    ],
)
def test_the_keys_of_a_suite_are_those_of_the_code(
    text: str, where: list[str], tmp_path: Path
) -> None:
    (tmp_path / "suite.yaml").write_text(text)
    with pytest.raises(Mistake) as error:
        load_suite(tmp_path)
    schema = SCHEMAS["suite"]
    for key in where:
        schema = schema[key]
    assert known_keys(error) == set(schema["properties"])


def test_the_kinds_of_actors_are_those_of_the_code() -> None:
    cast = DEFINITIONS["scenario"]["properties"]["cast"]["additionalProperties"]["enum"]
    assert set(cast) == set(CAST_MEMBERS)
    steps = SCHEMAS["suite"]["definitions"]["shorthand"]["properties"]["steps"]
    assert set(steps["anyOf"][1]["properties"]) == set(ActorKind)


def test_all_that_is_no_code_is_in_the_package() -> None:
    """Where it is installed, not only in a checkout."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]
    named = {
        path
        for name in settings["package-data"]["conformance"]
        for path in FOLDER.parent.glob(name)
    }
    assert named == {path for path in FOLDER.parent.rglob("*.*") if ".py" not in path.suffix}
