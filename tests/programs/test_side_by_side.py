"""The three servers can be read side by side, and so can the three clients.

Each has the same units, sections and names in all three languages. What is shared stands in the
tables of CONTRIBUTING; this test reads it from there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UNITS = {
    "servers": ("accounts", "log", "options", "stream"),
    "clients": ("options", "terminal"),
}
SECTIONS = {"servers": 10, "clients": 9}

C_NAME = (
    r"^(?:static |const |struct \w+ |enum \w+ |[a-z_0-9]+_t |_Noreturn |bool |void |char |int )"
)


@dataclass(frozen=True)
class Language:
    """How a language writes sections and functions, and where it has its units."""

    suffix: str
    banner: str
    function: str
    unit: str  # a pattern for the file of a unit, in the program's folder

    def functions(self, text: str) -> set[str]:
        return {plain(name) for name in re.findall(self.function, text, re.M)}

    def sections(self, path: Path) -> Iterator[tuple[str, set[str]]]:
        """Each section's title with the names of its functions, in order."""
        text = path.read_text("utf-8")
        found = list(re.finditer(self.banner, text, re.M))
        ends = [match.start() for match in found[1:]] + [len(text)]
        for match, end in zip(found, ends, strict=True):
            yield match[1], self.functions(text[match.end() : end])


LANGUAGES = {
    "python": Language("py", r"^ *# (\d+\. .+)$", r"^ *(?:async )?def (\w+)\(", "{unit}.py"),
    "go": Language(
        "go",
        r"^// (?:-+ )?(\d+\. .+?)(?: -+)?$",
        r"^func (?:\([^)]*\) )?(\w+)\(",
        "{unit}/{unit}.go",
    ),
    "c": Language(
        "c",
        r"^/\* -+ (\d+\. .+?) -+ \*/",
        rf"{C_NAME}[^;={{]*?\b(\w+)\((?=[^;]*?\n\{{)|^(\w+)\(struct ",
        "{unit}.h",
    ),
}
EACH = [(role, language) for role in UNITS for language in LANGUAGES]


def plain(name: str | tuple[str, ...]) -> str:
    """A name as all three would write it, without underscores and capitals."""
    return "".join(name).replace("_", "").lower()


def program(role: str, language: str) -> Path:
    return ROOT / role / language / f"{role[:-1]}.{LANGUAGES[language].suffix}"


def glossary(role: str) -> dict[str, set[str]]:
    """The functions that all three have, by the title of their section or the name of a unit."""
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    chapter = text.split(f"## The three {role}, side by side\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (\d+\. [^|]+|`\w+`) \| (.+) \|$", chapter, re.M)
    found = {title.strip("`"): re.findall(r"`(\w+)`", row) for title, row in rows}
    return {title: {plain(name) for name in names} for title, names in found.items()}


@pytest.mark.parametrize(("role", "language"), EACH)
def test_the_units_are_the_same(role: str, language: str) -> None:
    folder = program(role, language).parent
    for unit in UNITS[role]:
        assert (folder / LANGUAGES[language].unit.format(unit=unit)).is_file()


@pytest.mark.parametrize("role", UNITS)
def test_the_sections_are_the_same_and_in_the_same_order(role: str) -> None:
    titles = {
        name: [title for title, _ in language.sections(program(role, name))]
        for name, language in LANGUAGES.items()
    }
    assert len(titles["python"]) == SECTIONS[role]
    assert titles["go"] == titles["python"]
    assert titles["c"] == titles["python"]


@pytest.mark.parametrize(("role", "language"), EACH)
def test_the_functions_of_the_glossary_stand_where_it_says(role: str, language: str) -> None:
    shared = glossary(role)
    assert sum(map(len, shared.values())) >= 50
    here, path = LANGUAGES[language], program(role, language)
    found = dict(here.sections(path))
    for unit in UNITS[role]:
        text = (path.parent / here.unit.format(unit=unit)).read_text("utf-8")
        found[unit] = here.functions(text)
    missing = {title: names - found[title] for title, names in shared.items()}
    assert not {title: names for title, names in missing.items() if names}
