"""The width of text on a terminal, and how it is shortened."""

from __future__ import annotations

import pytest

from conformance.text import MOST_SHOWN, clipped, columns, differing, excerpt, padded


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


def test_of_a_long_text_the_part_round_a_place_is_shown() -> None:
    text = "a" * 1_000_000 + "b" + "c" * 1_000_000
    assert excerpt("a" * MOST_SHOWN, 7) == "a" * MOST_SHOWN
    assert excerpt(text) == "a" * MOST_SHOWN + "… (2,000,001 characters)"
    shown = excerpt(text, 1_000_000)
    half = MOST_SHOWN // 2
    assert shown == f"… {'a' * half}b{'c' * (half - 1)}… (2,000,001 characters)"


@pytest.mark.parametrize(
    ("one", "other", "place"),
    [
        ("", "", 0),
        ("", "x", 0),
        ("same", "same", 4),
        ("same", "same and more", 4),
        ("xyz", "abc", 0),
        ("aab", "aac", 2),
        ("abcdefg", "abXdefg", 2),
        ("x" * 99_999 + "y", "x" * 100_000, 99_999),
    ],
)
def test_the_first_difference(one: str, other: str, place: int) -> None:
    assert differing(one, other) == differing(other, one) == place
