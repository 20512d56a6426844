"""The three servers can be read side by side: the same units, sections and names in each.

What is shared stands in CONTRIBUTING's table; this test reads it from there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SERVERS = ROOT / "servers"
UNITS = {"accounts", "log", "options", "stream"}

C_NAME = (
    r"^(?:static |const |struct \w+ |enum \w+ |[a-z_0-9]+_t |_Noreturn |bool |void |char |int )"
)


@dataclass(frozen=True)
class Language:
    """Where a language has its server, and how it writes sections and functions."""

    server: Path
    banner: str
    function: str
    units: str  # a pattern for the files of the units, in the server's folder

    def sections(self) -> Iterator[tuple[str, set[str]]]:
        """Each section's title with the names of its functions, in order."""
        text = self.server.read_text("utf-8")
        found = list(re.finditer(self.banner, text, re.M))
        ends = [match.start() for match in found[1:]] + [len(text)]
        for match, end in zip(found, ends, strict=True):
            functions = re.findall(self.function, text[match.end() : end], re.M)
            yield match[1], {plain(name) for name in functions}


LANGUAGES = {
    "python": Language(
        SERVERS / "python/server.py", r"^ *# (\d+\. .+)$", r"^ *def (\w+)\(", "{unit}.py"
    ),
    "go": Language(
        SERVERS / "go/server.go",
        r"^// -+ (\d+\. .+?) -+$",
        r"^func (?:\([^)]*\) )?(\w+)\(",
        "{unit}/{unit}.go",
    ),
    "c": Language(
        SERVERS / "c/server.c",
        r"^/\* -+ (\d+\. .+?) -+ \*/",
        rf"{C_NAME}[^;={{]*?\b(\w+)\((?=[^;]*?\n\{{)|^(\w+)\(struct ",
        "{unit}.h",
    ),
}


def plain(name: str | tuple[str, ...]) -> str:
    """A name as all three would write it, without underscores and capitals."""
    return "".join(name).replace("_", "").lower()


def glossary() -> dict[str, set[str]]:
    """The functions that all three have, by the title of their section."""
    rows = re.findall(
        r"^\| (\d+\. [^|]+) \| (.+) \|$", (ROOT / "CONTRIBUTING.md").read_text("utf-8"), re.M
    )
    return {title: {plain(name) for name in re.findall(r"`(\w+)`", row)} for title, row in rows}


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_units_are_the_same(language: str) -> None:
    one = LANGUAGES[language]
    for unit in UNITS:
        assert (one.server.parent / one.units.format(unit=unit)).is_file()


def test_the_sections_are_the_same_and_in_the_same_order() -> None:
    titles = {name: [title for title, _ in one.sections()] for name, one in LANGUAGES.items()}
    assert len(titles["python"]) == 10
    assert titles["go"] == titles["python"]
    assert titles["c"] == titles["python"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_functions_of_the_glossary_stand_in_their_sections(language: str) -> None:
    shared = glossary()
    assert sum(map(len, shared.values())) >= 50
    sections = dict(LANGUAGES[language].sections())
    missing = {title: names - sections[title] for title, names in shared.items()}
    assert not {title: names for title, names in missing.items() if names}
