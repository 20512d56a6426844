"""The installed package plays everything without a checkout."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from checkout import ROOT, environment, run

MAKEFILE = ROOT / "Makefile"
MADE = shutil.ignore_patterns("chat_server", "chat_client", "server", "client", "__pycache__")
SOURCES = ("conformance", "scenarios", "servers", "clients", "examples")
PAPERS = ("pyproject.toml", "PROTOCOL.md", "README.md", "LICENSE")
MANIFEST = 'name: mine\nrole: {role}\nlanguage: Python\nrun: "{{python}} {role}.py"\n'


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what `pip install` would put into an environment, built as people build it."""
    folder = tmp_path_factory.mktemp("wheel")
    project, made, site = folder / "project", folder / "made", folder / "site"
    project.mkdir()
    for name in SOURCES:
        shutil.copytree(ROOT / name, project / name, ignore=MADE)
    for name in PAPERS:
        shutil.copy(ROOT / name, project / name)
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", made],
        cwd=project,
        check=True,
        capture_output=True,
    )
    (wheel,) = made.glob("*.whl")
    assert list(made.glob("*.tar.gz")), "no sdist: the wheel was to be built from it"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    return site


def conformance(installed: Path, here: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """The installed command, in a folder without a suite."""
    return subprocess.run(
        [sys.executable, "-m", "conformance", *words],
        cwd=here,
        env=environment() | {"PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_all_files_of_the_package_are_installed(installed: Path) -> None:
    package = ROOT / "conformance"
    ours = [path for path in package.rglob("*.*") if "__pycache__" not in path.parts]
    assert ours
    for path in ours:
        assert (installed / "conformance" / path.relative_to(package)).is_file()


def test_a_server_elsewhere_is_judged_with_the_reference_client(
    installed: Path, tmp_path: Path
) -> None:
    mine = tmp_path / "mine"
    shutil.copytree(ROOT / "servers" / "python", mine, ignore=MADE)
    (mine / "implementation.yaml").write_text(MANIFEST.format(role="server"))
    who = ("--implementation", "mine", "--server", "mine", "--client", "python")
    done = conformance(installed, tmp_path, "run", "CHAT-5", *who)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "mine" in done.stdout
    # An id is as short as in a checkout, and plays its case again.
    again = conformance(installed, tmp_path, "run", "scenarios/chat.yaml::double-slash", *who)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "scenarios/chat.yaml::double-slash[mine+python]" in (
        tmp_path / "build" / "conformance" / "results.json"
    ).read_text("utf-8")


def test_a_client_elsewhere_is_judged_with_the_reference_server(
    installed: Path, tmp_path: Path
) -> None:
    mine = tmp_path / "mine"
    shutil.copytree(ROOT / "clients" / "python", mine, ignore=MADE)
    (mine / "implementation.yaml").write_text(MANIFEST.format(role="client"))
    who = ("--implementation", "mine", "--client", "mine", "--server", "python")
    done = conformance(installed, tmp_path, "run", "CHAT-5", "CLIENT-4", *who)
    assert done.returncode == 0, done.stdout + done.stderr


_PLAY = ("play", "chat/double-slash", "--server", "python", "--client", "python")


def test_all_commands_find_what_is_installed(installed: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    shutil.copytree(ROOT / "servers" / "python", mine, ignore=MADE)
    (mine / "implementation.yaml").write_text(MANIFEST.format(role="server"))
    for words in (
        ("explain", "CHAT-5", "--server", "python", "--client", "python"),
        _PLAY,
        (*_PLAY, "--record", "play.svg"),
        ("new", "server", "other", "--language", "python"),
        ("doctor", "mine", "--deadline", "60"),  # enough on a busy machine
        ("compare",),
    ):
        done = conformance(installed, tmp_path, *words)
        assert done.returncode == 0, done.stdout + done.stderr
    assert "alice: {types: " in (tmp_path / "play.svg").read_text("utf-8").replace("&#160;", " ")


def test_a_place_is_as_short_as_in_a_checkout(installed: Path, tmp_path: Path) -> None:
    who = ("--implementation", "mine", "--server", "mine")
    (tmp_path / "mine").mkdir()
    manifest = 'name: mine\nrole: server\nlanguage: none\nrun: "false"\n'
    (tmp_path / "mine" / "implementation.yaml").write_text(manifest)
    done = conformance(installed, tmp_path, "run", *who, "scenarios/join.yaml::good-names")
    assert re.search(r"\n  step +scenarios/join\.yaml:\d+:\d+  ", done.stdout), done.stdout


def test_nothing_is_built_into_what_is_installed(installed: Path, tmp_path: Path) -> None:
    before = sorted(installed.rglob("*.*"))
    done = conformance(installed, tmp_path, "exec", "client-python", "--", "--version")
    assert done.stdout.startswith("chat-client ")
    kit = installed / "conformance" / "kit"
    assert [path for path in sorted(kit.rglob("*.*")) if path not in before] == []


def test_the_examples_are_installed(installed: Path, tmp_path: Path) -> None:
    done = conformance(
        installed, tmp_path, "run", "examples/budget-chat", "LINE-2", "--server", "right"
    )
    assert done.returncode == 0, done.stdout + done.stderr


def completed(line: str, folder: Path) -> list[str]:
    """What a shell offers for a line."""
    answer = folder / "answer"
    asking = {"_ARGCOMPLETE": "1", "_ARGCOMPLETE_IFS": "\n", "_ARGCOMPLETE_COMP_WORDBREAKS": " :"}
    asking |= {"COMP_LINE": line, "COMP_POINT": str(len(line))}
    asking |= {"_ARGCOMPLETE_STDOUT_FILENAME": str(answer)}
    command = [sys.executable, "-m", "conformance"]
    subprocess.run(command, cwd=ROOT, env=os.environ | asking, check=False, capture_output=True)
    return [word.strip() for word in answer.read_text("utf-8").splitlines()]


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("conformance ex", "exec"),
        ("conformance run --ser", "--server"),
        ("conformance run --server py", "python"),
        ("conformance run --client c,g", "c,go"),
        ("conformance exec server-", "server-go"),
        ("conformance run CHAT-", "CHAT-5"),
        ("conformance run scenarios --server c CHAT-", "CHAT-5"),
        ("conformance run scenarios/chat.yaml::dou", "double-slash"),
        ("conformance explain --server c CHAT-", "CHAT-5"),
        ("conformance explain chat/dou", "chat/double-slash"),
        ("conformance play chat/dou", "chat/double-slash"),
        ("conformance check scen", "scenarios/"),
    ],
)
def test_a_shell_completes(line: str, offered: str, tmp_path: Path) -> None:
    assert offered in completed(line, tmp_path)


def test_the_manual_page_tells_of_all_commands_and_the_exit_status(tmp_path: Path) -> None:
    page = tmp_path / "conformance.1"
    (recipe,) = re.findall(
        r"(?m)^\t@(argparse-manpage (?:.*\\\n)*.*)$", MAKEFILE.read_text("utf-8")
    )
    done = run(recipe.replace("build/man/conformance.1", str(page)), ROOT)
    assert done.returncode == 0, done.stdout
    text = page.read_text("utf-8")
    for command in ("run", "list", "check", "next", "exec", "report", "diff", "schema"):
        assert f"conformance {command}" in text
    assert "exit status" in text.lower()
