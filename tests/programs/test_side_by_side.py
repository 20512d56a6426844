"""The three servers can be read side by side, and so can the three clients.

Each has the same files, sections and names in all three languages. The tables in docs/languages.md
list the shared names; this test reads them.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from conformance.report.compare.outline import outline, plain
from conformance.report.compare.source import lines_of

ROOT = Path(__file__).parents[2]
SUFFIXES = {"c": "c", "go": "go", "python": "py"}
UNIT_FILES = {"c": "{unit}.h", "go": "{unit}/{unit}.go", "python": "{unit}.py"}
UNITS = {
    "servers": ("accounts", "log", "options", "stream"),
    "clients": ("options", "terminal"),
}
SECTIONS = {"servers": 10, "clients": 9}
EACH = [(role, language) for role in UNITS for language in SUFFIXES]


def sections(path: Path) -> dict[str, set[str]]:
    """The names defined in each section of a file, by the section's title, in order."""
    found = outline(lines_of(path.name, path.read_text("utf-8")))
    return {one.title: {plain(block.name) for block in one.blocks} for one in found}


def program(role: str, language: str) -> Path:
    return ROOT / role / language / f"{role[:-1]}.{SUFFIXES[language]}"


def unit_file(role: str, language: str, unit: str) -> Path:
    return ROOT / role / language / UNIT_FILES[language].format(unit=unit)


def glossary(role: str) -> dict[str, set[str]]:
    """The functions that all three have, by section title or file name."""
    text = (ROOT / "docs" / "languages.md").read_text("utf-8")
    chapter = text.split(f"## The three {role}, side by side\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (\d+\. [^|]+|`\w+`) \| (.+) \|$", chapter, re.M)
    found = {title.strip("`"): re.findall(r"`(\w+)`", row) for title, row in rows}
    return {title: {plain(name) for name in names} for title, names in found.items()}


@pytest.mark.parametrize(("role", "language"), EACH)
def test_the_units_are_the_same(role: str, language: str) -> None:
    for unit in UNITS[role]:
        assert unit_file(role, language, unit).is_file()


@pytest.mark.parametrize("role", UNITS)
def test_the_sections_are_the_same_and_in_the_same_order(role: str) -> None:
    titles = {
        name: [title for title in sections(program(role, name)) if title] for name in SUFFIXES
    }
    assert len(titles["python"]) == SECTIONS[role]
    assert titles["go"] == titles["python"]
    assert titles["c"] == titles["python"]


@pytest.mark.parametrize(("role", "language"), EACH)
def test_the_functions_of_the_glossary_stand_where_it_says(role: str, language: str) -> None:
    shared = glossary(role)
    assert sum(map(len, shared.values())) >= 50
    found = sections(program(role, language))
    for unit in UNITS[role]:
        found[unit] = set().union(*sections(unit_file(role, language, unit)).values())
    missing = {title: names - found[title] for title, names in shared.items()}
    assert not {title: names for title, names in missing.items() if names}
