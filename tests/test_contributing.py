"""What CONTRIBUTING.md and docs/ say about additions works; their tables match the code."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from textwrap import indent

import checkout
import pytest

from conformance.builds.build import find_program
from conformance.read import manifest, schema
from conformance.read.verbs import COMMON_OPTIONS
from conformance.read.yaml_tree import read

PAGE = "CONTRIBUTING.md"
IMPLEMENTATION, SCENARIOS = "docs/implementation.md", "docs/scenarios.md"
PROTOCOL = "docs/another-protocol.md"


def text(page: str) -> str:
    return (checkout.ROOT / page).read_text("utf-8")


# --- Adding --------------------------------------------------------------------------------------


def test_the_manifest_is_that_of_the_example() -> None:
    manifest, *_ = checkout.blocks(IMPLEMENTATION, "yaml")
    folder = checkout.ROOT / "tests" / "third_party" / "perl"
    assert (folder / "implementation.yaml").read_text() == manifest


def test_the_example_fails_as_shown(tmp_path: Path) -> None:
    if not find_program("perl"):
        pytest.skip("perl is not on PATH")
    (command,) = checkout.commands(IMPLEMENTATION)
    (shown,) = checkout.blocks(IMPLEMENTATION, "text")
    done = checkout.run(command, checkout.copy(tmp_path))
    assert done.returncode == 1
    assert [line for line in shown.splitlines() if line not in done.stdout.splitlines()] == []


def test_a_known_failure_makes_it_green(tmp_path: Path) -> None:
    if not find_program("perl"):
        pytest.skip("perl is not on PATH")
    _, known, _ = checkout.blocks(IMPLEMENTATION, "yaml")
    copy = checkout.copy(tmp_path)
    with (copy / "tests/third_party/perl/implementation.yaml").open("a") as manifest:
        manifest.write(known)
    (command,) = checkout.commands(IMPLEMENTATION)
    done = checkout.run(f"{command} -k double-slash", copy)
    assert done.returncode == 0, done.stdout


def test_failures_are_listed_as_told(tmp_path: Path) -> None:
    _, _, listed = checkout.blocks(IMPLEMENTATION, "yaml")
    copy = checkout.copy(tmp_path)
    with (copy / "tests/third_party/perl/implementation.yaml").open("a") as file:
        file.write(listed)
    done = checkout.run("conformance check scenarios tests/third_party/perl", copy)
    assert done.returncode == 0, done.stdout


def test_keys_of_manifests_are_as_told(tmp_path: Path) -> None:
    """Each row of their table can be added to a manifest, and no key but common ones is missing."""
    rows = re.findall(r"^\| `(\w+)(: [^|]*?)` \|", text(IMPLEMENTATION), re.MULTILINE)
    keys = [key for key, _ in rows]
    least = "name: it\nrole: server\nlanguage: C\nrun: ./it\n"
    for number, (key, value) in enumerate(rows):
        path = tmp_path / str(number) / "implementation.yaml"
        path.parent.mkdir()
        path.write_text(f"{least}{key}{value}\n")
        assert manifest.load(path)
    common = {"name", "role", "language", "needs", "build", "run", "features"}
    assert set(manifest.KEYS) - common - {"known_failures", "may_fail"} == set(keys)


@pytest.mark.parametrize(
    ("wanted", "status"), [("alice:   two before", 0), ("alice: two before", 1)]
)
def test_the_scenario_is_played_as_told(wanted: str, status: int, tmp_path: Path) -> None:
    (scenario,) = checkout.blocks(SCENARIOS, "yaml")
    copy = checkout.copy(tmp_path)
    with (copy / "scenarios" / "frame.yaml").open("a") as file:
        file.write("\n" + scenario.replace("alice:   two before", wanted))
    assert checkout.run("conformance check scenarios", copy).returncode == 0
    found = re.search(r"`(conformance run [^`]*::[^`]*)`", text(SCENARIOS))
    assert found
    done = checkout.run(f"{found[1]} --server python --client python", copy)
    assert done.returncode == status, done.stdout
    assert ("FRAME-7 (MUST)" in done.stdout) == bool(status)


@pytest.mark.parametrize(("sent", "status"), [("data", 0), ("data.upper()", 1)])
def test_the_protocol_is_made_and_played_as_told(sent: str, status: int, tmp_path: Path) -> None:
    (rules,) = checkout.blocks(PROTOCOL, "md")
    suite, manifest, scenario = checkout.blocks(PROTOCOL, "yaml")
    (server,) = checkout.blocks(PROTOCOL, "python")
    for name, content in {
        "PROTOCOL.md": rules,
        "suite.yaml": suite,
        "servers/mine/implementation.yaml": manifest,
        "servers/mine/server.py": server.replace("sendall(data)", f"sendall({sent})"),
        "lines.yaml": scenario,
    }.items():
        path = tmp_path / "echo" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, "utf-8")
    (command,) = checkout.commands(PROTOCOL)
    done = checkout.run(command, tmp_path)
    assert done.returncode == status, done.stdout
    assert ("ECHO-1 (MUST)" in done.stdout) == bool(status)


@pytest.mark.parametrize("name", re.findall(r"`make ([^`]*)`", text(PAGE)))
def test_make_knows_how(name: str) -> None:
    done = checkout.run(f"make -n {name}", checkout.ROOT)
    assert done.returncode == 0, done.stdout


def test_the_verb_can_be_added_as_told(tmp_path: Path) -> None:
    grammar, entry, method, test = checkout.blocks(PAGE, "python", "A verb in ten minutes")
    for name in ("conformance", "tests/play", "tests/support"):
        shutil.copytree(checkout.ROOT / name, tmp_path / name, ignore=checkout.ignored)
    (tmp_path / "docs").mkdir()
    for name in ("pyproject.toml", SCENARIOS):
        shutil.copy(checkout.ROOT / name, tmp_path / name)
    package = tmp_path / "conformance"
    edit(package / "read" / "grammar.py", "", "\n\n" + grammar)
    edit(
        package / "read" / "verbs.py",
        "    for verb in (\n",
        indent(entry.rstrip() + ",\n", " " * 8),
    )
    edit(package / "read" / "verbs.py", "    key,\n", "    number,\n")
    edit(package / "play" / "actors" / "meters.py", "", "\n" + indent(method, " " * 4))
    edit(package / "play" / "actors" / "meters.py", "import time\n", "import os\n")
    edit(tmp_path / "tests" / "play" / "test_playing.py", "", "\n\n" + test)
    for command in (
        "pytest -q tests/play/test_playing.py -k test_threads",
        "conformance schema conformance/schema --table docs/scenarios.md",
    ):
        done = checkout.run(f"PYTHONPATH=$PWD {command}", tmp_path)
        assert done.returncode == 0, done.stdout
    assert "| `has_threads` | programs | number | |" in (tmp_path / SCENARIOS).read_text("utf-8")


def edit(path: Path, behind: str, text: str) -> None:
    """Put a text into a file, behind another, or at its end."""
    old = path.read_text("utf-8")
    assert behind in old
    path.write_text(old.replace(behind, behind + text, 1) if behind else old + text, "utf-8")


# --- The table of verbs --------------------------------------------------------------------------


def test_the_table_is_that_of_the_code() -> None:
    """Where this fails: `make format`."""
    rows = text(SCENARIOS).partition("\n".join(schema.HEADER) + "\n")[2].partition("\n\n")[0]
    assert [*schema.HEADER, *rows.splitlines()] == schema.table()


def test_the_options_of_every_step_are_those_of_the_code() -> None:
    (common,) = re.findall(r"Any step may say (.*?)\n\n", text(SCENARIOS), re.DOTALL)
    named = re.findall("`([^`]+)`", common)
    assert {words.partition(":")[0] for words in named} == set(COMMON_OPTIONS)


def test_each_verb_of_the_suite_has_its_meaning() -> None:
    """docs/scenarios.md sends people there for them."""
    suite = read(checkout.ROOT / "scenarios" / "suite.yaml").mapping("a suite")
    verbs = suite["verbs"].mapping("verbs")
    assert all("meaning" in entry.mapping("a verb") for entry in verbs.values())
