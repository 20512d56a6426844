"""CONTRIBUTING.md is true: what it adds can be added as told, and its table is that of the code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import checkout
import pytest

from conformance.build import find_program
from conformance.model import PEERS, PROGRAMS
from conformance.read.verbs import ALL, BOOKKEEPING, COMMON_OPTIONS, VERBS
from conformance.read.yaml_tree import read

PAGE = "CONTRIBUTING.md"
TEXT = (checkout.ROOT / PAGE).read_text("utf-8")

ACTORS = {
    "all": ALL,
    "programs": PROGRAMS,
    "connections": PEERS,
    "wire": {"wire"},
    "scripted": {"scripted"},
    "on a screen": PROGRAMS,
}


# --- Adding --------------------------------------------------------------------------------------


def test_the_manifest_is_that_of_the_example() -> None:
    manifest, *_ = checkout.blocks(PAGE, "yaml")
    folder = checkout.ROOT / "tests" / "third_party" / "perl"
    assert (folder / "implementation.yaml").read_text() == manifest


def test_the_example_fails_as_shown(tmp_path: Path) -> None:
    if not find_program("perl"):
        pytest.skip("perl is not on PATH")
    (command,) = checkout.commands(PAGE)
    (shown,) = checkout.blocks(PAGE, "text")
    done = checkout.run(command, checkout.copy(tmp_path))
    assert done.returncode == 1
    assert [line for line in shown.splitlines() if line not in done.stdout.splitlines()] == []


def test_a_known_failure_makes_it_green(tmp_path: Path) -> None:
    if not find_program("perl"):
        pytest.skip("perl is not on PATH")
    _, known, _ = checkout.blocks(PAGE, "yaml")
    copy = checkout.copy(tmp_path)
    with (copy / "tests/third_party/perl/implementation.yaml").open("a") as manifest:
        manifest.write(known)
    (command,) = checkout.commands(PAGE)
    done = checkout.run(f"{command} -k double-slash", copy)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("wanted", "status"), [("alice:   two before", 0), ("alice: two before", 1)]
)
def test_the_scenario_is_played_as_told(wanted: str, status: int, tmp_path: Path) -> None:
    *_, scenario = checkout.blocks(PAGE, "yaml")
    copy = checkout.copy(tmp_path)
    with (copy / "scenarios" / "frame.yaml").open("a") as file:
        file.write("\n" + scenario.replace("alice:   two before", wanted))
    assert checkout.run("conformance check scenarios", copy).returncode == 0
    found = re.search(r"`(conformance run [^`]*::[^`]*)`", TEXT)
    assert found
    done = checkout.run(f"{found[1]} --server python --client python", copy)
    assert done.returncode == status, done.stdout
    assert ("FRAME-7 (MUST)" in done.stdout) == bool(status)


@pytest.mark.parametrize("name", re.findall(r"`make ([^`]*)`", TEXT))
def test_make_knows_how(name: str) -> None:
    done = checkout.run(f"make -n {name}", checkout.ROOT)
    assert done.returncode == 0, done.stdout


# --- The table of verbs --------------------------------------------------------------------------


def table() -> Iterator[tuple[str, str, str, set[str]]]:
    """Its rows: verb, actors, argument, options."""
    for line in TEXT.splitlines():
        if line.startswith("| `"):
            verb, actors, argument, options, _ = line.strip("|").split("|")
            yield verb.strip(" `"), actors.strip(), argument.strip(), set(quoted(options))


def quoted(text: str) -> list[str]:
    return re.findall("`([^`]+)`", text)


def test_the_verbs_are_those_of_the_code() -> None:
    assert sorted(verb for verb, *_ in table()) == sorted([*VERBS, *BOOKKEEPING])


def test_each_verb_is_for_the_actors_of_the_code() -> None:
    told = {verb: ACTORS[actors] for verb, actors, *_ in table()}
    known = {verb: row.kinds for verb, row in VERBS.items()} | dict.fromkeys(BOOKKEEPING, ALL)
    assert told == known


def test_each_verb_takes_an_argument_as_in_the_code() -> None:
    told = {verb for verb, _, argument, _ in table() if argument}
    assert told == {verb for verb, row in VERBS.items() if row.argument} | {"enters", "leaves"}


def test_the_options_are_those_of_the_code() -> None:
    told = {verb: options for verb, _, _, options in table()}
    own = {verb: set(row.options) for verb, row in VERBS.items()}
    own |= {verb: set(options) - set(COMMON_OPTIONS) for verb, options in BOOKKEEPING.items()}
    assert told == own
    (common,) = re.findall(r"Any step may say (.*?)\n\n", TEXT, re.DOTALL)
    assert {words.partition(":")[0] for words in quoted(common)} == set(COMMON_OPTIONS)


def test_each_verb_of_the_suite_has_its_meaning() -> None:
    """CONTRIBUTING.md sends people there for them."""
    suite = read(checkout.ROOT / "scenarios" / "suite.yaml").mapping("a suite")
    verbs = suite["verbs"].mapping("verbs")
    assert all("meaning" in entry.mapping("a verb") for entry in verbs.values())
