"""Texts on a terminal: how wide they are, and how they are cut."""

from __future__ import annotations

import pytest

from conformance.text import clipped, columns, padded


@pytest.mark.parametrize(
    ("text", "width"),
    [
        ("abc", 3),
        ("日本", 4),
        ("e\u0301", 1),
        ("1\u20e3", 1),
        ("\u1112\u1161\u11ab", 2),
        ("✓…─", 3),
    ],
)
def test_a_text_is_as_wide_as_a_terminal_shows_it(text: str, width: int) -> None:
    assert columns(text) == width
    assert columns(padded(text, 9)) == 9


@pytest.mark.parametrize(
    ("text", "shown"), [("abcd", "abcd"), ("abcde", "abc…"), ("日本", "日本"), ("日本語", "日…")]
)
def test_a_text_is_cut_to_a_width(text: str, shown: str) -> None:
    assert clipped(text, 4) == shown
