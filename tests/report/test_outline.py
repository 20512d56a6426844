"""Sections and functions of a source file, found in any language, and laid beside others."""

from __future__ import annotations

import pytest

from conformance.report.compare.align import File, Program, aligned, merged, shared
from conformance.report.compare.outline import outline, plain
from conformance.report.compare.source import lines_of

BANNERS = {
    "a.py": (
        "# ---- 1. Lines ----",
        "# -----\n# 1. Lines",
        "    # =====\n    # 1. Lines\n    # =====",
    ),
    "a.go": ("// ------ 1. Lines ------", "// ------\n// 1. Lines\n// ------", "/// 1. Lines ───"),
    "a.c": ("/* ---- 1. Lines ---- */", "/**** 1. Lines ****/", "/* ------ */\n/* 1. Lines */"),
    "a.lua": ("----- 1. Lines -----", "-- =====\n-- 1. Lines"),
}
NO_BANNERS = {
    "a.py": ("# a -> b --- c", "x = '# ---- 1. Lines ----'", "# -----\nx = 1", "# Lines"),
    "a.go": ("// ---------", "// a line --- and the rest of it", "x--- // Lines"),
    "a.c": ("/* a */ int x; /* ---- Lines */", "/* --- */\n\n/* Lines */"),
}
FUNCTIONS = {
    "a.py": ("async def take_line(self):\n    x", "@cached\ndef take_line(\n    a,\n):\n    x"),
    "a.go": (
        "func (s *server) takeLine(inbox *[]byte) (string, bool) {\n}",
        "type takeLine struct {\n}",
    ),
    "a.c": (
        "static const char *__attribute__((format(printf, 1, 2))) take_line(int a, ...)\n{\n}",
        "struct user *take_line(struct inbox *inbox,\n        int (*act)(void))\n{\n}",
        "struct take_line {\n    int x;\n};",
    ),
    "a.rs": ("pub async fn take_line(inbox: &mut Inbox) -> bool {\n}",),
    "a.java": (
        "class A {\n    private static void takeLine(int a) throws IOException {\n    }\n}",
    ),
    "a.js": ("export async function takeLine(inbox) {\n}",),
    "a.pl": ("#!/usr/bin/perl\nuse strict;\nsub take_line {\n}",),
    "a.cpp": ("std::vector<int> takeLine(const Inbox &inbox) const {\n}",),
}
NO_FUNCTIONS = {
    "a.c": (
        "static bool take_line(struct inbox *inbox);",
        "void f(void)\n{\n    return take_line(x);\n    if (take_line(x)) {\n    }\n}",
        "/* void take_line(void)\n{ */",
        "static struct take_line *first;",
    ),
    "a.py": ("take_line(x)", '"""\ndef take_line():\n"""', "# def take_line():"),
    "a.go": ("func f() {\n\tgo takeLine(x)\n\treturn takeLine(x)\n}",),
}


def titles(name: str, text: str) -> list[str]:
    return [section.title for section in outline(lines_of(name, f"{text}\nx = 1\n"))]


def names(name: str, text: str) -> list[str]:
    blocks = [block for section in outline(lines_of(name, text)) for block in section.blocks]
    return [plain(block.name) for block in blocks]


def cases(texts: dict[str, tuple[str, ...]]) -> list[tuple[str, str]]:
    return [(name, text) for name, some in texts.items() for text in some]


@pytest.mark.parametrize(("name", "text"), cases(BANNERS))
def test_a_banner_begins_a_section(name: str, text: str) -> None:
    assert titles(name, text) == ["1. Lines"]


@pytest.mark.parametrize(("name", "text"), cases(NO_BANNERS))
def test_what_only_looks_like_a_banner_is_none(name: str, text: str) -> None:
    assert titles(name, text) == [""]


@pytest.mark.parametrize(("name", "text"), cases(FUNCTIONS))
def test_a_definition_is_found(name: str, text: str) -> None:
    assert "takeline" in names(name, text)


@pytest.mark.parametrize(("name", "text"), cases(NO_FUNCTIONS))
def test_what_defines_nothing_is_none(name: str, text: str) -> None:
    assert "takeline" not in names(name, text)


def test_a_block_takes_the_comment_above_it_and_what_is_defined_inside() -> None:
    text = "import os\n\n# Counts.\n@cached\ndef count():\n    def one():\n        pass\n\n"
    text += "X = 1\n\ndef end():\n    pass\n"
    (section,) = outline(lines_of("a.py", text))
    assert [(one.name, one.first, one.last) for one in section.blocks] == [
        ("", 1, 1),
        ("count", 3, 9),
        ("end", 11, 12),
    ]


def test_each_line_of_a_file_is_kept() -> None:
    text = 'x = """a\n\tb"""  # c\n\n\nif x:\n\tpass'
    lines = lines_of("a.py", text)
    assert [line.text for line in lines] == [
        'x = """a',
        '    b"""  # c',
        "",
        "",
        "if x:",
        "    pass",
    ]
    assert lines_of("a.txt", text) == lines_of("go.mod", text) == lines_of("notes", text) == []


# Beside each other


def source(path: str, text: str) -> File:
    return File(path, lines_of(path, text))


PYTHON = source(
    "server.py", "# ---\n# 1. Lines\ndef take_line():\n    pass\ndef trim():\n    pass\n"
)
C = source("main.c", "/* --- Lines --- */\nvoid first(void)\n{\n}\nvoid take_line(void)\n{\n}\n")
PROGRAMS = [Program("server-py", "server", [PYTHON]), Program("server-c", "server", [C])]


def test_the_same_title_and_the_same_name_stand_beside_each_other() -> None:
    (section,) = aligned(PROGRAMS)
    assert (section.unit, section.title) == ("server", "1. Lines")
    assert [(row.idea, sorted(row.cells)) for row in section.rows] == [
        ("first", ["server-c"]),
        ("takeline", ["server-c", "server-py"]),
        ("trim", ["server-py"]),
    ]
    assert shared(PROGRAMS) == {"takeline"}


def test_units_stand_behind_the_program_itself() -> None:
    unit = source("accounts.go", "func takeLine() {\n}\n")
    whole = Program("server-go", "server", [unit, source("server.go", "func main() {\n}\n")])
    assert [one.unit for one in aligned([whole, *PROGRAMS])] == ["server", "server", "accounts"]


@pytest.mark.parametrize(
    ("orders", "whole"),
    [
        ([], ""),
        (["abc", "abc"], "abc"),
        (["ac", "abc"], "abc"),
        (["ab", "xab", "aby"], "xaby"),
        (["abc", "cxa"], "abcx"),
    ],
)
def test_one_order_keeps_what_follows_what(orders: list[str], whole: str) -> None:
    assert "".join(merged(orders)) == whole
