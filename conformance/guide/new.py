"""`conformance new`: makes the folder of a new implementation, from a template of the suite.

Each `templates/LANGUAGE/ROLE` in a suite's folder is an implementation that can be built and run.
For a language without a template, it writes only a manifest, with comments that explain its keys.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from conformance.cli.common import GREEN, SUITE, Arguments, add_suite, suite_folder
from conformance.cli.streams import show
from conformance.mistakes import Mistake
from conformance.model import Implementation, Kind, Program, Role, is_name
from conformance.read import manifest, scenario
from conformance.read.suite import SuiteFile, load_suite
from conformance.report.terminal.way import section_of
from conformance.text import visible

TEMPLATES = "templates"

_NAME_LINE = re.compile("^name: .*$", re.MULTILINE)
_NOT_COPIED = shutil.ignore_patterns(".*", "__pycache__")


def add_command(commands: Any) -> None:
    """Add the parser of the command."""
    parser = commands.add_parser(
        "new",
        help="make the folder of a new implementation",
        epilog="example: conformance new server servers/rust --language rust",
    )
    parser.set_defaults(command=make)
    parser.add_argument("role", choices=list(map(str, Role)), help="the role of the program")
    parser.add_argument(
        "folder", type=Path, metavar="DIR", help="the new folder; the program gets its name"
    )
    parser.add_argument(
        "--language",
        required=True,
        metavar="L",
        help="the language; the suite may have a template for it",
    )
    add_suite(parser, "the suite to implement")


def make(arguments: Arguments) -> int:
    """Make the folder, and show what to do next."""
    folder, role, suite = arguments.folder, Role(arguments.role), load_suite(arguments.suite)
    _check_folder(folder)
    templates = {one.folder: one for one in _templates(suite, role)}
    found = [path for path, one in templates.items() if _matches(arguments.language, path, one)]
    if found:
        shutil.copytree(found[0], folder, ignore=_NOT_COPIED, dirs_exist_ok=True)
        path = folder / manifest.MANIFEST_FILE
        text = _NAME_LINE.sub(f"name: {folder.resolve().name}", path.read_text("utf-8"), count=1)
    else:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / manifest.MANIFEST_FILE
        text = "\n".join(_manifest(folder.resolve().name, role, arguments.language, suite)) + "\n"
    path.write_text(text, "utf-8")
    known = sorted(path.parent.name for path in templates)
    show("\n".join(_what_next(manifest.load(path), suite, arguments.suite, bool(found), known)))
    return GREEN


def _check_folder(folder: Path) -> None:
    """Raise Mistake if the folder exists and is not empty, or if its name is not allowed."""
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise Mistake([f"{folder}: already exists; name a new or an empty folder"])
    if not is_name(folder.resolve().name):
        remedy = "use 1 to 64 letters, digits and `-`, but not the word `mixed`"
        raise Mistake([f"{folder}: a program cannot have the name of this folder; {remedy}"])


def _templates(suite: SuiteFile, role: Role) -> list[Implementation]:
    """The templates of the suite for a role."""
    paths = sorted(suite.folder.glob(f"{TEMPLATES}/*/{role}/{manifest.MANIFEST_FILE}"))
    return [manifest.load(path) for path in paths]


def _matches(language: str, folder: Path, template: Implementation) -> bool:
    """Whether a template is for a language, by its folder (`cpp`) or its manifest (`C++`)."""
    return language.casefold() in (folder.parent.name.casefold(), template.language.casefold())


# --- A manifest without a program ---

_EXAMPLES = {  # optional keys, commented out in the new manifest
    "needs": "[compiler]",
    "build": "compiler -o {build}/program program.source",
    "features": "[]",
    "arguments": "-h {host} -p {port}",
    "known_failures": "{}",
}


def _manifest(name: str, role: Role, language: str, suite: SuiteFile) -> Iterator[str]:
    """The lines of a manifest, with optional keys as comments."""
    program = suite.programs.get(role, Program())
    yield f"name: {name}"
    yield f"role: {role}"
    yield f"language: {json.dumps(language, ensure_ascii=False)}"
    yield ""
    yield from _comment(f"The command that starts it; the harness appends: {_appended(program)}")
    if role is Role.SERVER and program.ready.line:
        yield from _comment(f"When it accepts connections, it prints: {program.ready.line}")
    yield "run: ./program"
    for key, example in _EXAMPLES.items():
        yield ""
        yield from _comment(manifest.KEYS[key].meaning)
        yield f"# {key}: {example}"


def _comment(text: str) -> Iterator[str]:
    words = re.findall(r".{1,96}(?:\s|$)", text)
    yield from (f"# {line.rstrip()}" for line in words)


def _appended(program: Program) -> str:
    """The arguments that the harness appends to `run`."""
    usual: Mapping[str, str | None] = program.options or {}
    options = [f"--{name} {value}".strip() for name, value in usual.items() if value is not None]
    return " ".join([program.arguments, *options]).strip() or "nothing"


# --- What to do next ---


def _what_next(
    one: Implementation, suite: SuiteFile, place: Path, from_template: bool, known: list[str]
) -> Iterator[str]:
    """The lines that tell a person how to go on."""
    folder, is_usual = visible(str(one.folder)), place == suite_folder(SUITE)
    if from_template:
        yield f"{folder} holds a {one.role} in {one.language}; `TODO` marks what to add"
    else:
        have = f"has templates for {', '.join(known)}" if known else "has no templates"
        yield f"{folder}/{manifest.MANIFEST_FILE}: set `run` in it (the suite {have})"
    option = [] if is_usual else ["--suite", visible(str(place))]
    yield f"find problems:         {shlex.join(['conformance', 'doctor', folder, *option])}"
    if not from_template:
        return  # there is nothing to play yet
    found = {path.resolve() for path in load_suite(suite.folder).implementation_folders}
    words = ["--implementation", folder] if one.folder.resolve() not in found else []
    words += [f"--{one.role}", one.name, *([] if is_usual else option[1:])]
    rules = _first_rules(suite, one.role)
    yield f"play the first rules:  {shlex.join(['conformance', 'run', *words, *rules])}"
    yield "see what is next:      conformance next"


def _first_rules(suite: SuiteFile, role: Role) -> list[str]:
    """The rules or sections to implement first.

    A server begins with the first rule and the second section of the suite; a client, with the
    section that most client-only scenarios are about.
    """
    if role is Role.SERVER:
        first, *others = suite.requirements
        sections = [section_of(rule) for rule in others if section_of(rule) != section_of(first)]
        return [first, sections[0]] if sections else [section_of(first)]
    scenarios = (one for one in scenario.load([suite.folder])[1] if one.kind is Kind.CLIENT)
    proven = Counter(section_of(rule) for one in scenarios for rule in one.claims)
    return [section for section, _ in proven.most_common(1)]
